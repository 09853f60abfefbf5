"""Load shedding: refuses requests beyond a bound early, so that accepted ones finish in time."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from domain.errors import RETRY_AFTER_S, Unavailable
from entrypoints.http.middleware.asgi_messages import send_error
from entrypoints.http.middleware.fair_queueing import FairQueue, Ticket

REQUESTS_MAX: Final = 512  # in progress in a process: some tenths of a second of work
BODIES_MAX_BYTES: Final = 256 << 20  # of all requests together, as received and decompressed
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


@dataclass(slots=True)
class LoadShedding:
    """Refuses requests beyond REQUESTS_MAX with 503, before any work is done for them."""

    app: ASGIApp
    requests_max: int = REQUESTS_MAX
    bodies_max_bytes: int = BODIES_MAX_BYTES
    refusal_delay_s: float = REFUSAL_DELAY_S
    delayed_refusals: int = field(default=0, init=False)
    requests: int = field(default=0, init=False)
    bodies_bytes: int = field(default=0, init=False)
    queue: FairQueue = field(default_factory=FairQueue, init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in EXEMPT_PATHS:
            await self.app(scope, receive, send)
            return
        if self.requests >= self.requests_max:
            await self.delay_refusal()
            await _refuse(send)
            return
        ticket = AdmissionTicket(self)
        cast("dict[str, Any]", scope)[_SCOPE_KEY] = ticket
        self.requests += 1
        has_started = False

        async def send_and_release(message: Message) -> None:
            nonlocal has_started
            has_started = True
            ticket.release_slot()
            await send(message)

        try:
            await self.app(scope, receive, send_and_release)
        except asyncio.CancelledError:  # the grace period is over; another process may take it
            if not has_started:
                await _refuse(send, SHUTTING_DOWN)
            raise
        finally:
            self.requests -= 1
            self.bodies_bytes -= ticket.body_bytes
            ticket.leave()

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
    """What one request holds until its response is sent: memory for its body, a caller's slot."""

    _shedding: LoadShedding
    _ticket: Ticket | None = None
    body_bytes: int = 0

    async def enter_queue(self, principal: str) -> None:
        """Counts the request in its caller's quota. Raises Unavailable if that is used up."""
        try:
            self._ticket = self._shedding.queue.enter(principal)
        except Unavailable:
            await self.delay_refusal()
            raise

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

    def release_slot(self) -> None:
        if self._ticket is not None:
            self._ticket.release_slot()

    def leave(self) -> None:
        if self._ticket is not None:
            self._ticket.leave()

    def reserve_body_bytes(self, size: int) -> None:
        """Reserves `size` more bytes. Raises Unavailable if other bodies have taken the memory.

        A request without others always gets what it needs: its own size is bounded elsewhere.
        """
        pool = self._shedding
        has_others = pool.bodies_bytes > self.body_bytes
        if pool.bodies_bytes + size > pool.bodies_max_bytes and has_others:
            raise Unavailable(OVERLOADED)
        pool.bodies_bytes += size
        self.body_bytes += size


def admission_ticket(scope: Mapping[str, Any]) -> AdmissionTicket:
    """The ticket of a request that has passed LoadShedding."""
    return cast("AdmissionTicket", scope[_SCOPE_KEY])


async def delay_refusal(scope: Mapping[str, Any]) -> None:
    """As `AdmissionTicket.delay_refusal`; does nothing for EXEMPT_PATHS, which have no ticket."""
    ticket = cast("AdmissionTicket | None", scope.get(_SCOPE_KEY))
    if ticket is not None:
        await ticket.delay_refusal()


async def _refuse(send: Send, detail: str = OVERLOADED) -> None:
    await send_error(send, 503, detail, (b"retry-after", b"%d" % RETRY_AFTER_S))
