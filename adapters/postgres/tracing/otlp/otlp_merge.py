"""Merges OpenTelemetry fragments into traces that this transaction has locked or created.

Fragments come in chunks. The spans of a chunk are mapped from all their fragments and written; when
the last chunk is there, the traces are computed from the light columns of all their spans. So
memory follows the chunk, whatever the size of the request or the trace.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import batched
from typing import Final

from adapters.postgres.database.pool import Connection
from adapters.postgres.database.statements.columns import arrays
from adapters.postgres.tracing.otlp.fragments import (
    ASSIGNED,
    NO_SPANS,
    TRACE_ONLY,
    KnownFragment,
    RecordOutline,
    SpanKey,
    TraceFragments,
    end_waiting,
    fetch_assigned,
    fetch_fragments,
    fetch_outlines,
    update_assigned,
)
from adapters.postgres.tracing.otlp.otlp_rows import (
    SpanRowKey,
    fetch_nodes,
    fetch_payloads_set,
    fetch_span_payloads,
    insert_otlp_spans,
    otlp_span_row,
    update_roles,
    without_content,
)
from adapters.postgres.tracing.payloads.payload_text import (
    TextChange,
    TraceKey,
    open_changes,
    write_changes,
)
from adapters.postgres.tracing.rollups.facets import CountedTrace, terms_of_spans
from adapters.postgres.tracing.rollups.rollup_deltas import ProjectDeltas
from adapters.postgres.tracing.trace_rows import trace_row
from adapters.postgres.tracing.writes.erasure_guard import check_not_erased
from adapters.postgres.tracing.writes.row_updates import (
    fetch_models,
    fetch_spans,
    upsert_traces,
)
from application.concurrency import compute
from application.tracing.otlp.ports import FragmentRules
from application.tracing.workload import grouped_chars, takes_long
from domain.ids import ProjectId, SpanId, TraceId
from domain.privacy.erasure import data_subjects_of
from domain.tracing.otel.claude_code import assign_claude_records, changed_owners
from domain.tracing.otel.facts import MappedSpan, SpanFacts
from domain.tracing.otel.fragments import Sent, SentRecord, SentSpan, otel_span_id
from domain.tracing.otel.native_fields import joined_span, remapped_span
from domain.tracing.otel.otlp_state import OtlpState, source_span, trace_input, trace_output
from domain.tracing.otel.stored_spans import settled_span
from domain.tracing.otel.trace_state import (
    ComputedTrace,
    PayloadSource,
    SpanNode,
    compute_trace,
    settled_trace,
)
from domain.tracing.otel.usage_roles import usage_roles
from domain.tracing.payloads.payload import JsonText
from domain.tracing.span import Span, Totals
from domain.tracing.trace import models_of
from domain.tracing.usage import Pricing, UsageRole

COMPUTED_ON_LOOP_MAX: Final = 50  # spans; mapping and computing as many takes 10 ms
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
PAYLOAD_BYTES_ON_LOOP_MAX: Final = 128 << 10  # parsing as many takes 5 ms

REMAPPED_AT_ONCE: Final = 100  # spans that are mapped again because they take other records

NO_TEXTS: Final[Mapping[TraceKey, TextChange]] = {}

type TakingSpan = tuple[TraceKey, SpanId, Sequence[bytes]]
"""A span, and the digests of the records that it takes from others."""
type TracePayloads = list[tuple[TraceKey, str, JsonText | None]]
"""New payloads of traces, by trace and name."""
type ChangedPayload = tuple[TraceMerge, str, PayloadSource | None]
"""A trace, `input` or `output`, and where it comes from."""


@dataclass(slots=True)
class TraceMerge:
    """One trace in the transaction.

    `stored_at` is when its new fragment is stored; None if none came and it is settled. `before` is
    None for a trace that the transaction created. `text` takes the values that are written.
    `nodes` are its spans as they are now. `stored` and `written` are the versions before and after
    of the spans that change. `pending` are spans that aren't written yet, `flushed` those that are,
    without a role; `roles` are the roles of spans that are written already. `is_touched` if a
    fragment is new, or a span was mapped again. `has_native` if it has spans that came natively, of
    which `native` are those that fragments join.
    """

    key: TraceKey
    before: CountedTrace | None
    otlp: OtlpState
    stored_at: datetime | None
    text: TextChange
    nodes: dict[SpanId, SpanNode] = field(default_factory=dict)
    stored: dict[SpanId, Span] = field(default_factory=dict)
    written: dict[SpanId, Span] = field(default_factory=dict)
    pending: dict[SpanId, tuple[Span, SpanFacts]] = field(default_factory=dict)
    flushed: set[SpanId] = field(default_factory=set)
    roles: list[tuple[SpanId, UsageRole | None]] = field(default_factory=list)
    is_touched: bool = False
    has_native: bool = False
    native: dict[SpanId, Span] = field(default_factory=dict)

    @property
    def may_have_waiting_records(self) -> bool:
        """Whether records may have come before: until a span has come, its row doesn't say so."""
        return self.before is None or self.before.otlp is None

    def put_span(self, span: Span, mapped: MappedSpan) -> None:
        """Adds a span that was mapped, or mapped again; `span` is its settled form."""
        known = self.stored_span(span.id)
        if known is not None and span.id not in self.written:
            self.stored[span.id] = known
        self.nodes[span.id] = SpanNode.from_mapped(mapped, span)
        self.written[span.id] = span
        self.pending[span.id] = (span, mapped.facts)

    def stored_span(self, span_id: SpanId) -> Span | None:
        """The version of a span that is known before it is mapped."""
        node = self.nodes.get(span_id)
        return self.native.get(span_id) if node is None else node.span

    def replaced(self) -> Iterator[SpanId]:
        """The pending spans that have a row."""
        return (one for one in self.pending if one in self.stored or one in self.flushed)

    def is_mapped(self, span_id: SpanId | None) -> bool:
        return span_id in self.pending or span_id in self.flushed

    def is_edited(self, span_id: SpanId | None, name: str) -> bool:
        """Whether a native write changed this payload of a span."""
        node = None if span_id is None else self.nodes.get(span_id)
        return node is not None and name in node.facts.native_names

    def forget_payloads(self) -> None:
        """Pending spans were written, and others follow: keeps only what a trace depends on."""
        self.flushed |= self.pending.keys()
        for span_id in self.pending:
            light = without_content(self.written[span_id])
            self.written[span_id] = light
            self.nodes[span_id] = replace(self.nodes[span_id], span=light)
        self.pending = {}

    def compute(self) -> "TraceResult":
        """The trace of all its spans, at least one. Sets the roles of spans."""
        nodes = list(self.nodes.values())
        roles = usage_roles(nodes)
        for span_id, node in self.nodes.items():
            span, role = node.span, roles.get(span_id)
            if span.usage_role is role:
                continue
            if span_id not in self.written:
                self.stored[span_id] = span
            span = self.written[span_id] = replace(span, usage_role=role)
            if span_id in self.pending:
                self.pending[span_id] = (span, self.pending[span_id][1])
            else:
                self.roles.append((span_id, role))
        computed = compute_trace(self.key[1], nodes)
        if self.stored_at is None:
            computed = settled_trace(computed, nodes)
        otlp = self.otlp.after_computing(computed, self.stored_at)
        return TraceResult(self, computed, otlp)

    @property
    def lost_models(self) -> bool:
        """Whether a span that had a model has another one now."""
        return any(
            old.model not in {None, self.written[span_id].model}
            for span_id, old in self.stored.items()
        )


