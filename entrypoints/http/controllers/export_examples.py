"""Exports, as the reference shows them."""

from typing import Any, Final

from entrypoints.http.controllers.score_examples import TRACE_SCORE
from entrypoints.http.controllers.trace_examples import TRACE_RESPONSE

LINE: Final[dict[str, Any]] = {
    **TRACE_RESPONSE,
    "scores": [TRACE_SCORE],
    "export": {
        "complete": True,
        "traces": 1,
        "spans": 1,
        "scores": 1,
        "sha256": "5c7f6f0d3c8f7c2e0d3a4a1b9e6d5f4c3b2a19087f6e5d4c3b2a190817263544",
    },
}
