"""Reports measurements for docs/reliability.md, to stdout and the file named by FAULTS_SEEN."""

import os
from pathlib import Path


def report_line(line: str) -> None:
    print(line)
    if file := os.environ.get("FAULTS_SEEN"):
        with Path(file).open("a") as out:
            out.write(line + "\n")
