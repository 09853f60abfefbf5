"""Access policies: which credentials an endpoint accepts, and which caller they make."""

from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, ClassVar, Final, Protocol, Self, cast

from application.use_cases import UseCases
from domain.errors import Forbidden, Unauthenticated
from domain.identity.api_key import KEY_PREFIX, ApiKey, Scope
from domain.identity.audit import ADDRESS_MAX, AGENT_MAX, Origin
from domain.identity.browser_session import SessionPurpose, SignedIn
from domain.identity.caller import Caller, Person
from domain.identity.organization import Action
from domain.ids import OrganizationId, ProjectId
from entrypoints.http.browser_requests import (
    VERIFIER_HEADER,
    Headers,
    is_same_origin,
    session_cookie,
)
from entrypoints.http.callers import BrowserCaller, OrganizationCaller
from entrypoints.http.middleware.client_address import Network, client_address
from entrypoints.http.requests.errors import FieldErrors, HttpProblem
from entrypoints.http.requests.scalar_types import InvalidValue, parse_uuid

type Security = list[dict[str, list[str]]]
"""The OpenAPI security requirements: each entry is one alternative."""

FORWARDED_FOR: Final = b"x-forwarded-for"
SINGLE_HEADERS: Final = frozenset(
    {
        *(b"authorization", b"x-api-key", b"x-project-name", b"x-project-id"),
        *(b"x-organization-id", b"idempotency-key", VERIFIER_HEADER),
    }
)
ORGANIZATION_FIELD: Final = "header.X-Organization-ID"
PROJECT_FIELD: Final = "header.X-Project-ID"
CREDENTIALS_REQUIRED: Final = (
    "Send an X-API-Key with an X-Project-Name, or a Bearer token with an X-Project-ID"
)
BEARER_REQUIRED: Final = "Send a Bearer token: no API key is accepted here"
KEY_AS_BEARER: Final = "This is an API key and no token: send it as X-API-Key"
PERSON_REQUIRED: Final = "You are signed in with an API key: this needs a person"
_SCHEMES: Final = (b"basic", b"bearer")


@dataclass(frozen=True, slots=True)
class AuthContext:
    """The parts of a request that authentication reads."""

    headers: Headers
    path: Mapping[str, str]
    origin: Origin
    method: str = "GET"
    known: list[object] = field(default_factory=list, compare=False)  # who was recognized, in order

    @classmethod
    def from_scope(cls, scope: Mapping[str, Any], trusted_proxies: Sequence[Network]) -> Self:
        """X-Forwarded-For is believed if one of `trusted_proxies` sent it.

        Raises HttpProblem if a header that identifies the caller or the project is ambiguous.
        """
        headers: Headers = dict(scope["headers"])
        if len(headers) < len(scope["headers"]):
            _check_repeated(scope["headers"])
        client, agent = scope.get("client"), header(headers, b"user-agent")
        address = None if client is None else _printable(client[0], ADDRESS_MAX)
        if trusted_proxies:
            forwarded = [
                value.decode("latin-1") for name, value in scope["headers"] if name == FORWARDED_FOR
            ]
            address = client_address(address, forwarded, trusted_proxies)
        origin = Origin(address, None if agent is None else _printable(agent, AGENT_MAX))
        return cls(headers, scope["path_params"], origin, scope["method"])


