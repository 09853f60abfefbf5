"""Every management route: rights by role, and what callers from other organizations learn."""

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from domain.identity.organization import Role
from domain.ids import InvitationId, OrganizationId
from tests.http.conftest import Site, field_errors
from tests.support.clients.organization_members import PersonClient, new_member, new_organization

ROLES = (Role.OWNER, Role.ADMIN, Role.MEMBER)
ORG = "/organizations/{org_id}"
NAMED = {"name": "other"}
# The statuses for an OWNER, an ADMIN and a MEMBER in their own organization, from the contract's
# table of roles. `{owner}`, `{admin}`, `{member}` are other people, `{me}` is the caller.
TABLE: list[tuple[str, str, Any, tuple[int, int, int]]] = [
    ("GET", ORG, None, (200, 200, 200)),
    ("PATCH", ORG, NAMED, (200, 200, 403)),
    ("DELETE", ORG, None, (204, 403, 403)),
    ("GET", f"{ORG}/members", None, (200, 200, 200)),
    ("PATCH", ORG + "/members/{member}", {"role": "ADMIN"}, (200, 403, 403)),
    ("PATCH", ORG + "/members/{member}", {"role": "OWNER"}, (200, 403, 403)),
    ("PATCH", ORG + "/members/{admin}", {"role": "MEMBER"}, (200, 403, 403)),
    ("PATCH", ORG + "/members/{owner}", {"role": "MEMBER"}, (200, 403, 403)),
    ("PATCH", ORG + "/members/{me}", {"role": "MEMBER"}, (403, 403, 403)),
    ("DELETE", ORG + "/members/{member}", None, (204, 204, 403)),
    ("DELETE", ORG + "/members/{admin}", None, (204, 403, 403)),
    ("DELETE", ORG + "/members/{owner}", None, (204, 403, 403)),
    ("DELETE", ORG + "/members/{me}", None, (204, 204, 204)),
    ("POST", f"{ORG}/invitations", {"email": "new@x.example"}, (201, 201, 403)),
    ("POST", f"{ORG}/invitations", {"email": "new@x.example", "role": "ADMIN"}, (201, 403, 403)),
    ("POST", f"{ORG}/invitations", {"email": "new@x.example", "role": "OWNER"}, (403, 403, 403)),
    ("GET", f"{ORG}/invitations", None, (200, 200, 200)),
    ("DELETE", ORG + "/invitations/{invitation_id}", None, (204, 204, 403)),
    ("POST", f"{ORG}/projects", NAMED, (201, 201, 403)),
    ("GET", f"{ORG}/projects", None, (200, 200, 200)),
    ("GET", ORG + "/projects/{project_id}", None, (200, 200, 200)),
    ("PATCH", ORG + "/projects/{project_id}", NAMED, (200, 200, 403)),
    ("PUT", ORG + "/projects/{project_id}/retention", {"days": 9}, (200, 200, 403)),
    ("GET", ORG + "/projects/{project_id}/budget", None, (200, 200, 200)),
    ("PUT", ORG + "/projects/{project_id}/budget", {"monthly_usd": 9}, (200, 200, 403)),
    ("DELETE", ORG + "/projects/{project_id}", None, (204, 403, 403)),
    ("POST", f"{ORG}/api-keys", NAMED, (201, 201, 201)),
    ("GET", f"{ORG}/api-keys", None, (200, 200, 200)),
    ("GET", ORG + "/api-keys/{key_id}", None, (200, 200, 200)),
    ("POST", ORG + "/api-keys/{key_id}/rotate", None, (201, 201, 403)),
    ("DELETE", ORG + "/api-keys/{key_id}", None, (204, 204, 403)),
    ("DELETE", ORG + "/api-keys/{key_id}?permanent=true", None, (204, 204, 403)),
    ("GET", f"{ORG}/audit-log", None, (200, 200, 403)),
    ("GET", f"{ORG}/usage", None, (200, 200, 200)),
]
# Routes without an organization: for every signed-in person.
PERSONAL: list[tuple[str, str, Any, int]] = [
    ("GET", "/me", None, 200),
    ("GET", "/me/invitations", None, 200),
    ("POST", "/me/invitations/{invitation_id}/accept", None, 200),
    ("POST", "/me/invitations/{invitation_id}/decline", None, 204),
    ("POST", "/organizations", NAMED, 201),
    ("GET", "/organizations", None, 200),
]
ALL = [*((method, path, body) for method, path, body, _ in (*TABLE, *PERSONAL))]
INSIDE = [row for row in TABLE if row[1].count("{") > 1 and "{me}" not in row[1]]


