"""The writer of traces: many requests, one transaction, an answer after the COMMIT.

An INSERT that skips what exists tells new traces from known ones. The spans of new traces can
meet nothing and are copied in. Known traces are locked, merged by the domain's own rule, and
written back: no rule of merging is told a second time in SQL. Figures: docs/adr/0004.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from asyncpg import Record

from adapters.postgres.engine import OUT_OF_REACH, UNSTORABLE, Connection, Pool
from adapters.postgres.rows import (
    SPAN_COLUMNS,
    TRACE_COLUMNS,
    span_of,
    span_row,
    totals_of,
    trace_of,
    trace_row,
)
from application.tracing.ports import PriceBook
from domain.errors import FieldError, Invalid, NotFound, Unavailable
from domain.ids import ProjectId, SpanId, TraceId
from domain.tracing.payload import JsonText
from domain.tracing.span import Span, Totals
from domain.tracing.trace import Trace, merged_spans

type Item = tuple[ProjectId, Trace]
type Key = tuple[ProjectId, TraceId]
type SpanKey = tuple[ProjectId, TraceId, SpanId]

PAYLOAD_COLUMNS: Final = ("project_id", "trace_id", "input", "output")
UNSTORABLE_RULE: Final = "can't be stored: nested too deep"
SURELY_STORABLE: Final = 1_000  # levels that every Postgres takes with its default stack
ROUNDS_MAX: Final = 3  # a trace may be deleted between two statements, hardly three times in a row

# One array a column: as many parameters as columns, however many traces.
_COLUMNS: Final = ", ".join(TRACE_COLUMNS)
_UNNESTED: Final = f"""
INSERT INTO traces ({_COLUMNS})
SELECT p, t, n, sn, s, sa, ea, si, ui, e, r, g::text[], m, sc, ec, pt, ct, tc
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[],
            $7::timestamptz[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[],
            $13::json[], $14::int[], $15::int[], $16::numeric[], $17::numeric[], $18::numeric[])
     AS u(p, t, n, sn, s, sa, ea, si, ui, e, r, g, m, sc, ec, pt, ct, tc)
"""
# Waits for another writer's uncommitted row of the same key, and then skips it.
INSERT_NEW: Final = f"{_UNNESTED} ON CONFLICT DO NOTHING RETURNING project_id, trace_id"
# Only for rows that this transaction has locked, so that nothing is lost between.
WRITE_BACK: Final = (
    f"{_UNNESTED} ON CONFLICT (project_id, trace_id) DO UPDATE SET updated_at = now(), "
    + ", ".join(f"{column} = excluded.{column}" for column in TRACE_COLUMNS[2:])
)
# In the order of the key, as every writer does: they wait for each other and never in a circle.
LOCK_KNOWN: Final = f"""
SELECT {", ".join(f"traces.{column}" for column in TRACE_COLUMNS)}
FROM traces JOIN unnest($1::uuid[], $2::uuid[]) AS u(p, t)
  ON traces.project_id = u.p AND traces.trace_id = u.t
ORDER BY traces.project_id, traces.trace_id
FOR UPDATE OF traces
"""
# Payloads of a known trace need no reading: what is sent replaces, what isn't stays. Gives back
# the traces whose payloads are now others than before.
PUT_PAYLOADS: Final = """
INSERT INTO trace_payloads (project_id, trace_id, input, output)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::json[], $4::json[])
ON CONFLICT (project_id, trace_id) DO UPDATE SET
  input = coalesce(excluded.input, trace_payloads.input),
  output = coalesce(excluded.output, trace_payloads.output)
WHERE coalesce(excluded.input, trace_payloads.input)::text
      IS DISTINCT FROM trace_payloads.input::text
   OR coalesce(excluded.output, trace_payloads.output)::text
      IS DISTINCT FROM trace_payloads.output::text
