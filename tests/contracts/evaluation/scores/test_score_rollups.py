"""Contract of ScoreRollups: after days were counted, everything reads as before."""

from datetime import timedelta
from typing import Any

import pytest

from adapters.postgres.database.pool import Engine, PoolSettings, open_pool
from adapters.postgres.evaluation.scores.score_rollups import PostgresScoreRollups
from domain.evaluation.scores.score import ScoreTarget
from domain.tracing.analytics import Granularity
from tests.support.builders.scores import EVER, session_score, trace_score
from tests.support.builders.values import NOON, trace, trace_id
from tests.support.fixtures.data_plane import (
    DataPlane,
    fill,
    over_memory,
    over_postgres,
    project,
)
from tests.support.waiting import until

pytestmark = pytest.mark.service


@pytest.fixture(params=["memory", "postgres"])
def url(request):
    """A database of few tests, of which none leaves days to count."""
    return request.getfixturevalue("blocks_url") if request.param == "postgres" else None


@pytest.fixture
async def plane(url):
    if url is None:
        yield over_memory()
        return
    async with (
        open_pool(Engine(config={}), PoolSettings(url=url)) as pool,
        over_postgres(pool) as plane,
    ):
        yield plane


async def read(plane: DataPlane, of: Any) -> list[Any]:
    figures = plane.evaluation.score_analytics
    return [
        [
            await figures.summaries(of, target, EVER),
            await figures.trend(of, target, ("m",), Granularity.DAY, EVER),
            await figures.distribution(of, target, "m", 10, EVER),
        ]
        for target in ScoreTarget
    ]


async def test_days_of_all_projects_are_counted(plane):
    traces, projects = [trace_id(), trace_id()], [project(), project()]
    for of, target in zip(projects, traces, strict=True):
        await fill(plane, of, trace(id=target, session_id="s"))
        for day in range(3):
            said = {"created_at": NOON + timedelta(days=day), "value": "0.5"}
            await plane.evaluation.trace_scores.add(trace_score(of, target, **said))
            await plane.evaluation.session_scores.add(session_score(of, **said))
    known = [await read(plane, of) for of in projects]
    counted, rollups = 0, plane.evaluation.score_rollups
    expected = 2 * 2 * 3 if isinstance(rollups, PostgresScoreRollups) else 0

    async def count() -> bool:
        nonlocal counted
        counted += await rollups.count_days()
        return counted >= expected

    await until(count)
    assert [await read(plane, of) for of in projects] == known
    assert [counted, await rollups.count_days()] == [expected, 0]
