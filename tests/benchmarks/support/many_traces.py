"""Fills a project with many traces for benchmarks: some are written, and copied over 30 days.

Storing and indexing 100,000 traces takes minutes of CPU time. So the traces of some hours are
stored and indexed as a client and a worker do it. The rows of the rest of 30 days are made of their
rows by SQL, with all roll-ups and segments of the index. They follow each other in every table, as
if all of them had been received.

A copy of a trace has an id, a session and a user of its own. Its texts and its spans are those of
the original: a word of one trace is in as many traces as there are copies.
"""

import asyncio
import hashlib
import random
import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import batched, islice
from typing import Final

import asyncpg

from adapters.postgres.database.pool import Pool, PoolSettings, open_pool
from adapters.postgres.evaluation.scores.score_rollups import PostgresScoreRollups
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.tracing.search.search_index import PostgresSearchIndex
from adapters.postgres.tracing.search.search_postings import (
    SEGMENT_TRACES,
    TRACE_BYTES,
    from_epoch_us,
    pack_traces,
    unpack_trace,
)
from adapters.postgres.tracing.writes.batch_writer import TraceWriter
from domain.ids import ProjectId
from domain.tracing.trace import Trace
from entrypoints.demo_data.generator import Recipe, synthetic_traces
from tests.support.builders.values import project_prices, span, trace

