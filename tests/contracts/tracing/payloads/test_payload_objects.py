"""Blocks of PostgreSQL in a bucket: what reads, removes, loses and finds them again."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest

from adapters.postgres.database.pool import Engine, Pool, PoolSettings, open_pool
from adapters.postgres.identity.project_purge import PostgresRemovedProjects
from adapters.postgres.tracing.payloads.block_compaction import PostgresPayloadStorage, end_waiting
from adapters.postgres.tracing.payloads.frames import decompressor
from adapters.postgres.tracing.payloads.payload_objects import (
    LOCK_TRACE,
    NAMED_WITHIN_S,
    Orphans,
    move_blocks,
)
from adapters.s3.payload_store import S3PayloadStore
from application.identity.ports import PurgePostponed
from application.identity.projects import PurgeRemovedProjects
from domain.errors import Unavailable
from domain.ids import ProjectId
from domain.page import PageRequest, SortOrder
from domain.privacy.erasure import DataSubject, DataSubjectKind, ErasureState
from domain.tracing.payloads.payload_detail import WHOLE_PAYLOADS
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.span import SpanChange
from domain.tracing.trace import Trace
from domain.tracing.trace_detail import TraceDetail
from tests.support.builders.values import at, span, trace
from tests.support.fakes.clocks import ManualClock
from tests.support.fixtures.data_plane import DataPlane, join_payloads, project
from tests.support.fixtures.erasures import an_erasure, audit_entry
from tests.support.fixtures.servers import citus
from tests.support.fixtures.servers.payload_store import (
    bucket_at,
    new_bucket,
    plane_with_store,
)
from tests.support.hypothesis_scale import some_of
from tests.support.waiting import until, until_done

pytestmark = pytest.mark.service

LATER = datetime.now(UTC) + timedelta(days=1)
WORDS = "the customer asks where the parcel is " * 30
BLOCKS = """
SELECT project_id, trace_id, start, block, object_id FROM trace_payloads
WHERE project_id = $1 ORDER BY trace_id, start
"""
CHANGE_BLOCKS = (
    "UPDATE trace_payloads SET written_at = now() WHERE project_id = $1 AND trace_id = $2"
)
NAME_ANOTHER = "UPDATE trace_payloads SET object_id = $2 WHERE project_id = $1"
COUNT_WAITING_BLOCKS = (
    "SELECT count(*) FROM trace_payloads WHERE project_id = $1 AND written_at IS NOT NULL"
)
IS_WAITED_FOR = "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE $1::int = ANY(pg_blocking_pids(pid)))"
REMOVE = "INSERT INTO removals (project_id, removed_at, due_at) VALUES ($1, $2, $2)"


@dataclass(frozen=True, slots=True)
class Stored:
    """The ports over a database whose blocks lie in a bucket. `owner` passes every policy."""

    plane: DataPlane
    pool: Pool
    owner: Pool
    bucket: S3PayloadStore
    url: str

    async def keys(self, project_id: ProjectId) -> set[str]:
        return {
            key for key in await self.bucket.list_keys("", LATER) if key.startswith(str(project_id))
        }

    async def named(self, project_id: ProjectId) -> set[str]:
        """The keys that rows name; every block of them is empty."""
        rows = await self.owner.fetch(BLOCKS, project_id)
        assert {row["block"] for row in rows if row["object_id"]} <= {b""}
        return {
            f"{row['project_id']}/{row['trace_id']}/{row['object_id']}"
            for row in rows
            if row["object_id"]
        }

    async def moved(self, project_id: ProjectId, sent: Trace) -> Trace:
        """The stored trace, once its blocks lie in the bucket."""
        await self.plane.traces.put(project_id, sent)
        before = await self.plane.traces.get(project_id, sent.id)
        await join_payloads(self.plane)
        assert await self.named(project_id) == await self.keys(project_id) != set()
        return before

    async def remove_objects(self, before: datetime = LATER) -> int:
        return await self.plane.tracing.payload_storage.remove_objects(before)

    async def remove_orphans(self, before: datetime = LATER) -> int:
        """As a worker does it in two rounds, far enough apart."""
        clock = ManualClock(0.0)
        storage = PostgresPayloadStorage(self.pool, orphans=Orphans(clock))
        assert await storage.remove_orphans(before) == 0
        clock.now += NAMED_WITHIN_S
        return await storage.remove_orphans(before)


@pytest.fixture
def bucket(s3_url: str) -> S3PayloadStore:
    return new_bucket(s3_url)


@pytest.fixture
async def stored(
    blocks_url: str, postgres_url: str, bucket: S3PayloadStore
) -> AsyncIterator[Stored]:
    owner_url = urlsplit(postgres_url)._replace(path=urlsplit(blocks_url).path).geturl()
    async with (
        open_pool(Engine(config={}), PoolSettings(url=owner_url, size=2)) as owner,
        plane_with_store(blocks_url, bucket) as (plane, pool),
    ):
        await owner.execute("DELETE FROM removed_payload_objects")  # of other tests' buckets
        yield Stored(plane, pool, owner, bucket, blocks_url)


def a_trace(**overrides: object) -> Trace:
    spans = [span(started_at=at(n), input=f'"{n} {WORDS}"'.encode()) for n in range(3)]
    return trace(*spans, input=b'"asked"', output=b'"answered"', **overrides)


async def test_moved_blocks_read_as_before(stored: Stored):
    ours, theirs = project(), project()
    before = await stored.moved(ours, a_trace())
    await stored.moved(theirs, a_trace(id=before.id))
    assert await stored.plane.traces.get(ours, before.id) == before
    detail = await stored.plane.traces.detail(ours, before.id, WHOLE_PAYLOADS)
    assert detail == TraceDetail.from_trace(before, detail.revision, WHOLE_PAYLOADS)
    assert await join_once(stored) == 0  # nothing waits any more


async def join_once(stored: Stored) -> int:
    return await stored.plane.tracing.payload_storage.join_blocks(LATER)


async def test_process_without_the_bucket_says_so_and_serves_the_rest(stored: Stored):
    ours = project()
    moved = await stored.moved(ours, a_trace())
    async with plane_with_store(stored.url, None) as (plane, _):
        with pytest.raises(Unavailable, match="PANDAPROBE_PAYLOAD_BUCKET"):
            await plane.traces.get(ours, moved.id)
        assert (await plane.traces.outline(ours, moved.id, 0, 9)).summary.totals.spans == 3
        await plane.traces.put(ours, new := a_trace())
        assert (await plane.traces.get(ours, new.id)).input == new.input


async def test_small_blocks_stay_in_the_database(stored: Stored):
    ours = project()
    await stored.plane.traces.put(ours, a_trace())
    await until_done(PostgresPayloadStorage(stored.pool).join_blocks, LATER)
    assert await stored.keys(ours) == set()


async def test_late_writes_are_joined_with_moved_blocks(stored: Stored):
    ours = project()
    moved = await stored.moved(ours, a_trace())
    secret = moved.spans[0]
    await stored.plane.traces.change_span(ours, moved.id, secret.id, SpanChange(input=b'"new"'))
    before = await stored.plane.traces.get(ours, moved.id)
    await join_payloads(stored.plane)
    assert await stored.plane.traces.get(ours, moved.id) == before
    assert await stored.keys(ours) > await stored.named(ours)
    await stored.remove_objects()
    [key] = await stored.keys(ours)
    assert {key} == await stored.named(ours)
    text = decompressor().decompress((await stored.bucket.get([key]))[key])
    assert b'"new"' in text
    assert b'"0 the customer' not in text


async def test_objects_of_deleted_traces_are_removed(stored: Stored):
    ours = project()
    moved, kept = await stored.moved(ours, a_trace()), await stored.moved(ours, a_trace())
    await stored.plane.traces.delete(ours, [moved.id])
    assert len(await stored.keys(ours)) == 2
    assert await stored.remove_objects(datetime.now(UTC) - timedelta(hours=1)) == 0
    assert await stored.remove_objects() == 1
    assert await stored.remove_objects() == 0
    assert await stored.keys(ours) == await stored.named(ours) != set()
    assert await stored.plane.traces.get(ours, kept.id) == kept


async def test_objects_are_removed_before_the_receipt_of_an_erasure(stored: Stored, s3_url: str):
    ours, owner = project(), DataSubject(DataSubjectKind.USER, "ada")
    await stored.moved(ours, a_trace(user_id="ada"))
    erasure = an_erasure(ours, owner)
    erasures = stored.plane.privacy.erasures
    await erasures.begin(erasure, owner, audit_entry(erasure))

    async def advance(plane: DataPlane) -> ErasureState:
        now = datetime.now(UTC)
        found = await plane.privacy.erasures.advance(ours, erasure.id, now, audit_entry)
        assert (found.state is ErasureState.REMOVED) <= (await stored.keys(ours) == set())
        return found.state

    await advance(stored.plane)
    async with plane_with_store(stored.url, away(s3_url)) as (plane, _):
        with pytest.raises(Unavailable):
            await advance(plane)
    await until(lambda: advance(stored.plane), lambda state: state is ErasureState.REMOVED)
    remaining = await erasures.count_remaining(await erasures.get(ours, erasure.id), owner)
    assert remaining.rows == {}


async def test_objects_of_removed_projects_are_removed_and_others_do_not_wait(
    stored: Stored, s3_url: str
):
    ours, theirs, now = project(), project(), datetime.now(UTC)
    await stored.moved(ours, a_trace())
    await stored.plane.traces.put(theirs, a_trace())
    for project_id in (ours, theirs):
        await stored.owner.execute(REMOVE, project_id, now)
    async with plane_with_store(stored.url, away(s3_url)) as (_, pool):
        with pytest.raises(PurgePostponed):
            await PurgeRemovedProjects(PostgresRemovedProjects(pool), lambda: now)()
    assert await stored.owner.fetch(BLOCKS, theirs) == []
    await until_done(PostgresRemovedProjects(stored.pool).purge, now + timedelta(hours=2))
    assert await stored.keys(ours) == set()


async def test_orphans_are_removed_after_their_grace(stored: Stored):
    ours = project()
    moved = await stored.moved(ours, a_trace())
    orphan = f"{ours}/{moved.id}/{moved.spans[0].id}"
    for key in (orphan, "backups/monday", f"{ours}/readme"):
        await stored.bucket.put(key, b"x")
    assert await stored.remove_orphans(datetime.now(UTC) - timedelta(hours=1)) == 0
    assert await stored.remove_orphans() == 1
    assert await stored.keys(ours) == await stored.named(ours) | {f"{ours}/readme"}
    assert await stored.bucket.get(["backups/monday"]) != {}


async def test_orphan_is_removed_once_though_it_is_found_more_often(stored: Stored):
    clock, removed = ManualClock(0.0), list[int]()
    storage = PostgresPayloadStorage(stored.pool, orphans=Orphans(clock))
    await stored.bucket.put(f"{project()}/{uuid4()}/{uuid4()}", b"x")
    for _ in range(4):
        removed.append(await storage.remove_orphans(LATER))
        clock.now += NAMED_WITHIN_S / 2
    assert removed == [0, 0, 1, 0]


async def test_object_that_is_named_after_it_was_found_stays(stored: Stored):
    ours, clock = project(), ManualClock(0.0)
    await stored.moved(ours, a_trace())
    [key] = await stored.named(ours)
    storage = PostgresPayloadStorage(stored.pool, orphans=Orphans(clock))
    await stored.owner.execute(NAME_ANOTHER, ours, uuid4())
    assert await storage.remove_orphans(LATER) == 0
    await stored.owner.execute(NAME_ANOTHER, ours, UUID(key.rpartition("/")[2]))
    clock.now += NAMED_WITHIN_S
    assert await storage.remove_orphans(LATER) == 0
    assert await stored.keys(ours) == {key}


@dataclass
class SweptStore:
    """A bucket whose orphans a worker with a wrong clock removes after each object is stored."""

    stored: Stored

    async def put(self, key: str, data: bytes) -> None:
        await self.stored.bucket.put(key, data)
        await self.stored.plane.tracing.payload_storage.remove_orphans(LATER)

    async def get(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        return await self.stored.bucket.get(keys)

    async def delete(self, keys: Sequence[str]) -> None:
        await self.stored.bucket.delete(keys)

    async def list_keys(self, after: str, before: datetime) -> Sequence[str]:
        return await self.stored.bucket.list_keys(after, before)


async def test_wrong_clock_removes_no_object_before_it_is_named(stored: Stored):
    ours, one = project(), a_trace()
    await stored.plane.traces.put(ours, one)
    before = await stored.plane.traces.get(ours, one.id)
    await move_blocks(stored.pool, SweptStore(stored), (ours, one.id), bytes_min=1)
    assert await stored.named(ours) == await stored.keys(ours) != set()
    assert await stored.plane.traces.get(ours, one.id) == before
    assert await stored.remove_orphans() == 0


async def while_blocks_are_written(
    stored: Stored, project_id: ProjectId, sent: Trace, upkeep: Coroutine[Any, Any, None]
) -> None:
    """Begins `upkeep` while a writer has changed the later block; that changes the first next."""
    async with stored.owner.acquire() as writer:
        pid = await writer.fetchval("SELECT pg_backend_pid()")
        async with writer.transaction():
            await writer.execute(LOCK_TRACE, project_id, sent.id)
            await writer.execute(f"{CHANGE_BLOCKS} AND start > 0", project_id, sent.id)
            waiting = asyncio.create_task(upkeep)
            await until(lambda: stored.owner.fetchval(IS_WAITED_FOR, pid))
            await writer.execute(f"{CHANGE_BLOCKS} AND start = 0", project_id, sent.id)
    await waiting


async def put_in_two_blocks(stored: Stored, project_id: ProjectId) -> Trace:
    await stored.plane.traces.put(project_id, sent := a_trace())
    await stored.plane.traces.add_spans(project_id, sent.id, [span(input=b'"late"')])
    return sent


@citus.not_on_cluster("the table is on a worker")
async def test_moving_and_a_writer_of_the_same_blocks_do_not_wait_for_each_other(stored: Stored):
    ours = project()
    sent = await put_in_two_blocks(stored, ours)
    moving = move_blocks(stored.pool, stored.bucket, (ours, sent.id), 1)
    await while_blocks_are_written(stored, ours, sent, moving)
    assert len(await stored.keys(ours)) == 2
    assert await stored.named(ours) == await stored.keys(ours)


@dataclass(slots=True)
class DelayedBucket:
    """Puts the first object after something else has been done."""

    bucket: S3PayloadStore
    first: Coroutine[Any, Any, None] | None

    async def put(self, key: str, data: bytes) -> None:
        first, self.first = self.first, None
        if first is not None:
            await first
        await self.bucket.put(key, data)

    async def delete(self, keys: Sequence[str]) -> None:
        await self.bucket.delete(keys)


async def test_block_that_is_joined_while_it_is_moved_stays(stored: Stored):
    ours = project()
    sent = await put_in_two_blocks(stored, ours)
    before = await stored.plane.traces.get(ours, sent.id)
    joining = until_done(PostgresPayloadStorage(stored.pool).join_blocks, LATER)
    bucket = DelayedBucket(stored.bucket, joining)
    await move_blocks(stored.pool, bucket, (ours, sent.id), 1)
    assert await stored.plane.traces.get(ours, sent.id) == before
    assert await stored.keys(ours) == await stored.named(ours) == set()


@citus.not_on_cluster("the table is on a worker")
async def test_end_of_waiting_and_a_writer_of_the_same_blocks_do_not_wait_for_each_other(
    stored: Stored,
):
    ours = project()
    sent = await put_in_two_blocks(stored, ours)
    await while_blocks_are_written(
        stored, ours, sent, end_waiting(stored.pool, (ours, sent.id), LATER)
    )
    assert await stored.owner.fetchval(COUNT_WAITING_BLOCKS, ours) == 0


def away(s3_url: str) -> S3PayloadStore:
    """A bucket that doesn't exist: every call fails."""
    return S3PayloadStore(bucket_at(s3_url, "no-such-bucket").open())


