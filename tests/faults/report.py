"""What was seen, as lines for docs/reliability.md: `pytest -rP` or PANDAPROBE_TEST_SEEN shows it."""

import os
from pathlib import Path


def seen(line: str) -> None:
    print(line)
    if file := os.environ.get("FAULTS_SEEN"):
        with Path(file).open("a") as out:
            out.write(line + "\n")