DAYS: Final = 30
DAY: Final = timedelta(days=1)
HOUR: Final = timedelta(hours=1)
US: Final = timedelta(microseconds=1)
COPIES: Final = 90  # of eight hours, in which a tenth as many traces would leave segments too small
SMALL, SMALL_COPIES = 50_000, 10  # up to so many traces
NIGHT_SHARE: Final = 8 / 66  # of the traces of a day of `seed`: those of its first eight hours
CJK: Final = SEGMENT_TRACES // 32  # of the written traces: in Chinese and Japanese
RARE: Final = 20  # traces with a word of their own, stored after the copies
BATCH: Final = 64
CONNECTIONS: Final = 3  # that make indexes at the same time
# For a server without anything else: nothing is lost if it fails, since it is filled again.
FILLING: Final = {
    "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off",
    "wal_level": "minimal", "max_wal_senders": "0", "autovacuum": "off",
    "shared_buffers": "2GB", "maintenance_work_mem": "1GB", "checkpoint_timeout": "1h",
    "max_wal_size": "1GB",
}  # fmt: skip
COPIED: Final = ("traces", "trace_payloads", "span_rows", "search_traces", "search_postings")
WRITTEN: Final = """
SELECT array_agg(column_name::text) FROM information_schema.columns
WHERE table_schema = 'public' AND table_name = $1 AND is_generated = 'NEVER'
"""
# In the order of traces, which their copies have too.
ORIGINALS: Final = """
CREATE UNLOGGED TABLE copies.traces AS
SELECT * FROM traces WHERE project_id = {project} ORDER BY started_at;
CREATE UNLOGGED TABLE copies.search_traces AS
SELECT t.* FROM copies.traces JOIN search_traces AS t USING (project_id, trace_id);
CREATE UNLOGGED TABLE copies.trace_payloads AS
SELECT p.* FROM copies.traces AS t JOIN trace_payloads AS p USING (project_id, trace_id)
ORDER BY t.started_at, p.trace_id, p.start;
CREATE UNLOGGED TABLE copies.span_rows AS
SELECT s.* FROM copies.traces AS t JOIN span_rows AS s USING (project_id, trace_id)
ORDER BY t.started_at, s.trace_id, s.started_at;
CREATE UNLOGGED TABLE copies.search_postings AS
SELECT * FROM search_postings WHERE project_id = {project};
CREATE UNLOGGED TABLE copies.sessions AS
SELECT * FROM sessions WHERE project_id = {project} ORDER BY first_started_at;
CREATE UNLOGGED TABLE copies.trace_hours AS SELECT * FROM trace_hours WHERE project_id = {project};
CREATE UNLOGGED TABLE copies.usage_hours AS SELECT * FROM usage_hours WHERE project_id = {project};
CREATE UNLOGGED TABLE copies.span_hours AS SELECT * FROM span_hours WHERE project_id = {project};
CREATE UNLOGGED TABLE copies.session_hours AS
SELECT * FROM session_hours WHERE project_id = {project};
"""
# Deterministic: each row of a trace finds its copy. A session has one user.
FUNCTIONS: Final = """
CREATE SCHEMA copies;
CREATE FUNCTION copies.id(of uuid, copy int) RETURNS uuid LANGUAGE sql IMMUTABLE
RETURN md5(of::text || copy::text)::uuid;
CREATE FUNCTION copies.session(of text, copy int) RETURNS text LANGUAGE sql IMMUTABLE
RETURN 'conv-' || left(md5(of || copy::text), 12);
-- Each user stands for several; the first of all is the most frequent.
CREATE FUNCTION copies.member(of text, conversation text, copy int) RETURNS text
LANGUAGE sql IMMUTABLE RETURN (
  SELECT 'user-' || lpad((
    {users} * number + floor({users} * CASE number WHEN 0 THEN u ^ 3 ELSE u END)
  )::int::text, 6, '0')
  FROM (SELECT right(of, 6)::int AS number, ('x' || left(md5(
    'user' || conversation || copy::text), 6))::bit(24)::int / 16777216.0 AS u) AS chosen
);
"""
LATER: Final = (
    *("started_at", "ended_at", "completion_start_time", "hour"),
    *("first_started_at", "last_started_at", "last_ended_at", "last_activity_at"),
    *("user_started_at", "first_span_at", "last_span_at", "first_hour", "last_hour"),
)
LEAST: Final = ("first_span_at",)
GREATEST: Final = ("last_span_at", "max_latency_us", "max_tokens", "max_cost")
CHANGED: Final = {
    **{name: f"{name} + $1 * {{period}}" for name in LATER},
    "trace_id": "copies.id(trace_id, $1)",
    "user_trace_id": "copies.id(user_trace_id, $1)",
    "session_id": "copies.session(session_id, $1)",
    "created_at": "started_at + $1 * {period}",
    "release": "'2.' || $1 * 12 / {copies} + (environment <> 'production')::int || '.0'",
    "segment": "segment + $2",
}
# They were stored when they started, as retention sees it.
STORED_AT_START: Final = "UPDATE traces SET created_at = started_at WHERE project_id = $1"
USER_OF_TRACE: Final = "copies.member(user_id, coalesce(session_id, trace_id::text), $1)"
USER_OF_SESSION: Final = "copies.member(user_id, session_id, $1)"
HOUR_KEYS: Final = (
    *("project_id", "hour", "has_model", "model", "kind", "name", "first_hour", "last_hour"),
)
RECOUNT: Final = (
    """
    UPDATE trace_facets SET trace_count = trace_count * $2::int
    WHERE project_id = $1 AND kind NOT IN ('release', 'session')
    """,
    """
    DELETE FROM trace_facets
    WHERE project_id = $1 AND kind = ANY('{release,session}') AND $2::int > 0
    """,
    """
    INSERT INTO trace_facets (project_id, kind, value, search_value, trace_count)
    SELECT project_id, 'release', release, NULL, count(*) FROM traces
    WHERE project_id = $1 AND release IS NOT NULL AND $2::int > 0 GROUP BY project_id, release
    """,
    """
    INSERT INTO trace_facets (project_id, kind, value, search_value, trace_count)
    SELECT project_id, 'session', session_id, lower(session_id), trace_count FROM sessions
    WHERE project_id = $1 AND $2::int > 0
    """,
    "DELETE FROM trace_users WHERE project_id = $1 AND $2::int > 0",
    """
    INSERT INTO trace_users (project_id, user_id, trace_count, error_count, first_seen, last_seen)
    SELECT project_id, user_id, count(*), count(*) FILTER (WHERE status = 'ERROR'),
           min(started_at), max(started_at)
    FROM traces WHERE project_id = $1 AND user_id IS NOT NULL AND $2::int > 0
    GROUP BY project_id, user_id
    """,
)
CONSTRAINTS: Final = """
SELECT c.conname AS name, pg_get_constraintdef(c.oid) AS definition FROM pg_constraint AS c
WHERE c.conrelid = $1::regclass AND c.contype IN ('p', 'u')
"""
INDEXES: Final = """
SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition
FROM pg_index AS i WHERE i.indrelid = $1::regclass
  AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = i.indexrelid)
"""

CHINESE: Final = ("订单还没有到", "请把这次退款的金额告诉我", "物流公司说包裹已经送达", "我要换货")
JAPANESE: Final = ("注文がまだ届いていません", "返金の金額を教えてください", "配送状況を確認します")


