"""Traces of OpenTelemetry fragments in memory."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from adapters.memory.store import MemoryStore, OtlpTrace, StoredFragment
from application.privacy.ports import trace_was_erased
from application.tracing.otlp.ports import (
    DELETED_RECORDS_MAX,
    SETTLED_TRACES_MAX,
    FragmentRules,
    OrphanedRecord,
)
from application.tracing.ports import PriceBook
from domain.ids import ProjectId, SpanId, TraceId
from domain.tracing.model_price import pricing_of
from domain.tracing.otel.facts import SpanFacts
from domain.tracing.otel.fragments import Fragment, Sent, SentRecord, SentSpan, otel_span_id
from domain.tracing.otel.otlp_state import (
    OtlpPhase,
    OtlpState,
    source_span,
    trace_input,
    trace_output,
)
from domain.tracing.otel.stored_spans import settled_span, with_role, without_role
from domain.tracing.otel.trace_state import SpanNode, compute_trace, settled_trace
from domain.tracing.otel.usage_roles import usage_roles
from domain.tracing.span import Span
from domain.tracing.trace import Trace, in_order
from domain.tracing.usage import Pricing

TRACE_ONLY: Final = ""

type FragmentKey = tuple[ProjectId, TraceId, str, bytes]


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
            key = (project, trace, fragment.span_id or TRACE_ONLY, self.rules.encode(sent))
            if key not in self.store.fragments:
                new[key] = sent
        if not new:
            return
        now = self.store.traces.clock()
        changed, facts = self._mapped(project, trace, new)
        known = self.store.traces.get((project, trace))
        if changed or (project, trace) in self.store.otlp:
            merged, otlp = self._computed(project, trace, changed, facts, now)
            if known is not None and self.store.leaves_erased_subject(project, known, merged):
                raise trace_was_erased()
            self.store.traces[project, trace] = merged
            self.store.otlp[project, trace] = otlp
        for key, sent in new.items():
            self.store.fragments[key] = StoredFragment(sent, now, is_waiting=True)
        self._end_waiting(project, trace)

    def _mapped(
        self, project: ProjectId, trace: TraceId, new: Mapping[FragmentKey, Sent]
    ) -> tuple[dict[SpanId, Span], dict[SpanId, SpanFacts]]:
        """The spans of which a fragment is new, each from all its fragments."""
        affected = {key[2] for key in new} - {TRACE_ONLY}
        by_span = defaultdict[str, list[Sent]](list)
        for key, one in self.store.fragments.items():
            if key[:2] == (project, trace) and key[2] in affected:
                by_span[key[2]].append(one.sent)
        for key, sent in new.items():
            by_span[key[2]].append(sent)
        pricing, known = self._pricing(project), self._spans(project, trace)
        changed: dict[SpanId, Span] = {}
        facts: dict[SpanId, SpanFacts] = {}
        for hex_id in affected:
            sent_of_span = by_span[hex_id]
            if any(isinstance(one, SentSpan) for one in sent_of_span):
                mapped = self.rules.map_span(trace, sent_of_span)
                stored = known.get(mapped.span.id)
                changed[mapped.span.id] = settled_span(mapped.span, stored, pricing)
                facts[mapped.span.id] = mapped.facts
        return changed, facts

    def _computed(
        self,
        project: ProjectId,
        trace: TraceId,
        changed: Mapping[SpanId, Span],
        new_facts: Mapping[SpanId, SpanFacts],
        stored_at: datetime | None,
    ) -> tuple[Trace, OtlpTrace]:
        """The trace with its changed spans; `stored_at` is None if a worker settles it."""
        known = self.store.traces.get((project, trace))
        stored = self.store.otlp.get((project, trace))
        facts = {**(stored.facts if stored is not None else {}), **new_facts}
        spans = {**self._spans(project, trace), **changed}
        bare = {id_: without_role(spans[id_]) for id_ in facts}
        nodes = [
            SpanNode(one, facts[id_], one.input is not None, one.output is not None)
            for id_, one in bare.items()
        ]
        roles, computed = usage_roles(nodes), compute_trace(trace, nodes)
        if stored_at is None:
            computed = settled_trace(computed, nodes)
        if stored is not None:
            state = stored.state
        elif known is not None:
            assert stored_at is not None
            payloads = [name for name in ("input", "output") if getattr(known, name) is not None]
            state = OtlpState.from_native(_without_payloads(known), payloads, stored_at)
        else:
            assert stored_at is not None
            state = OtlpState(stored_at=stored_at)
        state = state.after_computing(computed, stored_at)
        asked, answered = source_span(computed.input), source_span(computed.output)
        input_ = trace_input(computed.input, None if asked is None else spans[asked].input)
        output = trace_output(computed.output, None if answered is None else spans[answered].output)
        if known is not None:
            input_ = known.input if "input" in state.native.names else input_
            output = known.output if "output" in state.native.names else output
        spans |= {id_: with_role(one, roles.get(id_)) for id_, one in bare.items()}
        row = state.row(computed, known)
        whole = replace(row, input=input_, output=output, spans=in_order(spans.values()))
        return whole, OtlpTrace(state, facts)

    def _end_waiting(self, project: ProjectId, trace: TraceId) -> None:
        """Records don't wait any longer if their span, or trace, is known now."""
        if (project, trace) not in self.store.traces:
            return
        known = self._spans(project, trace).keys()
        for key, one in self.store.fragments.items():
            if key[:2] != (project, trace):
                continue
            waits = key[2] != TRACE_ONLY and otel_span_id(trace, key[2]) not in known
            self.store.fragments[key] = replace(one, is_waiting=waits)

    def _spans(self, project: ProjectId, trace: TraceId) -> dict[SpanId, Span]:
        known = self.store.traces.get((project, trace))
        return {} if known is None else {one.id: one for one in known.spans}

    def _pricing(self, project: ProjectId) -> Pricing:
        return pricing_of(self.store.model_prices.of(project), self.prices.price)

    async def settle_open_traces(self, before: datetime) -> int:
        found = [
            (one.state.stored_at, *key)
            for key, one in self.store.otlp.live()
            if one.state.phase is OtlpPhase.OPEN and one.state.stored_at < before
        ]
        settled = sorted(found)[:SETTLED_TRACES_MAX]
        for _, project, trace in settled:
            whole, otlp = self._computed(project, trace, {}, {}, None)
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


def _without_payloads(trace: Trace) -> Trace:
    return replace(trace, input=None, output=None)
