"""The roll-ups, written in the transaction of what they count.

Each statement takes its rows in the order of their keys, and the tables always come in one order:
writers wait for each other, and never in a circle. Traces are locked before any of it.
"""

from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

import msgspec

from adapters.postgres.database.pool import Connection
from adapters.postgres.tracing.facets import search_value
from adapters.postgres.tracing.rollup_deltas import ByProject, SessionGrowth
from domain.ids import ProjectId

_PUT_FACETS: Final = """
INSERT INTO trace_facets AS f (project_id, kind, value, search_value, trace_count)
SELECT * FROM json_to_recordset($1) AS u(p uuid, k text, v text, s text, n bigint)
ON CONFLICT (project_id, kind, value) DO UPDATE
SET trace_count = f.trace_count + excluded.trace_count, search_value = excluded.search_value
"""
REMOVE_FACETS: Final = """
DELETE FROM trace_facets AS f USING json_to_recordset($1) AS u(p uuid, k text, v text)
WHERE f.project_id = u.p AND f.kind = u.k AND f.value = u.v AND f.trace_count = 0
"""
_PUT_HOURS: Final = """
INSERT INTO trace_hours AS h (project_id, hour, trace_count, error_count, latency_count,
                              latency_us)
SELECT * FROM json_to_recordset($2)
  AS u(p uuid, at timestamptz, n bigint, ec bigint, lc bigint, lu numeric)
ON CONFLICT (project_id, hour) DO UPDATE SET
  trace_count = h.trace_count + excluded.trace_count,
  error_count = h.error_count + excluded.error_count,
  latency_count = h.latency_count + excluded.latency_count,
  latency_us = h.latency_us + excluded.latency_us,
  revision = h.revision + 1
"""
_PUT_USAGE: Final = """
INSERT INTO usage_hours AS h (project_id, hour, has_model, model, calls, prompt_tokens,
                              completion_tokens, cost)
SELECT * FROM json_to_recordset($3)
  AS u(p uuid, at timestamptz, has boolean, m text, n bigint, pt numeric, ct numeric, c numeric)
ON CONFLICT (project_id, hour, has_model, model) DO UPDATE SET
  calls = h.calls + excluded.calls,
  prompt_tokens = h.prompt_tokens + excluded.prompt_tokens,
  completion_tokens = h.completion_tokens + excluded.completion_tokens,
  cost = h.cost + excluded.cost
"""
REMOVE_USAGE: Final = """
DELETE FROM usage_hours AS h
USING json_to_recordset($1) AS u(p uuid, at timestamptz, has boolean, m text)
WHERE h.project_id = u.p AND h.hour = u.at AND h.has_model = u.has AND h.model = u.m
  AND h.calls = 0
"""
_SESSION_COLUMNS: Final = """
trace_count, first_started_at, last_started_at, last_ended_at,
last_activity_at, latency_count, latency_sum_us, error_count, user_id, user_started_at,
user_trace_id, tags, span_count, error_span_count, prompt_tokens, completion_tokens, total_cost
"""
_IS_EARLIER: Final = """
excluded.user_started_at IS NOT NULL AND (s.user_started_at IS NULL
  OR (excluded.user_started_at, excluded.user_trace_id) <= (s.user_started_at, s.user_trace_id))
"""
_SUMS: Final = (
    *("trace_count", "latency_count", "latency_sum_us", "error_count", "span_count"),
    *("error_span_count", "prompt_tokens", "completion_tokens", "total_cost"),
)
_PUT_SESSIONS: Final = f"""
INSERT INTO sessions AS s (project_id, session_id, {_SESSION_COLUMNS})
SELECT * FROM json_to_recordset($4)
  AS u(p uuid, s text, n bigint, fs timestamptz, ls timestamptz, le timestamptz, la timestamptz,
       lc bigint, lu numeric, ec bigint, ui text, us timestamptz, ut uuid, g text[], sc bigint,
       es bigint, pt numeric, ct numeric, tc numeric)
ON CONFLICT (project_id, session_id) DO UPDATE SET
  {", ".join(f"{column} = s.{column} + excluded.{column}" for column in _SUMS)},
  first_started_at = least(s.first_started_at, excluded.first_started_at),
  last_started_at = greatest(s.last_started_at, excluded.last_started_at),
  last_ended_at = greatest(s.last_ended_at, excluded.last_ended_at),
  last_activity_at = greatest(s.last_activity_at, excluded.last_activity_at),
  user_id = CASE WHEN {_IS_EARLIER} THEN excluded.user_id ELSE s.user_id END,
  user_started_at = CASE WHEN {_IS_EARLIER} THEN excluded.user_started_at
                    ELSE s.user_started_at END,
  user_trace_id = CASE WHEN {_IS_EARLIER} THEN excluded.user_trace_id ELSE s.user_trace_id END,
  tags = CASE WHEN s.tags @> excluded.tags THEN s.tags ELSE ARRAY(
    SELECT DISTINCT tag COLLATE "C" FROM unnest(s.tags || excluded.tags) AS tag ORDER BY 1) END
"""
_EARLIEST: Final = "ORDER BY t.started_at, t.trace_id) FILTER (WHERE t.user_id IS NOT NULL))[1]"
COUNT_SESSIONS: Final = f"""
UPDATE sessions AS s SET ({_SESSION_COLUMNS}) = (
  SELECT count(*), min(t.started_at), max(t.started_at), max(t.ended_at),
         max(greatest(t.started_at, t.ended_at)), count(t.latency_us),
         coalesce(sum(t.latency_us), 0), count(*) FILTER (WHERE t.status = 'ERROR'),
         (array_agg(t.user_id {_EARLIEST}, (array_agg(t.started_at {_EARLIEST},
         (array_agg(t.trace_id {_EARLIEST},
         ARRAY(SELECT DISTINCT tag COLLATE "C" FROM traces AS g CROSS JOIN unnest(g.tags) AS tag
               WHERE g.project_id = u.p AND g.session_id = u.s ORDER BY 1),
         sum(t.span_count), sum(t.error_span_count), sum(t.prompt_tokens),
         sum(t.completion_tokens), sum(t.total_cost)
  FROM traces AS t WHERE t.project_id = u.p AND t.session_id = u.s
)
FROM json_to_recordset($1) AS u(p uuid, s text)
WHERE s.project_id = u.p AND s.session_id = u.s
"""
REMOVE_SESSIONS: Final = """
DELETE FROM sessions AS s USING json_to_recordset($1) AS u(p uuid, s text)
WHERE s.project_id = u.p AND s.session_id = u.s AND NOT EXISTS (
  SELECT FROM traces AS t WHERE t.project_id = u.p AND t.session_id = u.s)
"""
_PUT_USERS: Final = """
INSERT INTO trace_users AS s (project_id, user_id, trace_count, error_count, first_seen, last_seen)
SELECT * FROM json_to_recordset($5)
  AS u(p uuid, s text, n bigint, ec bigint, fs timestamptz, ls timestamptz)
ON CONFLICT (project_id, user_id) DO UPDATE SET
  trace_count = s.trace_count + excluded.trace_count,
  error_count = s.error_count + excluded.error_count,
  first_seen = least(s.first_seen, excluded.first_seen),
  last_seen = greatest(s.last_seen, excluded.last_seen)
"""
# What can be taken back was; the first and the last are at the ends of an index.
COUNT_USERS: Final = """
UPDATE trace_users AS s SET (first_seen, last_seen) = (
  SELECT min(t.started_at), max(t.started_at)
  FROM traces AS t WHERE t.project_id = u.p AND t.user_id = u.s
)
FROM json_to_recordset($1) AS u(p uuid, s text)
WHERE s.project_id = u.p AND s.user_id = u.s
"""
REMOVE_USERS: Final = """
DELETE FROM trace_users AS s USING json_to_recordset($1) AS u(p uuid, s text)
WHERE s.project_id = u.p AND s.user_id = u.s AND s.trace_count = 0
"""
_ENCODER: Final = msgspec.json.Encoder()

