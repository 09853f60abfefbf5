"""Reads traces and spans as they are shown, with as much of the payloads as is wanted.

Rows of spans become tuples without a step in between: 5,000 spans take 12 ms with their values, and
their JSON is written from these tuples.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection, require_row
from adapters.postgres.tracing.payloads.payload_text import (
    DECOMPRESSED_ON_LOOP_MAX,
    FIRST,
    HEAD_COLUMNS,
    SPAN_SIZES,
    Range,
    StoredText,
    fetch_texts,
    head_of,
    payload_range,
    texts_from_rows,
)
from adapters.postgres.tracing.trace_loader import select_whole, span_rows_bytes
from adapters.postgres.tracing.trace_parts import (
    REVISION_COLUMNS,
    SPAN_NOT_FOUND,
    TRACE_NOT_FOUND,
    revision_from_row,
)
from adapters.postgres.tracing.trace_rows import (
    TRACES,
    decode_cost,
    totals_from_row,
    trace_from_row,
)
from application.concurrency import compute
from application.tracing.workload import takes_long
from domain.ids import ProjectId, SpanId, TraceId
from domain.page import Page, PageRequest
from domain.tracing.otel.stored_spans import metadata_with_role
from domain.tracing.payloads.payload import EMPTY_OBJECT, JsonText, JsonView
from domain.tracing.payloads.payload_detail import (
    PayloadDetail,
    PayloadExtent,
    PayloadPreview,
    ShownPayloads,
)
from domain.tracing.payloads.read_limit import (
    READ_BYTES_MAX,
    spans_too_large,
    trace_too_large,
)
from domain.tracing.trace_detail import ShownSpan, TraceDetail
from domain.tracing.usage import CostSource, UsageRole

_ROLE: Final = -2 - len(SPAN_SIZES)  # the place of `usage_role` in a row, with what follows it
_FROM_1970_TO_2000_US: Final = 946_684_800_000_000
GAP_BYTES_MAX: Final = 64 << 10  # between parts of a text that are asked for as one
_METADATA: Final = SPAN_SIZES.index("metadata_bytes")
_USAGE: Final = SPAN_SIZES.index("token_usage_bytes")

_COLUMNS: Final = dict.fromkeys((*TRACES.names, *REVISION_COLUMNS))
_TRACE: Final = ", ".join(f"traces.{name}" for name in _COLUMNS)
SELECT_WHOLE: Final = select_whole(_TRACE)
SELECT_HEAD: Final = f"""
SELECT {_TRACE}, {", ".join(HEAD_COLUMNS)}
FROM traces LEFT JOIN trace_payloads AS head ON head.project_id = traces.project_id
  AND head.trace_id = traces.trace_id AND head.start = {FIRST}
WHERE traces.{IN_PROJECT} AND traces.trace_id = $2 AND {span_rows_bytes("$2")} <= $3
"""
SELECT_SPAN_COUNT: Final = f"SELECT span_count FROM traces WHERE {IN_PROJECT} AND trace_id = $2"
# In the order in which `_shown_spans` reads them. An instant comes as its 8 bytes, microseconds
# since 2000: making a datetime of each would take the driver a fifth of the time of the whole read.
_SHOWN: Final = f"""
SELECT span_id, parent_span_id, name, kind, status, timestamptz_send(started_at),
  timestamptz_send(ended_at), timestamptz_send(completion_start_time), model, error, cost,
  cost_source, CASE WHEN cost_source = '{CostSource.TABLE}' THEN cost_amount::float8 END AS listed,
  usage_role, payload_at, {", ".join(SPAN_SIZES)}