class AccessPolicy[C](Protocol):
    @property
    def security(self) -> Security: ...

    @property
    def refusals(self) -> tuple[int, ...]:
        """The statuses with which it may refuse a request."""
        ...

    async def __call__(self, request: AuthContext, use_cases: UseCases, /) -> C:
        """The caller. Raises Unauthenticated, Invalid, Forbidden, NotFound, Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class PublicAccess:
    """Any client, without credentials. The caller is its origin."""

    security: Security
    refusals: tuple[int, ...] = ()

    async def __call__(self, request: AuthContext, _use_cases: UseCases, /) -> Origin:
        return request.origin


PUBLIC: Final = PublicAccess([])


@dataclass(frozen=True, slots=True)
class BrowserAccess:
    """Any client; the caller has the session of a browser that is signed in."""

    refusals: tuple[int, ...] = (503,)
    security: ClassVar[Security] = [{}, {"Session": [], "SessionVerifier": []}]

    async def __call__(self, request: AuthContext, use_cases: UseCases, /) -> BrowserCaller:
        return BrowserCaller(request.origin, await _authenticate_session(request, use_cases))


BROWSER: Final = BrowserAccess()
BROWSER_SIGNING_IN: Final = BrowserAccess(refusals=(401, 403, 503))


@dataclass(frozen=True, slots=True)
class DataPlane:
    """A caller in a project, with all of `scopes`: an API key, a person, or a browser's session.

    If the request has a key, a token is ignored.
    """

    scopes: tuple[Scope, ...]
    accepts_sessions: bool = True

    refusals: ClassVar = (401, 403, 404, 422, 503)

    @property
    def security(self) -> Security:
        without: Security = [{"ApiKey": [], "ProjectName": []}, *_IN_PROJECT_BY_TOKEN]
        return [*without, *_IN_PROJECT_BY_SESSION] if self.accepts_sessions else without

    async def __call__(self, request: AuthContext, use_cases: UseCases) -> Caller:
        headers = request.headers
        key = header(headers, b"x-api-key")
        if key is not None:
            project_name = header(headers, b"x-project-name")
            caller = await use_cases.identity.authenticate_key(
                key, project_name, request.origin, request.known.append
            )
        else:
            caller = await _authenticate_in_project(
                request, use_cases, accepts_sessions=self.accepts_sessions
            )
        request.known.append(caller)
        caller.require(*self.scopes)
        return caller


_IN_PROJECT_BY_TOKEN: Final[Security] = [
    {"HTTPBearer": [], "ProjectID": []},
    {"HTTPBearer": [], "ProjectID": [], "OrganizationID": []},
]
_IN_PROJECT_BY_SESSION: Final[Security] = [
    {"Session": [], "SessionVerifier": [], "ProjectID": []},
    {"Session": [], "SessionVerifier": [], "ProjectID": [], "OrganizationID": []},
]


@dataclass(frozen=True, slots=True)
class OtlpSender:
    """A program that may ingest, or a person with a token.

    Exporters can set one kind of header or another: so a key is accepted as X-API-Key, as Bearer
    token, and as the password of Basic authentication, whose user is then the project unless
    X-Project-Name names it. Environment variables contain headers percent-encoded, and some
    exporters send them so.
    """

    security: ClassVar[Security] = [
        {"ApiKey": [], "ProjectName": []},
        {"HTTPBearer": [], "ProjectName": []},
        {"HTTPBearer": [], "ProjectID": []},
        {"HTTPBearer": [], "ProjectID": [], "OrganizationID": []},
    ]
    refusals: ClassVar = DataPlane.refusals

    async def __call__(self, request: AuthContext, use_cases: UseCases) -> Caller:
        headers = _with_decoded_scheme(request.headers)
        sent = _key_in_authorization(headers)
        if sent is not None and header(headers, b"x-api-key") is None:
            headers = {**headers, b"x-api-key": sent.key.encode()}
            if sent.user and header(headers, b"x-project-name") is None:
                headers[b"x-project-name"] = sent.user.encode()
        return await CAN_INGEST(replace(request, headers=headers), use_cases)


@dataclass(frozen=True, slots=True)
class _SentKey:
    key: str
    user: str = ""


def _with_decoded_scheme(headers: Headers) -> Headers:
    """The headers, with a blank after the scheme of Authorization if it is percent-encoded."""
    value = headers.get(b"authorization", b"").strip()
    scheme, encoded_blank, rest = value.partition(b"%20")
    if encoded_blank and scheme.lower() in _SCHEMES:
        return {**headers, b"authorization": scheme + b" " + rest}
    return headers


def _key_in_authorization(headers: Headers) -> _SentKey | None:
    """None for a token, and for anything else that can't contain a key."""
    scheme, _, text = (header(headers, b"authorization") or "").partition(" ")
    text = text.strip()
    match scheme.lower():
        case "bearer" if text.startswith(KEY_PREFIX):
            return _SentKey(text)
        case "basic":
            try:
                user, colon, key = b64decode(text, validate=True).decode().partition(":")
            except ValueError:
                return None
            return _SentKey(key, user.strip()) if colon else None
    return None


# No page sends traces: a session can't either.
CAN_INGEST: Final = DataPlane((Scope.INGEST,), accepts_sessions=False)
CAN_CHANGE_TRACES: Final = DataPlane((Scope.INGEST,))
CAN_EXPORT_OTLP: Final = OtlpSender()
CAN_READ: Final = DataPlane((Scope.READ,))
CAN_INGEST_AND_READ: Final = DataPlane((Scope.INGEST, Scope.READ))
CAN_EVALUATE: Final = DataPlane((Scope.EVALUATE,))
IN_PROJECT: Final = DataPlane(())  # whatever the scopes of the key
CAN_EVALUATE_AND_READ: Final = DataPlane((Scope.EVALUATE, Scope.READ))


