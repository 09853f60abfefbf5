"""Statements over tables that were empty when their statistics were made.

Autovacuum finds queues empty most of the time. The planner takes such a table for one row, whatever
it has, and may join each row with each.
"""

import json
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from typing import Any, Final

import pytest

from adapters.postgres.database.idempotency import ERASE_REPLIES_OF_TARGETS, ERASE_SOME_REPLIES
from adapters.postgres.database.payload_objects import FORGET_REMOVED
from adapters.postgres.database.pool import SESSION_SETTINGS
from adapters.postgres.evaluation.alerts.webhooks import CLAIM_DUE_DELIVERIES
from adapters.postgres.evaluation.monitors.monitors import DETACH_RUNS
from adapters.postgres.evaluation.runs.runs import DELETE_SCORES
from adapters.postgres.evaluation.scores.waiting_evaluations import DELETE_DONE, SELECT_DUE
from adapters.postgres.evaluation.work_queue.cancel import LOCK_DETAILED, SKIP_SCORES
from adapters.postgres.evaluation.work_queue.overdue import REQUEUE_OVERDUE_TARGETS
from adapters.postgres.privacy.erasures import SELECT_RUNS_OF_SESSION
from adapters.postgres.privacy.retention import (
    SELECT_PROJECTS_WITH_OLD_SESSION_SCORES,
    SELECT_SCORED_SESSIONS,
)
from adapters.postgres.tracing.otlp.fragments import SELECT_WITH_FRAGMENTS
from adapters.postgres.tracing.otlp.rejections import (
    DELETE_EXPIRED_REJECTIONS,
    DELETE_SURPLUS_REJECTIONS,
)
from adapters.postgres.tracing.payloads.payload_objects import SELECT_UNNAMED
from adapters.postgres.tracing.payloads.shared_texts import (
    DELETE_LONG_TEXTS_OF_TRACES,
    DELETE_UNUSED_TEXTS,
    FORGET_RELEASED,
    LOCK_LONG_TEXTS,
    LOCK_TEXTS,
    RELEASE_TEXTS,
    SELECT_REPEATED,
    SELECT_USED,
)
from adapters.postgres.tracing.search.search_index import (
    DELETE_TERMS,
    LOCK_NEW,
    SELECT_ERASED_SEGMENTS,
)
from adapters.postgres.tracing.writes.deletes import (
    DELETE_EVALUATIONS_OF_RESPONSES,
    DELETE_FROM_SEARCH,
    DELETE_OLD_SESSION_SCORES,
    DELETE_SESSION_SCORES,
    DELETE_TRACE_SCORES,
    DELETE_TRACES,
    LOCK_OLD_SESSION_SCORES,
    LOCK_SESSION_SCORES,
)
from application.privacy.ports import SESSIONS_AT_ONCE
from application.tracing.otlp.rejections import REJECTIONS_KEPT_MAX
from tests.adapters.postgres.tracing.test_plans import nodes
from tests.support.fixtures.seeded_database import END, OURS, SCORES, TRACES, Seeded
from tests.support.fixtures.servers import citus

pytestmark = pytest.mark.service

SOME: Final = 200  # rows that a statement is given
MANY: Final = 1_000  # rows of a queue
STEPS: Final = 20  # of a statement with each row that it regards; less than SOME

