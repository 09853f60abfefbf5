"""Refused requests, as OWNER and ADMIN read them."""

import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from adapters.memory.identity.identity import MemoryRefusals
from domain.identity.api_key import KeyLimits, Scope
from domain.identity.browser_session import CHALLENGE_LENGTH
from domain.identity.organization import Role
from domain.ids import OrganizationId
from tests.http.conftest import Site
from tests.support.builders.values import NOON
from tests.support.clients.organization_members import PersonClient, new_member

HOUR = "2026-03-01T12:00:00+00:00"


@pytest.fixture
def ada(site: Site) -> PersonClient:
    site.now = NOON
    refusals(site).counts.clear()
    return new_member(site, site.organization, "ada@x.example", Role.OWNER)


def refusals(site: Site) -> MemoryRefusals:
    log = site.ports.identity.refusal_log
    assert isinstance(log, MemoryRefusals)
    return log


async def read(ada: PersonClient, of: OrganizationId) -> list[dict[str, Any]]:
    return (await ada("GET", f"/organizations/{of}/audit-log/refusals")).json()


async def test_refused_key_is_counted_by_hour(site: Site, ada: PersonClient) -> None:
    head = site.headers(Scope.READ)
    [key] = [one for one in site.store.keys.values() if one.prefix == head["x-api-key"][:10]]
    for _ in range(3):
        refused = await site.http.request("DELETE", f"/traces/{uuid.uuid4()}", headers=head)
        assert refused.status_code == 403
    [one] = await read(ada, site.organization)
    assert one == {
        "hour": HOUR,
        "status": 403,
        "address": "127.0.0.1",
        "credential": str(key.id),
        "count": 3,
    }


async def test_refused_person_and_hidden_project_are_counted(site: Site, ada: PersonClient) -> None:
    member = new_member(site, site.organization, "m@x.example", Role.MEMBER)
    assert (await member("GET", f"/organizations/{site.organization}/audit-log")).status_code == 403
    elsewhere = {"x-project-id": str(uuid.uuid4())} | member.bearer
    assert (await site.http.get("/traces", headers=elsewhere)).status_code == 404
    found = {(one["status"], one["credential"]) for one in await read(ada, site.organization)}
    assert found == {(403, str(member.id)), (404, str(member.id))}


async def test_missing_object_is_not_counted_as_refusal(site: Site, ada: PersonClient) -> None:
    head = site.headers()
    assert (await site.http.get(f"/traces/{uuid.uuid4()}", headers=head)).status_code == 404
    assert await read(ada, site.organization) == []


@pytest.mark.parametrize(
    ("refused_by", "status"),
    [
        ({"revoked_at": NOON - timedelta(days=1)}, 401),
        ({"expires_at": NOON - timedelta(days=1)}, 401),
        ({"limits": KeyLimits(networks=("192.0.2.0/24",))}, 401),
        ({"limits": KeyLimits(project_ids=frozenset())}, 403),
    ],
    ids=["revoked", "expired", "network", "project"],
)
async def test_refused_key_is_counted_for_its_organization(
    site: Site, ada: PersonClient, refused_by: dict[str, Any], status: int
) -> None:
    head = site.headers(**refused_by)
    [key] = [one for one in site.store.keys.values() if one.prefix == head["x-api-key"][:10]]
    assert (await site.http.get("/traces", headers=head)).status_code == status
    [one] = await read(ada, site.organization)
    assert (one["status"], one["credential"], one["count"]) == (status, str(key.id), 1)


async def ask_for_an_id(site: Site, key: str) -> httpx.Response:
    return await site.http.get("/me/find?id=a", headers={"x-api-key": key})


async def sign_a_browser_in(site: Site, key: str) -> httpx.Response:
    body = {"method": "key", "bind": "a" * CHALLENGE_LENGTH, "key": key}
    return await site.http.post("/session", json=body)


async def check_it(site: Site, key: str) -> httpx.Response:
    return await site.http.post("/session/check", json={"key": key})


TAKE_A_KEY_ALONE = (ask_for_an_id, sign_a_browser_in, check_it)


@pytest.mark.parametrize("send", TAKE_A_KEY_ALONE)
async def test_refused_key_is_counted_wherever_it_is_sent(
    site: Site, ada: PersonClient, send: Callable[[Site, str], Awaitable[httpx.Response]]
) -> None:
    secret = site.key(revoked_at=NOON - timedelta(days=1))
    [key] = [one for one in site.store.keys.values() if one.prefix == secret[:10]]
    assert (await send(site, secret)).status_code == 401
    [one] = await read(ada, site.organization)
    assert (one["status"], one["credential"], one["count"]) == (401, str(key.id), 1)


@pytest.mark.parametrize("send", [sign_a_browser_in, ask_for_an_id])
async def test_key_without_the_scope_is_counted(
    site: Site, ada: PersonClient, send: Callable[[Site, str], Awaitable[httpx.Response]]
) -> None:
    secret = site.key(Scope.INGEST)
    [key] = [one for one in site.store.keys.values() if one.prefix == secret[:10]]
    assert (await send(site, secret)).status_code == 403
    [one] = await read(ada, site.organization)
    assert (one["status"], one["credential"], one["count"]) == (403, str(key.id), 1)


@pytest.mark.parametrize("send", TAKE_A_KEY_ALONE)
async def test_first_use_from_a_network_is_in_the_audit_log_wherever_a_key_is_sent(
    site: Site, ada: PersonClient, send: Callable[[Site, str], Awaitable[httpx.Response]]
) -> None:
    secret = site.key(Scope.READ)
    assert (await send(site, secret)).is_success
    [key] = [one for one in site.store.keys.values() if one.prefix == secret[:10]]
    assert (key.last_used_at, key.newest_network) == (NOON, "127.0.0.0/24")
    path = f"/organizations/{site.organization}/audit-log?action=api_key.used"
    assert [one["resource"]["id"] for one in (await ada("GET", path)).json()["items"]] == [
        str(key.id)
    ]


async def test_unknown_credential_belongs_to_no_organization(site: Site, ada: PersonClient) -> None:
    head = {"x-api-key": "pp_" + "0" * 64, "x-project-name": "shop"}
    assert (await site.http.get("/traces", headers=head)).status_code == 401
    [(one, count)] = refusals(site).counts.items()
    assert (one.organization_id, one.status, one.address, one.credential, count) == (
        None,
        401,
        "127.0.0.1",
        "",
        1,
    )
    assert await read(ada, site.organization) == []
