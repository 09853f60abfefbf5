"""Traces and their spans."""

from entrypoints.http.middleware.rate_limits import RouteClass
from tests.http.conftest import a_span, a_trace
from tests.support.endpoints.spec import (
    DELETE_DATA,
    IMPORT,
    INGEST,
    LATER,
    MARCH,
    PAGE,
    READ,
    Audit,
    EndpointSpec,
    beyond_contract,
)

AUTHOR = "0e2d4a9c-1b7e-4c58-9f3a-6d5c4b3a2f10"  # of an imported score; not looked up
SPAN = a_span(started_at=LATER, span_id="{span_id}", parent_span_id="{span_id}", model="{text}")
TRACE = a_trace(started_at=LATER, trace_id="{trace_id}", spans=[SPAN]) | {
    "session_id": "{session_id}",
    "user_id": "{reader}",
}
SCORE = {
    "id": "{score_id}",
    "project_id": "{project_id}",
    "author_user_id": AUTHOR,
    "name": "{text}",
    "source": "ANNOTATION",
    "outcome": "scored",
    "value": "1",
    "created_at": LATER,
    "updated_at": LATER,
}
ENDPOINTS = (
    EndpointSpec("POST /traces", INGEST, 202, body=TRACE, route_class=RouteClass.INGEST),
    EndpointSpec(
        "POST /traces/batch",
        INGEST,
        202,
        body={"traces": [TRACE, a_trace(started_at=LATER, trace_id="{trace_id}")]},
        route_class=RouteClass.INGEST,
        in_contract=False,
    ),
    EndpointSpec(
        "POST /traces/import",
        IMPORT,
        200,
        body={"traces": [TRACE | {"scores": [SCORE]}]},
        route_class=RouteClass.INGEST,
        in_contract=False,
        audit=Audit("trace.imported", "project_id", {"traces": "1"}),
    ),
    EndpointSpec(
        "GET /traces",
        READ,
        200,
        query=(
            f"{PAGE}&session_id={{session_id}}&user_id={{reader}}&name={{text}}"
            "&include=preview,scores,models,errors"
        ),
    ),
    EndpointSpec("GET /traces/users", READ, 200, query=PAGE),
    EndpointSpec(
        "GET /traces/analytics",
        READ,
        200,
        query=f"{MARCH}&by=user&tz=Europe/Berlin&session_id={{session_id}}&user_id={{reader}}",
    ),
    EndpointSpec(
        "POST /traces/batch/delete",
        DELETE_DATA,
        200,
        body={"trace_ids": ["{trace_id}"]},
        audit=Audit(
            "trace.batch_deleted", "project_id", {"trace_ids": "{trace_id}", "traces": "1"}
        ),
    ),
    EndpointSpec(
        "POST /traces/batch/tags",
        INGEST,
        200,
        body={"trace_ids": ["{trace_id}"], "add_tags": ["new"]},
    ),
    EndpointSpec("GET /traces/{trace_id}", READ, 200, shows_more=True),
    *beyond_contract(
        EndpointSpec(
            "GET /spans",
            READ,
            200,
            query=f"{PAGE}&session_id={{session_id}}&user_id={{reader}}&name={{text}}",
        ),
        EndpointSpec(
            "GET /analytics/spans",
            READ,
            200,
            query=f"{MARCH}&group_by=name&interval=day&session_id={{session_id}}&user_id={{reader}}",
        ),
        EndpointSpec("GET /errors", READ, 200, query=f"{PAGE}&{MARCH}&is_new=true"),
        EndpointSpec(
            "GET /traces/facets",
            READ,
            200,
            query="field=session&prefix={session_id}&session_id={session_id}&user_id={reader}",
        ),
        EndpointSpec("GET /traces/{trace_id}/outline", READ, 200),
        EndpointSpec("GET /traces/{trace_id}/search", READ, 200, query="query={text}&limit=200"),
        EndpointSpec("GET /traces/compare", READ, 200, query="a={trace_id}&b={trace_id}"),
        EndpointSpec("GET /traces/{trace_id}/spans", READ, 200, query=f"{PAGE}&payloads=preview"),
        EndpointSpec(
            "POST /traces/{trace_id}/spans/read", READ, 200, body={"span_ids": ["{span_id}"]}
        ),
        EndpointSpec("GET /traces/{trace_id}/spans/{span_id}", READ, 200, query="payloads=preview"),
        *(
            EndpointSpec(f"GET {owner}/{payload}", READ, 200, other_statuses={416})
            for owner in ("/traces/{trace_id}", "/traces/{trace_id}/spans/{span_id}")
            for payload in ("input", "output", "metadata")
        ),
    ),
    EndpointSpec(
        "PATCH /traces/{trace_id}",
        INGEST,
        200,
        body={"session_id": "{session_id}", "user_id": "{reader}"},
    ),
    EndpointSpec(
        "DELETE /traces/{trace_id}", DELETE_DATA, 204, audit=Audit("trace.deleted", "trace_id")
    ),
    EndpointSpec("POST /traces/{trace_id}/spans", INGEST, 201, body=[SPAN]),
    EndpointSpec("PATCH /traces/{trace_id}/spans/{span_id}", INGEST, 200, body={"name": "new"}),
)
