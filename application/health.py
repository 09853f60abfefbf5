"""Whether the service can do its work."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from application.ports import HealthStatus, Part


@dataclass(frozen=True, slots=True)
class CheckReadiness:
    """Asks every part at once."""

    parts: Mapping[str, Part]

    async def __call__(self) -> Mapping[str, HealthStatus]:
        """The state of each part by its name."""
        states = await asyncio.gather(*(part.check() for part in self.parts.values()))
        return dict(zip(self.parts, states, strict=True))
