"""Counted days of scores equal a recount, also while others write to them."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from asyncpg import Record

from adapters.postgres.database.pool import Connection
from adapters.postgres.database.read_transactions import read_snapshot
from adapters.postgres.database.transactions import transaction
from adapters.postgres.evaluation.scores.score_days import CHANGED_DAYS_MAX, find_score_days
from adapters.postgres.evaluation.scores.score_rollups import PostgresScoreRollups
from domain.evaluation.scores.rollup import MEDIAN
from domain.evaluation.scores.score import ScoreChange, ScoreTarget, TraceScore
from domain.ids import ProjectId, ScoreId
from tests.support.builders.scores import AUTOMATED, EVER, RUNS, by, trace_score
from tests.support.builders.values import NOON, trace, trace_id
from tests.support.fixtures.data_plane import DataPlane, fill, over_postgres, project
from tests.support.fixtures.evaluation import score_day_recount
from tests.support.fixtures.evaluation.counted_days import AfterCounting, count_days

pytestmark = pytest.mark.service

TRACE: Final = trace_id()
DAYS: Final = 4
CHANGED: Final = "SELECT DISTINCT day FROM changed_score_days WHERE project_id = $1 ORDER BY day"
CHANGE_DAYS: Final = """
INSERT INTO changed_score_days (project_id, target, day, xid)
SELECT $1, 'trace', $2::date - n, '3' FROM generate_series(1, $3::int) AS n ON CONFLICT DO NOTHING
"""
# On a cluster an id of the worker, since it names a table of it.
TAKE_XID: Final = """
SELECT pg_current_xact_id()::text
FROM (SELECT count(*) FROM (SELECT 1 FROM score_rollups LIMIT 1) AS one) AS one_row
"""
COUNTED: Final = "SELECT coalesce(sum(score_count), 0) FROM score_days WHERE project_id = $1"


@pytest.fixture
async def plane(serving_pool):
    async with over_postgres(serving_pool) as plane:
        yield plane


@pytest.fixture
async def ours(plane):
    ours = project()
    await fill(plane, ours, trace(id=TRACE, session_id="s"))
    return ours


def some_scores(project_id: ProjectId, count: int) -> list[TraceScore]:
    """Scores of DAYS, some made otherwise than the others."""
    return [
        trace_score(
            project_id,
            TRACE,
            name="mM"[n % 2],
            value=repr(n % 7 / 7),
            source=AUTOMATED,
            run_id=RUNS[0],
            metadata=by(("model", "heuristic", "rule")[n % 3], fingerprint="fg"[n % 2]),
            created_at=NOON + timedelta(days=n % DAYS, seconds=n),
        )
        for n in range(count)
    ]


async def add(plane: DataPlane, some: Sequence[TraceScore]) -> None:
    for one in some:
        await plane.evaluation.trace_scores.add(one)


async def summaries(plane: DataPlane, project_id: ProjectId):
    """Read from scores and from counted days, which agree."""
    return await AfterCounting(plane.evaluation).summaries(project_id, ScoreTarget.TRACE, EVER)


async def test_writes_to_a_counted_day_are_read_before_and_after_it_is_counted_again(
    plane, ours, pool
):
    known = some_scores(ours, 12)
    await add(plane, known)
    await count_days(plane.evaluation, ours)
    assert [await pool.fetchval(COUNTED, ours), await pool.fetch(CHANGED, ours)] == [12, []]
    await plane.evaluation.trace_scores.delete(ours, known[0].id)
    await plane.evaluation.trace_scores.change(
        ours, known[5].id, ScoreChange(value="0.99"), NOON, None
    )
    await add(plane, some_scores(ours, 1))
    days = [row["day"] for row in await pool.fetch(CHANGED, ours)]
    assert days == [NOON.date(), (NOON + timedelta(days=1)).date()]
    found = await plane.evaluation.score_analytics.summaries(ours, ScoreTarget.TRACE, EVER)
    assert sum(one.scored for one in found) == 11  # without that of the person who changed it
    await summaries(plane, ours)
    assert await pool.fetch(score_day_recount.DIFFERING, ours) == []


async def test_scores_are_read_while_too_many_days_have_changed(plane, ours, pool):
    await add(plane, some_scores(ours, DAYS))
    await count_days(plane.evaluation, ours)
    for days, is_read in ((CHANGED_DAYS_MAX, False), (CHANGED_DAYS_MAX + 1, True)):
        await pool.execute(CHANGE_DAYS, ours, NOON.date(), days)
        async with read_snapshot(pool, "", ours) as connection:
            found = await find_score_days(connection, ours, ScoreTarget.TRACE, EVER)
        assert (found is None) is is_read


async def test_scores_of_today_are_not_noted_and_are_read(plane, ours, pool):
    await add(plane, some_scores(ours, 3))
    await count_days(plane.evaluation, ours)
    later = trace_score(ours, TRACE, name="m", created_at=datetime.now(UTC) + timedelta(hours=1))
    await plane.evaluation.trace_scores.add(later)
    assert await pool.fetch(CHANGED, ours) == []
    found = await plane.evaluation.score_analytics.summaries(
        ours, ScoreTarget.TRACE, EVER, source=later.source
    )
    assert [(one.name, one.scored) for one in found] == [("m", 1)]


async def test_counting_waits_for_open_transactions(plane, ours, pool, serving_pool):
    """One that began before its day was over may write to it without noting that."""
    rollups = PostgresScoreRollups(serving_pool)
    await add(plane, some_scores(ours, 3))
    async with transaction(serving_pool, ours) as connection:
        await connection.fetchval(TAKE_XID)
        assert await rollups.count_days_of(ours) == 0
    await count_days(plane.evaluation, ours)
    assert await pool.fetchval(COUNTED, ours) == 3


async def test_writers_and_counters_at_once(plane, ours, pool, serving_pool):
    rollups, known = PostgresScoreRollups(serving_pool), some_scores(ours, 48)

    async def write(part: int) -> None:
        ids: list[ScoreId] = []
        for one in known[part::4]:
            await plane.evaluation.trace_scores.add(one)
            ids.append(one.id)
            if len(ids) % 4 == 3:
                await plane.evaluation.trace_scores.delete(ours, ids[0])

    async def count() -> None:
        for _ in range(6):
            await rollups.count_days_of(ours)

    await asyncio.gather(*(write(part) for part in range(4)), count(), count())
    await summaries(plane, ours)
    assert await pool.fetch(score_day_recount.DIFFERING, ours) == []


@dataclass
class Explaining:
    """A connection that explains each statement before it runs it."""

    connection: Connection
    plans: list[str] = field(default_factory=list)

    async def fetch(self, sql: str, *values: object) -> list[Record]:
        rows = await self.connection.fetch(f"EXPLAIN {sql}", *values)
        self.plans.append("\n".join(row[0] for row in rows))
        return await self.connection.fetch(sql, *values)


async def test_scores_of_other_days_are_found_by_their_time(plane, ours, serving_pool):
    """A bound that a policy keeps out of the index makes each read go through all scores."""
    await add(plane, some_scores(ours, 12))
    await count_days(plane.evaluation, ours)
    await add(plane, some_scores(ours, 1))
    async with read_snapshot(serving_pool, "", ours) as connection:
        days = await find_score_days(connection, ours, ScoreTarget.TRACE, EVER)
        assert days is not None
        assert len(days.ranges) == 2  # the changed day, and what comes after the counted ones
        explaining: Any = Explaining(connection)
        names = await days.choose(explaining, None, None, None, None)
        assert names is not None
        await days.fetch_numbers(explaining, names, MEDIAN, None, None)
    counted, read, numbers = explaining.plans
    assert re.search(r"Index Cond: .*day >= .*day < ", counted)
    for plan in (read, numbers):
        assert re.search(r"Index Cond: .*created_at >= .*created_at < ", plan)
    assert re.search(r"Index Cond: .*day >= .*day < ", numbers)
