"""Runs of metrics over traces and over sessions."""

from collections.abc import Iterator
from typing import Any

from entrypoints.http.middleware.rate_limits import RouteClass
from tests.support.endpoints.spec import EVALUATE, PAGE, READ, Audit, EndpointSpec

FILTERS = {"session_id": "{session_id}", "user_id": "{reader}", "name": "{text}"}


def _runs(
    path: str, route_class: RouteClass, metrics: list[str], filters: Any, batch: Any
) -> Iterator[EndpointSpec]:
    """Custom metrics are for traces only, so the metrics of the two kinds of runs differ."""
    starts: dict[str, Any] = {
        "": {"metrics": metrics, "name": "{text}", "filters": filters},
        "/batch": {"metrics": metrics} | batch,
    }
    limited: dict[str, Any] = {"route_class": route_class, "constrained": ("metrics",)}
    for way, body in starts.items():
        yield EndpointSpec(f"POST {path}{way}", EVALUATE, 202, body=body, takes_key=True, **limited)
        yield EndpointSpec(
            f"POST {path}{way}/estimate",
            EVALUATE,
            200,
            body=body | {"model": "gpt-4o"},
            in_contract=False,
            **limited,
        )
    counted = {"filters": filters, "sampling_rate": 0.5}
    yield EndpointSpec(f"POST {path}/count", READ, 200, body=counted, in_contract=False)
    one = f"{path}/{{run_id}}"
    yield EndpointSpec(f"GET {path}", READ, 200, query=f"{PAGE}&include=usage")
    yield EndpointSpec(f"GET {one}", READ, 200)
    yield EndpointSpec(f"GET {one}/scores", READ, 200)
    yield EndpointSpec(f"GET {one}/usage", READ, 200, in_contract=False)
    yield EndpointSpec(f"GET {one}/summary", READ, 200, in_contract=False)
    yield EndpointSpec(
        f"DELETE {one}",
        EVALUATE,
        204,
        query="delete_scores=true",
        audit=Audit("run.deleted", "run_id", {"with_scores": "True"}),
    )
    yield EndpointSpec(f"POST {one}/retry", EVALUATE, 202, takes_key=True, route_class=route_class)
    yield EndpointSpec(f"POST {one}/cancel", EVALUATE, 202, other_statuses={409}, in_contract=False)


ENDPOINTS = (
    *_runs(
        "/evaluations/trace-runs",
        RouteClass.TRACE_RUNS,
        ["coherence", "{metric_name}"],
        FILTERS,
        {"trace_ids": ["{trace_id}"]},
    ),
    *_runs(
        "/evaluations/session-runs",
        RouteClass.SESSION_RUNS,
        ["agent_reliability"],
        {"user_id": "{reader}"},
        {"session_ids": ["{session_id}"]},
    ),
)
