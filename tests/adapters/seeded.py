"""Projects of one shape in a database of their own: for tests of how reads go about it."""

import importlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg

from adapters.judges.heuristic import HeuristicJudge
from adapters.memory.jobs import RecordedJobs
from adapters.postgres.engine import Engine, Pool, PoolSettings, opened
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.reading.analytics import PostgresTraceAnalytics
from adapters.postgres.reading.trace_lists import TraceLists
from adapters.postgres.schema import migrating
from adapters.postgres.sessions import PostgresSessions
from adapters.postgres.writing.edits import TraceEdits
from application.evaluation.use_cases import EvaluationPorts
from domain.ids import ProjectId
from entrypoints.composition import evaluation_ports
from entrypoints.settings import Settings
from tests import many_scores
from tests.builders import prices, project_prices

migration = importlib.import_module(
    "adapters.postgres.schema.migrations.pandaprobe_2026_11_25t03_30_00_000000"
)

OURS, NOISE = ProjectId(uuid.UUID(int=0xC)), ProjectId(uuid.UUID(int=0xD))
# The same as OURS, written after the statistics were made: to the planner it is next to empty.
UNKNOWN: Final = ProjectId(uuid.UUID(int=0xE))
TRACES: Final = 20_000  # of each project, with three spans each
LONG: Final = 4  # traces of a session
SESSIONS: Final = TRACES // LONG  # of ours; of the noise as many as traces
SCORES: Final = 20_000  # of traces, of each project; half as many of sessions
START: Final = datetime(2026, 1, 1, 0, 30, tzinfo=UTC)
STEP: Final = timedelta(seconds=90)  # for three weeks
END: Final = START + TRACES * STEP
HOUR: Final = 40  # traces an hour

SEED: Final = (
    """
    INSERT INTO traces (project_id, trace_id, name, search_name, status, started_at, ended_at,
                        session_id, user_id, environment, release, tags, metadata, span_count,
                        error_span_count, prompt_tokens, completion_tokens, total_cost, models,
                        terms)
    SELECT $1, gen_random_uuid(), 'run ' || i % 20, 'run ' || i % 20,
           CASE WHEN i % 20 = 0 THEN 'ERROR' ELSE 'COMPLETED' END, at,
           CASE WHEN i % 100 > 0 THEN at + i % 997 * interval '7 ms' END,
           'conv-' || i / $5::int, 'user-' || i % 500,
           CASE WHEN i % 5 > 0 THEN 'production' ELSE 'staging' END, '1.' || i / 2000,
           CASE WHEN i % 100 = 7 THEN ARRAY['canary', 'prod'] ELSE ARRAY['prod'] END,
           json_build_object('tenant', 't-' || i % 200), 3, 0, 36, 15, 0.5, '{}',
           '{}'
    FROM generate_series(0, $4::int - 1) AS i
    CROSS JOIN LATERAL (SELECT $2::timestamptz + i * $3::interval AS at) AS started
    """,
    """
    INSERT INTO spans (project_id, trace_id, span_id, name, kind, status, started_at, model,
                       prompt_tokens, completion_tokens, cost_amount, cost_source, metadata)
    SELECT project_id, trace_id, gen_random_uuid(), 'step', 'LLM', 'OK', started_at,
           CASE WHEN search_name = 'run 7' THEN 'tiny' ELSE 'gpt-4o' END, 12, 5, 0.1, 'client', '{}'
    FROM traces CROSS JOIN generate_series(1, 3) WHERE project_id = $1
    """,
)


OF_PROJECTS: Final = (
    *("traces", "spans", "sessions", "trace_scores", "session_scores"),
    *("trace_facets", "trace_hours", "trace_users", "usage_hours"),
)
WRITTEN: Final = """
SELECT string_agg(column_name, ', ') FROM information_schema.columns
WHERE table_schema = 'public' AND table_name = $1 AND is_generated = 'NEVER'
"""
ASIDE: Final = """
ALTER TABLE {table} SET (autovacuum_enabled = false);  -- statistics stay as they are
CREATE TABLE aside_{table} AS SELECT {columns} FROM {table} WHERE project_id = '{unknown}';
DELETE FROM {table} WHERE project_id = '{unknown}';
"""
BACK: Final = """
INSERT INTO {table} ({columns}) SELECT {columns} FROM aside_{table};
DROP TABLE aside_{table};
"""


@dataclass(frozen=True)
class Seeded:
    """A pool of one connection, which notes the statements that it is given."""

    url: str
    pool: Pool
    statements: list[Any]

    @property
    def lists(self) -> TraceLists:
        return TraceLists(self.pool)

    @property
    def sessions(self) -> PostgresSessions:
        return PostgresSessions(self.pool, self.edits)

    @property
    def edits(self) -> TraceEdits:
        return TraceEdits(self.pool, project_prices())

    @property
    def evaluation(self) -> EvaluationPorts:
        return evaluation_ports(Settings(), self.pool, RecordedJobs(), prices(), HeuristicJudge())

    @property
    def analytics(self) -> PostgresTraceAnalytics:
        return PostgresTraceAnalytics(self.pool)


@asynccontextmanager
async def seeding(postgres_url: str) -> AsyncIterator[Seeded]:
    name = f"seeded_{uuid.uuid4().hex}"
    server = await asyncpg.connect(postgres_url)
    await server.execute(f"CREATE DATABASE {name}")
    url = urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
    try:
        async with opened(DB, PoolSettings(url=url)) as pool:
            await migrating.migrate(pool)
        async with opened(Engine(config={}), PoolSettings(url=url, size=1)) as pool:
            for project, session in ((OURS, LONG), (NOISE, 1), (UNKNOWN, LONG)):
                await pool.execute(SEED[0], project, START, STEP, TRACES, session)
                await pool.execute(SEED[1], project)
            for project in (OURS, NOISE, UNKNOWN):
                for sql, arguments in many_scores.inserts(project, SCORES, SCORES // 2):
                    await pool.execute(sql, *arguments)
            for statement in (*migration.COLUMNS[2:], *migration.FILLED):
                await pool.execute(statement)
            columns = {table: await pool.fetchval(WRITTEN, table) for table in OF_PROJECTS}
            for table, some in columns.items():
                await pool.execute(ASIDE.format(table=table, columns=some, unknown=UNKNOWN))
            await pool.execute("VACUUM ANALYZE")
            for table, some in columns.items():
                await pool.execute(BACK.format(table=table, columns=some))
            statements: list[Any] = []
            async with pool.acquire() as connection:
                connection.add_query_logger(statements.append)
            yield Seeded(url, pool, statements)
    finally:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()
