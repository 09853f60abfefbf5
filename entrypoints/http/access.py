"""Whose credentials an endpoint accepts, and how a caller is made of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from application.use_cases import UseCases
from domain.errors import Unauthenticated
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
from domain.ids import OrganizationId, ProjectId
from entrypoints.http.problems import Mistakes
from entrypoints.http.scalars import Refused, parse_uuid

type Headers = Mapping[bytes, bytes]
"""The request's headers by their names in lower case."""

UNKNOWN: Final = "Send an X-API-Key with an X-Project-Name, or a Bearer token with an X-Project-ID"


class Access[C](Protocol):
    @property
    def security(self) -> list[dict[str, list[str]]]:
        """The OpenAPI security requirements: each entry is one way in."""
        ...

    @property
    def refusals(self) -> tuple[int, ...]:
        """The statuses with which it may refuse."""
        ...

    async def __call__(self, headers: Headers, do: UseCases, /) -> C:
        """Who asks. Raises Unauthenticated, Invalid, Forbidden, NotFound, Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Public:
    """Anybody, without credentials."""

    security: list[dict[str, list[str]]]
    refusals: tuple[int, ...] = ()

    async def __call__(self, _headers: Headers, _do: UseCases, /) -> None:
        return None


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

    async def __call__(self, headers: Headers, do: UseCases) -> Caller:
        key = header(headers, b"x-api-key")
        if key is not None:
            caller = await do.authenticate_key(key, header(headers, b"x-project-name"))
        else:
            caller = await _person(headers, do)
        caller.require(*self.scopes)
        return caller


def data_plane(*scopes: Scope) -> DataPlane:
    return DataPlane(scopes)


async def _person(headers: Headers, do: UseCases) -> Caller:
    scheme, _, token = (header(headers, b"authorization") or "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated(UNKNOWN)
    user = await do.authenticate_token(token)
    mistakes = Mistakes()
    named = project = None
    if (organization_text := header(headers, b"x-organization-id")) is not None:
        try:
            named = OrganizationId(parse_uuid(organization_text))
        except Refused as refused:
            mistakes.add("header.X-Organization-ID", str(refused))
    if (project_text := header(headers, b"x-project-id")) is None:
        mistakes.add("header.X-Project-ID", "is required")
    else:
        try:
            project = ProjectId(parse_uuid(project_text))
        except Refused as refused:
            mistakes.add("header.X-Project-ID", str(refused))
    mistakes.check()
    assert project is not None
    organization = await do.resolve_organization(user.id, named)
    return await do.resolve_project(user.id, organization, project)


def header(headers: Headers, name: bytes) -> str | None:
    """The value of a header; None where it is blank or missing."""
    value = headers.get(name, b"").strip()
    if not value:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")  # as HTTP once said