_OF_TRACES: Final = "FROM traces WHERE project_id = $1 ORDER BY trace_id LIMIT $2"
WAITING: Final = f"""
INSERT INTO waiting_evaluations (project_id, id, trace_id, data, stored_at)
SELECT project_id, trace_id, trace_id, '', now() {_OF_TRACES}
"""
CALLS: Final = f"""
INSERT INTO span_rows (project_id, trace_id, span_id, name, kind, status, started_at, prompt_tokens,
                       completion_tokens, cost_amount, cost_source, facts)
SELECT project_id, trace_id, trace_id, 'x', 'LLM', 'OK', started_at, 0, 0, 0, 'none',
       json_build_object('response_id', trace_id) {_OF_TRACES}
"""
ANSWERED: Final = f"""
INSERT INTO waiting_evaluations (project_id, id, response_id, data, stored_at)
SELECT project_id, trace_id, trace_id, '', now() {_OF_TRACES}
"""
INDEXED: Final = f"""
INSERT INTO search_traces (project_id, trace_id, queue_id, started_at)
SELECT project_id, trace_id, 1, now() {_OF_TRACES}
"""
TERMS: Final = f"""
INSERT INTO search_terms (project_id, trace_id, started_at, terms)
SELECT project_id, trace_id, now(), '' {_OF_TRACES}
"""
ERASED: Final = f"""
INSERT INTO erased_traces (project_id, trace_id, erasure_id, erased_at)
SELECT project_id, trace_id, project_id, now() {_OF_TRACES}
"""
GARBAGE: Final = f"""
INSERT INTO search_garbage (project_id, trace_id, segment)
SELECT project_id, trace_id, 7 {_OF_TRACES}
"""
REMOVED: Final = f"""
INSERT INTO removed_payload_objects (project_id, trace_id, object_id)
SELECT project_id, trace_id, trace_id {_OF_TRACES}
"""
BLOCKS: Final = f"""
INSERT INTO trace_payloads (project_id, trace_id, start, raw_bytes, block)
SELECT project_id, trace_id, 0, 1, '' {_OF_TRACES}
"""
LONG: Final = f"""
INSERT INTO long_texts (project_id, trace_id, text_id)
SELECT project_id, trace_id, trace_id {_OF_TRACES}
"""
SHARED: Final = f"""
INSERT INTO shared_texts (project_id, text_id, frame) SELECT project_id, trace_id, '' {_OF_TRACES}
"""
RELEASED: Final = f"""
INSERT INTO released_texts (project_id, id, text_id)
SELECT project_id, trace_id, trace_id {_OF_TRACES}
"""
REJECTED: Final = f"""
INSERT INTO otlp_rejections (project_id, id, rejected_at, signal, reason, message, count, trace_id)
SELECT project_id, trace_id, '2020-01-01', 'traces', '', '', 1, translate(trace_id::text, '-', '')
{_OF_TRACES}
"""
REPLIED: Final = f"""
INSERT INTO replies (project_id, operation, key, request_hash, object_id, target, status,
                     held_until, expires_at, has_text, begun_at)
SELECT project_id, 'x', trace_id, '', trace_id, trace_id, 200, now(), now(), true, now()
{_OF_TRACES}
"""
MESSAGES: Final = f"""
INSERT INTO alert_deliveries (project_id, id, webhook_id, body, attempts, created_at,
                              next_attempt_at)
SELECT project_id, trace_id, trace_id, '{{}}', 0, started_at, started_at {_OF_TRACES}
"""
OF_MONITOR: Final = f"""
INSERT INTO eval_runs (project_id, id, target_type, metrics, targets, filters, sampling_rate, model,
                       signal_weights, monitor_id, status, created_at, completed_at)
SELECT project_id, trace_id, 'TRACE', '{{coherence}}', 1, '{{}}', 1, 'heuristic/1', '{{}}',
       project_id, 'COMPLETED', started_at, started_at
{_OF_TRACES}
"""
OVERDUE: Final = f"""
INSERT INTO eval_jobs (project_id, run_id, target, place, state, attempts, run_after, updated_at,
                       due_at)
SELECT project_id, trace_id, trace_id, 1, 'running', 1, started_at, started_at, started_at
{_OF_TRACES}
"""
SCORED: Final = f"""
INSERT INTO session_scores (project_id, id, session_id, name, outcome, value, number, data_type,
                            source, metadata, run_id, created_at, updated_at)
SELECT project_id, trace_id, 'x', 'y', 'scored', '1', 1, 'NUMERIC', 'AUTOMATED', '{{}}', project_id,
       started_at, started_at
{_OF_TRACES}
"""
PENDING: Final = SCORED.replace("'scored', '1', 1", "'pending', NULL, NULL")
OF_SESSION: Final = OVERDUE.replace("trace_id, trace_id", "trace_id, 'session'")


