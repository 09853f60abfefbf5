"""Deletion of one object on request."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from domain.errors import NotFound


@dataclass(frozen=True, slots=True)
class DeleteOne[**Ids]:
    """Deletes an object by the method of its port, which says whether the object existed."""

    delete: Callable[Ids, Awaitable[bool]]
    missing: str

    async def __call__(self, *ids: Ids.args, **more: Ids.kwargs) -> None:
        """Raises NotFound with the message `missing`, also the second time; Unavailable."""
        if not await self.delete(*ids, **more):
            raise NotFound(self.missing)
