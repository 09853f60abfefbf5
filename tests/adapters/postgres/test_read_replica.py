"""Reads on a real standby: they find what the main database would find, or are made there."""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from adapters.embedded.process import free_port
from adapters.postgres.database.read_transactions import read_snapshot
from adapters.postgres.read_replica import ANSWER_MAX_S, ReadOutcome, ReplicaHealthCheck
from adapters.prometheus.registry import MetricsRegistry
from application.evaluation.ports.scores import ScoreAnalytics
from application.exports.ports import BATCH_TRACES_MAX
from application.tracing.ports import TraceAnalytics
from domain.errors import Unavailable
from domain.evaluation.scores.score import CreatedWithin, ScoreTarget
from domain.page import SortOrder
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.search.search_query import SearchQuery
from domain.tracing.span import SpanStatus
from domain.tracing.spans.error_groups import ErrorFilter, ErrorSort
from domain.tracing.spans.span_query import SpanFilter
from entrypoints.cli.doctor import Level, check_replica
from entrypoints.composition import root
from entrypoints.composition.read_replica import SCORE_ANALYTICS, TRACE_ANALYTICS
from entrypoints.observability.observer import Observer
from entrypoints.settings import Settings
from tests.faults.support.standby import Standby
from tests.support.builders.values import span, trace
from tests.support.fixtures.data_plane import (
    ALL,
    ALL_TIME,
    DataPlane,
    assert_analytics_match,
    fill,
    project,
    stored_traces,
)
from tests.support.fixtures.servers import citus
from tests.support.fixtures.servers.standby import (
    SERVING,
    STANDBY_OPTIONS,
    Pair,
    Reading,
    reading,
    with_account,
)
from tests.support.waiting import WAIT_MAX_S, in_time, until

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(citus.VARIABLE in os.environ, reason="a cluster has standbys of its own"),
]

SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
SERVED = ReadOutcome.REPLICA
EVERYTHING = (TraceFilter(), TraceSort.STARTED_AT, SortOrder.ASC)


@pytest.fixture
def pair(replica_pair: Pair) -> Pair:
    return replica_pair


@pytest.fixture
async def on_replica(pair: Pair) -> AsyncIterator[Reading]:
    async with reading(pair) as found:
        assert found.replica.problem is None
        yield found


def test_all_analytics_are_read_from_the_replica():
    """A new method has to be listed, or it stays on the main database."""
    assert set(TRACE_ANALYTICS) == methods_of(TraceAnalytics)
    assert set(SCORE_ANALYTICS) == methods_of(ScoreAnalytics)


def methods_of(port: type) -> set[str]:
    return {name for name in vars(port) if not name.startswith("_")}


def failing(text: str = "timed out after 3 s") -> Any:
    return trace(
        span(error=text, status=SpanStatus.ERROR, model="gpt-4o", output=b'"four green lamps"'),
        user_id="u-1",
        session_id="s-1",
        environment="prod",
    )


async def read_all(plane: DataPlane, of: Any) -> dict[str, Any]:
    """A result of each read that a replica may serve, other than those of the other helpers."""
    tracing, evaluation = plane.tracing, plane.evaluation
    scores, within = evaluation.score_analytics, CreatedWithin(None, None)
    window = ALL
    query = SearchQuery.parse("lamps")
    error_filter = ErrorFilter(period=ALL_TIME)
    async with plane.exporting.archive.read(of, *EVERYTHING, []) as batches:
        exported = [one async for batch in batches for one in batch]
    return {
        "errors": await tracing.spans.error_groups(
            of, error_filter, ErrorSort.LAST_SEEN, SortOrder.DESC, window
        ),
        "users": await tracing.analytics.users(of, window),
        "traces": await tracing.trace_search.find(of, query, TraceFilter(), window),
        "spans": await tracing.span_search.find(of, query, SpanFilter(), window),
        "scores": await scores.summaries(of, ScoreTarget.TRACE, within),
        "groups": await evaluation.trace_groups.figures(of, TraceFilter()),
        "exported": exported,
    }