@dataclass(frozen=True, slots=True)
class TraceResult:
    """A computed trace, and its new state."""

    merge: TraceMerge
    computed: ComputedTrace
    otlp: OtlpState

    def changed_payloads(self) -> list[tuple[str, PayloadSource | None]]:
        """Which of `input` and `output` may differ from what is stored, and their sources."""
        known, computed = self.merge.otlp, self.computed
        return [
            (name, source)
            for name, before, after, source in (
                ("input", known.input_from, self.otlp.input_from, computed.input),
                ("output", known.output_from, self.otlp.output_from, computed.output),
            )
            if name not in self.otlp.native.names
            and (
                before != after
                or self.merge.is_mapped(source_span(source))
                or self.merge.is_edited(source_span(source), name)
            )
        ]

    def count(self, models: Mapping[TraceKey, tuple[str, ...]]) -> CountedTrace:
        """The trace with its totals. `models` are those of traces that may have lost one."""
        merge, before = self.merge, self.merge.before
        totals = Totals.from_spans(merge.written.values())
        names = models_of(merge.written.values())
        known, terms = None, frozenset[int]()
        if before is not None:
            known, terms = before.trace, before.span_terms
            totals = before.totals - Totals.from_spans(merge.stored.values()) + totals
            names = tuple(sorted({*before.models, *names}))
            if merge.lost_models:
                names = models.get(merge.key, ())
        row = self.otlp.row(self.computed, known)
        terms = terms_of_spans(merge.key[0], merge.written.values(), terms)
        return CountedTrace(merge.key[0], row, totals, names, terms, self.otlp)


