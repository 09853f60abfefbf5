"""Clocks that move only when a test says so."""

from dataclasses import dataclass

from domain.limits import SECOND_US


@dataclass
class ManualClock[T]:
    """Seconds or instants, whatever `now` is."""

    now: T

    def __call__(self) -> T:
        return self.now


@dataclass
class MicrosecondClock:
    now_us: int = 0

    def __call__(self) -> int:
        return self.now_us

    def forward(self, seconds: float) -> None:
        self.now_us += round(seconds * SECOND_US)
