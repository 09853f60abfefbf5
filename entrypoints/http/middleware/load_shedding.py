"""Load shedding: refuses requests beyond a bound early, so that accepted ones finish in time."""

import asyncio
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from application.read_room import ReadRoom, room_of_request
from domain.errors import RETRY_AFTER_S, Unavailable
from entrypoints.http.middleware.asgi_messages import send_error
from entrypoints.http.middleware.byte_limit import WORK_WAIT_S, ByteLimit, ReadLimits
from entrypoints.http.middleware.fair_queueing import FairQueue, Share, Ticket

REQUESTS_MAX: Final = 512  # in progress in a process: some tenths of a second of work
BODIES_MAX: Final = 1_024  # that a process receives; their requests don't count as in progress
BODIES_MAX_BYTES: Final = 256 << 20  # of all requests together, as received and decompressed
READS_MAX_BYTES: Final = 256 << 20  # as ReadLimits; they take two to three times as much
# Refusals are delayed, so that a client that retries at once does so at most twice a second per
# connection. Without a delay it would keep the process busy with refusals.
REFUSAL_DELAY_S: Final = 0.5
REFUSAL_DELAY_SPREAD: Final = (0.5, 1.5)  # random factor of the delay
DELAYED_REFUSALS_MAX: Final = 1024  # each holds a connection, and up to 64 kB of a body
# Probes have to be answered under load, since that is what they ask about.
EXEMPT_PATHS: Final = ("/health", "/health/ready", "/metrics")
OVERLOADED: Final = "The service is overloaded; try again"
SHUTTING_DOWN: Final = "The service is shutting down; try again"

_SCOPE_KEY: Final = "pandaprobe.admission_ticket"
_SHEDDING_KEY: Final = "pandaprobe.load_shedding"


