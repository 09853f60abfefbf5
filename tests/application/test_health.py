"""Readiness: all checks run concurrently, each with its own status."""

import asyncio
from dataclasses import dataclass

from adapters.memory.health import FixedHealthCheck
from application.health import CheckReadiness
from application.ports import HealthStatus
from tests.support.waiting import in_time

FINE, BROKEN = HealthStatus(ok=True), HealthStatus(ok=False, detail="connection refused")


@dataclass(frozen=True, slots=True)
class Waiting:
    """Answers once the other checks have started too."""

    gate: asyncio.Barrier

    async def check(self) -> HealthStatus:
        await self.gate.wait()
        return FINE


async def test_each_check_has_its_own_status_in_order():
    checks = {"postgres": FixedHealthCheck(BROKEN), "redis": FixedHealthCheck(FINE)}
    states = await CheckReadiness(checks)()
    assert list(states.items()) == [("postgres", BROKEN), ("redis", FINE)]


async def test_checks_run_concurrently():
    gate = asyncio.Barrier(3)
    async with in_time():
        states = await CheckReadiness({name: Waiting(gate) for name in "abc"})()
    assert set(states.values()) == {FINE}


async def test_without_checks_the_result_is_empty():
    assert await CheckReadiness({})() == {}
