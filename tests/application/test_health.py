"""Readiness: every part at once, each with its own word."""

import asyncio
from dataclasses import dataclass

from application.health import CheckReadiness
from application.ports import HealthStatus

FINE, BROKEN = HealthStatus(ok=True), HealthStatus(ok=False, detail="connection refused")


@dataclass(frozen=True, slots=True)
class Steady:
    state: HealthStatus

    async def check(self) -> HealthStatus:
        return self.state


@dataclass(frozen=True, slots=True)
class Waiting:
    """Answers once the others were asked too."""

    gate: asyncio.Barrier

    async def check(self) -> HealthStatus:
        await self.gate.wait()
        return FINE


async def test_each_part_has_its_own_state_and_place():
    parts = {"postgres": Steady(BROKEN), "redis": Steady(FINE)}
    states = await CheckReadiness(parts)()
    assert list(states.items()) == [("postgres", BROKEN), ("redis", FINE)]


async def test_parts_are_asked_at_once():
    gate = asyncio.Barrier(3)
    async with asyncio.timeout(5):
        states = await CheckReadiness({name: Waiting(gate) for name in "abc"})()
    assert set(states.values()) == {FINE}


async def test_without_parts_there_is_nothing_to_tell():
    assert await CheckReadiness({})() == {}
