"""Experiments: results, runs and items."""

from entrypoints.http.middleware.rate_limits import RouteClass
from tests.support.endpoints.spec import (
    EVALUATE,
    EVALUATE_AND_READ,
    PAGE,
    READ,
    Audit,
    EndpointSpec,
    beyond_contract,
)

EXPERIMENTS = "/experiments"
ONE = f"{EXPERIMENTS}/{{experiment_id}}"
ENDPOINTS = beyond_contract(
    EndpointSpec(
        f"POST {EXPERIMENTS}",
        EVALUATE,
        201,
        body={
            "name": "{text}",
            "dataset": "{tested_dataset}",
            "split": "{text}",
            "repetitions": 1,
            "metrics": ["coherence", "{metric_name}"],
            "release": "{text}",
            "git": {"sha": "{text}", "branch": "{text}", "pull_request": "{text}"},
        },
        constrained=("dataset", "split", "metrics", "repetitions"),
        excluded=("version", "max_cost_usd", "model", "votes"),
        takes_key=True,
        audit=Audit("experiment.created", detail={"dataset": "{tested_dataset}"}),
    ),
    EndpointSpec(f"GET {EXPERIMENTS}", READ, 200, query=f"{PAGE}&dataset={{tested_dataset}}"),
    EndpointSpec(
        f"POST {EXPERIMENTS}/compare",
        EVALUATE_AND_READ,
        200,
        body={
            "base": "{experiment_id}",
            "candidate": "{experiment_id}",
            "base_run": "{run_id}",
            "candidate_run": "{run_id}",
            "rules": [{"metric": "{metric_name}", "max_drop": 0.1}],
        },
        constrained=("base", "candidate"),
        excluded=("aa", "rules", "base_run", "candidate_run"),
        words={"metric_name": "coherence"},  # a metric of the stored experiment
    ),
    EndpointSpec(
        "POST /analytics/compare",
        READ,
        200,
        body={
            "a": {"session_id": "{session_id}", "tags": ["{text}"]},
            "b": {"user_id": "{reader}"},
            "metrics": ["{metric_name}"],
        },
    ),
    EndpointSpec(f"GET {ONE}", READ, 200, shows_more=True),
    EndpointSpec(
        f"POST {ONE}/results/batch",
        EVALUATE,
        200,
        body={"results": [{"item": "{item_id}", "repetition": 1, "trace_id": "{trace_id}"}]},
        other_statuses={409},
    ),
    EndpointSpec(
        f"POST {ONE}/close",
        EVALUATE,
        202,
        route_class=RouteClass.TRACE_RUNS,
        audit=Audit("experiment.closed", "experiment_id"),
    ),
    EndpointSpec(f"GET {ONE}/items", READ, 200, query=PAGE),
    EndpointSpec(
        f"DELETE {ONE}", EVALUATE, 204, audit=Audit("experiment.deleted", "experiment_id")
    ),
)
