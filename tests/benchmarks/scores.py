"""Lists and figures of scores, asked of the ports. Prints Markdown.

    [SCALE=1m] python -m tests.benchmarks.scores [SCORES …]

Fills a project with 100,000 scores of traces (with SCALE=1m another one with a million) and a
fifth as many of sessions, over 30 days, and asks for each read again and again, one after the
other, on one connection pool. No HTTP: what reading a request and writing an answer take comes on
top. PostgreSQL and this program share the machine's cores; *CPU* is what both used for an answer.
"""

import asyncio
import os
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from adapters.embedded.servers import running
from adapters.judges.heuristic import HeuristicJudge
from adapters.memory.jobs import RecordedJobs
from adapters.postgres.database.pool import Pool
from application.evaluation.use_cases import EvaluationPorts
from domain.evaluation.agreement.annotation_queue import QUEUE_LENGTH_DEFAULT
from domain.evaluation.metrics.metric import THRESHOLD
from domain.evaluation.runs.run import TargetType
from domain.evaluation.scores.analytics import HISTORY_DEFAULT
from domain.evaluation.scores.query import CreatedWithin, ScoreFilter
from domain.evaluation.scores.score import DataType, ScoreSource, ScoreStatus
from domain.ids import ProjectId, RunId, TraceId
from domain.page import PageRequest, SortOrder
from domain.tracing.analytics import Granularity
from entrypoints.composition import root
from entrypoints.settings import Settings
from tests.benchmarks.folder import bench_folder
from tests.benchmarks.ingest import machine
from tests.benchmarks.load import quantile
from tests.support.builders.many_scores import NAMES, PERIOD, SESSION_NAMES, UNTIL, inserts
from tests.support.builders.values import prices

SIZES: Final = (100_000,)
MILLION: Final = 1_000_000
WARM_UP: Final = 5
REQUESTS_MIN, REQUESTS_MAX = 20, 200
ENOUGH_S: Final = 3.0  # with REQUESTS_MIN done

KNOWN: Final = object()  # that of the project which is asked for

type Read = Callable[[EvaluationPorts, ProjectId, "Known"], Awaitable[object]]


@dataclass(frozen=True)
class Known:
    """What there is to ask for in a project."""

    trace: TraceId
    run: RunId
    session: str


def listed(window: PageRequest | None = None, **conditions: object) -> Read:
    """A list."""

    def read(ports: EvaluationPorts, of: ProjectId, known: Known) -> Awaitable[object]:
        told = {"trace_id": known.trace, "run_id": known.run}
        said = {key: told[key] if value is KNOWN else value for key, value in conditions.items()}
        return ports.trace_scores.page(of, ScoreFilter(**said), window or PageRequest())

    return read


def latest(ports: EvaluationPorts, of: ProjectId, known: Known) -> Awaitable[object]:
    return ports.trace_scores.latest(of, known.trace)


def of_run(ports: EvaluationPorts, of: ProjectId, known: Known) -> Awaitable[object]:
    return ports.trace_scores.of_run(of, known.run)


def session_page(ports: EvaluationPorts, of: ProjectId, _: Known) -> Awaitable[object]:
    return ports.session_scores.page(of, ScoreFilter(), PageRequest())


def of_session(ports: EvaluationPorts, of: ProjectId, known: Known) -> Awaitable[object]:
    return ports.session_scores.of_session(of, known.session)


def history(ports: EvaluationPorts, of: ProjectId, known: Known) -> Awaitable[object]:
    return ports.score_analytics.history(of, known.session, None, HISTORY_DEFAULT)


def figures(method: str, *arguments: object) -> Read:
    return lambda ports, of, _: getattr(ports.score_analytics, method)(of, *arguments)


def labels(method: str, *arguments: object) -> Read:
    return lambda ports, of, _: getattr(ports.labels, method)(of, *arguments)


