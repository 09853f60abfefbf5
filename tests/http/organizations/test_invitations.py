"""Invitations, from either side."""

import asyncio
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.identity.invitation import INVITATION_LIFETIME
from domain.limits import Limit
from entrypoints.http.middleware.rate_limits import RouteClass
from tests.http.conftest import Site, mistakes
from tests.support.builders.values import NOON
from tests.support.clients.organization_members import Somebody, somebody

GRACE = "grace@example.com"


@pytest.fixture
def ada(site: Site) -> Somebody:
    site.now = NOON
    return somebody(site, "ada@example.com", name="Ada Lovelace")


@pytest.fixture
def grace(site: Site) -> Somebody:
    return somebody(site, "Grace@Example.com", name="Grace Hopper")


@pytest.fixture
async def ours(ada: Somebody) -> str:
    """The path of an organization of Ada's."""
    made = await ada.did("POST", "/organizations", {"name": "Acme"})
    return f"/organizations/{made['id']}"


async def invited(ada: Somebody, ours: str, email: str = GRACE, **said: Any) -> dict[str, Any]:
    found: dict[str, Any] = await ada.did("POST", f"{ours}/invitations", {"email": email} | said)
    return found


async def test_its_fields(ada: Somebody, grace: Somebody, ours: str) -> None:
    made = await invited(ada, ours, " GRACE@example.COM ")
    assert made == {
        "id": made["id"],
        "org_id": ours[-36:],
        "org_name": "Acme",
        "email": GRACE,
        "role": "MEMBER",
        "status": "PENDING",
        "invited_by": str(ada.id),
        "inviter_display_name": "Ada Lovelace",
        "inviter_email": "ada@example.com",
        "created_at": "2026-03-01T12:00:00+00:00",
        "expires_at": "2026-03-08T12:00:00+00:00",
    }
    assert await ada.got(f"{ours}/invitations") == [made]
    assert await grace.got("/me/invitations") == [made]


async def test_accepting_makes_a_member(ada: Somebody, grace: Somebody, ours: str) -> None:
    made = await invited(ada, ours, role="ADMIN")
    accepted = await grace.did("POST", f"/me/invitations/{made['id']}/accept")
    assert accepted == {
        "id": accepted["id"],
        "user_id": str(grace.id),
        "org_id": ours[-36:],
        "role": "ADMIN",
        "display_name": "Grace Hopper",
        "email": "Grace@Example.com",
        "created_at": "2026-03-01T12:00:00+00:00",
    }
    assert accepted in await ada.got(f"{ours}/members")
    assert (await grace.got(ours))["role"] == "ADMIN"
    assert await grace.got("/me/invitations") == []
    [shown] = await grace.got(f"{ours}/invitations")
    assert shown == made | {"status": "ACCEPTED"}


async def test_declining_closes_it(ada: Somebody, grace: Somebody, ours: str) -> None:
    made = await invited(ada, ours)
    await grace.did("POST", f"/me/invitations/{made['id']}/decline")
    assert (await grace("GET", ours)).status_code == 403
    assert await grace.got("/me/invitations") == []
    [shown] = await ada.got(f"{ours}/invitations")
    assert shown["status"] == "DECLINED"
    await invited(ada, ours)  # which may be sent again


async def test_revoking_closes_it(ada: Somebody, grace: Somebody, ours: str) -> None:
    made = await invited(ada, ours)
    path = f"{ours}/invitations/{made['id']}"
    await ada.did("DELETE", path)
    assert await grace.got("/me/invitations") == []
    assert (await ada("DELETE", path)).status_code == 409
    assert (await ada("DELETE", f"{ours}/invitations/{uuid.uuid4()}")).status_code == 404


@pytest.mark.parametrize("ending", ["ACCEPTED", "DECLINED", "REVOKED", "EXPIRED"])
async def test_an_ending_is_final(
    site: Site, ada: Somebody, grace: Somebody, ours: str, ending: str
) -> None:
    made = await invited(ada, ours)
    mine, theirs = f"/me/invitations/{made['id']}", f"{ours}/invitations/{made['id']}"
    match ending:
        case "ACCEPTED":
            await grace.did("POST", f"{mine}/accept")
        case "DECLINED":
            await grace.did("POST", f"{mine}/decline")
        case "REVOKED":
            await ada.did("DELETE", theirs)
        case "EXPIRED":
            site.now = NOON + INVITATION_LIFETIME
    answers = [
        await grace("POST", f"{mine}/accept"),
        await grace("POST", f"{mine}/decline"),
        await ada("DELETE", theirs),
    ]
    assert [one.status_code for one in answers] == [409] * 3
    assert [one["status"] for one in await ada.got(f"{ours}/invitations")] == [ending]


async def test_seven_days(site: Site, ada: Somebody, grace: Somebody, ours: str) -> None:
    made = await invited(ada, ours)
    site.now = NOON + INVITATION_LIFETIME - timedelta(microseconds=1)
    assert await grace.got("/me/invitations") == [made]
    assert (await ada("POST", f"{ours}/invitations", {"email": GRACE})).status_code == 409
    site.now = NOON + INVITATION_LIFETIME
    assert await grace.got("/me/invitations") == []
    again = await invited(ada, ours)
    shown = await ada.got(f"{ours}/invitations")
    assert shown == [again, made | {"status": "EXPIRED"}]


async def test_mine_of_every_organization_newest_first(
    site: Site, ada: Somebody, grace: Somebody
) -> None:
    for second, name in enumerate(("one", "two", "three")):
        site.now = NOON + timedelta(seconds=second)
        made = await ada.did("POST", "/organizations", {"name": name})
        await invited(ada, f"/organizations/{made['id']}")
        await invited(ada, f"/organizations/{made['id']}", "other@example.com")
    found = [one["org_name"] for one in await grace.got("/me/invitations")]
    assert found == ["three", "two", "one"]


