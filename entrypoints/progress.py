"""Shows how far a long command is: a bar on a terminal, a line every few seconds in a log."""

import time
from collections.abc import Callable
from typing import Final, Self, TextIO

from rich import progress as rich_progress
from rich.console import Console
from rich.text import Text

LOG_INTERVAL_S: Final = 5.0


class Progress:
    """Counts `done` of `total` inside a `with` block, and shows it on `stream`.

    Without a `total` no percentage and no remaining time are shown. Rich draws a bar only on a
    terminal; elsewhere, the same columns are printed as a line every LOG_INTERVAL_S. `label` says
    what is done. With `in_bytes` the numbers are bytes. With `is_brief`, a log gets nothing about
    what takes less than LOG_INTERVAL_S.
    """

    def __init__(
        self,
        total: int | None,
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
        *,
        label: str = "",
        in_bytes: bool = False,
        is_brief: bool = False,
    ) -> None:
        self.total = total
        self.done = 0
        self._clock = clock
        self._is_brief = is_brief
        self._console = Console(file=stream)
        self._is_live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._bar = rich_progress.Progress(
            *([rich_progress.TextColumn("{task.description}", markup=False)] if label else []),
            *([rich_progress.BarColumn()] if self._is_live else []),
            rich_progress.DownloadColumn() if in_bytes else rich_progress.MofNCompleteColumn(),
            rich_progress.TaskProgressColumn(),
            rich_progress.TransferSpeedColumn() if in_bytes else _RateColumn(),
            rich_progress.TimeRemainingColumn(elapsed_when_finished=is_brief),
            console=self._console,
            redirect_stdout=False,  # it may be a pipe
            get_time=clock,
        )
        self._task = self._bar.add_task(label, total=total)
        self._started = self._printed = clock()

    @property
    def seconds(self) -> float:
        return self._clock() - self._started

    def __enter__(self) -> Self:
        if self._is_live:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Shows the last state, and gives the terminal its cursor back."""
        if self._is_live:
            self._bar.stop()
        elif not self._is_brief or self.seconds >= LOG_INTERVAL_S:
            self._print()

    def advance(self, count: int) -> None:
        self.show(self.done + count, self.total)

    def show(self, done: int, total: int | None = None, label: str | None = None) -> None:
        """Sets both numbers, and the label if one is given."""
        self.done, self.total = done, total
        self._bar.update(self._task, completed=done, total=total, description=label)
        if not self._is_live and self._clock() - self._printed >= LOG_INTERVAL_S:
            self._print()

    def _print(self) -> None:
        self._printed = self._clock()
        self._console.print(self._bar.get_renderable())


class _RateColumn(rich_progress.ProgressColumn):
    def render(self, task: rich_progress.Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="progress.data.speed")
