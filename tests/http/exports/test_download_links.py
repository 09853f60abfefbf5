"""Downloads by a link: a ticket is good once, for a minute, for its requester."""

import logging
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from application.clock import utc_now
from domain.exports.ticket import TICKET_LIFETIME
from domain.identity.api_key import KeyLimits
from domain.identity.audit import AuditAction
from domain.identity.browser_session import SignInMethod, challenge_hash, cookie_digest
from domain.identity.login_code import challenge_of
from domain.identity.organization import Role
from domain.ids import ApiKeyId, BrowserSessionId, UserId
from tests.support.builders.sessions import a_session
from tests.support.clients.two_tenants import TwoTenants

COOKIE, VERIFIER, OTHER_COOKIE = "c" * 43, "v" * 43, "d" * 43
OTHER_DIGEST = cookie_digest(OTHER_COOKIE)


async def link(world: TwoTenants, head: dict[str, str]) -> str:
    path = f"/traces/exports/{world.ours['export_id']}/ticket"
    answer = await world.send("POST", path, head)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made["expires_in"] == TICKET_LIFETIME.seconds
    assert made["url"].startswith("/downloads/")
    return str(made["url"])


async def opened(world: TwoTenants, url: str, **headers: str) -> httpx.Response:
    return await world.send("GET", url, headers)


def signed_in(world: TwoTenants, **holder: Any) -> tuple[BrowserSessionId, dict[str, str]]:
    """A session of a browser, and the headers that its page sends."""
    now = utc_now()
    session = a_session(
        created_at=now,
        digest=cookie_digest(COOKIE),
        verifier_hash=challenge_hash(challenge_of(VERIFIER)),
        **holder,
    )
    world.site.store.browser_sessions[session.id] = session
    head = {
        "cookie": f"pp_session={COOKIE}",
        "x-session-verifier": VERIFIER,
        "sec-fetch-site": "same-origin",
        "x-project-id": world.ours["project_id"],
    }
    return session.id, head


@pytest.fixture
async def world(tenants: TwoTenants) -> TwoTenants:
    await tenants.begin()
    return tenants


async def test_a_link_downloads_the_file_once(
    world: TwoTenants, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = await link(world, world.key)
    file = await opened(world, url)
    assert (file.status_code, file.text) == (200, world.ours["text"])
    assert file.headers["content-length"] == str(len(file.content))
    assert "attachment" in file.headers["content-disposition"]
    again = await opened(world, url)
    assert again.status_code == 404
    secret = url.rsplit("/", 1)[1]
    stored = world.site.store
    assert secret not in caplog.text
    assert secret not in repr([*stored.audit_log.values(), *stored.download_tickets.values()])
    entry = list(stored.audit_log.values())[-1]
    assert (entry.action, entry.resource_id) == ("export.downloaded", world.ours["export_id"])


async def test_every_part_that_is_downloaded_is_in_the_audit_log(world: TwoTenants) -> None:
    path = f"/traces/exports/{world.ours['export_id']}/download"
    log = world.site.store.audit_log
    await world.send("GET", path, world.key)  # the key is used for the first time
    before = len(log)
    for start in (0, 1):
        part = await world.send("GET", path, world.key | {"range": f"bytes={start}-"})
        assert (part.status_code, part.text) == (206, world.ours["text"][start:])
    entries = list(log.values())[before:]
    assert [entry.action for entry in entries] == [AuditAction.EXPORT_DOWNLOADED] * 2
    assert [entry.detail.get("first_byte") for entry in entries] == [None, "1"]


async def test_a_link_ends_after_a_minute(world: TwoTenants) -> None:
    url = await link(world, world.key)
    [*_, ticket] = world.site.store.download_tickets.values()
    frozen, world.site.now = world.site.now, ticket.expires_at
    assert (await opened(world, url)).status_code == 404
    world.site.now = frozen


async def test_a_link_ends_with_its_key(world: TwoTenants) -> None:
    head = world.new_key()
    url = await link(world, head)
    keys = world.site.store.keys
    id_ = ApiKeyId(next(reversed(keys)))
    known = keys[id_]
    for change in (
        {"revoked_at": utc_now()},
        {"limits": KeyLimits(project_ids=frozenset())},
        {"limits": KeyLimits(networks=("192.0.2.0/24",))},
    ):
        keys[id_] = replace(known, **change)
        assert (await opened(world, url)).status_code == 404
    keys[id_] = known
    assert (await opened(world, url)).status_code == 200


async def test_a_link_ends_with_the_membership(world: TwoTenants) -> None:
    me = world.people[Role.MEMBER]
    url = await link(world, me.bearer | {"x-project-id": world.ours["project_id"]})
    members = world.site.store.memberships
    [place] = [key for key in members if key[1] == me.id]
    membership = members.pop(place)
    assert (await opened(world, url)).status_code == 404
    members[place] = membership
    assert (await opened(world, url)).status_code == 200


async def test_a_link_of_a_browser_works_in_it_alone(world: TwoTenants) -> None:
    """Also for a browser that is signed in with a key. Others don't use it up."""
    sessions = world.site.store.browser_sessions
    keys, org_id = world.site.store.keys.values(), world.ours["org_id"]
    key = next(one for one in keys if str(one.organization_id) == org_id)
    for holder in (
        {"user_id": UserId(uuid.UUID(world.ours["owner"])), "method": SignInMethod.PROVIDER},
        {"key_id": key.id, "key_digest": key.digest, "method": SignInMethod.KEY},
    ):
        id_, head = signed_in(world, **holder)
        url = await link(world, head)
        assert (await opened(world, url)).status_code == 404
        assert (await opened(world, url, cookie="pp_session=another")).status_code == 404
        other = replace(sessions[id_], id=BrowserSessionId(uuid.uuid4()), digest=OTHER_DIGEST)
        sessions[other.id] = other
        assert (await opened(world, url, cookie=f"pp_session={OTHER_COOKIE}")).status_code == 404
        ended = sessions[id_]
        sessions[id_] = replace(ended, ends_at=ended.created_at - timedelta(days=1))
        assert (await opened(world, url, cookie=f"pp_session={COOKIE}")).status_code == 404
        sessions[id_] = ended
        # As a browser follows a link: without the verifier.
        file = await opened(world, url, cookie=f"pp_session={COOKIE}")
        assert (file.status_code, file.text) == (200, world.ours["text"])
        del sessions[id_], sessions[other.id]


async def test_unfinished_missing_and_deleted_exports_have_no_link(world: TwoTenants) -> None:
    new = await world.send("POST", "/traces/exports", world.key, {"format": "csv"})
    for export, status in (
        (new.json()["id"], 409),
        (world.theirs["export_id"], 404),
        (str(uuid.uuid4()), 404),
    ):
        answer = await world.send("POST", f"/traces/exports/{export}/ticket", world.key)
        assert answer.status_code == status
    url = await link(world, world.key)
    await world.send("DELETE", f"/traces/exports/{world.ours['export_id']}", world.key)
    assert (await opened(world, url)).status_code == 404
    for guess, status in (("a" * 43, 404), ("x", 422), ("a" * 5_000, 422)):
        assert (await opened(world, f"/downloads/{guess}")).status_code == status
