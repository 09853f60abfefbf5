"""Keeps rejections of ingested data in memory, and writes them outside of any request."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final

from adapters.caching.periodic_flush import flush_periodically
from application.tracing.otlp.rejections import Rejections
from domain.ids import ProjectId, RejectionId
from domain.tracing.otel.requests import RecordedRejection, rejection_key, with_count_of

FLUSH_EVERY_S: Final = 1.0
BUFFERED_REJECTIONS_MAX: Final = 5_000  # beyond it the oldest are dropped
WRITTEN_AT_ONCE_MAX: Final = 1_000

type OnRecord = Callable[[Sequence[RecordedRejection]], None]

_log = logging.getLogger(__name__)


class RejectionBuffer:
    """Implements RejectionLog. If the database is unavailable, they are written later."""

    def __init__(self, rejections: Rejections, on_record: OnRecord | None = None) -> None:
        self._rejections = rejections
        self._on_record = on_record
        self._pending: dict[tuple[ProjectId, RejectionId], RecordedRejection] = {}

    @classmethod
    @asynccontextmanager
    async def flushing_to(
        cls,
        rejections: Rejections,
        every_s: float = FLUSH_EVERY_S,
        on_record: OnRecord | None = None,
    ) -> AsyncIterator["RejectionBuffer"]:
        """Writes to `rejections` periodically while the block runs, and once more at its end.

        `on_record` is called with what is recorded.
        """
        buffer = cls(rejections, on_record)
        async with flush_periodically(buffer._flush, every_s, buffer._warn_lost):
            yield buffer

    def record(self, rejections: Sequence[RecordedRejection]) -> None:
        if self._on_record is not None:
            self._on_record(rejections)
        for one in rejections:
            self._keep(one)

    def _keep(self, one: RecordedRejection) -> None:
        key = rejection_key(one)
        self._pending[key] = with_count_of(one, self._pending.get(key))
        if len(self._pending) > BUFFERED_REJECTIONS_MAX:
            del self._pending[next(iter(self._pending))]

    def _warn_lost(self) -> None:
        _log.warning("the last rejections of ingested data were not written")

    async def _flush(self) -> None:
        while self._pending:
            keys = list(islice(self._pending, WRITTEN_AT_ONCE_MAX))
            some = [self._pending.pop(key) for key in keys]
            is_written = False
            try:
                await self._rejections.add(some)
                is_written = True
            except Exception:  # noqa: BLE001 - whatever the cause, the next flush tries again
                _log.warning("rejections could not be written yet", exc_info=True)
                return
            finally:
                if not is_written:
                    newer, self._pending = self._pending, {}
                    for one in (*some, *newer.values()):
                        self._keep(one)
