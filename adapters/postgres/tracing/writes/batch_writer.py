"""Writes batches of traces: many requests in one transaction, answered after the COMMIT.

An INSERT that skips existing rows separates new traces from known ones. Spans of new traces cannot
conflict and are copied in. Known traces are locked, merged by the rule of the domain, and written
back, so that SQL repeats no merge rule. Figures: docs/adr/0004.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Final
from uuid import UUID

from asyncpg import LockNotAvailableError

from adapters.postgres.database.pool import (
    TRANSIENT_ERRORS,
    UNSTORABLE_ERRORS,
    WRITE_TIMEOUT_S,
    Connection,
    Pool,
    Unstorable,
    is_distributed,
    is_lost_worker,
)
from adapters.postgres.database.removed_projects import (
    OrganizationMoving,
    ProjectRemoved,
    check_not_removed,
)
from adapters.postgres.database.statements.columns import arrays
from adapters.postgres.database.tenants import BEGIN_PLANNED, within
from adapters.postgres.tracing.payloads.payload_text import (
    COMPRESSED_ON_LOOP_MAX,
    NO_PAYLOADS,
    PAYLOADS,
    VALUE_LEVELS_MAX,
    DamagedText,
    Head,
    NewText,
    PayloadRow,
    TraceKey,
    add_head,
    check_levels,
    payload_rows,
)
from adapters.postgres.tracing.payloads.text_references import (
    NO_REFERENCES,
    KnownTexts,
    References,
    TextsRemoved,
)
from adapters.postgres.tracing.rollups import rollups
from adapters.postgres.tracing.rollups.facets import CountedTrace, terms_of_spans
from adapters.postgres.tracing.rollups.rollup_deltas import ProjectDeltas, new_deltas
from adapters.postgres.tracing.trace_rows import TRACES, span_row, trace_row
from adapters.postgres.tracing.writes.erasure_guard import ProjectSubject, check_not_erased
from adapters.postgres.tracing.writes.row_updates import (
    QUEUE_FOR_SEARCH,
    insert_spans,
    lock_traces,
    merge_into_stored,
)
from adapters.pricing.price_cache import ProjectPriceCache
from application.concurrency import compute
from application.privacy.ports import trace_was_erased
from application.tracing.workload import traces_take_long
from domain.errors import FieldError, Invalid, Unavailable
from domain.ids import ProjectId, TraceId
from domain.privacy.erasure import data_subjects_of
from domain.tracing.payloads.payload import JsonText
from domain.tracing.span import Span, Totals
from domain.tracing.trace import Trace, merged_traces, without_content
from domain.tracing.usage import Pricing

type Item = tuple[ProjectId, Trace]

UNSTORABLE_RULE: Final = f"can't be stored: nested deeper than {VALUE_LEVELS_MAX:,} levels"
ROUNDS_MAX: Final = (
    3  # a trace may be deleted between two statements, but hardly three times in a row
)

# A subquery instead of a join, for which the planner may scan all recently erased traces.
NOT_ERASED: Final = """
(SELECT erased_at FROM erased_traces AS erased
 WHERE erased.project_id = sent.project_id AND erased.trace_id = sent.trace_id) IS NULL
"""


def _select_payloads(first: int) -> str:
    """Selects the payloads to insert. A worker joins their blocks if `written_at` is set.

    The parameter after them has the traces with long texts that aren't shared.
    """
    waiting_at = first + len(PAYLOADS.names)
    return f"""
  SELECT {PAYLOADS.values("sent")},
    CASE WHEN sent.trace_id = ANY(${waiting_at}::uuid[])
           OR current_setting('pandaprobe.payload_store', true) = 'on' THEN now() END
  FROM {PAYLOADS.unnest("sent", first=first)}