def name_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


@dataclass
class World:
    """Two organizations with the same kinds of objects; `caller` is a member of `ours` only."""

    site: Site
    role: Role
    ours: dict[str, str] = field(init=False)
    theirs: dict[str, str] = field(init=False)
    caller: PersonClient = field(init=False)

    def __post_init__(self) -> None:
        self.ours, self.theirs = (
            new_organization(self.site, "ours"),
            new_organization(self.site, "theirs"),
        )
        organization = OrganizationId(uuid.UUID(self.ours["org_id"]))
        self.caller = new_member(self.site, organization, "me@x.example", self.role)

    @property
    def nowhere(self) -> dict[str, str]:
        return {word: str(uuid.uuid4()) for word in self.theirs}

    async def send(self, method: str, path: str, body: Any, ids: dict[str, str]) -> httpx.Response:
        return await self.caller(method, path.format(me=self.caller.id, **ids), body)

    def state(self) -> list[dict[Any, Any]]:
        store = self.site.store
        kept = (store.organizations, store.projects, store.memberships, store.keys)
        return [dict(one) for one in (*kept, store.invitations, store.audit_log, store.removed)]


@pytest.fixture(params=ROLES)
def world(site: Site, request: pytest.FixtureRequest) -> World:
    return World(site, request.param)


@pytest.mark.parametrize(("method", "path", "body", "statuses"), TABLE, ids=name_of)
async def test_each_role_has_its_rights(
    world: World, method: str, path: str, body: Any, statuses: tuple[int, int, int]
) -> None:
    before = world.state()
    answer = await world.send(method, path, body, world.ours)
    assert answer.status_code == statuses[ROLES.index(world.role)], answer.text
    assert (world.state() != before) is (answer.is_success and method != "GET")


@pytest.mark.parametrize(("method", "path", "body", "statuses"), TABLE, ids=name_of)
async def test_foreign_organization_responds_like_an_unknown_one(
    world: World, method: str, path: str, body: Any, statuses: tuple[int, int, int]
) -> None:
    before = world.state()
    theirs = await world.send(method, path, body, world.theirs)
    unknown = await world.send(method, path, body, world.nowhere)
    ours_inside = await world.send(
        method, path, body, world.ours | {"org_id": world.theirs["org_id"]}
    )
    assert [one.status_code for one in (theirs, unknown, ours_inside)] == [403] * 3
    assert theirs.json() == unknown.json() == ours_inside.json()
    assert world.state() == before


@pytest.mark.parametrize(("method", "path", "body", "statuses"), INSIDE, ids=name_of)
async def test_foreign_objects_respond_like_unknown_ones(
    world: World, method: str, path: str, body: Any, statuses: tuple[int, int, int]
) -> None:
    before = world.state()
    at_home = {"org_id": world.ours["org_id"]}
    theirs = await world.send(method, path, body, world.theirs | at_home)
    unknown = await world.send(method, path, body, world.nowhere | at_home)
    may = statuses[ROLES.index(world.role)] < 300
    # Whether a member may be removed depends on their role, so they are looked up first.
    looks_first = method == "DELETE" and "/members/" in path
    assert theirs.status_code == (404 if may or looks_first else 403)
    assert (theirs.status_code, theirs.json()) == (unknown.status_code, unknown.json())
    assert world.state() == before


