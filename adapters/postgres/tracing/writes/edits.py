"""Edits and deletes of stored traces: one transaction for each call."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Final

from adapters.postgres.database.pool import (
    ACQUIRE_TIMEOUT_S,
    IN_PROJECT,
    UNSTORABLE_ERRORS,
    WRITE_TIMEOUT_S,
    Connection,
    Pool,
    require_row,
    translate_errors,
)
from adapters.postgres.database.tenants import Scope, within
from adapters.postgres.identity.audit_log import store_audit_entry
from adapters.postgres.tracing.rollups import rollups
from adapters.postgres.tracing.rollups.rollup_deltas import ProjectDeltas, new_deltas
from adapters.postgres.tracing.trace_loader import fetch_trace
from adapters.postgres.tracing.writes.batch_writer import find_unstorable, json_values
from adapters.postgres.tracing.writes.deletes import (
    delete_session_scores,
    delete_traces,
    select_some_traces,
)
from adapters.postgres.tracing.writes.row_updates import (
    LOCK_VISIBLE_TRACES,
    TraceUpdate,
    fetch_spans,
    lock_traces,
    merge_into_stored,
    write_back,
)
from adapters.pricing.price_cache import ProjectPriceCache
from application.concurrency import compute
from application.tracing.workload import takes_long
from domain.errors import NotFound
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId, SpanId, TraceId
from domain.tracing.change import UNCHANGED, retagged
from domain.tracing.span import Span, SpanChange
from domain.tracing.trace import Trace, TraceChange

EDITS_AT_ONCE: Final = 2  # an edit that waits for a locked trace holds a connection

# -1 for a session that is hidden by an erasure.
SELECT_SESSION_TRACE_COUNT: Final = f"""
SELECT coalesce(
  (SELECT trace_count FROM visible_sessions WHERE {IN_PROJECT} AND session_id = $2),
  (SELECT -1 FROM sessions WHERE {IN_PROJECT} AND session_id = $2), 0
)
"""
SELECT_VISIBLE_TRACES: Final = f"""
SELECT trace_id FROM visible_traces WHERE {IN_PROJECT} AND trace_id = ANY($2::uuid[])
"""
SELECT_SOME_TRACES_OF_SESSION: Final = select_some_traces(
    "visible_traces", f"{IN_PROJECT} AND session_id = $2"
)


@dataclass(frozen=True, slots=True)
class TraceEdits:
    """Edits of stored traces, at most EDITS_AT_ONCE at a time in one process."""

    pool: Pool
    prices: ProjectPriceCache
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(EDITS_AT_ONCE))

    @asynccontextmanager
    async def transaction(self, scope: Scope) -> AsyncIterator[tuple[Connection, ProjectDeltas]]:
        """Waits for a free slot and opens a transaction; writes the deltas at its end."""
        async with translate_errors(), asyncio.timeout(WRITE_TIMEOUT_S):
            async with asyncio.timeout(ACQUIRE_TIMEOUT_S):
                await self.slots.acquire()
            try:
                async with within(self.pool, scope).transaction() as connection:
                    deltas = new_deltas()
                    yield connection, deltas
                    await rollups.write(connection, deltas)
            finally:
                self.slots.release()

    @asynccontextmanager
    async def _unstorable_payload(self, change: TraceChange | SpanChange) -> AsyncIterator[None]:
        """Translates the error of a payload that cannot be stored, and names the payload."""
        try:
            yield
        except UNSTORABLE_ERRORS as error:
            payloads = (("input", change.input), ("output", change.output))
            texts = [(name, text) for name, text in payloads if isinstance(text, bytes)]
            raise find_unstorable(texts) from error

    async def add_spans(self, project: ProjectId, trace: TraceId, spans: Sequence[Span]) -> None:
        pricing = await self.prices.get([project], spans)
        async with self.transaction(project) as (connection, deltas):
            known = await lock_traces(connection, [(project, trace)], LOCK_VISIBLE_TRACES)
            if not known:
                raise NotFound("Trace not found")
            new = {(project, trace): tuple(spans)}
            try:
                await merge_into_stored(connection, pricing, known, new, reports={}, deltas=deltas)
            except UNSTORABLE_ERRORS as error:
                texts = (json_values(f"{n}.", span) for n, span in enumerate(spans))
                raise find_unstorable(chain.from_iterable(texts)) from error

    async def change(
        self, project: ProjectId, trace: TraceId, change: TraceChange, bytes_max: int
    ) -> Trace:
        async with (
            self.transaction(project) as (connection, deltas),
            self._unstorable_payload(change),
        ):
            locked = await lock_traces(connection, [(project, trace)], LOCK_VISIBLE_TRACES)
            known = require_row(locked.get((project, trace)), "Trace not found")
            metadata_bytes = len(known.trace.metadata) + len(change.metadata)
            is_long = takes_long(0, metadata_bytes)
            changed = await compute(change.applied, known.trace, is_long=is_long)
            payloads = {
                name: getattr(changed, name)
                for name in ("input", "output")
                if getattr(change, name) is not UNCHANGED
            }
            merged = replace(changed, input=None, output=None)
            otlp = known.otlp
            if otlp is not None:
                otlp = otlp.after_native_write(known.trace, merged, list(payloads))
            update = TraceUpdate(known, merged, payloads=payloads, otlp=otlp)
            await write_back(connection, [update], deltas)
            return await fetch_trace(connection, project, trace, bytes_max)

    async def change_span(
        self, project: ProjectId, trace: TraceId, span: SpanId, change: SpanChange
    ) -> Span:
        pricing = (await self.prices.get([project]))[project]
        async with (
            self.transaction(project) as (connection, deltas),
            self._unstorable_payload(change),
        ):
            known = await lock_traces(connection, [(project, trace)], LOCK_VISIBLE_TRACES)
            stored = await fetch_spans(connection, [(project, trace, span)])
            if (project, trace) not in known or (project, trace) not in stored:
                raise NotFound("Span not found")
            old = stored[project, trace]
            metadata_bytes = len(old[span].metadata) + len(change.metadata)
            is_long = takes_long(0, metadata_bytes)
            changed = await compute(change.applied, old[span], pricing, is_long=is_long)
            before = known[project, trace]
            spans = {span: changed} if changed != old[span] else {}
            await write_back(connection, [TraceUpdate(before, before.trace, spans, old)], deltas)
            return changed

    async def retag(
        self,
        project: ProjectId,
        traces: Sequence[TraceId],
        add: Sequence[str],
        remove: Sequence[str],
    ) -> int:
        async with self.transaction(project) as (connection, deltas):
            keys = [(project, trace) for trace in dict.fromkeys(traces)]
            known = await lock_traces(connection, keys, LOCK_VISIBLE_TRACES)
            updates = []
            for one in known.values():
                tags = retagged(one.trace.tags, add, remove)
                if tags != one.trace.tags:
                    after, otlp = replace(one.trace, tags=tags), one.otlp
                    if otlp is not None:
                        otlp = otlp.after_native_write(one.trace, after)
                    updates.append(TraceUpdate(one, after, otlp=otlp))
            await write_back(connection, updates, deltas)
            return len(known)

    async def delete(
        self, project: ProjectId, traces: Sequence[TraceId], audit: AuditEntry | None = None
    ) -> int:
        async with self.transaction(project) as (connection, deltas):
            rows = await connection.fetch(SELECT_VISIBLE_TRACES, project, traces)
            shown = [TraceId(row[0]) for row in rows]
            gone = (await delete_traces(connection, deltas[project], project, shown)).traces
            if audit is not None and gone:
                await store_audit_entry(connection, audit.with_detail(traces=gone))
            return gone

    async def delete_session(
        self, project: ProjectId, session: str, audit: AuditEntry | None = None
    ) -> int:
        """Deletes as many traces as the session has now, in small transactions.

        Other writers go on between them. The scores go with the last traces: until then the session
        exists with its scores. The audit entry comes with the first traces: it says how many the
        session had.
        """
        async with translate_errors():
            wanted = await within(self.pool, project).fetchval(
                SELECT_SESSION_TRACE_COUNT, project, session
            )
        gone, is_over = 0, wanted < 0
        while not is_over:
            async with self.transaction(project) as (connection, deltas):
                rows = await connection.fetch(SELECT_SOME_TRACES_OF_SESSION, project, session)
                some = [TraceId(row[0]) for row in rows]
                deleted = await delete_traces(connection, deltas[project], project, some, session)
                if audit is not None and deleted.traces:
                    await store_audit_entry(connection, audit.with_detail(traces=wanted))
                    audit = None
                gone += deleted.traces
                if is_over := gone >= wanted or not some:
                    await delete_session_scores(connection, project, [session])
        return gone
