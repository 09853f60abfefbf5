"""Writes batches of OpenTelemetry fragments: many requests in one transaction, as `TraceWriter`.

A trace that isn't known is computed before the transaction and inserted as a native one: its rows
are those of its fragments in the request. Known traces are locked and merged, see `OtlpMerge`. A
request that is too large for that is merged chunk by chunk into traces that are created first.
"""

import asyncio
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from adapters.postgres.database.pool import WRITE_TIMEOUT_S, Connection, Pool
from adapters.postgres.database.statements.columns import arrays
from adapters.postgres.database.tenants import within
from adapters.postgres.tracing.otlp.fragments import (
    TRACE_ONLY,
    Places,
    TraceFragments,
    add_data,
    copy_fragments,
    has_span,
    insert_fragments,
    list_with_fragments,
    read_fragment,
)
from adapters.postgres.tracing.otlp.otlp_merge import EPOCH, OtlpMerge
from adapters.postgres.tracing.otlp.otlp_rows import (
    DELETE_PLACEHOLDERS,
    insert_otlp_spans,
    otlp_span_row,
)
from adapters.postgres.tracing.payloads.payload_text import (
    COMPRESSED_ON_LOOP_MAX,
    NO_HEAD,
    NO_PAYLOADS,
    Head,
    NewText,
    PayloadRow,
    TraceKey,
    add_head,
    open_changes,
    payload_rows,
    write_changes,
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
from adapters.postgres.tracing.trace_rows import trace_row
from adapters.postgres.tracing.writes.batch_writer import (
    ROUNDS_MAX,
    check_storable,
    insert_new_traces,
)
from adapters.postgres.tracing.writes.row_updates import lock_traces
from adapters.pricing.price_cache import ProjectPriceCache
from application.concurrency import compute
from application.tracing.otlp.ports import BATCH_BYTES, CHUNK_BYTES, FragmentRules
from application.tracing.workload import takes_long
from domain.errors import Unavailable
from domain.ids import ProjectId, SpanId, TraceId
from domain.tracing.otel.facts import MappedSpan
from domain.tracing.otel.fragments import Fragment
from domain.tracing.otel.otlp_state import OtlpState, source_span, trace_input, trace_output
from domain.tracing.otel.trace_state import SpanNode, compute_trace
from domain.tracing.otel.usage_roles import usage_roles
from domain.tracing.span import Span, Totals
from domain.tracing.trace import Trace, TraceStatus, models_of
from domain.tracing.usage import NO_USAGE, Pricing

type OtlpItem = tuple[ProjectId, TraceId, Sequence[Fragment]]

CHUNK_FRAGMENTS: Final = 1_000  # of one chunk, which may have CHUNK_BYTES
RECENT_TRACES_MAX: Final = 10_000
DECODED_ON_LOOP_MAX: Final = 64 << 10  # bytes of fragments; decoding and mapping takes 5 ms
# Makes the price cache load the price book, which spans of a large request will need.
ANY_PRICED_SPAN: Final = Span(
    id=SpanId(UUID(int=0)), name="", started_at=EPOCH, model="any", usage=NO_USAGE
)


@dataclass(slots=True)
class ReadTrace:
    """The fragments of a trace in a request, and the spans that they make by themselves."""

    fragments: TraceFragments = field(default_factory=TraceFragments)
    spans: dict[str, MappedSpan] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewTrace:
    """A trace as its fragments in the request make it, or a placeholder, without spans.

    `text` has the values of its spans, at the places in `head` its own payloads, and at `places`
    its fragments.
    """

    counted: CountedTrace
    otlp: OtlpState
    text: NewText = field(default_factory=NewText)
    head: Head = NO_HEAD
    places: Places = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    span_rows: list[tuple[object, ...]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class NewTraces:
    """The traces of a batch as if all were new, and the arrays of their columns and payloads."""

    traces: Mapping[TraceKey, NewTrace]
    rows: Sequence[Sequence[object]]
    payloads: Sequence[Sequence[object]] = NO_PAYLOADS
    references: References = NO_REFERENCES

    @property
    def text_bytes(self) -> int:
        return sum(one.text.size for one in self.traces.values())

    def payload_rows(self, references: References) -> Sequence[Sequence[object]]:
        """The arrays of the columns of PAYLOADS."""
        rows: list[PayloadRow] = []
        for key, one in self.traces.items():
            rows += payload_rows(key, one.text.blocks(shared=references.texts.get(key)), one.head)
        return arrays(rows) or NO_PAYLOADS


@dataclass(slots=True)
class RecentTraces:
    """The traces that this process wrote last. Each has a row, unless it was deleted since."""

    most: int = RECENT_TRACES_MAX
    _keys: dict[TraceKey, None] = field(default_factory=dict)

    def __contains__(self, key: TraceKey) -> bool:
        return key in self._keys

    def add(self, keys: Iterable[TraceKey]) -> None:
        for key in keys:
            self._keys.pop(key, None)
            self._keys[key] = None
        while len(self._keys) > self.most:
            del self._keys[next(iter(self._keys))]


@dataclass(frozen=True, slots=True)
class OtlpWriter:
    """Stores batches of fragments."""

    pool: Pool
    prices: ProjectPriceCache
    rules: FragmentRules
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    recent: RecentTraces = field(default_factory=RecentTraces)
    texts: KnownTexts = field(default_factory=KnownTexts)
    within_s: float = WRITE_TIMEOUT_S  # of one call of `write`

    async def write(self, items: Sequence[OtlpItem]) -> None:
        """Stores all items. If it raises, some may be stored."""
        by_key: dict[TraceKey, list[Fragment]] = {}
        for project, trace, fragments in items:
            by_key.setdefault((project, trace), []).extend(fragments)
        # All writers lock in the order of the keys.
        by_key = {key: by_key[key] for key in sorted(by_key)}
        size = sum(one.size for fragments in by_key.values() for one in fragments)
        async with asyncio.timeout(self.within_s):
            if size > BATCH_BYTES:
                await self._write_large(by_key)
            else:
                await self._write_batch(by_key, is_long=size > DECODED_ON_LOOP_MAX)
        self.recent.add(by_key)

    # --- ordinary batches ---

    async def _write_batch(
        self, by_key: Mapping[TraceKey, Sequence[Fragment]], *, is_long: bool
    ) -> None:
        left = read = await compute(self.read, by_key, is_long=is_long)
        projects = {project for project, _ in left}
        spans = (one.span for trace in left.values() for one in trace.spans.values())
        pricing = await self.prices.get(projects, spans)
        for _ in range(ROUNDS_MAX):
            stored_at = self.clock()
            new = await compute(new_traces, left, self.recent, pricing, stored_at, is_long=is_long)
            new = await self._with_payloads(new)
            try:
                async with within(self.pool, projects).transaction() as connection:
                    merge = OtlpMerge(connection, self.rules, pricing, stored_at)
                    left = await _store(merge, left, new)
                    if left:
                        await check_storable(connection, left)
            except TextsRemoved as error:
                self.texts.forget(error.keys)
                continue
            if is_long:
                await compute(_free, new.traces.values(), {} if left else read, is_long=True)
            if not left:
                return
        raise Unavailable("This trace is being deleted; try again")

    async def _with_payloads(self, new: NewTraces) -> NewTraces:
        texts = {key: one.text for key, one in new.traces.items()}
        references = await self.texts.find(self.pool, texts)
        is_large = new.text_bytes > COMPRESSED_ON_LOOP_MAX
        payloads = await compute(new.payload_rows, references, is_long=is_large)
        return replace(new, payloads=payloads, references=references)

    def read(self, by_key: Mapping[TraceKey, Sequence[Fragment]]) -> dict[TraceKey, ReadTrace]:
        """Decodes fragments, and maps the spans from the fragments at hand."""
        read = {}
        for key, fragments in by_key.items():
            trace = read[key] = ReadTrace()
            for fragment in fragments:
                trace.fragments.add(read_fragment(key[1], fragment, self.rules))
            for hex_id, span_fragments in trace.fragments.by_span.items():
                self.rules.check_fragments(len(span_fragments))
                if has_span(span_fragments):
                    sent = [one.sent for one in span_fragments.values()]
                    trace.spans[hex_id] = self.rules.map_span(key[1], sent)
            self.rules.check_spans(len(trace.spans))
        return read

    # --- large requests ---

    async def _write_large(self, by_key: Mapping[TraceKey, Sequence[Fragment]]) -> None:
        projects = {project for project, _ in by_key}
        pricing = await self.prices.get(projects, [ANY_PRICED_SPAN])
        for _ in range(ROUNDS_MAX):
            async with within(self.pool, projects).transaction() as connection:
                merge = OtlpMerge(connection, self.rules, pricing, self.clock())
                gone = await self._store_chunks(merge, by_key)
                if gone:
                    await check_storable(connection, gone)
            if not gone:
                return
            by_key = {key: by_key[key] for key in gone}
        raise Unavailable("This trace is being deleted; try again")

    async def _store_chunks(
        self, merge: OtlpMerge, by_key: Mapping[TraceKey, Sequence[Fragment]]
    ) -> set[TraceKey]:
        """Returns the traces whose rows were deleted before they could be locked."""
        connection, deltas, stored_at = merge.connection, new_deltas(), self.clock()
        rows = arrays(trace_row(_placeholder(key, stored_at).counted) for key in by_key)
        new = await insert_new_traces(connection, rows)
        here = await lock_traces(connection, [key for key in by_key if key not in new])
        states = {key: OtlpState(stored_at=stored_at) for key in new}
        await merge.open(here, states)
        # In a thread, since it sorts all fragments.
        parts = await compute(_list_chunks, by_key, {*new, *here}, is_long=True)
        for number, chunk in enumerate(parts):
            if number:
                await merge.flush()
            fragments = await compute(self._decode, chunk, is_long=True)
            digests = await _insert_chunk(merge, fragments, new, stored_at)
            # Data that isn't needed any longer is freed, before more memory is taken.
            fragments = {key: one.without_data() for key, one in fragments.items()}
            await merge.add(fragments, digests, {})
            del fragments
        await merge.finish(deltas)
        await _delete_placeholders(connection, merge.without_spans())
        await rollups.write(connection, deltas)
        return by_key.keys() - new - here.keys()

    def _decode(
        self, by_key: Mapping[TraceKey, Sequence[Fragment]]
    ) -> dict[TraceKey, TraceFragments]:
        read = {}
        for key, fragments in by_key.items():
            merged = read[key] = TraceFragments()
            for fragment in fragments:
                merged.add(read_fragment(key[1], fragment, self.rules))
        return read


async def _insert_chunk(
    merge: OtlpMerge,
    fragments: Mapping[TraceKey, TraceFragments],
    new: Collection[TraceKey],
    stored_at: datetime,
) -> set[bytes]:
    """Inserts the fragments that aren't stored yet, and returns their digests.

    Their data is written before spans are mapped from them, which take memory too.
    """
    places: dict[bytes, int] = {}
    texts = {key: merge.traces[key].text for key in fragments}
    ends = {key: change.text.end for key, change in texts.items()}
    for key, change in texts.items():
        places |= add_data(change.text, fragments[key])
    digests = await insert_fragments(merge.connection, fragments, new, places, stored_at)
    for key, change in texts.items():
        if not fragments[key].has_new(digests):
            change.text.cut(ends[key])
    await write_changes(merge.connection, texts.values())
    return digests


async def _store(
    merge: OtlpMerge, read: Mapping[TraceKey, ReadTrace], ready: NewTraces
) -> dict[TraceKey, ReadTrace]:
    """Returns the traces whose rows were deleted before they could be locked."""
    connection, deltas = merge.connection, new_deltas()
    assert merge.stored_at is not None
    made = await insert_new_traces(connection, ready.rows, ready.payloads, ready.references.waiting)
    new: Collection[TraceKey] = read.keys()
    here: Mapping[TraceKey, CountedTrace] = {}
    if len(made) < len(read):
        new = made
    await ready.references.note(connection, new)
    if len(made) < len(read):
        here = await lock_traces(connection, [key for key in read if key not in new])
    fragments = {key: one.fragments for key, one in read.items() if key in new or key in here}
    had_some = await list_with_fragments(connection, new)
    only = {key: one for key, one in fragments.items() if key in new and key not in had_some}
    places = {digest: at for key in new for digest, at in ready.traces[key].places.items()}
    texts = await open_changes(connection, here)
    for key, change in texts.items():
        places |= add_data(change.text, fragments[key])
    await copy_fragments(connection, only, places, merge.stored_at)
    others = {key: one for key, one in fragments.items() if key not in only}
    digests = await insert_fragments(connection, others, new, places, merge.stored_at)
    changed = {key: row for key, row in here.items() if fragments[key].has_new(digests)}
    # Those that had records before their spans, that have records which belong to other spans, or
    # that weren't computed because they were known.
    late = {
        key: ready.traces[key].otlp
        for key in new
        if read[key].spans
        and (key in had_some or fragments[key].has_assigned or not ready.traces[key].spans)
    }
    for key in late:
        digests |= fragments[key].digests()
    if changed or late:
        await merge.open(changed, late, {key: texts[key] for key in changed})
        mapped = {(*key, hex_id): one for key in merge.traces
                  for hex_id, one in read[key].spans.items()}  # fmt: skip
        await merge.add(fragments, digests, mapped)
        await merge.finish(deltas)
    fresh = [one for key, one in ready.traces.items() if key in new and key not in late]
    await insert_otlp_spans(connection, [row for one in fresh for row in one.span_rows])
    is_long = takes_long(sum(len(one.spans) for one in fresh), 0)
    await compute(_count_new, fresh, deltas, is_long=is_long)
    await _delete_placeholders(connection, [key for key in new if not read[key].spans])
    await rollups.write(connection, deltas)
    return {key: one for key, one in read.items() if key not in fragments}


def new_traces(
    read: Mapping[TraceKey, ReadTrace],
    known: Container[TraceKey],
    pricing: Mapping[ProjectId, Pricing],
    stored_at: datetime,
) -> NewTraces:
    """The rows to insert: for a trace that probably exists, a placeholder."""
    traces = {
        key: _placeholder(key, stored_at)
        if key in known or not one.spans
        else _new_trace(key, one, pricing[key[0]], stored_at)
        for key, one in read.items()
    }
    return NewTraces(traces, arrays(trace_row(one.counted) for one in traces.values()))


def _new_trace(key: TraceKey, read: ReadTrace, pricing: Pricing, stored_at: datetime) -> NewTrace:
    mapped = list(read.spans.values())
    settled = [one.span.settled(pricing) for one in mapped]
    nodes = [SpanNode.from_mapped(*one) for one in zip(mapped, settled, strict=True)]
    computed, roles = compute_trace(key[1], nodes), usage_roles(nodes)
    spans = [replace(one, usage_role=roles[one.id]) if one.id in roles else one for one in settled]
    by_id = {one.id: one for one in spans}
    otlp = OtlpState(stored_at=stored_at).after_computing(computed, stored_at)
    trace = otlp.row(computed, None)
    asked, answered = source_span(computed.input), source_span(computed.output)
    span_input = None if asked is None else by_id[asked].input
    span_output = None if answered is None else by_id[answered].output
    text = NewText()
    head = add_head(
        text, trace_input(computed.input, span_input), trace_output(computed.output, span_output)
    )
    totals, terms = Totals.from_spans(spans), terms_of_spans(key[0], spans)
    counted = CountedTrace(key[0], trace, totals, models_of(spans), terms, otlp)
    rows = [
        otlp_span_row(key, text.add_span(span), span, one.facts)
        for span, one in zip(spans, mapped, strict=True)
    ]
    places = add_data(text, read.fragments)
    return NewTrace(counted, otlp, text, head, places, spans, rows)


def _free(new: Iterable[NewTrace], read: Mapping[TraceKey, ReadTrace]) -> None:
    """Frees what was written, piece by piece: at once, it would stop all threads for long."""
    pieces: list[list[Any] | dict[Any, Any]] = []
    for made in new:
        pieces += [made.spans, made.span_rows]
    for one in read.values():
        pieces += [one.spans, one.fragments.by_span]
    for piece in pieces:
        while piece:
            piece.popitem() if isinstance(piece, dict) else piece.pop()


def _count_new(fresh: Iterable[NewTrace], deltas: ProjectDeltas) -> None:
    for one in fresh:
        if one.spans:
            deltas[one.counted.project].add_trace(one.counted)
            deltas[one.counted.project].add_spans(one.counted.trace, one.spans)


def _placeholder(key: TraceKey, stored_at: datetime) -> NewTrace:
    """The row of a trace that isn't computed yet, or that exists.

    It makes other writers of the trace wait, as any row that isn't committed. Without spans it is
    deleted in the same transaction.
    """
    trace = Trace(id=key[1], name="", started_at=EPOCH, status=TraceStatus.RUNNING)
    otlp = OtlpState(stored_at=stored_at)
    return NewTrace(CountedTrace(key[0], trace, Totals(), (), frozenset(), otlp), otlp)


async def _delete_placeholders(connection: Connection, keys: Collection[TraceKey]) -> None:
    if keys:
        await connection.execute(DELETE_PLACEHOLDERS, *arrays(keys))


def chunks(
    by_key: Mapping[TraceKey, Sequence[Fragment]], keys: Collection[TraceKey]
) -> Iterator[dict[TraceKey, list[Fragment]]]:
    """The fragments of `keys` in chunks of CHUNK_BYTES; the fragments of a span are neighbours."""
    chunk: dict[TraceKey, list[Fragment]] = {}
    size = count = 0
    for key, fragments in by_key.items():
        if key not in keys:
            continue
        for fragment in sorted(fragments, key=_hex_id):
            if chunk and (size + fragment.size > CHUNK_BYTES or count == CHUNK_FRAGMENTS):
                yield chunk
                chunk, size, count = {}, 0, 0
            chunk.setdefault(key, []).append(fragment)
            size += fragment.size
            count += 1
    if chunk:
        yield chunk


def _list_chunks(
    by_key: Mapping[TraceKey, Sequence[Fragment]], keys: Collection[TraceKey]
) -> list[dict[TraceKey, list[Fragment]]]:
    return list(chunks(by_key, keys))


def _hex_id(fragment: Fragment) -> str:
    return fragment.span_id or TRACE_ONLY
