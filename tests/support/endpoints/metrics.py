"""The catalogue of metrics, and custom metrics."""

from entrypoints.http.middleware.rate_limits import RouteClass
from tests.support.endpoints.spec import (
    EVALUATE,
    EVALUATE_AND_READ,
    READ,
    EndpointSpec,
    beyond_contract,
)

CUSTOM = "/evaluations/custom-metrics"
ONE = f"{CUSTOM}/{{metric_name}}"
DEFINED = {
    "description": "{text}",
    "definition": {"path": "trace.name", "op": "eq", "value": "{text}"},
}
ENDPOINTS = (
    EndpointSpec("GET /evaluations/trace-metrics", READ, 200, shows_more=True),
    EndpointSpec("GET /evaluations/session-metrics", READ, 200),
    EndpointSpec("GET /evaluations/providers", READ, 200),
    EndpointSpec(
        "GET /evaluations/trace-runs/template",
        READ,
        200,
        query="metric={metric_name}",
        words={"metric_name": "coherence"},
    ),
    *beyond_contract(
        EndpointSpec(
            f"POST {CUSTOM}",
            EVALUATE,
            201,
            body={"name": "{metric_name}", "kind": "rule", **DEFINED},
            words={"metric_name": "another_metric"},
            constrained=("name", "kind", "definition"),
            takes_key=True,
        ),
        EndpointSpec(f"GET {CUSTOM}", READ, 200, query="archived=false", shows_more=True),
        EndpointSpec(f"GET {ONE}", READ, 200, shows_more=True),
        EndpointSpec(
            f"PUT {ONE}",
            EVALUATE,
            200,
            body=DEFINED,
            constrained=("definition",),
            other_statuses={409},
        ),
        EndpointSpec(f"GET {ONE}/revisions", READ, 200, shows_more=True),
        EndpointSpec(f"POST {ONE}/archive", EVALUATE, 200),
        EndpointSpec(f"POST {ONE}/restore", EVALUATE, 200),
        EndpointSpec(
            f"POST {ONE}/dry-run",
            EVALUATE_AND_READ,
            200,
            body={"trace_id": "{trace_id}", "ask": True},
            takes_key=True,
            route_class=RouteClass.TRACE_RUNS,
        ),
        EndpointSpec(
            f"POST {CUSTOM}/dry-run",
            EVALUATE_AND_READ,
            200,
            body={"kind": "rule", "definition": DEFINED["definition"], "trace_id": "{trace_id}"},
            constrained=("kind", "definition"),
            route_class=RouteClass.TRACE_RUNS,
        ),
    ),
)
