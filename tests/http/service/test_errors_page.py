"""docs/errors.md explains every status that an error can have, and no other."""

import json
import re
from pathlib import Path
from typing import Final

from entrypoints.http.error_responses import STATUS_OF_FAILURE

DOCS: Final = Path(__file__).parents[3] / "docs"
# The statuses of unknown paths and methods, and of heads that the server itself refuses: no
# operation can document them.
UNDOCUMENTED: Final = {405, 431}


def reported() -> list[int]:
    rows = re.findall(r"^\| (\d{3}) \|", (DOCS / "errors.md").read_text(), re.MULTILINE)
    return [int(status) for status in rows]


def test_every_documented_status_is_explained_once():
    schema = json.loads((DOCS / "openapi.json").read_text())
    answers = {
        int(status)
        for path in schema["paths"].values()
        for one in path.values()
        for status in one["responses"]
    }
    assert reported() == sorted({status for status in answers if status >= 400} | UNDOCUMENTED)


def test_every_failure_status_has_a_row():
    assert set(STATUS_OF_FAILURE.values()) <= set(reported())
