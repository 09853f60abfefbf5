"""What is particular to OpenTelemetry traces in PostgreSQL: memory, and removed projects."""

import gc
import json
import tracemalloc
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from adapters.postgres.database.pool import Pool
from adapters.postgres.tracing.otlp.otlp_traces import PostgresOtlpTraces
from adapters.postgres.tracing.writes.edits import TraceEdits
from application.tracing.otlp.ports import BATCH_BYTES, CHUNK_BYTES
from domain.errors import Unavailable
from domain.ids import ProjectId, TraceId
from domain.tracing.otel.fragments import Sent, SentSpan
from entrypoints.composition.otlp_rules import fragment_rules
from tests.support.builders.otel import START_NS, fragments, sent_record, sent_span
from tests.support.builders.values import project_prices, trace_id

pytestmark = pytest.mark.service

LARGE = 100 << 10  # bytes of a span
SPANS = 300
COPIES_MAX = 5  # of one chunk at once: decoded, encoded, mapped, in the driver


@dataclass(frozen=True, slots=True)
class LargeFragment:
    """A span that is made when it is decoded, as those of a large request."""

    trace_id: TraceId
    number: int
    size: int = LARGE

    @property
    def span_id(self) -> str:
        return f"{self.number:016x}"

    def decode(self) -> Sent:
        said = [{"role": "user", "content": f"{self.number}" + "x" * LARGE}]
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.input.messages": json.dumps(said)}
        times = {"start_ns": START_NS + self.number, "end_ns": START_NS + self.number + 1}
        return SentSpan(span_id=self.span_id, attributes=attributes, **times)


async def test_memory_follows_the_chunk_and_not_the_request(pool: Pool):
    ours, id_ = ProjectId(uuid.uuid4()), trace_id()
    edits = TraceEdits(pool, project_prices())
    async with PostgresOtlpTraces.open(edits, fragment_rules()) as otlp:
        await otlp.put(ours, trace_id(), [LargeFragment(id_, n) for n in range(50)])
        gc.collect()
        tracemalloc.start()
        try:
            await otlp.put(ours, id_, [LargeFragment(id_, n) for n in range(SPANS)])
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    stored = await pool.fetchval("SELECT count(*) FROM span_rows WHERE trace_id = $1", id_)
    assert stored == SPANS
    assert most < COPIES_MAX * CHUNK_BYTES < LARGE * SPANS + COPIES_MAX * CHUNK_BYTES


async def test_record_that_another_process_stored_before_its_trace_is_merged(pool: Pool):
    ours, id_, edits = ProjectId(uuid.uuid4()), trace_id(), TraceEdits(pool, project_prices())
    details = {"gen_ai.input.messages": [{"role": "user", "content": "hi"}]}
    record = sent_record("gen_ai.client.inference.operation.details", details)
    async with (
        PostgresOtlpTraces.open(edits, fragment_rules()) as one,
        PostgresOtlpTraces.open(edits, fragment_rules()) as other,
    ):
        await one.put(ours, id_, fragments(id_, record))
        await other.put(ours, id_, fragments(id_, sent_span({"gen_ai.operation.name": "chat"})))
    sql = "SELECT input_bytes IS NOT NULL FROM span_rows WHERE project_id = $1 AND trace_id = $2"
    assert await pool.fetchval(sql, ours, id_)


@pytest.mark.parametrize("size", [1_000, BATCH_BYTES])
@pytest.mark.parametrize("sent", [sent_span(), sent_record("gen_ai.choice")])
async def test_removed_project_takes_no_fragments(pool: Pool, sent: Sent, size: int):
    removed, reported = ProjectId(uuid.uuid4()), list[ProjectId]()
    await pool.execute("INSERT INTO removals VALUES ($1, $2, $2)", removed, datetime.now(UTC))
    edits, id_ = TraceEdits(pool, project_prices()), trace_id()
    async with PostgresOtlpTraces.open(edits, fragment_rules(), reported.append) as otlp:
        with pytest.raises(Unavailable):
            await otlp.put(
                removed, id_, fragments(id_, sent, sent_span(span_id="f" * 16), size=size)
            )
    assert reported == [removed]
    sql = "SELECT count(*) FROM span_fragment_rows WHERE project_id = $1"
    assert await pool.fetchval(sql, removed) == 0
    await pool.execute("DELETE FROM removals WHERE project_id = $1", removed)
