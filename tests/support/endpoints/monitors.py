"""Monitors, their alerts, and webhooks."""

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

MONITORS = "/evaluations/monitors"
ONE = f"{MONITORS}/{{monitor_id}}"
WEBHOOKS = "/evaluations/webhooks"
WEBHOOK = f"{WEBHOOKS}/{{webhook_id}}"
ENDPOINTS = (
    EndpointSpec(
        f"POST {MONITORS}",
        EVALUATE,
        201,
        body={
            "name": "{text}",
            "target_type": "TRACE",
            "metrics": ["coherence", "{metric_name}"],
            "cadence": "daily",
            "filters": {"session_id": "{session_id}", "name": "{text}"},
        },
        constrained=("target_type", "metrics", "cadence"),
        takes_key=True,
        audit=Audit("monitor.created", detail={"name": "{text}"}),
    ),
    EndpointSpec(f"GET {MONITORS}", READ, 200, query=f"{PAGE}&status=ACTIVE"),
    EndpointSpec(f"GET {ONE}", READ, 200),
    EndpointSpec(
        f"PATCH {ONE}",
        EVALUATE,
        200,
        body={"metrics": ["{metric_name}"], "filters": {"name": "{text}"}, "cadence": "daily"},
        constrained=("metrics", "cadence"),
        audit=Audit("monitor.changed", "monitor_id"),
    ),
    EndpointSpec(f"DELETE {ONE}", EVALUATE, 204, audit=Audit("monitor.deleted", "monitor_id")),
    EndpointSpec(f"GET {ONE}/runs", READ, 200, query=PAGE),
    EndpointSpec(f"POST {ONE}/pause", EVALUATE, 200, audit=Audit("monitor.paused", "monitor_id")),
    EndpointSpec(f"POST {ONE}/resume", EVALUATE, 200),
    EndpointSpec(
        f"POST {ONE}/trigger", EVALUATE, 202, takes_key=True, route_class=RouteClass.MONITOR_TRIGGER
    ),
    *beyond_contract(
        EndpointSpec(
            f"POST {ONE}/alerts",
            EVALUATE,
            201,
            body={"metric": "{metric_name}", "figure": "score_mean", "threshold": 0.5},
            words={"metric_name": "coherence"},  # a metric of the stored monitor
            constrained=("metric", "figure", "threshold"),
            takes_key=True,
            audit=Audit("alert.created", detail={"monitor_id": "{monitor_id}"}),
        ),
        EndpointSpec(f"GET {ONE}/alerts", READ, 200, shows_more=True),
        EndpointSpec(
            f"PATCH {ONE}/alerts/{{alert_id}}",
            EVALUATE_AND_READ,
            200,
            body={"threshold": 0.25, "clear_at": 0.5},
            constrained=("threshold", "clear_at"),
            audit=Audit("alert.changed", "alert_id", detail={"monitor_id": "{monitor_id}"}),
        ),
        EndpointSpec(
            f"POST {ONE}/alerts/preview",
            READ,
            200,
            body={"metric": "{metric_name}", "figure": "score_mean", "threshold": 0.5},
            words={"metric_name": "coherence"},
            constrained=("metric", "figure", "threshold"),
        ),
        EndpointSpec("GET /evaluations/alerts", READ, 200, query=f"{PAGE}&state=OK"),
        EndpointSpec("GET /evaluations/alert-changes", READ, 200, query=f"{PAGE}&state=OK"),
        EndpointSpec(f"GET {MONITORS}/cadence", READ, 200, query="cadence=daily"),
        EndpointSpec(
            f"DELETE {ONE}/alerts/{{alert_id}}",
            EVALUATE,
            204,
            audit=Audit("alert.deleted", "alert_id"),
        ),
        EndpointSpec(f"GET {ONE}/alert-changes", READ, 200, query=PAGE),
        EndpointSpec(
            f"POST {WEBHOOKS}",
            EVALUATE,
            201,
            body={"url": "https://hooks.example.com/{text}"},
            constrained=("url",),
            takes_key=True,
            has_secret=True,
            audit=Audit("webhook.created", detail={"host": "hooks.example.com"}),
        ),
        EndpointSpec(f"GET {WEBHOOKS}", READ, 200, shows_more=True),
        EndpointSpec(
            f"DELETE {WEBHOOK}", EVALUATE, 204, audit=Audit("webhook.deleted", "webhook_id")
        ),
        EndpointSpec(f"POST {WEBHOOK}/test", EVALUATE, 202, takes_key=True),
        EndpointSpec(f"GET {WEBHOOK}/deliveries", READ, 200, query=PAGE),
    ),
)
