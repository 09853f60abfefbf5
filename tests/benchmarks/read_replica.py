"""What a read replica spares the primary: the analytics of an overview, with and without it.

    python -m tests.benchmarks.read_replica [traces]

CPU time is that of the processes of each server, by schedstat, without what ended meanwhile.
"""

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import median
from typing import Final

import asyncpg

from domain.evaluation.scores.score import CreatedWithin, ScoreTarget
from domain.ids import ProjectId
from domain.page import PageRequest, SortOrder
from domain.tracing.analytics import Granularity, Period
from domain.tracing.spans.error_groups import ErrorFilter, ErrorSort
from domain.tracing.spans.span_analytics import SpanAnalyticsQuery, SpanGroupKey, SpanInterval
from domain.tracing.spans.span_query import SpanFilter
from domain.tracing.trace_breakdown import AnalyticsMetric, TraceAnalyticsQuery, TraceGroupKey
from tests.benchmarks.compare import cpu_ns, postgres_processes, spent_ms
from tests.benchmarks.reads import UNTIL
from tests.benchmarks.support import many_traces
from tests.benchmarks.support.folder import bench_folder
from tests.support.fixtures import data_plane
from tests.support.fixtures.data_plane import DataPlane
from tests.support.fixtures.servers import migrated_postgres
from tests.support.fixtures.servers.standby import Pair, reading, running_pair

TRACES: Final = 20_000
ROUNDS: Final = 30
IDLE_S: Final = 20.0
WEEK: Final = Period(UNTIL - timedelta(days=7), UNTIL)
MONTH: Final = Period(UNTIL - timedelta(days=30), UNTIL)


@dataclass
class Spent:
    """Milliseconds of each round: the primary, the standby, and the wait for all reads."""

    primary: list[float] = field(default_factory=list)
    standby: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)

    def row(self, name: str) -> str:
        numbers = (median(self.primary), median(self.standby), median(self.waited))
        return f"| {name} |{''.join(f' {one:.1f} |' for one in numbers)}"


async def read_overview(plane: DataPlane, project_id: ProjectId) -> None:
    analytics, spans = plane.analytics, plane.tracing.spans
    scores, first = plane.evaluation.score_analytics, PageRequest(limit=10)
    await analytics.volume(project_id, MONTH, Granularity.DAY)
    await analytics.usage(project_id, MONTH, Granularity.DAY)
    await analytics.model_usage(project_id, MONTH, Granularity.DAY)
    await analytics.models(project_id, MONTH)
    await analytics.sessions(project_id, MONTH, Granularity.DAY)
    await analytics.groups(
        project_id,
        TraceAnalyticsQuery(
            period=WEEK, metric=AnalyticsMetric.VOLUME, by=TraceGroupKey.RELEASE, groups=10
        ),
    )
    await spans.analytics(
        project_id,
        SpanAnalyticsQuery(
            matching=SpanFilter(),
            period=WEEK,
            group_by=SpanGroupKey.NAME,
            interval=SpanInterval.DAY,
        ),
    )
    await spans.error_groups(
        project_id, ErrorFilter(period=WEEK), ErrorSort.LAST_SEEN, SortOrder.DESC, first
    )
    await analytics.users(project_id, first)
    await scores.summaries(project_id, ScoreTarget.TRACE, CreatedWithin())


async def measure(pair: Pair, project_id: ProjectId) -> None:
    servers = [pair.child.process.pid, pair.standby.child.process.pid]

    def cpu() -> list[Mapping[int, int]]:
        return [cpu_ns(postgres_processes(one)) for one in servers]

    print("| | primary | standby | until the last answer |")
    print("|---|---|---|---|")
    async with reading(pair) as found:
        results = {"from the main database": Spent(), "from the replica": Spent()}
        planes = [DataPlane.from_ports(found.on_main), found.plane]
        for plane in (*planes, *planes):
            await read_overview(plane, project_id)
        for _ in range(ROUNDS):
            for plane, spent in zip(planes, results.values(), strict=True):
                before, begin = cpu(), time.perf_counter()
                await read_overview(plane, project_id)
                spent.waited.append((time.perf_counter() - begin) * 1e3)
                one, other = map(spent_ms, before, cpu())
                spent.primary.append(one)
                spent.standby.append(other)
        for name, spent in results.items():
            print(spent.row(f"{name}, ms"))
        outcomes = found.taken()
        before = cpu()
        await asyncio.sleep(IDLE_S)
        idle = [one / IDLE_S for one in map(spent_ms, before, cpu())]
        print(f"| no read, ms of CPU each second | {idle[0]:.2f} | {idle[1]:.2f} | – |")
        counts = {one.value: outcomes.count(one) for one in set(outcomes)}
        print(f"\nreads that a replica may serve: {counts}")


async def fill(pair: Pair, project_id: ProjectId, traces: int) -> None:
    await many_traces.fill(pair.url, project_id, traces, UNTIL)
    owner = await asyncpg.connect(pair.url)
    await owner.execute("VACUUM ANALYZE", timeout=None)
    await owner.close()


def main(arguments: list[str]) -> None:
    traces = int(arguments[0]) if arguments else TRACES
    project_id = data_plane.project()
    with bench_folder() as folder:
        data = folder / "migrated"
        data.mkdir(mode=0o755)
        migrated_postgres.create(data, {"fsync": "off"})
        with running_pair(folder, data) as pair:
            asyncio.run(fill(pair, project_id, traces))
            print(f"an overview of {traces:,} traces of 30 days, {ROUNDS} rounds by turns\n")
            asyncio.run(measure(pair, project_id))


if __name__ == "__main__":
    main(sys.argv[1:])
