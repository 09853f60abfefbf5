"""How far a long command is: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TextIO

BAR_CELLS: Final = 24
REDRAW_S: Final = 0.1  # more often no eye can follow
LINE_S: Final = 5.0  # of a log, which is to stay short


@dataclass(slots=True)
class Progress:
    """Counts `done` of `total`, and tells it on `stream` with rate and time left.

    Where no `total` is known there is no bar, and no time left.
    """

    total: int | None
    stream: TextIO
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    _begun: float = field(init=False)
    _told: float = field(init=False)

    def __post_init__(self) -> None:
        self._begun = self._told = self.clock()

    @property
    def seconds(self) -> float:
        return self.clock() - self._begun

    def advance(self, count: int) -> None:
        self.done += count
        now = self.clock()
        if now - self._told >= (REDRAW_S if self.stream.isatty() else LINE_S):
            self._told = now
            self._tell()

    def finish(self) -> None:
        """Shows the last state, and leaves the line of the bar."""
        self._tell()
        if self.stream.isatty():
            self.stream.write("\n")
            self.stream.flush()

    def line(self) -> str:
        """`12,800/100,000 13 % 1,620/s 0:54 left`; no rate or time before anything is done."""
        told = f"{self.done:,}"
        if self.total:
            told += f"/{self.total:,} {self.done * 100 // self.total:d} %"
        if self.done and self.seconds > 0:
            rate = self.done / self.seconds
            told += f" {rate:,.0f}/s"
            if self.total:
                told += f" {_minutes((self.total - self.done) / rate)} left"
        return told

    def _tell(self) -> None:
        if self.stream.isatty():
            full = BAR_CELLS * self.done // self.total if self.total else 0
            bar = f"[{'#' * full}{'.' * (BAR_CELLS - full)}] " if self.total else ""
            self.stream.write(f"\r{bar}{self.line()}\x1b[K")  # and nothing of a longer line
        else:
            self.stream.write(f"{self.line()}\n")
        self.stream.flush()


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
