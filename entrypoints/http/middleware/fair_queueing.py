"""Fair queueing: bounds what one caller and one organization hold of a process at a time.

Rate limits bound how often a caller may send requests, and may be off or high. They don't bound
concurrency, which is what others notice: without a share per caller and per organization, a new
request would wait for everything that one of them has in progress.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from domain.errors import Unavailable
from entrypoints.http.middleware.byte_limit import ByteLimit, ReadLimits

SLOT_TIMEOUT_S: Final = 10.0
TOO_MANY_REQUESTS: Final = "Too many requests of this {} are in progress; try again"
READ_WAIT_S: Final = 10.0  # for room for a large read
TOO_MANY_READS: Final = "Too many large reads of this {} are in progress; try again"
TOO_MANY_BODIES: Final = "Too many bodies of this {} are being received; try again"


@dataclass(frozen=True, slots=True)
class Share:
    """The limits of one holder at the same time in a process."""

    holder: str  # for error messages
    requests: int  # in progress, whose body has arrived
    slots: int  # requests in work; these keep the process and the database busy
    bodies: int  # that are being received
    body_bytes: int  # of its requests, as received and decompressed; a single body always fits
    read_bytes: int  # as ReadLimits, until responses are sent; a single one always fits


CALLER: Final = Share(
    "caller", requests=128, slots=4, bodies=64, body_bytes=128 << 20, read_bytes=128 << 20
)
ORGANIZATION: Final = Share(
    "organization", requests=192, slots=6, bodies=128, body_bytes=128 << 20, read_bytes=128 << 20
)
# For clients without credentials: one address, and all of them together.
ADDRESS: Final = Share(
    "address", requests=16, slots=2, bodies=16, body_bytes=1 << 20, read_bytes=16 << 20
)
UNAUTHENTICATED: Final = Share(
    "kind", requests=64, slots=2, bodies=64, body_bytes=4 << 20, read_bytes=128 << 20
)


@dataclass(slots=True)
class _Use:
    """The requests in progress of one holder."""

    share: Share
    slots: asyncio.Semaphore
    memory: ByteLimit  # of bodies
    reads: ReadLimits
    tickets: int = 0
    requests: int = 0
    bodies: int = 0


class FairQueue:
    """The requests in progress of all holders, by their names."""

    def __init__(self) -> None:
        self._uses: dict[str, _Use] = {}  # at most one per ticket and share

    def __len__(self) -> int:
        return len(self._uses)

    def ticket(self, shares: Mapping[str, Share]) -> "Ticket":
        """A ticket for one request that takes from each of `shares`, by the holder's name."""
        uses = []
        for name, share in shares.items():
            use = self._uses.get(name)
            if use is None:
                use = self._uses[name] = _Use(
                    share,
                    asyncio.Semaphore(share.slots),
                    ByteLimit(share.body_bytes),
                    ReadLimits.with_limit(share.read_bytes),
                )
            use.tickets += 1
            uses.append(use)
        return Ticket(self, tuple(shares), uses)

    def close(self, names: Sequence[str]) -> None:
        """Called by a ticket whose request has ended."""
        for name in names:
            self._uses[name].tickets -= 1
            if not self._uses[name].tickets:
                del self._uses[name]


@dataclass(slots=True, eq=False)
class Ticket:
    """One request in the queue, from when its caller is known until its response is sent."""

    _queue: FairQueue
    _names: Sequence[str]
    _uses: Sequence[_Use]
    _is_in_progress: bool = False
    _body_bytes: int = 0
    _read_bytes: int = 0
    _read_limits: Sequence[ByteLimit] = ()  # in which they are held
    _slots: list[asyncio.Semaphore] = field(default_factory=list)  # that are held

    def begin_body(self) -> None:
        """Counts a body that is being received. Raises Unavailable if a share is used up."""
        for use in self._uses:
            if use.bodies >= use.share.bodies:
                raise Unavailable(TOO_MANY_BODIES.format(use.share.holder))
        for use in self._uses:
            use.bodies += 1

    def end_body(self) -> None:
        for use in self._uses:
            use.bodies -= 1

    def reserve_body_bytes(self, size: int) -> None:
        """Reserves `size` more bytes until the ticket is left. Raises Unavailable.

        A request whose holder has no others always gets them: its own size is bounded elsewhere.
        """
        for use in self._uses:
            if not use.memory.fits(size, self._body_bytes):
                raise Unavailable(TOO_MANY_BODIES.format(use.share.holder))
        self._body_bytes += size
        for use in self._uses:
            use.memory.take(size)

    async def acquire_body_bytes(self, size: int) -> None:
        """Waits for `size` bytes of each share. Raises Unavailable."""
        acquired: list[ByteLimit] = []
        try:
            for use in self._uses:
                await use.memory.acquire(size)
                acquired.append(use.memory)
        except BaseException:
            for memory in acquired:
                memory.release(size)
            raise
        self._body_bytes += size

    def release_body_bytes(self, size: int) -> None:
        self._body_bytes -= size
        for use in self._uses:
            use.memory.release(size)

    async def acquire_read_bytes(self, size: int, wait_s: float = READ_WAIT_S) -> None:
        """Waits for `size` bytes of each share for a large read. Raises Unavailable.

        The request holds no others.
        """
        acquired: list[ByteLimit] = []
        try:
            async with asyncio.timeout(wait_s):
                for use in self._uses:
                    limit = use.reads.limit_of(size)
                    await limit.acquire(size, wait_s=None)
                    acquired.append(limit)
        except BaseException as error:
            for limit in acquired:
                limit.release(size)
            if isinstance(error, TimeoutError):
                holder = self._uses[len(acquired)].share.holder
                raise Unavailable(TOO_MANY_READS.format(holder)) from error
            raise
        self._read_bytes, self._read_limits = size, acquired

    def release_read_bytes(self, size: int) -> None:
        self._read_bytes -= size
        for limit in self._read_limits:
            limit.release(size)

    def enter(self) -> None:
        """Counts the request as in progress. Raises Unavailable if a share is used up."""
        for use in self._uses:
            if use.requests >= use.share.requests:
                raise Unavailable(TOO_MANY_REQUESTS.format(use.share.holder))
        self._is_in_progress = True
        for use in self._uses:
            use.requests += 1

    async def acquire_slot(self, timeout_s: float = SLOT_TIMEOUT_S) -> None:
        """Waits for a slot of each share, in the order of arrival. Raises Unavailable.

        Does nothing if the request has them. It may be called again after `release_slot`.
        """
        if self._slots:
            return
        if not any(use.slots.locked() for use in self._uses):
            await self._acquire_slots()  # without a wait
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._acquire_slots()
        except BaseException as error:
            waited_for = self._uses[len(self._slots)].share.holder
            self.release_slot()
            if isinstance(error, TimeoutError):
                raise Unavailable(TOO_MANY_REQUESTS.format(waited_for)) from error
            raise

    async def _acquire_slots(self) -> None:
        for use in self._uses:
            await use.slots.acquire()
            self._slots.append(use.slots)

    def release_slot(self) -> None:
        """The work is done and the response is being sent: the holder's next request may start."""
        for slots in self._slots:
            slots.release()
        self._slots.clear()

    def leave(self) -> None:
        self.release_slot()
        self.release_body_bytes(self._body_bytes)
        self.release_read_bytes(self._read_bytes)
        for use in self._uses:
            use.requests -= self._is_in_progress
        self._queue.close(self._names)
