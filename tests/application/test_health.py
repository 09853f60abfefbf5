"""Readiness: every part at once, each with its own word."""

import asyncio
from dataclasses import dataclass

from application.health import CheckReadiness
from application.ports import PartState
from tests.support.waiting import in_time

FINE, BROKEN = PartState(ok=True), PartState(ok=False, detail="connection refused")


@dataclass(frozen=True, slots=True)
class Steady:
    state: PartState

    async def check(self) -> PartState:
        return self.state


@dataclass(frozen=True, slots=True)
class Waiting:
    """Answers once the others were asked too."""

    gate: asyncio.Barrier

    async def check(self) -> PartState:
        await self.gate.wait()
        return FINE


async def test_each_part_has_its_own_state_and_place():
    parts = {"postgres": Steady(BROKEN), "redis": Steady(FINE)}
    states = await CheckReadiness(parts)()
    assert list(states.items()) == [("postgres", BROKEN), ("redis", FINE)]


async def test_parts_are_asked_at_once():
    gate = asyncio.Barrier(3)
    async with in_time():
        states = await CheckReadiness({name: Waiting(gate) for name in "abc"})()
    assert set(states.values()) == {FINE}


async def test_without_parts_there_is_nothing_to_tell():
    assert await CheckReadiness({})() == {}
