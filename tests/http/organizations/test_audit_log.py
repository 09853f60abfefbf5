"""The audit log: every write has an entry."""

import hashlib
import json
import uuid
from datetime import timedelta
from typing import Any

import pytest

from domain.identity.organization import Role
from domain.ids import OrganizationId
from tests.http.conftest import Site, field_errors
from tests.support.builders.values import NOON
from tests.support.clients.organization_members import (
    PersonClient,
    new_member,
    new_organization,
    new_person,
)
from tests.support.clients.two_tenants import TwoTenants
from tests.support.endpoints.registry import MEMBER_REQUESTS, operation_of
from tests.support.endpoints.spec import EndpointSpec
from tests.support.endpoints.templates import filled

AGENT = "tests/1"
DELETION = "DELETE /organizations/{org_id}"


@pytest.fixture
def world(site: Site) -> dict[str, str]:
    return new_organization(site, "ours")


@pytest.fixture
def ada(site: Site, world: dict[str, str]) -> PersonClient:
    return new_member(site, OrganizationId(uuid.UUID(world["org_id"])), "ada@x.example", Role.OWNER)


@pytest.fixture
def ours(world: dict[str, str]) -> str:
    return f"/organizations/{world['org_id']}"


async def entries(person: PersonClient, ours: str) -> list[dict[str, Any]]:
    return (await person.read(f"{ours}/audit-log"))["items"]


async def test_fields_of_an_entry(
    site: Site, ada: PersonClient, ours: str, world: dict[str, str]
) -> None:
    site.now = NOON
    answer = await ada("PATCH", ours, {"name": "Acme"}, user_agent=f"{AGENT}\tü")
    assert answer.is_success
    [entry] = await entries(ada, ours)
    assert entry == {
        "id": str(next(iter(site.store.audit_log))),
        "occurred_at": "2026-03-01T12:00:00+00:00",
        "action": "organization.renamed",
        "actor": {"user_id": str(ada.id), "api_key_id": None, "name": "ada@x.example"},
        "resource": {"type": "organization", "id": world["org_id"]},
        "detail": {"from": "ours", "to": "Acme"},
        "address": "127.0.0.1",
        "user_agent": entry["user_agent"],
        "sequence": 1,
        "hash": entry["hash"],
    }
    assert entry["user_agent"].startswith(AGENT)
    assert "\t" not in entry["user_agent"]


# After the deletion of an organization, its log can't be read.
WRITES = [one for one in MEMBER_REQUESTS if one.audit and one.operation != DELETION]


@pytest.mark.parametrize("spec", WRITES, ids=operation_of)
async def test_every_write_has_an_entry(tenants: TwoTenants, spec: EndpointSpec) -> None:
    assert spec.audit is not None
    ada, words = tenants.people[Role.OWNER], tenants.own_words(spec)
    log = f"/organizations/{tenants.ours['org_id']}"
    known = await entries(tenants.people[Role.ADMIN], log)
    answer = await tenants.request(spec, ada.bearer, words)
    assert answer.is_success
    [entry] = [one for one in await entries(tenants.people[Role.ADMIN], log) if one not in known]
    about = answer.json()["id"] if spec.audit.about is None else words[spec.audit.about]
    assert (entry["action"], entry["actor"]["user_id"]) == (spec.audit.action, str(ada.id))
    assert entry["resource"] == {"type": spec.audit.action.partition(".")[0], "id": about}
    detail = filled(dict(spec.audit.detail), tenants.words(tenants.ours))
    assert detail.items() <= entry["detail"].items()
    assert "pp_" not in str({**entry["detail"], "prefix": ""})


async def test_refused_write_has_no_entry(
    site: Site, ada: PersonClient, ours: str, world: dict[str, str]
) -> None:
    bob = new_member(site, OrganizationId(uuid.UUID(world["org_id"])), "bob@x.example", Role.MEMBER)
    refused = [
        await bob("PATCH", ours, {"name": "Acme"}),
        await ada("PATCH", ours, {"name": "-"}),
        await ada("POST", f"{ours}/projects", {"name": "shop"}),
        await ada("POST", f"{ours}/invitations", {"email": "guest@ours.example"}),
        await ada("DELETE", f"{ours}/projects/{uuid.uuid4()}"),
    ]
    assert [one.status_code for one in refused] == [403, 422, 409, 409, 404]
    assert await entries(ada, ours) == []


async def test_creation_of_an_organization_is_logged(ada: PersonClient) -> None:
    made = await ada.call("POST", "/organizations", {"name": "Other"})
    [entry] = await entries(ada, f"/organizations/{made['id']}")
    assert entry["action"] == "organization.created"
    assert entry["resource"] == {"type": "organization", "id": made["id"]}
    assert entry["detail"] == {"name": "Other"}


