"""Rows of fragments: OpenTelemetry spans and log records as they were sent.

A fragment is known by a digest of its content, so one that is sent again is skipped by the primary
key. The data of a span repeats its values, so that `data` of spans is in the text of the trace
(`payload_text.py`). Records may come before their trace, and have theirs in the row.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import batched
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import Connection, is_distributed
from adapters.postgres.database.statements.columns import arrays
from adapters.postgres.tracing.payloads.payload_text import (
    DECOMPRESSED_ON_LOOP_MAX,
    NewText,
    Range,
    StoredText,
    TraceKey,
    fetch_texts,
)
from application.concurrency import compute
from application.tracing.otlp.ports import FragmentRules
from domain.frozen_by_types import frozen_by_types
from domain.ids import ProjectId, SpanId, TraceId
from domain.tracing.otel.claude_code import ASSIGNED_RECORDS, record_outline
from domain.tracing.otel.fragments import (
    Fragment,
    Sent,
    SentRecord,
    SentSpan,
    fragment_digest,
    otel_span_id,
)

type SpanKey = tuple[ProjectId, TraceId, str]
"""A project, a trace, and the 16 hex digits of a span; '' for records that name only a trace."""

TRACE_ONLY: Final = ""
ASSIGNED: Final = (
    "assigned"  # in place of a span: records that belong to other spans than they name
)
NO_SPANS: Final = frozenset({TRACE_ONLY, ASSIGNED})
ROWS_PER_STATEMENT: Final = 500  # sending as many takes the event loop 5 ms
BYTES_PER_STATEMENT: Final = 1 << 20  # of `data`, which the driver copies twice

# Finds the new traces that have fragments already: records that came before any span.
SELECT_WITH_FRAGMENTS: Final = """
SELECT new.project_id, new.trace_id
FROM unnest($1::uuid[], $2::uuid[]) AS new (project_id, trace_id)
WHERE EXISTS (
  SELECT 1 FROM span_fragments AS known
  WHERE known.project_id = new.project_id AND known.trace_id = new.trace_id OFFSET 0
)
"""
# A record waits if its span is in neither this request nor the database.
_INSERTED: Final = (
    "project_id, trace_id, span, digest, rank, data_at, data_bytes, data, outline, stored_at,"
    " is_waiting"
)
_SELECT_SENT: Final = """
SELECT sent.project_id, sent.trace_id, sent.span, sent.digest, sent.rank, sent.data_at,
  sent.data_bytes, sent.data, sent.outline, sent.stored_at, sent.may_wait AND NOT EXISTS (
    SELECT 1 FROM spans WHERE spans.project_id = sent.project_id
      AND spans.trace_id = sent.trace_id AND spans.span_id = sent.awaited
  ) AS is_waiting
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $5::smallint[], $6::bigint[],
            $7::int[], $8::bytea[], $9::bytea[], $10::timestamptz[], $11::boolean[], $12::uuid[])
  AS sent (project_id, trace_id, span, digest, rank, data_at, data_bytes, data, outline,
           stored_at, may_wait, awaited)
"""
INSERT_FRAGMENTS: Final = f"""
INSERT INTO span_fragments ({_INSERTED}) {_SELECT_SENT} ON CONFLICT DO NOTHING RETURNING digest
"""
# Citus takes the look-up of a span in a part of its own only, which has all data in memory twice.
INSERT_DISTRIBUTED_FRAGMENTS: Final = f"""
WITH sent AS MATERIALIZED ({_SELECT_SENT}) INSERT INTO span_fragments ({_INSERTED})
SELECT {_INSERTED} FROM sent ON CONFLICT DO NOTHING RETURNING digest
"""
COPIED_COLUMNS: Final = (
    *("project_id", "trace_id", "span", "digest", "rank", "data_at", "data_bytes", "data"),
    *("outline", "stored_at", "is_waiting"),
)
SELECT_FRAGMENTS: Final = """
SELECT known.project_id, known.trace_id, known.span, known.digest, known.is_waiting,
  known.data_at, known.data_bytes, known.data
FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS wanted (project_id, trace_id, span)
JOIN span_fragments AS known ON known.project_id = wanted.project_id
  AND known.trace_id = wanted.trace_id AND known.span = wanted.span
WHERE known.digest <> ALL($4::bytea[])
"""
END_WAITING: Final = """
UPDATE span_fragments AS known SET is_waiting = false
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[])
  AS merged (project_id, trace_id, span, digest)
WHERE known.project_id = merged.project_id AND known.trace_id = merged.trace_id
  AND known.span = merged.span AND known.digest = merged.digest
"""
# The constant `ASSIGNED` comes with each key: in a condition of its own, PostgreSQL would take it
# for rare and search all of the index for it.
SELECT_OUTLINES: Final = """
SELECT known.project_id, known.trace_id, known.digest, known.outline, known.assigned
FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS wanted (project_id, trace_id, span)
JOIN span_fragments AS known ON known.project_id = wanted.project_id
  AND known.trace_id = wanted.trace_id AND known.span = wanted.span
"""
SELECT_ASSIGNED: Final = """
SELECT known.digest, known.data
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[])
  AS wanted (project_id, trace_id, span, digest)
JOIN span_fragments AS known ON known.project_id = wanted.project_id
  AND known.trace_id = wanted.trace_id AND known.span = wanted.span
  AND known.digest = wanted.digest
"""
# An array of arrays can't be unnested, so the ids come as text.
UPDATE_ASSIGNED: Final = """
UPDATE span_fragments AS known
SET assigned = found.assigned, is_waiting = found.assigned IS NULL
FROM (
  SELECT project_id, trace_id, span, digest,
    string_to_array(assigned, ',')::uuid[] AS assigned
  FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $5::text[])
    AS sent (project_id, trace_id, span, digest, assigned)
) AS found
WHERE known.project_id = found.project_id AND known.trace_id = found.trace_id
  AND known.span = found.span AND known.digest = found.digest
