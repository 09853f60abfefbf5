"""Query plans: the indexes by which workers and readers of runs find rows."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Final

import pytest

from adapters.postgres.evaluation.alerts.alerts import DELETE_OLD_CHANGES
from adapters.postgres.evaluation.alerts.webhooks import DELETE_OLD_DELIVERIES
from adapters.postgres.evaluation.work_queue.work_queue import PostgresWorkQueue
from adapters.postgres.evaluation.work_queue.workers import PostgresWorkloads
from application.evaluation.ports.work_queue import (
    IN_FLIGHT_TARGETS_MAX,
    PLANNED_TARGETS_BATCH,
    Claim,
    SignalKey,
)
from domain.evaluation.runs.run import EvalRun, TargetType
from domain.evaluation.runs.selection import GivenInstant, Sample, SessionSelection, TraceSelection
from domain.evaluation.scores.outcome import FailCode
from domain.ids import ProjectId, TraceId
from domain.page import PageRequest
from tests.adapters.postgres.tracing.test_plans import (
    OF_BOTH,
    nodes,
    plans,
    read_rows,
    scanned_whole,
    trace_of,
)
from tests.support.builders.values import NOON, trace
from tests.support.fixtures.evaluation.evaluation import GOOD, METRICS, a_run, signal_of, work_of
from tests.support.fixtures.seeded_database import END, HOUR, NOISE, OURS, TRACES, UNKNOWN, Seeded
from tests.support.fixtures.servers import citus
from tests.support.waiting import until_done

pytestmark = pytest.mark.service

TARGETS: Final = 2 * PLANNED_TARGETS_BATCH
RUNS: Final = 3  # of each project
NEXT: Final = 30  # targets, where others wait

type Read = Callable[[Seeded, ProjectId], Awaitable[object]]


async def begin(seeded: Seeded, project_id: ProjectId) -> list[EvalRun]:
    """Runs with much to do, of which some targets are announced."""
    runs = [a_run(project_id, TARGETS) for _ in range(RUNS)]
    for run in runs:
        await seeded.evaluation.runs.create(run, work_of(run))
        await until_done(seeded.evaluation.work_queue.plan, project_id, run.id, NOON)
    await seeded.evaluation.work_queue.dispatch(project_id, NOON)
    return runs


@pytest.fixture(scope="module")
async def runs(seeded: Seeded) -> AsyncIterator[dict[ProjectId, list[EvalRun]]]:
    """By project. To the planner UNKNOWN has none."""
    tables = ("eval_runs", "eval_jobs")
    for table in tables:
        await seeded.owner.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
    made = {project_id: await begin(seeded, project_id) for project_id in (NOISE, OURS)}
    await seeded.owner.execute(f"ANALYZE {', '.join(tables)}")
    made[UNKNOWN] = await begin(seeded, UNKNOWN)
    yield made
    # As others found them: their plans know how many scores a project has.
    ids = [run.id for some in made.values() for run in some]
    await seeded.owner.execute("DELETE FROM trace_scores WHERE run_id = ANY($1)", ids)
    await seeded.owner.execute(f"TRUNCATE {', '.join(tables)}")


LAST_DAY: Final = GivenInstant("", END - timedelta(days=1))
LARGE: Final = {
    *("traces", "span_rows", "sessions", "trace_scores", "session_scores"),
    *("eval_runs", "eval_jobs"),
}
LAPS: Final = 3 * RUNS  # looks at each row of work: for sums, codes, and what is in flight
READS: Final[dict[str, tuple[Callable[[EvalRun], Read], dict[str, int]]]] = {
    "a run": (
        lambda run: lambda at, project_id: at.evaluation.runs.get(project_id, run.id),
        {
            "eval_runs": 1,
            "eval_jobs": 3 * TARGETS,
            "trace_scores": IN_FLIGHT_TARGETS_MAX * len(METRICS),
        },
    ),
    "a page of runs": (
        lambda _: (
            lambda at, project_id: at.evaluation.runs.page(
                project_id, TargetType.TRACE, None, PageRequest()
            )
        ),
        {
            "eval_runs": 3 * RUNS,
            "eval_jobs": LAPS * TARGETS,
            "trace_scores": IN_FLIGHT_TARGETS_MAX * len(METRICS),
        },
    ),
    "its failures": (
        lambda run: lambda at, project_id: at.evaluation.runs.failures(project_id, run.id),
        {"eval_runs": 1, "trace_scores": TARGETS * len(METRICS)},
    ),
    "all traces": (
        lambda _: (
            lambda at, project_id: at.evaluation.targets.traces(
                project_id, TraceSelection(), TRACES
            )
        ),
        {"traces": TRACES},
    ),
    "traces of a day": (
        lambda _: (
            lambda at, project_id: at.evaluation.targets.traces(
                project_id, TraceSelection(date_from=LAST_DAY), TRACES
            )
        ),
        {"traces": 25 * HOUR},
    ),
    "a sample of the traces of a day": (
        lambda _: (
            lambda at, project_id: at.evaluation.targets.traces(
                project_id, TraceSelection(date_from=LAST_DAY), TRACES, sample=Sample(0.5, "salt")
            )
        ),
        {"traces": 25 * HOUR},
    ),
    "traces with a rare tag": (
        lambda _: (
            lambda at, project_id: at.evaluation.targets.traces(
                project_id, TraceSelection(tags=("canary",)), TRACES
            )
        ),
        {"traces": 250},
    ),
    "traces by a part of their name": (
        lambda _: (
            lambda at, project_id: at.evaluation.targets.traces(
                project_id, TraceSelection(name="N 19", user_id="user-19"), TRACES
            )
        ),
        {"traces": 1_000},
    ),
    "sessions of a day": (
        lambda _: (
            lambda at, project_id: at.evaluation.targets.sessions(
                project_id, SessionSelection(date_from=LAST_DAY, has_error=True), TRACES
            )
        ),
        {"traces": 25 * HOUR},
    ),
    "all sessions of two traces": (
        lambda _: (
            lambda at, project_id: at.evaluation.targets.sessions(
                project_id, SessionSelection(min_trace_count=2), TRACES
            )
        ),
        {"traces": TRACES},
    ),
    "traces of a session": (
        lambda _: lambda at, project_id: at.evaluation.targets.session_traces(project_id, "conv-7"),
        {"traces": 4},
    ),
    # Spans are read for their size as well: errors may have any length.
    "a trace": (lambda _: read_subject, {"traces": 30, "span_rows": 2 * 3 * 4}),
    "signals": (lambda _: read_signals, {"trace_scores": 20}),
}


async def read_subject(at: Seeded, project_id: ProjectId) -> object:
    last = (await at.evaluation.targets.session_traces(project_id, "conv-7"))[-1]
    return await at.evaluation.targets.load_trace(project_id, last)


async def read_signals(at: Seeded, project_id: ProjectId) -> object:
    wanted = {"metric_1": SignalKey("f1", "e"), "metric_2": SignalKey("f1", "e")}
    return await at.evaluation.work_queue.find_signals(
        project_id, TraceId(trace_of(project_id)), wanted
    )


@pytest.mark.parametrize("read", READS)
@OF_BOTH
async def test_reads_scan_only_the_rows_they_need(seeded, runs, project_id, read):
    act, most = READS[read]
    found = await plans(seeded, act(runs[project_id][0]), project_id)
    rows = {table: count for table, count in read_rows(found).items() if table in LARGE}
    assert {table: count for table, count in rows.items() if count > most.get(table, 0)} == {}
    assert scanned_whole(found) == set()


# --- writing ---------------------------------------------------------------------------------

# One of these has to be in the condition by which an index is entered.
KEYS: Final = {
    "eval_runs": ("(id =", "announced_at"),
    "eval_jobs": ("run_id", "due_at"),
    "trace_scores": ("(id =", "run_id", "trace_id"),
    "session_scores": ("(id =", "run_id"),
    "traces": ("trace_id",),
}
# Small tables, which may be scanned from one end to the other.
SMALL: Final = {"eval_runs_running", "eval_runs_announced", "eval_jobs_dead", "eval_jobs_due"}


async def work(seeded: Seeded, project_id: ProjectId) -> None:
    """A run from its making to its end, with everything that can be done to it."""
    do, work_queue = seeded.evaluation, PostgresWorkQueue(seeded.pool, 2 * IN_FLIGHT_TARGETS_MAX)
    run = a_run(project_id, 4)
    await do.runs.create(run, work_of(run))
    await work_queue.plan(project_id, run.id, NOON)
    due = [one for one in await work_queue.dispatch(project_id, NOON) if one.run == run.id]
    claims = [await work_queue.claim(project_id, run.id, one.target, NOON) for one in due]
    first, second, *_ = [one for one in claims if one is not None]
    await finish(work_queue, first)
    await work_queue.postpone(second, NOON, FailCode.RATE_LIMITED, NOON)
    await work_queue.record_signal(first, signal_of(run, trace(), "confidence"), NOON)
    await work_queue.is_live(first)
    # By one whose window has no room: others than the run would be announced.
    await PostgresWorkQueue(seeded.pool, 1).requeue_overdue(NOON + timedelta(days=1))
    await work_queue.oldest_wait(NOON)
    await work_queue.count_dead()
    await PostgresWorkloads(seeded.pool).workload(NOON)
    await do.runs.cancel(project_id, run.id, NOON)
    of_run = await seeded.owner.fetch("SELECT id FROM trace_scores WHERE run_id = $1", run.id)
    await do.runs.delete(project_id, run.id, NOON, with_scores=False)
    # Other tests of plans know how many scores the project has.
    left = [row["id"] for row in of_run]
    await seeded.owner.execute("DELETE FROM trace_scores WHERE id = ANY($1::uuid[])", left)


async def finish(work_queue: PostgresWorkQueue, claim: Claim) -> None:
    assert await work_queue.record(claim, METRICS[0], GOOD, NOON)
    await work_queue.close([claim], NOON)


def first_of(asked: Any) -> Sequence[object]:
    """The values of a statement; of one that is executed for many, those of the first."""
    values: Sequence[object] = asked.args[0] if isinstance(asked.args, list) else asked.args
    return values


def reached(plan: dict[str, Any]) -> bool:
    table, condition = plan["Relation Name"], plan.get("Index Cond", "")
    if plan["Node Type"] in {"ModifyTable", "Tid Scan"} or plan.get("Index Name") in SMALL:
        return True
    condition += plan.get("Recheck Cond", "")
    return any(key in condition for key in KEYS[table])


@OF_BOTH
async def test_workers_find_rows_by_key(seeded, runs, project_id):
    assert len(runs[project_id]) == RUNS
    seeded.statements.clear()
    await work(seeded, project_id)
    entered = set()
    for asked in list(seeded.statements):
        if asked.query.startswith("COPY") or not asked.args or not citus.is_explained(asked.query):
            continue
        async with seeded.pool.acquire() as connection:
            text = await citus.explain(connection, "FORMAT JSON", asked.query, *first_of(asked))
        for node in nodes(json.loads(text)[0]["Plan"]):
            if node.get("Relation Name") in KEYS:
                assert reached(node), json.dumps((asked.query, node))
                entered.add(node["Relation Name"])
    assert entered == KEYS.keys()


# --- each step -------------------------------------------------------------------------------

BLOCKS_MAX: Final = 100  # of 8 kB, for one statement: much less than all of a project


async def step(seeded: Seeded, project_id: ProjectId) -> None:
    """The steps that a worker repeats: plan, claim, record, finish."""
    work_queue = PostgresWorkQueue(seeded.pool, 4 * IN_FLIGHT_TARGETS_MAX)
    due = (await work_queue.dispatch(project_id, NOON))[0]
    claim = await work_queue.claim(due.project, due.run, due.target, NOON)
    assert claim is not None
    await finish(work_queue, claim)


@OF_BOTH
async def test_work_step_cost_is_independent_of_queue_size(seeded, runs, project_id):
    assert len(runs[project_id]) == RUNS
    seeded.statements.clear()
    await step(seeded, project_id)
    asked = [one for one in list(seeded.statements) if one.args]
    assert len(asked) > len("claim, record, close")
    for one in filter(lambda one: citus.is_explained(one.query), asked):
        async with seeded.pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            sql = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {one.query}"
            text = await connection.fetchval(sql, *first_of(one))
            await transaction.rollback()
        [plan] = citus.plans_of_nodes(json.loads(text)[0]["Plan"])
        blocks = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        picked = (
            4 * IN_FLIGHT_TARGETS_MAX if "unnest" in one.query else 0
        )  # keys that are looked up
        assert blocks <= BLOCKS_MAX + 20 * picked, (blocks, one.query, text.decode())


@pytest.mark.parametrize(
    ("forget", "index"),
    [(DELETE_OLD_DELIVERIES, "alert_deliveries_over"), (DELETE_OLD_CHANGES, "alert_changes_age")],
    ids=["deliveries", "changes"],
)
async def test_old_rows_are_found_by_age(seeded, forget, index):
    text = await seeded.pool.fetchval(f"EXPLAIN (FORMAT JSON) {forget}", NOON)
    entered = [node for node in nodes(json.loads(text)[0]["Plan"]) if "Index Name" in node]
    assert [(node["Index Name"], " < " in node["Index Cond"]) for node in entered] == [
        (index, True)
    ]
