"""Rate limits: a strict sliding window, computed in whole microseconds.

A request admitted at `t` counts in the half-open interval [t, t + window). It still counts one
microsecond before the end of the window and no longer at the end. So no half-open interval of the
window's length holds more admitted requests than the limit, wherever it begins.
"""

import re
from collections import deque
from dataclasses import dataclass, replace
from typing import Final, Self

# Every counted instant is stored: at this limit 4 MB per bucket in a process, 1 MB in Redis.
COUNT_MAX: Final = 100_000
SECOND_US: Final = 1_000_000
UNITS_S: Final = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}

_WRITTEN = re.compile(r"([1-9][0-9]{0,5})/(" + "|".join(UNITS_S) + ")", re.ASCII)


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` requests in any `unit` of time. The text form is `100/minute`."""

    count: int
    unit: str

    def __post_init__(self) -> None:
        if not 1 <= self.count <= COUNT_MAX:
            raise ValueError(f"a limit admits 1 to {COUNT_MAX} requests")
        if self.unit not in UNITS_S:
            raise ValueError(f"the unit of a limit is one of {', '.join(UNITS_S)}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses the text form that `str` produces. Raises ValueError."""
        if not (written := _WRITTEN.fullmatch(text)):
            raise ValueError(f"a limit is written <count>/<{'|'.join(UNITS_S)}>, as in 100/minute")
        return cls(count=int(written[1]), unit=written[2])

    def __str__(self) -> str:
        return f"{self.count}/{self.unit}"

    def times(self, factor: int) -> Self:
        """A limit of `factor` times the requests, at most COUNT_MAX."""
        return replace(self, count=min(self.count * factor, COUNT_MAX))

    @property
    def window_us(self) -> int:
        return UNITS_S[self.unit] * SECOND_US


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a request is admitted, and the figures for its caller.

    `remaining` is the number of further requests that would be admitted at the same instant.
    `reset_s` is the time until the oldest counted request expires, in whole seconds, rounded up.
    `retry_after_s` is the number of whole seconds after which a single retry is admitted: at least
    1, or 0 if this request was admitted.
    """

    admitted: bool
    limit: Limit
    remaining: int
    reset_s: int
    retry_after_s: int

    @classmethod
    def admitting(cls, limit: Limit, *, counted: int, reset_us: int) -> Self:
        """`counted` is the number of requests that count now, including this one."""
        return cls(
            admitted=True,
            limit=limit,
            remaining=max(0, limit.count - counted),
            reset_s=_seconds(reset_us),
            retry_after_s=0,
        )

    @classmethod
    def refusing(cls, limit: Limit, *, reset_us: int, wait_us: int) -> Self:
        """`wait_us` is the time until a slot is free, if no other request takes it."""
        return cls(
            admitted=False,
            limit=limit,
            remaining=0,
            reset_s=_seconds(reset_us),
            retry_after_s=max(1, _seconds(wait_us)),
        )

    def strictness(self) -> tuple[bool, int, int]:
        """Sorts refusals first, by the longest wait; then admissions, by the fewest remaining."""
        return self.admitted, -self.retry_after_s, self.remaining


def _seconds(us: int) -> int:
    return -(-us // SECOND_US)


class SlidingWindow:
    """The instants at which requests of one bucket were admitted, ascending.

    It holds only instants that still count. It is mutable, because copying costs time proportional
    to the limit. The caller passes the instants, in microseconds of one clock, so results are
    reproducible.

    A clock that is set back never shortens a request's time in the window. If it is set back by
    less than a window, the window treats time as standing still until the clock has caught up. If
    it is set back by more, the counted requests are treated as if they had just happened: waiting
    for the clock could lock callers out for hours.
    """

    __slots__ = ("_instants",)

    def __init__(self) -> None:
        self._instants: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._instants)

    def admit(self, limit: Limit, now_us: int) -> Decision:
        """Admits and counts a request, or refuses it and counts nothing."""
        at_us = self._settled(limit, now_us)
        instants, window_us = self._instants, limit.window_us
        surplus = len(instants) - limit.count
        if surplus >= 0:
            # One instant has to expire first; several if the limit was lowered.
            wait_us = instants[surplus] + window_us - now_us
            reset_us = instants[0] + window_us - now_us
            return Decision.refusing(limit, reset_us=reset_us, wait_us=wait_us)
        instants.append(at_us)
        return Decision.admitting(
            limit, counted=len(instants), reset_us=instants[0] + window_us - now_us
        )

    def take_back(self, at_us: int) -> None:
        """Stops counting the request admitted at `at_us`. No effect if it has expired."""
        for index in range(len(self._instants) - 1, -1, -1):  # it is usually among the last
            if self._instants[index] <= at_us:
                if self._instants[index] == at_us:
                    del self._instants[index]
                return

    def counts_at(self, limit: Limit, now_us: int) -> bool:
        """Whether any request still counts at `now_us`."""
        return bool(self._instants) and self._instants[-1] > now_us - limit.window_us

    @property
    def newest_us(self) -> int:
        """When the newest counted request was admitted. Raises IndexError if none counts."""
        return self._instants[-1]

    def _settled(self, limit: Limit, now_us: int) -> int:
        """Removes expired instants; returns when a request sent at `now_us` counts."""
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
