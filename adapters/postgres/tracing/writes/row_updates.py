"""Updates stored traces: lock, change by the rules of the domain, write back."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import batched
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import Connection, is_distributed
from adapters.postgres.database.statements.columns import arrays
from adapters.postgres.tracing.payloads.payload_text import (
    DECOMPRESSED_ON_LOOP_MAX,
    StoredText,
    TextChange,
    TraceKey,
    fetch_texts,
    list_new_payloads,
    open_changes,
    span_range,
    write_changes,
)
from adapters.postgres.tracing.rollups.facets import (
    CountedTrace,
    span_terms_among,
    terms_of_spans,
)
from adapters.postgres.tracing.rollups.rollup_deltas import ProjectDeltas
from adapters.postgres.tracing.trace_rows import (
    SPANS,
    TRACES,
    otlp_state_from_row,
    span_from_row,
    span_row,
    totals_from_row,
    trace_from_row,
    trace_row,
)
from adapters.postgres.tracing.writes.erasure_guard import ProjectSubject, check_not_erased
from adapters.postgres.tracing.writes.span_facts import decode_facts, encode_facts
from application.concurrency import compute
from application.tracing.workload import grouped_chars, takes_long
from domain.ids import ProjectId, SpanId, TraceId
from domain.privacy.erasure import DataSubject, data_subjects_of
from domain.tracing.otel.native_fields import edited_facts
from domain.tracing.otel.otlp_state import OtlpState
from domain.tracing.otel.stored_spans import without_role
from domain.tracing.payloads.payload import JsonText
from domain.tracing.span import Span, Totals
from domain.tracing.trace import Trace, merged_spans, models_of
from domain.tracing.usage import Pricing

ROWS_AT_A_TIME: Final = 2_000  # asyncpg encodes as many in 10 ms, without a turn for other tasks

# One array for each column: the number of parameters does not depend on that of traces.
INSERT_TRACES: Final = TRACES.insert_from("sent")
# Only for rows that this transaction has locked, so that no update is lost.
INSERT_SPANS: Final = f"{SPANS.insert_from('sent')} RETURNING 1"
QUEUE_FOR_SEARCH: Final = f"""
INSERT INTO search_queue (project_id, trace_id)
SELECT sent.project_id, sent.trace_id FROM {TRACES.unnest_keys("sent")} RETURNING 1
"""
_UPSERT_TRACES: Final = f"""
{INSERT_TRACES} ON CONFLICT (project_id, trace_id)
DO UPDATE SET updated_at = excluded.updated_at, {TRACES.overwrite()}
"""
UPSERT_AND_QUEUE_TRACES: Final = f"WITH queued AS ({QUEUE_FOR_SEARCH}) {_UPSERT_TRACES}"
_READ_TRACES: Final = f"""
SELECT {TRACES.select("traces")}
FROM {{traces}} AS traces JOIN {TRACES.unnest_keys("wanted")} ON {TRACES.on_key("wanted")}
WHERE NOT EXISTS (SELECT 1 FROM removals WHERE removals.project_id = wanted.project_id)
ORDER BY traces.project_id, traces.trace_id
"""
# In the order of the key, as all writers do, so that they cannot deadlock.
LOCK_TRACES: Final = _READ_TRACES.format(traces="traces") + "FOR UPDATE OF traces"
# Traces under erasure are not found, as if they did not exist.
READ_VISIBLE_TRACES: Final = _READ_TRACES.format(traces="visible_traces")
LOCK_VISIBLE_TRACES: Final = READ_VISIBLE_TRACES + "FOR UPDATE OF traces"
SELECT_SPANS_BY_KEY: Final = f"""
SELECT {SPANS.select("spans")}
FROM spans JOIN {SPANS.unnest_keys("wanted")} ON {SPANS.on_key("wanted")}
"""
# Returns the facts of OpenTelemetry spans, to which a native write adds what it changed.
DELETE_SPANS_BY_KEY: Final = f"""
WITH gone AS (
  DELETE FROM spans USING {SPANS.unnest_keys("replaced")} WHERE {SPANS.on_key("replaced")}
  RETURNING {", ".join(f"spans.{key}" for key in SPANS.key)}, spans.facts
)
SELECT * FROM gone WHERE facts IS NOT NULL
"""
UPDATE_FACTS: Final = f"""
UPDATE spans SET facts = known.facts
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::json[])
  AS known ({", ".join(SPANS.key)}, facts)