@pytest.mark.parametrize("answer", ["accept", "decline"])
async def test_answers_to_invitations_are_logged(
    site: Site, ada: PersonClient, ours: str, world: dict[str, str], answer: str
) -> None:
    guest = new_person(site, "guest@ours.example")
    await guest.call("POST", f"/me/invitations/{world['invitation_id']}/{answer}")
    [entry] = await entries(ada, ours)
    assert entry["action"].startswith(f"invitation.{answer}")
    assert entry["actor"] == {
        "user_id": str(guest.id),
        "api_key_id": None,
        "name": "guest@ours.example",
    }
    assert entry["resource"] == {"type": "invitation", "id": world["invitation_id"]}


async def test_departures_are_logged(
    site: Site, ada: PersonClient, ours: str, world: dict[str, str]
) -> None:
    bob = new_member(site, OrganizationId(uuid.UUID(world["org_id"])), "bob@x.example", Role.MEMBER)
    await bob.call("POST", f"{ours}/api-keys", {"name": "k"})
    await bob.call("DELETE", f"{ours}/members/{bob.id}")
    left, _ = await entries(ada, ours)
    assert (left["action"], left["actor"]["name"]) == ("member.left", "bob@x.example")
    assert left["detail"] == {"role": "MEMBER", "revoked_keys": "1"}


async def test_first_use_of_a_key_from_a_network_is_logged(
    site: Site, ada: PersonClient, ours: str
) -> None:
    made = await ada.call("POST", f"{ours}/api-keys", {"name": "k"})
    head = {"x-api-key": made["raw_key"], "x-project-name": "shop"}
    for agent in ("sdk/1", "sdk/1", "sdk/2"):
        await site.http.get("/traces", headers=head | {"user-agent": agent})
    used = [one for one in await entries(ada, ours) if one["action"] == "api_key.used"]
    assert [one["user_agent"] for one in used] == ["sdk/1"]
    for one in used:
        assert one["actor"] == {
            "user_id": None,
            "api_key_id": made["id"],
            "name": made["key_prefix"],
        }
        assert one["resource"] == {"type": "api_key", "id": made["id"]}


