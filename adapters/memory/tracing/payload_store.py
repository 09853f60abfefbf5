"""PayloadStore in memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from application.tracing.ports import LISTED_MAX


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class MemoryPayloadStore:
    """Objects by key, with the instant at which they were stored."""

    objects: dict[str, tuple[datetime, bytes]] = field(default_factory=dict)
    clock: Callable[[], datetime] = _now

    async def put(self, key: str, data: bytes) -> None:
        self.objects[key] = (self.clock(), data)

    async def get(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        return {key: self.objects[key][1] for key in keys if key in self.objects}

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.objects.pop(key, None)

    async def list_keys(self, after: str, before: datetime) -> Sequence[str]:
        listed = sorted(key for key in self.objects if key > after)[:LISTED_MAX]
        return [key for key in listed if self.objects[key][0] < before]