@dataclass(frozen=True)
class Case:
    """`rows` at most are regarded. Projects, traces and hex ids of SOME replace their names."""

    sql: str
    arguments: Sequence[object]
    filled: Sequence[tuple[str, int]] = ()
    rows: int = MANY


OVER: Final = [f"conv-{n}" for n in range(40)]
PROJECTS, IDS, TEXTS, SESSION = "projects", "ids", "texts", "session"
CASES: Final = {
    "done evaluations": Case(DELETE_DONE, (PROJECTS, IDS), [(WAITING, MANY)]),
    "due evaluations": Case(SELECT_DUE, ([],), [(WAITING, MANY)]),
    "due evaluations of responses": Case(SELECT_DUE, ([],), [(CALLS, MANY), (ANSWERED, MANY)]),
    "evaluations of responses of deleted traces": Case(
        DELETE_EVALUATIONS_OF_RESPONSES, (OURS, IDS), [(CALLS, MANY), (ANSWERED, MANY)]
    ),
    "terms in a segment": Case(DELETE_TERMS, (PROJECTS, IDS), [(TERMS, MANY)]),
    "new terms": Case(LOCK_NEW, (OURS, SOME), [(INDEXED, MANY), (TERMS, MANY)]),
    "terms of deleted traces": Case(
        DELETE_FROM_SEARCH, (OURS, IDS), [(INDEXED, MANY), (TERMS, MANY)]
    ),
    "segments of erased traces": Case(
        SELECT_ERASED_SEGMENTS, (OURS, OURS, 10), [(ERASED, MANY), (GARBAGE, MANY)]
    ),
    "removed objects": Case(FORGET_REMOVED, (PROJECTS, IDS, IDS), [(REMOVED, MANY)]),
    "unnamed objects": Case(SELECT_UNNAMED, (PROJECTS, IDS, IDS), [(BLOCKS, MANY)]),
    "long texts": Case(DELETE_LONG_TEXTS_OF_TRACES, (OURS, IDS), [(LONG, MANY)]),
    "noted texts": Case(LOCK_LONG_TEXTS, (PROJECTS, IDS, IDS), [(LONG, MANY)]),
    "repeated texts": Case(SELECT_REPEATED, (OURS, OURS, IDS), [(LONG, MANY)]),
    "shared texts": Case(LOCK_TEXTS, (OURS, IDS), [(SHARED, MANY)]),
    "texts to release": Case(RELEASE_TEXTS, (OURS, IDS), [(SHARED, MANY)]),
    "released texts": Case(FORGET_RELEASED, (OURS, IDS), [(RELEASED, MANY)]),
    "used texts": Case(SELECT_USED, (OURS, IDS), [(LONG, MANY)]),
    "unused texts": Case(DELETE_UNUSED_TEXTS, (OURS, IDS), [(SHARED, MANY), (LONG, MANY)]),
    "surplus rejections": Case(
        DELETE_SURPLUS_REJECTIONS, ([OURS],), [(REJECTED, REJECTIONS_KEPT_MAX + SOME)]
    ),
    "expired rejections": Case(DELETE_EXPIRED_REJECTIONS, ([OURS], [END]), [(REJECTED, MANY)]),
    "replies about traces": Case(ERASE_REPLIES_OF_TARGETS, (OURS, TEXTS), [(REPLIED, MANY)]),
    "some replies": Case(ERASE_SOME_REPLIES, (OURS,), [(REPLIED, MANY)]),
    "due deliveries": Case(
        CLAIM_DUE_DELIVERIES,
        (END, END + timedelta(minutes=1), SOME),
        [(MESSAGES, MANY)],
        rows=2 * MANY,  # from both ends
    ),
    "runs of a monitor": Case(DETACH_RUNS, (OURS, OURS, SOME), [(OF_MONITOR, MANY)]),
    "overdue targets": Case(
        REQUEUE_OVERDUE_TARGETS, (END, END, SOME), [(OF_MONITOR, MANY), (OVERDUE, MANY)]
    ),
    "runs of a session": Case(
        SELECT_RUNS_OF_SESSION, (OURS, SESSION), [(OF_MONITOR, MANY), (OF_SESSION, MANY)]
    ),
    "traces with fragments": Case(SELECT_WITH_FRAGMENTS, (PROJECTS, IDS), rows=SOME),
    "deleted traces": Case(DELETE_TRACES, (OURS, IDS, None), rows=TRACES),
    "scores of deleted traces": Case(DELETE_TRACE_SCORES, (OURS, IDS), rows=2 * SCORES),
    "locked scores of empty sessions": Case(LOCK_SESSION_SCORES, (OURS, OVER), rows=160),
    "scores of empty sessions": Case(DELETE_SESSION_SCORES, (OURS, OVER), rows=160),
    "old locked scores": Case(LOCK_OLD_SESSION_SCORES, (OURS, OVER, END), rows=160),
    "old scores of empty sessions": Case(DELETE_OLD_SESSION_SCORES, (OURS, OVER, END), rows=160),
    "scores of a deleted run": Case(
        DELETE_SCORES.format(table="session_scores"),
        (OURS, OURS, SOME),
        [(SCORED, MANY)],
        rows=2 * SOME,  # and once those of the project, if another index looks as good
    ),
    "pending scores": Case(
        SKIP_SCORES.format(table="session_scores"),
        (OURS, OURS, "skipped", "AUTOMATED", None, "{}", None, END, SOME),
        [(PENDING, MANY)],
        SOME,
    ),
    "pending scores with details": Case(
        LOCK_DETAILED.format(columns="id", table="session_scores"),
        (OURS, OURS, SOME),
        [(PENDING.replace("'{}'", "'{\"note\": 1}'"), MANY)],
        SOME,
    ),
    "sessions with scores": Case(SELECT_SCORED_SESSIONS, (OURS, "", END), rows=SESSIONS_AT_ONCE),
    "projects with old scores": Case(
        SELECT_PROJECTS_WITH_OLD_SESSION_SCORES, ([OURS], [END], None), rows=1
    ),
}
_IN_PUBLIC: Final = "relkind IN ('r', 'i') AND relnamespace = 'public'::regnamespace"
_FORGET: Final = """
DELETE FROM pg_statistic WHERE starelid IN (
  SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace
)
"""
EMPTIED: Final = f"UPDATE pg_class SET reltuples = 0, relpages = 1 WHERE {_IN_PUBLIC}; {_FORGET}"
# As in a new database. The planner reads the size of a table, and guesses how values spread.
NEVER_ANALYZED: Final = (
    f"UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE {_IN_PUBLIC}; {_FORGET}"
)
STATES: Final = {"emptied": EMPTIED, "never analyzed": NEVER_ANALYZED}
# As many as make the key look cheap, in which the trace comes before the text.
MANY_LONG_TEXTS: Final = """
INSERT INTO long_texts (project_id, trace_id, text_id)
SELECT $1, gen_random_uuid(), gen_random_uuid() FROM generate_series(1, 30000)
"""
NEVER_COUNTED: Final = (
    "UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE relname = 'long_texts'"
)
# A session plans for the arguments of the first times, and then for any.
PLANNED: Final = ("force_custom_plan", "force_generic_plan")
# Triggers have statements of their own.
SETTINGS: Final = {
    **SESSION_SETTINGS,
    "pandaprobe.scope": "all",
    "session_replication_role": "replica",
}


