"""Rejections of ingested data, which can be read afterwards: senders often don't show them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol
from uuid import uuid5

from application.batches import run_in_batches
from application.ports import Clock, NewId
from application.tracing.otlp.ports import OrphanedRecord
from domain.ids import ProjectId, RejectionId
from domain.page import Page, PageRequest
from domain.tracing.otel.requests import (
    NAMES_SHOWN_CHARS,
    RecordedRejection,
    Rejection,
    RejectionReason,
    Signal,
    first_rejections,
)

REJECTIONS_KEPT_MAX: Final = 1_000  # of a project


class Rejections(Protocol):
    """The last REJECTIONS_KEPT_MAX rejections of each project.

    Those that name a trace are deleted with it. Contract of Rejections:
    tests/contracts/tracing/otlp/test_rejections.py. All raise Unavailable.
    """

    async def add(self, rejections: Sequence[RecordedRejection]) -> None:
        """Stores rejections of any projects, and deletes what exceeds the maximum.

        A rejection with the id of a stored one replaces it; its count is added.
        Those of an erased trace are left out.
        """
        ...

    async def page(
        self, project: ProjectId, reason: RejectionReason | None, window: PageRequest
    ) -> Page[RecordedRejection]:
        """Newest first, with the reason if it is given. Positions: instant, id."""
        ...

    async def delete_expired(self, now: datetime) -> int:
        """Deletes a batch of those older than the retention of their project; how many."""
        ...


class RejectionLog(Protocol):
    """Stores rejections some moments later, so that no request waits for it or fails by it.

    Contract of RejectionLog: tests/contracts/tracing/otlp/test_rejections.py.
    """

    def record(self, rejections: Sequence[RecordedRejection]) -> None:
        """Never raises. Those of a process that is killed may be lost."""
        ...


@dataclass(frozen=True, slots=True)
class RecordRejections:
    """Records the rejections of one request: at most REJECTIONS_LISTED_MAX, and one of the rest."""

    log: RejectionLog
    clock: Clock
    new_id: NewId

    def __call__(self, project: ProjectId, signal: Signal, rejections: Sequence[Rejection]) -> None:
        now = self.clock()
        self.log.record(
            [
                RecordedRejection(
                    project_id=project,
                    id=RejectionId(self.new_id()),
                    rejected_at=now,
                    signal=signal,
                    rejection=one,
                )
                for one in first_rejections(rejections)
            ]
        )

    def record_logs(self, project: ProjectId, rejections: Sequence[Rejection]) -> None:
        self(project, Signal.LOGS, rejections)

    def count_refused(
        self, project: ProjectId, reason: RejectionReason, message: str, count: int = 1
    ) -> None:
        """Counts what was refused of requests to /traces.

        One rejection of each reason an hour counts all of it, with the newest message.
        """
        now = self.clock()
        hour = now.replace(minute=0, second=0, microsecond=0)
        hourly = RecordedRejection(
            project_id=project,
            id=RejectionId(uuid5(project, f"{reason} {hour.isoformat()}")),
            rejected_at=now,
            signal=Signal.TRACES,
            rejection=Rejection(reason=reason, message=message, count=count),
        )
        self.log.record([hourly])

    async def record_orphans(self, records: Sequence[OrphanedRecord]) -> None:
        """Records that log records were dropped because their span never came."""
        by_project: dict[ProjectId, list[Rejection]] = {}
        for one in records:
            by_project.setdefault(one.project, []).append(_orphan_rejection(one))
        for project, rejections in by_project.items():
            self.record_logs(project, rejections)


def _orphan_rejection(orphan: OrphanedRecord) -> Rejection:
    service = orphan.record.resource.get("service.name")
    return Rejection(
        reason=RejectionReason.SPAN_NEVER_CAME,
        message=f"the span of a record {orphan.record.name} didn't come within 24 hours",
        trace_id=orphan.trace.hex,
        span_id=orphan.record.span_id,
        scope=orphan.record.scope.name[:NAMES_SHOWN_CHARS] or None,
        service=service[:NAMES_SHOWN_CHARS] if isinstance(service, str) else None,
    )


@dataclass(frozen=True, slots=True)
class DeleteExpiredRejections:
    """Deletes rejections that are older than their project keeps traces."""

    rejections: Rejections
    clock: Clock

    async def __call__(self) -> int:
        """The number of deleted rejections. Raises Unavailable; earlier batches stay deleted."""
        now = self.clock()
        return await run_in_batches(lambda: self.rejections.delete_expired(now))
