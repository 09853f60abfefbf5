"""Random histories of fragments: memory and PostgreSQL agree, and order changes nothing.

Part of the contract of OtlpTraces.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from application.tracing.otlp.ports import BATCH_BYTES
from domain.errors import Failure
from domain.ids import ProjectId, TraceId
from domain.tracing.otel.fragments import Sent, otel_span_id
from domain.tracing.span import Span, SpanChange
from domain.tracing.trace import Trace, TraceChange
from tests.support.builders import otel_strategies, strategies, trace_strategies
from tests.support.builders.otel import fragments
from tests.support.fixtures.data_plane import (
    DataPlane,
    assert_summaries_match,
    over_memory,
    over_postgres,
)
from tests.support.fixtures.histories import ComparedHistories, assert_histories_agree
from tests.support.waiting import until_done

pytestmark = pytest.mark.service

TRACE_IDS: Final = strategies.TRACE_IDS[:2]
FAR_FUTURE: Final = datetime.now(UTC) + timedelta(days=400)

trace_ids: Final = st.sampled_from(TRACE_IDS)
some_sent: Final = st.lists(otel_strategies.sent(), min_size=1, max_size=6)

# Two of the larger ones are more than BATCH_BYTES.
sizes: Final = st.sampled_from([1_000, 1_000, BATCH_BYTES // 2 + 1])


class Histories(ComparedHistories[DataPlane]):
    """One project. Fragments come alone, together, concurrently, and again."""

    @initialize(sent=some_sent)
    def begin(self, sent: Sequence[Sent]) -> None:
        self.project = ProjectId(uuid.uuid4())
        self.model = over_memory()
        self.known: dict[TraceId, list[Sent]] = {id_: [] for id_ in TRACE_IDS}
        self.mixed: set[TraceId] = set()  # traces that native writes changed
        self.settled: set[TraceId] = set()
        self.put(TRACE_IDS[0], sent)

    # --- fragments ---

    @rule(trace=trace_ids, sent=some_sent)
    def put(self, trace: TraceId, sent: Sequence[Sent]) -> None:
        self._note(trace, sent)
        self.run_on_both(lambda plane: plane.otlp.put(self.project, trace, fragments(trace, *sent)))

    @rule(some=st.lists(st.tuples(trace_ids, some_sent), min_size=2, max_size=4), size=sizes)
    def put_at_once(self, some: Sequence[tuple[TraceId, Sequence[Sent]]], size: int) -> None:
        for trace, sent in some:
            self._note(trace, sent)

        async def act(plane: DataPlane) -> None:
            puts = [
                plane.otlp.put(self.project, id_, fragments(id_, *sent, size=size))
                for id_, sent in some
            ]
            await asyncio.gather(*puts)

        self.run_on_both(act)

    @rule(trace=trace_ids, data=st.data())
    def put_again(self, trace: TraceId, data: st.DataObject) -> None:
        if known := self.known[trace]:
            again = data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=3))
            self.run_on_both(
                lambda plane: plane.otlp.put(self.project, trace, fragments(trace, *again))
            )

    def _note(self, trace: TraceId, sent: Sequence[Sent]) -> None:
        if any(one not in self.known[trace] for one in sent):
            self.settled.discard(trace)
        self.known[trace] += sent

    # --- workers ---

    @rule()
    def settle(self) -> None:
        async def act(plane: DataPlane) -> None:
            await until_done(plane.otlp.settle_open_traces, FAR_FUTURE)

        self.run_on_both(act)
        self.settled.update(TRACE_IDS)

    # --- native writes ---

    @rule(trace=trace_strategies.traces(), id_=trace_ids)
    def put_natively(self, trace: Trace, id_: TraceId) -> None:
        self.mixed.add(id_)
        self.run_on_both(lambda plane: plane.traces.put(self.project, replace(trace, id=id_)))

    @rule(trace=trace_ids, spans=st.lists(trace_strategies.spans(), min_size=1, max_size=2))
    def add_spans(self, trace: TraceId, spans: Sequence[Span]) -> None:
        self._change_natively(
            trace, lambda plane: plane.traces.add_spans(self.project, trace, spans)
        )

    @rule(trace=trace_ids, hex_id=otel_strategies.hex_ids, span=trace_strategies.spans())
    def add_otel_span(self, trace: TraceId, hex_id: str, span: Span) -> None:
        """As an import does, maybe before its fragments come."""
        known = replace(span, id=otel_span_id(trace, hex_id))
        self._change_natively(
            trace, lambda plane: plane.traces.add_spans(self.project, trace, [known])
        )

    @rule(trace=trace_ids, change=trace_strategies.trace_changes)
    def change(self, trace: TraceId, change: TraceChange) -> None:
        self._change_natively(trace, lambda plane: plane.traces.change(self.project, trace, change))

    @rule(trace=trace_ids, hex_id=otel_strategies.hex_ids, change=trace_strategies.span_changes)
    def change_span(self, trace: TraceId, hex_id: str, change: SpanChange) -> None:
        span = otel_span_id(trace, hex_id)
        self._change_natively(
            trace, lambda plane: plane.traces.change_span(self.project, trace, span, change)
        )

    @rule(trace=trace_ids, add=trace_strategies.tags, remove=trace_strategies.tags)
    def retag(self, trace: TraceId, add: Sequence[str], remove: Sequence[str]) -> None:
        self._change_natively(
            trace, lambda plane: plane.traces.retag(self.project, [trace], add, remove)
        )

    def _change_natively(self, trace: TraceId, act: Callable[[DataPlane], Awaitable[Any]]) -> None:
        outcome = self.run_on_both(act)
        if outcome != 0 and not isinstance(outcome, tuple):
            self.mixed.add(trace)

    @rule(trace=trace_ids)
    def delete(self, trace: TraceId) -> None:
        gone = self.run_on_both(lambda plane: plane.traces.delete(self.project, [trace]))
        if gone:  # waiting records of a trace that isn't there stay
            self.known[trace] = []
            self.mixed.discard(trace)

    # --- reads ---

    @invariant()
    def stores_agree(self) -> None:
        self.run_on_both(lambda plane: assert_summaries_match(plane, self.project))

    @invariant()
    def rows_are_those_of_all_fragments_at_once(self) -> None:
        for trace, sent in getattr(self, "known", {}).items():
            if trace in self.mixed or not sent:
                continue
            found = self.outcome(partial(_read, self.project, trace), self.model)
            assert found == self.runner.run(self._all_at_once(trace, sent))

    async def _all_at_once(self, trace: TraceId, sent: Sequence[Sent]) -> Any:
        plane = over_memory()
        await plane.otlp.put(self.project, trace, fragments(trace, *reversed(sent)))
        if trace in self.settled:
            await plane.otlp.settle_open_traces(FAR_FUTURE)
        try:
            return await plane.traces.get(self.project, trace)
        except Failure as failure:
            return type(failure), failure.message


async def _read(project: ProjectId, trace: TraceId, plane: DataPlane) -> Trace:
    return await plane.traces.get(project, trace)


def test_random_histories_of_fragments_agree(pool, serving_url):
    assert_histories_agree(Histories, over_postgres, serving_url, examples=100, steps=12)
