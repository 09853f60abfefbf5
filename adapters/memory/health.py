"""A health check with a fixed status."""

from dataclasses import dataclass

from application.ports import HealthStatus


@dataclass(frozen=True, slots=True)
class FixedHealthCheck:
    """Always in one state: a part that isn't there yet, or one that a test wants broken."""

    state: HealthStatus

    async def check(self) -> HealthStatus:
        return self.state
