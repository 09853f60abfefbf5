"""The ports of privacy: expired traces, and erasures."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Protocol

from domain.errors import Conflict, Invalid
from domain.identity.audit import AuditEntry
from domain.ids import ErasureId, ProjectId
from domain.page import Page, PageRequest
from domain.privacy.erasure import DataSubject, Erasure, RemainingData

UNFINISHED_MAX: Final = 100  # erasures of one round
ERASURES_IN_PROGRESS_MAX: Final = 100  # of a project: each of its reads looks them up
PROJECTS_AT_ONCE: Final = 500  # with something to delete, of one round
SESSIONS_AT_ONCE: Final = 1_000  # looked at in one transaction

type MakeAuditEntry = Callable[[Erasure], AuditEntry]
"""Makes the audit log entry of a finished erasure."""


class ExpiredTraces(Protocol):
    """Traces older than the retention of their project.

    The age counts from when a trace was first stored, not from when it started.
    Contract of ExpiredTraces: tests/contracts/privacy/test_retention.py. All raise
    Unavailable.
    """

    async def current_time(self) -> datetime:
        """The time by the clock that dates traces when they are stored.

        By the clock of a process that is ahead, traces would be deleted too early.
        """
        ...

    async def projects(self, now: datetime) -> Sequence[ProjectId]:
        """The projects with expired traces at `now`; at most PROJECTS_AT_ONCE."""
        ...

    async def delete(self, project: ProjectId, now: datetime) -> int:
        """Deletes a batch, oldest first, as `Traces.delete` does; how many.

        0 if none is left for now, or another process deletes the rest. The last trace of a session
        is deleted with the session's scores. A call is one transaction: a crash between two calls
        loses nothing.
        """
        ...

    async def projects_with_old_session_scores(
        self, now: datetime, after: ProjectId | None
    ) -> Sequence[ProjectId]:
        """The projects with scores of sessions older than their retention, in the order of ids.

        The first PROJECTS_AT_ONCE after `after`. They may have none to delete, since a session with
        traces keeps its scores.
        """
        ...

    async def delete_session_scores(
        self, project: ProjectId, now: datetime, after: str
    ) -> tuple[int, str | None]:
        """Deletes old scores of sessions without a trace; how many, and where to go on.

        Erases the responses about a session that loses a score. Looks at SESSIONS_AT_ONCE sessions,
        in the order of their ids, the first one after `after`. None if there are no more. A session
        loses its last trace without its scores if the trace is deleted on request, or moves to
        another session.
        """
        ...


def too_many_erasures() -> Conflict:
    """The error if a project has too many erasures in progress."""
    return Conflict(
        f"A project has at most {ERASURES_IN_PROGRESS_MAX} erasures in progress: "
        "try again once one is REMOVED"
    )


def trace_was_erased() -> Invalid:
    """The error for an erased trace that is sent again."""
    return Invalid.field("trace_id", "this trace was erased: send new data under another id")


class Erasures(Protocol):
    """The erasures of each project, and their receipts.

    The ids of erased traces are stored for a while and refused by `Traces.put`, so that a late
    request doesn't restore an erased trace. Contract of Erasures:
    tests/contracts/privacy/test_erasures.py. All raise Unavailable.
    """

    async def begin(self, erasure: Erasure, owner: DataSubject, entry: AuditEntry) -> None:
        """Stores it with its audit log entry, and deletes all exports of the project.

        `owner` is stored until all its data is deleted. From now on that data is hidden: it can't
        be read, changed or evaluated. So is a session that loses a trace, with its scores. Only
        totals over all traces and spans of the project still count it. Raises Conflict if the
        project has ERASURES_IN_PROGRESS_MAX in progress.
        """
        ...

    async def current_time(self) -> datetime:
        """The time by the clock that dates traces when they are stored.

        By another clock that is ahead, traces that come after the end of an erasure would count
        among those that it left.
        """
        ...

    async def advance(
        self, project: ProjectId, erasure: ErasureId, now: datetime, make_entry: MakeAuditEntry
    ) -> Erasure:
        """Deletes a batch of what is left, in one transaction; the erasure after it.

        Deletes as `Traces.delete` does, with all scores of the sessions that lose a trace. Once
        nothing is left the erasure is finished: the owner is deleted, also from the runs that
        evaluated the session and from the judge ledger, and the entry of `make_entry` is written
        to the audit log. Does nothing if it is finished, or another process advances it. Raises
        NotFound.
        """
        ...

    async def list_unfinished(self) -> Sequence[tuple[ProjectId, ErasureId]]:
        """The erasures in progress, of all projects, oldest first; at most UNFINISHED_MAX."""
        ...

    async def get(self, project: ProjectId, erasure: ErasureId) -> Erasure:
        """Raises NotFound."""
        ...

    async def page(self, project: ProjectId, window: PageRequest) -> Page[Erasure]:
        """Newest first. Positions: instant of the request, id."""
        ...

    async def count_remaining(self, erasure: Erasure, owner: DataSubject) -> RemainingData:
        """The data stored now of `owner`, or of the traces that it deleted.

        Exports and responses are selected if they began before the erasure was requested.
        """
        ...

    async def delete_erased_ids(self, before: datetime) -> int:
        """Deletes a batch of ids of traces erased before then, of all projects; how many."""
        ...
