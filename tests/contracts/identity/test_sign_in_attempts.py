"""Contract of SignInAttempts, run against every adapter."""

import asyncio
import secrets
from datetime import timedelta

from domain.identity.sign_in_attempt import SignInAttempt
from tests.support.builders.values import NOON
from tests.support.fixtures.identities import Identity
from tests.support.waiting import until_done


def an_attempt(cookie: str, at=NOON) -> SignInAttempt:
    return SignInAttempt.begin(cookie, secrets.token_bytes(32), "/app/p/1?x=ä", at)


async def test_attempt_is_taken_once(identity: Identity) -> None:
    attempt, other = (an_attempt(secrets.token_hex()) for _ in range(2))
    for one in (attempt, other):
        await identity.sign_in_attempts.add(one)
    assert await identity.sign_in_attempts.take(attempt.digest) == attempt
    assert await identity.sign_in_attempts.take(attempt.digest) is None
    assert await identity.sign_in_attempts.take(b"unknown") is None
    assert await identity.sign_in_attempts.take(other.digest) == other


async def test_one_of_concurrent_calls_takes_it(identity: Identity) -> None:
    await identity.warm()
    attempt = an_attempt(secrets.token_hex())
    await identity.sign_in_attempts.add(attempt)
    taken = await asyncio.gather(
        *(identity.sign_in_attempts.take(attempt.digest) for _ in range(8))
    )
    assert sorted(one is None for one in taken) == [False, *[True] * 7]


async def test_expired_attempts_are_purged(identity: Identity) -> None:
    begin = NOON - timedelta(days=300)  # no other test has older rows
    old, new = an_attempt(secrets.token_hex(), begin), an_attempt(secrets.token_hex())
    for one in (old, new):
        await identity.sign_in_attempts.add(one)
    await until_done(identity.removed_projects.purge, old.expires_at)
    assert await identity.sign_in_attempts.take(old.digest) is None
    assert await identity.sign_in_attempts.take(new.digest) == new
