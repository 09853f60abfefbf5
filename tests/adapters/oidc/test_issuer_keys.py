"""An issuer's keys over time: rotation, outages, and concurrent requests."""

import asyncio
import json
import logging

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from adapters.oidc.issuer_keys import (
    FETCH_INTERVAL_MIN_S,
    REFRESH_AFTER_S,
    RETRY_FIRST_S,
    STALE_MAX_S,
    IssuerKeys,
)
from adapters.oidc.jwks import JwksClient, JwksError
from adapters.oidc.tokens import JwtTokens
from domain.errors import Unauthenticated, Unavailable
from tests.support.builders.values import NOON
from tests.support.fakes.issuer_server import JWKS, publishing
from tests.support.waiting import WAIT_MAX_S, until

ISSUER, AUDIENCE = "https://id.example.com", "pandaprobe"
OLD, NEW = (ECKey.generate_key("P-256", {"kid": name}) for name in ("old", "new"))


class FakeIssuer:
    """An issuer that publishes `keys`, or none while it is `down`; and a clock."""

    def __init__(self) -> None:
        self.keys = [OLD]
        self.down = False
        self.hold: asyncio.Event | None = None
        self.fetched = 0
        self.now = 1000.0
        self.source = IssuerKeys(self.fetch, issuer=ISSUER, elapsed=lambda: self.now)

    async def fetch(self) -> KeySet:
        self.fetched += 1
        if self.hold is not None:
            await self.hold.wait()
        if self.down:
            raise JwksError("connection refused")
        return KeySet([ECKey.import_key(key.as_dict(private=False)) for key in self.keys])

    async def ask(self, kid: str | None = "old") -> list[str | None]:
        return [key.kid for key in await self.source(kid)]

    async def wait_fetched(self) -> None:
        """Wait for the end of the background fetch."""
        await until(lambda: self.source._fetching is None)


@pytest.fixture
def issuer() -> FakeIssuer:
    return FakeIssuer()


# --- rotation ------------------------------------------------------------------------------------


async def test_keys_are_fetched_once_and_cached(issuer):
    for _ in range(5):
        assert await issuer.ask() == ["old"]
    assert await issuer.ask(None) == ["old"]
    issuer.now += REFRESH_AFTER_S - 1
    await issuer.ask()
    assert issuer.fetched == 1


async def test_unknown_key_causes_another_fetch(issuer):
    await issuer.ask()
    issuer.keys = [OLD, NEW]
    issuer.now += FETCH_INTERVAL_MIN_S
    assert await issuer.ask("new") == ["old", "new"]
    assert issuer.fetched == 2


async def test_keys_are_fetched_at_most_once_a_minute(issuer):
    await issuer.ask()
    for second in range(10 * FETCH_INTERVAL_MIN_S):
        issuer.now += 1
        assert await issuer.ask(f"made-up-{second}") == ["old"]
    assert issuer.fetched == 1 + 10


async def test_known_keys_do_not_wait_for_the_fetch_of_an_unknown_one(issuer):
    await issuer.ask()
    issuer.now += FETCH_INTERVAL_MIN_S
    issuer.hold = asyncio.Event()
    slow = asyncio.create_task(issuer.ask("made-up"))
    await asyncio.sleep(0)
    assert issuer.source._fetching is not None
    assert await asyncio.wait_for(issuer.ask(), WAIT_MAX_S) == ["old"]
    assert not slow.done()
    issuer.hold.set()
    await slow


async def test_withdrawn_key_is_accepted_for_ten_minutes(issuer):
    issuer.keys = [OLD, NEW]
    await issuer.ask()
    issuer.keys = [NEW]
    issuer.now += REFRESH_AFTER_S - 1
    assert await issuer.ask() == ["old", "new"]
    issuer.now += 1
    assert await issuer.ask() == ["new"]
    assert issuer.fetched == 2


async def test_empty_key_set_replaces_the_cached_one(issuer):
    await issuer.ask()
    issuer.keys = []
    issuer.now += REFRESH_AFTER_S
    assert await issuer.ask() == []


async def test_concurrent_callers_share_a_fetch(issuer):
    issuer.hold = asyncio.Event()
    asking = [asyncio.create_task(issuer.ask(f"kid-{n}")) for n in range(100)]
    await asyncio.sleep(0)
    asking[0].cancel()  # one who gives up takes nothing from the others
    await asyncio.sleep(0)
    issuer.hold.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [["old"]] * 99
    assert issuer.fetched == 1


# --- unreachable issuer --------------------------------------------------------------------------


async def test_without_keys_it_is_unavailable(issuer):
    issuer.down = True
    with pytest.raises(Unavailable) as error:
        await issuer.ask()
    assert isinstance(error.value.__cause__, JwksError)
    assert "connection refused" not in error.value.message
    assert error.value.retry_after_s == RETRY_FIRST_S


