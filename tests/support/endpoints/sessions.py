"""Sessions."""

from tests.support.endpoints.spec import (
    DELETE_DATA,
    MARCH,
    PAGE,
    READ,
    Audit,
    EndpointSpec,
    beyond_contract,
)

ENDPOINTS = (
    EndpointSpec(
        "GET /sessions",
        READ,
        200,
        query=f"{PAGE}&user_id={{reader}}&query={{text}}&include=preview,scores",
    ),
    EndpointSpec("GET /sessions/analytics", READ, 200, query=MARCH),
    EndpointSpec("GET /sessions/{session_id}", READ, 200, query=PAGE),
    *beyond_contract(
        EndpointSpec("GET /sessions/{session_id}/turns", READ, 200, query="limit=100&offset=0")
    ),
    EndpointSpec(
        "DELETE /sessions/{session_id}",
        DELETE_DATA,
        200,
        audit=Audit("session.deleted", detail={"project_id": "{project_id}", "traces": "1"}),
    ),
)
