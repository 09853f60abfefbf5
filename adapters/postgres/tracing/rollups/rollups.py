"""Writes the roll-ups in the transaction that changes what they count.

Each statement locks rows in the order of their keys, and tables come in one order, so that writers
cannot deadlock. Traces are locked before.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

import msgspec

from adapters.postgres.database.pool import Connection, is_distributed
from adapters.postgres.tracing.rollups.facets import search_value
from adapters.postgres.tracing.rollups.rollup_deltas import (
    ProjectDeltas,
    SessionGrowth,
    SpanKey,
    SpanSums,
)
from adapters.postgres.tracing.rollups.session_hours import (
    DELETE_EMPTY_SESSION_HOURS,
    MERGE_SESSION_HOURS,
    MERGED_COLUMNS,
    PREVIOUS_COLUMNS,
    SELECT_EMPTY,
    UPSERT_SESSION_HOURS,
    EmptiedHours,
    Growth,
    SessionChanges,
)
from adapters.postgres.tracing.rollups.span_bins import pack_bins
from domain.ids import ProjectId

_TYPES: Final = {UUID: "uuid", str: "text", bool: "boolean", datetime: "timestamptz"}


class _Facet(msgspec.Struct):
    project_id: UUID
    kind: str
    value: str
    search_value: str | None = None
    trace_count: int = 0


class _Hour(msgspec.Struct):
    project_id: UUID
    hour: datetime
    trace_count: int
    error_count: int
    latency_count: int
    latency_us: int
    first_span_at: datetime | None
    last_span_at: datetime | None


class _Moved(msgspec.Struct):
    project_id: UUID
    old: datetime
    new: datetime


class _Usage(msgspec.Struct):
    project_id: UUID
    hour: datetime
    has_model: bool
    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: Decimal
    unpriced_span_count: int
    priced_span_count: int
    cached_tokens: int
    reasoning_tokens: int


class _SpanHour(msgspec.Struct):
    project_id: UUID
    hour: datetime
    kind: str
    name: str
    has_model: bool
    model: str
    span_count: int
    error_count: int
    latency_count: int
    latency_us: int
    latency_bins: str
    prompt_tokens: int
    completion_tokens: int
    cost: Decimal
    unpriced_span_count: int
    max_latency_us: int | None
    max_tokens: int | None
    max_cost: Decimal | None


class _Session(msgspec.Struct, kw_only=True):
    project_id: UUID
    session_id: str
    trace_count: int
    first_started_at: datetime
    last_started_at: datetime
    last_ended_at: datetime | None
    last_activity_at: datetime
    latency_count: int
    latency_sum_us: int
    error_count: int
    user_id: str | None
    user_started_at: datetime | None
    user_trace_id: UUID | None
    tags: list[str]
    span_count: int
    error_span_count: int
    prompt_tokens: int
    completion_tokens: int
    total_cost: Decimal
    unpriced_span_count: int


class _StaleSession(msgspec.Struct):
    project_id: UUID
    session_id: str


class _User(msgspec.Struct):
    project_id: UUID
    user_id: str
    trace_count: int
    error_count: int
    first_seen: datetime
    last_seen: datetime


class _StaleUser(msgspec.Struct):
    project_id: UUID
    user_id: str


def _rows(table: str, parameter: str) -> str:
    """The rows of a JSON array of objects. PostgreSQL takes the types from the table."""
    return f"json_populate_recordset(NULL::{table}, {parameter})"


def _insert(table: str, row: type[msgspec.Struct], source: str) -> str:
    """An INSERT that an ON CONFLICT has to follow."""
    columns = ", ".join(row.__struct_fields__)
    return f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {source}"


def _matching_keys(table: str, row: type[msgspec.Struct], columns: int, alias: str) -> str:
    """The keys of rows from a JSON array of objects, and the rows of `table` that have them.

    A key is the first `columns`. Other columns are not read: a join with rows of the whole table
    can be planned as a scan of the whole index.
    """
    keys = msgspec.structs.fields(row)[:columns]
    types = ", ".join(f"{key.name} {_TYPES[key.type]}" for key in keys)
    conditions = " AND ".join(f"{table}.{key.name} = {alias}.{key.name}" for key in keys)
    return f"json_to_recordset($1) AS {alias} ({types}) WHERE {conditions}"


def _sums(table: str, *columns: str) -> str:
    return ", ".join(f"{column} = {table}.{column} + excluded.{column}" for column in columns)


def _extremes(function: str, table: str, *columns: str) -> str:
    """Assignments of the least or greatest values; nulls count for nothing."""
    return ", ".join(
        f"{column} = {function}({table}.{column}, excluded.{column})" for column in columns
    )


_UPSERT_FACETS: Final = f"""
{_insert("trace_facets", _Facet, _rows("trace_facets", "$1"))}
ON CONFLICT (project_id, kind, value) DO UPDATE SET
  {_sums("trace_facets", "trace_count")}, search_value = excluded.search_value
