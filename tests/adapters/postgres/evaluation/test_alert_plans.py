"""Query plans: the indexes that find monitors, alerts and deliveries among many."""

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Final

import pytest

from adapters.postgres.evaluation.alerts.webhooks import CLAIM_DUE_DELIVERIES
from application.evaluation.ports.alerts import FinishedRun
from domain.evaluation.alerts.alert import AlertFigure, AlertState
from domain.evaluation.monitors.monitor import Watermark
from domain.evaluation.runs.run import TargetType
from domain.evaluation.runs.selection import SessionSelection, TraceSelection
from domain.ids import MonitorId, ProjectId, RunId
from domain.page import PageRequest
from tests.adapters.postgres.tracing.test_plans import OF_BOTH, nodes, plans, read_rows
from tests.support.builders.values import NOON
from tests.support.fixtures.evaluation.monitors import a_monitor
from tests.support.fixtures.seeded_database import NOISE, OURS, TRACES, UNKNOWN, Seeded

pytestmark = pytest.mark.service

MONITORS: Final = 50  # of each project
RUNS: Final = 40  # of each monitor
CHANGES: Final = 200
DELIVERIES: Final = 3_000  # of each project, of one webhook; a hundredth is due
DUE: Final = DELIVERIES // 100
TABLES: Final = ("monitors", "eval_runs", "alerts", "alert_changes", "alert_deliveries")
WEBHOOK: Final = uuid.UUID(int=0xF00)

SEED: Final = (
    f"""
    INSERT INTO eval_runs (project_id, id, target_type, metrics, targets, filters, sampling_rate,
                           model, signal_weights, monitor_id, status, created_at, completed_at,
                           assessed_at)
    SELECT $1, gen_random_uuid(), 'TRACE', '{{coherence}}', 1, '{{}}', 1, 'heuristic/1', '{{}}',
           m.id, 'COMPLETED', $2::timestamptz + i * interval '1 hour',
           $2::timestamptz + i * interval '1 hour',
           CASE WHEN i < {RUNS} - 1 THEN $2::timestamptz END
    FROM monitors AS m CROSS JOIN generate_series(0, {RUNS} - 1) AS i WHERE m.project_id = $1
    """,
    f"""
    INSERT INTO alerts (project_id, id, monitor_id, metric, figure, threshold, clear_at,
                        samples_min, breaches, recoveries, state, since, in_a_row, created_at,
                        awaits)
    SELECT $1, gen_random_uuid(), m.id, 'coherence',
           CASE WHEN i = 0 THEN '{AlertFigure.NO_DATA}' ELSE '{AlertFigure.SCORE_MEAN}' END,
           0.5, 0.5, 1, 1, 1, 'OK', $2, 0, $2, m.next_run_at
    FROM monitors AS m CROSS JOIN generate_series(0, 3) AS i WHERE m.project_id = $1
    """,
    f"""
    INSERT INTO alert_changes (project_id, id, monitor_id, alert_id, before, after, at)
    SELECT $1, gen_random_uuid(), m.id, m.id, 'OK', 'ALERTING', $2::timestamptz + i * interval '1 s'
    FROM monitors AS m CROSS JOIN generate_series(0, {CHANGES} - 1) AS i WHERE m.project_id = $1
    """,
    """
    INSERT INTO webhooks (project_id, id, url, format, secret_key_id, encrypted_secret, created_at)
    VALUES ($1, '00000000-0000-0000-0000-000000000f00', 'https://example.com', 'standard', 'k',
            'x', $2)
    """,
    f"""
    INSERT INTO alert_deliveries (project_id, id, webhook_id, body, attempts, created_at,
                                  next_attempt_at)
    SELECT $1, gen_random_uuid(), '{WEBHOOK}', 'x', 0, $2::timestamptz + i * interval '1 s',
           CASE WHEN i % 100 = 0 THEN $2::timestamptz END
    FROM generate_series(0, {DELIVERIES} - 1) AS i
    """,
)

A_MONITOR: Final = "SELECT min(id::text)::uuid FROM monitors WHERE project_id = $1"
LAST_RUN: Final = """
SELECT id FROM eval_runs WHERE project_id = $1 AND monitor_id = $2 AND assessed_at IS NULL
"""

type Read = Callable[[Seeded, ProjectId], Awaitable[object]]


async def fill(seeded: Seeded, project_id: ProjectId) -> None:
    for n in range(MONITORS):
        monitor = a_monitor(project_id, name=f"m{n}", next_run_at=NOON + timedelta(hours=n))
        await seeded.evaluation.monitors.create(monitor)
    for statement in SEED:
        arguments = [project_id, NOON][: 2 if "$2" in statement else 1]
        await seeded.owner.execute(statement, *arguments)


@pytest.fixture(scope="module")
async def watched(seeded: Seeded) -> AsyncIterator[Seeded]:
    """To the planner UNKNOWN has nothing."""
    for table in TABLES:
        await seeded.owner.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
    for project_id in (NOISE, OURS):
        await fill(seeded, project_id)
    await seeded.owner.execute(f"ANALYZE {', '.join(TABLES)}, webhooks")
    await fill(seeded, UNKNOWN)
    yield seeded
    tables = ", ".join((*TABLES, "webhooks"))
    await seeded.owner.execute(f"TRUNCATE {tables}")  # as others found them


