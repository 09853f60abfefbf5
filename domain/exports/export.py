"""Exports: files that workers write in the background, and the traces in them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Self
from uuid import UUID

from domain.evaluation.scores.score import Score, SessionScore, TraceScore
from domain.ids import ProjectId, TraceId
from domain.tracing.payloads.payload import JsonText
from domain.tracing.payloads.read_limit import READ_BYTES_MAX
from domain.tracing.query import TraceFilter
from domain.tracing.span import Span
from domain.tracing.trace import Trace
from domain.wording import counted

_BLANKED: Final = bytes.maketrans(b"\n\r", b"  ")
ATTEMPTS_MAX: Final = 3  # attempts that workers began without finishing


class FileFormat(StrEnum):
    CSV = "csv"
    PARQUET = "parquet"
    NDJSON = "ndjson"


class RowKind(StrEnum):
    """The kind of object in each row."""

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

    A COMPLETED one with an `error` lacks the traces that it names. While it isn't final, `rows`,
    `size` in bytes and `traces_done` belong to the current attempt.
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

    def completed(self, sha256: str, now: datetime, left_out: Sequence[TraceId] = ()) -> Self:
        """The completed export. Its total is what was read, not the count before the reading.

        Its error names the traces that are too large and `left_out`.
        """
        return replace(
            self,
            error=_incomplete(left_out) if left_out else None,
            status=ExportStatus.COMPLETED,
            traces_total=self.traces_done,
            sha256=sha256,
            completed_at=now,
            due_at=None,
        )

    @property
    def is_incomplete(self) -> bool:
        """Whether traces that match are not in its file."""
        return self.status is ExportStatus.COMPLETED and self.error is not None

    def failed(self, error: str, now: datetime) -> Self:
        return replace(self, status=ExportStatus.FAILED, error=error, completed_at=now, due_at=None)


def _incomplete(left_out: Sequence[TraceId]) -> str:
    what = counted(len(left_out), "trace holds", "traces hold")
    ids = ", ".join(map(str, left_out))
    return f"The file is incomplete: {what} more than {READ_BYTES_MAX >> 20} MiB: {ids}"


@dataclass(frozen=True, slots=True)
class TraceWithScores:
    """A complete settled trace with its scores, oldest first, without PENDING ones.

    `scores` are those of the trace and of its spans. `session_scores` are the scores of its
    session, in the same order. They are attached to one trace of the session only, the first in the
    export.
    """

    trace: Trace
    scores: tuple[TraceScore, ...] = ()
    session_scores: tuple[SessionScore, ...] = ()


def in_order_of_time[S: Score](scores: Iterable[S]) -> tuple[S, ...]:
    """The order of scores in an export."""
    return tuple(sorted(scores, key=lambda one: (one.created_at, one.id)))


def on_one_line(text: JsonText) -> JsonText:
    """JSON text without line breaks, which can only occur between tokens and carry no meaning."""
    return text.translate(_BLANKED)


def has_nothing_new(sent: Trace, known: Trace) -> bool:
    """Whether `known`, as an export shows it, contains everything in `sent`.

    Merging would only sort the tags then.
    """
    shown = _flat(known, spans=tuple([_flat(span) for span in known.spans]))
    merged = replace(shown.merged(sent), tags=known.tags)
    return merged == shown and set(sent.tags) <= set(known.tags)


def _flat[T: (Span, Trace)](one: T, **more: Any) -> T:
    texts: dict[str, Any] = {
        field.name: on_one_line(value)
        for field in fields(one)
        if isinstance(value := getattr(one, field.name), bytes)
    }
    return replace(one, **texts, **more)
