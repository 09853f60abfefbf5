"""Sends jobs to Redis: the port Jobs, with a few asyncio commands. It never raises."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import batched
from typing import Final

from redis.asyncio import Redis

from adapters.dramatiq.messages import NAMESPACE, build_message
from adapters.redis_failures import redis_failure
from application.jobs import Job, Jobs
from application.ports import MonotonicClock

SEND_TIMEOUT_S: Final = 2  # for all jobs of a call
TRANSACTION_JOBS_MAX: Final = 1_000  # about 0.3 MB of messages
RETRY_AFTER_US: Final = 1_000_000  # after a failure, no command is sent for this long

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class DramatiqJobs:
    """Sends jobs as messages that Dramatiq's workers consume.

    A job that can't be sent goes to `fallback`, if there is one. `sent` and `lost` count jobs. A
    lost job may have arrived, if only the answer of Redis got lost. `on_job` is called first with
    each job, and must not raise.
    """

    client: Redis
    ticks: MonotonicClock
    fallback: Jobs | None = None
    on_job: Callable[[Job], None] | None = None
    sent: int = field(default=0, init=False)
    lost: int = field(default=0, init=False)
    _retry_at_us: int | None = field(default=None, init=False)  # None while Redis answers

    async def send(self, *jobs: Job) -> None:
        if self.on_job is not None:
            for job in jobs:
                self.on_job(job)
        sent = 0
        if jobs and self._may_send():
            try:
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    for batch in batched(jobs, TRANSACTION_JOBS_MAX):
                        await self._send_batch(batch)
                        sent += len(batch)
            except Exception as error:  # noqa: BLE001 - whatever the cause, workers find the jobs later
                self._note_failure(error)
            else:
                self._note_success()
        self.sent += sent
        if left := jobs[sent:]:
            self.lost += len(left)
            if self.fallback is not None:
                await self.fallback.send(*left)

    async def _send_batch(self, jobs: Sequence[Job]) -> None:
        """Sends all or none: two commands per queue. Raises whatever the client raises."""
        queues: defaultdict[str, list[str | bytes]] = defaultdict(list)  # key, message, key, …
        for job in jobs:
            message = build_message(job)
            queues[message.queue_name] += message.message_id, message.encode()
        async with self.client.pipeline(transaction=True) as pipeline:
            for queue, items in queues.items():
                name = f"{NAMESPACE}:{queue}"
                pipeline.hset(f"{name}.msgs", items=items)
                pipeline.rpush(name, *items[::2])
            await pipeline.execute()

    def _may_send(self) -> bool:
        """Whether to try Redis now: during an outage, one call per RETRY_AFTER_US does."""
        if self._retry_at_us is None:
            return True
        now_us = self.ticks()
        if now_us < self._retry_at_us:
            return False
        self._retry_at_us = now_us + RETRY_AFTER_US
        return True

    def _note_failure(self, error: Exception) -> None:
        if self._retry_at_us is None:
            _log.warning(
                "jobs can't be sent to Redis (%s): workers find them in the database later",
                redis_failure(error),
            )
        self._retry_at_us = self.ticks() + RETRY_AFTER_US

    def _note_success(self) -> None:
        if self._retry_at_us is not None:
            _log.info("jobs are sent to Redis again")
        self._retry_at_us = None
