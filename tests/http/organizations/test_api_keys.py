"""API keys: their management, and what they give access to."""

import re
import uuid
from datetime import timedelta
from typing import Any

import httpx
import pytest

from domain.identity.api_key import KEY_LIFETIME
from domain.identity.organization import Role
from domain.ids import OrganizationId
from tests.http.conftest import Site, a_trace, field_errors
from tests.support.builders.values import NOON
from tests.support.clients.organization_members import PersonClient, new_member

ALL = ["ingest", "read", "evaluate"]


@pytest.fixture
async def ours(ada: PersonClient) -> str:
    """The path of the keys of an organization that Ada owns."""
    made = await ada.call("POST", "/organizations", {"name": "Acme"})
    return f"/organizations/{made['id']}/api-keys"


async def opened(site: Site, secret: str) -> dict[str, int]:
    """The statuses of one read and one write with a key."""
    head = {"x-api-key": secret, "x-project-name": "shop"}
    return {
        "read": (await site.http.get("/traces", headers=head)).status_code,
        "ingest": (await site.http.post("/traces", headers=head, json=a_trace())).status_code,
    }


OPEN, CLOSED = {"read": 200, "ingest": 202}, {"read": 401, "ingest": 401}


def first_used(at: str) -> dict[str, str]:
    return {"last_used_at": at, "newest_network": "127.0.0.0/24", "newest_network_at": at}


async def test_fields_of_a_key(site: Site, ada: PersonClient, ours: str) -> None:
    made = await ada.call("POST", ours, {"name": " ci ", "expiration": "90d", "scopes": ["read"]})
    secret = made["raw_key"]
    assert re.fullmatch(r"pp_[0-9a-f]{64}", secret)
    assert made == {
        "id": made["id"],
        "org_id": ours.split("/")[2],
        "key_prefix": secret[:10],
        "name": " ci ",
        "is_active": True,
        "created_at": "2026-03-01T12:00:00+00:00",
        "expires_at": "2026-05-30T12:00:00+00:00",
        "raw_key": secret,
        "scopes": ["read"],
        "project_ids": None,
        "networks": None,
        "created_by": (await ada.read("/me"))["id"],
        "last_used_at": None,
        "newest_network": None,
        "newest_network_at": None,
    }
    hidden = made | {"raw_key": None}
    assert await ada.read(f"{ours}/{made['id']}") == hidden
    assert await ada.read(ours) == [hidden]
    assert await opened(site, secret) == {"read": 200, "ingest": 403}
    used = await ada.read(f"{ours}/{made['id']}")
    assert used == hidden | first_used("2026-03-01T12:00:00+00:00")
    assert secret.encode() not in repr(site.store).encode()


@pytest.mark.parametrize(
    ("said", "scopes"),
    [
        ({}, ALL),
        ({"scopes": None}, ALL),
        ({"scopes": ["evaluate", "ingest"]}, ["ingest", "evaluate"]),
        ({"scopes": ["read", "read"]}, ["read"]),
        ({"scopes": ALL}, ALL),
    ],
)
async def test_granted_scopes_are_enforced(
    ada: PersonClient, ours: str, said: Any, scopes: list[str]
) -> None:
    made = await ada.call("POST", ours, {"name": "k"} | said)
    assert made["scopes"] == scopes
    assert (await ada.read(f"{ours}/{made['id']}"))["scopes"] == scopes
    assert made["expires_at"] is None


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"name"}),
        ({"name": None}, {"name"}),
        ({"name": ""}, {"name"}),
        ({"name": "n" * 256}, {"name"}),
        ({"name": "a\0"}, {"name"}),
        ({"name": "a\nb"}, {"name"}),
        ({"name": "a\u202eb"}, {"name"}),
        ({"name": "a\u2028b"}, {"name"}),
        ({"name": "\ud800"}, {"name"}),
        ({"name": "k", "scopes": []}, {"scopes"}),
        ({"name": "k", "scopes": ["read"] * 101}, {"scopes"}),
        ({"name": "k", "project_ids": [], "networks": []}, {"project_ids", "networks"}),
        ({"name": "k", "project_ids": ["x"]}, {"project_ids.0"}),
        ({"name": "k", "project_ids": [str(uuid.UUID(int=1))]}, {"project_ids"}),
        (
            {"name": "k", "networks": ["10.0.0.0/8", "x", "1.2.3.4/33"]},
            {"networks.1", "networks.2"},
        ),
        ({"name": "k", "networks": ["10.0.0.1"] * 51}, {"networks"}),
        ({"name": "k", "scopes": ["admin"]}, {"scopes.0"}),
        ({"name": "k", "scopes": ["read", "READ"]}, {"scopes.1"}),
        ({"name": "k", "scopes": "read"}, {"scopes"}),
        ({"name": "k", "expiration": None}, {"expiration"}),
        ({"name": "k", "expiration": "30d"}, {"expiration"}),
        ({"name": 1, "expiration": 90, "scopes": [None]}, {"name", "expiration", "scopes.0"}),
    ],
    ids=lambda said: ",".join(sorted(said)) if isinstance(said, set) else repr(said)[:60],
)
async def test_invalid_keys_are_refused(
    ada: PersonClient, ours: str, body: Any, fields: set[str]
) -> None:
    assert set(field_errors(await ada("POST", ours, body))) == fields
    assert await ada.read(ours) == []