async def test_bucket_that_is_away_fails_reads_of_its_blocks_only(stored: Stored, s3_url: str):
    ours = project()
    moved = await stored.moved(ours, a_trace())
    async with plane_with_store(stored.url, away(s3_url)) as (plane, _):
        await plane.traces.put(ours, new := a_trace())
        stays = await plane.traces.get(ours, new.id)
        for _ in range(2):
            with pytest.raises(Unavailable) as failed:
                await plane.tracing.payload_storage.join_blocks(LATER)
            assert failed.value.retry_after_s
        assert await plane.traces.get(ours, new.id) == stays
        found = await plane.traces.summaries(
            ours, TraceFilter(), TraceSort.STARTED_AT, SortOrder.DESC, PageRequest()
        )
        assert found.total == 2
    async with plane_with_store(stored.url, away(s3_url)) as (plane, _):
        with pytest.raises(Unavailable) as failed:
            await plane.traces.detail(ours, moved.id, WHOLE_PAYLOADS)
        assert failed.value.retry_after_s
    await join_payloads(stored.plane)
    assert await stored.plane.traces.get(ours, moved.id) == moved
    assert await stored.plane.traces.get(ours, new.id) == stays


# Ends the process of the server that serves the worker, as `kill -9` of the worker would end its
# transaction, while it changes the block of one trace.
CRASH = (
    """
CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_terminate_backend(pg_backend_pid());
        PERFORM pg_sleep(60);
        RETURN coalesce(NEW, OLD);
    END $$
    """,
    """
CREATE TRIGGER crash {when} ON trace_payloads FOR EACH ROW
    WHEN ({row}.project_id = '{project_id}') EXECUTE FUNCTION crash()
    """,
)