@dataclass(slots=True)
class LoadShedding:
    """Refuses requests beyond REQUESTS_MAX with 503, before any work is done for them.

    A request whose body is still being received does no work, so it counts among BODIES_MAX
    instead. Otherwise a few clients that send slowly would hold all places. Nor does a request
    count while it waits for a client that reads its response slowly.
    """

    app: ASGIApp
    requests_max: int = REQUESTS_MAX
    bodies_max: int = BODIES_MAX
    bodies_max_bytes: int = BODIES_MAX_BYTES
    refusal_delay_s: float = REFUSAL_DELAY_S
    delayed_refusals: int = field(default=0, init=False)
    requests: int = field(default=0, init=False)
    bodies: int = field(default=0, init=False)
    memory: ByteLimit = field(init=False)  # of bodies
    queue: FairQueue = field(default_factory=FairQueue, init=False)
    work: ByteLimit = field(default_factory=ByteLimit)
    reads: ReadLimits = field(
        default_factory=lambda: ReadLimits.with_limit(READS_MAX_BYTES), init=False
    )

    def __post_init__(self) -> None:
        self.memory = ByteLimit(self.bodies_max_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        cast("dict[str, Any]", scope)[_SHEDDING_KEY] = self
        if scope["path"] in EXEMPT_PATHS:
            await self.app(scope, receive, send)
            return
        if self.requests >= self.requests_max:
            await self.delay_refusal()
            await _refuse(send)
            return
        ticket = AdmissionTicket(self)
        cast("dict[str, Any]", scope)[_SCOPE_KEY] = ticket
        room_of_request.set(ReadRoom(ticket.take_room, ticket.give_back_room))
        self.requests += 1
        has_started = False

        async def send_and_release(message: Message) -> None:
            nonlocal has_started
            has_started = True
            ticket.release_slot()
            self.requests -= 1
            try:
                await send(message)  # waits for a client that reads slowly
            finally:
                self.requests += 1

        try:
            await self.app(scope, receive, send_and_release)
        except asyncio.CancelledError:  # the grace period is over; another process may take it
            if not has_started:
                await _refuse(send, SHUTTING_DOWN)
            raise
        finally:
            self.requests -= 1
            ticket.leave()

    @property
    def overload(self) -> str | None:
        """Which bound is reached, so that requests are refused now; None if none is."""
        if self.requests >= self.requests_max:
            return f"{self.requests} requests are in progress, as many as this process accepts"
        if self.bodies >= self.bodies_max:
            return f"{self.bodies} bodies are being received, as many as this process accepts"
        return None

    async def delay_refusal(self) -> None:
        """Waits before a refusal, without holding anything that other requests need."""
        if self.delayed_refusals >= DELAYED_REFUSALS_MAX:
            return
        self.delayed_refusals += 1
        try:
            # Clients that were refused together shall not all return together.
            spread = random.uniform(*REFUSAL_DELAY_SPREAD)  # noqa: S311 - not a secret
            await asyncio.sleep(self.refusal_delay_s * spread)
        finally:
            self.delayed_refusals -= 1


@dataclass(slots=True, eq=False)
class AdmissionTicket:
    """Resources of a request until its response is sent: memory for its body, a caller's slot."""

    _shedding: LoadShedding
    _ticket: Ticket | None = None
    _body_bytes: int = 0
    _work_bytes: int = 0
    _read_bytes: int = 0  # of large reads
    _read_limit: ByteLimit | None = None  # in which they are held

    def identify(self, shares: Mapping[str, Share]) -> None:
        """The caller is known: the request takes from `shares`, by the holder's name."""
        self._ticket = self._shedding.queue.ticket(shares)

    async def enter_queue(self) -> None:
        """Counts the request in its caller's shares. Raises Unavailable if one is used up.

        Its body has arrived. So the process may have no place left.
        """
        is_full = self._shedding.requests > self._shedding.requests_max
        try:
            if self._ticket is not None and not is_full:
                self._ticket.enter()
        except Unavailable:
            await self.delay_refusal()
            raise
        if is_full:
            await self.delay_refusal()
            raise Unavailable(OVERLOADED)

    @contextmanager
    def receive_body(self) -> Iterator[None]:
        """The request isn't in progress while its body is being received. Raises Unavailable."""
        pool, ticket = self._shedding, self._ticket
        if ticket is not None:
            ticket.begin_body()
        try:
            if pool.bodies >= pool.bodies_max:
                raise Unavailable(OVERLOADED)
            pool.bodies += 1
            pool.requests -= 1
            try:
                yield
            finally:
                pool.bodies -= 1
                pool.requests += 1
        finally:
            if ticket is not None:
                ticket.end_body()

    async def delay_refusal(self) -> None:
        """As LoadShedding.delay_refusal; the request doesn't count as in progress meanwhile."""
        self._shedding.requests -= 1
        try:
            await self._shedding.delay_refusal()
        finally:
            self._shedding.requests += 1

    async def acquire_slot(self) -> None:
        """Waits until enough of the caller's other requests are done. Raises Unavailable."""
        if self._ticket is not None:
            await self._ticket.acquire_slot()

    async def begin_work(self, size: int) -> None:
        """Waits until so many bytes may be worked on, until the response. Raises Unavailable."""
        try:
            await self._shedding.work.acquire(size)
        except Unavailable:
            await self.delay_refusal()
            raise
        self._work_bytes += size

    async def take_room(self, size: int) -> None:
        """As ReadRoom. Meanwhile other requests of the caller may work.

        A request that reads twice, as to compare, waits for room for both: holding the first, it
        could wait for one that does the same.
        """
        wanted = self._read_bytes + size
        self.give_back_room(self._read_bytes)
        if self._ticket is not None:
            self._ticket.release_slot()
            await self._ticket.acquire_read_bytes(wanted)
        limit = self._shedding.reads.limit_of(wanted)
        try:
            await limit.acquire(wanted)
        except BaseException:
            if self._ticket is not None:
                self._ticket.release_read_bytes(wanted)
            raise
        self._read_bytes, self._read_limit = wanted, limit
        await self.acquire_slot()

    def give_back_room(self, size: int) -> None:
        self._read_bytes -= size
        if self._read_limit is not None:
            self._read_limit.release(size)
        if self._ticket is not None:
            self._ticket.release_read_bytes(size)

    def release_slot(self) -> None:
        if self._work_bytes:
            self._shedding.work.release(self._work_bytes)
            self._work_bytes = 0
        if self._ticket is not None:
            self._ticket.release_slot()

    def leave(self) -> None:
        self.release_slot()
        self._shedding.memory.release(self._body_bytes)
        self.give_back_room(self._read_bytes)
        if self._ticket is not None:
            self._ticket.leave()

    def reserve_body_bytes(self, size: int) -> None:
        """Reserves `size` more bytes. Raises Unavailable if other bodies have taken the memory.

        A request without others always gets what it needs: its own size is bounded elsewhere.
        """
        memory = self._shedding.memory
        if not memory.fits(size, self._body_bytes):
            raise Unavailable(OVERLOADED)
        if self._ticket is not None:
            self._ticket.reserve_body_bytes(size)
        memory.take(size)
        self._body_bytes += size

    async def acquire_body_bytes(self, size: int) -> None:
        """Waits until `size` more bytes are there for a body of a caller. Raises Unavailable.

        The caller's shares come first, so that a caller that exceeds its own holds nothing that
        others need.
        """
        assert self._ticket is not None, "only endpoints with credentials take such bodies"
        try:
            async with asyncio.timeout(WORK_WAIT_S):  # for both together
                await self._ticket.acquire_body_bytes(size)
                try:
                    await self._shedding.memory.acquire(size)
                except BaseException:
                    self._ticket.release_body_bytes(size)
                    raise
        except TimeoutError as error:
            raise Unavailable(OVERLOADED) from error
        self._body_bytes += size

    def release_body_bytes(self, size: int) -> None:
        """Gives back what turned out not to be needed."""
        assert self._ticket is not None, "as above"
        self._ticket.release_body_bytes(size)
        self._shedding.memory.release(size)
        self._body_bytes -= size


def admission_ticket(scope: Mapping[str, Any]) -> AdmissionTicket:
    """The ticket of a request that has passed LoadShedding."""
    return cast("AdmissionTicket", scope[_SCOPE_KEY])


def load_shedding(scope: Mapping[str, Any]) -> LoadShedding:
    """The layer that a request has passed."""
    return cast("LoadShedding", scope[_SHEDDING_KEY])


async def delay_refusal(scope: Mapping[str, Any]) -> None:
    """As `AdmissionTicket.delay_refusal`; does nothing for EXEMPT_PATHS, which have no ticket."""
    ticket = cast("AdmissionTicket | None", scope.get(_SCOPE_KEY))
    if ticket is not None:
        await ticket.delay_refusal()


async def _refuse(send: Send, detail: str = OVERLOADED) -> None:
    await send_error(send, 503, detail, (b"retry-after", b"%d" % RETRY_AFTER_S))
