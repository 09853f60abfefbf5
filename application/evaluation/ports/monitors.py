"""The ports of monitors: stored monitors, the change feed, and leader election."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Protocol

from domain.evaluation.monitors.monitor import Monitor, MonitorStatus, Selection, Watermark
from domain.evaluation.runs.run import EvalRun, RunProgress, Target, WorkItem
from domain.evaluation.runs.selection import SETTLED, Eligibility, Sample
from domain.identity.audit import AuditEntry
from domain.ids import MonitorId, ProjectId
from domain.page import Page, PageRequest

DUE_MAX: Final = 1_000  # monitors of one read


class Monitors(Protocol):
    """The monitors of every project, seen one project at a time; only `list_due` reads all.

    Writes are durable on return. All raise Unavailable.
    Contract of Monitors: tests/contracts/evaluation/monitors/test_monitors.py.
    """

    async def create(self, monitor: Monitor, *, audit: AuditEntry | None = None) -> Monitor:
        """Stores it; if its id exists, returns the stored one unchanged.

        Raises Invalid if it can't be stored, Unavailable if the project was removed.
        """
        ...

    async def get(self, project: ProjectId, monitor: MonitorId) -> Monitor:
        """Raises NotFound."""
        ...

    async def page(
        self, project: ProjectId, status: MonitorStatus | None, window: PageRequest
    ) -> Page[Monitor]:
        """A page by creation, newest first, as `paginate` does it."""
        ...

    async def edit(
        self,
        project: ProjectId,
        monitor: MonitorId,
        edit: Callable[[Monitor], Monitor],
        *,
        audit: AuditEntry | None = None,
    ) -> Monitor:
        """The monitor after `edit`, a pure function that may be called more than once.

        Concurrent edits lose nothing. Raises NotFound, Invalid, and what `edit` raises.
        """
        ...

    async def delete(
        self, project: ProjectId, monitor: MonitorId, *, audit: AuditEntry | None = None
    ) -> bool:
        """Deletes it; whether it existed. Its runs stay, without a monitor."""
        ...

    async def runs(
        self, project: ProjectId, monitor: MonitorId, window: PageRequest
    ) -> Page[RunProgress]:
        """The runs of the monitor, newest first. Raises NotFound."""
        ...

    async def list_due(self, now: datetime, after: Monitor | None = None) -> Sequence[Monitor]:
        """The ACTIVE monitors of all projects whose slot has come, the longest due first.

        At most DUE_MAX; call again with the last one for more.
        """
        ...

    async def store_run(
        self, before: Monitor, after: Monitor, run: EvalRun | None, work: Sequence[WorkItem]
    ) -> bool:
        """Stores the monitor after it has used a slot, and its run, in one transaction.

        Stores nothing and returns False if the monitor isn't as `before` any more: it was edited,
        paused, deleted, or used the slot meanwhile. So a slot is used once, however many processes
        try. False also if a run with this id exists.
        """
        ...


class ChangeFeed(Protocol):
    """The traces and sessions that were written since a watermark, by project.

    By the time at which the service stored them, not by times of clients: late data counts.
    Contract of ChangeFeed: tests/contracts/evaluation/monitors/test_change_feed.py. All raise
    Unavailable.
    """

    async def readable_until(self) -> Watermark:
        """The newest watermark before which nothing will be written any more.

        SETTLE_DELAY before now, by the clock that stamps writes; earlier while older writes are in
        progress.
        """
        ...

    async def targets(
        self,
        project: ProjectId,
        selection: Selection,
        after: Watermark | None,
        upto: Watermark,
        limit: int,
        *,
        eligibility: Eligibility = SETTLED,
        sample: Sample | None = None,
    ) -> Sequence[Target]:
        """The targets that match and were written after one watermark, up to the other.

        None: from the beginning. The last write of a trace counts; a write that changes nothing
        doesn't. A session counts if any of its traces was written, selected or not; whether it
        matches depends on all its selected traces. Ascending; as many of them, and the same
        `sample`, as of `Targets.traces`.

        With `settled_only`, a trace counts when it is over, and not when it was written: one that
        isn't over at `upto` is found after a later watermark.
        """
        ...


class LeaderElection(Protocol):
    """Elects one of many processes for work that one process should do.

    This only saves work: two leaders for a moment, as after a network partition, must be harmless.
    Contract of LeaderElection: tests/contracts/evaluation/monitors/test_leader_election.py.
    """

    async def is_leader(self) -> bool:
        """Whether this process is the leader; it stays so until it ends or is disconnected.

        The current leader stays leader; without one, the caller becomes leader. Never raises: if
        it can't be determined, False. Another process takes over within ANNOUNCE_TIMEOUT of
        work queues.
        """
        ...

    async def close(self) -> None:
        """Resigns, until this process asks again. Never raises."""
        ...
