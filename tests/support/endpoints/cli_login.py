"""Sign-in of the command line."""

from domain.identity.login_code import challenge_of
from entrypoints.http.middleware.rate_limits import RouteClass
from tests.support.endpoints.spec import ANONYMOUS, SIGNED_IN, Audit, EndpointSpec

ENDPOINTS = (
    EndpointSpec("GET /cli/auth/session", SIGNED_IN, 200, in_contract=False),
    EndpointSpec(
        "POST /cli/auth/codes",
        SIGNED_IN,
        201,
        body={
            "org_id": "{org_id}",
            "project_id": "{project_id}",
            "code_challenge": challenge_of("v" * 43),
            "label": "{text}",
        },
        other_statuses={404},
        audit=Audit("login_code.issued", "project_id"),
    ),
    EndpointSpec(
        "POST /cli/auth/exchange",
        ANONYMOUS,
        200,
        body={"code": "{code}", "code_verifier": "{ours.verifier}"},
        constrained=("code_verifier",),
        other_statuses={401, 403, 409},
        route_class=RouteClass.CLI_EXCHANGE,
        audit=Audit("api_key.created"),
    ),
)