"""
DELETE_EMPTY_FACETS: Final = f"""
DELETE FROM trace_facets USING {_matching_keys("trace_facets", _Facet, 3, "fewer")}
  AND trace_facets.trace_count = 0
"""
_UPSERT_HOURS: Final = f"""
{_insert("trace_hours", _Hour, _rows("trace_hours", "$2"))}
ON CONFLICT (project_id, hour) DO UPDATE SET
  {_sums("trace_hours", *_Hour.__struct_fields__[2:6])},
  {_extremes("least", "trace_hours", "first_span_at")},
  {_extremes("greatest", "trace_hours", "last_span_at")},
  revision = trace_hours.revision + 1
"""
# A trace that moved may have all its spans where it was: the extent of that hour covers them.
# This transaction has locked both rows.
EXTEND_NEW_HOURS: Final = """
UPDATE trace_hours AS new SET first_span_at = least(new.first_span_at, old.first_span_at),
  last_span_at = greatest(new.last_span_at, old.last_span_at)
FROM json_to_recordset($1) AS moved (project_id uuid, old timestamptz, new timestamptz),
  trace_hours AS old
WHERE new.project_id = moved.project_id AND new.hour = moved.new
  AND old.project_id = moved.project_id AND old.hour = moved.old
  AND (old.first_span_at IS NOT NULL OR old.last_span_at IS NOT NULL)
"""
_UPSERT_USAGE: Final = f"""
{_insert("usage_hours", _Usage, _rows("usage_hours", "$3"))}
ON CONFLICT (project_id, hour, has_model, model) DO UPDATE SET
  {_sums("usage_hours", *_Usage.__struct_fields__[4:])}
"""
DELETE_EMPTY_USAGE: Final = f"""
DELETE FROM usage_hours USING {_matching_keys("usage_hours", _Usage, 4, "fewer")}
  AND usage_hours.calls = 0
"""
_UPSERT_SPAN_HOURS: Final = f"""
{_insert("span_hours", _SpanHour, _rows("span_hours", "$6"))}
ON CONFLICT (project_id, hour, kind, name, has_model, model) DO UPDATE SET
  {_sums("span_hours", *_SpanHour.__struct_fields__[6:-3])},
  {_extremes("greatest", "span_hours", *_SpanHour.__struct_fields__[-3:])}
"""
DELETE_EMPTY_SPAN_HOURS: Final = f"""
DELETE FROM span_hours USING {_matching_keys("span_hours", _SpanHour, 6, "fewer")}
  AND span_hours.span_count = 0
"""
_IS_EARLIER: Final = """
excluded.user_started_at IS NOT NULL AND (sessions.user_started_at IS NULL
  OR (excluded.user_started_at, excluded.user_trace_id)
     <= (sessions.user_started_at, sessions.user_trace_id))
