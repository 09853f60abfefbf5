"""The session of a browser: sign in, read, sign out; and the sessions of a person."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Final, Literal, cast
from uuid import UUID

import msgspec
from litestar import Controller
from msgspec import Meta

from application.identity.browser_sessions import SessionReach
from application.use_cases import UseCases
from domain.errors import Forbidden, Invalid, NotFound
from domain.identity.api_key import ALL_SCOPES, ApiKey, Scope
from domain.identity.audit import Origin
from domain.identity.browser_session import (
    CHALLENGE_LENGTH,
    BrowserSession,
    SessionPurpose,
    SignedIn,
    SignInMethod,
    challenge_hash,
)
from domain.identity.caller import Person, User
from domain.identity.organization import Role
from domain.identity.sign_in_attempt import SignInProblem
from domain.ids import BrowserSessionId
from entrypoints.http.authentication import BROWSER, BROWSER_SIGNING_IN, SIGNED_IN, PublicAccess
from entrypoints.http.browser_requests import (
    SESSION_COOKIES,
    Headers,
    format_cookie,
    is_from_elsewhere,
    is_from_our_page,
    is_on_this_machine,
    is_over_https,
)
from entrypoints.http.callers import BrowserCaller
from entrypoints.http.config import HttpConfig, http_context
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.endpoint import delete, get, post
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.refusals import recognized_callers
from entrypoints.http.requests.wire_types import ResponseInstant, format_instant
from entrypoints.http.response_structs import GIVEN, ResponseStruct
from entrypoints.http.responses import JsonResponse

ORGANIZATIONS_SHOWN_MAX: Final = 100  # in the response; all of them are in GET /organizations
CREDENTIAL_CHARS_MAX: Final = 20_000  # of a token or a key
FOREIGN_PAGE: Final = (
    "Sign in from a page of this service. A proxy in front of it has to pass the Host header on "
    "unchanged, with its port"
)
NOT_OFFERED: Final = "This service doesn't offer this way to sign in"
LOCAL_ONLY: Final = (
    "The developer signs in only on the machine of the service, at http://127.0.0.1 or "
    "http://localhost. Elsewhere paste a token; `pandaprobe-server token` prints one"
)


class SignInRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`token` and `key` are for the methods of these names."""

    method: Literal["development", "token", "key"]
    bind: Annotated[
        str,
        Meta(
            pattern=f"^[A-Za-z0-9_-]{{{CHALLENGE_LENGTH}}}$",
            description=(
                "base64url(SHA-256(verifier)), without padding. The page sends the verifier with "
                "each request, as X-Session-Verifier"
            ),
        ),
    ]
    token: Annotated[str, Meta(max_length=CREDENTIAL_CHARS_MAX)] | None = None
    key: Annotated[str, Meta(max_length=CREDENTIAL_CHARS_MAX)] | None = None


class CheckCredentialRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of both."""

    key: Annotated[str, Meta(max_length=CREDENTIAL_CHARS_MAX)] | None = None
    token: Annotated[str, Meta(max_length=CREDENTIAL_CHARS_MAX)] | None = None


class SessionUser(ResponseStruct[User], frozen=True, kw_only=True):
    """The person who is signed in."""

    id: UUID
    email: str
    display_name: str


class SessionKey(ResponseStruct[ApiKey], frozen=True, kw_only=True):
    """The API key that is signed in."""

    id: UUID
    name: str
    prefix: str


class SessionOrganization(msgspec.Struct, frozen=True, kw_only=True):
    """An organization. A key has no role in it."""

    id: UUID
    name: str
    role: Role | None


class SessionProject(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    org_id: UUID
    name: str


class CredentialResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Whose credential it is, and what it opens.

    A key has no `user`, and a token no `key`. A key without the scope `read` gets no projects.
    """

    user: SessionUser | None
    key: SessionKey | None
    scopes: list[Scope]
    organizations: list[SessionOrganization]
    projects: list[SessionProject]


class BrowserSessionResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A session, or none: then the fields about it are null or empty.

    It ends at `ends_at`, and at `idle_ends_at` if no request is sent until then. `problem` is the
    text of the problem that the request names.
    """

    signed_in: bool
    session_id: UUID | None
    method: SignInMethod | None
    user: SessionUser | None
    key: SessionKey | None
    scopes: list[Scope]
    organizations: list[SessionOrganization]
    projects: list[SessionProject]
    ends_at: ResponseInstant | None
    idle_ends_at: ResponseInstant | None
    ways_in: list[SignInMethod]
    problem: str | None


class BrowserSessionQuery(msgspec.Struct, frozen=True, kw_only=True):
    problem: Annotated[
        SignInProblem | None,
        Meta(description="The code that a failed sign-in gave to the page; to get its text"),
    ] = None


class MySessionResponse(ResponseStruct[BrowserSession], frozen=True, kw_only=True):
    """One of my sessions, with the browser that started it. `last_used_at` is up to a minute old.

    `is_this` is true of the session that sent the request.
    """

    id: UUID
    method: SignInMethod
    created_at: ResponseInstant
    last_used_at: ResponseInstant
    ends_at: ResponseInstant
    address: str | None
    agent: str | None
    is_this: Annotated[bool, GIVEN]


class MySessionPath(msgspec.Struct, frozen=True):
    browser_session_id: Annotated[
        BrowserSessionId, Meta(description="The session's id", examples=[examples.KEY_ID])
    ]


_SIGNED_OUT: Final[dict[str, Any]] = {
    "signed_in": False,
    "session_id": None,
    "method": None,
    "user": None,
    "key": None,
    "scopes": [],
    "organizations": [],
    "projects": [],
    "ends_at": None,
    "idle_ends_at": None,
    "ways_in": ["provider", "token", "key"],
    "problem": None,
}
_SESSION_ID: Final = "0d9c8b7a-6f5e-4d4c-9b3a-291807f6e5d4"
_SIGNED_IN: Final = _SIGNED_OUT | {
    "signed_in": True,
    "session_id": _SESSION_ID,
    "method": "provider",
    "user": {"id": examples.USER_ID, "email": "grace@example.com", "display_name": "Grace Hopper"},
    "scopes": ["ingest", "read", "evaluate"],
    "organizations": [{"id": examples.ORGANIZATION_ID, "name": "Acme", "role": "OWNER"}],
    "projects": [
        {"id": examples.PROJECT_ID, "org_id": examples.ORGANIZATION_ID, "name": "checkout-bot"}
    ],
    "ends_at": "2026-03-08T09:00:00.000000+00:00",
    "idle_ends_at": "2026-03-01T21:00:00.000000+00:00",
}
_CREDENTIAL: Final = {
    "user": None,
    "key": {"id": examples.KEY_ID, "name": "ci", "prefix": "pp_77aa13c0"},
    "scopes": ["ingest", "read"],
    "organizations": [{"id": examples.ORGANIZATION_ID, "name": "Acme", "role": None}],
    "projects": _SIGNED_IN["projects"],
}
_MY_SESSION: Final = {
    "id": _SESSION_ID,
    "method": "provider",
    "created_at": "2026-03-01T09:00:00.000000+00:00",
    "last_used_at": "2026-03-01T09:00:00.000000+00:00",
    "ends_at": "2026-03-08T09:00:00.000000+00:00",
    "address": "192.0.2.7",
    "agent": "Mozilla/5.0",
    "is_this": True,
}


class SignInController(Controller):
    path = "/session"

    @get("/", BROWSER, example=_SIGNED_IN)
    async def read_browser_session(
        self,
        caller: BrowserCaller,
        params: BrowserSessionQuery,
        request: HttpRequest,
        use_cases: UseCases,
    ) -> BrowserSessionResponse:
        """Read the session of this browser.

        Always 200, signed in or not. `ways_in` are the methods that this service offers to this
        browser. A cookie counts only with its X-Session-Verifier, on a request from a page of this
        service, without other credentials.
        """
        ways = _offered_methods(request)
        problem = None if params.problem is None else params.problem.text
        if caller.signed_in is None:
            return _signed_out(ways, problem)
        described = await _describe(caller.signed_in, ways, use_cases)
        return msgspec.structs.replace(described, problem=problem)

    @post(
        "/",
        BROWSER_SIGNING_IN,
        description=(
            "Starts a session and sets its cookie; a session that this browser had before ends. "
            "`development` is offered on the machine of a service with the development issuer, "
            "`token` takes a token of the identity provider and ends with it, `key` takes an API "
            "key with the scope `read`. To sign in with the identity provider, the page goes to "
            "`/session/sign-in`."
        ),
        example=_SIGNED_IN,
        body_example={
            "method": "key",
            "bind": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            "key": "pp_77aa13c0" + "5e91d2b4" * 7,
        },
        route_class=RouteClass.SIGN_IN,
    )
    async def sign_in_browser(
        self,
        caller: BrowserCaller,
        content: SignInRequest,
        request: HttpRequest,
        use_cases: UseCases,
    ) -> JsonResponse[BrowserSessionResponse]:
        """Sign in a browser."""
        config, headers = http_context(request).config, _headers(request)
        if is_from_elsewhere(headers):
            raise Forbidden(FOREIGN_PAGE)
        origin = caller.origin
        holder = await _admit(content, origin, request, use_cases)
        session, cookie = await use_cases.identity.start_browser_session(
            holder, origin, SignInMethod(content.method), challenge_hash(content.bind)
        )
        if caller.signed_in is not None:  # no browser has its cookie any more
            with suppress(NotFound):
                await use_cases.identity.end_browser_session(caller.signed_in)
        described = await _describe(
            SignedIn(session, holder, origin), _offered_methods(request), use_cases
        )
        return JsonResponse(
            described, headers={"set-cookie": start_cookie(session, cookie, headers, config)}
        )

    @post(
        "/check",
        PublicAccess([], refusals=(401, 403, 503)),
        status_code=200,
        example=_CREDENTIAL,
        body_example={"key": "pp_77aa13c0" + "5e91d2b4" * 7},
        route_class=RouteClass.SIGN_IN,
    )
    async def check_credential(
        self,
        caller: Origin,
        content: CheckCredentialRequest,
        request: HttpRequest,
        use_cases: UseCases,
    ) -> CredentialResponse:
        """Check an API key or a token.

        Says whose it is and which projects it opens, without a session. 401 if it isn't valid.
        """
        if (content.key is None) == (content.token is None):
            raise Invalid.field("key", "send a key or a token")
        if content.key is not None:
            key = await use_cases.identity.check_key(
                content.key.strip(), caller, recognized_callers(request).append
            )
            return await _describe_holder(key, use_cases)
        person = await _admit_token((content.token or "").strip(), caller, use_cases)
        return await _describe_holder(person, use_cases)

    @delete("/", BROWSER, status_code=204)
    async def sign_out_browser(
        self, caller: BrowserCaller, request: HttpRequest, use_cases: UseCases
    ) -> JsonResponse[None]:
        """Sign out this browser.

        Ends the session of this browser and deletes its cookie. 204 also if it isn't signed in.
        """
        if caller.signed_in is None:
            return JsonResponse(None)
        with suppress(NotFound):  # another request ended it
            await use_cases.identity.end_browser_session(caller.signed_in)
        config, headers = http_context(request).config, _headers(request)
        is_secure = is_over_https(headers, config.public_url)
        name = SESSION_COOKIES[SessionPurpose.DASHBOARD]
        cookie = format_cookie(name, "", max_age_s=0, is_secure=is_secure)
        return JsonResponse(None, headers={"set-cookie": cookie})


class MySessionController(Controller):
    path = "/me/sessions"

    @get("/", SIGNED_IN, example=[_MY_SESSION])
    async def list_my_sessions(
        self, caller: Person, use_cases: UseCases
    ) -> list[MySessionResponse]:
        """List my sessions.

        The browsers in which you are signed in, the newest first.
        """
        return [
            MySessionResponse.from_domain(one, is_this=one.id == caller.session_id)
            for one in await use_cases.identity.list_my_sessions(caller)
        ]

    @delete("/{browser_session_id:str}", SIGNED_IN, status_code=204)
    async def end_my_session(
        self, caller: Person, path: MySessionPath, use_cases: UseCases
    ) -> None:
        """End one of my sessions.

        That browser is signed out at once.
        """
        await use_cases.identity.end_my_session(caller, path.browser_session_id)


def start_cookie(session: BrowserSession, cookie: str, headers: Headers, config: HttpConfig) -> str:
    """The Set-Cookie header of a new session."""
    seconds = int((session.ends_at - session.created_at).total_seconds())
    is_secure = is_over_https(headers, config.public_url)
    name = SESSION_COOKIES[session.purpose]
    return format_cookie(name, cookie, max_age_s=seconds, is_secure=is_secure)


async def _admit(
    content: SignInRequest, origin: Origin, request: HttpRequest, use_cases: UseCases
) -> Person | ApiKey:
    """The caller that signs in. Raises Invalid, Unauthenticated, Forbidden, Unavailable."""
    config = http_context(request).config
    if content.method not in config.sign_in_methods:
        raise Forbidden(NOT_OFFERED)
    if content.method == "key":
        if content.key is None:
            raise Invalid.field("key", "is required")
        on_known = recognized_callers(request).append
        return await use_cases.identity.check_key(
            content.key.strip(), origin, on_known, scopes=(Scope.READ,)
        )
    token = content.token
    if content.method == "development":
        if config.development_token is None or not is_from_our_page(request.scope):
            raise Forbidden(LOCAL_ONLY)
        token = config.development_token()
    if token is None:
        raise Invalid.field("token", "is required")
    return await _admit_token(token.strip(), origin, use_cases)


async def _admit_token(token: str, origin: Origin, use_cases: UseCases) -> Person:
    person = await use_cases.identity.authenticate_token(token, origin)
    await use_cases.identity.resolve_membership(person, None)  # the first one creates it
    return person


async def _describe_holder(holder: Person | ApiKey, use_cases: UseCases) -> CredentialResponse:
    reach = await use_cases.identity.read_session_reach(holder, ORGANIZATIONS_SHOWN_MAX)
    key = SessionKey.from_domain(holder) if isinstance(holder, ApiKey) else None
    user = SessionUser.from_domain(holder.user) if isinstance(holder, Person) else None
    scopes = holder.scopes if isinstance(holder, ApiKey) else ALL_SCOPES
    return CredentialResponse(
        user=user,
        key=key,
        scopes=[scope for scope in Scope if scope in scopes],
        organizations=shown_organizations(reach),
        projects=shown_projects(reach),
    )


async def _describe(
    signed_in: SignedIn, ways: list[SignInMethod], use_cases: UseCases
) -> BrowserSessionResponse:
    session, holder = signed_in.session, signed_in.holder
    holder_text = await _describe_holder(holder, use_cases)
    return BrowserSessionResponse(
        signed_in=True,
        session_id=session.id,
        method=session.method,
        user=holder_text.user,
        key=holder_text.key,
        scopes=holder_text.scopes,
        organizations=holder_text.organizations,
        projects=holder_text.projects,
        ends_at=format_instant(session.ends_at),
        idle_ends_at=format_instant(session.end(use_cases.identity.session_lifetime)),
        ways_in=ways,
        problem=None,
    )


def shown_organizations(reach: SessionReach) -> list[SessionOrganization]:
    return [
        SessionOrganization(id=one.id, name=one.name, role=role)
        for one, role in reach.organizations
    ]


def shown_projects(reach: SessionReach) -> list[SessionProject]:
    return [
        SessionProject(id=one.id, org_id=one.organization_id, name=one.name)
        for one in reach.projects
    ]


def _signed_out(ways: list[SignInMethod], problem: str | None) -> BrowserSessionResponse:
    return BrowserSessionResponse(
        signed_in=False,
        session_id=None,
        method=None,
        user=None,
        key=None,
        scopes=[],
        organizations=[],
        projects=[],
        ends_at=None,
        idle_ends_at=None,
        ways_in=ways,
        problem=problem,
    )


def _offered_methods(request: HttpRequest) -> list[SignInMethod]:
    """The ways that the service offers, in the order of SignInMethod."""
    config = http_context(request).config
    offered = set(config.sign_in_methods)
    if config.development_token is None or not is_on_this_machine(request.scope):
        offered.discard(SignInMethod.DEVELOPMENT)
    return [method for method in SignInMethod if method in offered]


def _headers(request: HttpRequest) -> Headers:
    return dict(cast("Mapping[str, Any]", request.scope)["headers"])