"""


type Places = Mapping[bytes, int]
"""Where the data of fragments is in the text of their trace, by digest."""
type FragmentRow = tuple[object, ...]
"""The columns of INSERT_FRAGMENTS."""
_DATA: Final = 7


@frozen_by_types()
class SentFragment:
    """A fragment of a request, decoded, and in its stored form."""

    hex_id: str
    digest: bytes
    sent: Sent
    data: bytes
    outline: bytes | None = None


@dataclass(slots=True)
class TraceFragments:
    """The fragments of one trace in a request, by span, each once."""

    by_span: dict[str, dict[bytes, SentFragment]] = field(default_factory=dict)

    def add(self, fragment: SentFragment) -> None:
        self.by_span.setdefault(fragment.hex_id, {}).setdefault(fragment.digest, fragment)

    def without_data(self) -> "TraceFragments":
        """The fragments once they are inserted: nothing else needs their stored form."""
        return TraceFragments(
            {
                hex_id: {digest: replace(one, data=b"") for digest, one in span_fragments.items()}
                for hex_id, span_fragments in self.by_span.items()
            }
        )

    @property
    def has_span(self) -> bool:
        return any(map(has_span, self.by_span.values()))

    @property
    def has_assigned(self) -> bool:
        return ASSIGNED in self.by_span

    def digests(self) -> set[bytes]:
        return {digest for span_fragments in self.by_span.values() for digest in span_fragments}

    def has_new(self, new: Collection[bytes]) -> bool:
        """Whether one of the fragments is among the new digests."""
        return any(
            digest in new for span_fragments in self.by_span.values() for digest in span_fragments
        )


def has_span(fragments: Mapping[bytes, SentFragment]) -> bool:
    """Whether one of the fragments is a span: records alone make none."""
    return any(isinstance(one.sent, SentSpan) for one in fragments.values())


def read_fragment(trace: TraceId, fragment: Fragment, rules: FragmentRules) -> SentFragment:
    """Decodes a fragment."""
    sent = fragment.decode()
    data = rules.encode(sent)
    digest = fragment_digest(trace, data)
    if isinstance(sent, SentRecord) and sent.name in ASSIGNED_RECORDS:
        outline = rules.encode(record_outline(sent))
        return SentFragment(ASSIGNED, digest, sent, data, outline)
    return SentFragment(fragment.span_id or TRACE_ONLY, digest, sent, data)


async def list_with_fragments(connection: Connection, new: Collection[TraceKey]) -> set[TraceKey]:
    """The traces that have fragments, of those that this transaction created."""
    rows = await connection.fetch(SELECT_WITH_FRAGMENTS, *arrays(new)) if new else ()
    return {(row["project_id"], row["trace_id"]) for row in rows}


async def copy_fragments(
    connection: Connection,
    traces: Mapping[TraceKey, TraceFragments],
    places: Places,
    stored_at: datetime,
) -> None:
    """Inserts the fragments of traces that this transaction created, and that have none yet."""
    if is_distributed(connection):  # as `insert_spans`
        await insert_fragments(connection, traces, traces.keys(), places, stored_at)
        return
    rows = (row[:-1] for row in _rows(traces, traces.keys(), places, stored_at))
    for some in batched(rows, ROWS_PER_STATEMENT):
        await connection.copy_records_to_table(
            "span_fragment_rows", records=some, columns=COPIED_COLUMNS
        )


async def insert_fragments(
    connection: Connection,
    traces: Mapping[TraceKey, TraceFragments],
    new: Collection[TraceKey],
    places: Places,
    stored_at: datetime,
) -> set[bytes]:
    """Inserts those that aren't stored yet, and returns their digests.

    `new` are traces that this transaction created. `places` are those of data in the texts.
    """
    digests: set[bytes] = set()
    sql = INSERT_DISTRIBUTED_FRAGMENTS if is_distributed(connection) else INSERT_FRAGMENTS
    for some in _by_statement(_rows(traces, new, places, stored_at)):
        digests.update(row[0] for row in await connection.fetch(sql, *arrays(some)))
    return digests


def _by_statement(rows: Iterable[FragmentRow]) -> Iterator[list[FragmentRow]]:
    """The rows of one statement after another."""
    some: list[FragmentRow] = []
    size = 0
    for row in rows:
        data = row[_DATA]
        more = len(data) if isinstance(data, bytes) else 0
        if some and (size + more > BYTES_PER_STATEMENT or len(some) == ROWS_PER_STATEMENT):
            yield some
            some, size = [], 0
        some.append(row)
        size += more
    if some:
        yield some


def _rows(
    traces: Mapping[TraceKey, TraceFragments],
    new: Collection[TraceKey],
    places: Places,
    stored_at: datetime,
) -> Iterable[FragmentRow]:
    """The columns of INSERT_FRAGMENTS; the last is the span that a record may wait for."""
    for key, fragments in traces.items():
        makes_no_trace = key in new and not fragments.has_span
        for hex_id, span_fragments in fragments.by_span.items():
            awaited: SpanId | None = None
            may_wait = makes_no_trace or hex_id == ASSIGNED
            if hex_id not in NO_SPANS and not has_span(span_fragments):
                may_wait, awaited = True, otel_span_id(key[1], hex_id)
            for one in span_fragments.values():
                at = places.get(one.digest)
                data = (None, None, one.data) if at is None else (at, len(one.data), None)
                row = (one.digest, one.sent.rank, *data, one.outline)
                yield (*key, hex_id, *row, stored_at, may_wait, awaited)


@dataclass(frozen=True, slots=True)
class KnownFragment:
    """A stored fragment. `is_waiting` if it is a record whose span wasn't known."""

    digest: bytes
    is_waiting: bool
    data: bytes


