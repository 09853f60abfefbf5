"""Does without Redis while it doesn't answer."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from adapters.redis_failures import redis_failure
from application.ports import ADMIT_MAX_S, MonotonicClock
from domain.limits import SECOND_US

RETRY_AFTER_S: Final = 1  # after a failure, one request per second tries Redis again
# Turns of the event loop. In the first one the time may have run out, the next one reads what has
# arrived, and the last one hands it to the task that waits.
LATE_TURNS: Final = 3

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class RedisFallback:
    """Asks Redis, at most for ADMIT_MAX_S. `on_fallback` is called for each missing answer."""

    ticks: MonotonicClock
    on_fallback: Callable[[], None] = lambda: None
    _retry_at_us: int | None = None  # None while Redis answers

    async def ask[T](self, question: Callable[[], Awaitable[T]]) -> T | None:
        """The answer of Redis; None if it doesn't answer or isn't tried."""
        probing = self._retry_at_us is not None
        if probing and not self._may_retry():
            self.on_fallback()
            return None
        try:
            async with _waiting_at_most(ADMIT_MAX_S):
                answer = await question()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with Redis, the limit holds
            self.on_fallback()
            self._note_failure(error)
            return None
        if probing:
            self._note_success()
        return answer

    def _may_retry(self) -> bool:
        """Whether to try Redis now. Returns True once per RETRY_AFTER_S."""
        now_us = self.ticks()
        if self._retry_at_us is not None and now_us < self._retry_at_us:
            return False
        self._retry_at_us = now_us + RETRY_AFTER_S * SECOND_US
        return True

    def _note_failure(self, error: Exception) -> None:
        if self._retry_at_us is None:
            _log.warning(
                "Redis can't be used (%s): each process limits on its own", redis_failure(error)
            )
        self._retry_at_us = self.ticks() + RETRY_AFTER_S * SECOND_US

    def _note_success(self) -> None:
        if self._retry_at_us is not None:
            _log.info("Redis answers again: processes share the limits")
        self._retry_at_us = None


@asynccontextmanager
async def _waiting_at_most(seconds: float) -> AsyncIterator[None]:
    """Raises TimeoutError unless the block ends in time.

    If the event loop itself is late, what arrived meanwhile counts as in time: Redis isn't slow
    because this process is.
    """
    loop = asyncio.get_running_loop()
    waiting: asyncio.Handle

    def let_pass(turns: int) -> None:
        nonlocal waiting
        if turns:
            waiting = loop.call_soon(let_pass, turns - 1)
        else:
            limit.reschedule(loop.time())

    waiting = loop.call_later(seconds, let_pass, LATE_TURNS)
    try:
        async with asyncio.timeout(None) as limit:
            yield
    finally:
        waiting.cancel()