@pytest.mark.parametrize("name", ["k", " ", "名前", "n" * 255, "a/b", "\N{SNOWMAN}"])
async def test_valid_names_are_accepted(ada: PersonClient, ours: str, name: str) -> None:
    first, second = [await ada.call("POST", ours, {"name": name}) for _ in range(2)]
    assert (first["name"], second["name"]) == (name, name)
    assert first["raw_key"] != second["raw_key"]


async def test_keys_expire_by_the_limits_of_the_organization(ada: PersonClient, ours: str) -> None:
    path = ours.replace("api-keys", "limits")
    known = {"monthly_usd": None, "project_monthly_usd": None, "project_retention_days": None}
    assert (await ada.call("POST", ours, {"name": "k"}))["expires_at"] is None
    await ada.call("PUT", path, known | {"key_days": 7})
    for said, expires_at in (
        ({}, "2026-03-08T12:00:00+00:00"),
        ({"expiration": "never"}, None),
        ({"expiration": "90d"}, "2026-05-30T12:00:00+00:00"),
    ):
        assert (await ada.call("POST", ours, {"name": "k"} | said))["expires_at"] == expires_at


async def test_limited_key_is_refused_elsewhere(site: Site, ada: PersonClient, ours: str) -> None:
    [project] = await ada.read(ours.replace("api-keys", "projects"))
    limits = {"project_ids": [project["id"]], "networks": ["127.0.0.1/8", "127.0.0.0/8"]}
    made = await ada.call("POST", ours, {"name": "k"} | limits)
    assert (made["project_ids"], made["networks"]) == ([project["id"]], ["127.0.0.0/8"])
    head = {"x-api-key": made["raw_key"], "x-project-name": project["name"]}
    assert (await site.http.get("/traces", headers=head)).status_code == 200
    other = await site.http.get("/traces", headers=head | {"x-project-name": "other"})
    assert other.status_code == 403
    transport = httpx.ASGITransport(site.app, client=("192.0.2.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as elsewhere:
        assert (await elsewhere.get("/traces", headers=head)).status_code == 401
    assert len(await ada.read(ours.replace("api-keys", "projects"))) == 1


async def test_list_is_sorted_newest_first(site: Site, ada: PersonClient, ours: str) -> None:
    for second, name in enumerate(("one", "two", "three")):
        site.now = NOON + timedelta(seconds=second)
        await ada.call("POST", ours, {"name": name})
    assert [one["name"] for one in await ada.read(ours)] == ["three", "two", "one"]


async def test_expired_key_is_refused(site: Site, ada: PersonClient, ours: str) -> None:
    made = await ada.call("POST", ours, {"name": "k", "expiration": "90d"})
    site.now = NOON + KEY_LIFETIME - timedelta(microseconds=1)
    assert await opened(site, made["raw_key"]) == OPEN
    assert (await ada.read(f"{ours}/{made['id']}"))["is_active"] is True
    site.now = NOON + KEY_LIFETIME
    assert await opened(site, made["raw_key"]) == CLOSED
    assert [one["is_active"] for one in await ada.read(ours)] == [False]


async def test_revoked_key_is_refused_and_listed(site: Site, ada: PersonClient, ours: str) -> None:
    made = await ada.call("POST", ours, {"name": "k"})
    assert await opened(site, made["raw_key"]) == OPEN
    path = f"{ours}/{made['id']}"
    for query in ("", "?permanent=false", "?permanent=no"):
        await ada.call("DELETE", path + query)
        assert await opened(site, made["raw_key"]) == CLOSED
        used = first_used("2026-03-01T12:00:00+00:00")
        assert await ada.read(path) == made | used | {"raw_key": None, "is_active": False}
    log = await ada.read(ours.replace("api-keys", "audit-log"))
    assert [one["action"] for one in log["items"]].count("api_key.revoked") == 1


async def test_networks_are_shown_to_those_who_may_read_the_audit_log(
    site: Site, ada: PersonClient, ours: str
) -> None:
    made = await ada.call("POST", ours, {"name": "k"})
    await opened(site, made["raw_key"])
    organization = OrganizationId(uuid.UUID(made["org_id"]))
    shown = {}
    for role in Role:
        person = new_member(site, organization, f"{role.lower()}@x.example", role)
        one, [listed] = await person.read(f"{ours}/{made['id']}"), await person.read(ours)
        assert one == listed
        shown[role] = (one["newest_network"], one["newest_network_at"] is not None)
    seen = ("127.0.0.0/24", True)
    assert shown == {Role.OWNER: seen, Role.ADMIN: seen, Role.MEMBER: (None, False)}


@pytest.mark.parametrize("is_revoked_first", [False, True])
async def test_deleted_key_is_gone(
    site: Site, ada: PersonClient, ours: str, is_revoked_first: bool
) -> None:
    made = await ada.call("POST", ours, {"name": "k"})
    path = f"{ours}/{made['id']}"
    if is_revoked_first:
        await ada.call("DELETE", path)
    await ada.call("DELETE", f"{path}?permanent=true")
    assert await opened(site, made["raw_key"]) == CLOSED
    assert await ada.read(ours) == []
    answers = [
        await ada("GET", path),
        await ada("DELETE", path),
        await ada("DELETE", f"{path}?permanent=true"),
        await ada("POST", f"{path}/rotate"),
    ]
    assert [one.status_code for one in answers] == [404] * 4


async def test_permanent_must_be_a_boolean(ada: PersonClient, ours: str) -> None:
    made = await ada.call("POST", ours, {"name": "k"})
    refused = await ada("DELETE", f"{ours}/{made['id']}?permanent=maybe")
    assert set(field_errors(refused)) == {"query.permanent"}
    assert (await ada.read(f"{ours}/{made['id']}"))["is_active"] is True


async def test_rotation_creates_a_new_key(site: Site, ada: PersonClient, ours: str) -> None:
    old = await ada.call("POST", ours, {"name": "k", "expiration": "90d", "scopes": ["read"]})
    site.now = NOON + timedelta(days=80)
    new = await ada.call("POST", f"{ours}/{old['id']}/rotate")
    assert new["id"] != old["id"]
    assert new["raw_key"] not in {None, old["raw_key"]}
    assert (new["name"], new["scopes"], new["is_active"]) == ("k", ["read"], True)
    assert new["created_at"] == "2026-05-20T12:00:00+00:00"
    assert new["expires_at"] == "2026-08-18T12:00:00+00:00"
    reading = {"read": 200, "ingest": 403}
    assert await opened(site, old["raw_key"]) == await opened(site, new["raw_key"]) == reading
    seen = {"raw_key": None} | first_used("2026-05-20T12:00:00+00:00")
    assert await ada.read(ours) == [new | seen, old | seen]
    site.now = NOON + KEY_LIFETIME
    assert await opened(site, old["raw_key"]) == CLOSED
    assert await opened(site, new["raw_key"]) == reading
    await ada.call("POST", f"{ours}/{old['id']}/rotate")  # also an expired one


async def test_revoked_and_unlimited_keys_cannot_be_rotated(ada: PersonClient, ours: str) -> None:
    forever = await ada.call("POST", ours, {"name": "k"})
    revoked = await ada.call("POST", ours, {"name": "k", "expiration": "90d"})
    await ada.call("DELETE", f"{ours}/{revoked['id']}")
    for key in (forever, revoked):
        refused = await ada("POST", f"{ours}/{key['id']}/rotate")
        assert refused.status_code == 422
        assert [one["field"] for one in refused.json()["errors"]] == [""]
    assert (await ada("POST", f"{ours}/{uuid.uuid4()}/rotate")).status_code == 404
    assert len(await ada.read(ours)) == 2


async def test_key_reaches_projects_of_its_organization_only(
    site: Site, ada: PersonClient, ours: str
) -> None:
    secret = (await ada.call("POST", ours, {"name": "k"}))["raw_key"]
    elsewhere = await ada.call("POST", "/organizations", {"name": "Other"})
    other = (await ada.call("POST", f"/organizations/{elsewhere['id']}/api-keys", {"name": "k"}))[
        "raw_key"
    ]
    trace = a_trace(trace_id=str(uuid.uuid4()))
    for project in ("shop", "store"):
        head = {"x-api-key": secret, "x-project-name": project}
        assert (await site.http.post("/traces", headers=head, json=trace)).status_code == 202
    head = {"x-api-key": other, "x-project-name": "shop"}
    assert (await site.http.get("/traces", headers=head)).json()["total"] == 0
    assert (await site.http.get(f"/traces/{trace['trace_id']}", headers=head)).status_code == 404
    assert (await site.http.get("/organizations", headers=head)).status_code == 401
