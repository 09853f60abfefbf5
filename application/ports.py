"""Ports that every context shares."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from domain.ids import ProjectId
from domain.limits import Decision, Limit

type Clock = Callable[[], datetime]
"""The present instant, aware, in UTC."""

type Ticks = Callable[[], int]
"""Microseconds of a clock that is never set back; only differences of them mean something."""

type NewId = Callable[[], UUID]
"""An id that nothing else has."""

type RandomBytes = Callable[[int], bytes]
"""So many bytes that nobody can guess."""


@dataclass(frozen=True, slots=True)
class HealthStatus:
    """Whether a part of the service does its work; `detail` says what is wrong, or what to know."""

    ok: bool
    detail: str | None = None


class Part(Protocol):
    """Something that the service can't work without. Contract: tests/contracts/test_health.py."""

    async def check(self) -> HealthStatus:
        """The state right now, within two seconds. Never raises: what fails is told as not ok."""
        ...


ADMIT_MAX_S: Final = 0.1  # a hundred times what Redis takes; a request hardly shows it


class RateLimiter(Protocol):
    """Who may go on, and who has asked too often. Contract: tests/contracts/test_rate_limiter.py.

    A bucket is whatever is limited together, told by its name; always ask for one by the same
    limit. No process admits more requests of a bucket than the limit in any span of the window's
    length, `domain/limits.py` says exactly how; an adapter may hold this for several processes
    together.
    """

    async def admit(self, bucket: str, limit: Limit) -> Decision:
        """Counts a request and admits it, or refuses it and counts nothing; decides by itself.

        Waits for other machines ADMIT_MAX_S at most, and never raises: what it relies on may be
        gone, and then the limit still holds in this process.
        """
        ...


HELD: Final = timedelta(seconds=10)  # for a write; whoever takes longer may be taken for dead


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A write that may be sent again: by one key, in one project, of one kind of request.

    `request_hash` is of all that makes it this request and no other.
    """

    project: ProjectId
    operation: str
    key: str
    request_hash: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What a write was answered with. `body` is as it was shown."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class IdempotencyLock:
    """The right to do a write until `locked_until`, and the id that its object gets."""

    object_id: UUID
    locked_until: datetime


class IdempotencyStore(Protocol):
    """The replies to writes that may be sent again, for as long as they are kept.

    Contract of Replies: tests/contracts/test_idempotency.py. What is
    written is durable on return. All raise Unavailable.
    """

    async def begin(
        self, attempt: Attempt, new: UUID, now: datetime, expires_at: datetime
    ) -> IdempotencyLock | Reply | None:
        """The reply that is kept; else a turn, for HELD from now; None while another has it.

        A turn that was released, or has run out, is given to the next: with the id that the first
        one had where it is the same request, else with `new`. After `expires_at` nothing is known
        of it. Raises Conflict where the key belongs to another request, which has its reply or its
        turn, NotFound where the project was removed.
        """
        ...

    async def complete(self, attempt: Attempt, turn: IdempotencyLock, reply: Reply) -> Reply:
        """Keeps the first reply of an object, and returns it: another's where that was first."""
        ...

    async def release(self, attempt: Attempt, turn: IdempotencyLock, now: datetime) -> None:
        """Ends a turn without a reply. Nothing happens where somebody else has it by now."""
        ...

    async def delete_expired(self, now: datetime) -> int:
        """Forgets some of what has expired, in all projects; how many, 0 when none is left."""
        ...
