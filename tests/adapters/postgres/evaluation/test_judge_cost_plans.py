"""Query plans: the indexes that find verdicts, judge calls and spending among many."""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

import pytest

from adapters.postgres.identity.project_budgets import store_budget
from application.evaluation.ports.judging import JudgingPorts, Reservation, Verdict
from domain.evaluation.costs.judge_costs import SpendingBy, month_scope
from domain.evaluation.judging.judge import TokenUse
from domain.evaluation.scores.outcome import Scored
from domain.evaluation.scores.score import CreatedWithin
from domain.ids import ProjectId, RunId, TraceId
from tests.adapters.postgres.tracing.test_plans import OF_BOTH, nodes, plans, read_rows
from tests.contracts.evaluation.judging.test_judge_ledger import an_entry
from tests.support.builders.values import NOON
from tests.support.fixtures.seeded_database import NOISE, OURS, UNKNOWN, Seeded
from tests.support.fixtures.servers import citus

pytestmark = pytest.mark.service

type Act = Callable[[JudgingPorts, ProjectId], Awaitable[object]]

ROWS: Final = 10_000  # requests of each project, and as many verdicts
OF_RUN: Final = 100
OF_DAY: Final = 200
SINCE: Final = NOON - timedelta(days=ROWS // OF_DAY)
TABLES: Final = ("judge_calls", "judge_verdicts")
WITHIN: Final = CreatedWithin(NOON - timedelta(days=30), NOON)

SEED: Final = (
    """
    INSERT INTO judge_calls (project_id, id, run_id, target, metric, attempt, provider, model,
                             input_tokens, cache_read_tokens, cache_write_tokens, output_tokens,
                             reasoning_tokens, usd, price_version, latency_ms, code, estimated,
                             created_at)
    SELECT $1::uuid, gen_random_uuid(), md5($1::uuid::text || i / $4::int)::uuid, 'target',
           'metric ' || i % 7, 1, 'openai', 'model ' || i % 5, 3000, 0, 0, 90, 0, 0.0084, 'test',
           900, NULL, false,
           $2::timestamptz + i * interval '1 day' / $5::int
    FROM generate_series(0, $3::int - 1) AS i
    """,
    """
    INSERT INTO judge_verdicts (project_id, key, trace_id, outcome, usage, model, created_at)
    SELECT $1::uuid, decode(md5($1::uuid::text || i) || md5('' || i), 'hex'),
           md5($1::uuid::text || i % $4::int)::uuid,
           '{"value":1,"reason":"","metadata":{}}', '{"use":{},"usd":null}', 'openai/tiny',
           $2::timestamptz + i * interval '1 day' / $5::int
    FROM generate_series(0, $3::int - 1) AS i
    """,
)


def run_of(project: ProjectId) -> RunId:
    return RunId(UUID(hashlib.md5(f"{project}7".encode()).hexdigest()))


def key_of(project: ProjectId) -> bytes:
    both = hashlib.md5(f"{project}7".encode()).digest(), hashlib.md5(b"7").digest()
    return b"".join(both)


@pytest.fixture(scope="module")
async def spent(seeded: Seeded) -> AsyncIterator[JudgingPorts]:
    """To the planner UNKNOWN has spent nothing."""
    for table in TABLES:
        await seeded.owner.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
    for project in (OURS, NOISE, UNKNOWN):
        if project == UNKNOWN:
            await seeded.owner.execute(f"ANALYZE {', '.join(TABLES)}")
        for sql in SEED:
            await seeded.owner.execute(sql, project, SINCE, ROWS, OF_RUN, OF_DAY)
    yield seeded.evaluation.judging
    await seeded.owner.execute(f"TRUNCATE {', '.join(TABLES)}, judge_budgets, judge_spending")


READS: Final[dict[str, tuple[Act, dict[str, int]]]] = {
    "a run": (
        lambda at, project_id: at.ledger.run_spending(project_id, run_of(project_id)),
        {"judge_calls": OF_RUN},
    ),
    "a month": (
        lambda at, project_id: at.ledger.total([project_id], WITHIN),
        {"judge_calls": 30 * OF_DAY},
    ),
    **{
        f"a month by {by}": (
            lambda at, project_id, by=by: at.ledger.projects_spending([project_id], WITHIN, by),
            {"judge_calls": 30 * OF_DAY},
        )
        for by in SpendingBy
    },
    "a verdict": (
        lambda at, project_id: at.verdicts.find(project_id, key_of(project_id), SINCE),
        {"judge_verdicts": 1},
    ),
    "a budget": (lambda at, project_id: at.budgets.monthly(project_id), {}),
}


@pytest.mark.parametrize("read", READS)
@OF_BOTH
async def test_reads_scan_only_the_rows_they_need(
    seeded: Seeded, spent: JudgingPorts, project_id: ProjectId, read: str
):
    act, most = READS[read]
    found = await plans(seeded, lambda _, project: act(spent, project), project_id)
    rows = {table: count for table, count in read_rows(found).items() if table in TABLES and count}
    assert rows == {table: count for table, count in most.items() if count}
    assert {one["Node Type"] for one in found if one.get("Relation Name") in TABLES} <= {
        *("Index Scan", "Index Only Scan", "Bitmap Heap Scan")
    }


async def work(seeded: Seeded, spent: JudgingPorts, project_id: ProjectId) -> None:
    """Runs all statements of one judge question, and those of the periodic deletes."""
    trace = await seeded.pool.fetchval(
        "SELECT trace_id FROM traces WHERE project_id = $1", project_id
    )
    kept = Verdict(outcome=Scored(1.0, ""), model="m", use=TokenUse(), usd=None)
    await spent.verdicts.save(project_id, b"\x01" * 32, TraceId(trace), kept, NOON)
    await spent.ledger.append([an_entry(project_id=project_id)])
    async with seeded.pool.acquire() as connection, connection.transaction():
        await store_budget(connection, project_id, Decimal(10**6), NOON)
    reserved = await spent.budgets.reserve(
        project_id, run_of(project_id), Decimal(1), Decimal("0.1"), NOON
    )
    since = dict.fromkeys((f"run {run_of(project_id)}", month_scope(NOON)), NOON)
    assert reserved == Reservation(since, Decimal("0.1"))
    await spent.budgets.settle(project_id, reserved, Decimal("0.05"))
    async with seeded.pool.acquire() as connection, connection.transaction():
        await store_budget(connection, project_id, None, NOON)
    long_ago = SINCE - timedelta(days=1)
    assert (
        await spent.verdicts.delete_older(long_ago) + await spent.ledger.delete_older(long_ago) == 0
    )


# One of these has to be in the condition by which an index is entered.
KEYS: Final = {"judge_calls": ("id =", "created_at"), "judge_verdicts": ("key =", "created_at")}


@OF_BOTH
async def test_judging_finds_rows_by_key(
    seeded: Seeded, spent: JudgingPorts, project_id: ProjectId
):
    seeded.statements.clear()
    await work(seeded, spent, project_id)
    entered = set()
    for asked in list(seeded.statements):
        if not asked.args or not citus.is_explained(asked.query):
            continue
        async with seeded.pool.acquire() as connection:
            text = await citus.explain(connection, "FORMAT JSON", asked.query, *asked.args)
        for node in nodes(json.loads(text)[0]["Plan"]):
            table = node.get("Relation Name")
            # A TID scan reads the rows that another node of the plan has found.
            if table not in KEYS or node["Node Type"] in {"ModifyTable", "Tid Scan"}:
                continue
            condition = node.get("Index Cond", "") + node.get("Recheck Cond", "")
            assert any(key in condition for key in KEYS[table]), json.dumps((asked.query, node))
            entered.add(table)
    assert entered == KEYS.keys()