# The rows of sessions and users first, since counting them anew may take a while, and then those
# that every trace of a project is counted in: users, sessions, usage, hours, facets. Mostly all of
# it is one statement, so that these are locked for one round trip and the COMMIT. Postgres carries
# out the parts of a WITH that nobody reads from the last to the first.
PUT_OWNERS: Final = (
    (f"WITH sessions_ AS ({_PUT_SESSIONS}), users_ AS ({_PUT_USERS}) SELECT")
    .replace("$4", "$1")
    .replace("$5", "$2")
)
PUT_COUNTS: Final = f"""
WITH facets AS ({_PUT_FACETS}), hours AS ({_PUT_HOURS}), usage AS ({_PUT_USAGE})
SELECT
"""
PUT: Final = f"""
WITH facets AS ({_PUT_FACETS}), hours AS ({_PUT_HOURS}), usage AS ({_PUT_USAGE}),
     sessions_ AS ({_PUT_SESSIONS}), users_ AS ({_PUT_USERS})
SELECT
"""


class _Facet(msgspec.Struct):
    p: UUID
    k: str
    v: str
    s: str | None = None
    n: int = 0


class _Hour(msgspec.Struct):
    p: UUID
    at: datetime
    n: int
    ec: int
    lc: int
    lu: int


class _Usage(msgspec.Struct):
    p: UUID
    at: datetime
    has: bool
    m: str
    n: int
    pt: int
    ct: int
    c: Decimal


