"""Access policies: which credentials an endpoint accepts, and which caller they make."""

from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, ClassVar, Final, Protocol, Self, cast

from application.use_cases import UseCases
from domain.errors import Unauthenticated
from domain.identity.api_key import KEY_PREFIX, Scope
from domain.identity.audit import ADDRESS_MAX, AGENT_MAX, Origin
from domain.identity.caller import Caller, Person
from domain.identity.organization import Action
from domain.ids import OrganizationId, ProjectId
from entrypoints.http.callers import OrganizationCaller
from entrypoints.http.middleware.client_address import Network, client_address
from entrypoints.http.requests.errors import FieldErrors, HttpProblem
from entrypoints.http.requests.scalar_types import InvalidValue, parse_uuid

type Headers = Mapping[bytes, bytes]
"""The request's headers by their names in lower case."""
type Security = list[dict[str, list[str]]]
"""The OpenAPI security requirements: each entry is one alternative."""

FORWARDED_FOR: Final = b"x-forwarded-for"
SINGLE_HEADERS: Final = frozenset(
    {
        *(b"authorization", b"x-api-key", b"x-project-name", b"x-project-id"),
        *(b"x-organization-id", b"idempotency-key"),
    }
)
ORGANIZATION_FIELD: Final = "header.X-Organization-ID"
PROJECT_FIELD: Final = "header.X-Project-ID"
CREDENTIALS_REQUIRED: Final = (
    "Send an X-API-Key with an X-Project-Name, or a Bearer token with an X-Project-ID"
)
BEARER_REQUIRED: Final = "Send a Bearer token"
_SCHEMES: Final = (b"basic", b"bearer")


@dataclass(frozen=True, slots=True)
class AuthContext:
    """The parts of a request that authentication reads."""

    headers: Headers
    path: Mapping[str, str]
    origin: Origin
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
        return cls(headers, scope["path_params"], origin)


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
class DataPlane:
    """A caller in a project, with all of `scopes`: an API key, or a person with a token.

    If the request has a key, a token is ignored.
    """

    scopes: tuple[Scope, ...]

    security: ClassVar[Security] = [
        {"ApiKey": [], "ProjectName": []},
        {"HTTPBearer": [], "ProjectID": []},
        {"HTTPBearer": [], "ProjectID": [], "OrganizationID": []},
    ]
    refusals: ClassVar = (401, 403, 404, 422, 503)

    async def __call__(self, request: AuthContext, use_cases: UseCases) -> Caller:
        headers = request.headers
        key = header(headers, b"x-api-key")
        if key is not None:
            project_name = header(headers, b"x-project-name")
            caller = await use_cases.identity.authenticate_key(
                key, project_name, request.origin, request.known.append
            )
        else:
            caller = await _authenticate_in_project(request, use_cases)
        request.known.append(caller)
        caller.require(*self.scopes)
        return caller


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


CAN_INGEST: Final = DataPlane((Scope.INGEST,))
CAN_EXPORT_OTLP: Final = OtlpSender()
CAN_READ: Final = DataPlane((Scope.READ,))
CAN_INGEST_AND_READ: Final = DataPlane((Scope.INGEST, Scope.READ))
CAN_EVALUATE: Final = DataPlane((Scope.EVALUATE,))
CAN_EVALUATE_AND_READ: Final = DataPlane((Scope.EVALUATE, Scope.READ))


@dataclass(frozen=True, slots=True)
class ProjectAdminAccess:
    """A person in a project, with a token and a role that permits the action. Keys get 403."""

    action: Action

    security: ClassVar[Security] = [
        {"HTTPBearer": [], "ProjectID": []},
        {"HTTPBearer": [], "ProjectID": [], "OrganizationID": []},
    ]
    refusals: ClassVar = DataPlane.refusals

    async def __call__(self, request: AuthContext, use_cases: UseCases, /) -> Caller:
        caller = await CAN_EVALUATE(request, use_cases)
        caller.authorize(self.action)
        return caller


CAN_CHANGE_PRICES: Final = ProjectAdminAccess(Action.CHANGE_PRICES)


@dataclass(frozen=True, slots=True)
class SignedInAccess:
    """A person with a token, in any organization."""

    security: ClassVar[Security] = [{"HTTPBearer": []}, {"HTTPBearer": [], "OrganizationID": []}]
    refusals: ClassVar = (401, 403, 422, 503)

    async def __call__(self, request: AuthContext, use_cases: UseCases, /) -> Person:
        person = await _authenticate_person(request, use_cases, BEARER_REQUIRED)
        errors = FieldErrors()
        organization = _organization_header(request.headers, errors)
        errors.check()
        await use_cases.identity.resolve_membership(person, organization)
        return person


SIGNED_IN: Final = SignedInAccess()


@dataclass(frozen=True, slots=True)
class OrganizationAccess:
    """A person with a token who is a member of the organization in the path, as `org_id`.

    An X-Organization-ID header has no effect, but its form is checked.
    """

    security: ClassVar[Security] = SignedInAccess.security
    refusals: ClassVar = SignedInAccess.refusals

    async def __call__(self, request: AuthContext, use_cases: UseCases, /) -> OrganizationCaller:
        person = await _authenticate_person(request, use_cases, BEARER_REQUIRED)
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


async def _authenticate_person(
    request: AuthContext, use_cases: UseCases, message_without_token: str
) -> Person:
    scheme, _, token = (header(request.headers, b"authorization") or "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated(message_without_token)
    person = await use_cases.identity.authenticate_token(token, request.origin)
    request.known.append(person)
    return person


async def _authenticate_in_project(request: AuthContext, use_cases: UseCases) -> Caller:
    person = await _authenticate_person(request, use_cases, CREDENTIALS_REQUIRED)
    errors, project = FieldErrors(), None
    organization = _organization_header(request.headers, errors)
    if (project_text := header(request.headers, b"x-project-id")) is None:
        errors.add(PROJECT_FIELD, "is required")
    else:
        try:
            project = ProjectId(parse_uuid(project_text))
        except InvalidValue as error:
            errors.add(PROJECT_FIELD, str(error))
    errors.check()
    assert project is not None
    membership = await use_cases.identity.resolve_membership(person, organization)
    request.known.append(membership)
    return await use_cases.identity.resolve_project(person, membership, project)


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
    return "".join(character for character in text if character.isprintable())[:length_max]


def header(headers: Headers, name: bytes) -> str | None:
    """The value of a header; None if it is blank or missing."""
    value = headers.get(name, b"").strip()
    if not value:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")  # the charset of older HTTP versions
