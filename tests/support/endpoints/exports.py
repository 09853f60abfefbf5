"""Exports of traces: a stream, and files that are made in the background."""

from tests.support.endpoints.spec import READ, EndpointSpec

FILE = "/traces/exports/{export_id}"
FILTERS = {"session_id": "{session_id}", "user_id": "{reader}", "name": "{text}"}
ENDPOINTS = (
    EndpointSpec(
        "GET /traces/export",
        READ,
        200,
        query="session_id={session_id}&user_id={reader}&name={text}",
        in_contract=False,
    ),
    EndpointSpec(
        "POST /traces/exports",
        READ,
        202,
        body={"format": "csv", "filters": FILTERS},
        takes_key=True,
        in_contract=False,
    ),
    EndpointSpec("GET /traces/exports", READ, 200, in_contract=False),
    EndpointSpec(f"GET {FILE}", READ, 200, in_contract=False),
    EndpointSpec(f"GET {FILE}/download", READ, 200, other_statuses={409, 416}, in_contract=False),
    EndpointSpec(f"DELETE {FILE}", READ, 204, in_contract=False),
)
