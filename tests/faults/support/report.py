"""Reports measurements for docs/operation/reliability.md.

They go to stdout and to the file that FAULTS_SEEN names.
"""

import os
from pathlib import Path


def report_line(line: str) -> None:
    print(line)
    if file := os.environ.get("FAULTS_SEEN"):
        with Path(file).open("a") as out:
            out.write(line + "\n")
