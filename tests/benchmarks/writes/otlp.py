"""Measures POST /v1/traces in protobuf, accepted and durable, and its lower bounds.

Prints Markdown.

    python -m tests.benchmarks.writes.otlp [KILOBYTES …]

Requests of 512 spans, the default batch of the exporters, with spans of 0.5, 5 and 100 kB; each
trace has 16 spans. Decoding alone: from the body to fragments, in this process. COPY alone: the
rows of spans and fragments of the same requests, prepared. Then `pandaprobe-server serve`, one
process, over PostgreSQL with its default durability. Load generator, API and PostgreSQL share this
machine's cores. CPU time is that of the API process.
"""

import asyncio
import hashlib
import json
import os
import random
import sys
import time
import uuid
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from adapters.embedded.process import free_port
from adapters.embedded.servers import run_servers
from adapters.otlp.decoding.requests import Codec
from adapters.otlp.decoding.stored import encode_sent
from adapters.otlp.mapping.spans import map_span
from adapters.postgres.database.pool import PoolSettings, open_pool
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.tracing.otlp.otlp_rows import otlp_span_row
from adapters.postgres.tracing.payloads.payload_text import PAYLOADS, NewText, payload_rows
from adapters.postgres.tracing.trace_rows import OTLP_SPANS
from domain.ids import ProjectId, TraceId
from domain.tracing.otel.requests import Encoding, Signal
from entrypoints.composition import database
from entrypoints.settings import Settings
from tests.benchmarks.support.folder import bench_folder
from tests.benchmarks.support.load import quantile, run
from tests.benchmarks.writes.ingest import SERVE, machine, process, resident_mb
from tests.support.builders.otlp_requests import span, traces_request
from tests.support.fixtures.first_key import first_key

SPANS = 512  # of a request: the default batch of the exporters
SPANS_PER_TRACE = 16
# By size of a span: the number of requests, and of connections. Several large requests at a time
# would exceed the bound on all bodies together, and some would get 503.
KILOBYTES = {0.5: (200, 4), 5: (100, 4), 100: (12, 1)}
ITEMS_MAX = 50_000
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
START_NS = 1_790_000_000_000_000_000
MESSAGE_CHARS_MAX = 2_000
PROJECT = ProjectId(uuid.UUID(int=1))
NOW = datetime(2026, 9, 21, tzinfo=UTC)
FRAGMENT_COLUMNS = (
    *("project_id", "trace_id", "span", "digest", "rank", "data", "stored_at", "is_waiting"),
)


def body(random_: random.Random, kilobytes: float) -> bytes:
    """A request of SPANS spans of about `kilobytes` each: model and tool calls below agents."""
    made = []
    for number in range(SPANS):
        place = number % SPANS_PER_TRACE
        if place == 0:
            trace = random_.randbytes(16)
            root_id = random_.randbytes(8)
        start = START_NS + number * 1_000_000
        text = "x" * int(max(kilobytes * 1_000 - 350, 50))
        messages = [
            {
                "role": "user",
                "parts": [{"type": "text", "content": text[at : at + MESSAGE_CHARS_MAX]}],
            }
            for at in range(0, len(text), MESSAGE_CHARS_MAX)
        ]
        kind = "invoke_agent"
        attributes: dict[str, str | int] = {"gen_ai.agent.name": "bench"}
        if place % 2:
            kind, attributes = "chat", {
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o",
                "gen_ai.usage.input_tokens": 1_000,
                "gen_ai.usage.output_tokens": 100,
                "gen_ai.response.id": random_.randbytes(8).hex(),
            }  # fmt: skip
        elif place:
            kind, attributes = "execute_tool", {"gen_ai.tool.name": "search"}
        key = "gen_ai.input.messages" if kind == "chat" else "gen_ai.tool.call.arguments"
        attributes |= {"gen_ai.operation.name": kind, key: json.dumps(messages)}
        made.append(
            span(
                attributes,
                trace_id=trace,
                span_id=root_id if place == 0 else random_.randbytes(8),
                parent_span_id=b"" if place == 0 else root_id,
                name=f"{kind} bench",
                start_time_unix_nano=start,
                end_time_unix_nano=start + 500_000,
            )
        )
    return traces_request(*made, scope="bench").SerializeToString()


def decoding_per_s(bodies: Sequence[bytes]) -> float:
    """Spans per second of decoding alone."""
    codec = Codec()
    codec.load()
    begin = time.perf_counter()
    for one in bodies:
        decoded = codec.decode(Signal.TRACES, Encoding.PROTOBUF, one, ITEMS_MAX)
        for fragment in decoded.fragments:
            fragment.decode()
    return len(bodies) * SPANS / (time.perf_counter() - begin)


type Rows = tuple[list[tuple[object, ...]], ...]