"""


_INSERT_PAYLOADS: Final = f"INSERT INTO trace_payloads ({PAYLOADS.select()}, written_at)"
# Waits for an uncommitted row of another writer with the same key, and then skips it. Inserts the
# payloads of new traces too. Stores nothing for removed projects and erased traces. Citus takes the
# conditions in a part of their own only, and copies rows past a policy without RETURNING.
INSERT_NEW_TRACES: Final = f"""
WITH allowed AS MATERIALIZED (
  {TRACES.select_from("sent")}
  WHERE NOT EXISTS (SELECT 1 FROM removals WHERE removals.project_id = sent.project_id)
    AND {NOT_ERASED}
), new AS (
  INSERT INTO traces ({TRACES.select()}) SELECT {TRACES.select()} FROM allowed
  ON CONFLICT DO NOTHING RETURNING project_id, trace_id
), payloads AS (
  {_INSERT_PAYLOADS} {_select_payloads(len(TRACES.names) + 1)}
  JOIN new ON new.project_id = sent.project_id AND new.trace_id = sent.trace_id
  RETURNING 1
), queued AS (
  INSERT INTO search_queue (project_id, trace_id) SELECT project_id, trace_id FROM new
  RETURNING 1
)
SELECT project_id, trace_id FROM new
"""

# The same in four statements. Citus takes apart a WITH that inserts: it sends the rows of each part
# to every worker, even to those without the tables, and fails if one of them is down.
SELECT_STORABLE: Final = f"""
SELECT sent.project_id, sent.trace_id FROM {TRACES.unnest_keys("sent")}
WHERE NOT EXISTS (SELECT 1 FROM removals WHERE removals.project_id = sent.project_id)
  AND {NOT_ERASED}
