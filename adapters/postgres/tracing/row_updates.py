"""Stored traces that become others: locked, changed by the domain's rules, and written back."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from asyncpg import Record

from adapters.postgres.database.columns import arrays
from adapters.postgres.database.pool import Connection
from adapters.postgres.tracing.erasure_guard import Owned, check_lost
from adapters.postgres.tracing.facets import Counted
from adapters.postgres.tracing.rollup_deltas import ByProject
from adapters.postgres.tracing.trace_rows import (
    PAYLOADS,
    SPANS,
    TRACES,
    payload_row,
    span_of,
    span_row,
    totals_of,
    trace_of,
    trace_row,
)
from domain.ids import ProjectId, SpanId, TraceId
from domain.tracing.erasure import DataSubject, data_subjects_of
from domain.tracing.span import Span, Totals
from domain.tracing.trace import Trace, merged_spans, models_of
from domain.tracing.usage import Pricing

type Key = tuple[ProjectId, TraceId]

# One array a column: as many parameters as columns, however many traces.
INSERT_TRACES: Final = TRACES.insert_from("sent")
# Only for rows that this transaction has locked, so that nothing is lost between.
WRITE_BACK: Final = f"""
{INSERT_TRACES}
ON CONFLICT (project_id, trace_id) DO UPDATE SET updated_at = now(), {TRACES.overwrite()}
"""
# In the order of the key, as every writer does: they wait for each other and never in a circle.
_LOCK: Final = f"""
SELECT {TRACES.select("traces")}
FROM {{traces}} AS traces JOIN {TRACES.unnest_keys("wanted")} ON {TRACES.on_key("wanted")}
WHERE NOT EXISTS (SELECT FROM removals WHERE removals.project_id = wanted.project_id)
ORDER BY traces.project_id, traces.trace_id
FOR UPDATE OF traces
"""
LOCK_KNOWN: Final = _LOCK.format(traces="traces")
# Of what is being erased nothing is changed by its id, as if it weren't there.
LOCK_SHOWN: Final = _LOCK.format(traces="veiled.traces")
MENTIONED_SPANS: Final = f"""
SELECT {SPANS.select("spans")}
FROM spans JOIN {SPANS.unnest_keys("wanted")} ON {SPANS.on_key("wanted")}
"""
REMOVE_SPANS: Final = f"""
DELETE FROM spans USING {SPANS.unnest_keys("replaced")} WHERE {SPANS.on_key("replaced")}
"""
READ_MODELS: Final = f"""
SELECT wanted.project_id, wanted.trace_id, array_agg(DISTINCT spans.model COLLATE "C")
FROM {TRACES.unnest_keys("wanted")}
JOIN spans ON spans.project_id = wanted.project_id AND spans.trace_id = wanted.trace_id
  AND spans.model IS NOT NULL
GROUP BY wanted.project_id, wanted.trace_id
"""

# Payloads of a known trace need no reading: what is sent replaces, what isn't stays. Gives back
# the traces whose payloads are now others than before.
_PAYLOADS: Final = [one.name for one in PAYLOADS.columns]
PUT_PAYLOADS: Final = f"""
{PAYLOADS.insert_from("sent")}
ON CONFLICT (project_id, trace_id) DO UPDATE SET
  {", ".join(f"{one} = coalesce(excluded.{one}, trace_payloads.{one})" for one in _PAYLOADS)}
