"""A hundred thousand hostile bodies: each is answered, and none blocks the event loop for long.

In memory, so that the figure is the work on a body and not that of a database. The statuses and
the longest block are printed (`pytest -rP`), and docs/operation/reliability.md has them.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Final

import pytest

from tests.http.conftest import CONFIG, Site
from tests.support.builders.random_bodies import RandomBody, random_body
from tests.support.clients.asgi_client import chunk, exchange
from tests.support.clients.two_tenants import TwoTenants
from tests.support.endpoints.registry import BY_OPERATION, ENDPOINTS
from tests.support.endpoints.spec import NO_ROLE
from tests.support.endpoints.templates import Words, filled, filled_path
from tests.support.hypothesis_scale import scaled, shortened
from tests.support.loop_blocks import watched_loop

SEED: Final = 16
BODIES: Final = 100_000
FULL_BODIES: Final = 4_000  # without the figures
BODIES_PER_STORE: Final = 1_000  # then the store is as at first
CHUNK_BYTES: Final = 64 << 10
BLOCK_MAX_MS: Final = 100.0  # loosely: a busy machine delays everything
WITH_BODY: Final = {
    one.operation for one in ENDPOINTS if one.body is not None and one.access != NO_ROLE
}


@pytest.fixture
async def world() -> AsyncIterator[TwoTenants]:
    tenants = TwoTenants(Site(config=replace(CONFIG, max_body_bytes=20 << 20)))
    async with tenants.site.http:
        await tenants.begin()
        yield tenants


class Answers:
    """What the bodies were answered, and the one that blocked longest."""

    def __init__(self) -> None:
        self.statuses = Counter[int]()
        self.bytes = 0
        self.longest = (0.0, "")
        self.faults = list[str]()  # the bodies that were answered with 5xx

    def __str__(self) -> str:
        mib, statuses = self.bytes / 2**20, dict(sorted(self.statuses.items()))
        return (
            f"{self.statuses.total()} bodies, {mib:.0f} MiB, {statuses}; "
            f"longest block {self.longest[0]:.1f} ms: {self.longest[1]}"
        )


@dataclass(frozen=True, slots=True)
class Sender:
    world: TwoTenants
    answers: Answers

    async def send(self, numbers: range) -> None:
        """Makes the bodies first, so that only the work of the application counts."""
        await self.world.begin()
        words = {name: self.world.own_words(BY_OPERATION[name]) for name in WITH_BODY}
        templates = {name: filled(BY_OPERATION[name].body, words[name]) for name in WITH_BODY}
        bodies = [random_body(SEED, number, templates) for number in numbers]
        async with watched_loop() as blocks:
            for number, body in zip(numbers, bodies, strict=True):
                blocks.longest_ms = 0
                status = await self._send(body, words[body.operation])
                await asyncio.sleep(0.002)  # the loop is watched every millisecond
                what = f"{number}, {body.operation}, {body.what}, {len(body.data)} bytes: {status}"
                if status >= 500:
                    self.answers.faults.append(what)
                self.answers.longest = max(self.answers.longest, (blocks.longest_ms, what))

    async def _send(self, body: RandomBody, words: Words) -> int:
        spec = BY_OPERATION[body.operation]
        head = {"content-type": "application/json", **self.world.credentials(spec)[0]}
        starts = range(0, max(len(body.data), 1), CHUNK_BYTES)
        messages = [
            chunk(body.data[at : at + CHUNK_BYTES], more=at + CHUNK_BYTES < len(body.data))
            for at in starts
        ]
        path = filled_path(spec.path, words)
        sent, _ = await exchange(self.world.site.app, spec.method, path, head, messages)
        status = int(sent[0]["status"])
        self.answers.statuses[status] += 1
        self.answers.bytes += len(body.data)
        return status


async def send_all(world: TwoTenants, count: int) -> Answers:
    sender = Sender(world, Answers())
    for start in range(0, count, BODIES_PER_STORE):
        await sender.send(range(start, min(start + BODIES_PER_STORE, count)))
    print(sender.answers)
    assert sender.answers.faults == []
    return sender.answers


@pytest.mark.slow
async def test_hostile_bodies_are_answered(world: TwoTenants) -> None:
    answers = await send_all(world, shortened(scaled(FULL_BODIES)))
    assert {200, 202, 400, 422} <= answers.statuses.keys()


@pytest.mark.exhaustive
@pytest.mark.slow
async def test_hostile_bodies_block_the_loop_shortly(world: TwoTenants) -> None:
    answers = await send_all(world, BODIES)
    assert answers.longest[0] < BLOCK_MAX_MS, answers.longest
