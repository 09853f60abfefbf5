"""Many scores are written with few statements: importing a trace would take a minute otherwise."""

import pytest

from adapters.postgres.database.pool import Engine, PoolSettings, open_pool
from adapters.postgres.evaluation.scores.scores import (
    ADDED_AT_A_TIME,
    PostgresSessionScores,
    PostgresTraceScores,
)
from domain.evaluation.scores.score import ScoreFilter
from domain.page import PageRequest
from tests.support.builders.scores import session_score, trace_score
from tests.support.builders.values import trace
from tests.support.fixtures.data_plane import fill, over_postgres, project

pytestmark = pytest.mark.service

BATCHES = 3
STATEMENTS_OF_BATCH = 8  # with those of the transaction, and what the driver asks for once


@pytest.mark.parametrize("kind", ["trace", "session"])
async def test_new_scores_take_few_statements(pool, serving_url, kind):
    ours, one = project(), trace(session_id="s")
    async with over_postgres(pool) as plane:
        await fill(plane, ours, one)
    statements = []
    async with open_pool(Engine(config={}), PoolSettings(url=serving_url, size=1)) as logged:
        async with logged.acquire() as connection:
            connection.add_query_logger(statements.append)
        count = (BATCHES - 1) * ADDED_AT_A_TIME + 1
        if kind == "trace":
            scores, target = PostgresTraceScores(logged), one.id
            sent = [trace_score(ours, one.id, name=f"n{n}") for n in range(count)]
        else:
            scores, target = PostgresSessionScores(logged), "s"
            sent = [session_score(ours, "s", name=f"n{n}") for n in range(count)]
        statements.clear()
        assert await scores.add_new(ours, target, sent) == {}
        assert 0 < len(statements) <= BATCHES * STATEMENTS_OF_BATCH
        stored = await scores.page(ours, ScoreFilter(), PageRequest())
    assert stored.total == count