async def fetch_fragments(
    connection: Connection, wanted: Sequence[SpanKey], besides: Iterable[bytes]
) -> dict[SpanKey, list[KnownFragment]]:
    """The stored fragments of spans, but those with the digests `besides`."""
    found: dict[SpanKey, list[KnownFragment]] = {}
    if wanted:
        rows = await connection.fetch(SELECT_FRAGMENTS, *arrays(wanted), list(besides))
        texts = await fetch_texts(
            connection, (((row["project_id"], row["trace_id"]), data_range(row)) for row in rows)
        )
        size = sum(text.size for text in texts.values())
        await compute(_add_known, found, rows, texts, is_long=size > DECOMPRESSED_ON_LOOP_MAX)
    return found


def _add_known(
    found: dict[SpanKey, list[KnownFragment]],
    rows: Iterable[Record],
    texts: Mapping[TraceKey, StoredText],
) -> None:
    for row in rows:
        key = (row["project_id"], row["trace_id"], row["span"])
        data = row["data"]
        if data is None:
            data = texts[key[:2]].value(row["data_at"], row["data_bytes"])
        known = KnownFragment(row["digest"], row["is_waiting"], data)
        found.setdefault(key, []).append(known)


def data_range(row: Record) -> Range | None:
    """Where the data of a fragment is in the text of its trace; None if it is in its row."""
    at = row["data_at"]
    return None if at is None else (at, at + row["data_bytes"])


def add_data(text: NewText, fragments: TraceFragments) -> dict[bytes, int]:
    """Adds the data of spans to a text; the places by digest. Records keep theirs in their rows."""
    return {
        digest: text.add_data(one.data)
        for span_fragments in fragments.by_span.values()
        for digest, one in span_fragments.items()
        if isinstance(one.sent, SentSpan)
    }


async def end_waiting(connection: Connection, merged: Iterable[tuple[SpanKey, bytes]]) -> None:
    """The records, by span and digest, don't wait for their span any longer."""
    if rows := [(*key, digest) for key, digest in merged]:
        await connection.execute(END_WAITING, *arrays(rows))


@dataclass(frozen=True, slots=True)
class RecordOutline:
    """A record that is assigned to spans, as far as that depends on it, and the spans it has."""

    digest: bytes
    outline: bytes
    assigned: tuple[SpanId, ...]


async def fetch_outlines(
    connection: Connection, keys: Collection[TraceKey]
) -> dict[TraceKey, list[RecordOutline]]:
    """The records of traces that are assigned to spans."""
    found: dict[TraceKey, list[RecordOutline]] = {}
    wanted = arrays((*key, ASSIGNED) for key in keys)
    for row in await connection.fetch(SELECT_OUTLINES, *wanted) if keys else ():
        outline = RecordOutline(row["digest"], row["outline"], tuple(row["assigned"] or ()))
        found.setdefault((row["project_id"], row["trace_id"]), []).append(outline)
    return found


async def fetch_assigned(
    connection: Connection, records: Collection[tuple[ProjectId, TraceId, bytes]]
) -> dict[bytes, bytes]:
    """The data of records that are assigned to spans, by digest."""
    wanted = arrays((*trace, ASSIGNED, digest) for *trace, digest in records)
    rows = await connection.fetch(SELECT_ASSIGNED, *wanted) if records else ()
    return {row["digest"]: row["data"] for row in rows}


async def update_assigned(
    connection: Connection, changed: Sequence[tuple[TraceKey, bytes, Collection[SpanId]]]
) -> None:
    """Sets the spans that take records."""
    if changed:
        rows = [
            (*key, ASSIGNED, digest, ",".join(map(str, spans)) if spans else None)
            for key, digest, spans in changed
        ]
        await connection.execute(UPDATE_ASSIGNED, *arrays(rows))