@dataclass(frozen=True, slots=True)
class ProjectRoleAccess:
    """A person in a project, with a token and a role that permits the action. Keys get 403."""

    action: Action

    security: ClassVar[Security] = [*_IN_PROJECT_BY_TOKEN, *_IN_PROJECT_BY_SESSION]
    refusals: ClassVar = DataPlane.refusals

    async def __call__(self, request: AuthContext, use_cases: UseCases, /) -> Caller:
        caller = await CAN_EVALUATE(request, use_cases)
        caller.authorize(self.action)
        return caller


CAN_CHANGE_PRICES: Final = ProjectRoleAccess(Action.CHANGE_PRICES)
CAN_SHARE: Final = ProjectRoleAccess(Action.SHARE_TRACE)


@dataclass(frozen=True, slots=True)
class SignedInAccess:
    """A person with a token or a browser's session, in any organization."""

    purpose: SessionPurpose = SessionPurpose.DASHBOARD  # of the sessions that are accepted

    refusals: ClassVar = (401, 403, 422, 503)

    @property
    def security(self) -> Security:
        return [*_BY_TOKEN, *_BY_SESSION[self.purpose]]

    async def __call__(self, request: AuthContext, use_cases: UseCases, /) -> Person:
        person = await _authenticate_person(request, use_cases, self.purpose)
        errors = FieldErrors()
        organization = _organization_header(request.headers, errors)
        errors.check()
        await use_cases.identity.resolve_membership(person, organization)
        return person


_BY_TOKEN: Final[Security] = [{"HTTPBearer": []}, {"HTTPBearer": [], "OrganizationID": []}]
_BY_SESSION: Final[Mapping[SessionPurpose, Security]] = {
    purpose: [
        {scheme: [], "SessionVerifier": []},
        {scheme: [], "SessionVerifier": [], "OrganizationID": []},
    ]
    for purpose, scheme in (
        (SessionPurpose.DASHBOARD, "Session"),
        (SessionPurpose.CLI, "CliSession"),
    )
}
SIGNED_IN: Final = SignedInAccess()
# The dashboard's session gets no key for a command line, which would outlive it.
SIGNED_IN_FOR_CLI: Final = SignedInAccess(SessionPurpose.CLI)


@dataclass(frozen=True, slots=True)
class HolderAccess:
    """A person, or an API key with all of `scopes`, whatever the project."""

    scopes: tuple[Scope, ...]

    security: ClassVar[Security] = [
        {"ApiKey": []},
        *_BY_TOKEN,
        *_BY_SESSION[SessionPurpose.DASHBOARD],
    ]
    refusals: ClassVar = SignedInAccess.refusals

    async def __call__(self, request: AuthContext, use_cases: UseCases, /) -> Person | ApiKey:
        secret = header(request.headers, b"x-api-key")
        if secret is not None:
            return await use_cases.identity.check_key(
                secret, request.origin, request.known.append, scopes=self.scopes
            )
        signed_in = await _authenticate_session(request, use_cases)
        if signed_in is None or not isinstance(signed_in.holder, ApiKey):
            return await SIGNED_IN(request, use_cases)
        signed_in.holder.check_scopes(*self.scopes)
        return signed_in.holder


CAN_FIND: Final = HolderAccess((Scope.READ,))


@dataclass(frozen=True, slots=True)
class OrganizationAccess:
    """A person who is a member of the organization in the path, as `org_id`.

    An X-Organization-ID header has no effect, but its form is checked.
    """

    security: ClassVar[Security] = [*_BY_TOKEN, *_BY_SESSION[SessionPurpose.DASHBOARD]]
    refusals: ClassVar = SignedInAccess.refusals

    async def __call__(self, request: AuthContext, use_cases: UseCases, /) -> OrganizationCaller:
        person = await _authenticate_person(request, use_cases)
        errors = FieldErrors()
        _organization_header(request.headers, errors)
        errors.check()
        try:
            organization = OrganizationId(parse_uuid(request.path["org_id"]))
        except InvalidValue:
            # Parsing the path refuses the request before a handler sees this caller.
            return cast("OrganizationCaller", person)
        membership = await use_cases.identity.resolve_membership(person, organization)
        return OrganizationCaller(person, membership)


ORGANIZATION_MEMBER: Final = OrganizationAccess()


