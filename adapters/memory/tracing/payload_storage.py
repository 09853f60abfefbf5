"""PayloadStorage over values in memory, which have nothing to join."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class MemoryPayloadStorage:
    async def join_blocks(self, before: datetime) -> int:  # noqa: ARG002 - nothing is older
        return 0

    async def remove_objects(self, before: datetime) -> int:  # noqa: ARG002 - there are none
        return 0

    async def remove_orphans(self, before: datetime) -> int:  # noqa: ARG002 - there are none
        return 0

    async def remove_unused_texts(self, before: datetime) -> int:  # noqa: ARG002 - there are none
        return 0
