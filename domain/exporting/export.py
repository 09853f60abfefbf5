"""An export: a file that workers write in the background, to be downloaded later."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, Self
from uuid import UUID

from domain.ids import ProjectId
from domain.tracing.query import TraceFilter

ATTEMPTS_MAX: Final = 3  # attempts that workers began without finishing


class FileFormat(StrEnum):
    CSV = "csv"
    PARQUET = "parquet"
    NDJSON = "ndjson"


class RowKind(StrEnum):
    """What each row represents."""

    TRACES = "traces"
    SPANS = "spans"


class ExportStatus(StrEnum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """An export file of a project's traces: its request, progress and result.

        PENDING ──a worker claims it──▶ RUNNING ──▶ COMPLETED, or FAILED, which `error` explains
           ▲────────it is put off──────────┘

    While it isn't final, `rows`, `size` in bytes and `traces_done` belong to the current attempt.
    `sha256` is the hash of the finished file. `traces_total` is counted when an attempt begins. No
    worker claims it before `due_at`, which is None once it is final. It is deleted at `expires_at`.
    """

    id: UUID
    project_id: ProjectId
    format: FileFormat
    row_kind: RowKind = RowKind.TRACES
    matching: TraceFilter = field(default_factory=TraceFilter)
    status: ExportStatus = ExportStatus.PENDING
    attempts: int = 0
    traces_total: int | None = None
    traces_done: int = 0
    rows: int = 0
    size: int = 0
    sha256: str | None = None
    error: str | None = None
    created_at: datetime
    due_at: datetime | None
    completed_at: datetime | None = None
    expires_at: datetime

    def claimed(self, until: datetime) -> Self:
        """At the start of the next attempt, which is the only one that may write from now on."""
        return replace(
            self,
            status=ExportStatus.RUNNING,
            attempts=self.attempts + 1,
            traces_total=None,
            traces_done=0,
            rows=0,
            size=0,
            due_at=until,
        )

    def is_of(self, claimed: "Export") -> bool:
        """Whether the attempt that `claimed` began may still write."""
        return self.status is ExportStatus.RUNNING and self.attempts == claimed.attempts

    def put_off(self, until: datetime) -> Self:
        return replace(self, status=ExportStatus.PENDING, due_at=until)

    def completed(self, sha256: str, now: datetime) -> Self:
        return replace(
            self, status=ExportStatus.COMPLETED, sha256=sha256, completed_at=now, due_at=None
        )

    def failed(self, error: str, now: datetime) -> Self:
        return replace(self, status=ExportStatus.FAILED, error=error, completed_at=now, due_at=None)