@pytest.mark.parametrize("answer", ["accept", "decline"])
async def test_whose_invitation_it_is(site: Site, ada: Somebody, ours: str, answer: str) -> None:
    made = await invited(ada, ours)
    unverified = somebody(site, GRACE, verified=False)
    path = f"/me/invitations/{made['id']}/{answer}"
    assert [one["id"] for one in await unverified.got("/me/invitations")] == [made["id"]]
    for person in (ada, somebody(site, "eve@example.com"), unverified):
        assert (await person("POST", path)).status_code == 403
    assert (await unverified("POST", f"/me/invitations/{uuid.uuid4()}/{answer}")).status_code == 404
    assert (await somebody(site, GRACE)("POST", path)).is_success
    # Others aren't told how it ended.
    assert (await ada("POST", path)).status_code == 403


async def test_the_address_follows_the_token(
    site: Site, ada: Somebody, grace: Somebody, ours: str
) -> None:
    made = await invited(ada, ours, "new@example.com")
    path = f"/me/invitations/{made['id']}/accept"
    assert (await grace("POST", path)).status_code == 403
    token = grace.bearer["authorization"].split()[1]
    site.tokens[token] = replace(site.tokens[token], email="new@example.com")
    assert (await grace.did("POST", path))["email"] == "new@example.com"


async def test_who_can_not_be_invited(ada: Somebody, grace: Somebody, ours: str) -> None:
    made = await invited(ada, ours)
    path = f"{ours}/invitations"
    pending = await ada("POST", path, {"email": "GRACE@example.com"})
    await grace.did("POST", f"/me/invitations/{made['id']}/accept")
    there = await ada("POST", path, {"email": GRACE})
    myself = await ada("POST", path, {"email": "ADA@example.com"})
    answers = [pending, there, myself]
    assert [one.status_code for one in answers] == [409] * 3
    assert len({one.json()["detail"] for one in answers}) == 3
    # A role that may not be given comes before all of these.
    owner = await ada("POST", path, {"email": "ada@example.com", "role": "OWNER"})
    assert owner.status_code == 403


async def test_who_joined_otherwise_meanwhile(
    site: Site, ada: Somebody, grace: Somebody, ours: str
) -> None:
    """A token with another address lets one in twice."""
    first = await invited(ada, ours, "second@example.com")
    made = await invited(ada, ours)
    await grace.did("POST", f"/me/invitations/{made['id']}/accept")
    token = grace.bearer["authorization"].split()[1]
    site.tokens[token] = replace(site.tokens[token], email="second@example.com")
    assert (await grace("POST", f"/me/invitations/{first['id']}/accept")).status_code == 409
    assert [one["id"] for one in await grace.got("/me/invitations")] == [first["id"]]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"email"}),
        ({"email": None}, {"email"}),
        ({"email": "ab"}, {"email"}),
        ({"email": "  ab "}, {"email"}),
        ({"email": "a" * 321}, {"email"}),
        ({"email": "a\0b@x"}, {"email"}),
        ({"email": 1, "role": "GUEST"}, {"email", "role"}),
        ({"email": GRACE, "role": None}, {"role"}),
        ([], {""}),
    ],
    ids=lambda said: ",".join(sorted(said)) if isinstance(said, set) else repr(said)[:60],
)
async def test_what_is_no_invitation(ada: Somebody, ours: str, body: Any, fields: set[str]) -> None:
    assert set(mistakes(await ada("POST", f"{ours}/invitations", body))) == fields


@pytest.mark.parametrize("email", ["a@b", "not an address", "a" * 320, f" {'a' * 320} "])
async def test_the_syntax_of_addresses_is_not_looked_at(
    ada: Somebody, ours: str, email: str
) -> None:
    assert (await invited(ada, ours, email))["email"] == email.strip()


async def test_one_address_is_invited_once_at_a_time(ada: Somebody, ours: str) -> None:
    answers = await asyncio.gather(
        *(ada("POST", f"{ours}/invitations", {"email": GRACE}) for _ in range(10))
    )
    assert sorted(one.status_code for one in answers) == [201] + [409] * 9


async def test_accepting_twice_at_once_makes_one_member(
    ada: Somebody, grace: Somebody, ours: str
) -> None:
    made = await invited(ada, ours)
    answers = await asyncio.gather(
        *(grace("POST", f"/me/invitations/{made['id']}/accept") for _ in range(5)),
        grace("POST", f"/me/invitations/{made['id']}/decline"),
    )
    assert sorted(one.status_code for one in answers)[:2] in ([200, 409], [204, 409])
    assert len(await ada.got(f"{ours}/members")) == 1 + (answers[-1].status_code == 409)


async def test_they_have_a_limit_of_their_own() -> None:
    site = Site(limits={RouteClass.INVITATIONS: Limit(2, "hour")})
    async with site.http:
        ada, bob = somebody(site, "ada@example.com"), somebody(site, "bob@example.com")
        statuses = []
        for name in ("Acme", "Other"):  # a limit isn't of an organization
            made = await ada.did("POST", "/organizations", {"name": name})
            path = f"/organizations/{made['id']}/invitations"
            for email in (GRACE, "eve@example.com"):
                statuses.append((await ada("POST", path, {"email": email})).status_code)
        assert statuses == [201, 201, 429, 429]
        assert (await ada("GET", path)).status_code == 200
        mine = await bob.did("POST", "/organizations", {"name": "Bob's"})
        await bob.did("POST", f"/organizations/{mine['id']}/invitations", {"email": GRACE})
