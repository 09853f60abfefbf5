"""Whether the service is ready."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from application.ports import HealthCheck, HealthStatus


@dataclass(frozen=True, slots=True)
class CheckReadiness:
    """Runs all health checks concurrently."""

    checks: Mapping[str, HealthCheck]

    async def __call__(self) -> Mapping[str, HealthStatus]:
        """The status of each check by its name."""
        states = await asyncio.gather(*(check.check() for check in self.checks.values()))
        return dict(zip(self.checks, states, strict=True))