def steps(found: Sequence[Any]) -> int:
    """Rows that a statement passed from part to part, or compared."""
    kinds = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Join Filter")
    return round(
        sum(sum(one.get(kind, 0) for kind in kinds) * one["Actual Loops"] for one in found)
    )


def literal(value: object) -> str:
    """As EXECUTE takes it, which has no parameters."""
    if value is None:
        return "NULL"
    return f"'{{{','.join(map(str, value))}}}'" if isinstance(value, list) else f"'{value}'"


@pytest.fixture(scope="module", autouse=True)
async def filled_tables_are_small_afterwards(seeded: Seeded) -> AsyncIterator[None]:
    """Rows that were rolled back leave pages, by which other tests' statements would be planned."""
    yield
    for table in {sql.split()[2] for case in CASES.values() for sql, _ in case.filled}:
        await seeded.owner.execute(f"VACUUM {table}")


@citus.not_on_cluster("the statistics are those of a worker")
@pytest.mark.parametrize(
    ("name", "state", "planned"),
    [
        # Each case once, by turns; `make test-all` tries all four ways.
        pytest.param(name, *way, marks=() if n % 4 == turn else pytest.mark.exhaustive)
        for n, name in enumerate(CASES)
        for turn, way in enumerate(product(STATES, PLANNED))
    ],
)
async def test_rows_are_not_compared_with_each_other(seeded, name, planned, state):
    case = CASES[name]
    async with seeded.owner.acquire() as connection:
        ids = [
            row[0] for row in await connection.fetch(f"SELECT trace_id {_OF_TRACES}", OURS, SOME)
        ]
        given: dict[object, Any] = {
            PROJECTS: [OURS] * SOME, IDS: ids, TEXTS: list(map(str, ids)), SESSION: SESSION
        }  # fmt: skip
        arguments = [given.get(one, one) if isinstance(one, str) else one for one in case.arguments]
        arguments = ", ".join(map(literal, arguments))
        execute = f"EXECUTE asked ({arguments})" if arguments else "EXECUTE asked"
        await connection.execute(f"PREPARE asked AS {case.sql}")
        transaction = connection.transaction()
        await transaction.start()
        try:
            for setting, value in {**SETTINGS, "plan_cache_mode": planned}.items():
                await connection.execute("SELECT set_config($1, $2, true)", setting, value)
            for sql, count in case.filled:
                await connection.execute(sql, OURS, count)
            await connection.execute(STATES[state])
            text = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {execute}")
        finally:
            await transaction.rollback()
            await connection.execute("DEALLOCATE asked")
    found = [*nodes(json.loads(text)[0]["Plan"])]
    assert 0 < steps(found) <= STEPS * case.rows