def of_first(read: Callable[[Seeded, ProjectId, MonitorId], Awaitable[object]]) -> Read:
    async def asked(at: Seeded, project_id: ProjectId) -> object:
        monitor = await at.pool.fetchval(A_MONITOR, project_id)
        at.statements.clear()
        return await read(at, project_id, MonitorId(monitor))

    return asked


async def measured(at: Seeded, project_id: ProjectId, monitor: MonitorId) -> object:
    run = await at.pool.fetchval(LAST_RUN, project_id, monitor)
    at.statements.clear()
    ended = FinishedRun(project_id, monitor, RunId(run), TargetType.TRACE, NOON)
    return await at.evaluation.alerting.alerts.metric_stats(ended, "coherence", 0.5)


async def last_runs(at: Seeded, project_id: ProjectId, monitor: MonitorId) -> object:
    alerts = at.evaluation.alerting.alerts
    return await alerts.finished_run_stats(a_monitor(project_id, id=monitor), "coherence", 0.5, 25)


def changed(selection: TraceSelection | SessionSelection) -> Read:
    async def asked(at: Seeded, project_id: ProjectId) -> object:
        edge = await at.evaluation.changed.readable_until()
        last = Watermark(edge.written_at - timedelta(microseconds=1), edge.trace)
        at.statements.clear()
        return await at.evaluation.changed.targets(project_id, selection, last, edge, TRACES)

    return asked


ALL: Final = 3 * MONITORS  # of three projects
READS: Final[dict[str, tuple[Read, dict[str, int]]]] = {
    "a page of monitors": (
        lambda at, project_id: at.evaluation.monitors.page(project_id, None, PageRequest()),
        {"monitors": 3 * MONITORS},
    ),
    "its runs": (
        of_first(
            lambda at, project_id, it: at.evaluation.monitors.runs(project_id, it, PageRequest())
        ),
        {"monitors": 1, "eval_runs": 4 * RUNS},
    ),
    "its alerts": (
        of_first(
            lambda at, project_id, it: at.evaluation.alerting.alerts.by_monitor(project_id, it)
        ),
        {"monitors": 1, "alerts": 4},
    ),
    "their changes": (
        of_first(
            lambda at, project_id, it: at.evaluation.alerting.alerts.changes(
                project_id, it, PageRequest()
            )
        ),
        {"monitors": 1, "alert_changes": 2 * CHANGES},
    ),
    "alerts of the project": (
        lambda at, project_id: at.evaluation.alerting.alerts.page(
            project_id, AlertState.OK, PageRequest()
        ),
        {"alerts": 3 * 4 * MONITORS},
    ),
    "their latest changes": (
        lambda at, project_id: at.evaluation.alerting.alerts.changes_of_project(
            project_id, AlertState.ALERTING, PageRequest()
        ),
        {"alert_changes": 2 * CHANGES * MONITORS},
    ),
    "what the last runs came to": (
        of_first(last_runs),
        {"monitors": 1, "eval_runs": RUNS, "trace_scores": 0},
    ),
    "what a run came to": (of_first(measured), {"eval_runs": 2 * RUNS, "trace_scores": 0}),
    "due monitors": (
        lambda at, _: at.evaluation.monitors.list_due(NOON, None),
        {"monitors": 3},
    ),
    "runs that have ended": (
        lambda at, project_id: at.evaluation.alerting.alerts.list_finished_runs(
            FinishedRun(
                project_id, MonitorId(project_id), RunId(project_id), TargetType.TRACE, NOON
            )
        ),
        {"eval_runs": ALL},
    ),
    "deliveries": (
        lambda at, project_id: at.evaluation.alerting.webhooks.deliveries(
            project_id, WEBHOOK, PageRequest()
        ),
        {"webhooks": 3, "alert_deliveries": 2 * DELIVERIES},
    ),
    "changed traces": (changed(TraceSelection()), {"traces": 2 * TRACES}),
    "changed sessions": (changed(SessionSelection()), {"traces": 2 * TRACES, "sessions": TRACES}),
}


@pytest.mark.parametrize("read", READS)
@OF_BOTH
async def test_reads_scan_only_the_rows_they_need(watched, project_id, read):
    act, most = READS[read]
    found = await plans(watched, act, project_id)
    rows = {table: count for table, count in read_rows(found).items() if count}
    assert {table: count for table, count in rows.items() if count > most.get(table, 0)} == {}
    whole = {node["Relation Name"] for node in found if node["Node Type"] == "Seq Scan"}
    assert whole & {*TABLES, "traces", "sessions"} == set()


@OF_BOTH
async def test_due_deliveries_are_found_by_index(watched, project_id):
    assert project_id in {OURS, UNKNOWN}
    arguments = (NOON, NOON + timedelta(minutes=1), 10)
    async with watched.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        sql = f"EXPLAIN (ANALYZE, FORMAT JSON) {CLAIM_DUE_DELIVERIES}"
        text = await connection.fetchval(sql, *arguments)
        await transaction.rollback()
    rows = read_rows([*nodes(json.loads(text)[0]["Plan"])])
    assert 0 < rows["alert_deliveries"] <= 4 * 3 * DUE