async def test_replica_serves_what_the_main_database_would(on_replica):
    ours, plane = project(), on_replica.plane
    await fill(plane, ours, *(failing(f"timed out after {n} s") for n in range(3)))
    stored = await stored_traces(plane, ours)
    on_replica.taken()
    await assert_analytics_match(plane, ours, ALL_TIME, stored)
    found = await read_all(plane, ours)
    assert set(on_replica.taken()) == {SERVED}
    assert found == await read_all(DataPlane.from_ports(on_replica.on_main), ours)
    assert len(found["traces"].hits) == len(found["exported"]) == 3
    assert (await ReplicaHealthCheck(on_replica.replica).check()).detail is None


async def test_each_read_finds_the_writes_before_it(on_replica):
    ours, plane = project(), on_replica.plane
    for count in range(1, 30):
        await plane.traces.put(ours, failing())
        found = await plane.analytics.users(ours, ALL)
        assert [one.trace_count for one in found.items] == [count]
    assert set(on_replica.taken()) == {SERVED}
    trace_ids = [one.id for one in await stored_traces(plane, ours)]
    assert await plane.traces.delete(ours, trace_ids) == count
    assert (await read_all(plane, ours))["exported"] == []


async def test_read_that_others_overtake_is_served_too(on_replica):
    """The standby may replay more between the look at the main database and its own."""
    ours, plane, replica = project(), on_replica.plane, on_replica.replica
    main, reader, is_overtaken = replica.main, asyncio.current_task(), False

    class Overtaken:
        @asynccontextmanager
        async def acquire_with_last_scope(self) -> AsyncIterator[Any]:
            nonlocal is_overtaken
            async with main.acquire_with_last_scope() as connection:
                yield connection
            if asyncio.current_task() is reader and not is_overtaken:  # not the watch
                is_overtaken = True
                await plane.traces.put(ours, failing())
                assert (await plane.analytics.users(ours, ALL)).total == 1

    replica.main = Overtaken()
    assert (await plane.analytics.users(ours, ALL)).total == 1
    assert is_overtaken
    assert on_replica.taken() == [SERVED, SERVED]


async def test_reads_of_what_must_be_written_stay_on_the_main_database(on_replica):
    ours, plane = project(), on_replica.plane
    sent = failing()
    await plane.traces.put(ours, sent)
    await plane.traces.get(ours, sent.id)
    assert await plane.exporting.archive.load(ours, [sent.id])
    assert on_replica.taken() == []


async def test_policies_hold_on_the_replica(on_replica):
    ours = project()
    await fill(on_replica.plane, ours, failing())
    async with on_replica.opened.reads.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM traces") == 0
    async with read_snapshot(on_replica.opened.reads, "", project()) as connection:
        assert await connection.fetchval("SELECT count(*) FROM traces") == 0
    found = await read_all(on_replica.plane, project())
    assert (found["exported"], found["errors"].items, found["users"].items) == ([], [], [])


async def test_replica_that_lags_is_left_until_it_has_caught_up(pair):
    ours = project()
    async with reading(pair, database_read_max_lag_ms=50) as found, pair.on_standby() as standby:
        plane, replica = found.plane, found.replica
        await until(replica.check, lambda _: replica.problem is None)
        await standby.execute("SELECT pg_wal_replay_pause()")
        try:
            await plane.traces.put(ours, failing())
            assert (await plane.analytics.users(ours, ALL)).total == 1
            assert (await read_all(plane, ours))["errors"].total == 1
            assert set(found.taken()) == {ReadOutcome.LAGGING}
            detail = (await ReplicaHealthCheck(replica).check()).detail
            assert detail == "not used: it lags by more than 50 ms"
        finally:
            await standby.execute("SELECT pg_wal_replay_resume()")
        await until(replica.check, lambda _: replica.problem is None)
    async with reading(pair) as patient:
        assert (await patient.plane.analytics.users(ours, ALL)).total == 1
        assert patient.taken() == [SERVED]


