"""How much of a process one caller may have: with many requests at once they wait for their own.

Rate limits say how often a caller may ask, and may be off or high. They don't say how much at once,
which is what others notice: without a share, a new request would wait for all that are under way.
"""

import asyncio
from typing import Final

from domain.errors import Unavailable

REQUESTS_MAX: Final = 128  # of one caller under way: a quarter of what a process takes on
WORKING_MAX: Final = 4  # of them in work; this many keep the process and the database busy
TURN_S: Final = 10.0  # for which one waits for the caller's others
CROWDED: Final = "Too many requests of this caller are under way; try again"


class Share:
    """What one caller has under way."""

    __slots__ = ("requests", "turns")

    def __init__(self, working_max: int) -> None:
        self.requests = 0
        self.turns = asyncio.Semaphore(working_max)


class Shares:
    """The shares of all callers that have anything under way, by their principal."""

    def __init__(self, requests_max: int = REQUESTS_MAX, working_max: int = WORKING_MAX) -> None:
        self._requests_max = requests_max
        self._working_max = working_max
        self._shares: dict[str, Share] = {}  # as many as requests are under way

    def __len__(self) -> int:
        return len(self._shares)

    def enter(self, principal: str) -> "Place":
        """A place for one more request. Raises Unavailable where the caller has all of theirs."""
        share = self._shares.get(principal)
        if share is None:
            share = self._shares[principal] = Share(self._working_max)
        if share.requests >= self._requests_max:
            raise Unavailable(CROWDED)
        share.requests += 1
        return Place(self, principal, share)

    def left(self, principal: str, share: Share) -> None:
        """Called by the place of a request that is answered."""
        share.requests -= 1
        if not share.requests:
            del self._shares[principal]


class Place:
    """Of one request, from when its caller is known until it is answered."""

    __slots__ = ("_is_working", "_principal", "_share", "_shares")

    def __init__(self, shares: Shares, principal: str, share: Share) -> None:
        self._shares = shares
        self._principal = principal
        self._share = share
        self._is_working = False

    async def turn(self, within_s: float = TURN_S) -> None:
        """Waits until the request may be worked on, as they came. Raises Unavailable.

        Nothing where it is already; after `worked` it may be worked on again.
        """
        if self._is_working:
            return
        turns = self._share.turns
        try:
            async with asyncio.timeout(within_s if turns.locked() else None):
                await turns.acquire()
        except TimeoutError as error:
            raise Unavailable(CROWDED) from error
        self._is_working = True

    def worked(self) -> None:
        """The work is done, and the answer on its way: the next may begin."""
        if self._is_working:
            self._is_working = False
            self._share.turns.release()

    def leave(self) -> None:
        self.worked()
        self._shares.left(self._principal, self._share)
