"""Sign-in of browsers. `{my_session}` is a session of the caller."""

from domain.identity.login_code import challenge_of
from entrypoints.http.middleware.rate_limits import RouteClass
from tests.support.endpoints.spec import (
    ANONYMOUS,
    SIGNED_IN,
    Audit,
    EndpointSpec,
    beyond_contract,
)

ENDPOINTS = beyond_contract(
    EndpointSpec("GET /session", ANONYMOUS, 200, query="problem=denied", other_statuses={422, 503}),
    EndpointSpec(
        "POST /session",
        ANONYMOUS,
        201,
        body={"method": "key", "bind": challenge_of("v" * 43), "key": "{ours.secret}"},
        constrained=("method", "bind", "key"),
        excluded=("token",),
        other_statuses={401, 403},
        route_class=RouteClass.SIGN_IN,
        audit=Audit("browser_session.started", detail={"method": "key"}),
    ),
    EndpointSpec(
        "POST /session/check",
        ANONYMOUS,
        200,
        body={"key": "{ours.secret}"},
        constrained=("key",),
        excluded=("token",),
        other_statuses={401, 403},
        route_class=RouteClass.SIGN_IN,
    ),
    EndpointSpec("DELETE /session", ANONYMOUS, 204, other_statuses={503}),
    EndpointSpec("GET /me/sessions", SIGNED_IN, 200),
    EndpointSpec(
        "DELETE /me/sessions/{browser_session_id}",
        SIGNED_IN,
        204,
        words={"browser_session_id": "{my_session}"},
        audit=Audit("browser_session.ended", "browser_session_id", {"method": "token"}),
    ),
)