async def test_fetches_from_a_dead_issuer_back_off(issuer):
    issuer.down = True
    began = issuer.now
    attempts = []
    for second in range(300):
        before = issuer.fetched
        with pytest.raises(Unavailable) as error:
            await issuer.ask()
        assert 1 <= error.value.retry_after_s <= FETCH_INTERVAL_MIN_S
        if issuer.fetched > before:
            attempts.append(second)
        issuer.now = began + second + 1
    assert attempts == [0, 2, 6, 14, 30, 62, 122, 182, 242]
    issuer.down = False
    issuer.now += FETCH_INTERVAL_MIN_S
    assert await issuer.ask() == ["old"]


async def test_cached_keys_are_used_during_an_outage(issuer, caplog):
    await issuer.ask()
    issuer.down = True
    issuer.now += REFRESH_AFTER_S
    with caplog.at_level(logging.WARNING):
        assert await issuer.ask() == ["old"]
    assert f"the keys of {ISSUER} cannot be fetched (connection refused)" in caplog.text
    # Later requests do not wait: keys are fetched in the background.
    issuer.hold = asyncio.Event()
    issuer.now += FETCH_INTERVAL_MIN_S
    assert await asyncio.wait_for(issuer.ask(), WAIT_MAX_S) == ["old"]
    assert await asyncio.wait_for(issuer.ask(), WAIT_MAX_S) == ["old"]
    issuer.down, issuer.keys = False, [OLD, NEW]
    issuer.hold.set()
    await issuer.wait_fetched()
    assert issuer.fetched == 3
    assert await issuer.ask() == ["old", "new"]


async def test_cached_keys_expire_in_a_long_outage(issuer):
    await issuer.ask()
    issuer.down = True
    issuer.now += STALE_MAX_S - 1
    assert await issuer.ask() == ["old"]
    issuer.now += 1
    with pytest.raises(Unavailable):
        await issuer.ask()
    issuer.down = False
    issuer.now += FETCH_INTERVAL_MIN_S
    assert await issuer.ask() == ["old"]


async def test_close_cancels_a_running_fetch(issuer):
    await issuer.ask()
    await issuer.source.aclose()
    issuer.hold = asyncio.Event()
    issuer.now += FETCH_INTERVAL_MIN_S
    waiting = asyncio.create_task(issuer.ask("new"))
    await asyncio.sleep(0)
    await issuer.source.aclose()
    assert issuer.source._fetching is None
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_failed_fetch_of_an_unknown_key_keeps_the_known_ones(issuer):
    await issuer.ask()
    issuer.down = True
    issuer.now += FETCH_INTERVAL_MIN_S
    assert await issuer.ask("made-up") == ["old"]
    assert await issuer.ask() == ["old"]
    assert issuer.fetched == 2


# --- over HTTP, with tokens ----------------------------------------------------------------------


def token(key: ECKey) -> str:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "email": "ada@example.com"}
    exp = int(NOON.timestamp()) + 60
    return jwt.encode({"alg": "ES256", "kid": key.kid}, claims | {"exp": exp}, key)


def published(*keys: ECKey) -> bytes:
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


async def test_tokens_are_verified_through_rotation_and_an_outage():
    now = [0.0]
    async with publishing() as issuer:
        source = IssuerKeys(
            JwksClient(ISSUER, issuer.url + JWKS), issuer=ISSUER, elapsed=lambda: now[0]
        )
        tokens = JwtTokens(source, issuer=ISSUER, audiences=[AUDIENCE], clock=lambda: NOON)
        with pytest.raises(Unavailable):
            await tokens.verify(token(OLD))
        issuer.says(JWKS, published(OLD))
        now[0] += RETRY_FIRST_S
        both = await asyncio.gather(*(tokens.verify(token(OLD)) for _ in range(20)))
        assert {one.subject for one in both} == {"ada"}
        assert issuer.asked == [JWKS] * 2

        issuer.says(JWKS, published(NEW))
        with pytest.raises(Unauthenticated):
            await tokens.verify(token(NEW))
        now[0] += FETCH_INTERVAL_MIN_S
        assert (await tokens.verify(token(NEW))).subject == "ada"
        with pytest.raises(Unauthenticated):
            await tokens.verify(token(OLD))

        for spoilt in (b"<html>", b"{}"):
            issuer.says(JWKS, spoilt)
            now[0] += REFRESH_AFTER_S
            assert (await tokens.verify(token(NEW))).subject == "ada"
    now[0] += REFRESH_AFTER_S  # its server is gone by now
    assert (await tokens.verify(token(NEW))).subject == "ada"
    await source.aclose()
