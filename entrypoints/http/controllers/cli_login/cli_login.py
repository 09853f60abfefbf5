"""Login of the command line: a code for the browser, which the program exchanges for a key."""

from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Controller
from msgspec import Meta

from application.use_cases import UseCases
from domain.identity.api_key import ApiKey
from domain.identity.audit import Origin
from domain.identity.caller import Person
from domain.identity.login_code import CODE_LIFETIME
from domain.ids import OrganizationId, ProjectId
from entrypoints.http.authentication import SIGNED_IN_FOR_CLI, PublicAccess
from entrypoints.http.controllers.browser_sessions.browser_sessions import (
    ORGANIZATIONS_SHOWN_MAX,
    SessionOrganization,
    SessionProject,
    shown_organizations,
    shown_projects,
)
from entrypoints.http.endpoint import get, post
from entrypoints.http.error_responses import ErrorResponse
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.requests.scalar_types import PLAIN_TEXT
from entrypoints.http.requests.wire_types import ResponseInstant
from entrypoints.http.response_structs import GIVEN, ResponseStruct, Source
from entrypoints.http.responses import JsonResponse

LABEL_CHARS_MAX: Final = 255
KEY_DAYS: Final = 90
# These responses contain credentials: no cache may store them (RFC 6749, section 5.1).
NO_STORE: Final = {"cache-control": "no-store"}


class IssueCodeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The request of a command line, and the project that the person chose for it."""

    org_id: OrganizationId
    project_id: ProjectId
    code_challenge: Annotated[
        str,
        Meta(
            min_length=1,
            pattern=r"\S",
            extra={"expected": "must not be blank"},
            description="base64url(SHA-256(code_verifier)), without padding",
        ),
    ]
    code_challenge_method: Literal["S256"] = "S256"
    label: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=LABEL_CHARS_MAX,
            description="A label for the key, such as a host name",
            extra=PLAIN_TEXT,
        ),
    ]
    expires_days: Annotated[int, Meta(ge=KEY_DAYS, le=KEY_DAYS)] = KEY_DAYS


class IssueCodeResponse(msgspec.Struct, frozen=True):
    """`expires_in` is in seconds."""

    code: str
    expires_in: int


class ExchangeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    code: Annotated[str, Meta(min_length=1)]
    code_verifier: Annotated[str, Meta(min_length=1)]


class ExchangeResponse(ResponseStruct[ApiKey], frozen=True, kw_only=True):
    """The key, which no other response contains, and the project to use it with."""

    api_key: Annotated[str, GIVEN]
    project_name: Annotated[str, GIVEN]
    org_id: Annotated[str, Source("organization_id", str)]
    key_id: Annotated[str, Source("id", str)]
    key_prefix: Annotated[str, Source("prefix")]
    expires_at: ResponseInstant | None


_CODE: Final = "6Zf0pB3mX1bq0Q2n9cVJt8yLw4RkUe7aHs5dGi2oTzM"
_VERIFIER: Final = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
_ORGANIZATION: Final = "3f0c2b7e-0a7d-4d4e-9c7a-5a2e1f6b8c90"
_ISSUE_EXAMPLE: Final[dict[str, Any]] = {
    "org_id": _ORGANIZATION,
    "project_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    "code_challenge_method": "S256",
    "label": "ada-laptop",
    "expires_days": KEY_DAYS,
}
_EXCHANGE_EXAMPLE: Final = {
    "api_key": "pp_77aa13c0" + "5e91d2b4" * 7,
    "project_name": "checkout-bot",
    "org_id": _ORGANIZATION,
    "key_id": "d2c1b0a9-8877-4665-9544-332211009988",
    "key_prefix": "pp_77aa13c",
    "expires_at": "2026-05-30T08:00:00.000100+00:00",
}


class CliSessionResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The person who signed in for a command line, and what they may choose from."""

    email: str
    organizations: list[SessionOrganization]
    projects: list[SessionProject]


class CliLoginController(Controller):
    path = "/cli/auth"

    @get(
        "/session",
        SIGNED_IN_FOR_CLI,
        example={
            "email": "grace@example.com",
            "organizations": [{"id": _ORGANIZATION, "name": "Acme", "role": "OWNER"}],
            "projects": [
                {
                    "id": _ISSUE_EXAMPLE["project_id"],
                    "org_id": _ORGANIZATION,
                    "name": "checkout-bot",
                }
            ],
        },
    )
    async def read_cli_session(self, caller: Person, use_cases: UseCases) -> CliSessionResponse:
        """Read who signed in for a command line.

        The session that a sign-in with the identity provider from `/cli-login` started. It is for
        this path alone, and ends with the first code, or after 10 minutes.
        """
        reach = await use_cases.identity.read_session_reach(caller, ORGANIZATIONS_SHOWN_MAX)
        return CliSessionResponse(
            email=caller.user.email,
            organizations=shown_organizations(reach),
            projects=shown_projects(reach),
        )

    @post(
        "/codes",
        SIGNED_IN_FOR_CLI,
        description=(
            "A code for a command line that waits for it. The page on which its user signed in "
            f"sends this request. The code is valid for {CODE_LIFETIME.seconds} seconds, for one "
            "key, and only with the verifier of its challenge. 403 if you aren't a member of "
            "`org_id`; 404 if the project isn't in that organization."
        ),
        example={"code": _CODE, "expires_in": CODE_LIFETIME.seconds},
        body_example=_ISSUE_EXAMPLE,
        error_types={404: ErrorResponse},
    )
    async def issue_login_code(
        self, caller: Person, content: IssueCodeRequest, use_cases: UseCases
    ) -> JsonResponse[IssueCodeResponse]:
        """Issue a login code."""
        code = await use_cases.identity.issue_login_code(
            caller, content.org_id, content.project_id, content.code_challenge, content.label
        )
        if caller.session_id is not None:  # it was for one code
            await use_cases.identity.end_my_session(caller, caller.session_id)
        return JsonResponse(IssueCodeResponse(code, CODE_LIFETIME.seconds), headers=NO_STORE)

    @post(
        "/exchange",
        PublicAccess([], refusals=(401, 403, 503)),
        status_code=200,
        description=(
            f"Creates a key with all scopes for {KEY_DAYS} days. 401 if the code is unknown, used "
            "or expired, or if the verifier is wrong; after a wrong verifier the code can still "
            "be used. 403 if the person who requested the code is no longer a member. 409 if the "
            "organization has too many keys. Credentials are neither required nor read."
        ),
        error_types={409: ErrorResponse},
        example=_EXCHANGE_EXAMPLE,
        body_example={"code": _CODE, "code_verifier": _VERIFIER},
        route_class=RouteClass.CLI_EXCHANGE,
    )
    async def exchange_login_code(
        self, caller: Origin, content: ExchangeRequest, use_cases: UseCases
    ) -> JsonResponse[ExchangeResponse]:
        """Exchange a login code for an API key."""
        key, secret, project = await use_cases.identity.exchange_login_code(
            content.code, content.code_verifier, caller
        )
        response = ExchangeResponse.from_domain(key, api_key=secret, project_name=project.name)
        return JsonResponse(response, headers=NO_STORE)
