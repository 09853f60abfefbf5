"""Counts refused requests in memory, and writes the counts outside of any request."""

import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from adapters.caching.periodic_flush import flush_periodically
from application.identity.ports import Refusals
from domain.identity.refusal import Refusal

FLUSH_EVERY_S: Final = 5.0
BUFFERED_REFUSALS_MAX: Final = 1_000  # distinct ones; beyond it, they are counted together

_log = logging.getLogger(__name__)


class RefusalBuffer:
    """Counts refusals in memory and writes them every few seconds.

    If the database is unavailable, they are written later. If the process is killed, the buffered
    ones are lost.
    """

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self._pending = Counter[Refusal]()

    @classmethod
    @asynccontextmanager
    async def flushing_to(
        cls, refusals: Refusals, every_s: float = FLUSH_EVERY_S
    ) -> AsyncIterator["RefusalBuffer"]:
        """Writes to `refusals` periodically while the block runs, and once more at its end."""
        buffer = cls(refusals)
        async with flush_periodically(buffer._flush, every_s, buffer._warn_lost):
            yield buffer

    def record(self, refusal: Refusal, count: int = 1) -> None:
        is_new = refusal not in self._pending
        if is_new and len(self._pending) >= BUFFERED_REFUSALS_MAX:
            refusal = refusal.with_others
        self._pending[refusal] += count

    def _warn_lost(self) -> None:
        _log.warning("the last refusals were not written")

    async def _flush(self) -> None:
        if not self._pending:
            return
        counts, self._pending = self._pending, Counter()
        is_written = False
        try:
            await self._refusals.add(counts)
            is_written = True
        except Exception:  # noqa: BLE001 - whatever the cause, the next flush tries again
            _log.warning("refusals could not be written yet", exc_info=True)
        finally:
            if not is_written:
                for refusal, count in counts.items():
                    self.record(refusal, count)
