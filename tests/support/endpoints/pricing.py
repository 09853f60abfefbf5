"""Prices of models, and repricing of stored traces."""

from tests.support.endpoints.spec import (
    EVALUATE,
    PROJECT_ADMINS,
    READ,
    Audit,
    EndpointSpec,
    beyond_contract,
)

PRICES = "/model-prices"
ENDPOINTS = beyond_contract(
    EndpointSpec(
        f"POST {PRICES}",
        PROJECT_ADMINS,
        201,
        body={"match": "{text}", "input": "1", "output": "2"},
        takes_key=True,
        audit=Audit("model_price.created", detail={"match": "{text}", "input": "1"}),
    ),
    EndpointSpec(f"GET {PRICES}", READ, 200, shows_more=True),
    EndpointSpec(
        f"DELETE {PRICES}/{{price_id}}",
        PROJECT_ADMINS,
        204,
        audit=Audit("model_price.deleted", "price_id"),
    ),
    EndpointSpec(f"GET {PRICES}/unpriced", READ, 200, query="days=90", shows_more=True),
    EndpointSpec(
        f"POST {PRICES}/reprice",
        EVALUATE,
        202,
        body={"models": ["{text}"], "dry_run": False},
        takes_key=True,
        audit=Audit("repricing.started", detail={"is_dry": "False"}),
    ),
    EndpointSpec(f"GET {PRICES}/reprice/{{repricing_id}}", READ, 200, shows_more=True),
    EndpointSpec("GET /traces/{trace_id}/prices", READ, 200),
)
