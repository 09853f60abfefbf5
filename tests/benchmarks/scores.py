"""Measures lists and statistics of scores through the ports.

Prints Markdown.

    [SCALE=1m] python -m tests.benchmarks.scores [SCORES …]

Fills a project with 100,000 trace scores (with SCALE=1m another one with a million) and a fifth as
many session scores, over 30 days, and calls each read repeatedly on one connection pool. It
excludes HTTP: the time for requests and answers is not included. PostgreSQL and this program share
the machine's cores; *CPU* is what both used for one answer.
"""

import asyncio
import os
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncpg

from adapters.embedded.servers import run_servers
from adapters.judges.heuristic import HeuristicJudge
from adapters.memory.jobs import RecordedJobs
from adapters.postgres.database.tenants import scoped_transaction
from adapters.postgres.evaluation.scores.score_rollups import PostgresScoreRollups
from application.evaluation.use_cases import EvaluationPorts
from domain.evaluation.agreement.calibration import QUEUE_LENGTH_DEFAULT
from domain.evaluation.metrics.metric import THRESHOLD
from domain.evaluation.scores.analytics import HISTORY_DEFAULT
from domain.evaluation.scores.score import (
    CreatedWithin,
    DataType,
    ScoreFilter,
    ScoreSource,
    ScoreStatus,
    ScoreTarget,
)
from domain.ids import ProjectId, RunId, TraceId
from domain.page import PageRequest, SortOrder
from domain.tracing.analytics import Granularity
from entrypoints.composition import database
from entrypoints.composition.evaluation import evaluation_ports
from entrypoints.settings import Settings
from tests.benchmarks.support.folder import bench_folder
from tests.benchmarks.support.load import quantile
from tests.benchmarks.writes.ingest import machine
from tests.support.builders.many_scores import NAMES, PERIOD, SESSION_NAMES, UNTIL, inserts
from tests.support.builders.values import prices

SIZES: Final = (100_000,)
MILLION: Final = 1_000_000
WARM_UP: Final = 5
REQUESTS_MIN, REQUESTS_MAX = 20, 200
ENOUGH_S: Final = 3.0  # once REQUESTS_MIN are done

PLACEHOLDER: Final = object()  # a placeholder for the value of the measured project

type Read = Callable[[EvaluationPorts, ProjectId, "KnownIds"], Awaitable[object]]


@dataclass(frozen=True)
class KnownIds:
    """Ids that exist in a project."""

    trace: TraceId
    run: RunId
    session: str


def list_scores(window: PageRequest | None = None, **conditions: Any) -> Read:
    """Returns a read of a list."""

    def read(ports: EvaluationPorts, project_id: ProjectId, known: KnownIds) -> Awaitable[object]:
        values: dict[str, Any] = {"trace_id": known.trace, "run_id": known.run}
        filters = {
            key: values[key] if value is PLACEHOLDER else value for key, value in conditions.items()
        }
        return ports.trace_scores.page(project_id, ScoreFilter(**filters), window or PageRequest())

    return read


def latest(ports: EvaluationPorts, project_id: ProjectId, known: KnownIds) -> Awaitable[object]:
    return ports.trace_scores.latest(project_id, known.trace)


def of_run(ports: EvaluationPorts, project_id: ProjectId, known: KnownIds) -> Awaitable[object]:
    return ports.trace_scores.by_run(project_id, known.run)


def session_page(ports: EvaluationPorts, project_id: ProjectId, _: KnownIds) -> Awaitable[object]:
    return ports.session_scores.page(project_id, ScoreFilter(), PageRequest())


def of_session(ports: EvaluationPorts, project_id: ProjectId, known: KnownIds) -> Awaitable[object]:
    return ports.session_scores.by_session(project_id, known.session)


def history(ports: EvaluationPorts, project_id: ProjectId, known: KnownIds) -> Awaitable[object]:
    return ports.score_analytics.history(project_id, known.session, None, HISTORY_DEFAULT)


def statistics(method: str, *arguments: object) -> Read:
    return lambda ports, project_id, _: getattr(ports.score_analytics, method)(
        project_id, *arguments
    )


