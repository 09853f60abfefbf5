"""Compares the writer of OpenTelemetry fragments with that of native traces. Prints Markdown.

    python -m tests.benchmarks.writes.otlp_writes

Batches of 64 new traces of 12 spans with the same payloads, one writer at a time. CPU time is that
of this process and of PostgreSQL. `mapped` is what decoding aside costs before the database: the
stored form of fragments, mapping, roles, the trace.
"""

import asyncio
import json
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.embedded.servers import Servers, run_servers
from adapters.postgres.database.pool import PoolSettings, open_pool
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.schema import migrating
from adapters.postgres.tracing.otlp.otlp_writer import OtlpItem, OtlpWriter, new_traces
from adapters.postgres.tracing.writes.batch_writer import TraceWriter
from domain.ids import ProjectId, TraceId
from domain.tracing.otel.fragments import Scope, SentSpan
from entrypoints.composition.otlp_rules import fragment_rules
from tests.benchmarks.evaluation import cpu_s
from tests.benchmarks.support.bodies import WORDS
from tests.benchmarks.support.folder import bench_folder
from tests.benchmarks.writes.write_paths import batches
from tests.support.builders.otel import fragments
from tests.support.builders.values import NOON, prices, project_prices

BATCH = 64
BATCHES = 40
SPANS = 12
PROJECT = ProjectId(uuid.UUID(int=1))
SECOND = 1_000_000_000
START_NS = 1_772_000_000 * SECOND

type Write = Callable[[Sequence[Any]], Awaitable[None]]


def text(random_: random.Random, size: int) -> str:
    return " ".join(random_.choices(WORDS, k=size // 5))


def sent_trace(random_: random.Random, spans: int = SPANS) -> OtlpItem:
    """A trace of an agent with model and tool calls, as the GenAI conventions say."""
    trace = TraceId(uuid.UUID(int=random_.getrandbits(128)))
    root = f"{random_.getrandbits(64):016x}"
    start = START_NS + random_.randrange(3_600) * SECOND
    shared: dict[str, Any] = {"resource": {"service.name": "shop", "service.version": "1.4.0"}}
    sent = [
        SentSpan(
            span_id=root,
            name="invoke_agent shop",
            start_ns=start,
            end_ns=start + 9 * SECOND,
            attributes={
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": "shop",
                "session.id": f"conv-{random_.randrange(10_000)}",
                "user.id": f"u-{random_.randrange(1_000)}",
                "input.value": text(random_, 200),
                "output.value": text(random_, 200),
            },
            scope=Scope("openinference.instrumentation.agent", "1.0"),
            **shared,
        )
    ]
    for n in range(1, spans):
        message = [{"role": "user", "parts": [{"type": "text", "content": text(random_, 700)}]}]
        answer = [{"role": "assistant", "parts": [{"type": "text", "content": text(random_, 700)}],
                   "finish_reason": "stop"}]  # fmt: skip
        chat: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.response.model": "gpt-4o-2024-08-06",
            "gen_ai.response.id": f"chatcmpl-{random_.getrandbits(64):x}",
            "gen_ai.usage.input_tokens": random_.randrange(100, 5_000),
            "gen_ai.usage.output_tokens": random_.randrange(10, 500),
            "gen_ai.input.messages": json.dumps(message),
            "gen_ai.output.messages": json.dumps(answer),
            "gen_ai.response.finish_reasons": ["stop"],
        }
        tool: dict[str, Any] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "find_order",
            "gen_ai.tool.call.arguments": json.dumps({"q": text(random_, 700)}),
            "gen_ai.tool.call.result": json.dumps({"a": text(random_, 700)}),
        }
        sent.append(
            SentSpan(
                span_id=f"{random_.getrandbits(64):016x}",
                parent_span_id=root,
                name="chat gpt-4o" if n % 3 else "execute_tool find_order",
                kind=3,
                start_ns=start + n * SECOND // 2,
                end_ns=start + n * SECOND,
                attributes=chat if n % 3 else tool,
                scope=Scope("opentelemetry.instrumentation.openai_v2", "2.1b0"),
                **shared,
            )
        )
    return PROJECT, trace, fragments(trace, *sent, size=2_000)


@dataclass
class Measured:
    wall_ms: float
    python_ms: float
    postgres_ms: float


async def measure(write: Write, work: Sequence[Sequence[Any]], postgres: int) -> Measured:
    before, cpu, server = time.perf_counter(), time.process_time(), cpu_s(postgres)
    for one in work:
        await write(one)
    scale = 1_000 / len(work)
    return Measured(
        (time.perf_counter() - before) * scale,
        (time.process_time() - cpu) * scale,
        (cpu_s(postgres) - server) * scale,
    )


async def main(servers: Servers) -> None:
    random_ = random.Random(7)
    async with open_pool(DB, PoolSettings(url=servers.owner_url)) as pool:
        await migrating.migrate(pool)
        native = TraceWriter(pool, project_prices())
        otlp = OtlpWriter(pool, project_prices(), fragment_rules())
        late = [[sent_trace(random_) for _ in range(BATCH)] for _ in range(BATCHES)]
        leaves = [[(of, trace, some[SPANS // 2 :]) for of, trace, some in one] for one in late]
        rest = [[(of, trace, some[: SPANS // 2]) for of, trace, some in one] for one in late]
        sent = [[sent_trace(random_) for _ in range(BATCH)] for _ in range(BATCHES)]
        pricing = {PROJECT: prices().price}

        async def mapped(items: Sequence[OtlpItem]) -> None:
            read = otlp.read({(project, trace): some for project, trace, some in items})
            new_traces(read, (), pricing, NOON)

        paths: dict[str, tuple[Write, Sequence[Sequence[Any]]]] = {
            "native": (native.write, batches(SPANS, 0.0, BATCHES)),
            "OTLP": (otlp.write, sent),
            "OTLP, sent again": (otlp.write, sent),
            "OTLP, leaves first": (otlp.write, leaves),
            "OTLP, then the rest": (otlp.write, rest),
            "mapped": (mapped, sent),
        }
        print(f"{BATCH} traces × {SPANS} spans | wall ms | Python CPU ms | PostgreSQL CPU ms")
        for name, (write, work) in paths.items():
            await write(work[0])
            found = await measure(write, work[1:], servers.children[0].process.pid)
            figures = (found.wall_ms, found.python_ms, found.postgres_ms)
            print(f"| {name} | " + " | ".join(f"{one:.1f}" for one in figures) + " |", flush=True)


if __name__ == "__main__":
    with bench_folder() as folder, run_servers(folder) as servers:
        asyncio.run(main(servers))
