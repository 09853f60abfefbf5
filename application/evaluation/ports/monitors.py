"""The ports of monitors: which there are, which are due, and what they have looked at."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Protocol

from application.evaluation.ports.work_queue import ANNOUNCE_TIMEOUT
from domain.evaluation.monitors.monitor import Monitor, MonitorStatus, Selection, Watermark
from domain.evaluation.runs.run import EvalRun, RunProgress, Target, WorkItem
from domain.ids import MonitorId, ProjectId
from domain.page import Page, PageRequest

DUE_MAX: Final = 1_000  # monitors of one look
LEADER_GONE: Final = ANNOUNCE_TIMEOUT  # within it another scheduler goes on


class Monitors(Protocol):
    """The monitors of every project, seen one project at a time but for `due`.

    What is written is durable on return. All raise Unavailable.
    Contract of Monitors: tests/contracts/evaluation/monitors/test_monitors.py.
    """

    async def create(self, monitor: Monitor) -> Monitor:
        """Stores it; where there's one of its id, that one.

        Raises Invalid for what can't be stored, Unavailable where the project was removed.
        """
        ...

    async def get(self, project: ProjectId, monitor: MonitorId) -> Monitor:
        """Raises NotFound."""
        ...

    async def page(
        self, project: ProjectId, status: MonitorStatus | None, window: PageRequest
    ) -> Page[Monitor]:
        """By creation, newest first, as `paginate` says."""
        ...

    async def edit(
        self, project: ProjectId, monitor: MonitorId, edit: Callable[[Monitor], Monitor]
    ) -> Monitor:
        """The monitor after `edit`, a pure function that may be called more than once.

        Edits at once lose nothing. Raises NotFound, Invalid, and what `edit` raises.
        """
        ...

    async def delete(self, project: ProjectId, monitor: MonitorId) -> bool:
        """Whether there was one. Its runs stay, of no monitor then."""
        ...

    async def runs(
        self, project: ProjectId, monitor: MonitorId, window: PageRequest
    ) -> Page[RunProgress]:
        """What it has run, newest first. Raises NotFound."""
        ...

    async def list_due(self, now: datetime, after: Monitor | None = None) -> Sequence[Monitor]:
        """The ACTIVE monitors of all projects whose slot has come, the longest due first.

        At most DUE_MAX; where there are more, those after the last of them are asked for next.
        """
        ...

    async def store_run(
        self, before: Monitor, after: Monitor, run: EvalRun | None, work: Sequence[WorkItem]
    ) -> bool:
        """Stores what became of a monitor and the run it made, in one transaction, or nothing.

        Only where it is still as `before`: whoever edits, pauses, deletes or fires it meanwhile
        goes first, and False is the answer. So a slot is used once, however many look. False also
        where there is a run of that id.
        """
        ...


class ChangeFeed(Protocol):
    """What was written since somebody looked last, by project.

    By when the service stored it and never by what clients say: what comes late counts. Contract
    of Changed: tests/contracts/evaluation/monitors/test_change_feed.py. All raise Unavailable.
    """

    async def readable_until(self) -> Watermark:
        """How far one can look: nothing before it will ever be written any more.

        SETTLING before now by the clock that stamps what is written, or earlier while writes that
        began before are under way.
        """
        ...

    async def targets(
        self,
        project: ProjectId,
        selection: Selection,
        after: Watermark | None,
        upto: Watermark,
        most: int,
    ) -> Sequence[Target]:
        """Of what `selection` admits that was written after one mark and not after the other.

        Of a trace its last write counts, and one that changes nothing is none. A session counts
        by any of its traces, selected or not; whether it is admitted is judged by all of its
        selected ones. Ascending, the first `most` + 1. None is from the beginning.
        """
        ...


class LeaderElection(Protocol):
    """One of many processes does what one alone should do.

    It saves work and no more: two that lead for a moment, as after a break of the network, have
    to be harmless.
    Contract of LeaderElection: tests/contracts/evaluation/monitors/test_leader_election.py.
    """

    async def is_leader(self) -> bool:
        """Whether this process leads, from now on at the latest until it ends or is cut off.

        Whoever leads keeps it; where nobody does, who asks gets it. Never raises: what can't be
        found out is no leadership. Another's death is noticed within LEADER_GONE.
        """
        ...

    async def close(self) -> None:
        """Lets another lead, until this process is asked again. Never raises."""
        ...