def labels(method: str, *arguments: object) -> Read:
    return lambda ports, project_id, _: getattr(ports.labels, method)(project_id, *arguments)


ALL_TIME: Final = CreatedWithin()
WEEK: Final = CreatedWithin(UNTIL - timedelta(days=14), UNTIL - timedelta(days=7))
IN_A_WEEK: Final[Mapping[str, Any]] = {"created_after": WEEK.after, "created_before": WEEK.before}
MONTH: Final = CreatedWithin(UNTIL - PERIOD, UNTIL)
NAME, RELIABILITY = NAMES[3], SESSION_NAMES[0]
OF_TRACE, OF_SESSION = ScoreTarget.TRACE, ScoreTarget.SESSION
DAY, HOUR = Granularity.DAY, Granularity.HOUR
COUNTED: Final = "Statistics, once the days are counted"
GROUPS: Final[dict[str, dict[str, Read]]] = {
    "Lists of trace scores": {
        "first page": list_scores(),
        "first page, `limit=200`": list_scores(PageRequest(limit=200)),
        "page at offset 50,000": list_scores(PageRequest(offset=50_000)),
        "`name`": list_scores(name=NAME),
        "`trace_id`": list_scores(trace_id=PLACEHOLDER),
        "`eval_run_id`": list_scores(run_id=PLACEHOLDER),
        "`status=SUCCESS`": list_scores(status=ScoreStatus.SUCCESS),
        "`source=ANNOTATION`": list_scores(source=ScoreSource.ANNOTATION),
        "`data_type=BOOLEAN`, without matches": list_scores(data_type=DataType.BOOLEAN),
        "`environment=staging`": list_scores(environment="staging"),
        "`name`, `status=FAILED`": list_scores(name=NAMES[1], status=ScoreStatus.FAILED),
        "`name`, `environment`": list_scores(name=NAME, environment="staging"),
        "a week": list_scores(**IN_A_WEEK),
        "`name`, a week": list_scores(name=NAME, **IN_A_WEEK),
        "the latest of a trace": latest,
        "a run's 10,000, all of them": of_run,
    },
    COUNTED: {
        "summary": statistics("summaries", OF_TRACE, ALL_TIME),
        "summary of a week": statistics("summaries", OF_TRACE, WEEK),
        "trend, 30 days, day": statistics("trend", OF_TRACE, (NAME,), DAY, MONTH),
        "distribution": statistics("distribution", OF_TRACE, NAME, 10, ALL_TIME),
        "summary of sessions": statistics("summaries", OF_SESSION, ALL_TIME),
    },
    "Statistics of trace scores": {
        "summary": statistics("summaries", OF_TRACE, ALL_TIME),
        "summary of a week": statistics("summaries", OF_TRACE, WEEK),
        "trend, 30 days, day": statistics("trend", OF_TRACE, (NAME,), DAY, MONTH),
        "trend, 30 days, hour": statistics("trend", OF_TRACE, (NAME,), HOUR, MONTH),
        "distribution": statistics("distribution", OF_TRACE, NAME, 10, ALL_TIME),
        "agreement, a tenth labelled": labels(
            "compare_with_human_labels", NAME, THRESHOLD, ALL_TIME
        ),
        "annotation queue": labels(
            "annotation_queue", NAME, THRESHOLD, "seed", QUEUE_LENGTH_DEFAULT
        ),
    },
    "Session scores, a fifth as many": {
        "first page": session_page,
        "all of a session": of_session,
        "summary": statistics("summaries", OF_SESSION, ALL_TIME),
        "trend, 30 days, day": statistics("trend", OF_SESSION, (RELIABILITY,), DAY, MONTH),
        "history": history,
        "comparison": statistics("comparison", RELIABILITY, SortOrder.ASC, PageRequest(limit=20)),
    },
}


@dataclass(frozen=True)
class ReadCost:
    """Seconds of each answer, and of CPU on average, which is the latency on an idle machine."""

    times: Sequence[float]
    cpu: float


def cpu_s(pid: int) -> float:
    """Returns the CPU seconds of a process and its descendants, and of this process."""
    used = time.process_time()
    left = [pid]
    while left:
        project_id = Path(f"/proc/{left.pop()}")
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = (project_id / "stat").read_text().rpartition(")")[2].split()
            used += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
            left += map(int, (project_id / f"task/{project_id.name}/children").read_text().split())
    return used