@dataclass(frozen=True, slots=True)
class Plan:
    """`written` traces of `days` days, of which the first `traces` are stored, and their copies."""

    traces: int
    copies: int
    written: int
    days: int

    @classmethod
    def for_traces(cls, wanted: int) -> "Plan":
        if wanted <= SMALL:
            traces = max(BATCH, round(wanted / SMALL_COPIES / SEGMENT_TRACES) * SEGMENT_TRACES)
            return cls(traces, SMALL_COPIES, traces, DAYS // SMALL_COPIES)
        traces = max(1, round(wanted / COPIES / SEGMENT_TRACES)) * SEGMENT_TRACES
        return cls(traces, COPIES, round(traces / NIGHT_SHARE), 1)

    @property
    def period(self) -> timedelta:
        """From one copy to the next."""
        return DAYS * DAY / self.copies

    @property
    def users(self) -> int:
        """For each user of the written traces."""
        return round(self.traces * self.copies / self.written)

    def originals(self, seed: int, since: datetime) -> Iterator[Trace]:
        recipe = Recipe(
            traces=self.written, seed=seed, days=self.days, until=since + self.days * DAY
        )
        random_ = random.Random(seed)
        yield from _cjk_traces(random_, since)
        yield from islice(synthetic_traces(recipe), self.traces - CJK)


async def fill(owner_url: str, project: ProjectId, wanted: int, until: datetime) -> None:
    """Stores about `wanted` traces of the 30 days before `until`, and indexes their words."""
    plan = Plan.for_traces(wanted)
    async with open_pool(DB, PoolSettings(url=owner_url, statement_timeout_ms=3_600_000)) as pool:
        await _write(pool, project, plan.originals(wanted, until - DAYS * DAY))
    connections = [await asyncpg.connect(owner_url) for _ in range(CONNECTIONS)]
    try:
        await Copier(connections, project, plan).run()
    finally:
        for connection in connections:
            await connection.close()
    async with open_pool(DB, PoolSettings(url=owner_url)) as pool:
        await _write(pool, project, _rare_traces(wanted, until))


async def catch_up(owner_url: str) -> None:
    """Does what workers have done after a while: indexes texts, and counts the days of scores."""
    settings = PoolSettings(url=owner_url, statement_timeout_ms=600_000)
    async with open_pool(DB, settings) as pool:
        index, rollups = PostgresSearchIndex(pool), PostgresScoreRollups(pool)
        while await index.add_traces():
            pass
        if await rollups.count_days():
            while await rollups.count_days():
                pass
            await pool.execute("ANALYZE")  # as autovacuum does


def rare_words(wanted: int) -> Sequence[str]:
    """Words that one trace of so many has."""
    random_ = random.Random(wanted)
    return [f"ref{random_.getrandbits(60):x}" for _ in range(RARE)]


def _rare_traces(wanted: int, until: datetime) -> Iterator[Trace]:
    for number, word in enumerate(rare_words(wanted)):
        at = until - (number + 0.5) * DAYS * DAY / RARE
        text = f'{{"messages":[{{"role":"user","content":"Where is {word}?"}}]}}'.encode()
        yield trace(name="find-reference", started_at=at, ended_at=at + timedelta(seconds=1),
                    input=text)  # fmt: skip


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


async def _write(pool: Pool, project: ProjectId, traces: Iterator[Trace]) -> None:
    """Stores and indexes some at a time, as the index may take long on a busy machine."""
    writer, index = TraceWriter(pool, project_prices()), PostgresSearchIndex(pool)
    for number, some in enumerate(batched(traces, BATCH)):
        await writer.write([(project, one) for one in some])
        while await index.add_traces():
            pass
        if number % 16 == 0:
            _say(f"{number * BATCH} traces stored and indexed")


def _cjk_traces(random_: random.Random, since: datetime) -> Iterator[Trace]:
    """Traces in Chinese and Japanese; the first has words that no other trace has."""
    for number in range(CJK):
        at = since + HOUR * random_.random()
        words = random_.sample(CHINESE, 2) + random_.sample(JAPANESE, 1)
        text = "。".join(words) + ("。黒曜石の鍵" if number == 0 else "")
        content = f'{{"messages":[{{"role":"user","content":"{text}"}}]}}'.encode()
        answer = span(
            name="answer", started_at=at, ended_at=at + timedelta(seconds=2), output=content
        )
        yield trace(
            answer, name="翻訳", started_at=at, ended_at=answer.ended_at, input=content,
            id=uuid.UUID(int=random_.getrandbits(128), version=4),
        )  # fmt: skip


@asynccontextmanager
async def without_indexes(
    connections: Sequence[asyncpg.Connection], tables: Sequence[str]
) -> AsyncIterator[None]:
    """Drops the indexes of the tables, and makes them again: faster than adding to them."""
    one, *_ = connections
    again = []
    for table in tables:
        for name, definition in await one.fetch(CONSTRAINTS, table):
            await one.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
            again.append(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
        for name, definition in await one.fetch(INDEXES, table):
            await one.execute(f"DROP INDEX {name}")
            again.append(definition)
    yield
    # Constraints lock their tables, so they come one after the other.
    alone = [statement for statement in again if statement.startswith("ALTER")]
    together = iter([statement for statement in again if not statement.startswith("ALTER")])
    for statement in alone:
        await one.execute(statement, timeout=None)

    async def make(connection: asyncpg.Connection) -> None:
        for statement in together:
            await connection.execute(statement, timeout=None)

    await asyncio.gather(*map(make, connections))


@dataclass(frozen=True, slots=True)
class Copier:
    """Copies the traces of a project, of which there are no others yet."""

    connections: Sequence[asyncpg.Connection]
    project: ProjectId
    plan: Plan

    async def run(self) -> None:
        one, *_ = self.connections
        await one.execute(FUNCTIONS.format(users=self.plan.users))
        await one.execute(STORED_AT_START, self.project)
        await one.execute(ORIGINALS.format(project=f"'{self.project}'"), timeout=None)
        async with without_indexes(self.connections, (*COPIED, "sessions")):
            work = iter(
                (
                    ("span_rows",),
                    ("trace_payloads", "search_traces"),
                    ("traces", "sessions", "search_postings", "search_segments"),
                )
            )
            by = await self._segments(one)

            async def copy(connection: asyncpg.Connection) -> None:
                for tables in work:
                    for table in tables:
                        await self._copy(connection, table, by)
                    _say(f"copied {', '.join(tables)}")

            await asyncio.gather(*map(copy, self.connections))
        _say("indexes made")
        for table in ("trace_hours", "usage_hours", "span_hours", "session_hours"):
            await self._copy(one, table, by)
        for statement in RECOUNT:
            await one.execute(statement, self.project, self.plan.copies, timeout=None)
        await one.execute("DROP SCHEMA copies CASCADE")

    async def _segments(self, connection: asyncpg.Connection) -> Sequence[int]:
        """What each copy adds to the numbers of segments, which it takes from the sequence."""
        [row] = await connection.fetch(
            "SELECT min(segment) AS first, max(segment) AS last FROM search_segments"
            " WHERE project_id = $1", self.project,
        )  # fmt: skip
        assert row["last"] is not None, "too few traces for a segment: 10,000 are enough"
        step = row["last"] - row["first"] + 1
        by = [copy * step for copy in range(self.plan.copies)]
        await connection.execute(
            "SELECT setval(pg_get_serial_sequence('search_segments', 'segment'), $1)",
            row["last"] + by[-1],
        )
        return by

    async def _copy(
        self, connection: asyncpg.Connection, table: str, segments: Sequence[int]
    ) -> None:
        if table == "search_segments":
            await self._copy_segments(connection, segments)
            return
        columns = await connection.fetchval(WRITTEN, table)
        values = CHANGED | {"user_id": USER_OF_SESSION if table == "sessions" else USER_OF_TRACE}
        changed = ", ".join(values.get(name, name) for name in columns)
        conflict = _add_up(table, columns) if table.endswith("_hours") else ""
        period = f"interval '{self.plan.period.total_seconds()} s'"
        changed = changed.format(period=period, copies=self.plan.copies)
        for copy in range(1, self.plan.copies):
            of_copy = changed.replace("$1", f"{copy}").replace("$2", f"{segments[copy]}")
            await connection.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT {of_copy}"
                f" FROM copies.{table} {conflict}",
                timeout=None,
            )

    async def _copy_segments(self, connection: asyncpg.Connection, numbers: Sequence[int]) -> None:
        originals = await connection.fetch(
            "SELECT segment, traces FROM search_segments WHERE project_id = $1", self.project
        )
        for copy in range(1, self.plan.copies):
            rows = [
                (self.project, segment + numbers[copy], *self._segment(traces, copy))
                for segment, traces in originals
            ]
            await connection.executemany(
                "INSERT INTO search_segments (project_id, segment, first_started_at,"
                " last_started_at, traces) VALUES ($1, $2, $3, $4, $5)", rows,
            )  # fmt: skip

    def _segment(self, packed: bytes, copy: int) -> tuple[datetime, datetime, bytes]:
        places = range(0, len(packed), TRACE_BYTES)
        traces = [unpack_trace(packed[at : at + TRACE_BYTES]) for at in places]
        later = copy * self.plan.period // US
        copied = [(_copied_id(id_, copy), started + later) for id_, started in traces]
        starts = [from_epoch_us(started) for _, started in copied]
        return min(starts), max(starts), pack_traces(copied)


def _copied_id(id_: bytes, copy: int) -> bytes:
    """As the function `copies.id`."""
    return hashlib.md5(f"{uuid.UUID(bytes=id_)}{copy}".encode()).digest()


def _add_up(table: str, columns: Sequence[str]) -> str:
    """What becomes of an hour in which spans of several copies started."""

    def both(name: str) -> str:
        if name in LEAST or name in GREATEST:
            function = "least" if name in LEAST else "greatest"
            return f"{function}({table}.{name}, excluded.{name})"
        return f"{table}.{name} + excluded.{name}"

    keys = ", ".join(name for name in columns if name in HOUR_KEYS)
    values = [name for name in columns if name not in (*HOUR_KEYS, "revision")]
    changes = ", ".join(f"{name} = {both(name)}" for name in values)
    return f"ON CONFLICT ({keys}) DO UPDATE SET {changes}"
