"""The ports of privacy: expired traces, and erasures."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Protocol

from domain.errors import Conflict, Invalid
from domain.identity.audit import AuditEntry
from domain.ids import ErasureId, ProjectId
from domain.page import Page, PageRequest
from domain.tracing.erasure import DataSubject, Erasure, RemainingData

OPEN_AT_ONCE: Final = 100  # erasures of one round
ERASURES_IN_PROGRESS_MAX: Final = 100  # erasures of one project: each of its reads has them in hand
PROJECTS_AT_ONCE: Final = 500  # that take turns in one round

type Told = Callable[[Erasure], AuditEntry]


class ExpiredTraces(Protocol):
    """Traces that were stored for longer than their project keeps any.

    A trace is as old as the time since it was first stored, whenever it started.
    Contract of Expired: tests/contracts/privacy/test_retention.py. Both raise
    Unavailable.
    """

    async def projects(self, now: datetime) -> Sequence[ProjectId]:
        """Those that have some at `now`; at most PROJECTS_AT_ONCE."""
        ...

    async def delete(self, project: ProjectId, now: datetime) -> int:
        """Removes some, the oldest first, as `Traces.delete` does; how many.

        0: none is left for now, or somebody else is at the rest. With the last trace of a session
        go its scores. A call is a transaction: a crash between two loses nothing.
        """
        ...


def too_many_erasures() -> Conflict:
    """Why another erasure can't begin."""
    return Conflict(
        f"A project has {ERASURES_IN_PROGRESS_MAX} erasures under way at most: try again once one is REMOVED"
    )


def trace_was_erased() -> Invalid:
    """Why a trace isn't stored again, for whoever sends it late."""
    return Invalid.field("trace_id", "this trace was erased: send what is new under another id")


class Erasures(Protocol):
    """Erasures of each project: asked for, carried out, and their receipts.

    The id of a trace that was erased is refused until it is forgotten, so that nothing that comes
    late brings it back; see `Traces.put`. Contract of Erasures:
    tests/contracts/privacy/test_erasures.py. All raise Unavailable.
    """

    async def begin(self, erasure: Erasure, owner: DataSubject, entry: AuditEntry) -> None:
        """Stores it, tells the audit log, and takes away all exports of the project.

        The owner is kept until all is removed. From then on nobody reads, changes or evaluates what
        is to go: it is hidden, as if it weren't there. So is a session that loses a trace, with
        its scores. Only sums over a project's traces and spans count what is left of it. Raises
        Conflict where ERASURES_IN_PROGRESS_MAX of the project are not over.
        """
        ...

    async def advance(
        self, project: ProjectId, erasure: ErasureId, now: datetime, told: Told
    ) -> Erasure:
        """Removes some of what is left, in one transaction; the erasure as it is then.

        As `Traces.delete` does, with all scores of the sessions that lose a trace. Where nothing
        is left it is over: the owner is forgotten, runs that evaluated a session and what they
        cost name it no more, and the audit log is `told`. One that is over, or that somebody else
        is at, stays as it is. Raises NotFound.
        """
        ...

    async def list_unfinished(self) -> Sequence[tuple[ProjectId, ErasureId]]:
        """Those that are not over, of all projects, the oldest first; at most OPEN_AT_ONCE."""
        ...

    async def get(self, project: ProjectId, erasure: ErasureId) -> Erasure:
        """Raises NotFound."""
        ...

    async def page(self, project: ProjectId, window: PageRequest) -> Page[Erasure]:
        """Newest first. Positions: instant of the request, id."""
        ...

    async def count_remaining(self, erasure: Erasure, owner: DataSubject) -> RemainingData:
        """What is stored now of its owner, or of the traces that it removed."""
        ...

    async def delete_erased_ids(self, before: datetime) -> int:
        """Forgets some ids of traces that were erased before then, of all projects; how many."""
        ...