async def _authenticate_session(
    request: AuthContext,
    use_cases: UseCases,
    purpose: SessionPurpose = SessionPurpose.DASHBOARD,
) -> SignedIn | None:
    """The session of a browser, if this request may use one.

    None if the request has other credentials, if a page of another origin sent it, and if cookie
    and verifier don't open a session: then the request counts as one without the cookie.
    """
    headers = request.headers
    if header(headers, b"x-api-key") is not None or _bearer_token(headers) is not None:
        return None
    cookie, verifier = session_cookie(headers, purpose), header(headers, VERIFIER_HEADER)
    if cookie is None or verifier is None or not is_same_origin(headers, request.method):
        return None
    signed_in = await use_cases.identity.authenticate_session(
        cookie, verifier, request.origin, purpose
    )
    if signed_in is not None:
        request.known.append(signed_in.holder)
    return signed_in


async def _authenticate_person(
    request: AuthContext,
    use_cases: UseCases,
    purpose: SessionPurpose = SessionPurpose.DASHBOARD,
) -> Person:
    signed_in = await _authenticate_session(request, use_cases, purpose)
    if signed_in is None:
        return await _authenticate_token(request, use_cases, BEARER_REQUIRED)
    if isinstance(signed_in.holder, ApiKey):
        raise Forbidden(PERSON_REQUIRED)
    return signed_in.holder


async def _authenticate_token(
    request: AuthContext, use_cases: UseCases, message_without_token: str
) -> Person:
    token = _bearer_token(request.headers)
    if token is None:
        raise Unauthenticated(message_without_token)
    if token.startswith(KEY_PREFIX):
        raise Unauthenticated(KEY_AS_BEARER)
    person = await use_cases.identity.authenticate_token(token, request.origin)
    request.known.append(person)
    return person


def _bearer_token(headers: Headers) -> str | None:
    """None also if the scheme isn't Bearer: a proxy may have asked the browser for a password."""
    scheme, _, token = (header(headers, b"authorization") or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


async def _authenticate_in_project(
    request: AuthContext, use_cases: UseCases, *, accepts_sessions: bool
) -> Caller:
    """A person, or the key with which a browser is signed in, in the project of X-Project-ID."""
    signed_in = await _authenticate_session(request, use_cases) if accepts_sessions else None
    if signed_in is None:
        holder: Person | ApiKey = await _authenticate_token(
            request, use_cases, CREDENTIALS_REQUIRED
        )
    else:
        holder = signed_in.holder
    organization, project = _tenant_headers(request.headers)
    if isinstance(holder, ApiKey):
        caller = await use_cases.identity.resolve_project_of_key(holder, project, request.origin)
    else:
        membership = await use_cases.identity.resolve_membership(holder, organization)
        request.known.append(membership)
        caller = await use_cases.identity.resolve_project(holder, membership, project)
    return caller if signed_in is None else replace(caller, session_id=signed_in.session.id)


def _tenant_headers(headers: Headers) -> tuple[OrganizationId | None, ProjectId]:
    """The organization, if one is named, and the project. Raises Invalid with all errors."""
    errors, project = FieldErrors(), None
    organization = _organization_header(headers, errors)
    if (project_text := header(headers, b"x-project-id")) is None:
        errors.add(PROJECT_FIELD, "is required")
    else:
        try:
            project = ProjectId(parse_uuid(project_text))
        except InvalidValue as error:
            errors.add(PROJECT_FIELD, str(error))
    errors.check()
    assert project is not None
    return organization, project


def _organization_header(headers: Headers, errors: FieldErrors) -> OrganizationId | None:
    text = header(headers, b"x-organization-id")
    try:
        return None if text is None else OrganizationId(parse_uuid(text))
    except InvalidValue as error:
        errors.add(ORGANIZATION_FIELD, str(error))
        return None


def _check_repeated(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises HttpProblem if a header in SINGLE_HEADERS occurs with two values.

    A proxy may read one of them, and this server the other.
    """
    values: dict[bytes, set[bytes]] = {}
    for name, value in headers:
        if name in SINGLE_HEADERS:
            values.setdefault(name, set()).add(value.strip())
    repeated = [name.decode() for name, found in values.items() if len(found) > 1]
    if repeated:
        raise HttpProblem(
            HTTPStatus.BAD_REQUEST, f"Send one value of the header {', '.join(sorted(repeated))}"
        )


def _printable(text: str, length_max: int) -> str:
    """A client's text as the audit log may contain it."""
    if not text.isprintable():
        text = "".join(character for character in text if character.isprintable())
    return text[:length_max]


def header(headers: Headers, name: bytes) -> str | None:
    """The value of a header; None if it is blank or missing."""
    value = headers.get(name, b"").strip()
    if not value:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")  # the charset of older HTTP versions
