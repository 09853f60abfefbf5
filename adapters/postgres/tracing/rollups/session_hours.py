"""Sessions by the hours of their first and last start, kept up to date by each write of sessions.

The changes of a write follow from the rows before and after it. The statement that merges traces
into sessions computes that itself. A transaction that also recounts sessions compares the rows
before its first statement with those after its last one, so that it locks each hour once, in order.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from asyncpg import Record

from domain.tracing.analytics import Granularity

# The needed columns of the rows of sessions that a statement changed.
MERGED_COLUMNS: Final = (
    "project_id, session_id, first_started_at, last_started_at, trace_count, latency_count,"
    " latency_sum_us, error_count"
)
PREVIOUS_COLUMNS: Final = "previous_first_at, previous_last_at"
_SUMS: Final = ("session_count", "failed_count", "trace_count", "latency_count", "latency_us")
_MERGE: Final = f"""
ON CONFLICT (project_id, first_hour, last_hour) DO UPDATE SET
  {", ".join(f"{name} = session_hours.{name} + excluded.{name}" for name in _SUMS)}
"""


def _counted(sign: str, first: str, last: str, minus: str = "") -> str:
    """A merged session as the table counts it; `minus` marks what the merge has added."""

    def value(name: str) -> str:
        return f"(merged.{name} - {minus}{name})" if minus else f"merged.{name}"

    return f"""
    SELECT merged.project_id, date_trunc('hour', merged.{first}) AS first_hour,
           date_trunc('hour', merged.{last}) AS last_hour, {sign}1 AS session_count,
           {sign}({value("error_count")} > 0)::int AS failed_count,
           {sign}{value("trace_count")} AS trace_count,
           {sign}({value("latency_count")} > 0)::int AS latency_count,
           {sign}{value("latency_sum_us")} AS latency_us
    FROM sessions_ AS merged
    """


# `sessions_` are the rows that were merged into, as they are now, and `grown` what was merged.
MERGE_SESSION_HOURS: Final = f"""
INSERT INTO session_hours (project_id, first_hour, last_hour, {", ".join(_SUMS)})
SELECT project_id, first_hour, last_hour, {", ".join(f"sum({name})" for name in _SUMS)}
FROM (
  {_counted("", "first_started_at", "last_started_at")}
  UNION ALL
  {_counted("-", "previous_first_at", "previous_last_at", "grown.")}
  JOIN grown USING (project_id, session_id) WHERE merged.previous_first_at IS NOT NULL
) AS changes
GROUP BY 1, 2, 3
HAVING {" OR ".join(f"sum({name}) <> 0" for name in _SUMS)}
ORDER BY 1, 2, 3
{_MERGE}
RETURNING project_id, first_hour, last_hour, session_count
"""
SELECT_EMPTY: Final = """
SELECT project_id, first_hour, last_hour FROM session_hours_ WHERE session_count = 0
"""
UPSERT_SESSION_HOURS: Final = f"""
INSERT INTO session_hours (project_id, first_hour, last_hour, {", ".join(_SUMS)})
SELECT project_id, first_hour, last_hour, {", ".join(_SUMS)}
FROM json_populate_recordset(NULL::session_hours, $1)
{_MERGE}
"""
DELETE_EMPTY_SESSION_HOURS: Final = """
DELETE FROM session_hours USING json_to_recordset($1)
  AS emptied (project_id uuid, first_hour timestamptz, last_hour timestamptz)
WHERE session_hours.project_id = emptied.project_id
  AND session_hours.first_hour = emptied.first_hour
  AND session_hours.last_hour = emptied.last_hour AND session_count = 0
"""

type HoursKey = tuple[UUID, datetime, datetime]
"""The project, and the hours of the first and the last start."""
type _SessionKey = tuple[UUID, str]


class SessionHours(msgspec.Struct):
    """A row, or what is added to it."""

    project_id: UUID
    first_hour: datetime
    last_hour: datetime
    session_count: int = 0
    failed_count: int = 0
    trace_count: int = 0
    latency_count: int = 0
    latency_us: int = 0


class EmptiedHours(msgspec.Struct):
    project_id: UUID
    first_hour: datetime
    last_hour: datetime


class Growth(msgspec.Struct):
    """The amounts that a merge adds to the sums of a session."""

    trace_count: int = 0
    latency_count: int = 0
    latency_us: int = 0
    error_count: int = 0


_NO_GROWTH: Final = Growth()


@dataclass(slots=True)
class SessionChanges:
    """The sessions of a transaction, as they are counted before and after it."""

    before: dict[_SessionKey, SessionHours] = field(default_factory=dict)
    after: dict[_SessionKey, SessionHours] = field(default_factory=dict)

    def note_merged(self, rows: Iterable[Record], growth: Mapping[_SessionKey, Growth]) -> None:
        """Takes the rows of MERGED_COLUMNS and PREVIOUS_COLUMNS that the merge returned."""
        for row in rows:
            key = (row["project_id"], row["session_id"])
            if row["previous_first_at"] is not None:
                bounds = (row["previous_first_at"], row["previous_last_at"])
                self.before[key] = _as_counted(row, *bounds, growth[key])
            self.note_recounted([row])

    def note_recounted(self, rows: Iterable[Record]) -> None:
        """Takes rows of MERGED_COLUMNS."""
        for row in rows:
            bounds = (row["first_started_at"], row["last_started_at"])
            self.after[row["project_id"], row["session_id"]] = _as_counted(row, *bounds)

    def note_deleted(self, rows: Iterable[Record]) -> None:
        """Takes rows with the keys of sessions."""
        for row in rows:
            self.after.pop((row["project_id"], row["session_id"]), None)

    def deltas(self) -> Sequence[SessionHours]:
        """The rows to add to the table, in the order of its key."""
        found: dict[HoursKey, SessionHours] = {}
        for sign, some in ((-1, self.before), (1, self.after)):
            for one in some.values():
                key = (one.project_id, one.first_hour, one.last_hour)
                sums = found.setdefault(key, SessionHours(*key))
                sums.session_count += sign * one.session_count
                sums.failed_count += sign * one.failed_count
                sums.trace_count += sign * one.trace_count
                sums.latency_count += sign * one.latency_count
                sums.latency_us += sign * one.latency_us
        return [sums for key, sums in sorted(found.items()) if sums != SessionHours(*key)]


def _as_counted(
    row: Record, first: datetime, last: datetime, growth: Growth = _NO_GROWTH
) -> SessionHours:
    """A session as the table counts it, without what was merged into it."""
    return SessionHours(
        row["project_id"],
        Granularity.HOUR.bucket(first),
        Granularity.HOUR.bucket(last),
        1,
        int(row["error_count"] > growth.error_count),
        row["trace_count"] - growth.trace_count,
        int(row["latency_count"] > growth.latency_count),
        int(row["latency_sum_us"]) - growth.latency_us,
    )
