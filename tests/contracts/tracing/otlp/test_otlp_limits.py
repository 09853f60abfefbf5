"""Limits of what a trace may have, as a part of the contract of OtlpTraces."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from adapters.memory.store import MemoryStore
from adapters.memory.tracing.otlp_traces import MemoryOtlpTraces
from adapters.postgres.database.pool import Pool
from adapters.postgres.tracing.otlp.otlp_traces import PostgresOtlpTraces
from adapters.postgres.tracing.writes.edits import TraceEdits
from application.tracing.otlp.ports import BATCH_BYTES, OtlpTraces
from domain.errors import Invalid
from entrypoints.composition.otlp_rules import fragment_rules
from tests.support.builders.otel import fragments, sent_record, sent_span
from tests.support.builders.values import prices, project_prices, trace_id
from tests.support.fixtures.data_plane import project

RULES = replace(fragment_rules(), spans_max=3, fragments_max=3)
SIZES = pytest.mark.parametrize("size", [1_000, BATCH_BYTES])


@pytest.fixture
async def otlp(adapter: Pool | None) -> AsyncIterator[OtlpTraces]:
    if adapter is None:
        yield MemoryOtlpTraces(MemoryStore(), prices(), RULES)
        return
    async with PostgresOtlpTraces.open(TraceEdits(adapter, project_prices()), RULES) as postgres:
        yield postgres


@SIZES
async def test_trace_has_limited_spans(otlp, size):
    ours, id_ = project(), trace_id()
    spans = [sent_span(span_id=f"{n:016x}") for n in range(1, 5)]
    with pytest.raises(Invalid, match="Validation") as refused:
        await otlp.put(ours, id_, fragments(id_, *spans, size=size))
    assert refused.value.errors[0].message == "a trace has at most 3 OpenTelemetry spans"
    await otlp.put(ours, id_, fragments(id_, *spans[:2], size=size))
    await otlp.put(ours, id_, fragments(id_, *spans[:3], size=size))
    with pytest.raises(Invalid):
        await otlp.put(ours, id_, fragments(id_, spans[3], size=size))
    await otlp.put(ours, id_, fragments(id_, *spans[:3], size=size))


@SIZES
async def test_span_has_limited_fragments(otlp, size):
    ours, id_ = project(), trace_id()
    records = [sent_record("gen_ai.user.message", {"content": f"{n}"}) for n in range(4)]
    await otlp.put(ours, id_, fragments(id_, sent_span(), size=size))
    for record in records[:2]:
        await otlp.put(ours, id_, fragments(id_, record, size=size))
    with pytest.raises(Invalid) as refused:
        await otlp.put(ours, id_, fragments(id_, records[2], size=size))
    assert "at most 3 fragments" in refused.value.errors[0].message
    other = trace_id()
    with pytest.raises(Invalid):
        await otlp.put(ours, other, fragments(other, sent_span(), *records[:3], size=size))
