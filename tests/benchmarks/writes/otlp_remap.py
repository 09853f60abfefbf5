"""Maps one long OpenTelemetry trace again, by a later version of the mapping. Prints Markdown.

    python -m tests.benchmarks.writes.otlp_remap [SPANS]

The trace is stored by an earlier version that knew no model, so that each of its spans with a model
changes. CPU time is that of this process and of PostgreSQL. The block is the longest time in which
no other task had its turn.
"""

import asyncio
import random
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import batched

from adapters.embedded.servers import Servers, run_servers
from adapters.postgres.database.pool import PoolSettings, open_pool
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.schema import migrating
from adapters.postgres.tracing.otlp.otlp_remapping import remap
from adapters.postgres.tracing.otlp.otlp_writer import OtlpWriter
from adapters.postgres.tracing.writes.edits import TraceEdits
from domain.ids import TraceId
from domain.tracing.otel.facts import MappedSpan
from domain.tracing.otel.fragments import Sent
from entrypoints.composition.otlp_rules import fragment_rules
from tests.benchmarks.evaluation import cpu_s
from tests.benchmarks.support.folder import bench_folder
from tests.benchmarks.writes.otlp_writes import PROJECT, sent_trace
from tests.support.builders.values import project_prices
from tests.support.loop_blocks import watched_loop

SPANS = 50_000
STORED_AT_ONCE = 2_000


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024


async def main(servers: Servers, spans: int) -> None:
    rules = fragment_rules()

    def map_earlier(trace: TraceId, sent: Sequence[Sent]) -> MappedSpan:
        found = rules.map_span(trace, sent)
        return MappedSpan(replace(found.span, model=None), replace(found.facts, mapping_version=0))

    async with open_pool(DB, PoolSettings(url=servers.owner_url)) as pool:
        await migrating.migrate(pool)
        earlier = replace(rules, version=0, map_span=map_earlier)
        project, trace, sent = sent_trace(random.Random(7), spans)
        for some in batched(sent, STORED_AT_ONCE):
            await OtlpWriter(pool, project_prices(), earlier).write([(project, trace, some)])
        print(f"{spans:,} spans | changed | wall s | Python CPU s | PostgreSQL CPU s "
              "| longest block ms | peak memory MB")  # fmt: skip
        postgres = servers.children[0].process.pid
        for name, is_dry_run in (("dry run", True), ("remap", False)):
            began, cpu, server = time.perf_counter(), time.process_time(), cpu_s(postgres)
            async with watched_loop() as blocks:
                edits = TraceEdits(pool, project_prices())
                done = await remap(edits, rules, PROJECT, None, is_dry_run=is_dry_run)
            figures = (
                time.perf_counter() - began, time.process_time() - cpu, cpu_s(postgres) - server
            )  # fmt: skip
            print(f"| {name} | {done.changed_spans:,} | "
                  + " | ".join(f"{one:.1f}" for one in figures)
                  + f" | {blocks.longest_ms:.0f} | {peak_mb():.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    with bench_folder() as folder, run_servers(folder) as servers:
        asyncio.run(main(servers, int(sys.argv[1]) if sys.argv[1:] else SPANS))