@pytest.mark.parametrize(("method", "path", "body", "status"), PERSONAL, ids=name_of)
async def test_every_person_may_use_own_routes(
    world: World, method: str, path: str, body: Any, status: int
) -> None:
    invitations = world.site.store.invitations
    waiting = InvitationId(uuid.UUID(world.theirs["invitation_id"]))
    invitations[waiting] = replace(invitations[waiting], email=world.caller.email)
    assert (await world.send(method, path, body, world.theirs)).status_code == status


@pytest.mark.parametrize("path", [path for _, path, _, _ in PERSONAL if "{" in path])
async def test_foreign_invitation_is_403_and_unknown_one_404(world: World, path: str) -> None:
    before = world.state()
    others = await world.send("POST", path, None, world.theirs)
    unknown = await world.send("POST", path, None, world.nowhere)
    assert [others.status_code, unknown.status_code] == [403, 404]
    assert world.state() == before


@pytest.mark.parametrize(("method", "path", "body", "status"), PERSONAL, ids=name_of)
async def test_foreign_organization_header_responds_like_an_unknown_one(
    world: World, method: str, path: str, body: Any, status: int
) -> None:
    path = path.format(**world.nowhere)
    theirs = await world.caller(method, path, body, x_organization_id=world.theirs["org_id"])
    unknown = await world.caller(method, path, body, x_organization_id=str(uuid.uuid4()))
    assert [theirs.status_code, unknown.status_code] == [403, 403]
    assert theirs.json() == unknown.json()


@pytest.mark.parametrize(("method", "path", "body"), ALL, ids=name_of)
async def test_every_route_requires_a_token(site: Site, method: str, path: str, body: Any) -> None:
    world = World(site, Role.OWNER)
    path = path.format(me=world.caller.id, **world.ours)
    key = site.headers()
    before = world.state()
    for head in ({}, key, {"authorization": "Bearer unknown"}, {"authorization": "Basic abc"}):
        answer = await site.http.request(method, path, headers=head, json=body)
        assert answer.status_code == 401
        assert list(answer.json()) == ["detail"]
    assert world.state() == before


@pytest.mark.parametrize(("method", "path", "body"), ALL, ids=name_of)
async def test_malformed_organization_header_is_named(
    site: Site, method: str, path: str, body: Any
) -> None:
    world = World(site, Role.OWNER)
    path = path.format(me=world.caller.id, **world.ours)
    refused = await world.caller(method, path, body, x_organization_id="x")
    assert set(field_errors(refused)) == {"header.X-Organization-ID"}


@pytest.mark.parametrize(
    ("method", "path", "body"), [row for row in ALL if "{" in row[1]], ids=name_of
)
async def test_malformed_path_ids_are_named(site: Site, method: str, path: str, body: Any) -> None:
    world = World(site, Role.MEMBER)
    fields = {f"path.{word}" for word in re.findall(r"{(\w+)}", documented(path))}
    refused = await world.caller(method, re.sub(r"{\w+}", "no-id", path), body)
    assert set(field_errors(refused)) == fields
    for field_ in fields - {"path.org_id"}:
        word = re.sub(r"{(?!org_id)\w+}", "no-id", path).format(**world.ours)
        assert set(field_errors(await world.caller(method, word, body))) == {field_}
        foreign = re.sub(r"{(?!org_id)\w+}", "no-id", path).format(**world.theirs)
        status = 403 if "{org_id}" in path else 422
        assert (await world.caller(method, foreign, body)).status_code == status


async def test_tables_cover_every_management_route(site: Site) -> None:
    document = (await site.http.get("/openapi.json")).json()
    tried = {(method, documented(path)) for method, path, _ in ALL}
    assert tried == set(managing(document))


def managing(document: Any) -> Iterator[tuple[str, str]]:
    for path, methods in document["paths"].items():
        if path.startswith(("/me", "/organizations")):
            yield from ((method.upper(), path) for method in methods)


def documented(path: str) -> str:
    """A path of the tables in the form of the OpenAPI document."""
    return re.sub(r"{(owner|admin|member|me)}", "{user_id}", path).partition("?")[0]
