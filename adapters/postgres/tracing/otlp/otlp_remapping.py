"""Applies the current version of the mapping to the stored fragments of OpenTelemetry spans.

The facts of a span have the version that mapped it, so that a run that was stopped goes on where it
was: it passes over the spans that have the current one.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import batched
from typing import Final
from uuid import UUID

from adapters.postgres.database.pool import Connection, translate_errors
from adapters.postgres.database.removed_projects import not_removed
from adapters.postgres.database.statements.columns import arrays
from adapters.postgres.database.tenants import ALL_TENANTS, BEGIN_SNAPSHOT_READ, Scope, within
from adapters.postgres.tracing.otlp.fragments import fetch_outlines
from adapters.postgres.tracing.otlp.otlp_merge import (
    COMPUTED_ON_LOOP_MAX,
    REMAPPED_AT_ONCE,
    OtlpMerge,
    TakingSpan,
)
from adapters.postgres.tracing.otlp.otlp_rows import SpanRowKey
from adapters.postgres.tracing.otlp.otlp_writer import ANY_PRICED_SPAN
from adapters.postgres.tracing.payloads.payload_text import TraceKey
from adapters.postgres.tracing.rollups.rollup_deltas import ProjectDeltas, new_deltas
from adapters.postgres.tracing.writes.edits import TraceEdits
from adapters.postgres.tracing.writes.row_updates import (
    LOCK_VISIBLE_TRACES,
    READ_VISIBLE_TRACES,
    UPDATE_FACTS,
    fetch_spans,
    lock_traces,
)
from adapters.postgres.tracing.writes.span_facts import encode_facts
from application.concurrency import compute
from application.tracing.otlp.ports import (
    CHANGES_SHOWN_MAX,
    REMAPPED_SPANS_MAX,
    REMAPPED_TRACES_MAX,
    FragmentRules,
    RemappedTraces,
    TracePosition,
)
from application.tracing.workload import takes_long
from domain.ids import ProjectId, SpanId, TraceId
from domain.tracing.otel.fragments import SentSpan
from domain.tracing.otel.remapping import FieldChange, field_changes

FIRST: Final = UUID(int=0)  # no trace has this id

# Reads a bounded part of the index, however many of its traces came natively.
_SELECT_NEXT_TRACES: Final = f"""
WITH next AS MATERIALIZED (
  SELECT project_id, trace_id, otlp_stored_at IS NOT NULL AS is_otlp,
    CASE WHEN otlp_stored_at IS NULL THEN 0 ELSE span_count END AS span_count
  FROM traces
  WHERE {{scope}} AND (project_id, trace_id) > ($1, $2) AND {not_removed("traces")}
  ORDER BY project_id, trace_id LIMIT {REMAPPED_TRACES_MAX}
), counted AS (
  SELECT *, row_number() OVER upto AS place, sum(span_count) OVER upto AS spans
  FROM next WINDOW upto AS (ORDER BY project_id, trace_id)
)
SELECT project_id, trace_id, is_otlp, is_otlp AND EXISTS (
  SELECT 1 FROM spans
  WHERE spans.project_id = counted.project_id AND spans.trace_id = counted.trace_id
    AND facts IS NOT NULL AND coalesce((facts ->> 'mapping_version')::int, 0) <> $3
) AS is_old
FROM counted WHERE spans <= {REMAPPED_SPANS_MAX} OR place = 1
ORDER BY project_id, trace_id
"""
SELECT_NEXT_TRACES: Final = _SELECT_NEXT_TRACES.format(scope="true")
SELECT_NEXT_TRACES_OF_PROJECT: Final = _SELECT_NEXT_TRACES.format(scope="project_id = $1")


@dataclass(slots=True)
class Remapping:
    """Spans that are mapped again, in one transaction after another.

    `read` are the spans that were looked at, and `changed` counts those that changed by trace.
    """

    is_dry_run: bool
    read: set[SpanRowKey] = field(default_factory=set)
    changed: Counter[TraceKey] = field(default_factory=Counter)
    changes: list[FieldChange] = field(default_factory=list)

    async def run(self, merge: OtlpMerge) -> bool:
        """Maps spans of other versions; whether all of them were.

        A dry run maps all, since it holds no lock. It puts no span into `merge`.
        """
        digests = await _fetch_taken(merge)
        is_long = takes_long(sum(len(one.nodes) for one in merge.traces.values()), 0)
        old = await compute(self._old_spans, merge, digests, is_long=is_long)
        now = old if self.is_dry_run else old[:REMAPPED_SPANS_MAX]
        for number, some in enumerate(batched(now, REMAPPED_AT_ONCE)):
            if number and not self.is_dry_run:
                await merge.flush()
            data = await merge.fetch_data(some)
            keys = [(*key, span_id) for key, span_id, _ in some]
            merge.edited = await fetch_spans(merge.connection, keys)
            is_long = len(some) > COMPUTED_ON_LOOP_MAX
            only_facts = await compute(self._map, merge, data, is_long=is_long)
            if only_facts and not self.is_dry_run:
                await merge.connection.execute(UPDATE_FACTS, *arrays(only_facts))
            self.read.update(keys)
        return len(now) == len(old)

    def _old_spans(
        self, merge: OtlpMerge, digests: Mapping[SpanRowKey, Sequence[bytes]]
    ) -> list[TakingSpan]:
        return [
            (key, span_id, digests.get((*key, span_id), ()))
            for key, one in merge.traces.items()
            for span_id, node in one.nodes.items()
            if node.facts.mapping_version != merge.rules.version
            and (*key, span_id) not in self.read
        ]

    def _map(
        self, merge: OtlpMerge, data: Sequence[tuple[TraceKey, SpanId, Sequence[bytes]]]
    ) -> list[tuple[object, ...]]:
        """Returns the rows of those spans whose facts alone get the new version."""
        only_facts: list[tuple[object, ...]] = []
        for key, span_id, encoded in data:
            sent = list(map(merge.rules.decode, encoded))
            row = merge.edited.get(key, {}).get(span_id)
            if row is None or not any(isinstance(one, SentSpan) for one in sent):
                continue
            span, mapped = merge.settled(key, merge.rules.map_span(key[1], sent))
            before = (row, merge.traces[key].nodes[span_id].facts)
            changes = field_changes(*key, before, (span, mapped.facts))
            if not changes:
                only_facts.append((*key, span_id, encode_facts(mapped.facts)))
                continue
            self.changed[key] += 1
            self.changes += changes[: CHANGES_SHOWN_MAX - len(self.changes)]
            if not self.is_dry_run:
                merge.traces[key].is_touched = True
                merge.traces[key].put_span(span, mapped)
        return only_facts


async def _fetch_taken(merge: OtlpMerge) -> Mapping[SpanRowKey, Sequence[bytes]]:
    """The digests of the records that spans take, by span."""
    taking = [key for key, one in merge.traces.items() if one.otlp.takes_records]
    taken = defaultdict[SpanRowKey, list[bytes]](list)
    for key, records in (await fetch_outlines(merge.connection, taking)).items():
        for record in records:
            for span_id in record.assigned:
                taken[*key, span_id].append(record.digest)
    return taken


async def remap(
    edits: TraceEdits,
    rules: FragmentRules,
    project: ProjectId | None,
    after: TracePosition | None,
    *,
    is_dry_run: bool,
) -> RemappedTraces:
    """Maps the next spans again whose facts have another version than the rules."""
    scope: Scope = ALL_TENANTS if project is None else project
    sql = SELECT_NEXT_TRACES if project is None else SELECT_NEXT_TRACES_OF_PROJECT
    async with translate_errors():
        place = after or (project or FIRST, FIRST)
        rows = await within(edits.pool, scope).fetch(sql, *place, rules.version)
    if not rows:
        return RemappedTraces(last=None)
    old: list[TraceKey] = [(row["project_id"], row["trace_id"]) for row in rows if row["is_old"]]
    last = (ProjectId(rows[-1]["project_id"]), TraceId(rows[-1]["trace_id"]))
    traces = sum(row["is_otlp"] for row in rows)
    if not old:
        return RemappedTraces(last=last, traces=traces)
    pricing = await edits.prices.get({key[0] for key in old}, [ANY_PRICED_SPAN])
    done, is_done = Remapping(is_dry_run), False
    while not is_done:
        async with _transaction(edits, scope, is_dry_run=is_dry_run) as (connection, deltas):
            merge = OtlpMerge(connection, rules, pricing, None, keeps_phases=True)
            sql = READ_VISIBLE_TRACES if is_dry_run else LOCK_VISIBLE_TRACES
            await merge.open(await lock_traces(connection, old, sql), {})
            is_done = await done.run(merge)
            if not is_dry_run:
                await merge.finish(deltas)
    return RemappedTraces(
        last=last,
        traces=traces,
        changed_traces=len(done.changed),
        changed_spans=done.changed.total(),
        changes=done.changes,
    )


@asynccontextmanager
async def _transaction(
    edits: TraceEdits, scope: Scope, *, is_dry_run: bool
) -> AsyncIterator[tuple[Connection, ProjectDeltas]]:
    if not is_dry_run:
        async with edits.transaction(scope) as opened:
            yield opened
    else:
        pool = within(edits.pool, scope)
        async with translate_errors(), pool.transaction(BEGIN_SNAPSHOT_READ) as connection:
            yield connection, new_deltas()