"""
_FIRST_USER: Final = ("user_id", "user_started_at", "user_trace_id")
_SESSION_SUMS: Final = (
    *("trace_count", "latency_count", "latency_sum_us", "error_count", "span_count"),
    *("error_span_count", "prompt_tokens", "completion_tokens", "total_cost"),
    "unpriced_span_count",
)
_UPSERT_SESSIONS: Final = f"""
{_insert("sessions", _Session, "{grown}")} ON CONFLICT (project_id, session_id) DO UPDATE SET
  {_sums("sessions", *_SESSION_SUMS)},
  first_started_at = least(sessions.first_started_at, excluded.first_started_at),
  last_started_at = greatest(sessions.last_started_at, excluded.last_started_at),
  last_ended_at = greatest(sessions.last_ended_at, excluded.last_ended_at),
  last_activity_at = greatest(sessions.last_activity_at, excluded.last_activity_at),
  {
    ", ".join(
        f"{column} = CASE WHEN {_IS_EARLIER} THEN excluded.{column} ELSE sessions.{column} END"
        for column in _FIRST_USER
    )
},
  tags = CASE WHEN sessions.tags @> excluded.tags THEN sessions.tags ELSE ARRAY(
    SELECT DISTINCT tag COLLATE "C" FROM unnest(sessions.tags || excluded.tags) AS tag ORDER BY 1)
  END,
  previous_first_at = sessions.first_started_at, previous_last_at = sessions.last_started_at
