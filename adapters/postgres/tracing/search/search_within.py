"""Searches one trace: reads its texts in parts, as far as a page needs them."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection, require_row
from adapters.postgres.tracing.payloads.payload_text import (
    DECOMPRESSED_ON_LOOP_MAX,
    FIRST,
    HEAD_COLUMNS,
    SPAN_SIZES,
    StoredText,
    TraceKey,
    payload_range,
)
from adapters.postgres.tracing.trace_details import fetch_text_near
from adapters.postgres.tracing.trace_parts import TRACE_NOT_FOUND
from application.concurrency import compute
from domain.ids import SpanId
from domain.page import PageRequest, Position
from domain.tracing.payloads.payload import EMPTY_OBJECT
from domain.tracing.search.search_query import SearchQuery
from domain.tracing.search.search_texts import SearchedValue, SearchField
from domain.tracing.search.search_within import (
    POSITION_OF_TRACE,
    FoundWithin,
    FoundWithinPage,
    find_places,
)

SPANS_AT_ONCE: Final = 500
TEXT_BYTES_AT_ONCE: Final = 4 << 20  # they are in memory together
PARSED_ON_LOOP_MAX: Final = 64 << 10  # bytes of values; looking into them takes 1 ms
_SEARCHED: Final = ("input", "output", "metadata")  # the first values of a span, in their order
_SIZES: Final = SPAN_SIZES[: len(_SEARCHED)]
_TRACE_READERS: Final = f"{IN_PROJECT} AND trace_id = $2"
SELECT_HEAD: Final = f"""
SELECT traces.name, traces.metadata, {", ".join(HEAD_COLUMNS[:4])}
FROM traces LEFT JOIN trace_payloads AS head ON head.project_id = traces.project_id
  AND head.trace_id = traces.trace_id AND head.start = {FIRST}
WHERE traces.{IN_PROJECT} AND traces.trace_id = $2
"""
SELECT_SPANS: Final = f"""
SELECT started_at, span_id, name, error, payload_at, {", ".join(_SIZES)} FROM spans
WHERE {_TRACE_READERS} AND (started_at, span_id) > ($3, $4)
ORDER BY started_at, span_id LIMIT {SPANS_AT_ONCE}
"""


async def find_within_stored(
    connection: Connection,
    key: TraceKey,
    query: SearchQuery,
    window: PageRequest,
    text_bytes: int,
) -> FoundWithinPage:
    """A page of what a query finds in a trace; in a snapshot. Raises NotFound, DamagedText.

    It ends early once `text_bytes` of payloads were read; the last one may be beyond it.
    """
    head = require_row(await connection.fetchrow(SELECT_HEAD, *key), TRACE_NOT_FOUND)
    found, room, after = list[FoundWithin](), text_bytes, window.after
    if after is None:
        ranges = [payload_range(head, name) for name in ("input", "output")]
        text = await fetch_text_near(connection, *key, [one for one in ranges if one is not None])
        size = sum(one[1] - one[0] for one in ranges if one is not None)
        found += await compute(_find_in_head, head, text, query, is_long=_is_long(size))
        room, after = room - size, POSITION_OF_TRACE
    while len(found) <= window.limit:
        rows = await connection.fetch(SELECT_SPANS, *key, after.value, after.id)
        for batch in _batches(rows, min(TEXT_BYTES_AT_ONCE, text_bytes)):
            if len(found) > window.limit:
                break
            if room <= 0:
                return FoundWithinPage(found, after, is_complete=False)
            size = sum(map(_size, batch))
            text = await fetch_text_near(connection, *key, list(_ranges(batch)))
            is_long = _is_long(size) or text.size > DECOMPRESSED_ON_LOOP_MAX
            found += await compute(_find_in_spans, batch, text, query, is_long=is_long)
            room, after = room - size, _position(batch[-1])
        if len(rows) < SPANS_AT_ONCE:
            break
    if len(found) <= window.limit:
        return FoundWithinPage(found)
    shown = found[: window.limit]
    return FoundWithinPage(shown, shown[-1].position)


def _is_long(size: int) -> bool:
    return size > PARSED_ON_LOOP_MAX


def _size(row: Record) -> int:
    return sum(row[name] or 0 for name in _SIZES)


def _position(row: Record) -> Position:
    started_at: datetime = row["started_at"]
    id_: UUID = row["span_id"]
    return Position(started_at, id_)


def _batches(rows: Sequence[Record], size_max: int) -> Iterator[Sequence[Record]]:
    """The rows in parts of `size_max` bytes of values, or of one larger row."""
    batch, size = list[Record](), 0
    for row in rows:
        if batch and size + _size(row) > size_max:
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += _size(row)
    if batch:
        yield batch


def _ranges(rows: Sequence[Record]) -> Iterator[tuple[int, int]]:
    for row in rows:
        if row["payload_at"] is not None:
            yield row["payload_at"], row["payload_at"] + _size(row)


def _find_in_head(head: Record, text: StoredText, query: SearchQuery) -> list[FoundWithin]:
    input_, output = text.trace_values(head)
    values = [SearchedValue(None, SearchField.NAME, head["name"])]
    if input_ is not None:
        values.append(SearchedValue(None, SearchField.INPUT, input_))
    if output is not None:
        values.append(SearchedValue(None, SearchField.OUTPUT, output))
    values.append(SearchedValue(None, SearchField.METADATA, head["metadata"]))
    places = find_places(values, query)
    return [] if places is None else [FoundWithin(None, places, POSITION_OF_TRACE)]


def _find_in_spans(
    rows: Sequence[Record], text: StoredText, query: SearchQuery
) -> list[FoundWithin]:
    found = list[FoundWithin]()
    for row in rows:
        id_ = SpanId(row["span_id"])
        places = find_places(_values(id_, row, text), query)
        if places is not None:
            found.append(FoundWithin(id_, places, _position(row)))
    return found


def _values(id_: SpanId, row: Record, text: StoredText) -> Iterator[SearchedValue]:
    """As `values_of_span`."""
    views = text.views(row["payload_at"], [row[name] for name in _SIZES])
    input_, output, metadata = (None if one is None else bytes(one) for one in views)
    yield SearchedValue(id_, SearchField.NAME, row["name"])
    if input_ is not None:
        yield SearchedValue(id_, SearchField.INPUT, input_)
    if output is not None:
        yield SearchedValue(id_, SearchField.OUTPUT, output)
    if row["error"] is not None:
        yield SearchedValue(id_, SearchField.ERROR, row["error"])
    yield SearchedValue(id_, SearchField.METADATA, metadata or EMPTY_OBJECT)
