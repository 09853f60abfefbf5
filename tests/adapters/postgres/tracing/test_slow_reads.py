"""Reads concurrent with writes, and reads that take too long."""

import re
import uuid

import asyncpg
import pytest

from adapters.postgres.database.read_transactions import read_snapshot
from adapters.postgres.evaluation.experiments.experiments import PostgresExperiments
from adapters.postgres.evaluation.monitors.monitors import PostgresMonitors
from adapters.postgres.evaluation.runs.runs import PostgresRuns
from adapters.postgres.evaluation.scores.score_analytics import PostgresScoreAnalytics
from adapters.postgres.evaluation.scores.scores import PostgresTraceScores
from adapters.postgres.tracing.analytics import PostgresTraceAnalytics
from adapters.postgres.tracing.rollups.percentiles import VolumeReader
from adapters.postgres.tracing.sessions import PostgresSessions
from adapters.postgres.tracing.trace_lists import TraceLists
from adapters.postgres.tracing.writes.edits import TraceEdits
from domain.errors import Unavailable
from domain.evaluation.scores.score import CreatedWithin, ScoreFilter, ScoreTarget
from domain.ids import RunId
from domain.page import PageRequest, SortOrder
from domain.tracing.analytics import Granularity, Period
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.session import SessionFilter, SessionSort
from tests.support.builders.values import project_prices
from tests.support.fixtures.seeded_database import END, OURS, START
from tests.support.waiting import in_time

pytestmark = pytest.mark.service

PERIOD = Period(START, END)


async def test_percentiles_are_stored_unless_bucket_changed(seeded):
    await seeded.pool.execute("DELETE FROM trace_percentiles")
    volume = VolumeReader(OURS, Granularity.DAY)
    async with read_snapshot(seeded.pool, "", OURS) as connection:
        buckets = await volume.read(connection, Period(START, END))
    late = sorted(bucket.bucket for bucket in buckets)[3]
    await seeded.pool.execute(
        "UPDATE trace_hours SET revision = revision + 1 WHERE hour = $1", late
    )
    await volume.keep(seeded.pool)
    again = VolumeReader(OURS, Granularity.DAY)
    async with read_snapshot(seeded.pool, "", OURS) as connection:
        assert await again.read(connection, Period(START, END)) == buckets
    assert [old["bucket"] for old, _ in again.computed] == [late]


@pytest.mark.parametrize(
    "act",
    [
        lambda pool: TraceLists(pool, timeout_s=0.1).summaries(
            OURS, TraceFilter(user_id="user-7"), TraceSort.NAME, SortOrder.ASC, PageRequest()
        ),
        lambda pool: PostgresSessions(
            pool, TraceEdits(pool, project_prices()), timeout_s=0.1
        ).summaries(
            OURS, SessionFilter(user_id="user-7"), SessionSort.COST, SortOrder.ASC, PageRequest()
        ),
        lambda pool: PostgresTraceAnalytics(pool, timeout_s=0.1).volume(
            OURS, PERIOD, Granularity.HOUR
        ),
        lambda pool: PostgresTraceScores(pool, timeout_s=0.1).page(
            OURS, ScoreFilter(), PageRequest()
        ),
        lambda pool: PostgresTraceScores(pool, timeout_s=0.1).page(
            OURS, ScoreFilter(name="m"), PageRequest()
        ),
        lambda pool: PostgresScoreAnalytics(pool, timeout_s=0.1).summaries(
            OURS, ScoreTarget.TRACE, CreatedWithin()
        ),
    ],
    ids=["traces", "sessions", "analytics", "scores", "scores of a name", "figures of scores"],
)
async def test_read_timeout_error_says_what_to_narrow(seeded, act):
    blocker = await asyncpg.connect(seeded.url)
    try:
        async with blocker.transaction():
            await blocker.execute(
                "LOCK TABLE traces, trace_hours, trace_scores IN ACCESS EXCLUSIVE MODE"
            )
            bound = "(started_after|date_from)"
            with pytest.raises(Unavailable, match=re.compile(f"0.1 s: narrow.*{bound}")):
                await act(seeded.pool)
            waiting = await blocker.fetchval(
                "SELECT count(*) FROM pg_locks JOIN pg_database ON database = pg_database.oid"
                " WHERE datname = current_database() AND NOT granted"
            )
            assert waiting == 0
    finally:
        await blocker.close()
    async with in_time():
        assert await seeded.pool.fetchval("SELECT 1") == 1


@pytest.mark.parametrize(
    ("act", "advice"),
    [
        (
            lambda pool: PostgresExperiments(pool, timeout_s=0.1).page(OURS, None, PageRequest()),
            "narrow the list with dataset, or try again later",
        ),
        (
            lambda pool: PostgresScoreAnalytics(pool, timeout_s=0.1).comparison(
                OURS, "m", SortOrder.ASC, PageRequest()
            ),
            "try again later",
        ),
        (
            lambda pool: PostgresRuns(pool, timeout_s=0.1).get(OURS, RunId(uuid.UUID(int=1))),
            "try again later",
        ),
        (
            lambda pool: PostgresMonitors(pool, timeout_s=0.1).get(OURS, uuid.UUID(int=1)),
            "try again later",
        ),
    ],
    ids=["experiments", "compared sessions", "a run", "a monitor"],
)
async def test_advice_names_only_what_the_request_takes(seeded, act, advice):
    blocker = await asyncpg.connect(seeded.url)
    try:
        async with blocker.transaction():
            await blocker.execute(
                "LOCK TABLE experiments, session_scores, eval_runs, monitors"
                " IN ACCESS EXCLUSIVE MODE"
            )
            with pytest.raises(Unavailable, match=rf"0.1 s: {advice}$"):
                await act(seeded.pool)
    finally:
        await blocker.close()
