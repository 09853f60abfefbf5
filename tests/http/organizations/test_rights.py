"""Every management route: rights by role, and what callers from other organizations learn."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from domain.identity.organization import Role
from tests.http.conftest import field_errors
from tests.support.clients.organization_members import PersonClient
from tests.support.clients.two_tenants import TwoTenants
from tests.support.endpoints.registry import MEMBER_REQUESTS, SIGNED_IN_REQUESTS, operation_of
from tests.support.endpoints.spec import EndpointSpec, MemberRoles
from tests.support.endpoints.templates import filled, filled_path, named
from tests.support.problems import problems_of

ALL = (*MEMBER_REQUESTS, *SIGNED_IN_REQUESTS)
INSIDE = [
    one
    for one in MEMBER_REQUESTS
    if named(one.path) > {"org_id"} and "{me}" not in one.words.values()
]
INVITATIONS = [one for one in SIGNED_IN_REQUESTS if "invitation_id" in named(one.path)]


@dataclass(frozen=True)
class World:
    """`ours` and `theirs` have the same kinds of objects; `caller` is a member of `ours` only."""

    tenants: TwoTenants
    role: Role

    @property
    def caller(self) -> PersonClient:
        return self.tenants.people[self.role]

    async def send(
        self, spec: EndpointSpec, whose: Mapping[str, str], **headers: str
    ) -> httpx.Response:
        """The response to a request with the ids of `whose`."""
        words = spec.own_words(self.tenants.words(whose, self.role))
        return await self.tenants.request(spec, self.caller.bearer | headers, words)

    async def send_to(self, path: str, spec: EndpointSpec) -> httpx.Response:
        body = filled(spec.body, spec.own_words(self.tenants.words(self.tenants.ours, self.role)))
        return await self.caller(spec.method, path, body)

    def state(self) -> Any:
        return self.tenants.site.state()


@pytest.fixture(params=Role)
def world(tenants: TwoTenants, request: pytest.FixtureRequest) -> World:
    return World(tenants, request.param)


async def test_each_role_has_its_rights(world: World) -> None:
    async def check(spec: EndpointSpec) -> None:
        await world.tenants.begin()
        assert isinstance(spec.access, MemberRoles)
        before = world.state()
        answer = await world.send(spec, world.tenants.ours)
        expected = spec.status if world.role in spec.access.roles else 403
        assert answer.status_code == expected, answer.text
        assert (world.state() != before) is (answer.is_success and spec.method != "GET")

    assert await problems_of(MEMBER_REQUESTS, check, operation_of) == {}


async def test_foreign_organization_responds_like_an_unknown_one(world: World) -> None:
    async def check(spec: EndpointSpec) -> None:
        before = world.state()
        theirs = await world.send(spec, world.tenants.theirs)
        unknown = await world.send(spec, world.tenants.nobody)
        ours_inside = await world.send(
            spec, {**world.tenants.ours, "org_id": world.tenants.theirs["org_id"]}
        )
        assert [one.status_code for one in (theirs, unknown, ours_inside)] == [403] * 3
        assert theirs.json() == unknown.json() == ours_inside.json()
        assert world.state() == before

    assert await problems_of(MEMBER_REQUESTS, check, operation_of) == {}


@pytest.mark.parametrize("spec", INSIDE, ids=operation_of)
async def test_foreign_objects_respond_like_unknown_ones(world: World, spec: EndpointSpec) -> None:
    assert isinstance(spec.access, MemberRoles)
    before = world.state()
    at_home = {"org_id": world.tenants.ours["org_id"]}
    theirs = await world.send(spec, {**world.tenants.theirs, **at_home})
    unknown = await world.send(spec, {**world.tenants.nobody, **at_home})
    # Whether a member may be removed depends on their role, so they are looked up first.
    looks_first = spec.method == "DELETE" and "/members/" in spec.path
    may = world.role in spec.access.roles
    assert theirs.status_code == (404 if may or looks_first else 403)
    assert (theirs.status_code, theirs.json()) == (unknown.status_code, unknown.json())
    assert world.state() == before


@pytest.mark.parametrize("spec", SIGNED_IN_REQUESTS, ids=operation_of)
async def test_every_person_may_use_own_routes(world: World, spec: EndpointSpec) -> None:
    answer = await world.send(spec, world.tenants.ours)
    assert answer.status_code == spec.status, answer.text


@pytest.mark.parametrize("spec", INVITATIONS, ids=operation_of)
async def test_foreign_invitation_is_403_and_unknown_one_404(
    world: World, spec: EndpointSpec
) -> None:
    before = world.state()
    paths = [
        filled_path(spec.path, whose) for whose in (world.tenants.theirs, world.tenants.nobody)
    ]
    others, unknown = [await world.send_to(path, spec) for path in paths]
    assert [others.status_code, unknown.status_code] == [403, 404]
    assert world.state() == before


@pytest.mark.parametrize("spec", SIGNED_IN_REQUESTS, ids=operation_of)
async def test_foreign_organization_header_responds_like_an_unknown_one(
    world: World, spec: EndpointSpec
) -> None:
    name = "x-organization-id"
    theirs = await world.send(spec, world.tenants.ours, **{name: world.tenants.theirs["org_id"]})
    unknown = await world.send(spec, world.tenants.ours, **{name: world.tenants.nobody["org_id"]})
    assert [theirs.status_code, unknown.status_code] == [403, 403]
    assert theirs.json() == unknown.json()


@pytest.mark.parametrize("spec", ALL, ids=operation_of)
async def test_every_route_requires_a_token(tenants: TwoTenants, spec: EndpointSpec) -> None:
    before = tenants.site.state()
    words = tenants.own_words(spec)
    for head in (
        {},
        tenants.key,
        {"authorization": "Bearer unknown"},
        {"authorization": "Basic abc"},
    ):
        answer = await tenants.request(spec, head, words)
        assert answer.status_code == 401
        assert list(answer.json()) == ["detail"]
    assert tenants.site.state() == before


@pytest.mark.parametrize("spec", ALL, ids=operation_of)
async def test_malformed_organization_header_is_named(
    tenants: TwoTenants, spec: EndpointSpec
) -> None:
    head = tenants.bearer | {"x-organization-id": "x"}
    refused = await tenants.request(spec, head, tenants.own_words(spec))
    assert set(field_errors(refused)) == {"header.X-Organization-ID"}


@pytest.mark.parametrize("spec", [one for one in ALL if named(one.path)], ids=operation_of)
async def test_malformed_path_ids_are_named(tenants: TwoTenants, spec: EndpointSpec) -> None:
    world = World(tenants, Role.MEMBER)
    words = named(spec.path)
    refused = await world.send_to(re.sub(r"{\w+}", "no-id", spec.path), spec)
    assert set(field_errors(refused)) == {f"path.{word}" for word in words}
    for word in words - {"org_id"}:
        template = spec.path.replace(f"{{{word}}}", "no-id")
        ours = await world.send_to(filled_path(template, world.tenants.ours), spec)
        assert set(field_errors(ours)) == {f"path.{word}"}
        foreign = await world.send_to(filled_path(template, world.tenants.theirs), spec)
        assert foreign.status_code == (403 if "org_id" in words else 422)
