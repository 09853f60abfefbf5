"""docs/errors.md tells of every status that an error can have, and of no other."""

import json
import re
from pathlib import Path
from typing import Final

from entrypoints.http.problems import STATUS

DOCS: Final = Path(__file__).parents[3] / "docs"
# What a path or method that nobody has is answered: no operation can document it.
UNDOCUMENTED: Final = {405}


def told() -> list[int]:
    rows = re.findall(r"^\| (\d{3}) \|", (DOCS / "errors.md").read_text(), re.MULTILINE)
    return [int(status) for status in rows]


def test_every_status_that_is_documented_is_explained_once():
    schema = json.loads((DOCS / "openapi.json").read_text())
    answers = {
        int(status)
        for path in schema["paths"].values()
        for one in path.values()
        for status in one["responses"]
    }
    assert told() == sorted({status for status in answers if status >= 400} | UNDOCUMENTED)


def test_every_kind_of_failure_has_its_row():
    assert set(STATUS.values()) <= set(told())