WHERE {SPANS.on_key("known")}
"""
SELECT_MODELS_OF_TRACES: Final = f"""
SELECT wanted.project_id, wanted.trace_id, array_agg(DISTINCT spans.model COLLATE "C")
FROM {TRACES.unnest_keys("wanted")}
JOIN spans ON spans.project_id = wanted.project_id AND spans.trace_id = wanted.trace_id
  AND spans.model IS NOT NULL
GROUP BY wanted.project_id, wanted.trace_id
"""


@dataclass(frozen=True, slots=True)
class TraceUpdate:
    """A locked trace, and its new state.

    `spans` are new or changed spans; `stored` are their stored versions. `payloads` are the new
    ones of the trace itself, by name. `otlp` is its new state as an OpenTelemetry trace, if that
    changes.
    """

    before: CountedTrace
    merged: Trace
    spans: Mapping[SpanId, Span] = field(default_factory=dict)
    stored: Mapping[SpanId, Span] = field(default_factory=dict)
    payloads: Mapping[str, JsonText | None] = field(default_factory=dict)
    otlp: OtlpState | None = None

    @property
    def key(self) -> TraceKey:
        return (self.before.project, self.before.trace.id)

    @property
    def changes_text(self) -> bool:
        return bool(self.spans or self.payloads)

    @property
    def replaced(self) -> list[Span]:
        return [self.stored[one] for one in self.spans if one in self.stored]

    @property
    def lost(self) -> set[DataSubject]:
        """The subjects that lose the trace."""
        return data_subjects_of(self.before.trace) - data_subjects_of(self.merged)

    @property
    def loses_a_model(self) -> bool:
        return any(old.model not in {None, self.spans[old.id].model} for old in self.replaced)


def counted_from_row(row: Record) -> CountedTrace:
    """The values that the roll-ups count, from a row of TRACES."""
    return CountedTrace(
        row["project_id"],
        trace_from_row(row),
        totals_from_row(row),
        tuple(row["models"]),
        span_terms_among(row["terms"]),
        otlp_state_from_row(row),
    )


async def lock_traces(
    connection: Connection, keys: Collection[TraceKey], sql: str = LOCK_TRACES
) -> dict[TraceKey, CountedTrace]:
    """Locks the traces that exist until the transaction ends.

    With LOCK_VISIBLE_TRACES, only visible ones.
    """
    rows = await connection.fetch(sql, *arrays(keys)) if keys else []
    return {(row["project_id"], row["trace_id"]): counted_from_row(row) for row in rows}


async def fetch_spans(
    connection: Connection, mentioned: Sequence[tuple[ProjectId, TraceId, SpanId]]
) -> dict[TraceKey, dict[SpanId, Span]]:
    """The spans that exist, by trace."""
    by_trace: dict[TraceKey, dict[SpanId, Span]] = {}
    for keys in batched(mentioned, ROWS_AT_A_TIME):
        rows = await connection.fetch(SELECT_SPANS_BY_KEY, *arrays(keys))
        ranges = (((row["project_id"], row["trace_id"]), span_range(row)) for row in rows)
        texts = await fetch_texts(connection, ranges)
        size = sum(text.size for text in texts.values())
        is_long = takes_long(len(rows), 0) or size > DECOMPRESSED_ON_LOOP_MAX
        await compute(_add_spans, by_trace, rows, texts, is_long=is_long)
    return by_trace


def _add_spans(
    by_trace: dict[TraceKey, dict[SpanId, Span]],
    rows: Sequence[Record],
    texts: Mapping[TraceKey, StoredText],
) -> None:
    for row in rows:
        key = (row["project_id"], row["trace_id"])
        by_trace.setdefault(key, {})[row["span_id"]] = span_from_row(row, texts[key])


async def insert_spans(connection: Connection, rows: Sequence[tuple[object, ...]]) -> None:
    """Inserts new spans by COPY, which takes 60 % of the CPU time of an INSERT from arrays.

    COPY needs the table below the view `spans`, and so isn't held to the scope. With Citus there is
    a policy in place of the view, which COPY can't pass.
    """
    for some in batched(rows, ROWS_AT_A_TIME):
        if is_distributed(connection):
            await connection.fetch(INSERT_SPANS, *arrays(some))
        else:
            await connection.copy_records_to_table("span_rows", records=some, columns=SPANS.names)


async def merge_into_stored(
    connection: Connection,
    pricing: Mapping[ProjectId, Pricing],
    known: Mapping[TraceKey, CountedTrace],
    spans: Mapping[TraceKey, Sequence[Span]],
    *,
    reports: Mapping[TraceKey, Trace],
    deltas: ProjectDeltas,
    changed_hands: Sequence[ProjectSubject] = (),
) -> None:
    """Merges spans, and reports of the traces themselves, into locked traces.

    `changed_hands` as in `write_back`.
    """
    stored = await fetch_spans(
        connection, [(*key, span.id) for key, some in spans.items() for span in some]
    )
    sent = {key: payloads for key, one in reports.items() if (payloads := _payloads_of(one))}
    renewed = await list_new_payloads(connection, sent)
    metadata_bytes = sum(len(before.trace.metadata) for before in known.values())
    metadata_bytes += sum(len(report.metadata) for report in reports.values())
    is_long = takes_long(sum(map(len, spans.values())), metadata_bytes)
    merge = partial(_merged_updates, known, spans, stored, reports=reports, pricing=pricing)
    updates = await compute(merge, renewed, is_long=is_long)
    await write_back(connection, updates, deltas, changed_hands)


def _merged_updates(
    known: Mapping[TraceKey, CountedTrace],
    spans: Mapping[TraceKey, Sequence[Span]],
    stored: Mapping[TraceKey, Mapping[SpanId, Span]],
    renewed: Mapping[TraceKey, Mapping[str, JsonText]],
    *,
    reports: Mapping[TraceKey, Trace],
    pricing: Mapping[ProjectId, Pricing],
) -> list[TraceUpdate]:
    updates = []
    for key, before in known.items():
        merged, otlp, old = before.trace, before.otlp, stored.get(key, {})
        if (report := reports.get(key)) is not None:
            merged = merged.merged(replace(report, input=None, output=None, spans=()))
            if otlp is not None:
                otlp = otlp.after_native_write(before.trace, merged, list(_payloads_of(report)))
        changes = _changes(spans[key], old, pricing[key[0]])
        updates.append(TraceUpdate(before, merged, changes, old, renewed.get(key, {}), otlp))
    return updates


def _payloads_of(report: Trace) -> dict[str, JsonText]:
    """The payloads that a report has, by name."""
    sent = {"input": report.input, "output": report.output}
    return {name: payload for name, payload in sent.items() if payload is not None}


def _changes(
    spans: Sequence[Span], stored: Mapping[SpanId, Span], pricing: Pricing
) -> dict[SpanId, Span]:
    """The spans that are new or differ from the stored ones."""
    changes: dict[SpanId, Span] = {}
    for span in merged_spans(spans):
        old = stored.get(span.id)
        new = (span if old is None else old.merged(span)).settled(pricing)
        if new != old:
            changes[span.id] = new
    return changes


async def write_back(
    connection: Connection,
    updates: Iterable[TraceUpdate],
    deltas: ProjectDeltas,
    changed_hands: Sequence[ProjectSubject] = (),
) -> None:
    """Writes the traces that changed, and adds the changes to `deltas`.

    Raises Invalid if a trace leaves a user or session under erasure; `changed_hands` are the
    subjects of moves within the same batch.
    """
    updates = list(updates)
    is_long = takes_long(
        sum(len(one.spans) for one in updates),
        sum(len(one.before.trace.metadata) + len(one.merged.metadata) for one in updates),
        sum(grouped_chars(one.spans.values()) for one in updates),
    )
    changed = await compute(_changed, updates, is_long=is_long)
    lost = [(one.key[0], owner) for one in changed for owner in one.lost]
    await check_not_erased(connection, [*changed_hands, *lost])
    if replaced := [(*one.key, span.id) for one in changed for span in one.replaced]:
        facts = await connection.fetch(DELETE_SPANS_BY_KEY, *arrays(replaced))
    texts = await open_changes(connection, [one.key for one in changed if one.changes_text])
    span_rows = await compute(_rows_of_spans, changed, texts, is_long=is_long)
    await insert_spans(connection, span_rows)
    await write_changes(connection, texts.values())
    if replaced and facts:
        edited = await compute(_edited_facts, changed, facts, is_long=is_long)
        await connection.execute(UPDATE_FACTS, *arrays(edited))
    losing = [one.key for one in changed if one.loses_a_model]
    models = await fetch_models(connection, losing)
    if rows := await compute(_count_changes, changed, models, deltas, is_long=is_long):
        await upsert_traces(connection, rows)


async def upsert_traces(connection: Connection, rows: Sequence[Sequence[object]]) -> None:
    """Writes rows that this transaction has locked, and queues them. `rows` as INSERT_TRACES."""
    if is_distributed(connection):  # as `insert_new_traces`
        await connection.fetch(QUEUE_FOR_SEARCH, *rows[:2])
        await connection.execute(_UPSERT_TRACES, *rows)
    else:
        await connection.execute(UPSERT_AND_QUEUE_TRACES, *rows)


def _edited_facts(
    changed: Iterable[TraceUpdate], known: Iterable[Record]
) -> list[tuple[object, ...]]:
    """The facts of replaced OpenTelemetry spans, with the fields that the write changed."""
    updates = {one.key: one for one in changed}
    rows: list[tuple[object, ...]] = []
    for project, trace, span_id, facts in known:
        update = updates[project, trace]
        before, after = update.stored[span_id], update.spans[span_id]
        edited = edited_facts(decode_facts(facts), before, after)
        rows.append((project, trace, span_id, encode_facts(edited)))
    return rows


def _changed(updates: Iterable[TraceUpdate]) -> list[TraceUpdate]:
    return [
        one
        for one in updates
        if one.spans
        or one.payloads
        or one.merged != one.before.trace
        or one.otlp not in {None, one.before.otlp}
    ]


def _rows_of_spans(
    changed: Iterable[TraceUpdate], texts: Mapping[TraceKey, TextChange]
) -> list[tuple[object, ...]]:
    """The rows of new and changed spans. Adds the values to the texts."""
    rows = []
    for one in changed:
        if not one.changes_text:
            continue
        change = texts[one.key]
        change.replaces = bool(one.replaced)
        for name, payload in one.payloads.items():
            change.set_payload(name, payload)
        for span in one.spans.values():
            # Rows have the role of a span in its column alone.
            role = span.usage_role
            stored = span if role is None else replace(without_role(span), usage_role=role)
            rows.append(span_row(*one.key, change.text.add_span(stored), stored))
    return rows


def _count_changes(
    changed: Iterable[TraceUpdate],
    models: Mapping[TraceKey, tuple[str, ...]],
    deltas: ProjectDeltas,
) -> list[list[object]]:
    """The arrays of the columns of the changed traces; adds the changes to `deltas`."""
    rows = []
    for one in changed:
        before, replaced_spans = one.before, one.replaced
        after = CountedTrace(
            before.project,
            one.merged,
            before.totals
            - Totals.from_spans(replaced_spans)
            + Totals.from_spans(one.spans.values()),
            models.get(one.key, ())
            if one.loses_a_model
            else tuple(sorted({*before.models, *models_of(one.spans.values())})),
            terms_of_spans(before.project, one.spans.values(), before.span_terms),
            one.otlp or before.otlp,
        )
        project_deltas = deltas[before.project]
        project_deltas.change_trace(before, after)
        project_deltas.remove_spans(replaced_spans)
        project_deltas.add_spans(after.trace, one.spans.values())
        rows.append(trace_row(after))
    return arrays(rows)


async def fetch_models(
    connection: Connection, keys: Sequence[TraceKey]
) -> dict[TraceKey, tuple[str, ...]]:
    """The models that the spans of traces call, sorted; traces without models are left out."""
    if not keys:
        return {}
    rows = await connection.fetch(SELECT_MODELS_OF_TRACES, *arrays(keys))
    return {(row[0], row[1]): tuple(row[2]) for row in rows}