def copied_rows(bodies: Sequence[bytes]) -> list[Rows]:
    """The rows of spans, of their payloads and of fragments of each request."""
    codec = Codec()
    made: list[Rows] = []
    for one in bodies:
        spans: list[tuple[object, ...]] = []
        fragments: list[tuple[object, ...]] = []
        texts: dict[TraceId, NewText] = {}
        for fragment in codec.decode(Signal.TRACES, Encoding.PROTOBUF, one, ITEMS_MAX).fragments:
            sent, trace = fragment.decode(), fragment.trace_id
            mapped = map_span(trace, [sent])
            settled = mapped.span.settled(lambda *_: None)
            text = texts.setdefault(trace, NewText(len(made) << 30))  # apart from other requests
            at = text.add_span(settled)
            spans.append(otlp_span_row((PROJECT, trace), at, settled, mapped.facts))
            data = encode_sent(sent)
            digest = hashlib.blake2b(data, digest_size=16).digest()
            fragments.append(
                (PROJECT, trace, fragment.span_id, digest, sent.rank, data, NOW, False)
            )
        payloads = [
            row
            for trace, text in texts.items()
            for row in payload_rows((PROJECT, trace), text.blocks())
        ]
        made.append((spans, payloads, fragments))
    return made


async def copies_per_s(url: str, bodies: Sequence[bytes]) -> float:
    """Spans per second of COPY alone: prepared rows, two connections, a request in each COMMIT."""
    waiting = deque(copied_rows(bodies))
    async with open_pool(DB, PoolSettings(url=url)) as pool:

        async def writer() -> None:
            while waiting:
                spans, payloads, fragments = waiting.popleft()
                async with pool.acquire() as c, c.transaction():
                    for table, rows, columns in (
                        (OTLP_SPANS.name, spans, OTLP_SPANS.names),
                        (PAYLOADS.name, payloads, PAYLOADS.names),
                        ("span_fragment_rows", fragments, FRAGMENT_COLUMNS),
                    ):
                        await c.copy_records_to_table(table, records=rows, columns=columns)

        begin = time.perf_counter()
        await asyncio.gather(writer(), writer())
        took = time.perf_counter() - begin
        await pool.execute("TRUNCATE span_rows, trace_payloads, span_fragment_rows")
    return len(bodies) * SPANS / took


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def reset_peak(pid: int) -> None:
    with suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def main(sizes: Sequence[float] = tuple(KILOBYTES)) -> None:
    with bench_folder() as folder, run_servers(folder) as servers:
        port = free_port()
        settings = Settings(
            database_url=servers.database_url,
            migration_database_url=servers.owner_url,
            redis_url=servers.redis_url,
        )
        asyncio.run(database.migrate(settings))
        headers = {"X-API-Key": asyncio.run(first_key(settings)), "X-Project-Name": "bench"}
        environ = os.environ | {
            "PANDAPROBE_DATABASE_URL": servers.database_url,
            "PANDAPROBE_REDIS_URL": servers.redis_url,
            "PANDAPROBE_PORT": str(port),
            "PANDAPROBE_LOG_LEVEL": "WARNING",
            "PANDAPROBE_RATE_LIMIT_ENABLED": "off",
        }
        print(machine(), "\n", flush=True)
        print("| kB per span | MB per request | decoding alone, spans/s | COPY alone | both | "
              "**serve, spans/s** | share | "
              "API CPU per span, us | p50 ms | p99 ms | API memory idle, peak MB |")  # fmt: skip
        print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
        for size in sizes:
            random_ = random.Random(int(size * 10))
            count, connections = KILOBYTES[size]
            bodies = [body(random_, size) for _ in range(count)]
            few = bodies[: max(count // 4, 3)]
            decoding = decoding_per_s(few)
            copies = asyncio.run(copies_per_s(servers.owner_url, few))
            both = 1 / (1 / decoding + 1 / copies)  # one after the other
            url = f"http://127.0.0.1:{port}/"
            with process(SERVE, url + "health/ready", environ) as (pid, _):
                head = f"POST /v1/traces HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                head += "Content-Type: application/x-protobuf\r\nContent-Length: "
                waiting = deque(f"{head}{len(one)}\r\n\r\n".encode() + one for one in bodies)
                idle = resident_mb(pid)
                reset_peak(pid)
                before = cpu_seconds(pid)
                latencies, statuses, took = asyncio.run(run(url, waiting, connections, None))
                cpu = cpu_seconds(pid) - before
                assert set(statuses) == {200}, statuses
                spans = count * SPANS
                print(
                    f"| {size:g} | {len(bodies[0]) / 1e6:.1f} | {decoding:,.0f} | "
                    f"{copies:,.0f} | {both:,.0f} | **{spans / took:,.0f}** | "
                    f"{spans / took / both:.0%} | {cpu / spans * 1e6:,.0f} | "
                    f"{quantile(latencies, 0.5) * 1e3:,.0f} | "
                    f"{quantile(latencies, 0.99) * 1e3:,.0f} | {idle:.0f}, {peak_mb(pid):.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main([float(size) for size in sys.argv[1:]] or tuple(KILOBYTES))
