"""Erasures of users and sessions."""

from tests.support.endpoints.spec import (
    DELETE_DATA,
    PAGE,
    READ,
    Audit,
    EndpointSpec,
    beyond_contract,
)

ENDPOINTS = beyond_contract(
    EndpointSpec(
        "POST /erasures",
        DELETE_DATA,
        202,
        body={"user_id": "{reader}"},
        constrained=("user_id",),
        excluded=("session_id",),
        other_statuses={409},
        audit=Audit("erasure.requested"),
    ),
    EndpointSpec("GET /erasures", READ, 200, query=PAGE),
    EndpointSpec("GET /erasures/{erasure_id}", READ, 200, shows_more=True),
    EndpointSpec(
        "POST /erasures/{erasure_id}/check",
        READ,
        200,
        body={"user_id": "{erased}"},
        constrained=("user_id",),
        excluded=("session_id",),
    ),
)
