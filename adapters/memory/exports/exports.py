"""Exports with their files, and whole traces with their scores, in memory."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import batched
from uuid import UUID

from adapters.memory.store import MemoryStore, by_creation
from adapters.memory.tracing.traces import whole_bytes
from application.exports.ports import (
    BATCH_TRACES_MAX,
    EXPORTS_MAX,
    Batches,
    check_not_all,
    leave_out,
    session_too_large,
)
from domain.errors import Conflict, NotFound
from domain.evaluation.scores.score import ScoreOutcome, SessionScore
from domain.exports.export import Export, ExportStatus, TraceWithScores, in_order_of_time
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId, TraceId
from domain.page import PageRequest, Position, SortOrder, paginate
from domain.tracing.payloads.read_limit import READ_BYTES_MAX, TooLargeToRead
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.trace import Trace, TraceSummary


@dataclass(frozen=True, slots=True)
class MemoryExports:
    store: MemoryStore

    async def create(self, export: Export, *, audit: AuditEntry | None = None) -> Export:
        project = export.project_id
        self.store.check_exists(project)
        if (known := self.store.exports.get((project, export.id))) is not None:
            return known
        if len(await self.all(project)) >= EXPORTS_MAX:
            raise Conflict(f"This project keeps {EXPORTS_MAX} exports already: delete one")
        self._put(export)
        self.store.record(audit)
        return export

    async def get(self, project: ProjectId, export: UUID) -> Export:
        return self.store.exports.require(project, export)

    async def all(self, project: ProjectId) -> Sequence[Export]:
        return by_creation(self.store.exports.in_project(project), newest_first=True)

    async def delete(
        self, project: ProjectId, export: UUID, *, audit: AuditEntry | None = None
    ) -> bool:
        self.store.export_pieces.discard(project, export)
        is_gone = self.store.exports.discard(project, export)
        self.store.record(audit if is_gone else None)
        return is_gone

    async def read_piece(self, project: ProjectId, export: UUID, number: int) -> bytes:
        pieces = self.store.export_pieces.find(project, export) or ()
        if number >= len(pieces):
            raise NotFound("Export not found")
        return pieces[number]

    async def claim(self, now: datetime, until: datetime) -> Export | None:
        due = [
            (one.due_at, one.project_id, one.id)
            for _, one in self.store.exports.live()
            if one.due_at is not None and one.due_at <= now
        ]
        if not due:
            return None
        _, project, id_ = min(due)
        claimed = self.store.exports[project, id_].claimed(until)
        self.store.export_pieces.pop((project, id_), None)
        self._put(claimed)
        return claimed

    async def save(self, export: Export, *pieces: bytes) -> bool:
        place = (export.project_id, export.id)
        known = self.store.exports.find(*place)
        if known is None or not known.is_of(export):
            return False
        kept = self.store.export_pieces.get(place, ())
        self.store.export_pieces[place] = (*kept, *pieces)
        if export.status is ExportStatus.FAILED:
            del self.store.export_pieces[place]
        self._put(export)
        return True

    async def delete_expired(self, now: datetime) -> int:
        expired = [place for place, one in self.store.exports.items() if one.expires_at <= now]
        for project, export in expired:
            await self.delete(project, export)
        return len(expired)

    def _put(self, export: Export) -> None:
        self.store.exports[export.project_id, export.id] = export


@dataclass(frozen=True, slots=True)
class MemoryTraceArchive:
    store: MemoryStore
    bytes_max: int = READ_BYTES_MAX

    @asynccontextmanager
    async def read(
        self,
        project: ProjectId,
        matching: TraceFilter,
        sort: TraceSort,
        order: SortOrder,
        left_out: list[TraceId],
    ) -> AsyncIterator[Batches]:
        found = self.store.matching_traces(project, matching)

        def place(trace: Trace) -> Position:
            return sort.position(TraceSummary.from_trace(trace))

        page = paginate(found, place, order, PageRequest(limit=len(found)))
        whole = [self._archived(project, one) for one in page.items]
        yield self._batches(project, whole, left_out)

    async def load(self, project: ProjectId, traces: Sequence[TraceId]) -> Sequence[Trace]:
        wanted = set(traces)
        found = [one for one in self.store.visible_traces(project) if one.id in wanted]
        if sum(map(whole_bytes, found)) > self.bytes_max:
            raise TooLargeToRead("stored traces of these hold", "import fewer", "traces")
        return found

    async def _batches(
        self,
        project: ProjectId,
        whole: Sequence[TraceWithScores],
        left_out: list[TraceId],
    ) -> Batches:
        readable = list[TraceWithScores]()
        for one in whole:
            if _size(one) > self.bytes_max:
                leave_out(one.trace.id, left_out)
            else:
                readable.append(one)
        for some in batched(self._led(project, readable), BATCH_TRACES_MAX):
            yield some
        check_not_all(left_out, len(readable))

    def _archived(self, project: ProjectId, trace: Trace) -> TraceWithScores:
        scores = [
            score
            for score in self.store.visible_trace_scores(project)
            if score.trace_id == trace.id and score.outcome is not ScoreOutcome.PENDING
        ]
        return TraceWithScores(trace, in_order_of_time(scores))

    def _led(
        self, project: ProjectId, whole: Sequence[TraceWithScores]
    ) -> Iterator[TraceWithScores]:
        """Adds the scores of each session to its first trace."""
        left = defaultdict[str | None, list[SessionScore]](list)
        for score in self.store.visible_session_scores(project):
            if score.outcome is not ScoreOutcome.PENDING:
                left[score.session_id].append(score)
        for one in whole:
            scores = left.pop(one.trace.session_id, [])
            if sum(score.size for score in scores) > self.bytes_max:
                raise session_too_large(one.trace.session_id)
            yield replace(one, session_scores=in_order_of_time(scores))


def _size(one: TraceWithScores) -> int:
    return whole_bytes(one.trace) + sum(score.size for score in one.scores)
