"""The threads of a worker: they take messages, and have the jobs done on one event loop."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import CancelledError, Future
from threading import Lock
from typing import Any, Final

import dramatiq

from adapters.dramatiq.broker import QueueBroker
from adapters.dramatiq.messages import ACTORS, job_of
from application.jobs import Job, JobQueue

IDLE_MS: Final = 1_000  # between two looks of a thread without work whether it is to stop
CLOSING_S: Final = 3  # for consumers to end, and to put back what they had fetched

_log = logging.getLogger(__name__)

type Do = Callable[[Job], Coroutine[Any, Any, None]]
"""Has a job done. Whatever it raises is logged, and its message acknowledged all the same."""


class Crew:
    """`hands` says how many jobs of each lane are done at once.

    Each lane has a broker, a consumer and threads of its own, so that none waits for another.
    A thread does nothing but wait for what the loop does.
    """

    def __init__(self, url: str, hands: Mapping[JobQueue, int], do: Do) -> None:
        self._loop = asyncio.get_running_loop()
        self._do = do
        self._running: set[Future[None]] = set()
        self._lock = Lock()
        self._workers = [
            dramatiq.Worker(
                self._broker(url, lane.value), worker_threads=count, worker_timeout=IDLE_MS
            )
            for lane, count in hands.items()
        ]

    def start(self) -> None:
        """Returns at once, whether Redis answers or not."""
        for worker in self._workers:
            worker.start()

    async def stop(self, within_s: float) -> None:
        """Takes no more messages; what isn't done `within_s` is given up. Within CLOSING_S more."""
        stopping = asyncio.gather(*(self._stopped(worker, within_s) for worker in self._workers))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await asyncio.shield(stopping)
        with self._lock:
            for future in self._running:
                future.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_S):
                await asyncio.shield(stopping)

    async def _stopped(self, worker: dramatiq.Worker, within_s: float) -> None:
        await asyncio.to_thread(worker.stop, int(within_s * 1_000))
        await asyncio.to_thread(worker.broker.close)

    def _broker(self, url: str, queue: str) -> QueueBroker:
        broker = QueueBroker(url, queue)

        def act(*args: object) -> None:
            """Runs in a thread."""
            try:
                job = job_of(queue, args)
            except ValueError:
                _log.warning("%s: dropped a message that names nothing", queue)
            else:
                self._wait_for(self._do(job))

        dramatiq.actor(actor_name=ACTORS[queue], queue_name=queue, broker=broker)(act)
        return broker

    def _wait_for(self, doing: Coroutine[Any, Any, None]) -> None:
        future = asyncio.run_coroutine_threadsafe(doing, self._loop)
        with self._lock:
            self._running.add(future)
        try:
            future.result()
        except CancelledError:
            _log.info("gave up a job that was under way")
        finally:
            with self._lock:
                self._running.discard(future)
