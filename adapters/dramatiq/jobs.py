"""The port Jobs over Redis: a few commands of asyncio, and never an exception."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import batched
from typing import Final

from redis.asyncio import Redis

from adapters.dramatiq.messages import NAMESPACE, build_message
from application.jobs import Job, Jobs
from application.ports import MonotonicClock

SEND_MAX_S: Final = 2  # for all jobs of a call
SENT_AT_ONCE: Final = 1_000  # messages of one transaction of Redis: 0.3 MB
AWAY_US: Final = 1_000_000  # Redis isn't asked again for so long after it failed

_log = logging.getLogger(__name__)


class DramatiqJobs:
    """Messages that Dramatiq's workers consume; what can't be told is told `otherwise`, if at all.

    `sent` and `lost` count jobs; what was lost may have arrived, if only the answer was.
    `on_job` hears of each first, and doesn't raise.
    """

    def __init__(
        self,
        client: Redis,
        ticks: MonotonicClock,
        otherwise: Jobs | None = None,
        on_job: Callable[[Job], None] | None = None,
    ) -> None:
        self.sent = 0
        self.lost = 0
        self._client = client
        self._ticks = ticks
        self._otherwise = otherwise
        self._on_job = on_job
        self._ask_again_us: int | None = None  # None while Redis answers

    async def send(self, *jobs: Job) -> None:
        if self._on_job is not None:
            for job in jobs:
                self._on_job(job)
        told = 0
        if jobs and self._is_asked():
            try:
                async with asyncio.timeout(SEND_MAX_S):
                    for some in batched(jobs, SENT_AT_ONCE):
                        await self._told(some)
                        told += len(some)
            except Exception as error:  # noqa: BLE001 - whatever is wrong: nothing depends on it
                self._failed(error)
            else:
                self._answered()
        self.sent += told
        if left := jobs[told:]:
            self.lost += len(left)
            if self._otherwise is not None:
                await self._otherwise.send(*left)

    async def _told(self, jobs: Sequence[Job]) -> None:
        """Two commands a queue, all or none. Raises whatever the client raises."""
        queues: defaultdict[str, list[str | bytes]] = defaultdict(list)  # key, message, key, …
        for job in jobs:
            message = build_message(job)
            queues[message.queue_name] += message.message_id, message.encode()
        async with self._client.pipeline(transaction=True) as pipeline:
            for queue, items in queues.items():
                name = f"{NAMESPACE}:{queue}"
                pipeline.hset(f"{name}.msgs", items=items)
                pipeline.rpush(name, *items[::2])
            await pipeline.execute()

    def _is_asked(self) -> bool:
        """Whether Redis is asked now: while it is away, by one call in a while."""
        if self._ask_again_us is None:
            return True
        now_us = self._ticks()
        if now_us < self._ask_again_us:
            return False
        self._ask_again_us = now_us + AWAY_US
        return True

    def _failed(self, error: Exception) -> None:
        if self._ask_again_us is None:
            _log.warning(
                "Redis can't be told what is due (%s): it is found in the database, later",
                type(error).__name__,
            )
        self._ask_again_us = self._ticks() + AWAY_US

    def _answered(self) -> None:
        if self._ask_again_us is not None:
            _log.info("Redis is told again what is due")
        self._ask_again_us = None