class _Session(msgspec.Struct):
    p: UUID
    s: str
    n: int
    fs: datetime
    ls: datetime
    le: datetime | None
    la: datetime
    lc: int
    lu: int
    ec: int
    ui: str | None
    us: datetime | None
    ut: UUID | None
    g: list[str]
    sc: int
    es: int
    pt: int
    ct: int
    tc: Decimal


class _User(msgspec.Struct):
    p: UUID
    s: str
    n: int
    ec: int
    fs: datetime
    ls: datetime


class _Owner(msgspec.Struct):
    p: UUID
    s: str


async def write(connection: Connection, deltas: ByProject) -> None:
    """Carries out the deltas: the last thing that a transaction does, so that locks are short."""
    of = sorted(deltas.items())
    facets = [
        _Facet(project, *key, search_value(*key), n)
        for project, one in of
        for key, n in sorted(one.facets.items())
        if n
    ]
    hours = [
        _Hour(project, hour, *sums)
        for project, one in of
        for hour, sums in sorted(one.hours.items())
    ]
    usage = [
        _Usage(project, *key, sums[0], sums[1], sums[2], sums[3])
        for project, one in of
        for key, sums in sorted(one.usage.items())
        if any(sums)
    ]
    sessions = [
        _session(project, key, growth)
        for project, one in of
        for key, growth in sorted(one.sessions.items())
    ]
    users = [
        _User(project, key, user.traces, user.errors, user.first_seen, user.last_seen)
        for project, one in of
        for key, user in sorted(one.users.items())
    ]
    counts, owners = (facets, hours, usage), (sessions, users)
    if stale := _stale(deltas):
        await connection.execute(PUT_OWNERS, *map(_ENCODER.encode, owners))
        for sql, keys in stale:
            await connection.execute(sql, _ENCODER.encode(keys))
        if any(counts):
            await connection.execute(PUT_COUNTS, *map(_ENCODER.encode, counts))
    elif any(counts) or any(owners):
        await connection.execute(PUT, *map(_ENCODER.encode, (*counts, *owners)))
    for sql, some in ((REMOVE_USAGE, usage), (REMOVE_FACETS, facets)):
        if fewer := [one for one in some if one.n < 0]:
            await connection.execute(sql, _ENCODER.encode(fewer))


def _stale(deltas: ByProject) -> list[tuple[str, list[_Owner]]]:
    """What has to be counted anew, and how."""
    of = sorted(deltas.items())
    users = [_Owner(project, key) for project, one in of for key in sorted(one.stale_users)]
    sessions = [_Owner(project, key) for project, one in of for key in sorted(one.stale_sessions)]
    steps = (
        (REMOVE_USERS, users), (COUNT_USERS, users),
        (REMOVE_SESSIONS, sessions), (COUNT_SESSIONS, sessions),
    )  # fmt: skip
    return [(sql, keys) for sql, keys in steps if keys]


def _session(project: ProjectId, session: str, one: SessionGrowth) -> _Session:
    user_at, user_trace, user = one.user or (None, None, None)
    return _Session(
        project, session, one.traces, one.first_started_at, one.last_started_at, one.last_ended_at,
        one.last_activity_at, one.latencies, one.latency_us, one.errors, user, user_at, user_trace,
        sorted(one.tags), one.totals.spans, one.totals.errors, one.totals.prompt_tokens,
        one.totals.completion_tokens, one.totals.cost,
    )  # fmt: skip
