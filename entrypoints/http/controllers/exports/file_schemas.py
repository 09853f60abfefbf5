"""Exports as files, on the wire."""

from typing import Annotated, Any, Self
from uuid import UUID

import msgspec
from msgspec import Meta

from domain.exporting.export import Export, ExportStatus, FileFormat, RowKind
from domain.tracing.query import TraceFilter
from domain.tracing.trace import TraceStatus
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.exports.examples import EXPORT_ID
from entrypoints.http.controllers.traces.list import METADATA_MAX, METADATA_VALUES_MAX, any_of
from entrypoints.http.controllers.traces.schemas import Tags
from entrypoints.http.requests.scalar_types import parse_instant
from entrypoints.http.requests.wire_types import Instant, ShownInstant, instant, optional_instant

type Texts = Annotated[list[str], Meta(max_length=METADATA_VALUES_MAX)]


class ExportPath(msgspec.Struct, frozen=True):
    export_id: Annotated[UUID, Meta(description="The export's id", examples=[EXPORT_ID])]


class ExportFilters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which traces: the filters of `GET /traces`. Under `metadata` each key has its texts."""

    session_id: str | None = None
    user_id: str | None = None
    environment: str | None = None
    release: str | None = None
    status: TraceStatus | None = None
    tags: Tags | None = None
    name: str | None = None
    started_after: Instant | None = None
    started_before: Instant | None = None
    model: str | None = None
    min_latency_ms: float | None = None
    max_latency_ms: float | None = None
    has_error: bool | None = None
    metadata: Annotated[dict[str, Texts], Meta(max_length=METADATA_MAX)] | None = None

    def to_domain(self) -> TraceFilter:
        """Raises ValueError for what is no instant."""
        after, before, metadata = self.started_after, self.started_before, self.metadata or {}
        return TraceFilter(
            session_id=self.session_id,
            user_id=self.user_id,
            environment=self.environment,
            release=self.release,
            status=self.status,
            tags=any_of(self.tags),
            name=self.name,
            started_after=None if after is None else parse_instant(after),
            started_before=None if before is None else parse_instant(before),
            model=self.model,
            min_latency_ms=self.min_latency_ms,
            max_latency_ms=self.max_latency_ms,
            has_error=self.has_error,
            metadata=tuple((key, any_of(metadata[key])) for key in sorted(metadata)),
        )


class CreateExportRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be in the file. `rows` are of traces, or of their spans, which NDJSON can't be.

    Keys that aren't known are refused: without a filter that is misspelled more would be exported.
    """

    format: FileFormat
    rows: RowKind = RowKind.TRACES
    filters: ExportFilters = msgspec.field(default_factory=ExportFilters)

    def checked(self, _: HttpConfig) -> "tuple[CreateExportRequest, TraceFilter]":
        """Itself, and what it asks for. Raises ValueError."""
        return self, self.filters.to_domain()


class ExportResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An export: how far it is, and what it came to.

    `traces_done` of `traces_total` are in it; `row_count` and `size` in bytes are of the file by
    now. Once it is COMPLETED there is a `sha256` of the file; where it FAILED, an `error_message`.
    """

    id: UUID
    project_id: UUID
    format: FileFormat
    rows: RowKind
    filters: dict[str, Any]
    status: ExportStatus
    traces_total: int | None
    traces_done: int
    row_count: int
    size: int
    sha256: str | None
    error_message: str | None
    created_at: ShownInstant
    completed_at: ShownInstant | None
    expires_at: ShownInstant

    @classmethod
    def of(cls, export: Export) -> Self:
        return cls(
            id=export.id,
            project_id=export.project_id,
            format=export.format,
            rows=export.row_kind,
            filters=_shown(export.matching),
            status=export.status,
            traces_total=export.traces_total,
            traces_done=export.traces_done,
            row_count=export.rows,
            size=export.size,
            sha256=export.sha256,
            error_message=export.error,
            created_at=instant(export.created_at),
            completed_at=optional_instant(export.completed_at),
            expires_at=instant(export.expires_at),
        )


def _shown(matching: TraceFilter) -> dict[str, Any]:
    """The filters that were given."""
    said = {name: getattr(matching, name) for name in ExportFilters.__struct_fields__}
    said["tags"] = list(matching.tags)
    said["metadata"] = {key: list(texts) for key, texts in matching.metadata}
    said["started_after"] = optional_instant(matching.started_after)
    said["started_before"] = optional_instant(matching.started_before)
    return {
        name: value for name, value in said.items() if value is not None and value not in ([], {})
    }