"""
INSERT_TRACES: Final = f"""
{TRACES.insert_from("sent")} ON CONFLICT DO NOTHING RETURNING project_id, trace_id
"""
INSERT_PAYLOADS: Final = f"{_INSERT_PAYLOADS} {_select_payloads(1)} RETURNING 1"

HAS_ERASED_TRACE: Final = f"""
SELECT NOT bool_and({NOT_ERASED}) FROM {TRACES.unnest_keys("sent")}
"""
ITEM_ERRORS: Final = (
    *(*UNSTORABLE_ERRORS, LockNotAvailableError, DamagedText),
    *(ProjectRemoved, OrganizationMoving),
)


def is_transient(error: Exception) -> bool:
    """Whether the failure is transient and caused by no single trace.

    A lock timeout blames the trace whose lock was not available, so that other traces do not wait
    for it.
    """
    is_passing = isinstance(error, (*TRANSIENT_ERRORS, Unavailable)) or is_lost_worker(error)
    return is_passing and not isinstance(error, ITEM_ERRORS)


@dataclass(frozen=True, slots=True)
class TraceWriter:
    """Stores batches of traces."""

    pool: Pool
    prices: ProjectPriceCache
    texts: KnownTexts = field(default_factory=KnownTexts)

    async def write(self, items: Sequence[Item]) -> None:
        """Merges each item into the stored traces. If it raises, some items may be stored.

        Usually takes one transaction. Traces that were being deleted at that moment go into another
        transaction, because a later round must not wait for a key while it holds greater ones.
        """
        is_long = traces_take_long(trace for _, trace in items)
        incoming, changed_hands = await compute(_merge_by_key, items, is_long=is_long)
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            # Before the transaction: code that holds a connection must not wait for a second one.
            spans = (span for trace in incoming.values() for span in trace.spans)
            projects = {project for project, _ in incoming}
            pricing = await self.prices.get(projects, spans)
            for _ in range(ROUNDS_MAX):
                ready = await compute(_settle_all, incoming, pricing, is_long=is_long)
                ready = await self._with_payloads(ready)
                try:
                    async with within(self.pool, projects).transaction(BEGIN_PLANNED) as connection:
                        incoming = await self._store(
                            connection, incoming, ready, pricing, changed_hands, is_long=is_long
                        )
                        if incoming:
                            await check_storable(connection, incoming)
                except TextsRemoved as error:
                    self.texts.forget(error.keys)
                    continue
                if not incoming:
                    return
        raise Unavailable("This trace is being deleted; try again")

    async def _with_payloads(self, ready: "SettledBatch") -> "SettledBatch":
        references = await self.texts.find(self.pool, {one.key: one.text for one in ready.traces})
        is_large = ready.text_bytes > COMPRESSED_ON_LOOP_MAX
        payloads = await compute(ready.payload_rows, references, is_long=is_large)
        return replace(ready, payloads=payloads, references=references)

    async def _store(
        self,
        connection: Connection,
        incoming: dict[TraceKey, Trace],
        ready: "SettledBatch",
        pricing: Mapping[ProjectId, Pricing],
        changed_hands: Sequence[ProjectSubject],
        *,
        is_long: bool,
    ) -> dict[TraceKey, Trace]:
        # Returns the traces whose rows were deleted before they could be locked.
        settled = ready.traces
        made = await insert_new_traces(
            connection, ready.rows, ready.payloads, ready.references.waiting
        )
        new = made if len(made) < len(settled) else incoming.keys()
        await ready.references.note(connection, new)
        fresh = [one for one in settled if one.key in new]
        rows, deltas = await compute(_count_new, fresh, is_long=is_long)
        await insert_spans(connection, rows)
        gone = dict[TraceKey, Trace]()
        if len(fresh) < len(settled):
            known = {key: trace for key, trace in incoming.items() if key not in new}
            here = await lock_traces(connection, known)
            gone = {key: trace for key, trace in known.items() if key not in here}
            reports = {key: known[key] for key in here}
            spans = {key: trace.spans for key, trace in reports.items()}
            await merge_into_stored(
                connection, pricing, here, spans,
                reports=reports, deltas=deltas, changed_hands=changed_hands,
            )  # fmt: skip
        else:
            await check_not_erased(connection, changed_hands)
        await rollups.write(connection, deltas)
        return gone


@dataclass(frozen=True, slots=True)
class SettledBatch:
    """The stored form of a batch: the traces, and the arrays of their columns and payloads."""

    traces: Sequence["SettledTrace"]
    rows: Sequence[Sequence[object]]
    payloads: Sequence[Sequence[object]] = NO_PAYLOADS
    references: References = NO_REFERENCES

    @property
    def text_bytes(self) -> int:
        return sum(one.text.size for one in self.traces)

    def payload_rows(self, references: References = NO_REFERENCES) -> Sequence[Sequence[object]]:
        """The arrays of the columns of PAYLOADS. Raises Unstorable."""
        texts = references.texts
        rows = (row for one in self.traces for row in one.payload_rows(texts.get(one.key)))
        return arrays(rows) or NO_PAYLOADS


@dataclass(frozen=True, slots=True)
class SettledTrace:
    """A trace in its stored form, as if it were new. `places` are those of the values of spans."""

    counted: CountedTrace
    text: NewText
    head: Head
    places: Sequence[int | None]

    @property
    def key(self) -> TraceKey:
        return (self.counted.project, self.counted.trace.id)

    @classmethod
    def from_trace(cls, counted: CountedTrace, trace: Trace) -> "SettledTrace":
        """`trace` has its payloads and spans."""
        text = NewText()
        head = add_head(text, trace.input, trace.output)
        return cls(counted, text, head, [text.add_span(span) for span in trace.spans])

    def payload_rows(self, shared: Mapping[UUID, bytes] | None = None) -> list[PayloadRow]:
        return payload_rows(self.key, self.text.blocks(shared=shared), self.head)

    def span_rows(self) -> list[tuple[object, ...]]:
        spans = zip(self.places, self.counted.trace.spans, strict=True)
        return [span_row(*self.key, *one) for one in spans]


def _settle_all(
    incoming: Mapping[TraceKey, Trace], pricing: Mapping[ProjectId, Pricing]
) -> SettledBatch:
    settled = [
        SettledTrace.from_trace(
            CountedTrace(
                key[0],
                whole,
                Totals.from_spans(whole.spans),
                whole.models,
                terms_of_spans(key[0], whole.spans),
            ),
            whole,
        )
        for key, trace in incoming.items()
        for whole in (trace.settled(pricing[key[0]]),)
    ]
    return SettledBatch(settled, arrays(trace_row(one.counted) for one in settled))


def _count_new(
    fresh: Sequence[SettledTrace],
) -> tuple[list[tuple[object, ...]], ProjectDeltas]:
    """The rows of the spans of new traces, and what the traces add to the roll-ups."""
    rows = [row for one in fresh for row in one.span_rows()]
    deltas = new_deltas()
    for one in (settled.counted for settled in fresh):
        project_deltas = deltas[one.project]
        project_deltas.add_trace(one)
        project_deltas.add_spans(one.trace, one.trace.spans)
    return rows, deltas


async def insert_new_traces(
    connection: Connection,
    rows: Sequence[Sequence[object]],
    payloads: Sequence[Sequence[object]] = NO_PAYLOADS,
    waiting: Collection[TraceId] = (),
) -> set[TraceKey]:
    """Inserts those of the traces that are new, with their payloads; returns their keys.

    Both are arrays of columns: of TRACES and of PAYLOADS. `waiting` are those with long
    texts that aren't shared. Raises Invalid if one of them was erased meanwhile.
    """
    new = await _insert_new_traces(connection, rows, payloads, waiting)
    # An erasure that was deleting one of them may have ended while the statement waited for it.
    if new and await connection.fetchval(HAS_ERASED_TRACE, *arrays(sorted(new))):
        raise trace_was_erased()
    return new


async def _insert_new_traces(
    connection: Connection,
    rows: Sequence[Sequence[object]],
    payloads: Sequence[Sequence[object]],
    waiting: Collection[TraceId],
) -> set[TraceKey]:
    if not is_distributed(connection):
        made = await connection.fetch(INSERT_NEW_TRACES, *rows, *payloads, waiting)
        return {(row[0], row[1]) for row in made}
    storable = {tuple(row) for row in await connection.fetch(SELECT_STORABLE, *rows[:2])}
    if not (sent := _rows_with_keys(rows, storable)):
        return set()
    made = await connection.fetch(INSERT_TRACES, *arrays(sent))
    if not (new := {(row[0], row[1]) for row in made}):
        return new
    if blocks := _rows_with_keys(payloads, new):
        await connection.fetch(INSERT_PAYLOADS, *arrays(blocks), waiting)
    await connection.fetch(QUEUE_FOR_SEARCH, *arrays(sorted(new)))
    return new


def _rows_with_keys(
    columns: Sequence[Sequence[object]], keys: Collection[tuple[object, ...]]
) -> list[tuple[object, ...]]:
    """The rows whose project and trace, the first two columns, are one of `keys`."""
    return [row for row in zip(*columns, strict=True) if row[:2] in keys]


async def check_storable(connection: Connection, keys: Iterable[TraceKey]) -> None:
    """Raises ProjectRemoved or OrganizationMoving if that is why rows are missing.

    Raises Invalid for erased traces.
    """
    projects, traces = map(list, zip(*keys, strict=True))
    await check_not_removed(connection, *projects)
    if await connection.fetchval(HAS_ERASED_TRACE, projects, traces):
        raise trace_was_erased()


def find_unstorable(suspects: Iterable[tuple[str, JsonText]]) -> Invalid:
    """Finds the values that can't be stored, and returns their paths.

    For the rare item that passes every other check.
    """
    errors: list[FieldError] = []
    for path, text in suspects:
        try:
            check_levels(text)
        except Unstorable:
            errors.append(FieldError(path, UNSTORABLE_RULE))
    return Invalid.fields(errors or [FieldError("", UNSTORABLE_RULE)])


def _merge_by_key(items: Sequence[Item]) -> tuple[dict[TraceKey, Trace], list[ProjectSubject]]:
    # PostgreSQL refuses to write a row twice in one statement, so items of the same trace are
    # merged. Sorted, so that all writers lock in the same order. Also returns the subjects between
    # which a trace moved within the batch: if one of them is being erased, each report has to be
    # handled separately.
    by_key: dict[TraceKey, list[Trace]] = {}
    for project, trace in items:
        by_key.setdefault((project, trace.id), []).append(trace)
    changed_hands: list[ProjectSubject] = []
    for (project, _), reports in by_key.items():
        known = without_content(reports[0]) if len(reports) > 1 else reports[0]
        for report in reports[1:]:
            merged = known.merged(without_content(report))
            before, after = data_subjects_of(known), data_subjects_of(merged)
            if before - after:
                changed_hands += [(project, owner) for owner in before ^ after]
            known = merged
    return {key: merged_traces(by_key[key]) for key in sorted(by_key)}, changed_hands


def json_values(prefix: str, owner: Trace | Span) -> Iterable[tuple[str, JsonText]]:
    """The JSON values of a trace or span, by path."""
    return (
        (prefix + field.name, text)
        for field in fields(owner)
        if isinstance(text := getattr(owner, field.name), bytes)
    )