WHERE {
    " OR ".join(
        f"coalesce(excluded.{one}, trace_payloads.{one})::text"
        f" IS DISTINCT FROM trace_payloads.{one}::text"
        for one in _PAYLOADS
    )
}
RETURNING project_id, trace_id
"""


@dataclass(frozen=True, slots=True)
class Amended:
    """A trace that is locked here, and what it becomes.

    `spans` are those that are new or no longer what is stored of them; `stored` are the stored
    ones of them. `is_renewed` where only its payloads are others than before.
    """

    before: Counted
    merged: Trace
    spans: Mapping[SpanId, Span] = field(default_factory=dict)
    stored: Mapping[SpanId, Span] = field(default_factory=dict)
    is_renewed: bool = False

    @property
    def key(self) -> Key:
        return (self.before.project, self.before.trace.id)

    @property
    def replaced(self) -> list[Span]:
        return [self.stored[one] for one in self.spans if one in self.stored]

    @property
    def lost(self) -> set[DataSubject]:
        """Whose trace it is no longer."""
        return data_subjects_of(self.before.trace) - data_subjects_of(self.merged)

    @property
    def loses_a_model(self) -> bool:
        return any(old.model not in {None, self.spans[old.id].model} for old in self.replaced)


def counted(row: Record) -> Counted:
    """What the roll-ups count of a row of TRACES."""
    return Counted(row["project_id"], trace_of(row), totals_of(row), tuple(row["models"]))


async def locked(
    connection: Connection, keys: Collection[Key], sql: str = LOCK_KNOWN
) -> dict[Key, Counted]:
    """Those of the traces that are there, or are shown, locked until the transaction ends."""
    rows = await connection.fetch(sql, *arrays(keys)) if keys else []
    return {(row["project_id"], row["trace_id"]): counted(row) for row in rows}


async def stored_spans(
    connection: Connection, mentioned: Sequence[tuple[ProjectId, TraceId, SpanId]]
) -> dict[Key, dict[SpanId, Span]]:
    """Those of the spans that are there, by trace."""
    found: dict[Key, dict[SpanId, Span]] = {}
    if mentioned:
        for row in await connection.fetch(MENTIONED_SPANS, *arrays(mentioned)):
            key = (row["project_id"], row["trace_id"])
            found.setdefault(key, {})[row["span_id"]] = span_of(row)
    return found


async def copy_spans(connection: Connection, rows: Sequence[tuple[object, ...]]) -> None:
    if rows:
        await connection.copy_records_to_table("spans", records=rows, columns=SPANS.names)


async def merge(
    connection: Connection,
    pricing: Mapping[ProjectId, Pricing],
    known: Mapping[Key, Counted],
    spans: Mapping[Key, Sequence[Span]],
    *,
    reports: Mapping[Key, Trace],
    deltas: ByProject,
    changed_hands: Sequence[Owned] = (),
) -> None:
    """Merges spans, and reports of the traces themselves, into traces that are locked here.

    `changed_hands` as in `put_back`.
    """
    stored = await stored_spans(
        connection, [(*key, span.id) for key, some in spans.items() for span in some]
    )
    renewed: set[Key] = set()
    if payloads := payload_rows(reports.items()):
        rows = await connection.fetch(PUT_PAYLOADS, *arrays(payloads))
        renewed = {(row[0], row[1]) for row in rows}
    amended = []
    for key, before in known.items():
        merged, old = before.trace, stored.get(key, {})
        if (report := reports.get(key)) is not None:
            merged = merged.merged(replace(report, input=None, output=None, spans=()))
        changes = _changes(spans[key], old, pricing[key[0]])
        amended.append(Amended(before, merged, changes, old, key in renewed))
    await put_back(connection, amended, deltas, changed_hands)


def _changes(
    spans: Sequence[Span], stored: Mapping[SpanId, Span], pricing: Pricing
) -> dict[SpanId, Span]:
    """The spans that are new, or no longer what is stored of them."""
    changes: dict[SpanId, Span] = {}
    for span in merged_spans(spans):
        old = stored.get(span.id)
        new = (span if old is None else old.merged(span)).settled(pricing)
        if new != old:
            changes[span.id] = new
    return changes


def payload_rows(traces: Iterable[tuple[Key, Trace]]) -> list[tuple[object, ...]]:
    """Of those that have a payload: project, id, input, output."""
    return [
        payload_row(*key, trace)
        for key, trace in traces
        if trace.input is not None or trace.output is not None
    ]


async def put_back(
    connection: Connection,
    amended: Iterable[Amended],
    deltas: ByProject,
    changed_hands: Sequence[Owned] = (),
) -> None:
    """Writes what changed, and notes it in `deltas`.

    Raises Invalid where a trace is taken from somebody who is being erased, or where one of those
    is between whom traces `changed_hands` before.
    """
    changed = [
        one for one in amended if one.spans or one.is_renewed or one.merged != one.before.trace
    ]
    lost = [(one.key[0], owner) for one in changed for owner in one.lost]
    await check_lost(connection, [*changed_hands, *lost])
    if replaced := [(*one.key, span.id) for one in changed for span in one.replaced]:
        await connection.execute(REMOVE_SPANS, *arrays(replaced))
    await copy_spans(
        connection, [span_row(*one.key, span) for one in changed for span in one.spans.values()]
    )
    models = await _models(connection, [one for one in changed if one.loses_a_model])
    rows = []
    for one in changed:
        before, replaced_spans = one.before, one.replaced
        after = Counted(
            before.project,
            one.merged,
            before.totals
            - Totals.from_spans(replaced_spans)
            + Totals.from_spans(one.spans.values()),
            models.get(one.key, ())
            if one.loses_a_model
            else tuple(sorted({*before.models, *models_of(one.spans.values())})),
        )
        of_project = deltas[before.project]
        of_project.change(before, after)
        of_project.add_spans(replaced_spans, -1)
        of_project.add_spans(one.spans.values())
        rows.append(trace_row(after))
    if rows:
        await connection.execute(WRITE_BACK, *arrays(rows))


async def _models(connection: Connection, amended: Sequence[Amended]) -> dict[Key, tuple[str, ...]]:
    if not amended:
        return {}
    rows = await connection.fetch(READ_MODELS, *arrays(one.key for one in amended))
    return {(row[0], row[1]): tuple(row[2]) for row in rows}