async def test_read_that_replay_interrupts_is_made_on_the_main_database(on_replica, pair):
    ours, plane, replica = project(), on_replica.plane, on_replica.replica
    await fill(plane, ours, failing())

    async def read_slowly() -> int:
        async with read_snapshot(on_replica.opened.reads, "", ours) as connection:
            await connection.fetchval("SELECT count(*) FROM traces")
            await connection.execute("SELECT pg_sleep(600)")
        raise AssertionError("nothing interrupted it")

    async def count_users() -> int:
        return (await DataPlane.from_ports(on_replica.on_main).analytics.users(ours, ALL)).total

    async with pair.on_standby() as standby, pair.on_primary() as primary:
        slow = asyncio.create_task(replica.run(read_slowly, count_users))
        await until(lambda: standby.fetchval(SLEEPING))
        await primary.execute("DELETE FROM trace_users WHERE project_id = $1", ours)
        await primary.execute("VACUUM trace_users")
        async with in_time():
            assert await slow == 0
    assert on_replica.taken() == [ReadOutcome.CONFLICT]
    assert replica.problem is None


async def test_read_that_is_too_slow_is_not_repeated(on_replica):
    async def read_slowly() -> int:
        async with read_snapshot(
            on_replica.opened.reads, "ask for fewer", project(), 0.05
        ) as connection:
            return int(await connection.fetchval("SELECT 1 FROM pg_sleep(600)"))

    async def never() -> int:
        raise AssertionError("the main database would take as long")

    with pytest.raises(Unavailable, match="ask for fewer"):
        await on_replica.replica.run(read_slowly, never)
    assert on_replica.taken() == [SERVED]


async def test_statement_that_a_standby_refuses_is_repeated_and_counted(on_replica):
    ours = project()

    async def write() -> int:
        async with read_snapshot(on_replica.opened.reads, "", ours) as connection:
            await connection.execute("DELETE FROM traces")
        return 0

    async def answer() -> int:
        return 1

    assert await on_replica.replica.run(write, answer) == 1
    assert on_replica.taken() == [ReadOutcome.FAILED]