RETURNING project_id, trace_id
"""
_MENTIONED: Final = """
spans.project_id = u.p AND spans.trace_id = u.t AND spans.span_id = u.s
"""
READ_SPANS: Final = f"""
SELECT {", ".join(f"spans.{column}" for column in SPAN_COLUMNS)}
FROM spans JOIN unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS u(p, t, s) ON {_MENTIONED}
"""
REMOVE_SPANS: Final = f"""
DELETE FROM spans USING unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS u(p, t, s) WHERE {_MENTIONED}
"""


def is_passing(error: Exception) -> bool:
    """Whether another try may succeed: the moment was wrong, not the value."""
    return isinstance(error, (*OUT_OF_REACH, Unavailable)) and not isinstance(error, UNSTORABLE)


@dataclass(frozen=True, slots=True)
class TraceWriter:
    """Stores batches of traces."""

    pool: Pool
    prices: PriceBook

    async def write(self, items: Sequence[Item]) -> None:
        """Merges each item into what is stored. Where it raises, some may be stored all the same.

        Nearly always one transaction. What met a row that was just being deleted goes into
        another: a later round must not wait for a key while it holds greater ones.
        """
        incoming = _by_key(items)
        for _ in range(ROUNDS_MAX):
            async with self.pool.acquire() as connection, connection.transaction():
                incoming = await self._store(connection, incoming)
            if not incoming:
                return
        raise Unavailable("This trace is being deleted; try again")

    async def add_spans(self, project: ProjectId, trace: TraceId, spans: Sequence[Span]) -> None:
        """Merges spans into one known trace. Raises NotFound where there is none."""
        async with self.pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(LOCK_KNOWN, [project], [trace])
            if not rows:
                raise NotFound("Trace not found")
            spans_only = {(project, trace): tuple(spans)}
            await self._amend(connection, rows, spans_only, {})

    async def _store(self, connection: Connection, incoming: dict[Key, Trace]) -> dict[Key, Trace]:
        # Returns what met a row that was gone again when it was to be locked.
        settled = [(key, trace.settled(self.prices.price)) for key, trace in incoming.items()]
        rows = [trace_row(key[0], trace, Totals.of(trace.spans)) for key, trace in settled]
        made = await connection.fetch(INSERT_NEW, *_columns(rows))
        new = {(row[0], row[1]) for row in made} if len(made) < len(rows) else incoming.keys()
        fresh = [(key, trace) for key, trace in settled if key in new]
        if payloads := _payload_rows(fresh):
            await connection.copy_records_to_table(
                "trace_payloads", records=payloads, columns=PAYLOAD_COLUMNS
            )
        await _copy_spans(
            connection, [span_row(*key, span) for key, trace in fresh for span in trace.spans]
        )
        if len(fresh) == len(settled):
            return {}
        known = {key: trace for key, trace in incoming.items() if key not in new}
        locked = await connection.fetch(LOCK_KNOWN, *_columns(known))
        found = {(row["project_id"], row["trace_id"]) for row in locked}
        here = {key: trace for key, trace in known.items() if key in found}
        spans = {key: trace.spans for key, trace in here.items()}
        await self._amend(connection, locked, spans, here)
        return {key: trace for key, trace in known.items() if key not in found}

    async def _amend(
        self,
        connection: Connection,
        locked: Sequence[Record],
        spans: Mapping[Key, Sequence[Span]],
        reports: Mapping[Key, Trace],
    ) -> None:
        """Merges spans, and reports of the traces themselves, into rows that are locked here."""
        stored = await _stored_spans(connection, spans)
        renewed: set[Key] = set()
        if payloads := _payload_rows(reports.items()):
            rows = await connection.fetch(PUT_PAYLOADS, *_columns(payloads))
            renewed = {(row[0], row[1]) for row in rows}
        traces: list[tuple[object, ...]] = []
        changed: dict[SpanKey, Span] = {}
        for row in locked:
            key = (row["project_id"], row["trace_id"])
            known = merged = trace_of(row)
            if (report := reports.get(key)) is not None:
                merged = known.merged(replace(report, input=None, output=None, spans=()))
            changes = self._changes(key, spans[key], stored)
            if changes or merged != known or key in renewed:
                before = [stored[one] for one in changes if one in stored]
                totals = totals_of(row) - Totals.of(before) + Totals.of(changes.values())
                traces.append(trace_row(key[0], merged, totals))
                changed |= changes
        if replaced := [key for key in changed if key in stored]:
            await connection.execute(REMOVE_SPANS, *_columns(replaced))
        await _copy_spans(connection, [span_row(p, t, span) for (p, t, _), span in changed.items()])
        if traces:
            await connection.execute(WRITE_BACK, *_columns(traces))

    def _changes(
        self, key: Key, spans: Sequence[Span], stored: Mapping[SpanKey, Span]
    ) -> dict[SpanKey, Span]:
        """The spans that are new, or no longer what is stored of them."""
        changes: dict[SpanKey, Span] = {}
        for span in merged_spans(spans):
            old = stored.get((*key, span.id))
            new = (span if old is None else old.merged(span)).settled(self.prices.price)
            if new != old:
                changes[*key, span.id] = new
        return changes

    async def unstorable(self, owners: Sequence[tuple[str, Trace | Span]]) -> Invalid:
        """Which values Postgres refuses, found by asking it for each; `owners` by their path.

        For the rare item that passed every check before and still can't be stored.
        """
        errors: list[FieldError] = []
        async with self.pool.acquire() as connection:
            for path, owner in owners:
                for name, text in _suspects(owner):
                    try:
                        await connection.execute("SELECT $1::json", text)
                    except UNSTORABLE:
                        errors.append(FieldError(path + name, UNSTORABLE_RULE))
        return Invalid.fields(errors or [FieldError("", UNSTORABLE_RULE)])


async def _stored_spans(
    connection: Connection, spans: Mapping[Key, Sequence[Span]]
) -> dict[SpanKey, Span]:
    mentioned = [(*key, span.id) for key, some in spans.items() for span in some]
    if not mentioned:
        return {}
    rows = await connection.fetch(READ_SPANS, *_columns(mentioned))
    return {(row["project_id"], row["trace_id"], row["span_id"]): span_of(row) for row in rows}


async def _copy_spans(connection: Connection, rows: Sequence[tuple[object, ...]]) -> None:
    if rows:
        await connection.copy_records_to_table("spans", records=rows, columns=SPAN_COLUMNS)


def _by_key(items: Sequence[Item]) -> dict[Key, Trace]:
    # Postgres refuses to write a row twice in one statement: what comes twice is merged. Sorted,
    # so that two writers lock in one order.
    found: dict[Key, Trace] = {}
    for project, trace in items:
        known = found.get((project, trace.id))
        found[project, trace.id] = trace if known is None else known.merged(trace)
    return dict(sorted(found.items()))


def _columns(rows: Iterable[Sequence[object]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _payload_rows(traces: Iterable[tuple[Key, Trace]]) -> list[tuple[object, ...]]:
    return [
        (*key, trace.input, trace.output)
        for key, trace in traces
        if trace.input is not None or trace.output is not None
    ]


def _suspects(owner: Trace | Span) -> Iterable[tuple[str, JsonText]]:
    # Nothing but depth can be wrong with JSON here, and what has few brackets isn't deep.
    values: list[tuple[str, JsonText | None]] = [
        ("input", owner.input),
        ("output", owner.output),
        ("metadata", owner.metadata),
    ]
    if isinstance(owner, Span):
        values += [
            ("token_usage", owner.token_usage),
            ("model_parameters", owner.model_parameters),
        ]
    return (
        (name, text)
        for name, text in values
        if text is not None and text.count(b"[") + text.count(b"{") > SURELY_STORABLE
    )