@citus.not_on_cluster("the statistics are those of a worker")
@pytest.mark.parametrize(
    ("name", "planned"),
    [
        pytest.param(name, planned, marks=() if n % 2 == turn else pytest.mark.exhaustive)
        for n, name in enumerate(("repeated texts", "used texts", "unused texts"))
        for turn, planned in enumerate(PLANNED)
    ],
)
async def test_texts_are_looked_up_without_statistics_of_their_traces(seeded, name, planned):
    case = CASES[name]
    ids = [uuid.uuid4() for _ in range(SOME)]
    arguments = ", ".join(literal(ids if one == IDS else one) for one in case.arguments)
    async with seeded.owner.acquire() as connection:
        await connection.execute(f"PREPARE asked AS {case.sql}")
        transaction = connection.transaction()
        await transaction.start()
        try:
            for setting, value in {**SETTINGS, "plan_cache_mode": planned}.items():
                await connection.execute("SELECT set_config($1, $2, true)", setting, value)
            await connection.execute(MANY_LONG_TEXTS, OURS)
            await connection.execute(EMPTIED)
            await connection.execute(NEVER_COUNTED)
            text = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked ({arguments})")
        finally:
            await transaction.rollback()
            await connection.execute("DEALLOCATE asked")
    found = list(nodes(json.loads(text)[0]["Plan"]))
    of_traces = [one for one in found if one.get("Relation Name") == "long_texts"]
    assert [one.get("Index Name") for one in of_traces] == ["long_texts_traces"]
