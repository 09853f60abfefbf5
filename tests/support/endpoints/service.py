"""The service itself: its version and health."""

from tests.support.endpoints.spec import ANONYMOUS, EndpointSpec

ENDPOINTS = (
    EndpointSpec("GET /", ANONYMOUS, 200),
    EndpointSpec("GET /health", ANONYMOUS, 200, route_class=None),
    EndpointSpec(
        "GET /health/ready",
        ANONYMOUS,
        200,
        other_statuses={503},
        route_class=None,
        in_contract=False,
    ),
)
