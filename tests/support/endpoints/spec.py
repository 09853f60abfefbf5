"""EndpointSpec: what one operation of the API requires and answers.

A spec states the intended policy by hand. It reads nothing of the application, so that the tests
that follow from it can compare the policy with the behaviour over HTTP. The specs are in one
module per chapter, as the controllers are.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from domain.identity.api_key import Scope
from domain.identity.organization import Role
from entrypoints.http.middleware.rate_limits import RouteClass
from tests.support.endpoints.templates import Words, filled, named

PAGE: Final = "limit=200&offset=0"
MARCH: Final = "started_after=2026-03-01&started_before=2026-04-01"
LATER: Final = "2026-03-02"  # than the stored objects, so that lists have one order


@dataclass(frozen=True)
class Anonymous:
    """Any client, without credentials."""


@dataclass(frozen=True)
class SignedIn:
    """Any person with a token."""


@dataclass(frozen=True)
class AnyHolder:
    """Any person with a token, or an API key with the scope `read`; without a project."""


@dataclass(frozen=True)
class ProjectScopes:
    """An API key with all of these scopes, or a member of the project's organization."""

    scopes: frozenset[Scope]


@dataclass(frozen=True)
class ProjectAdmins:
    """An OWNER or ADMIN of the project's organization, with a token. Keys and members get 403."""


@dataclass(frozen=True)
class ProjectMembers:
    """A member of the project's organization, with a token. Keys get 403."""


@dataclass(frozen=True)
class MemberRoles:
    """A member of the organization in the path, in one of these roles. Other members get 403."""

    roles: frozenset[Role]


type Access = (
    Anonymous | SignedIn | AnyHolder | ProjectScopes | ProjectAdmins | ProjectMembers | MemberRoles
)

ANONYMOUS: Final = Anonymous()
SIGNED_IN: Final = SignedIn()
ANY_HOLDER: Final = AnyHolder()
IN_PROJECT: Final = ProjectScopes(frozenset())
READ: Final = ProjectScopes(frozenset({Scope.READ}))
INGEST: Final = ProjectScopes(frozenset({Scope.INGEST}))
EVALUATE: Final = ProjectScopes(frozenset({Scope.EVALUATE}))
DELETE_DATA: Final = ProjectScopes(frozenset({Scope.INGEST, Scope.READ}))
PROJECT_ADMINS: Final = ProjectAdmins()
PROJECT_MEMBERS: Final = ProjectMembers()
EVALUATE_AND_READ: Final = ProjectScopes(frozenset({Scope.EVALUATE, Scope.READ}))
IMPORT: Final = ProjectScopes(frozenset({Scope.INGEST, Scope.EVALUATE}))
ALL_ROLES: Final = MemberRoles(frozenset(Role))
ADMINS: Final = MemberRoles(frozenset({Role.OWNER, Role.ADMIN}))
OWNERS: Final = MemberRoles(frozenset({Role.OWNER}))
NO_ROLE: Final = MemberRoles(frozenset())

# Statuses of every operation with this access. A 503 means that the database can't be reached.
_REFUSALS: Final[Mapping[type[Any], frozenset[int]]] = {
    Anonymous: frozenset(),
    SignedIn: frozenset({401, 403, 422, 503}),
    AnyHolder: frozenset({401, 403, 422, 503}),
    MemberRoles: frozenset({401, 403, 422, 503}),
    ProjectScopes: frozenset({401, 403, 404, 422, 503}),
    ProjectMembers: frozenset({401, 403, 404, 422, 503}),
    ProjectAdmins: frozenset({401, 403, 404, 422, 503}),
}


@dataclass(frozen=True)
class Audit:
    """The entry of the audit log that a successful request adds.

    `about` is the placeholder of the id of the changed resource; None: the id in the response.
    """

    action: str
    about: str | None = None
    detail: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EndpointSpec:
    """One operation, and a valid request as templates (see templates.py for placeholders)."""

    operation: str = field(kw_only=False)  # a method and a path, as in the OpenAPI document
    access: Access = field(kw_only=False)
    status: int = field(kw_only=False)  # of a success
    query: str = ""
    body: Any = None
    # Placeholders for which the caller's own value would make the request fail, and the templates
    # that a request has to use in their place in order to succeed.
    words: Words = field(default_factory=dict)
    # Documented statuses besides those that follow from access, path, body and rate limit.
    other_statuses: frozenset[int] | set[int] = frozenset()
    takes_key: bool = False  # an Idempotency-Key
    has_secret: bool = False  # in its response: a repeat with the same key is answered with 409
    in_contract: bool = True  # see `beyond_contract`
    route_class: RouteClass | None = RouteClass.DEFAULT  # None: not limited
    limited_by_volume: bool = False  # by bytes and spans, not by requests
    audit: Audit | None = None
    is_file: bool = False  # a GET that sends a file or stream, and not JSON with an ETag
    # The tests of isolation read all lists with pages after each write, and this read as well: it
    # shows stored values that those lists don't show.
    shows_more: bool = False
    # Fields of the body whose schema allows more than the service accepts: generated bodies get
    # the values of this request.
    constrained: tuple[str, ...] = ()
    # Fields of the body that can't be combined with the fields of this request.
    excluded: tuple[str, ...] = ()
    # Changes of this spec: requests that other roles may send, or that have other audit entries.
    variants: tuple[Mapping[str, Any], ...] = ()

    @property
    def method(self) -> str:
        return self.operation.split()[0]

    @property
    def path(self) -> str:
        return self.operation.split()[1]

    @property
    def is_data_plane(self) -> bool:
        return isinstance(self.access, ProjectScopes)

    @property
    def shows_state(self) -> bool:
        """Whether it is read after writes, to see what they have changed."""
        return self.method == "GET" and (self.shows_more or PAGE in self.query)

    @property
    def has_etag(self) -> bool:
        return self.method == "GET" and self.access == READ and not self.is_file

    @property
    def changes_object(self) -> bool:
        """Whether it changes or deletes the object that its path names."""
        return self.method in {"PATCH", "PUT", "DELETE"}

    @property
    def placeholders(self) -> set[str]:
        return named(self.operation, self.query, self.body)

    @property
    def documented_statuses(self) -> set[int]:
        found = {self.status, 500} | _REFUSALS[type(self.access)] | self.other_statuses
        if named(self.path):
            found |= {404, 422}
        if self.body is not None:
            found |= {400, 413, 415, 422}
        if self.takes_key:
            found |= {409}
        if self.has_etag:
            found |= {304}
        if self.changes_object:
            found |= {412}
        if self.route_class is not None:
            found |= {429, 503}  # a 503 also means that too many requests wait
        return found

    def own_words(self, words: Words) -> dict[str, str]:
        """The caller's words, changed so that the request succeeds."""
        return {**words, **filled(dict(self.words), words)}

    def requests(self) -> Iterator["EndpointSpec"]:
        """This request and its variants."""
        yield self
        yield from (replace(self, variants=(), **changes) for changes in self.variants)


def beyond_contract(*specs: EndpointSpec) -> tuple[EndpointSpec, ...]:
    """Operations that the published OpenAPI document of the contract doesn't have."""
    return tuple(replace(spec, in_contract=False) for spec in specs)
