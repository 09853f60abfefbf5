"""Changing and removing stored traces: each call a transaction of its own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from adapters.postgres.database.pool import (
    ACQUIRE_TIMEOUT_S,
    OF_PROJECT,
    UNSTORABLE,
    WRITE_TIMEOUT_S,
    Connection,
    Pool,
    translated,
)
from adapters.postgres.tracing import rollups
from adapters.postgres.tracing.batch_writer import suspects, unstorable
from adapters.postgres.tracing.deletes import (
    CHUNK,
    CHUNK_SPANS,
    delete_session_scores,
    delete_traces,
)
from adapters.postgres.tracing.rollup_deltas import ByProject, by_project
from adapters.postgres.tracing.row_updates import (
    LOCK_SHOWN,
    Amended,
    locked,
    merge,
    put_back,
    stored_spans,
)
from adapters.postgres.tracing.trace_rows import PAYLOADS, SPANS, TRACES, span_of, whole_trace_of
from adapters.pricing.price_cache import ProjectPriceCache
from domain.errors import NotFound
from domain.ids import ProjectId, SpanId, TraceId
from domain.tracing.change import UNCHANGED, retagged
from domain.tracing.span import Span, SpanChange
from domain.tracing.trace import Trace, TraceChange, in_order

EDITORS: Final = 2  # who waits for the lock of a busy trace holds a connection: a few may

READ_TRACE: Final = f"""
SELECT {TRACES.select("traces")}, {", ".join(PAYLOADS.names_of("json"))}
FROM traces LEFT JOIN trace_payloads USING (project_id, trace_id)
WHERE traces.{OF_PROJECT} AND traces.trace_id = $2
"""
SPANS_OF_TRACE: Final = f"""
SELECT {SPANS.select()} FROM spans WHERE {OF_PROJECT} AND trace_id = $2
"""
CHANGE_PAYLOADS: Final = """
INSERT INTO trace_payloads AS t (project_id, trace_id, input, output) VALUES ($1, $2, $3, $4)
ON CONFLICT (project_id, trace_id) DO UPDATE SET
  input = CASE WHEN $5 THEN excluded.input ELSE t.input END,
  output = CASE WHEN $6 THEN excluded.output ELSE t.output END