EVER: Final = CreatedWithin()
WEEK: Final = CreatedWithin(UNTIL - timedelta(days=14), UNTIL - timedelta(days=7))
IN_A_WEEK: Final = {"created_after": WEEK.after, "created_before": WEEK.before}
MONTH: Final = CreatedWithin(UNTIL - PERIOD, UNTIL)
NAME, RELIABILITY = NAMES[3], SESSION_NAMES[0]
OF_TRACE, OF_SESSION = TargetType.TRACE, TargetType.SESSION
DAY, HOUR = Granularity.DAY, Granularity.HOUR
GROUPS: Final[dict[str, dict[str, Read]]] = {
    "Lists of trace scores": {
        "first page": listed(),
        "first page, `limit=200`": listed(PageRequest(limit=200)),
        "page at offset 50,000": listed(PageRequest(offset=50_000)),
        "`name`": listed(name=NAME),
        "`trace_id`": listed(trace_id=KNOWN),
        "`eval_run_id`": listed(run_id=KNOWN),
        "`status=SUCCESS`": listed(status=ScoreStatus.SUCCESS),
        "`source=ANNOTATION`": listed(source=ScoreSource.ANNOTATION),
        "`data_type=BOOLEAN`, which none has": listed(data_type=DataType.BOOLEAN),
        "`environment=staging`": listed(environment="staging"),
        "`name`, `status=FAILED`": listed(name=NAMES[1], status=ScoreStatus.FAILED),
        "`name`, `environment`": listed(name=NAME, environment="staging"),
        "a week": listed(**IN_A_WEEK),
        "`name`, a week": listed(name=NAME, **IN_A_WEEK),
        "the latest of a trace": latest,
        "a run's 10,000, whole": of_run,
    },
    "Figures of trace scores": {
        "summary": figures("summaries", OF_TRACE, EVER),
        "summary of a week": figures("summaries", OF_TRACE, WEEK),
        "trend, 30 days, day": figures("trend", OF_TRACE, NAME, DAY, MONTH),
        "trend, 30 days, hour": figures("trend", OF_TRACE, NAME, HOUR, MONTH),
        "distribution": figures("distribution", OF_TRACE, NAME, 10, EVER),
        "agreement, a tenth labelled": labels("held_against_people", NAME, THRESHOLD, EVER),
        "annotation queue": labels(
            "annotation_queue", NAME, THRESHOLD, "seed", QUEUE_LENGTH_DEFAULT
        ),
    },
    "Session scores, a fifth as many": {
        "first page": session_page,
        "all of a session": of_session,
        "summary": figures("summaries", OF_SESSION, EVER),
        "trend, 30 days, day": figures("trend", OF_SESSION, RELIABILITY, DAY, MONTH),
        "history": history,
        "comparison": figures("comparison", RELIABILITY, SortOrder.ASC, PageRequest(limit=20)),
    },
}


@dataclass(frozen=True)
class Taken:
    """Seconds of each answer, and of CPU on average: what they take where nobody else works."""

    times: Sequence[float]
    cpu: float


def cpu_s(pid: int) -> float:
    """What a process and all that it started have used so far, and this process."""
    used = time.process_time()
    left = [pid]
    while left:
        of = Path(f"/proc/{left.pop()}")
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = (of / "stat").read_text().rpartition(")")[2].split()
            used += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
            left += map(int, (of / f"task/{of.name}/children").read_text().split())
    return used


async def asked(ask: Callable[[], Awaitable[object]], server: int) -> Taken:
    for _ in range(WARM_UP):
        await ask()
    taken: list[float] = []
    used, begin = cpu_s(server), time.perf_counter()
    while len(taken) < REQUESTS_MAX:
        since = time.perf_counter()
        await ask()
        taken.append(time.perf_counter() - since)
        if len(taken) >= REQUESTS_MIN and time.perf_counter() - begin > ENOUGH_S:
            break
    return Taken(taken, (cpu_s(server) - used) / len(taken))


async def fill(pool: Pool, scores: int) -> ProjectId:
    project = ProjectId(uuid.uuid4())
    for sql, arguments in inserts(project, scores, scores // 5):
        await pool.execute(sql, *arguments, timeout=None)
    await pool.execute("VACUUM ANALYZE", timeout=None)
    await pool.execute("CHECKPOINT", timeout=None)
    return project


async def measured(settings: Settings, server: int, sizes: Sequence[int]) -> None:
    found: dict[tuple[str, str, int], Taken] = {}
    await root.migrate(settings)
    async with root.database(settings) as pool:
        ports = root.evaluation_ports(settings, pool, RecordedJobs(), prices(), HeuristicJudge())
        for scores in sizes:
            of = await fill(pool, scores)
            newest = (await ports.trace_scores.page(of, ScoreFilter(), PageRequest(limit=1))).items[
                0
            ]
            assert newest.run_id is not None
            known = Known(newest.trace_id, newest.run_id, "conv-7")
            for group, reads in GROUPS.items():
                for label, read in reads.items():
                    taken = await asked(partial(read, ports, of, known), server)
                    found[group, label, scores] = taken
                    told = f"{quantile(taken.times, 0.5) * 1e3:.1f} ms, CPU {taken.cpu * 1e3:.1f}"
                    print(f"{scores:,} {group}: {label}: {told}", file=sys.stderr, flush=True)
    print("\n".join(table(found, sizes)))


def table(found: dict[tuple[str, str, int], Taken], sizes: Sequence[int]) -> Iterator[str]:
    yield "| ms |" + "".join(f" {size:,}: p50 | p95 | p99 | CPU |" for size in sizes)
    yield f"|---|{'---|---|---|---|' * len(sizes)}"
    for group, reads in GROUPS.items():
        yield f"| **{group}** |{' | | | |' * len(sizes)}"
        for label in reads:
            cells = ""
            for taken in (found[group, label, size] for size in sizes):
                figures = [*(quantile(taken.times, q) for q in (0.5, 0.95, 0.99)), taken.cpu]
                cells += "".join(f" {one * 1e3:.1f} |" for one in figures)
            yield f"| {label} |{cells}"


def main(sizes: Sequence[int] = ()) -> None:
    sizes = sizes or (*SIZES, *([MILLION] if os.environ.get("SCALE") == "1m" else []))
    with bench_folder() as folder, running(folder) as servers:
        settings = Settings(
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            database_statement_timeout_ms=600_000,
        )
        print(machine(), "\n")
        asyncio.run(measured(settings, servers.children[0].process.pid, sizes))


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]])
