"""Ports that every context shares."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

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
class PartState:
    """Whether a part of the service does its work; `detail` says what is wrong, or what to know."""

    ok: bool
    detail: str | None = None


class Part(Protocol):
    """Something that the service can't work without. Contract: tests/contracts/test_parts.py."""

    async def check(self) -> PartState:
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
