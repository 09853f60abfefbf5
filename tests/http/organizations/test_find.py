"""GET /me/find: where an id is, among the projects of the caller."""

import uuid
from dataclasses import replace
from typing import Any

import pytest

from domain.identity.api_key import KeyLimits, Scope
from domain.identity.organization import Role
from domain.ids import OrganizationId, ProjectId
from tests.http.conftest import Site, field_errors
from tests.support.clients.organization_members import new_member, new_organization
from tests.support.clients.two_tenants import TwoTenants


async def found(world: TwoTenants, head: dict[str, str], id_: str) -> Any:
    answer = await world.send("GET", f"/me/find?id={id_}", head)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_person_and_a_key_find_what_is_theirs(tenants: TwoTenants) -> None:
    ours, theirs = tenants.ours, tenants.theirs
    here = {"project_id": ours["project_id"]}
    for head in (tenants.bearer, tenants.key, {"x-api-key": tenants.key["x-api-key"]}):
        for id_ in (ours["trace_id"], ours["trace_hex"]):
            assert await found(tenants, head, id_) == [{"kind": "trace"} | here]
        session = ours["session_id"].replace("/", "%2F")
        assert await found(tenants, head, session) == [{"kind": "session"} | here]
        assert await found(tenants, head, ours["monitor_id"]) == [{"kind": "monitor"} | here]
        for name in ("trace_id", "session_id", "monitor_id", "run_id", "score_id", "dataset_name"):
            assert await found(tenants, head, theirs[name].replace("/", "%2F")) == []


async def test_a_person_finds_in_every_organization_of_theirs(tenants: TwoTenants) -> None:
    """And nothing any more where the membership has ended."""
    site, theirs = tenants.site, tenants.theirs
    me, other = tenants.people[Role.MEMBER], OrganizationId(uuid.UUID(theirs["org_id"]))
    assert await found(tenants, me.bearer, theirs["trace_id"]) == []
    stored = site.store.memberships
    [mine] = [one for one in stored.values() if one.user_id == me.id]
    stored[other, me.id] = replace(mine, organization_id=other)
    assert await found(tenants, me.bearer, theirs["trace_id"]) == [
        {"kind": "trace", "project_id": theirs["project_id"]}
    ]
    del stored[other, me.id]
    assert await found(tenants, me.bearer, theirs["trace_id"]) == []


async def test_a_key_finds_in_its_projects_only(tenants: TwoTenants) -> None:
    head = tenants.new_key(Scope.READ)
    keys, id_ = tenants.site.store.keys, tenants.ours["trace_id"]
    key = next(reversed(keys))
    assert len(await found(tenants, head, id_)) == 1
    for allowed, number in ((uuid.uuid4(), 0), (uuid.UUID(tenants.ours["project_id"]), 1)):
        limits = KeyLimits(project_ids=frozenset({ProjectId(allowed)}))
        keys[key] = replace(keys[key], limits=limits)
        assert len(await found(tenants, head, id_)) == number


async def test_find_needs_a_credential_that_may_read(site: Site, tenants: TwoTenants) -> None:
    path = f"/me/find?id={tenants.ours['trace_id']}"
    ingests = await tenants.send("GET", path, tenants.new_key(Scope.INGEST))
    assert (ingests.status_code, ingests.json()["detail"]) == (
        403,
        "This API key lacks the scope 'read'",
    )
    for head in ({}, {"x-api-key": "pp_" + "0" * 64}, {"authorization": "Bearer nobody"}):
        assert (await tenants.send("GET", path, head)).status_code == 401


@pytest.mark.parametrize("query", ["", "?id=", "?id=" + "x" * 256, "?id=a&project_id=b"])
async def test_invalid_ids_are_refused(site: Site, query: str) -> None:
    words = new_organization(site, "ours")
    organization = OrganizationId(uuid.UUID(words["org_id"]))
    ada = new_member(site, organization, "ada@x.example", Role.OWNER)
    answer = await ada("GET", f"/me/find{query}")
    assert answer.status_code == 422
    assert field_errors(answer)