"""
# -1 for a session that is hidden.
COUNT_OF_SESSION: Final = f"""
SELECT coalesce(
  (SELECT trace_count FROM veiled.sessions WHERE {OF_PROJECT} AND session_id = $2),
  (SELECT -1 FROM sessions WHERE {OF_PROJECT} AND session_id = $2), 0
)
"""
SHOWN: Final = f"""
SELECT trace_id FROM veiled.traces WHERE {OF_PROJECT} AND trace_id = ANY($2::uuid[])
"""
# Some traces of a session, of $3 spans together or one trace, of $4 traces at most.
OF_SESSION: Final = f"""
SELECT trace_id FROM (
  SELECT trace_id, started_at, row_number() OVER upto AS place, sum(span_count) OVER upto AS spans
  FROM (
    SELECT trace_id, started_at, span_count FROM veiled.traces
    WHERE {OF_PROJECT} AND session_id = $2 ORDER BY started_at, trace_id LIMIT $4
  ) AS first WINDOW upto AS (ORDER BY started_at, trace_id)
) AS counted
WHERE spans <= $3 OR place = 1
"""


async def read_trace(connection: Connection, project: ProjectId, trace: TraceId) -> Trace:
    """The whole trace. Raises NotFound."""
    row = await connection.fetchrow(READ_TRACE, project, trace)
    if row is None:
        raise NotFound("Trace not found")
    spans = await connection.fetch(SPANS_OF_TRACE, project, trace)
    return replace(whole_trace_of(row), spans=in_order(map(span_of, spans)))


@dataclass(frozen=True, slots=True)
class TraceEdits:
    """What is done to traces that are stored. At most EDITORS at a time, for one process."""

    pool: Pool
    prices: ProjectPriceCache
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(EDITORS))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[tuple[Connection, ByProject]]:
        """A transaction in its turn; what it notes in the deltas is written at its end."""
        async with translated(), asyncio.timeout(WRITE_TIMEOUT_S):
            async with asyncio.timeout(ACQUIRE_TIMEOUT_S):
                await self.turns.acquire()
            try:
                async with (
                    self.pool.acquire() as connection,
                    connection.transaction(),
                ):
                    deltas = by_project()
                    yield connection, deltas
                    await rollups.write(connection, deltas)
            finally:
                self.turns.release()

    @asynccontextmanager
    async def _told(self, change: TraceChange | SpanChange) -> AsyncIterator[None]:
        """Names the payload that can't be stored."""
        try:
            yield
        except UNSTORABLE as error:
            said = (("input", change.input), ("output", change.output))
            texts = [(name, text) for name, text in said if isinstance(text, bytes)]
            raise await unstorable(self.pool, texts) from error

    async def add_spans(self, project: ProjectId, trace: TraceId, spans: Sequence[Span]) -> None:
        pricing = await self.prices.get([project], spans)
        async with self.transaction() as (connection, deltas):
            known = await locked(connection, [(project, trace)], LOCK_SHOWN)
            if not known:
                raise NotFound("Trace not found")
            new = {(project, trace): tuple(spans)}
            try:
                await merge(connection, pricing, known, new, reports={}, deltas=deltas)
            except UNSTORABLE as error:
                values = [one for n, span in enumerate(spans) for one in suspects(f"{n}.", span)]
                raise await unstorable(self.pool, values) from error

    async def change(self, project: ProjectId, trace: TraceId, change: TraceChange) -> Trace:
        async with self.transaction() as (connection, deltas), self._told(change):
            known = (await locked(connection, [(project, trace)], LOCK_SHOWN)).get((project, trace))
            if known is None:
                raise NotFound("Trace not found")
            said = [value is not UNCHANGED for value in (change.input, change.output)]
            changed = change.applied(known.trace)
            if any(said):
                payloads = (changed.input, changed.output)
                await connection.execute(CHANGE_PAYLOADS, project, trace, *payloads, *said)
            merged = replace(changed, input=None, output=None)
            amended = Amended(known, merged, is_renewed=any(said))
            await put_back(connection, [amended], deltas)
            return await read_trace(connection, project, trace)

    async def change_span(
        self, project: ProjectId, trace: TraceId, span: SpanId, change: SpanChange
    ) -> Span:
        pricing = (await self.prices.get([project]))[project]
        async with self.transaction() as (connection, deltas), self._told(change):
            known = await locked(connection, [(project, trace)], LOCK_SHOWN)
            stored = await stored_spans(connection, [(project, trace, span)])
            if (project, trace) not in known or (project, trace) not in stored:
                raise NotFound("Span not found")
            old = stored[project, trace]
            changed = change.applied(old[span], pricing)
            before = known[project, trace]
            spans = {span: changed} if changed != old[span] else {}
            await put_back(connection, [Amended(before, before.trace, spans, old)], deltas)
            return changed

    async def retag(
        self,
        project: ProjectId,
        traces: Sequence[TraceId],
        add: Sequence[str],
        remove: Sequence[str],
    ) -> int:
        async with self.transaction() as (connection, deltas):
            keys = [(project, trace) for trace in dict.fromkeys(traces)]
            known = await locked(connection, keys, LOCK_SHOWN)
            amended = [
                Amended(one, replace(one.trace, tags=retagged(one.trace.tags, add, remove)))
                for one in known.values()
            ]
            await put_back(connection, amended, deltas)
            return len(known)

    async def delete(self, project: ProjectId, traces: Sequence[TraceId]) -> int:
        async with self.transaction() as (connection, deltas):
            rows = await connection.fetch(SHOWN, project, traces)
            shown = [TraceId(row[0]) for row in rows]
            return (await delete_traces(connection, deltas[project], project, shown)).traces

    async def delete_session(self, project: ProjectId, session: str) -> int:
        """Removes as many traces as the session has now, so few at once that others can go on.

        Its scores go with the last of them: until then it is there, and so are they.
        """
        async with translated():
            wanted = await self.pool.fetchval(COUNT_OF_SESSION, project, session)
        gone, is_over = 0, wanted < 0
        while not is_over:
            async with self.transaction() as (connection, deltas):
                rows = await connection.fetch(OF_SESSION, project, session, CHUNK_SPANS, CHUNK)
                some = [TraceId(row[0]) for row in rows]
                went = await delete_traces(connection, deltas[project], project, some, session)
                gone += went.traces
                if is_over := gone >= wanted or not some:
                    await delete_session_scores(connection, project, [session])
        return gone