class TestPages:
    @pytest.fixture
    async def names(self, site: Site, ada: PersonClient, ours: str) -> list[str]:
        """Seven entries, some at the same instant: their names, the newest first."""
        for number in range(7):
            site.now = NOON + timedelta(seconds=number // 3)
            await ada.call("POST", f"{ours}/projects", {"name": f"p{number}"})
        found = (await ada.read(f"{ours}/audit-log?limit=200"))["items"]
        times = [one["occurred_at"] for one in found]
        assert times == sorted(times, reverse=True)
        return [one["detail"]["name"] for one in found]

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
    async def test_pages_by_cursor_equal_pages_by_offset(
        self, ada: PersonClient, ours: str, names: list[str], limit: int
    ) -> None:
        assert sorted(names) == [f"p{number}" for number in range(7)]
        query, by_cursor, by_offset = f"?limit={limit}", [], []
        cursor: str | None = ""
        while cursor is not None:
            more = f"&cursor={cursor}" if cursor else ""
            page = await ada.read(f"{ours}/audit-log{query}{more}")
            assert (page["total"], page["limit"], page["offset"]) == (7, limit, 0)
            by_cursor += page["items"]
            cursor = page["next_cursor"]
        for offset in range(0, 7, limit):
            page = await ada.read(f"{ours}/audit-log{query}&offset={offset}")
            by_offset += page["items"]
        assert by_cursor == by_offset
        assert [one["detail"]["name"] for one in by_cursor] == names

    async def test_page_past_the_end_is_empty(
        self, ada: PersonClient, ours: str, names: list[str]
    ) -> None:
        page = await ada.read(f"{ours}/audit-log?offset=100")
        assert page == {"items": [], "total": 7, "limit": 50, "offset": 100, "next_cursor": None}

    async def test_invalid_page_parameters_are_named(
        self, ada: PersonClient, ours: str, names: list[str]
    ) -> None:
        refused = await ada("GET", f"{ours}/audit-log?limit=201&offset=-1&cursor=x")
        assert set(field_errors(refused)) == {"query.limit", "query.offset", "query.cursor"}
        cursor = (await ada.read(f"{ours}/audit-log?limit=1"))["next_cursor"]
        refused = await ada("GET", f"{ours}/audit-log?cursor={cursor}&offset=1")
        assert set(field_errors(refused)) == {"query.cursor"}

    async def test_cursor_of_another_organization_is_refused(
        self, ada: PersonClient, ours: str, names: list[str]
    ) -> None:
        cursor = (await ada.read(f"{ours}/audit-log?limit=1"))["next_cursor"]
        other = await ada.call("POST", "/organizations", {"name": "Other"})
        refused = await ada("GET", f"/organizations/{other['id']}/audit-log?cursor={cursor}")
        assert set(field_errors(refused)) == {"query.cursor"}


async def test_member_gets_403(site: Site, ours: str, world: dict[str, str]) -> None:
    organization = OrganizationId(uuid.UUID(world["org_id"]))
    for role, status in ((Role.MEMBER, 403), (Role.ADMIN, 200), (Role.OWNER, 200)):
        person = new_member(site, organization, f"{role}@x.example", role)
        assert (await person("GET", f"{ours}/audit-log")).status_code == status


async def test_export_has_every_entry_and_its_hash_can_be_recomputed(
    site: Site, ada: PersonClient, ours: str
) -> None:
    for name in ("Acme", "Acme 2", "Acme"):
        answer = await ada("PATCH", ours, {"name": name}, user_agent="a,3:b")
        assert answer.is_success, answer.text
    listed = await entries(ada, ours)
    answer = await ada("GET", f"{ours}/audit-log/export")
    assert answer.headers["content-type"] == "application/x-ndjson"
    *lines, end = [json.loads(line) for line in answer.text.splitlines()]
    assert lines == listed[::-1]
    assert [one["sequence"] for one in lines] == [1, 2, 3]
    assert end == {"export": {"entries": 3, "hash": lines[-1]["hash"]}}
    before = bytes(32)
    for one in lines:
        before = documented_hash(before, ours.rpartition("/")[2], one)
        assert one["hash"] == before.hex()


def documented_hash(before: bytes, organization: str, entry: dict[str, Any]) -> bytes:
    """As docs/access/organizations.md tells it."""
    at = entry["occurred_at"].replace("+00:00", "")
    actor, detail = entry["actor"], sorted(entry["detail"].items())
    fields = [
        *(str(entry["sequence"]), entry["id"], organization),
        at + ("Z" if "." in at else ".000000Z"),
        *(actor["user_id"], actor["api_key_id"], actor["name"]),
        *(entry["address"], entry["user_agent"], entry["action"], entry["resource"]["id"]),
        *(text for pair in detail for text in pair),
    ]
    hashed = hashlib.sha256(before)
    for field in fields:
        text = None if field is None else field.encode()
        hashed.update(b"-," if text is None else b"%d:%b," % (len(text), text))
    return hashed.digest()


async def test_export_of_empty_log_is_empty(ada: PersonClient, ours: str) -> None:
    answer = await ada("GET", f"{ours}/audit-log/export")
    assert answer.json() == {"export": {"entries": 0, "hash": "0" * 64}}


async def test_members_may_not_export(site: Site, world: dict[str, str], ours: str) -> None:
    organization = OrganizationId(uuid.UUID(world["org_id"]))
    member = new_member(site, organization, "m@x.example", Role.MEMBER)
    assert (await member("GET", f"{ours}/audit-log/export")).status_code == 403


async def test_log_is_filtered(ada: PersonClient, ours: str, site: Site) -> None:
    for day, name in enumerate(("Acme", "Globex", "Initech")):
        site.now = NOON + timedelta(days=day)
        assert (await ada("PATCH", ours, {"name": name})).is_success
    assert (await ada("POST", f"{ours}/projects", {"name": "another shop"})).is_success
    log = f"{ours}/audit-log"
    for query, number in (
        ("action=organization.renamed", 3),
        ("action=project.created", 1),
        (f"actor_id={ada.id}", 4),
        (f"actor_id={uuid.uuid4()}", 0),
        ("occurred_after=2026-03-02&occurred_before=2026-03-03", 1),
        (f"action=organization.renamed&actor_id={ada.id}&occurred_after=2026-03-02", 2),
    ):
        page = await ada.read(f"{log}?{query}")
        assert (page["total"], len(page["items"])) == (number, number), query
    first = await ada.read(f"{log}?action=organization.renamed&limit=2")
    rest = await ada.read(
        f"{log}?action=organization.renamed&limit=2&cursor={first['next_cursor']}"
    )
    assert [one["detail"]["to"] for one in first["items"] + rest["items"]] == [
        "Initech",
        "Globex",
        "Acme",
    ]
    for query in ("action=nothing", "actor_id=ada", "occurred_after=yesterday"):
        assert (await ada("GET", f"{log}?{query}")).status_code == 422
    foreign = await ada("GET", f"{log}?action=project.created&cursor={first['next_cursor']}")
    assert field_errors(foreign)
