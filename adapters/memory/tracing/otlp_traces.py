"""Traces of OpenTelemetry fragments in memory."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from adapters.memory.store import MemoryStore, OtlpTrace, StoredFragment
from application.privacy.ports import trace_was_erased
from application.tracing.otlp.ports import (
    CHANGES_SHOWN_MAX,
    DELETED_RECORDS_MAX,
    REMAPPED_TRACES_MAX,
    SETTLED_TRACES_MAX,
    FragmentRules,
    OrphanedRecord,
    RemappedTraces,
    TracePosition,
)
from application.tracing.ports import PriceBook
from domain.ids import ProjectId, SpanId, TraceId
from domain.pricing.model_price import pricing_of
from domain.tracing.otel.claude_code import (
    ASSIGNED_RECORDS,
    assign_claude_records,
    changed_owners,
)
from domain.tracing.otel.facts import MappedSpan
from domain.tracing.otel.fragments import (
    Fragment,
    Sent,
    SentRecord,
    SentSpan,
    fragment_digest,
    otel_span_id,
)
from domain.tracing.otel.native_fields import joined_span, remapped_span
from domain.tracing.otel.otlp_state import (
    OtlpPhase,
    OtlpState,
    source_span,
    trace_input,
    trace_output,
)
from domain.tracing.otel.remapping import FieldChange, field_changes
from domain.tracing.otel.stored_spans import settled_span, with_role, without_role
from domain.tracing.otel.trace_state import SpanNode, compute_trace, settled_trace
from domain.tracing.otel.usage_roles import usage_roles
from domain.tracing.span import Span
from domain.tracing.trace import Trace, in_order
from domain.tracing.usage import Pricing

TRACE_ONLY: Final = ""
ASSIGNED: Final = "assigned"  # of records that belong to other spans than they name
NO_SPANS: Final = frozenset({TRACE_ONLY, ASSIGNED})

type FragmentKey = tuple[ProjectId, TraceId, str, bytes]
"""A project, a trace, the hex digits of a span, and the digest of a fragment."""
type Assigned = Mapping[bytes, tuple[SpanId, ...]]
"""The spans that take records which name others, by the digest of a record."""


@dataclass(frozen=True, slots=True)
class MemoryOtlpTraces:
    store: MemoryStore
    prices: PriceBook
    rules: FragmentRules

    async def put(self, project: ProjectId, trace: TraceId, fragments: Sequence[Fragment]) -> None:
        self.store.check_exists(project)
        if (project, trace) in self.store.erased:
            raise trace_was_erased()
        new: dict[FragmentKey, Sent] = {}
        for fragment in fragments:
            sent = fragment.decode()
            digest = fragment_digest(trace, self.rules.encode(sent))
            key = (project, trace, _span_of(sent), digest)
            if key not in self.store.fragments:
                new[key] = sent
        if not new:
            return
        now = self.store.traces.clock()
        mapped, assigned = self._mapped(project, trace, new, {key[2] for key in new} - NO_SPANS)
        known = self.store.traces.get((project, trace))
        if mapped or (project, trace) in self.store.otlp:
            merged, otlp = self._computed(project, trace, mapped, assigned, now)
            if known is not None and self.store.leaves_erased_subject(project, known, merged):
                raise trace_was_erased()
            self.store.traces[project, trace] = merged
            self.store.otlp[project, trace] = otlp
        for key, sent in new.items():
            self.store.fragments[key] = StoredFragment(sent, now, is_waiting=True)
        self._end_waiting(project, trace)

    def _mapped(
        self,
        project: ProjectId,
        trace: TraceId,
        new: Mapping[FragmentKey, Sent],
        hex_ids: Iterable[str],
    ) -> tuple[dict[SpanId, MappedSpan], Assigned]:
        """The spans of these ids, and those that take other records, settled; and the takers."""
        by_span = defaultdict[str, dict[bytes, Sent]](dict)
        for key, one in self.store.fragments.items():
            if key[:2] == (project, trace):
                by_span[key[2]][key[3]] = one.sent
        for key, sent in new.items():
            by_span[key[2]][key[3]] = sent
        mapped: dict[SpanId, MappedSpan] = {}
        known = self.store.otlp.get((project, trace))
        known_facts = {} if known is None else known.facts

        def map_span(hex_id: str, records: Iterable[Sent] = ()) -> None:
            sent = [*by_span[hex_id].values(), *records]
            self.rules.check_fragments(len(sent))
            if any(isinstance(one, SentSpan) for one in sent):
                span = self.rules.map_span(trace, sent)
                stored = self._spans(project, trace).get(span.span.id)
                if stored is not None:
                    facts = known_facts.get(stored.id)
                    span = (
                        joined_span(span, stored)
                        if facts is None
                        else remapped_span(span, stored, facts)
                    )
                settled = settled_span(span.span, stored, self._pricing(project))
                mapped[settled.id] = replace(span, span=settled)

        for hex_id in hex_ids:
            map_span(hex_id)
        records = by_span[ASSIGNED]
        before: Assigned = {} if known is None else known.assigned
        nodes = self._nodes(project, trace, mapped)
        self.rules.check_spans(len(nodes))
        after = assign_claude_records(
            trace,
            [(digest, one) for digest, one in records.items() if isinstance(one, SentRecord)],
            list(nodes.values()),
        )
        owners = {span_id for spans in after.values() for span_id in spans}
        for span_id in changed_owners(before, after) | (owners & mapped.keys()):
            taken = [records[digest] for digest, spans in after.items() if span_id in spans]
            map_span(nodes[span_id].facts.hex_id, taken)
        return mapped, after

    def _nodes(
        self, project: ProjectId, trace: TraceId, mapped: Mapping[SpanId, MappedSpan]
    ) -> dict[SpanId, SpanNode]:
        """The OpenTelemetry spans of a trace, without roles; `mapped` are new ones."""
        stored = self.store.otlp.get((project, trace))
        facts = {} if stored is None else dict(stored.facts)
        spans = {id_: without_role(one) for id_, one in self._spans(project, trace).items()}
        for id_, one in mapped.items():
            facts[id_], spans[id_] = one.facts, one.span
        return {
            id_: SpanNode(
                spans[id_], facts[id_], spans[id_].input is not None, spans[id_].output is not None
            )
            for id_ in facts
        }

    def _computed(
        self,
        project: ProjectId,
        trace: TraceId,
        mapped: Mapping[SpanId, MappedSpan],
        assigned: Assigned,
        stored_at: datetime | None,
    ) -> tuple[Trace, OtlpTrace]:
        """The trace with its changed spans; `stored_at` is None if a worker settles it."""
        known = self.store.traces.get((project, trace))
        by_id = self._nodes(project, trace, mapped)
        nodes = list(by_id.values())
        roles, computed = usage_roles(nodes), compute_trace(trace, nodes)
        if stored_at is None:
            computed = settled_trace(computed, nodes)
        state = self._state(project, trace, stored_at).after_computing(computed, stored_at)
        spans = self._spans(project, trace)
        spans |= {id_: with_role(node.span, roles.get(id_)) for id_, node in by_id.items()}
        asked, answered = source_span(computed.input), source_span(computed.output)
        input_ = trace_input(computed.input, None if asked is None else spans[asked].input)
        output = trace_output(computed.output, None if answered is None else spans[answered].output)
        if known is not None:
            input_ = known.input if "input" in state.native.names else input_
            output = known.output if "output" in state.native.names else output
        row = state.row(computed, known)
        whole = replace(row, input=input_, output=output, spans=in_order(spans.values()))
        facts = {id_: node.facts for id_, node in by_id.items()}
        return whole, OtlpTrace(state, facts, assigned)

    def _state(self, project: ProjectId, trace: TraceId, stored_at: datetime | None) -> OtlpState:
        """The state of the trace before its fragments are computed."""
        stored = self.store.otlp.get((project, trace))
        if stored is not None:
            return stored.state
        assert stored_at is not None
        known = self.store.traces.get((project, trace))
        if known is None:
            return OtlpState(stored_at=stored_at)
        payloads = [name for name in ("input", "output") if getattr(known, name) is not None]
        bare = replace(known, input=None, output=None)
        return OtlpState.from_native(bare, payloads, stored_at)

    def _end_waiting(self, project: ProjectId, trace: TraceId) -> None:
        """Records don't wait any longer if their span, or trace, is known now."""
        if (project, trace) not in self.store.traces:
            return
        known = self._spans(project, trace).keys()
        stored = self.store.otlp.get((project, trace))
        for key, one in self.store.fragments.items():
            if key[:2] != (project, trace):
                continue
            if key[2] == ASSIGNED:
                waits = stored is None or not stored.assigned.get(key[3])
            else:
                waits = key[2] != TRACE_ONLY and otel_span_id(trace, key[2]) not in known
            self.store.fragments[key] = replace(one, is_waiting=waits)

    def _spans(self, project: ProjectId, trace: TraceId) -> dict[SpanId, Span]:
        known = self.store.traces.get((project, trace))
        return {} if known is None else {one.id: one for one in known.spans}

    def _pricing(self, project: ProjectId) -> Pricing:
        return pricing_of(self.store.model_prices.in_project(project), self.prices.price)

    async def settle_open_traces(self, before: datetime) -> int:
        found = [
            (one.state.stored_at, *key)
            for key, one in self.store.otlp.live()
            if one.state.phase is OtlpPhase.OPEN and one.state.stored_at < before
        ]
        settled = sorted(found)[:SETTLED_TRACES_MAX]
        for _, project, trace in settled:
            assigned = self.store.otlp[project, trace].assigned
            whole, otlp = self._computed(project, trace, {}, assigned, None)
            self.store.traces[project, trace] = whole
            self.store.otlp[project, trace] = otlp
        return len(settled)

    async def delete_orphaned_records(self, before: datetime) -> Sequence[OrphanedRecord]:
        old = sorted(
            (one.stored_at, key)
            for key, one in self.store.fragments.items()
            if one.is_waiting and one.stored_at < before
        )
        gone = [(key, self.store.fragments.pop(key)) for _, key in old[:DELETED_RECORDS_MAX]]
        return [
            OrphanedRecord(key[0], key[1], one.sent)
            for key, one in gone
            if isinstance(one.sent, SentRecord)
        ]

    async def remap(
        self, project: ProjectId | None, after: TracePosition | None, *, is_dry_run: bool
    ) -> RemappedTraces:
        keys = sorted(key for key, _ in self.store.otlp.live() if project in {None, key[0]})
        keys = [key for key in keys if after is None or key > after][:REMAPPED_TRACES_MAX]
        changes: list[FieldChange] = []
        changed = [
            count
            for key in keys
            if self.store.visible_trace(*key) is not None
            and (count := self._remap(*key, changes, is_dry_run=is_dry_run))
        ]
        return RemappedTraces(
            last=keys[-1] if keys else None,
            traces=len(keys),
            changed_traces=len(changed),
            changed_spans=sum(changed),
            changes=changes[:CHANGES_SHOWN_MAX],
        )

    def _remap(
        self, project: ProjectId, trace: TraceId, changes: list[FieldChange], *, is_dry_run: bool
    ) -> int:
        """Maps the spans of other versions again; how many change."""
        known = self.store.otlp[project, trace]
        version = self.rules.version
        old = [one.hex_id for one in known.facts.values() if one.mapping_version != version]
        if not old:
            return 0
        mapped, assigned = self._mapped(project, trace, {}, old)
        spans = self._spans(project, trace)
        changed: dict[SpanId, MappedSpan] = {}
        for id_, one in mapped.items():
            before = (spans[id_], known.facts[id_])
            if found := field_changes(project, trace, before, (one.span, one.facts)):
                changed[id_] = one
                changes += found
        if is_dry_run:
            return len(changed)
        facts = dict(known.facts) | {id_: one.facts for id_, one in mapped.items()}
        self.store.otlp[project, trace] = replace(known, facts=facts)
        if changed:
            at = known.state.recomputed_at
            whole, otlp = self._computed(project, trace, changed, assigned, at)
            self.store.traces[project, trace] = whole
            self.store.otlp[project, trace] = otlp
        return len(changed)


def _span_of(sent: Sent) -> str:
    if isinstance(sent, SentRecord) and sent.name in ASSIGNED_RECORDS:
        return ASSIGNED
    return sent.span_id or TRACE_ONLY
