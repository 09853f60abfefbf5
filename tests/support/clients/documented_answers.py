"""What the tests of documented answers share, in process and over a running service."""

from typing import Any

from schemathesis.checks import CHECKS, load_all_checks

from entrypoints.http.controllers.traces import examples
from tests.support.builders.custom_metric_definitions import RULE

# Not whether data of the right form is taken: no form tells which cursors there are, or which ids.
CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
# What of a body has to be so that it can be taken, beside its form.
TAKEN = {"trace_id": examples.TRACE_ID, "session_id": "conv-42"}
TAKEN |= {"value": "1", "data_type": "NUMERIC", "filters": {}}
TAKEN |= {"votes": 1, "max_cost_usd": None, "monthly_usd": 25}
TAKEN |= {"cadence": "daily", "target_type": "TRACE", "signal_weights": None}
TAKEN |= {"metric": "coherence", "figure": "score_mean", "threshold": 0.5, "clear_at": None}
TAKEN |= {"url": "https://hooks.example.com", "kind": "rule", "definition": RULE}
METRICS = {"session": ["agent_reliability"]}  # of sessions; those of traces elsewhere


def checks_of_answers() -> list[Any]:
    load_all_checks()
    return [CHECKS.get_one(name) for name in CHECKED]


def taken(body: dict[str, Any], path: str) -> dict[str, Any]:
    """A body of the right form, so that an operation of the data plane takes it."""
    if path.startswith("/erasures"):
        return {"user_id": "gone"}  # one of both
    told = body | {name: one for name, one in TAKEN.items() if name in body}
    if path.endswith("/alerts"):  # of which only NO_DATA needs none
        told["threshold"] = TAKEN["threshold"]
    if "kind" in body:
        told["name"] = "another_metric"
    if "metrics" in body:
        told["metrics"] = METRICS.get(path.split("/")[2].partition("-")[0], ["coherence"])
    return told