END_EXPORTS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pandaprobe exports'
"""


async def test_interrupted_export_fails_and_the_next_one_reads_the_main_database(on_replica, pair):
    ours, plane = project(), on_replica.plane
    await fill(plane, ours, *(failing() for _ in range(BATCH_TRACES_MAX + 1)))

    async def export() -> None:
        async with plane.exporting.archive.read(ours, *EVERYTHING, []) as batches:
            await anext(batches)
            await standby.execute(END_EXPORTS)
            await anext(batches)

    async with pair.on_standby() as standby:
        with pytest.raises(Unavailable):
            await export()
    assert on_replica.taken() == [SERVED, ReadOutcome.AWAY]
    # It may lag for a while: the export was in the way of what it had to replay.
    replica = on_replica.replica
    await until(replica.check, lambda _: replica.problem is None)
    assert len((await read_all(plane, ours))["exported"]) == BATCH_TRACES_MAX + 1
    assert replica.problem is None
    assert not replica.takes_streams


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_reads_go_on_without_the_replica(pair, how):
    """Frozen: its connections stay open, and nothing answers."""
    ours, standby = project(), pair.standby
    async with reading(pair, answer_max_s=ANSWER_MAX_S) as found:
        plane, replica = found.plane, found.replica
        await until(replica.check, lambda _: replica.problem is None)
        await fill(plane, ours, failing())

        async def read_slowly() -> int:
            async with read_snapshot(found.opened.reads, "", ours) as connection:
                return int(await connection.fetchval("SELECT 1 FROM pg_sleep(600)"))

        async def answer() -> int:
            return 2

        slow = asyncio.create_task(replica.run(read_slowly, answer))
        async with pair.on_standby() as watching:
            await until(lambda: watching.fetchval(SLEEPING))
        standby.signal(how)
        try:
            async with in_time():
                assert await slow == 2
            assert (await read_all(plane, ours))["users"].total == 1
            assert set(found.taken()) == {ReadOutcome.AWAY}
            assert (await ReplicaHealthCheck(replica).check()).ok
        finally:
            if how is signal.SIGSTOP:
                standby.signal(signal.SIGCONT)
            else:
                standby.child.stop()
                standby.child = standby.start()
        replica.answer_max_s = WAIT_MAX_S
        await until(replica.check, lambda _: replica.problem is None)
        assert (await plane.analytics.users(ours, ALL)).total == 1
        assert found.taken() == [SERVED]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (lambda pair, _: pair.standby.url, "another role"),
        (lambda pair, _: pair.serving_url, "it isn't a standby"),
        (lambda _, other: other, "another cluster"),
        (lambda pair, _: with_account(pair.standby.url, "nobody:wrong"), "it refuses"),
        (lambda pair, _: f"{pair.read_url}?application_name=x", None),
    ],
)
async def test_only_a_standby_of_the_main_database_is_read(pair, serving_url, pool, url, problem):
    ours = project()
    read_url = url(pair, serving_url)
    async with reading(pair, database_read_url=read_url) as found:
        await fill(found.plane, ours, failing())
        assert (await found.plane.analytics.users(ours, ALL)).total == 1
        said = found.replica.problem
        assert said is None if problem is None else problem in said.message
        settings = Settings(database_read_url=read_url, database_read_max_lag_ms=10_000)
        [finding] = await check_replica(settings, found.replica.main)
    assert finding.level is (Level.OK if problem is None else Level.WARN)


async def test_the_standby_of_several_hosts_is_read(pair):
    hosts = [urlsplit(url).netloc.rpartition("@")[2] for url in (pair.url, pair.standby.url)]
    url = with_account(pair.read_url, SERVING).replace(hosts[1], ",".join(hosts))
    async with reading(pair, database_read_url=url) as found:
        assert found.replica.problem is None
        async with found.opened.reads.acquire() as connection:
            assert await connection.fetchval("SELECT pg_is_in_recovery()")


async def test_promoted_replica_is_not_read(pair, servers_folder):
    ours = project()
    with second_standby(pair, servers_folder) as second:
        async with reading(replace(pair, standby=second)) as found:
            await fill(found.plane, ours, failing())
            assert (await found.plane.analytics.users(ours, ALL)).total == 1
            assert found.taken() == [SERVED]
            await asyncio.to_thread(second.promote)
            await fill(found.plane, ours, failing())
            assert (await found.plane.analytics.users(ours, ALL)).items[0].trace_count == 2
            assert found.taken() == [ReadOutcome.AWAY]
            assert found.replica.problem is not None


@contextmanager
def second_standby(pair: Pair, servers_folder: Path) -> Iterator[Standby]:
    data = servers_folder / f"second-{uuid.uuid4().hex[:8]}"
    standby = Standby(data, pair.url, free_port(), STANDBY_OPTIONS, "second")
    try:
        yield standby
    finally:
        standby.child.stop()


async def test_processes_open_the_replica_of_their_settings(pair, redis_url, tmp_path):
    settings = Settings(
        database_url=pair.serving_url,
        database_read_url=pair.read_url,
        database_read_max_lag_ms=10_000,
        redis_url=redis_url,
        data_dir=str(tmp_path),
    )
    observer = Observer(MetricsRegistry("1.0"))
    async with root.ports(settings, observer=observer) as ports:
        check = ports.health_checks["read_replica"]
        await until(check.check, lambda state: state.detail is None)
        ours = project()
        await ports.tracing.traces.put(ours, failing())

        async def served() -> bool:
            assert (await ports.tracing.analytics.users(ours, ALL)).total == 1
            return b'replica_reads_total{outcome="replica"}' in observer.metrics.text()

        await until(served)