@dataclass(slots=True)
class OtlpMerge:
    """The traces that fragments are merged into, in one transaction.

    `stored_at` is None if no fragment is new: for a worker that settles traces, and for
    `keeps_phases`, which leaves them settled or open as they are. `edited` are the stored rows of
    spans that native writes changed, and that are mapped again.
    """

    connection: Connection
    rules: FragmentRules
    pricing: Mapping[ProjectId, Pricing]
    stored_at: datetime | None
    keeps_phases: bool = False
    traces: dict[TraceKey, TraceMerge] = field(default_factory=dict)
    edited: dict[TraceKey, dict[SpanId, Span]] = field(default_factory=dict)

    async def open(
        self,
        known: Mapping[TraceKey, CountedTrace],
        new: Mapping[TraceKey, OtlpState],
        texts: Mapping[TraceKey, TextChange] = NO_TEXTS,
    ) -> None:
        """Adds locked traces with their rows, and those that this transaction created.

        `texts` are changes of texts that have begun already.
        """
        native = [key for key, row in known.items() if row.otlp is None]
        payloads = await fetch_payloads_set(self.connection, native)
        nodes = await fetch_nodes(self.connection, known)
        keys = [key for key in (*known, *new) if key not in texts]
        texts = {**texts, **await open_changes(self.connection, keys)}
        for key, row in known.items():
            otlp = row.otlp
            if otlp is None:
                said = payloads.get(key, ())
                otlp = OtlpState.from_native(row.trace, said, self.stored_at or EPOCH)
            stored_at = otlp.recomputed_at if self.keeps_phases else self.stored_at
            self.traces[key] = TraceMerge(
                key, row, otlp, stored_at, texts[key], nodes[key],
                has_native=row.totals.spans > len(nodes[key]),
            )  # fmt: skip
        for key, otlp in new.items():
            self.traces[key] = TraceMerge(key, None, otlp, self.stored_at, texts[key])

    def without_spans(self) -> list[TraceKey]:
        """The traces that this transaction created, and that no span came for."""
        return [key for key, one in self.traces.items() if one.before is None and not one.nodes]

    async def add(
        self,
        fragments: Mapping[TraceKey, TraceFragments],
        new: Collection[bytes],
        mapped: Mapping[SpanKey, MappedSpan],
    ) -> None:
        """Maps the spans of which a fragment is new, each from all its fragments.

        `new` are the digests of new fragments; `mapped` are spans mapped from `fragments` alone.
        """
        wanted: list[SpanKey] = []
        digests: list[bytes] = []
        for key, merge in self.traces.items():
            if merge.may_have_waiting_records:
                wanted.append((*key, TRACE_ONLY))  # records that waited for the trace
            for hex_id, span_fragments in (
                fragments[key].by_span.items() if key in fragments else ()
            ):
                if any(digest in new for digest in span_fragments):
                    merge.is_touched = True
                    if hex_id == ASSIGNED:
                        merge.otlp = replace(merge.otlp, takes_records=True)
                    if hex_id not in NO_SPANS:
                        wanted.append((*key, hex_id))
                        digests += span_fragments
        known = await fetch_fragments(self.connection, wanted, digests)
        await self._fetch_edited(
            ((project, trace), otel_span_id(trace, hex_id)) for project, trace, hex_id in wanted
        )
        is_long = (
            not mapped  # the chunk of a large request, or records alone
            or len(wanted) > COMPUTED_ON_LOOP_MAX
            or _bytes_to_map(fragments, known) > PAYLOAD_BYTES_ON_LOOP_MAX
        )
        records = await compute(self._map, fragments, mapped, wanted, known, is_long=is_long)
        await end_waiting(self.connection, records)

    async def _fetch_edited(self, spans: Iterable[tuple[TraceKey, SpanId]]) -> None:
        """The rows of those spans that native writes changed, or created."""
        edited: list[tuple[ProjectId, TraceId, SpanId]] = []
        for key, span_id in spans:
            merge = self.traces[key]
            node = merge.nodes.get(span_id)
            if merge.has_native if node is None else node.facts.is_edited:
                edited.append((*key, span_id))
        self.edited = await fetch_spans(self.connection, edited)
        for key, rows in self.edited.items():
            merge = self.traces[key]
            merge.native |= {id_: one for id_, one in rows.items() if id_ not in merge.nodes}

    def _map(
        self,
        fragments: Mapping[TraceKey, TraceFragments],
        mapped: Mapping[SpanKey, MappedSpan],
        wanted: Iterable[SpanKey],
        known: Mapping[SpanKey, Sequence[KnownFragment]],
    ) -> list[tuple[SpanKey, bytes]]:
        """Maps spans; returns the records that had waited for them."""
        waited: list[tuple[SpanKey, bytes]] = []
        for span_key in wanted:
            project, trace, hex_id = span_key
            earlier = known.get(span_key, ())
            waiting = [(span_key, one.digest) for one in earlier if one.is_waiting]
            if hex_id == TRACE_ONLY:
                waited += waiting
                continue
            if not earlier and span_key in mapped:
                self._put_mapped((project, trace), mapped[span_key])
                continue
            sent = [one.sent for one in fragments[project, trace].by_span[hex_id].values()]
            self.rules.check_fragments(len(sent) + len(earlier))
            sent += [self.rules.decode(one.data) for one in earlier]
            if any(isinstance(one, SentSpan) for one in sent):  # else the span isn't known yet
                self._map_span((project, trace), sent)
                waited += waiting
        for merge in self.traces.values():
            self.rules.check_spans(len(merge.nodes))
        return waited

    async def _assign_records(self) -> None:
        """Gives records to the spans that they belong to, and maps those that take others now."""
        taking = {
            key: one
            for key, one in self.traces.items()
            if one.is_touched
            and one.nodes
            and (one.may_have_waiting_records or one.otlp.takes_records)
        }
        outlines = await fetch_outlines(self.connection, taking)
        if not outlines:
            return
        is_long = sum(map(len, outlines.values())) > COMPUTED_ON_LOOP_MAX
        records, taken = await compute(self._assignments, outlines, is_long=is_long)
        await update_assigned(self.connection, records)
        for number, some in enumerate(batched(taken, REMAPPED_AT_ONCE)):
            if number:
                await self.flush()
            await self._map_taking(some)

    def _assignments(
        self, outlines: Mapping[TraceKey, Sequence[RecordOutline]]
    ) -> tuple[list[tuple[TraceKey, bytes, Collection[SpanId]]], list[TakingSpan]]:
        """The records whose spans change, and the spans to map again, with their records."""
        records: list[tuple[TraceKey, bytes, Collection[SpanId]]] = []
        taking: list[TakingSpan] = []
        for key, known in outlines.items():
            merge = self.traces[key]
            merge.otlp = replace(merge.otlp, takes_records=True)
            before = {one.digest: one.assigned for one in known}
            after = assign_claude_records(
                key[1],
                [(one.digest, self._record(one.outline)) for one in known],
                list(merge.nodes.values()),
            )
            records += [
                (key, digest, after.get(digest, ()))
                for digest, spans in before.items()
                if after.get(digest, ()) != spans
            ]
            by_span = defaultdict[SpanId, list[bytes]](list)
            for digest, spans in after.items():
                for span_id in spans:
                    by_span[span_id].append(digest)
            changed = changed_owners(before, after)
            changed |= {span_id for span_id in by_span if merge.is_mapped(span_id)}
            taking += [(key, span_id, by_span[span_id]) for span_id in sorted(changed)]
        return records, taking

    def _record(self, outline: bytes) -> SentRecord:
        record = self.rules.decode(outline)
        assert isinstance(record, SentRecord)
        return record

    async def _map_taking(self, taking: Sequence[TakingSpan]) -> None:
        """Maps spans from all their stored fragments and the records that they take."""
        # Fragments of this transaction are read as well.
        await write_changes(self.connection, [one.text for one in self.traces.values()])
        await self._fetch_edited((key, span_id) for key, span_id, _ in taking)
        spans = await self.fetch_data(taking)

        def map_all() -> None:
            for key, _, data in spans:
                self._map_span(key, list(map(self.rules.decode, data)))

        size = sum(len(one) for _, _, data in spans for one in data)
        is_long = len(spans) > COMPUTED_ON_LOOP_MAX or size > PAYLOAD_BYTES_ON_LOOP_MAX
        await compute(map_all, is_long=is_long)

    async def fetch_data(
        self, taking: Sequence[TakingSpan]
    ) -> list[tuple[TraceKey, SpanId, list[bytes]]]:
        """The data of all fragments of spans, and of the records that they take."""
        spans: list[tuple[TraceKey, SpanKey, Sequence[bytes]]] = []
        for key, span_id, digests in taking:
            hex_id = self.traces[key].nodes[span_id].facts.hex_id
            spans.append((key, (*key, hex_id), digests))
        known = await fetch_fragments(self.connection, [one for _, one, _ in spans], ())
        wanted = {(*key, digest) for key, _, digests in spans for digest in digests}
        records = await fetch_assigned(self.connection, wanted)
        return [
            (key, otel_span_id(key[1], span_key[2]),
             [one.data for one in known.get(span_key, ())] + [records[one] for one in digests])
            for key, span_key, digests in spans
        ]  # fmt: skip

    def _map_span(self, key: TraceKey, sent: Sequence[Sent]) -> None:
        self._put_mapped(key, self.rules.map_span(key[1], sent))

    def _put_mapped(self, key: TraceKey, mapped: MappedSpan) -> None:
        span, mapped = self.settled(key, mapped)
        self.traces[key].put_span(span, mapped)

    def settled(self, key: TraceKey, mapped: MappedSpan) -> tuple[Span, MappedSpan]:
        """The settled form of a mapped span, and the mapped one with native changes."""
        merge, span_id = self.traces[key], mapped.span.id
        old, stored = merge.nodes.get(span_id), merge.stored_span(span_id)
        if old is not None and old.facts.is_edited:
            mapped = remapped_span(mapped, self.edited[key][span_id], old.facts)
        elif old is None and stored is not None:
            mapped = joined_span(mapped, stored)
        return settled_span(mapped.span, stored, self.pricing[key[0]]), mapped

    async def flush(self) -> None:
        """Writes the pending spans, without roles, before other spans follow."""
        await self._write_spans()
        await compute(_forget_payloads, self.traces.values(), is_long=True)

    async def _write_spans(self) -> None:
        merges = self.traces.values()
        replaced = [(*merge.key, span_id) for merge in merges for span_id in merge.replaced()]
        for key in {one[:2] for one in replaced}:
            self.traces[key].text.replaces = True
        pending = [span for merge in merges for span, _ in merge.pending.values()]
        is_long = len(pending) > COMPUTED_ON_LOOP_MAX or takes_long(0, 0, grouped_chars(pending))
        rows = await compute(_rows_of_spans, merges, is_long=is_long)
        await insert_otlp_spans(self.connection, rows, replaced)
        await write_changes(self.connection, [one.text for one in merges])

    async def finish(self, deltas: ProjectDeltas) -> None:
        """Assigns records to spans, and writes what is touched as `write_touched` does."""
        await self._assign_records()
        await self.write_touched(deltas)

    async def write_touched(self, deltas: ProjectDeltas) -> None:
        """Computes the traces of which a fragment is new, writes them, and counts the changes."""
        touched = [one for one in self.traces.values() if one.is_touched and one.nodes]
        is_long = sum(len(one.nodes) for one in touched) > COMPUTED_ON_LOOP_MAX
        results = await compute(_compute, touched, is_long=is_long)
        for key, name, payload in await self._payloads(results):
            self.traces[key].text.set_payload(name, payload)
        await self._write_spans()
        await update_roles(
            self.connection, [(*one.key, *role) for one in touched for role in one.roles]
        )
        losing = [one.key for one in touched if one.lost_models]
        models = await fetch_models(self.connection, losing)
        counted = await compute(_count, results, models, deltas, is_long=is_long)
        lost = [
            (before.project, subject)
            for before, after in counted
            if before is not None
            for subject in data_subjects_of(before.trace) - data_subjects_of(after.trace)
        ]
        await check_not_erased(self.connection, lost)
        if counted:
            rows = arrays(trace_row(after) for _, after in counted)
            await upsert_traces(self.connection, rows)

    async def _payloads(self, results: Sequence[TraceResult]) -> TracePayloads:
        """The inputs and the outputs that are to be written."""
        changed: list[ChangedPayload] = [
            (one.merge, name, source) for one in results for name, source in one.changed_payloads()
        ]
        wanted: dict[str, set[SpanRowKey]] = {"input": set(), "output": set()}
        for merge, name, source in changed:
            span_id = source_span(source)
            if span_id is not None and span_id not in merge.pending:
                wanted[name].add((*merge.key, span_id))
        stored = await fetch_span_payloads(self.connection, wanted["input"], wanted["output"])
        resolve = partial(_resolve_payloads, changed, stored)
        size = sum(len(text or b"") for texts in stored.values() for text in texts)
        for merge, name, source in changed:
            if (span_id := source_span(source)) in merge.pending:
                span, _ = merge.pending[span_id]
                size += len((span.input if name == "input" else span.output) or b"")
        return await compute(resolve, is_long=size > PAYLOAD_BYTES_ON_LOOP_MAX)


