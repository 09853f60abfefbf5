"""How much is under way at once: beyond it callers are told early, and what is inside finishes."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from domain.errors import RETRY_AFTER_S, Unavailable
from entrypoints.http.middleware.fair_queueing import Place, Shares

REQUESTS_MAX: Final = 512  # under way in a process: some tenths of a second of work
BODIES_MAX_BYTES: Final = 256 << 20  # of all of them together, as received and once inflated
# Who asks again as soon as they are refused would keep a process busy with nothing else: each of
# their connections asks twice a second now.
HELD_S: Final = 0.5
HELD_SPREAD: Final = (0.5, 1.5)  # times HELD_S, by chance
HELD_MAX: Final = 1024  # refusals at once; each holds a connection, and up to 64 kB of a body
# Whoever asks these wants to know just that.
ALWAYS: Final = ("/health", "/health/ready", "/metrics")
BUSY: Final = "The service has as much to do as it can; try again"
LEAVING: Final = "The service is shutting down; try again"

_INTAKE: Final = "pandaprobe.intake"


class Overload:
    """Refuses requests beyond REQUESTS_MAX with 503, before anything is done for them."""

    def __init__(
        self,
        app: ASGIApp,
        requests_max: int = REQUESTS_MAX,
        bodies_max_bytes: int = BODIES_MAX_BYTES,
        held_s: float = HELD_S,
    ) -> None:
        self.app = app
        self.requests_max = requests_max
        self.bodies_max_bytes = bodies_max_bytes
        self.held_s = held_s
        self.held = 0
        self.requests = 0
        self.bodies_bytes = 0
        self.shares = Shares()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["path"] in ALWAYS:
            await self.app(scope, receive, send)
            return
        if self.requests >= self.requests_max:
            await self.hold()
            await _refuse(send)
            return
        intake = Intake(self)
        cast("dict[str, Any]", scope)[_INTAKE] = intake
        self.requests += 1
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            intake.worked()
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except asyncio.CancelledError:  # the time to shut down is over: worth another try elsewhere
            if not begun:
                await _refuse(send, LEAVING)
            raise
        finally:
            self.requests -= 1
            self.bodies_bytes -= intake.bytes
            intake.leave()

    async def hold(self) -> None:
        """Some time before a refusal, in which it takes nothing that others need."""
        if self.held >= HELD_MAX:
            return
        self.held += 1
        try:
            # Or those who were refused together would all be back together.
            spread = random.uniform(*HELD_SPREAD)  # noqa: S311 - no secret: it only spreads them out
            await asyncio.sleep(self.held_s * spread)
        finally:
            self.held -= 1


class Intake:
    """What one request holds until it is answered: room for its body, a place of its caller's."""

    __slots__ = ("_overload", "_place", "bytes")

    def __init__(self, overload: Overload) -> None:
        self._overload = overload
        self._place: Place | None = None
        self.bytes = 0

    async def enter(self, principal: str) -> None:
        """Takes a place of this caller's. Raises Unavailable where they have all of theirs."""
        try:
            self._place = self._overload.shares.enter(principal)
        except Unavailable:
            await self.hold()
            raise

    async def hold(self) -> None:
        """As Overload.hold, outside of what is under way."""
        self._overload.requests -= 1
        try:
            await self._overload.hold()
        finally:
            self._overload.requests += 1

    async def turn(self) -> None:
        """Waits for the caller's other requests that are in work. Raises Unavailable."""
        if self._place is not None:
            await self._place.turn()

    def worked(self) -> None:
        if self._place is not None:
            self._place.worked()

    def leave(self) -> None:
        if self._place is not None:
            self._place.leave()

    def take(self, size: int) -> None:
        """Makes room for `size` bytes more. Raises Unavailable where others have taken it.

        A request that is alone always gets what it needs: its own size has a limit elsewhere.
        """
        room = self._overload
        if room.bodies_bytes + size > room.bodies_max_bytes and room.bodies_bytes > self.bytes:
            raise Unavailable(BUSY)
        room.bodies_bytes += size
        self.bytes += size


def intake_of(scope: Mapping[str, Any]) -> Intake:
    """The intake of a request that passed an Overload."""
    return cast("Intake", scope[_INTAKE])


async def held(scope: Mapping[str, Any]) -> None:
    """As `Intake.hold`; nothing for what is ALWAYS answered, which takes no place."""
    intake = cast("Intake | None", scope.get(_INTAKE))
    if intake is not None:
        await intake.hold()


async def _refuse(send: Send, why: str = BUSY) -> None:
    body = msgspec.json.encode({"detail": why})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", str(RETRY_AFTER_S).encode()),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
