"""The port of evaluations that senders sent before what they evaluate."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, Self
from uuid import UUID, uuid5

from domain.ids import ProjectId
from domain.tracing.otel.evaluations import ReceivedEvaluation

WAITING_MAX: Final = 10_000  # of a project
DUE_MAX: Final = 500  # of one call


@dataclass(frozen=True, slots=True)
class WaitingEvaluation:
    """An evaluation that waits, or whose trace is stored by now."""

    project: ProjectId
    id: UUID
    received: ReceivedEvaluation

    @classmethod
    def from_received(cls, project: ProjectId, received: ReceivedEvaluation) -> Self:
        """Its id is the same each time it is received."""
        return cls(project, uuid5(project, repr(received)), received)


class WaitingEvaluations(Protocol):
    """Evaluations whose trace, or whose response, isn't stored yet.

    Those of a trace are deleted with it, and those of the responses of its spans. An erasure of a
    session deletes those that name it.

    Contract of WaitingEvaluations: tests/contracts/evaluation/scores/test_waiting_evaluations.py.
    All raise Unavailable.
    """

    async def add(
        self, project: ProjectId, received: Sequence[ReceivedEvaluation], now: datetime
    ) -> int:
        """Stores evaluations, of which one that is stored changes nothing; how many are left out.

        A project has at most WAITING_MAX. Those of an erased trace aren't stored.
        """
        ...

    async def list_due(self, excluded: Collection[ProjectId] = ()) -> Sequence[WaitingEvaluation]:
        """The evaluations whose trace is stored; the oldest first, at most DUE_MAX.

        Includes all projects but the `excluded` ones. An evaluation of a response gets the trace
        and the span with the response.
        """
        ...

    async def delete(self, done: Sequence[WaitingEvaluation]) -> None: ...

    async def delete_expired(self, before: datetime) -> Sequence[WaitingEvaluation]:
        """Deletes the oldest that were stored before then, of all projects, at most DUE_MAX.

        Those that are due stay: workers may have been away since their trace came.
        """
        ...
