"""Invitations, from both sides."""

import asyncio
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.identity.invitation import INVITATION_LIFETIME
from domain.limits import Limit
from entrypoints.http.middleware.rate_limits import RouteClass
from tests.http.conftest import Site, field_errors
from tests.support.builders.values import NOON
from tests.support.clients.organization_members import PersonClient, new_person

GRACE = "grace@example.com"


@pytest.fixture
def grace(site: Site) -> PersonClient:
    return new_person(site, "Grace@Example.com", name="Grace Hopper")


async def invited(
    ada: PersonClient, ours: str, email: str = GRACE, **overrides: Any
) -> dict[str, Any]:
    found: dict[str, Any] = await ada.call(
        "POST", f"{ours}/invitations", {"email": email} | overrides
    )
    return found


async def test_fields_of_an_invitation(ada: PersonClient, grace: PersonClient, ours: str) -> None:
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
    assert await ada.read(f"{ours}/invitations") == [made]
    assert await grace.read("/me/invitations") == [made]


async def test_accepting_creates_a_membership(
    ada: PersonClient, grace: PersonClient, ours: str
) -> None:
    made = await invited(ada, ours, role="ADMIN")
    accepted = await grace.call("POST", f"/me/invitations/{made['id']}/accept")
    assert accepted == {
        "id": accepted["id"],
        "user_id": str(grace.id),
        "org_id": ours[-36:],
        "role": "ADMIN",
        "display_name": "Grace Hopper",
        "email": "Grace@Example.com",
        "created_at": "2026-03-01T12:00:00+00:00",
    }
    assert accepted in await ada.read(f"{ours}/members")
    assert (await grace.read(ours))["role"] == "ADMIN"
    assert await grace.read("/me/invitations") == []
    [shown] = await grace.read(f"{ours}/invitations")
    assert shown == made | {"status": "ACCEPTED"}


async def test_declined_invitation_is_closed(
    ada: PersonClient, grace: PersonClient, ours: str
) -> None:
    made = await invited(ada, ours)
    await grace.call("POST", f"/me/invitations/{made['id']}/decline")
    assert (await grace("GET", ours)).status_code == 403
    assert await grace.read("/me/invitations") == []
    [shown] = await ada.read(f"{ours}/invitations")
    assert shown["status"] == "DECLINED"
    await invited(ada, ours)  # a new one may be sent


async def test_revoked_invitation_is_closed(
    ada: PersonClient, grace: PersonClient, ours: str
) -> None:
    made = await invited(ada, ours)
    path = f"{ours}/invitations/{made['id']}"
    await ada.call("DELETE", path)
    assert await grace.read("/me/invitations") == []
    assert (await ada("DELETE", path)).status_code == 409
    assert (await ada("DELETE", f"{ours}/invitations/{uuid.uuid4()}")).status_code == 404


@pytest.mark.parametrize("ending", ["ACCEPTED", "DECLINED", "REVOKED", "EXPIRED"])
async def test_closed_invitation_cannot_be_answered(
    site: Site, ada: PersonClient, grace: PersonClient, ours: str, ending: str
) -> None:
    made = await invited(ada, ours)
    mine, theirs = f"/me/invitations/{made['id']}", f"{ours}/invitations/{made['id']}"
    match ending:
        case "ACCEPTED":
            await grace.call("POST", f"{mine}/accept")
        case "DECLINED":
            await grace.call("POST", f"{mine}/decline")
        case "REVOKED":
            await ada.call("DELETE", theirs)
        case "EXPIRED":
            site.now = NOON + INVITATION_LIFETIME
    answers = [
        await grace("POST", f"{mine}/accept"),
        await grace("POST", f"{mine}/decline"),
        await ada("DELETE", theirs),
    ]
    assert [one.status_code for one in answers] == [409] * 3
    assert [one["status"] for one in await ada.read(f"{ours}/invitations")] == [ending]


async def test_invitation_expires_after_seven_days(
    site: Site, ada: PersonClient, grace: PersonClient, ours: str
) -> None:
    made = await invited(ada, ours)
    site.now = NOON + INVITATION_LIFETIME - timedelta(microseconds=1)
    assert await grace.read("/me/invitations") == [made]
    assert (await ada("POST", f"{ours}/invitations", {"email": GRACE})).status_code == 409
    site.now = NOON + INVITATION_LIFETIME
    assert await grace.read("/me/invitations") == []
    again = await invited(ada, ours)
    shown = await ada.read(f"{ours}/invitations")
    assert shown == [again, made | {"status": "EXPIRED"}]


async def test_own_invitations_are_listed_newest_first(
    site: Site, ada: PersonClient, grace: PersonClient
) -> None:
    for second, name in enumerate(("one", "two", "three")):
        site.now = NOON + timedelta(seconds=second)
        made = await ada.call("POST", "/organizations", {"name": name})
        await invited(ada, f"/organizations/{made['id']}")
        await invited(ada, f"/organizations/{made['id']}", "other@example.com")
    found = [one["org_name"] for one in await grace.read("/me/invitations")]
    assert found == ["three", "two", "one"]


