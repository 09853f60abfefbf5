"""Shared by the tests of documented responses, in process and over a running service."""

from typing import Any

from schemathesis.checks import CHECKS, load_all_checks

from entrypoints.http.controllers.traces import examples
from tests.support.builders.custom_metric_definitions import RULE

# Acceptance of valid data isn't checked: a schema can't say which cursors and ids exist.
CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
# Values that a body needs to be accepted, in addition to its schema.
ACCEPTED_VALUES = {"trace_id": examples.TRACE_ID, "session_id": "conv-42"}
ACCEPTED_VALUES |= {"value": "1", "data_type": "NUMERIC", "filters": {}}
ACCEPTED_VALUES |= {"votes": 1, "max_cost_usd": None, "monthly_usd": 25}
ACCEPTED_VALUES |= {"cadence": "daily", "target_type": "TRACE", "signal_weights": None}
ACCEPTED_VALUES |= {
    "metric": "coherence",
    "figure": "score_mean",
    "threshold": 0.5,
    "clear_at": None,
}
ACCEPTED_VALUES |= {"url": "https://hooks.example.com", "kind": "rule", "definition": RULE}
METRICS = {"session": ["agent_reliability"]}  # metrics of sessions; all other paths are for traces


def response_checks() -> list[Any]:
    load_all_checks()
    return [CHECKS.get_one(name) for name in CHECKED]


def acceptable_body(body: dict[str, Any], path: str) -> dict[str, Any]:
    """A valid body, changed so that an operation of the data plane accepts it."""
    if path.startswith("/erasures"):
        return {"user_id": "gone"}  # exactly one of both
    accepted = body | {name: value for name, value in ACCEPTED_VALUES.items() if name in body}
    if path.endswith("/alerts"):  # required by every figure except NO_DATA
        accepted["threshold"] = ACCEPTED_VALUES["threshold"]
    if "kind" in body:
        accepted["name"] = "another_metric"
    if "metrics" in body:
        accepted["metrics"] = METRICS.get(path.split("/")[2].partition("-")[0], ["coherence"])
    return accepted