def _bytes_to_map(
    fragments: Mapping[TraceKey, TraceFragments], known: Mapping[SpanKey, Sequence[KnownFragment]]
) -> int:
    """The size of all fragments of the spans that have some already."""
    size = 0
    for (project, trace, hex_id), earlier in known.items():
        size += sum(len(one.data) for one in earlier)
        if (trace_fragments := fragments.get((project, trace))) is not None:
            size += sum(len(one.data) for one in trace_fragments.by_span.get(hex_id, {}).values())
    return size


def _resolve_payloads(
    changed: Iterable[ChangedPayload],
    stored: Mapping[SpanRowKey, tuple[JsonText | None, JsonText | None]],
) -> TracePayloads:
    resolved: TracePayloads = []
    for merge, name, source in changed:
        span_payloads: tuple[JsonText | None, JsonText | None] = (None, None)
        span_id = source_span(source)
        if span_id in merge.pending:
            span, _ = merge.pending[span_id]
            span_payloads = (span.input, span.output)
        elif span_id is not None:
            span_payloads = stored[(*merge.key, span_id)]
        is_input = name == "input"
        payload = (
            trace_input(source, span_payloads[0])
            if is_input
            else trace_output(source, span_payloads[1])
        )
        resolved.append((merge.key, name, payload))
    return resolved


def _forget_payloads(merges: Iterable[TraceMerge]) -> None:
    for merge in merges:
        merge.forget_payloads()


def _compute(merges: Iterable[TraceMerge]) -> list[TraceResult]:
    return [merge.compute() for merge in merges]


def _rows_of_spans(merges: Iterable[TraceMerge]) -> list[tuple[object, ...]]:
    return [
        otlp_span_row(merge.key, merge.text.text.add_span(span), span, facts)
        for merge in merges
        for span, facts in merge.pending.values()
    ]


def _count(
    results: Iterable[TraceResult],
    models: Mapping[TraceKey, tuple[str, ...]],
    deltas: ProjectDeltas,
) -> list[tuple[CountedTrace | None, CountedTrace]]:
    """The traces before and after; adds the changes to `deltas`."""
    counted = []
    for one in results:
        merge, before, after = one.merge, one.merge.before, one.count(models)
        project_deltas = deltas[after.project]
        if before is None:
            project_deltas.add_trace(after)
        else:
            project_deltas.change_trace(before, after)
        project_deltas.remove_spans(merge.stored.values())
        project_deltas.add_spans(after.trace, merge.written.values())
        counted.append((before, after))
    return counted
