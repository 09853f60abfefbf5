"""No OTLP request blocks the event loop, however large it is."""

import gzip
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from adapters.postgres.tracing.otlp.otlp_traces import PostgresOtlpTraces
from adapters.postgres.tracing.otlp.otlp_writer import OtlpItem, OtlpWriter
from adapters.postgres.tracing.writes.batch_writer import is_transient
from adapters.postgres.tracing.writes.group_commit import GroupCommit
from application.tracing.otlp.ports import CHUNK_BYTES
from domain.tracing.otel.requests import Encoding
from tests.http.conftest import Site
from tests.support.builders.otlp_requests import encoded, logs_request, record, span, traces_request
from tests.support.clients.otlp_exporter import OtlpExporter
from tests.support.loop_blocks import cpu_ms, watched_loop
from tests.support.waiting import WAIT_MAX_S

pytestmark = [pytest.mark.service, pytest.mark.exhaustive]

BLOCK_MAX_MS = 50
MANY_MESSAGES = f"[{', '.join(['{"role": "user", "content": "x"}'] * 400_000)}]"
HISTORY = '[{"role": "user", "content": "' + "word " * 20_000 + '"}]'


def span_ids(count: int) -> list[bytes]:
    return [number.to_bytes(8) for number in range(1, count + 1)]


REQUESTS: dict[str, Any] = {
    "512 spans of 100 kB": lambda: traces_request(
        *(span({"gen_ai.prompt": HISTORY}, span_id=one) for one in span_ids(512))
    ),
    "400,000 messages in an attribute": lambda: traces_request(
        span({"gen_ai.operation.name": "chat", "gen_ai.input.messages": MANY_MESSAGES})
    ),
    "50,000 spans of a trace": lambda: traces_request(
        *(span(span_id=one) for one in span_ids(50_000))
    ),
    "10,000 traces": lambda: traces_request(
        *(span(trace_id=uuid.uuid4().bytes) for _ in range(10_000))
    ),
    "50,000 rejected spans": lambda: traces_request(
        *(span(start_time_unix_nano=0) for _ in range(49_999)), span()
    ),
    "50,000 ignored records": lambda: logs_request(
        *(record(event_name="other") for _ in range(50_000))
    ),
}


@pytest.fixture
async def patient_site(postgres_site: Site) -> AsyncIterator[Site]:
    """A site whose writes may take as long as they need on a busy machine."""
    tracing = postgres_site.swapped["tracing"]
    own = tracing.otlp
    assert isinstance(own, PostgresOtlpTraces)
    line: GroupCommit[OtlpItem] = GroupCommit(
        OtlpWriter(own.edits.pool, own.edits.prices, own.rules, within_s=WAIT_MAX_S).write,
        is_transient,
        within_s=WAIT_MAX_S,
        batch_bytes=CHUNK_BYTES,
    )
    line.start()
    patient = replace(tracing, otlp=replace(own, line=line))
    site = Site(swapped={**postgres_site.swapped, "tracing": patient})
    async with site.http:
        yield site
    await line.close()


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("name", REQUESTS)
async def test_large_request_leaves_others_their_turn(
    patient_site: Site, name: str, encoding: Encoding
) -> None:
    exporter = OtlpExporter(patient_site.http, patient_site.headers(), encoding)
    request = REQUESTS[name]()
    signal = "logs" if "records" in name else "traces"
    body = gzip.compress(encoded(request, encoding), 1)
    assert (await exporter.post(b"", headers={"content-type": Encoding.PROTOBUF})).is_success
    async with watched_loop() as blocks:
        answer = await exporter.post(body, signal, {"content-encoding": "gzip"})
    assert answer.status_code == 200
    # The text of an attribute is decoded by one call, however long it is.
    text = msgspec.json.encode(MANY_MESSAGES if "attribute" in name else "")
    text_ms = cpu_ms(lambda: msgspec.json.decode(text))
    assert blocks.scaled_ms < max(BLOCK_MAX_MS, 3 * text_ms / blocks.slowness)
