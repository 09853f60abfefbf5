"""What was seen, for docs/reliability.md: `pytest -rP` prints it, FAULTS_SEEN names a file."""

import os
from pathlib import Path


def seen(line: str) -> None:
    print(line)
    if file := os.environ.get("FAULTS_SEEN"):
        with Path(file).open("a") as out:
            out.write(line + "\n")