@pytest.mark.parametrize("answer", ["accept", "decline"])
async def test_only_the_verified_address_may_answer(
    site: Site, ada: PersonClient, ours: str, answer: str
) -> None:
    made = await invited(ada, ours)
    unverified = new_person(site, GRACE, verified=False)
    path = f"/me/invitations/{made['id']}/{answer}"
    assert await unverified.read("/me/invitations") == []
    for person in (ada, new_person(site, "eve@example.com"), unverified):
        assert (await person("POST", path)).status_code == 403
    assert (await unverified("POST", f"/me/invitations/{uuid.uuid4()}/{answer}")).status_code == 404
    assert (await new_person(site, GRACE)("POST", path)).is_success
    # Other people don't learn how it ended.
    assert (await ada("POST", path)).status_code == 403


async def test_current_address_of_the_token_counts(
    site: Site, ada: PersonClient, grace: PersonClient, ours: str
) -> None:
    made = await invited(ada, ours, "new@example.com")
    path = f"/me/invitations/{made['id']}/accept"
    assert (await grace("POST", path)).status_code == 403
    token = grace.bearer["authorization"].split()[1]
    site.tokens[token] = replace(site.tokens[token], email="new@example.com")
    assert (await grace.call("POST", path))["email"] == "new@example.com"


async def test_pending_member_and_own_address_are_409(
    ada: PersonClient, grace: PersonClient, ours: str
) -> None:
    made = await invited(ada, ours)
    path = f"{ours}/invitations"
    pending = await ada("POST", path, {"email": "GRACE@example.com"})
    await grace.call("POST", f"/me/invitations/{made['id']}/accept")
    there = await ada("POST", path, {"email": GRACE})
    myself = await ada("POST", path, {"email": "ADA@example.com"})
    answers = [pending, there, myself]
    assert [one.status_code for one in answers] == [409] * 3
    assert len({one.json()["detail"] for one in answers}) == 3
    # A role that may not be given is checked before all of these.
    owner = await ada("POST", path, {"email": "ada@example.com", "role": "OWNER"})
    assert owner.status_code == 403


async def test_member_cannot_accept_a_second_invitation(
    site: Site, ada: PersonClient, grace: PersonClient, ours: str
) -> None:
    """A person whose token has another address now has two invitations."""
    first = await invited(ada, ours, "second@example.com")
    made = await invited(ada, ours)
    await grace.call("POST", f"/me/invitations/{made['id']}/accept")
    token = grace.bearer["authorization"].split()[1]
    site.tokens[token] = replace(site.tokens[token], email="second@example.com")
    assert (await grace("POST", f"/me/invitations/{first['id']}/accept")).status_code == 409
    assert [one["id"] for one in await grace.read("/me/invitations")] == [first["id"]]


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
async def test_invalid_invitations_are_refused(
    ada: PersonClient, ours: str, body: Any, fields: set[str]
) -> None:
    assert set(field_errors(await ada("POST", f"{ours}/invitations", body))) == fields


@pytest.mark.parametrize("email", ["a@b", "not an address", "a" * 320, f" {'a' * 320} "])
async def test_address_syntax_is_not_checked(ada: PersonClient, ours: str, email: str) -> None:
    assert (await invited(ada, ours, email))["email"] == email.strip()


async def test_concurrent_invitations_of_an_address_create_one(
    ada: PersonClient, ours: str
) -> None:
    answers = await asyncio.gather(
        *(ada("POST", f"{ours}/invitations", {"email": GRACE}) for _ in range(10))
    )
    assert sorted(one.status_code for one in answers) == [201] + [409] * 9


async def test_concurrent_answers_create_at_most_one_member(
    ada: PersonClient, grace: PersonClient, ours: str
) -> None:
    made = await invited(ada, ours)
    answers = await asyncio.gather(
        *(grace("POST", f"/me/invitations/{made['id']}/accept") for _ in range(5)),
        grace("POST", f"/me/invitations/{made['id']}/decline"),
    )
    assert sorted(one.status_code for one in answers)[:2] in ([200, 409], [204, 409])
    assert len(await ada.read(f"{ours}/members")) == 1 + (answers[-1].status_code == 409)


async def test_invitations_have_a_rate_limit_of_their_own() -> None:
    site = Site(limits={RouteClass.INVITATIONS: Limit(2, "hour")})
    async with site.http:
        ada, bob = new_person(site, "ada@example.com"), new_person(site, "bob@example.com")
        statuses = []
        for name in ("Acme", "Other"):  # the limit isn't per organization
            made = await ada.call("POST", "/organizations", {"name": name})
            path = f"/organizations/{made['id']}/invitations"
            for email in (GRACE, "eve@example.com"):
                statuses.append((await ada("POST", path, {"email": email})).status_code)
        assert statuses == [201, 201, 429, 429]
        assert (await ada("GET", path)).status_code == 200
        mine = await bob.call("POST", "/organizations", {"name": "Bob's"})
        await bob.call("POST", f"/organizations/{mine['id']}/invitations", {"email": GRACE})
