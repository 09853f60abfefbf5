"""Erasures of users and sessions."""

from tests.support.endpoints.spec import DELETE_DATA, PAGE, READ, Audit, EndpointSpec

ENDPOINTS = (
    EndpointSpec(
        "POST /erasures",
        DELETE_DATA,
        202,
        body={"user_id": "{reader}"},
        constrained=("user_id",),
        excluded=("session_id",),
        other_statuses={409},
        in_contract=False,
        audit=Audit("erasure.requested"),
    ),
    EndpointSpec("GET /erasures", READ, 200, query=PAGE, in_contract=False),
    EndpointSpec("GET /erasures/{erasure_id}", READ, 200, in_contract=False),
    EndpointSpec(
        "POST /erasures/{erasure_id}/check",
        READ,
        200,
        body={"user_id": "{erased}"},
        constrained=("user_id",),
        excluded=("session_id",),
        in_contract=False,
    ),
)
