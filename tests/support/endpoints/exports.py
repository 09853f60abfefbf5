"""Exports of traces: a stream, and files that are made in the background."""

from tests.support.endpoints.spec import ANONYMOUS, READ, Audit, EndpointSpec, beyond_contract

FILE = "/traces/exports/{export_id}"
FILTERS = {"session_id": "{session_id}", "user_id": "{reader}", "name": "{text}"}
ENDPOINTS = beyond_contract(
    EndpointSpec(
        "GET /traces/export",
        READ,
        200,
        query="session_id={session_id}&user_id={reader}&name={text}",
        audit=Audit("export.streamed", "project_id"),
        is_file=True,
    ),
    EndpointSpec(
        "POST /traces/exports",
        READ,
        202,
        body={"format": "csv", "filters": FILTERS},
        takes_key=True,
        audit=Audit("export.requested", detail={"format": "csv"}),
    ),
    EndpointSpec("GET /traces/exports", READ, 200, shows_more=True),
    EndpointSpec(f"GET {FILE}", READ, 200),
    EndpointSpec(
        f"GET {FILE}/download",
        READ,
        200,
        other_statuses={409, 416},
        audit=Audit("export.downloaded", "export_id"),
        is_file=True,
    ),
    EndpointSpec(
        f"POST {FILE}/ticket",
        READ,
        201,
        other_statuses={409},
        has_secret=True,
        audit=Audit("export.link_created", "export_id"),
    ),
    EndpointSpec(
        "GET /downloads/{ticket}",
        ANONYMOUS,
        200,
        other_statuses={409},
        audit=Audit("export.downloaded", "export_id"),
        is_file=True,
    ),
    EndpointSpec(f"DELETE {FILE}", READ, 204, audit=Audit("export.deleted", "export_id")),
)
