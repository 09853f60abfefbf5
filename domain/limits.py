"""How often a caller may ask: the strict sliding window, as arithmetic on whole microseconds.

A request that is admitted at `t` counts in the half-open span [t, t + window): it still counts one
microsecond before the window is over, and no longer at its end. So no span of the window's length
that leaves out one of its ends holds more admitted requests than the limit, wherever it begins.
"""

import re
from collections import deque
from dataclasses import dataclass
from typing import Final, Self

# Every instant that counts is kept: at this count 4 MB a bucket in a process, 1 MB in Redis.
COUNT_MAX: Final = 100_000
SECOND_US: Final = 1_000_000
UNITS_S: Final = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}

_WRITTEN = re.compile(r"([1-9][0-9]{0,5})/(" + "|".join(UNITS_S) + ")", re.ASCII)


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` requests in any `unit` of time. Written `100/minute`."""

    count: int
    unit: str

    def __post_init__(self) -> None:
        if not 1 <= self.count <= COUNT_MAX:
            raise ValueError(f"a limit admits 1 to {COUNT_MAX} requests")
        if self.unit not in UNITS_S:
            raise ValueError(f"the unit of a limit is one of {', '.join(UNITS_S)}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The limit that `str` writes as `text`. Raises ValueError."""
        if not (written := _WRITTEN.fullmatch(text)):
            raise ValueError(f"a limit is written <count>/<{'|'.join(UNITS_S)}>, as in 100/minute")
        return cls(count=int(written[1]), unit=written[2])

    def __str__(self) -> str:
        return f"{self.count}/{self.unit}"

    @property
    def window_us(self) -> int:
        return UNITS_S[self.unit] * SECOND_US


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a request may pass, and what its caller may be told.

    `remaining`: how many more would pass at the same instant, after this one. `reset_s`: whole
    seconds, rounded up, until the oldest request that counts no longer does. `retry_after_s`:
    whole seconds after which a lone retry is admitted, at least 1; where admitted 0.
    """

    admitted: bool
    limit: Limit
    remaining: int
    reset_s: int
    retry_after_s: int

    @classmethod
    def admitting(cls, limit: Limit, *, counted: int, reset_us: int) -> Self:
        """`counted`: how many requests count now, this one included."""
        return cls(
            admitted=True,
            limit=limit,
            remaining=max(0, limit.count - counted),
            reset_s=_seconds(reset_us),
            retry_after_s=0,
        )

    @classmethod
    def refusing(cls, limit: Limit, *, reset_us: int, wait_us: int) -> Self:
        """`wait_us`: until there is a place, if nobody else comes."""
        return cls(
            admitted=False,
            limit=limit,
            remaining=0,
            reset_s=_seconds(reset_us),
            retry_after_s=max(1, _seconds(wait_us)),
        )


def _seconds(us: int) -> int:
    return -(-us // SECOND_US)


class SlidingWindow:
    """The instants at which requests of one bucket were admitted, ascending; those that count.

    It changes in place: a copy would cost a request as much time as the limit is high. The caller
    hands in the instants, microseconds of one clock, so a history is as repeatable as a value.

    A clock that is set back never makes anything count for less time. Set back by less than a
    window, it stands still for us until it has caught up. Set back by more, what was counted is
    taken to have happened just now: waiting for the clock could shut callers out for hours.
    """

    __slots__ = ("_instants",)

    def __init__(self) -> None:
        self._instants: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._instants)

    def admit(self, limit: Limit, now_us: int) -> Decision:
        """Admits a request and counts it, or refuses it and counts nothing."""
        at_us = self._settled(limit, now_us)
        instants, window_us = self._instants, limit.window_us
        surplus = len(instants) - limit.count
        if surplus >= 0:
            # One has to leave, and more where the limit was lowered.
            wait_us = instants[surplus] + window_us - now_us
            reset_us = instants[0] + window_us - now_us
            return Decision.refusing(limit, reset_us=reset_us, wait_us=wait_us)
        instants.append(at_us)
        return Decision.admitting(
            limit, counted=len(instants), reset_us=instants[0] + window_us - now_us
        )

    def take_back(self, at_us: int) -> None:
        """Counts no longer what was admitted at `at_us`; nothing where that has left."""
        for index in range(len(self._instants) - 1, -1, -1):  # it is among the last, most often
            if self._instants[index] <= at_us:
                if self._instants[index] == at_us:
                    del self._instants[index]
                return

    def counts_at(self, limit: Limit, now_us: int) -> bool:
        """Whether anything still counts at `now_us`."""
        return bool(self._instants) and self._instants[-1] > now_us - limit.window_us

    @property
    def newest_us(self) -> int:
        """When the last one was admitted. Raises IndexError where nothing counts."""
        return self._instants[-1]

    def _settled(self, limit: Limit, now_us: int) -> int:
        """The instant that `now_us` stands for, once what has left by then is gone."""
        instants = self._instants
        if not instants:
            return now_us
        ahead_us = instants[-1] - now_us
        if ahead_us > limit.window_us:
            self._instants = instants = deque(one - ahead_us for one in instants)
        at_us = max(now_us, instants[-1])
        while instants and instants[0] <= at_us - limit.window_us:
            instants.popleft()
        return at_us
