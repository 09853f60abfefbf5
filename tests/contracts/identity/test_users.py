"""Contract of Users, run against every adapter."""

import asyncio
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.memory.identity.identity import MemoryUsers
from adapters.memory.store import MemoryStore
from domain.identity.caller import Claims, User
from domain.ids import UserId
from tests.support.builders.values import NOON, at
from tests.support.hypothesis_scale import scaled

MINUTE = 60


def new_claims(**overrides) -> Claims:
    known = {"issuer": "https://id.example.com", "subject": uuid.uuid4().hex, "email": "a@b.c"}
    return Claims(**known | overrides)


def new_id() -> UserId:
    return UserId(uuid.uuid4())


async def test_first_sign_in_creates_user(identity):
    claims, new = new_claims(email="Ada@example.com", display_name="Ada"), new_id()
    assert await identity.users.record_sign_in(claims, new=new, at=NOON) == User(
        id=new,
        issuer=claims.issuer,
        subject=claims.subject,
        email="Ada@example.com",
        display_name="Ada",
        created_at=NOON,
        last_sign_in_at=NOON,
    )


async def test_second_sign_in_finds_same_user(identity):
    claims = new_claims()
    first = await identity.users.record_sign_in(claims, new=new_id(), at=NOON)
    assert await identity.users.record_sign_in(claims, new=new_id(), at=at(1)) == first


async def test_email_follows_token(identity):
    claims = new_claims(email="old@example.com")
    await identity.users.record_sign_in(claims, new=new_id(), at=NOON)
    moved = replace(claims, email="new@example.com")
    assert (await identity.users.record_sign_in(moved, new=new_id(), at=at(1))).email == moved.email
    assert (await identity.users.record_sign_in(moved, new=new_id(), at=at(2))).email == moved.email


async def test_display_name_is_filled_only_while_empty(identity):
    claims = new_claims(display_name="")
    seen = []
    for second, name in enumerate(["", "Ada", "Countess", ""]):
        changed = replace(claims, display_name=name)
        user = await identity.users.record_sign_in(changed, new=new_id(), at=at(second))
        seen.append(user.display_name)
    assert seen == ["", "Ada", "Ada", "Ada"]


@pytest.mark.parametrize(
    ("second", "seen"),
    [
        (MINUTE - 0.000001, NOON),
        (MINUTE, at(MINUTE)),
        (MINUTE + 1, at(MINUTE + 1)),
        (-MINUTE, NOON),
    ],
)
async def test_last_sign_in_is_updated_after_a_minute(identity, second, seen):
    claims = new_claims()
    await identity.users.record_sign_in(claims, new=new_id(), at=NOON)
    user = await identity.users.record_sign_in(claims, new=new_id(), at=at(second))
    assert user.last_sign_in_at == seen
    assert user.created_at == NOON


async def test_user_is_identified_by_issuer_and_subject(identity):
    claims = new_claims()
    others = [
        replace(claims, issuer="https://id.example.org"),
        replace(claims, subject=claims.subject.upper() + "x"),
    ]
    users = [
        await identity.users.record_sign_in(one, new=new_id(), at=NOON) for one in (claims, *others)
    ]
    assert len({user.id for user in users}) == 3
    assert {user.email for user in users} == {claims.email}


async def test_concurrent_first_requests_create_one_user(identity):
    await identity.warm()
    claims = new_claims()
    users = await asyncio.gather(
        *(identity.users.record_sign_in(claims, new=new_id(), at=at(n)) for n in range(50))
    )
    assert len({user.id for user in users}) == 1


@settings(
    max_examples=scaled(30),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    history=st.lists(
        st.tuples(
            st.integers(-2 * MINUTE, 3 * MINUTE),
            st.sampled_from(["a@b.c", "d@e.f"]),
            st.sampled_from(["", "Ada", "Bob"]),
        ),
        max_size=6,
    )
)
async def test_random_histories_agree_with_memory(identity, history):
    model, claims = MemoryUsers(MemoryStore()), new_claims()
    for second, email, name in history:
        changed = replace(claims, email=email, display_name=name)
        new, now = new_id(), NOON + timedelta(seconds=second)
        expected = await model.record_sign_in(changed, new=new, at=now)
        assert await identity.users.record_sign_in(changed, new=new, at=now) == expected


async def test_has_signed_in_compares_issuer_and_subject(identity):
    claims = new_claims()
    assert not await identity.users.has_signed_in(claims)
    await identity.users.record_sign_in(claims, new=new_id(), at=NOON)
    assert await identity.users.has_signed_in(replace(claims, email="new@example.com"))
    for other in (replace(claims, issuer="other"), replace(claims, subject="other")):
        assert not await identity.users.has_signed_in(other)