FROM spans WHERE {IN_PROJECT} AND trace_id = $2
"""
_IN_ORDER: Final = "ORDER BY started_at, span_id"
SELECT_SHOWN_SPANS: Final = f"{_SHOWN} {_IN_ORDER}"
SELECT_SHOWN_SPAN: Final = f"{_SHOWN} AND span_id = $3"
SELECT_SPANS_BY_ID: Final = f"{_SHOWN} AND span_id = ANY($3::uuid[]) {_IN_ORDER}"
SELECT_FIRST_SPANS: Final = f"{_SHOWN} {_IN_ORDER} LIMIT $3 OFFSET $4"
SELECT_NEXT_SPANS: Final = f"""
{_SHOWN} AND (started_at, span_id) > ($3, $4) {_IN_ORDER} LIMIT $5
"""


def _span_count_with_errors(span_condition: str) -> str:
    """The number of spans of a trace, and the size of the errors of some, which isn't in the rows.

    Errors may have any length, and none is read for their size.
    """
    return f"""
    SELECT span_count, coalesce((
      SELECT sum(octet_length(error))
      FROM (SELECT error FROM spans WHERE {IN_PROJECT} AND trace_id = $2 {span_condition}) AS page
    ), 0)::bigint AS error_bytes
    FROM traces WHERE {IN_PROJECT} AND trace_id = $2
    """


COUNT_BY_ID: Final = _span_count_with_errors("AND span_id = ANY($3::uuid[])")
COUNT_FIRST: Final = _span_count_with_errors(f"{_IN_ORDER} LIMIT $3 OFFSET $4")
COUNT_NEXT: Final = _span_count_with_errors(
    f"AND (started_at, span_id) > ($3, $4) {_IN_ORDER} LIMIT $5"
)


async def fetch_detail(
    connection: Connection,
    project: ProjectId,
    trace: TraceId,
    extent: PayloadExtent,
    bytes_max: int = READ_BYTES_MAX,
) -> TraceDetail:
    """A trace with its spans; in a snapshot. Raises NotFound, TooLargeToRead, DamagedText."""
    is_full = extent.detail is PayloadDetail.FULL
    sql = SELECT_WHOLE if is_full else SELECT_HEAD
    rows = await connection.fetch(sql, project, trace, bytes_max)
    if not rows:
        found = await connection.fetchrow(SELECT_SPAN_COUNT, project, trace)
        require_row(found, TRACE_NOT_FOUND)
        raise trace_too_large("query.payloads")
    if is_full:
        head = head_of(rows)
        text = (await texts_from_rows(connection, project, rows))[project, trace]
        fetching = connection.fetch(SELECT_SHOWN_SPANS, project, trace)
        if text.size > DECOMPRESSED_ON_LOOP_MAX:  # on another core meanwhile
            spans, _ = await asyncio.gather(fetching, asyncio.to_thread(text.decompress))
        else:
            spans = await fetching
    else:
        head = rows[0]
        spans = await connection.fetch(SELECT_SHOWN_SPANS, project, trace)
        ranges = [*_trace_ranges(head, extent), *_span_ranges(spans, extent)]
        if _bytes_of(ranges) > bytes_max:
            raise trace_too_large("query.payloads")
        text = await fetch_text_near(connection, project, trace, ranges)
    is_long = takes_long(len(spans), 0) or text.size > DECOMPRESSED_ON_LOOP_MAX
    return await compute(_detail, head, spans, text, extent, is_long=is_long)


async def fetch_shown_span(
    connection: Connection,
    project: ProjectId,
    trace: TraceId,
    span: SpanId,
    extent: PayloadExtent,
    *,
    bytes_max: int,
) -> ShownSpan:
    """Raises NotFound, TooLargeToRead, DamagedText."""
    row = await connection.fetchrow(SELECT_SHOWN_SPAN, project, trace, span)
    rows = [require_row(row, SPAN_NOT_FOUND)]
    if _bytes_of(_span_ranges(rows, extent)) > bytes_max:
        raise spans_too_large("path.span_id")
    [shown] = await _fetch_shown(connection, project, trace, rows, extent)
    return shown


async def fetch_spans_by_id(
    connection: Connection,
    project: ProjectId,
    trace: TraceId,
    spans: Sequence[SpanId],
    extent: PayloadExtent,
    *,
    bytes_max: int,
) -> Sequence[ShownSpan]:
    """The spans that exist; in a snapshot. Raises NotFound, TooLargeToRead, DamagedText."""
    counted = await connection.fetchrow(COUNT_BY_ID, project, trace, spans)
    left = bytes_max - require_row(counted, TRACE_NOT_FOUND)["error_bytes"]
    if left < 0:
        raise spans_too_large("span_ids")
    rows = await connection.fetch(SELECT_SPANS_BY_ID, project, trace, spans)
    if _bytes_of(_span_ranges(rows, extent)) > left:
        raise spans_too_large("span_ids")
    return await _fetch_shown(connection, project, trace, rows, extent)


async def fetch_shown_spans(
    connection: Connection,
    project: ProjectId,
    trace: TraceId,
    extent: PayloadExtent,
    window: PageRequest,
    *,
    bytes_max: int,
) -> Page[ShownSpan]:
    """A page of the spans of a trace; in a snapshot.

    Raises NotFound, TooLargeToRead, DamagedText.
    """
    one_more, after = window.limit + 1, window.after
    values: tuple[object, ...]
    if after is None:
        count, select, values = COUNT_FIRST, SELECT_FIRST_SPANS, (one_more, window.offset)
    else:
        count, select, values = COUNT_NEXT, SELECT_NEXT_SPANS, (after.value, after.id, one_more)
    counted = require_row(
        await connection.fetchrow(count, project, trace, *values), TRACE_NOT_FOUND
    )
    total, left = counted["span_count"], bytes_max - counted["error_bytes"]
    if left < 0:
        raise spans_too_large("query.limit")
    rows = await connection.fetch(select, project, trace, *values)
    if _bytes_of(_span_ranges(rows[: window.limit], extent)) > left:
        raise spans_too_large("query.limit")
    shown = await _fetch_shown(connection, project, trace, rows[: window.limit], extent)
    return Page(shown, total, shown[-1].position if len(rows) > window.limit else None)


def _bytes_of(ranges: Iterable[Range]) -> int:
    return sum(past - first for first, past in ranges)


async def _fetch_shown(
    connection: Connection,
    project: ProjectId,
    trace: TraceId,
    rows: Sequence[Record],
    extent: PayloadExtent,
) -> list[ShownSpan]:
    text = await fetch_text_near(connection, project, trace, _span_ranges(rows, extent))
    is_long = text.size > DECOMPRESSED_ON_LOOP_MAX
    return await compute(lambda: list(_shown_spans(rows, text, extent)), is_long=is_long)


async def fetch_text_near(
    connection: Connection, project: ProjectId, trace: TraceId, ranges: Iterable[Range]
) -> StoredText:
    """The blocks that contain the ranges.

    Ranges near each other are asked for as one: many spans lie in one block.
    """
    key = (project, trace)
    near = _near_ranges(ranges)
    return (await fetch_texts(connection, ((key, one) for one in near)))[key]


def _near_ranges(ranges: Iterable[Range]) -> Iterator[Range]:
    """The ranges in order, those with at most GAP_BYTES_MAX between them joined."""
    known: Range | None = None
    for first, past in sorted(ranges):
        if known is None:
            known = (first, past)
        elif first <= known[1] + GAP_BYTES_MAX:
            known = (known[0], max(past, known[1]))
        else:
            yield known
            known = (first, past)
    if known is not None:
        yield known


def _trace_ranges(head: Record, extent: PayloadExtent) -> Iterator[Range]:
    """The parts of the text with what is shown of the payloads of the trace itself."""
    if extent.detail is PayloadDetail.NONE:
        return
    for name in ("input", "output"):
        if (whole := payload_range(head, name)) is not None:
            yield whole[0], min(whole[1], whole[0] + extent.preview_bytes)


def _span_ranges(rows: Iterable[Record], extent: PayloadExtent) -> Iterator[Range]:
    """The parts of the text with what is shown of spans."""
    is_full = extent.detail is PayloadDetail.FULL
    is_preview = extent.detail is PayloadDetail.PREVIEW
    for row in rows:
        role, at, *sizes = row[_ROLE:]
        if at is None:
            continue
        if is_full:
            yield at, at + sum(filter(None, sizes))
            continue
        for number, size in enumerate(sizes):
            if size is None:
                continue
            if number > _METADATA or (number == _METADATA and role is not None):
                yield at, at + size
            elif is_preview:
                yield at, at + min(size, extent.preview_bytes)
            at += size


def _detail(
    head: Record, rows: Sequence[Record], text: StoredText, extent: PayloadExtent
) -> TraceDetail:
    trace = trace_from_row(head)
    places = [(head[f"{name}_at"], head[f"{name}_bytes"]) for name in ("input", "output")]
    shown = [_shown(text, *one, extent) for one in places]
    shown.append(_shown_text(trace.metadata, extent))
    payloads, previews = zip(*shown, strict=True)
    return TraceDetail(
        trace=replace(trace, metadata=EMPTY_OBJECT),
        totals=totals_from_row(head),
        revision=revision_from_row(head),
        payloads=ShownPayloads(*payloads, *(size for _, size in places), *previews),
        spans=list(_shown_spans(rows, text, extent)),
    )


type _Shown = tuple[JsonText | None, PayloadPreview | None]


def _shown(text: StoredText, at: int | None, size: int | None, extent: PayloadExtent) -> _Shown:
    """A payload as far as it is wanted: whole, or the preview of a large one, or neither."""
    if at is None or size is None or extent.detail is PayloadDetail.NONE:
        return None, None
    if extent.detail is PayloadDetail.FULL or size <= extent.preview_bytes:
        return text.value(at, size), None
    beginning = text.value(at, extent.preview_bytes)
    return None, PayloadPreview.from_beginning(beginning, size, extent.preview_bytes)


def _shown_text(payload: JsonText, extent: PayloadExtent) -> _Shown:
    """As `_shown`, of a payload that was read already."""
    if extent.detail is PayloadDetail.NONE:
        return None, None
    if extent.detail is PayloadDetail.FULL or len(payload) <= extent.preview_bytes:
        return payload, None
    return None, PayloadPreview.from_payload(payload, extent.preview_bytes)


def _shown_spans(
    rows: Iterable[Record], text: StoredText, extent: PayloadExtent
) -> Iterator[ShownSpan]:
    """Raises DamagedText."""
    is_full = extent.detail is PayloadDetail.FULL
    is_none = extent.detail is PayloadDetail.NONE
    whole_max = 0 if is_none else extent.preview_bytes  # a larger payload isn't shown whole
    microseconds = int.from_bytes  # big-endian
    make = ShownSpan._make
    for row in rows:
        (
            id_, parent, name, kind, status, started, ended, answered, model, error, cost, source,
            listed, role, at, in_size, out_size, meta_size, usage_size, parameters_size,
        ) = row  # fmt: skip
        sizes = (in_size, out_size, meta_size, usage_size, parameters_size)
        in_preview = out_preview = meta_preview = None
        if is_full or (
            role is None
            and (in_size or 0) <= whole_max
            and (out_size or 0) <= whole_max
            and (meta_size or len(EMPTY_OBJECT)) <= whole_max
        ):
            input_, output, metadata, usage, parameters = text.views(at, sizes)
            metadata = metadata or EMPTY_OBJECT
            if role is not None:
                metadata = metadata_with_role(bytes(metadata), UsageRole(role))
        else:
            usage, parameters = _without_payloads(text, at, sizes)
            input_ = output = metadata = None
            if not is_none:
                payloads, previews = _shown_payloads(text, at, sizes, role, extent)
                input_, output, metadata = payloads
                in_preview, out_preview, meta_preview = previews
        if listed is not None:
            cost = {"total": listed}
        elif cost is not None:
            cost = decode_cost(cost)
        started = microseconds(started, signed=True) + _FROM_1970_TO_2000_US
        if ended is not None:
            ended = microseconds(ended, signed=True) + _FROM_1970_TO_2000_US
        if answered is not None:
            answered = microseconds(answered, signed=True) + _FROM_1970_TO_2000_US
        yield make((
            id_, parent, name, kind, status, started, ended, answered, model, error, cost, source,
            usage, parameters, input_, output, metadata, in_size, out_size,
            in_preview, out_preview, meta_preview,
        ))  # fmt: skip


def _shown_payloads(
    text: StoredText,
    at: int | None,
    sizes: Sequence[int | None],
    role: str | None,
    extent: PayloadExtent,
) -> tuple[Sequence[JsonView | None], Sequence[PayloadPreview | None]]:
    """Input, output and metadata of a span, and their previews."""
    shown: list[_Shown] = []
    for size in sizes[:_METADATA]:
        shown.append(_shown(text, at, size, extent))
        if at is not None:
            at += size or 0
    size = sizes[_METADATA]
    if role is not None and extent.detail is not PayloadDetail.NONE:
        stored = EMPTY_OBJECT if at is None or size is None else text.value(at, size)
        shown.append(_shown_text(metadata_with_role(stored, UsageRole(role)), extent))
    elif size is None:
        shown.append(_shown_text(EMPTY_OBJECT, extent))
    else:
        shown.append(_shown(text, at, size, extent))
    return tuple(one for one, _ in shown), tuple(preview for _, preview in shown)


def _without_payloads(
    text: StoredText, at: int | None, sizes: Sequence[int | None]
) -> Sequence[JsonView | None]:
    """Token usage and model parameters, which are shown without the payloads too."""
    wanted = sizes[_USAGE:]
    if at is None or not any(wanted):
        return None, None
    return text.views(at + sum(size or 0 for size in sizes[:_USAGE]), wanted)