@pytest.mark.parametrize("is_moved", some_of([True, False], 2))
@pytest.mark.parametrize(
    ("when", "row"),
    [
        ("BEFORE DELETE", "OLD"),
        ("AFTER DELETE", "OLD"),
        ("BEFORE UPDATE OF block", "NEW"),
        ("AFTER UPDATE OF block", "NEW"),
        ("BEFORE UPDATE OF object_id", "NEW"),
        ("BEFORE UPDATE OF written_at", "NEW"),
    ],
)
async def test_worker_that_is_killed_while_it_joins_loses_and_doubles_nothing(
    stored: Stored, when: str, row: str, is_moved: bool
):
    ours, sent = project(), a_trace()
    if is_moved:
        await stored.moved(ours, replace(sent, spans=sent.spans[:1]))
    for one in sent.spans:
        await stored.plane.traces.put(ours, replace(sent, spans=(one,)))
    before = await stored.plane.traces.get(ours, sent.id)
    async with stored.owner.acquire() as connection, connection.transaction():
        if citus.IS_USED:
            await connection.execute("SET LOCAL citus.enable_unsafe_triggers = on")
        for sql in CRASH:
            await connection.execute(sql.format(when=when, row=row, project_id=ours))
    try:
        with pytest.raises(Exception, match=r"terminat|closed|reached"):
            await join_once(stored)
        assert await stored.plane.traces.get(ours, sent.id) == before
    finally:
        await stored.owner.execute("DROP FUNCTION crash() CASCADE")
    await join_payloads(stored.plane)
    assert await stored.plane.traces.get(ours, sent.id) == before
    assert len(await stored.owner.fetch(BLOCKS, ours)) == 1
    await stored.remove_objects()
    await stored.remove_orphans()
    assert await stored.keys(ours) == await stored.named(ours) != set()
