"""Group commit: what many callers bring goes into one transaction, without a timer.

While one batch commits the next one gathers, so a lone caller waits for nobody and a busy
service writes many items a COMMIT. A caller returns after the COMMIT of its own item.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from domain.errors import Unavailable

WRITERS: Final = 2  # one gathers while the other waits for the disk; more only add connections
BATCH_ITEMS_MAX: Final = 64  # larger batches gain nothing and lengthen the wait
BATCH_BYTES_MAX: Final = 8 << 20
LINE_ITEMS_MAX: Final = 4_096  # beyond it callers are told to come back, not made to wait longer
LINE_BYTES_MAX: Final = 64 << 20
WITHIN_S: Final = 20.0  # in line and while it is written: clients that give up are told before
CLOSE_TIMEOUT_S: Final = 1  # what is in line takes a fraction of it


class Passing(Protocol):
    """Tells whether an error has to do with the moment and not with the items."""

    def __call__(self, error: Exception, /) -> bool: ...


@dataclass(slots=True)
class Waiting[T]:
    item: T
    size: int
    written: asyncio.Future[None]
    mark: object = None

    def fail(self, error: Exception) -> None:
        if not self.written.done():
            self.written.set_exception(error)


@dataclass(frozen=True, slots=True)
class Batch[T]:
    """What became of some items that were written together; `marks` are those of their callers.

    `bytes` as their callers told; `error` is None where they are committed.
    """

    items: Sequence[T]
    marks: Sequence[object]
    bytes: int
    seconds: float
    error: BaseException | None


class Watch[T](Protocol):
    """Whoever wants to know what becomes of batches. What it raises ends a writer."""

    def mark(self) -> object:
        """Kept with an item, whose caller asks for it."""
        ...

    def settled(self, batch: Batch[T], /) -> None:
        """Called after each batch, stored or not; of one that is halved, for each part too."""
        ...


class Unwatched[T]:
    def mark(self) -> object:
        return None

    def settled(self, batch: Batch[T], /) -> None: ...


@dataclass(slots=True)
class GroupCommit[T]:
    """A line of items in front of `write`, which stores some of them wholly or not at all.

    Where `write` fails and it isn't a passing failure, the batch is halved until the item that
    can't be written stands alone: only its caller sees the error. Memory is bounded: the line
    holds at most LINE_ITEMS_MAX items and LINE_BYTES_MAX bytes (one item may exceed the latter
    when it finds the line empty), and WRITERS batches are under way.
    """

    write: Callable[[Sequence[T]], Awaitable[None]]
    is_transient: Passing
    within_s: float = WITHIN_S
    watch: Watch[T] = field(default_factory=Unwatched)
    _line: deque[Waiting[T]] = field(default_factory=deque)
    _bytes: int = 0
    _filled: asyncio.Event = field(default_factory=asyncio.Event)
    _closing: bool = False
    _writers: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def waiting(self) -> tuple[int, int]:
        """Items and bytes of the line."""
        return len(self._line), self._bytes

    async def put(self, item: T, size: int) -> None:
        """Returns once `item`, of about `size` bytes, is committed.

        A caller that is cancelled doesn't cancel the write. Raises what `write` raised for this
        item, and Unavailable where the line is full or closing, or where it took longer than
        `within_s`: it may be written yet.
        """
        if self._closing:
            raise Unavailable("The service is shutting down; try again")
        if len(self._line) >= LINE_ITEMS_MAX or (
            self._line and self._bytes + size > LINE_BYTES_MAX
        ):
            raise Unavailable("Too many writes are waiting; try again")
        written = asyncio.get_running_loop().create_future()
        self._line.append(Waiting(item, size, written, self.watch.mark()))
        self._bytes += size
        self._filled.set()
        try:
            async with asyncio.timeout(self.within_s) as limit:
                await written
        except TimeoutError as error:
            if limit.expired():
                raise Unavailable("The write takes too long; try again") from error
            raise

    def start(self) -> None:
        self._writers = [
            asyncio.create_task(self._run(), name=f"group commit {n}") for n in range(WRITERS)
        ]

    async def close(self) -> None:
        """Takes nothing more, and returns once all that was taken is written or has failed.

        A store that doesn't answer for CLOSE_TIMEOUT_S is given up: who still waits is told.
        """
        self._closing = True
        self._filled.set()
        _, stuck = await asyncio.wait(self._writers, timeout=CLOSE_TIMEOUT_S)
        # First, so that a writer whose store makes another failure of the cancellation ends too.
        while self._line:
            self._line.popleft().fail(Unavailable("The service is shutting down; try again"))
        for writer in stuck:
            writer.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)

    async def _run(self) -> None:
        while self._line or not self._closing:
            if self._line:
                await self._settle(self._next_batch())
            else:
                self._filled.clear()
                if not self._closing:
                    await self._filled.wait()

    def _next_batch(self) -> list[Waiting[T]]:
        batch: list[Waiting[T]] = []
        total = 0
        while self._line and len(batch) < BATCH_ITEMS_MAX:
            size = self._line[0].size
            if batch and total + size > BATCH_BYTES_MAX:
                break
            total += size
            batch.append(self._line.popleft())
        self._bytes -= total
        return batch

    async def _settle(self, batch: list[Waiting[T]]) -> None:
        began = time.perf_counter()
        try:
            await self.write([one.item for one in batch])
        except Exception as error:  # noqa: BLE001 - every failure belongs to a caller, who is told
            self._tell(batch, began, error)
            if len(batch) > 1 and not self.is_transient(error):
                half = len(batch) // 2
                await self._settle(batch[:half])
                await self._settle(batch[half:])
                return
            for one in batch:
                one.fail(error)
        except asyncio.CancelledError as error:
            self._tell(batch, began, error)
            for one in batch:
                one.fail(Unavailable("The service is shutting down; try again"))
            raise
        else:
            for one in batch:
                if not one.written.done():
                    one.written.set_result(None)
            self._tell(batch, began, None)

    def _tell(self, batch: Sequence[Waiting[T]], began: float, error: BaseException | None) -> None:
        seconds = time.perf_counter() - began
        items, marks = [one.item for one in batch], [one.mark for one in batch]
        size = sum(one.size for one in batch)
        self.watch.settled(Batch(items, marks, size, seconds, error))
