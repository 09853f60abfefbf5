"""Group commit: writes of many callers go into one transaction.

While one batch commits, the next one gathers. So a lone caller waits for no other, and a busy
service writes many items in each COMMIT. A caller returns after the COMMIT of its own item.

Two batches are written at a time: one uses the event loop while the other waits for the database.
The second one begins once as many items wait as the first one has, or SECOND_BATCH_ITEMS. If it
began earlier, one batch would have most items, and several small ones would be written meanwhile:
each costs 3 ms of CPU, however small it is. Figures: docs/development/benchmarks.md.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from domain.errors import Unavailable

WRITERS: Final = 2  # one gathers while the other waits for the disk; more only add connections
# Larger items have a queue and a writer of their own: a trace of 5,000 spans takes some tenths of a
# second, and other callers would wait for it.
LARGE_ITEM_BYTES: Final = 2 << 20
LARGE_WRITERS: Final = 1
SECOND_BATCH_ITEMS: Final = 16  # share these 3 ms well enough
SLOW_BATCH_S: Final = 0.1  # others don't wait for a batch that takes longer, as for a lock
BATCH_ITEMS_MAX: Final = 64  # larger batches gain nothing and lengthen the wait
BATCH_BYTES_MAX: Final = 8 << 20
QUEUE_ITEMS_MAX: Final = 4_096  # beyond it callers get an error instead of a longer wait
QUEUE_BYTES_MAX: Final = 64 << 20
PUT_TIMEOUT_S: Final = 20.0  # queued and being written; below the timeout of clients
CLOSE_TIMEOUT_S: Final = 1  # writing the queue takes a fraction of it


class IsTransient(Protocol):
    """Tells whether an error is transient rather than caused by the items."""

    def __call__(self, error: Exception, /) -> bool: ...


@dataclass(slots=True)
class QueuedItem[T]:
    item: T
    size: int
    written: asyncio.Future[None]
    mark: object = None

    def fail(self, error: Exception) -> None:
        if not self.written.done():
            self.written.set_exception(error)


@dataclass(slots=True)
class _Queue[T]:
    """Items that wait for the same writers."""

    items: deque[QueuedItem[T]] = field(default_factory=deque)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    being_written: int = 0  # items of batches that aren't slow yet

    @property
    def has_batch(self) -> bool:
        """Whether enough items wait for a batch of their own."""
        return len(self.items) >= min(max(self.being_written, 1), SECOND_BATCH_ITEMS)

    @contextmanager
    def writing(self, items: int, slow_after_s: float) -> Iterator[None]:
        """Counts the items of a batch until it ends, or has taken `slow_after_s`."""

        def stop_counting() -> None:
            nonlocal items
            self.being_written -= items
            items = 0
            self.changed.set()

        self.being_written += items
        timer = asyncio.get_running_loop().call_later(slow_after_s, stop_counting)
        try:
            yield
        finally:
            timer.cancel()
            stop_counting()


@dataclass(frozen=True, slots=True)
class Batch[T]:
    """The result of one write. `marks` are the marks of its callers.

    `bytes` is the sum of the sizes that the callers gave; `error` is None if the items are
    committed.
    """

    items: Sequence[T]
    marks: Sequence[object]
    bytes: int
    seconds: float
    error: BaseException | None


class BatchObserver[T](Protocol):
    """Observes batches. An exception that it raises ends a writer."""

    def mark(self) -> object:
        """Called in the task of the caller of `put`; its result is kept with the item."""
        ...

    def settled(self, batch: Batch[T], /) -> None:
        """Called after each batch, stored or not. If a batch is halved, for each half too."""
        ...


class NoObserver[T]:
    def mark(self) -> object:
        return None

    def settled(self, batch: Batch[T], /) -> None: ...


@dataclass(slots=True)
class GroupCommit[T]:
    """A queue of items in front of `write`, which stores a batch wholly or not at all.

    If `write` fails and the error is not transient, the batch is halved until the item that cannot
    be written is alone: only its caller gets the error. Items of more than LARGE_ITEM_BYTES don't
    delay others. Memory is bounded: QUEUE_ITEMS_MAX items and QUEUE_BYTES_MAX bytes may wait (a
    single item may exceed the latter if no other waits), and at most WRITERS and LARGE_WRITERS
    batches are being written.
    """

    write: Callable[[Sequence[T]], Awaitable[None]]
    is_transient: IsTransient
    within_s: float = PUT_TIMEOUT_S
    watch: BatchObserver[T] = field(default_factory=NoObserver)
    batch_bytes: int = BATCH_BYTES_MAX  # a single item may be larger
    slow_after_s: float = SLOW_BATCH_S
    _ordinary: _Queue[T] = field(default_factory=_Queue)
    _large: _Queue[T] = field(default_factory=_Queue)
    _bytes: int = 0
    _closing: bool = False
    _writers: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def waiting(self) -> tuple[int, int]:
        """Items and bytes that wait."""
        return len(self._ordinary.items) + len(self._large.items), self._bytes

    async def put(self, item: T, size: int) -> None:
        """Returns once `item`, of about `size` bytes, is committed.

        A cancelled caller does not cancel the write. Raises the error of `write` for this item.
        Raises Unavailable if the queue is full or closing, or after `within_s`; in the last case
        the item may still be written.
        """
        if self._closing:
            raise Unavailable("The service is shutting down; try again")
        items, waiting_bytes = self.waiting
        if items >= QUEUE_ITEMS_MAX or (items and waiting_bytes + size > QUEUE_BYTES_MAX):
            raise Unavailable("Too many writes are waiting; try again")
        written = asyncio.get_running_loop().create_future()
        queue = self._large if size > LARGE_ITEM_BYTES else self._ordinary
        queue.items.append(QueuedItem(item, size, written, self.watch.mark()))
        self._bytes += size
        queue.changed.set()
        try:
            async with asyncio.timeout(self.within_s) as limit:
                await written
        except TimeoutError as error:
            if limit.expired():
                raise Unavailable("The write takes too long; try again") from error
            raise

    def start(self) -> None:
        queues = [self._ordinary] * WRITERS + [self._large] * LARGE_WRITERS
        self._writers = [
            asyncio.create_task(self._run(queue), name=f"group commit {n}")
            for n, queue in enumerate(queues)
        ]

    async def close(self) -> None:
        """Accepts no more items, and returns once all queued items are written or have failed.

        A write that takes longer than CLOSE_TIMEOUT_S is cancelled, and its callers get
        Unavailable.
        """
        self._closing = True
        queues = (self._ordinary, self._large)
        for queue in queues:
            queue.changed.set()
        _, stuck = await asyncio.wait(self._writers, timeout=CLOSE_TIMEOUT_S)
        # First, so that a writer whose store turns the cancellation into another error ends too.
        for queue in queues:
            while queue.items:
                queue.items.popleft().fail(Unavailable("The service is shutting down; try again"))
        for writer in stuck:
            writer.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)

    async def _run(self, queue: _Queue[T]) -> None:
        while queue.items or not self._closing:
            if queue.has_batch:
                batch = self._next_batch(queue.items)
                with queue.writing(len(batch), self.slow_after_s):
                    await self._settle(batch)
            else:
                queue.changed.clear()
                await queue.changed.wait()

    def _next_batch(self, items: deque[QueuedItem[T]]) -> list[QueuedItem[T]]:
        batch: list[QueuedItem[T]] = []
        total = 0
        while items and len(batch) < BATCH_ITEMS_MAX:
            size = items[0].size
            if batch and total + size > self.batch_bytes:
                break
            total += size
            batch.append(items.popleft())
        self._bytes -= total
        return batch

    async def _settle(self, batch: list[QueuedItem[T]]) -> None:
        began = time.perf_counter()
        try:
            await self.write([one.item for one in batch])
        except Exception as error:  # noqa: BLE001 - the callers get every error
            self._notify(batch, began, error)
            if len(batch) > 1 and not self.is_transient(error):
                half = len(batch) // 2
                await self._settle(batch[:half])
                await self._settle(batch[half:])
                return
            for one in batch:
                one.fail(error)
        except asyncio.CancelledError as error:
            self._notify(batch, began, error)
            for one in batch:
                one.fail(Unavailable("The service is shutting down; try again"))
            raise
        else:
            for one in batch:
                if not one.written.done():
                    one.written.set_result(None)
            self._notify(batch, began, None)

    def _notify(
        self, batch: Sequence[QueuedItem[T]], began: float, error: BaseException | None
    ) -> None:
        seconds = time.perf_counter() - began
        items, marks = [one.item for one in batch], [one.mark for one in batch]
        size = sum(one.size for one in batch)
        self.watch.settled(Batch(items, marks, size, seconds, error))
