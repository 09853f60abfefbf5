"""Fair queueing: bounds how many requests of one caller a process handles at the same time.

Rate limits bound how often a caller may send requests, and may be off or high. They don't bound
concurrency, which is what other callers notice: without a quota per caller, a new request would
wait for all requests that one caller has in progress.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from domain.errors import Unavailable

REQUESTS_PER_CALLER_MAX: Final = 128  # in progress: a quarter of what a process accepts
SLOTS_PER_CALLER: Final = 4  # requests in work; these keep the process and the database busy
SLOT_TIMEOUT_S: Final = 10.0
TOO_MANY_REQUESTS: Final = "Too many requests of this caller are in progress; try again"


@dataclass(slots=True)
class Quota:
    """The requests in progress of one caller."""

    slots: asyncio.Semaphore
    requests: int = 0


class FairQueue:
    """The quotas of all callers with requests in progress, by principal."""

    def __init__(
        self, requests_max: int = REQUESTS_PER_CALLER_MAX, slots: int = SLOTS_PER_CALLER
    ) -> None:
        self._requests_max = requests_max
        self._slots = slots
        self._quotas: dict[str, Quota] = {}  # at most one per request in progress

    def __len__(self) -> int:
        return len(self._quotas)

    def enter(self, principal: str) -> "Ticket":
        """A ticket for one more request. Raises Unavailable if the caller's quota is used up."""
        quota = self._quotas.get(principal)
        if quota is None:
            quota = self._quotas[principal] = Quota(asyncio.Semaphore(self._slots))
        if quota.requests >= self._requests_max:
            raise Unavailable(TOO_MANY_REQUESTS)
        quota.requests += 1
        return Ticket(self, principal, quota)

    def leave(self, principal: str, quota: Quota) -> None:
        """Called by the ticket of a request that has ended."""
        quota.requests -= 1
        if not quota.requests:
            del self._quotas[principal]


@dataclass(slots=True, eq=False)
class Ticket:
    """One request in the queue, from when its caller is known until its response is sent."""

    _queue: FairQueue
    _principal: str
    _quota: Quota
    _has_slot: bool = False

    async def acquire_slot(self, timeout_s: float = SLOT_TIMEOUT_S) -> None:
        """Waits for a slot, in the order of arrival. Raises Unavailable after `timeout_s`.

        Does nothing if the request has a slot. It may be called again after `release_slot`.
        """
        if self._has_slot:
            return
        slots = self._quota.slots
        try:
            async with asyncio.timeout(timeout_s if slots.locked() else None):
                await slots.acquire()
        except TimeoutError as error:
            raise Unavailable(TOO_MANY_REQUESTS) from error
        self._has_slot = True

    def release_slot(self) -> None:
        """The work is done and the response is being sent: the caller's next request may start."""
        if self._has_slot:
            self._has_slot = False
            self._quota.slots.release()

    def leave(self) -> None:
        self.release_slot()
        self._queue.leave(self._principal, self._quota)