async def measure_read(ask: Callable[[], Awaitable[object]], server: int) -> ReadCost:
    for _ in range(WARM_UP):
        await ask()
    cost: list[float] = []
    used, begin = cpu_s(server), time.perf_counter()
    while len(cost) < REQUESTS_MAX:
        since = time.perf_counter()
        await ask()
        cost.append(time.perf_counter() - since)
        if len(cost) >= REQUESTS_MIN and time.perf_counter() - begin > ENOUGH_S:
            break
    return ReadCost(cost, (cpu_s(server) - used) / len(cost))


async def count_days(rollups: PostgresScoreRollups) -> int:
    counted = 0
    while some := await rollups.count_days():
        counted += some
    return counted


async def fill(owner_url: str, scores: int) -> ProjectId:
    """As the owner of the tables, which alone may vacuum them."""
    project, owner = ProjectId(uuid.uuid4()), await asyncpg.connect(owner_url)
    try:
        async with scoped_transaction(owner, project):
            for sql, arguments in inserts(project, scores, scores // 5):
                await owner.execute(sql, *arguments, timeout=None)
        await owner.execute("VACUUM ANALYZE", timeout=None)
        await owner.execute("CHECKPOINT", timeout=None)
    finally:
        await owner.close()
    return project


async def measured(settings: Settings, server: int, sizes: Sequence[int]) -> None:
    found: dict[tuple[str, str, int], ReadCost] = {}
    await database.migrate(settings)
    async with database.open_database(settings) as pool:
        ports = evaluation_ports(settings, pool, RecordedJobs(), prices(), HeuristicJudge())
        for scores in sizes:
            project_id = await fill(settings.migration_database_url or "", scores)
            newest = (
                await ports.trace_scores.page(project_id, ScoreFilter(), PageRequest(limit=1))
            ).items[0]
            assert newest.run_id is not None
            known = KnownIds(newest.trace_id, newest.run_id, "conv-7")
            for group, reads in sorted(GROUPS.items(), key=lambda one: one[0] == COUNTED):
                if group == COUNTED:
                    since = cpu_s(server)
                    days = await count_days(PostgresScoreRollups(pool))
                    print(
                        f"counted {days} days: {cpu_s(server) - since:.1f} s of CPU",
                        file=sys.stderr,
                    )
                for label, read in reads.items():
                    cost = await measure_read(partial(read, ports, project_id, known), server)
                    found[group, label, scores] = cost
                    summary = f"{quantile(cost.times, 0.5) * 1e3:.1f} ms, CPU {cost.cpu * 1e3:.1f}"
                    print(f"{scores:,} {group}: {label}: {summary}", file=sys.stderr, flush=True)
    print("\n".join(table(found, sizes)))


def table(found: dict[tuple[str, str, int], ReadCost], sizes: Sequence[int]) -> Iterator[str]:
    yield "| ms |" + "".join(f" {size:,}: p50 | p95 | p99 | CPU |" for size in sizes)
    yield f"|---|{'---|---|---|---|' * len(sizes)}"
    for group, reads in GROUPS.items():
        yield f"| **{group}** |{' | | | |' * len(sizes)}"
        for label in reads:
            cells = ""
            for cost in (found[group, label, size] for size in sizes):
                statistics = [*(quantile(cost.times, q) for q in (0.5, 0.95, 0.99)), cost.cpu]
                cells += "".join(f" {one * 1e3:.1f} |" for one in statistics)
            yield f"| {label} |{cells}"


def main(sizes: Sequence[int] = ()) -> None:
    sizes = sizes or (*SIZES, *([MILLION] if os.environ.get("SCALE") == "1m" else []))
    with bench_folder() as folder, run_servers(folder) as servers:
        settings = Settings(
            database_url=servers.database_url,
            migration_database_url=servers.owner_url,
            redis_url=servers.redis_url,
            database_statement_timeout_ms=600_000,
        )
        print(machine(), "\n")
        asyncio.run(measured(settings, servers.children[0].process.pid, sizes))


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]])
