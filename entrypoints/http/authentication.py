"""Whose credentials an endpoint accepts, and how a caller is made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

from application.use_cases import UseCases
from domain.errors import Unauthenticated
from domain.identity.api_key import Scope
from domain.identity.audit import ADDRESS_MAX, AGENT_MAX, Origin
from domain.identity.caller import Caller, Person
from domain.identity.organization import Membership
from domain.ids import OrganizationId, ProjectId
from entrypoints.http.middleware.client_address import Network, client_address
from entrypoints.http.problems import Mistakes
from entrypoints.http.requests.scalar_types import Refused, parse_uuid

type Headers = Mapping[bytes, bytes]
"""The request's headers by their names in lower case."""

FORWARDED: Final = b"x-forwarded-for"
ORGANIZATION: Final = "header.X-Organization-ID"
PROJECT: Final = "header.X-Project-ID"
UNKNOWN: Final = "Send an X-API-Key with an X-Project-Name, or a Bearer token with an X-Project-ID"
SEND_A_BEARER: Final = "Send a Bearer token"


@dataclass(frozen=True, slots=True)
class Incoming:
    """What of a request tells who asks: headers, the words of its path, where it came from."""

    headers: Headers
    path: Mapping[str, str]
    origin: Origin

    @classmethod
    def of(cls, scope: Mapping[str, Any], trusted: Sequence[Network]) -> "Incoming":
        """Of an ASGI scope; `trusted` are the proxies whose X-Forwarded-For counts."""
        headers: Headers = dict(scope["headers"])
        client, agent = scope.get("client"), header(headers, b"user-agent")
        address = None if client is None else _shown(client[0], ADDRESS_MAX)
        if trusted:
            forwarded = [
                value.decode("latin-1") for name, value in scope["headers"] if name == FORWARDED
            ]
            address = client_address(address, forwarded, trusted)
        origin = Origin(address, None if agent is None else _shown(agent, AGENT_MAX))
        return cls(headers, scope["path_params"], origin)


class Access[C](Protocol):
    @property
    def security(self) -> list[dict[str, list[str]]]:
        """The OpenAPI security requirements: each entry is one way in."""
        ...

    @property
    def refusals(self) -> tuple[int, ...]:
        """The statuses with which it may refuse."""
        ...

    async def __call__(self, incoming: Incoming, do: UseCases, /) -> C:
        """Who asks. Raises Unauthenticated, Invalid, Forbidden, NotFound, Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Public:
    """Anybody, without credentials; known is only where they ask from."""

    security: list[dict[str, list[str]]]
    refusals: tuple[int, ...] = ()

    async def __call__(self, incoming: Incoming, _do: UseCases, /) -> Origin:
        return incoming.origin


PUBLIC: Final = Public([])


@dataclass(frozen=True, slots=True)
class DataPlane:
    """A key for a project it names, or a person for a project of theirs, with all of `scopes`.

    A key that is sent decides, whatever token comes with it.
    """

    scopes: tuple[Scope, ...]

    @property
    def security(self) -> list[dict[str, list[str]]]:
        return [
            {"ApiKey": [], "ProjectName": []},
            {"HTTPBearer": [], "ProjectID": []},
            {"HTTPBearer": [], "ProjectID": [], "OrganizationID": []},
        ]

    @property
    def refusals(self) -> tuple[int, ...]:
        return (401, 403, 404, 422, 503)

    async def __call__(self, incoming: Incoming, do: UseCases) -> Caller:
        headers = incoming.headers
        key = header(headers, b"x-api-key")
        if key is not None:
            name = header(headers, b"x-project-name")
            caller = await do.identity.authenticate_key(key, name, incoming.origin)
        else:
            caller = await _person_in_project(incoming, do)
        caller.require(*self.scopes)
        return caller


def data_plane(*scopes: Scope) -> DataPlane:
    return DataPlane(scopes)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person with a token, whatever organization they belong to."""

    @property
    def security(self) -> list[dict[str, list[str]]]:
        return [{"HTTPBearer": []}, {"HTTPBearer": [], "OrganizationID": []}]

    @property
    def refusals(self) -> tuple[int, ...]:
        return (401, 403, 422, 503)

    async def __call__(self, incoming: Incoming, do: UseCases, /) -> Person:
        person = await _person(incoming, do, SEND_A_BEARER)
        mistakes = Mistakes()
        named = _named_organization(incoming.headers, mistakes)
        mistakes.check()
        await do.identity.resolve_membership(person, named)
        return person


SIGNED_IN: Final = SignedIn()


@dataclass(frozen=True, slots=True)
class Colleague:
    """A person as a member of the organization that the path names."""

    person: Person
    membership: Membership

    @property
    def organization(self) -> OrganizationId:
        return self.membership.organization_id


@dataclass(frozen=True, slots=True)
class OfOrganization:
    """A person with a token who is a member of the organization in the path, as `org_id`.

    The path decides: of the header only the form is looked at.
    """

    @property
    def security(self) -> list[dict[str, list[str]]]:
        return SIGNED_IN.security

    @property
    def refusals(self) -> tuple[int, ...]:
        return SIGNED_IN.refusals

    async def __call__(self, incoming: Incoming, do: UseCases, /) -> Colleague:
        person = await _person(incoming, do, SEND_A_BEARER)
        mistakes = Mistakes()
        _named_organization(incoming.headers, mistakes)
        mistakes.check()
        try:
            named = OrganizationId(parse_uuid(incoming.path["org_id"]))
        except Refused:
            # Nobody gets to see that it is none: reading the path refuses the request.
            return Colleague(person, cast("Membership", None))
        return Colleague(person, await do.identity.resolve_membership(person, named))


OF_ORGANIZATION: Final = OfOrganization()


async def _person(incoming: Incoming, do: UseCases, otherwise: str) -> Person:
    scheme, _, token = (header(incoming.headers, b"authorization") or "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated(otherwise)
    return await do.identity.authenticate_token(token, incoming.origin)


async def _person_in_project(incoming: Incoming, do: UseCases) -> Caller:
    person = await _person(incoming, do, UNKNOWN)
    mistakes, project = Mistakes(), None
    named = _named_organization(incoming.headers, mistakes)
    if (project_text := header(incoming.headers, b"x-project-id")) is None:
        mistakes.add(PROJECT, "is required")
    else:
        try:
            project = ProjectId(parse_uuid(project_text))
        except Refused as refused:
            mistakes.add(PROJECT, str(refused))
    mistakes.check()
    assert project is not None
    membership = await do.identity.resolve_membership(person, named)
    return await do.identity.resolve_project(person.user.id, membership.organization_id, project)


def _named_organization(headers: Headers, mistakes: Mistakes) -> OrganizationId | None:
    text = header(headers, b"x-organization-id")
    try:
        return None if text is None else OrganizationId(parse_uuid(text))
    except Refused as refused:
        mistakes.add(ORGANIZATION, str(refused))
        return None


def _shown(text: str, most: int) -> str:
    """What a log can hold of a stranger's words."""
    return "".join(one for one in text if one.isprintable())[:most]


def header(headers: Headers, name: bytes) -> str | None:
    """The value of a header; None where it is blank or missing."""
    value = headers.get(name, b"").strip()
    if not value:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")  # as HTTP once said
