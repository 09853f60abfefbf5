"""The threads of a worker: they receive messages and run the jobs on one event loop."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import CancelledError
from typing import Any, Final

import dramatiq

from adapters.dramatiq.broker import QueueBroker
from adapters.dramatiq.messages import ACTORS, parse_job
from application.jobs import Job, JobQueue

IDLE_POLL_MS: Final = 1_000  # how often an idle thread checks whether it has to stop
CLOSE_TIMEOUT_S: Final = 3  # for consumers to end and to requeue their messages

_log = logging.getLogger(__name__)

type RunJob = Callable[[Job], Coroutine[Any, Any, None]]
"""Runs a job. An exception is logged, and the message of the job is acknowledged anyway."""


class WorkerPool:
    """Runs up to `concurrency[lane]` jobs of each lane concurrently.

    Each lane has its own broker, consumer and threads, so that no lane waits for another. A
    thread does nothing but wait for the event loop.
    """

    def __init__(self, url: str, concurrency: Mapping[JobQueue, int], run_job: RunJob) -> None:
        self._loop = asyncio.get_running_loop()
        self._run_job = run_job
        self._running: set[asyncio.Task[None]] = set()
        self._workers = [
            dramatiq.Worker(
                self._create_broker(url, lane.value),
                worker_threads=count,
                worker_timeout=IDLE_POLL_MS,
            )
            for lane, count in concurrency.items()
        ]

    def start(self) -> None:
        """Returns immediately, whether Redis answers or not."""
        for worker in self._workers:
            worker.start()

    async def stop(self, within_s: float) -> None:
        """Receives no more messages, and cancels the jobs that aren't done `within_s`.

        Returns once these have ended. Takes at most CLOSE_TIMEOUT_S longer.
        """
        stopping = asyncio.gather(*(self._stop(worker, within_s) for worker in self._workers))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await asyncio.shield(stopping)
        for task in self._running:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await asyncio.shield(stopping)

    async def _stop(self, worker: dramatiq.Worker, within_s: float) -> None:
        await asyncio.to_thread(worker.stop, int(within_s * 1_000))
        await asyncio.to_thread(worker.broker.close)

    def _create_broker(self, url: str, queue: str) -> QueueBroker:
        broker = QueueBroker(url, queue)

        def act(*args: object) -> None:
            """Runs in a thread."""
            try:
                job = parse_job(queue, args)
            except ValueError:
                _log.warning("%s: dropped a message that names no job", queue)
            else:
                self._wait_for(self._run_job(job))

        dramatiq.actor(actor_name=ACTORS[queue], queue_name=queue, broker=broker)(act)
        return broker

    def _wait_for(self, running: Coroutine[Any, Any, None]) -> None:
        try:
            asyncio.run_coroutine_threadsafe(self._tracked(running), self._loop).result()
        except CancelledError:
            _log.info("cancelled a job that was running")

    async def _tracked(self, running: Coroutine[Any, Any, None]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await running
        finally:
            self._running.discard(task)