RETURNING {MERGED_COLUMNS}, {PREVIOUS_COLUMNS}
"""
_EARLIEST: Final = (
    "ORDER BY traces.started_at, traces.trace_id) FILTER (WHERE traces.user_id IS NOT NULL))[1]"
)
RECOUNT_SESSIONS: Final = f"""
UPDATE sessions SET ({", ".join(_Session.__struct_fields__[2:])}) = (
  SELECT count(*), min(started_at), max(started_at), max(ended_at),
         max(greatest(started_at, ended_at)), count(latency_us),
         coalesce(sum(latency_us), 0), count(*) FILTER (WHERE status = 'ERROR'),
         (array_agg(user_id {_EARLIEST}, (array_agg(started_at {_EARLIEST},
         (array_agg(trace_id {_EARLIEST},
         ARRAY(SELECT DISTINCT tag COLLATE "C"
               FROM traces AS tagged CROSS JOIN unnest(tagged.tags) AS tag
               WHERE tagged.project_id = stale.project_id
                 AND tagged.session_id = stale.session_id ORDER BY 1),
         sum(span_count), sum(error_span_count), sum(prompt_tokens),
         sum(completion_tokens), sum(total_cost), sum(unpriced_span_count)
  FROM traces
  WHERE traces.project_id = stale.project_id AND traces.session_id = stale.session_id
)
FROM {_matching_keys("sessions", _StaleSession, 2, "stale")}
RETURNING {", ".join(f"sessions.{column.strip()}" for column in MERGED_COLUMNS.split(","))}
"""
DELETE_EMPTY_SESSIONS: Final = f"""
DELETE FROM sessions USING {_matching_keys("sessions", _StaleSession, 2, "stale")}
  AND NOT EXISTS (SELECT 1 FROM traces WHERE traces.project_id = stale.project_id
                    AND traces.session_id = stale.session_id)
RETURNING sessions.project_id, sessions.session_id
"""
_UPSERT_USERS: Final = f"""
{_insert("trace_users", _User, _rows("trace_users", "$5"))}
ON CONFLICT (project_id, user_id) DO UPDATE SET
  {_sums("trace_users", "trace_count", "error_count")},
  first_seen = least(trace_users.first_seen, excluded.first_seen),
  last_seen = greatest(trace_users.last_seen, excluded.last_seen)
"""
# Counts were subtracted; the first and last are at the ends of an index.
RECOUNT_USERS: Final = f"""
UPDATE trace_users SET (first_seen, last_seen) = (
  SELECT min(started_at), max(started_at) FROM traces
  WHERE traces.project_id = stale.project_id AND traces.user_id = stale.user_id
)
FROM {_matching_keys("trace_users", _StaleUser, 2, "stale")}
"""
DELETE_EMPTY_USERS: Final = f"""
DELETE FROM trace_users USING {_matching_keys("trace_users", _StaleUser, 2, "stale")}
  AND trace_users.trace_count = 0
"""
_ENCODER: Final = msgspec.json.Encoder()

# Sessions and users come first if they need a recount, which may take a while. Then come the rows
# that every trace of a project updates. Usually all of it is one statement, so that these rows are
# locked for one round trip and the COMMIT. PostgreSQL runs what the last SELECT of a WITH refers
# to, and then the other parts from the last to the first: sessions and their hours, users, spans,
# usage, hours, facets.
_GROWN_SESSIONS: Final = f"SELECT * FROM {_rows('sessions', '$4')}"
UPSERT_ROLLUPS: Final = f"""
WITH facets AS ({_UPSERT_FACETS}), hours AS ({_UPSERT_HOURS}), usage AS ({_UPSERT_USAGE}),
     span_hours_ AS ({_UPSERT_SPAN_HOURS}), users_ AS ({_UPSERT_USERS}),
     grown AS MATERIALIZED ({_GROWN_SESSIONS}),
     sessions_ AS ({_UPSERT_SESSIONS.format(grown="grown")}),
     session_hours_ AS ({MERGE_SESSION_HOURS})
{SELECT_EMPTY}
"""
# Each table alone.
UPSERT_SESSIONS: Final = _UPSERT_SESSIONS.format(grown=_rows("sessions", "$1"))
UPSERT_USERS: Final = _UPSERT_USERS.replace("$5", "$1")
UPSERT_COUNTS: Final = f"""
WITH facets AS ({_UPSERT_FACETS}), hours AS ({_UPSERT_HOURS}), usage AS ({_UPSERT_USAGE}),
     span_hours_ AS ({_UPSERT_SPAN_HOURS.replace("$6", "$4")})
SELECT
"""
# Each of the counts alone, in the order of the locks: Citus takes apart a WITH that inserts.
COUNTS_ONE_BY_ONE: Final = tuple(
    re.sub(r"\$\d", "$1", sql)
    for sql in (_UPSERT_FACETS, _UPSERT_HOURS, _UPSERT_USAGE, _UPSERT_SPAN_HOURS)
)


async def write(connection: Connection, deltas: ProjectDeltas) -> None:
    """Applies the deltas. The last step of a transaction, so that locks are short."""
    by_project = sorted(deltas.items())
    facets = [
        _Facet(project, *key, search_value(*key), n)
        for project, one in by_project
        for key, n in sorted(one.facets.items())
        if n
    ]
    hours = [
        _hour_row(project, hour, sums, one.extents.get(hour))
        for project, one in by_project
        for hour, sums in sorted(one.hours.items())
    ]
    usage = [
        _Usage(project, *key, *sums[:3], sums[3], *sums[4:])
        for project, one in by_project
        for key, sums in sorted(one.usage().items())
        if any(sums)
    ]
    spans = [
        _span_hour(project, key, sums)
        for project, one in by_project
        for key, sums in sorted(one.spans.items(), key=_key)
        if not sums.is_empty
    ]
    sessions = [
        _session_row(project, key, growth)
        for project, one in by_project
        for key, growth in sorted(one.sessions.items())
    ]
    users = [
        _User(project, key, user.traces, user.errors, user.first_seen, user.last_seen)
        for project, one in by_project
        for key, user in sorted(one.users.items())
    ]
    counts = (facets, hours, usage, spans)
    if is_distributed(connection) or any(
        one.stale_users or one.stale_sessions for one in deltas.values()
    ):
        await _write_sessions(connection, deltas, sessions)
        await _write_users(connection, deltas, users)
        await _write_counts(connection, counts)
    elif any(counts) or any((sessions, users)):
        rows = (*counts[:3], sessions, users, spans)
        emptied = await connection.fetch(UPSERT_ROLLUPS, *map(_ENCODER.encode, rows))
        if emptied:
            await connection.execute(
                DELETE_EMPTY_SESSION_HOURS,
                _ENCODER.encode([EmptiedHours(*row) for row in emptied]),
            )
    if moved := [
        _Moved(project, *hours) for project, one in by_project for hours in sorted(one.moved)
    ]:
        await connection.execute(EXTEND_NEW_HOURS, _ENCODER.encode(moved))
    if less_used := [one for one in usage if one.calls < 0]:
        await connection.execute(DELETE_EMPTY_USAGE, _ENCODER.encode(less_used))
    if fewer_spans := [one for one in spans if one.span_count < 0]:
        await connection.execute(DELETE_EMPTY_SPAN_HOURS, _ENCODER.encode(fewer_spans))
    if fewer := [one for one in facets if one.trace_count < 0]:
        await connection.execute(DELETE_EMPTY_FACETS, _ENCODER.encode(fewer))


async def _write_sessions(
    connection: Connection, deltas: ProjectDeltas, rows: Sequence[_Session]
) -> None:
    """Merges into sessions, recounts those that may have shrunk, and counts them by hour."""
    if not rows:
        return
    changes = SessionChanges()
    merged = await connection.fetch(UPSERT_SESSIONS, _ENCODER.encode(rows))
    growth = {
        (one.project_id, one.session_id): Growth(
            one.trace_count, one.latency_count, one.latency_sum_us, one.error_count
        )
        for one in rows
    }
    changes.note_merged(merged, growth)
    stale = [
        _StaleSession(project, key)
        for project, one in sorted(deltas.items())
        for key in sorted(one.stale_sessions)
    ]
    if stale:
        keys = _ENCODER.encode(stale)
        changes.note_deleted(await connection.fetch(DELETE_EMPTY_SESSIONS, keys))
        changes.note_recounted(await connection.fetch(RECOUNT_SESSIONS, keys))
    if hours := changes.deltas():
        await connection.execute(UPSERT_SESSION_HOURS, _ENCODER.encode(hours))
    if fewer := [
        EmptiedHours(one.project_id, one.first_hour, one.last_hour)
        for one in hours
        if one.session_count < 0
    ]:
        await connection.execute(DELETE_EMPTY_SESSION_HOURS, _ENCODER.encode(fewer))


async def _write_users(
    connection: Connection, deltas: ProjectDeltas, rows: Sequence[_User]
) -> None:
    if rows:
        await connection.execute(UPSERT_USERS, _ENCODER.encode(rows))
    stale = [
        _StaleUser(project, key)
        for project, one in sorted(deltas.items())
        for key in sorted(one.stale_users)
    ]
    if stale:
        keys = _ENCODER.encode(stale)
        await connection.execute(DELETE_EMPTY_USERS, keys)
        await connection.execute(RECOUNT_USERS, keys)


async def _write_counts(connection: Connection, rows: Sequence[Sequence[msgspec.Struct]]) -> None:
    """Facets, hours, usage and spans; locked from the last to the first."""
    if not is_distributed(connection):
        if any(rows):
            await connection.execute(UPSERT_COUNTS, *map(_ENCODER.encode, rows))
        return
    for sql, some in reversed(list(zip(COUNTS_ONE_BY_ONE, rows, strict=True))):
        if some:
            await connection.execute(sql, _ENCODER.encode(some))


def _hour_row(
    project: ProjectId,
    hour: datetime,
    sums: Sequence[int],
    extent: tuple[datetime, datetime] | None,
) -> _Hour:
    traces, errors, latencies, latency_us = sums
    first, last = extent or (None, None)
    return _Hour(project, hour, traces, errors, latencies, latency_us, first, last)


def _key(item: tuple[SpanKey, SpanSums]) -> SpanKey:
    return item[0]


def _span_hour(project: ProjectId, key: SpanKey, sums: SpanSums) -> _SpanHour:
    return _SpanHour(
        project, *key, sums.spans, sums.errors, sums.latencies, sums.latency_us,
        pack_bins(sums.bins), sums.prompt_tokens, sums.completion_tokens, sums.cost, sums.unpriced,
        None if sums.added.latency_us < 0 else sums.added.latency_us,
        None if sums.added.tokens < 0 else sums.added.tokens, sums.added.cost,
    )  # fmt: skip


def _session_row(project: ProjectId, session: str, one: SessionGrowth) -> _Session:
    user_at, user_trace, user = one.user or (None, None, None)
    return _Session(
        project_id=project,
        session_id=session,
        trace_count=one.traces,
        first_started_at=one.first_started_at,
        last_started_at=one.last_started_at,
        last_ended_at=one.last_ended_at,
        last_activity_at=one.last_activity_at,
        latency_count=one.latencies,
        latency_sum_us=one.latency_us,
        error_count=one.errors,
        user_id=user,
        user_started_at=user_at,
        user_trace_id=user_trace,
        tags=sorted(one.tags),
        span_count=one.totals.spans,
        error_span_count=one.totals.errors,
        prompt_tokens=one.totals.prompt_tokens,
        completion_tokens=one.totals.completion_tokens,
        total_cost=one.totals.cost,
        unpriced_span_count=one.totals.unpriced,
    )
