"""Figures over time, from what every write counts; what a period cuts off is read by index."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from asyncpg import Record

from adapters.postgres.database.keyset_pages import NEAR, Ordered, Where
from adapters.postgres.database.pool import OF_PROJECT, Pool
from adapters.postgres.database.read_transactions import READ_TIMEOUT_S, reading, snapshot
from adapters.postgres.database.sql_builder import Parameters, Sql
from adapters.postgres.database.time_buckets import parts
from adapters.postgres.tracing.percentiles import Volume
from adapters.postgres.tracing.session_lists import inside, straddling
from domain.ids import ProjectId
from domain.page import Page, PageRequest
from domain.tracing.analytics import (
    BUCKETS_MAX,
    MODELS_MAX,
    Granularity,
    ModelUsage,
    Period,
    SessionBucket,
    TraceBucket,
    UsageBucket,
    UserSummary,
    check_bucket_count,
    mean_ms,
)

ADVICE: Final = "narrow started_after and started_before"
USERS_ADVICE: Final = "ask for the first pages, or follow next_cursor"

# Hours wholly in the period, and the spans of the hours that it cuts: each range of $4 and $5
# lies in one hour.
USAGE: Final = f"""
SELECT date_trunc($6, hour) AS bucket, sum(prompt_tokens) AS prompt_tokens,
       sum(completion_tokens) AS completion_tokens, sum(cost) AS cost
FROM (
  SELECT hour, prompt_tokens, completion_tokens, cost FROM usage_hours
  WHERE {OF_PROJECT} AND hour >= $2 AND hour < $3
  UNION ALL
  SELECT since, summed.* FROM unnest($4::timestamptz[], $5::timestamptz[]) AS cut (since, until)
  CROSS JOIN LATERAL (
    SELECT sum(prompt_tokens), sum(completion_tokens), sum(cost_amount) FROM spans
    WHERE {OF_PROJECT} AND started_at >= since
      AND started_at < coalesce(until, 'infinity'::timestamptz)
    HAVING count(*) > 0
  ) AS summed
) AS counted
GROUP BY 1 ORDER BY 1 LIMIT {BUCKETS_MAX + 1}
"""
MODELS: Final = f"""
SELECT model, sum(calls)::bigint AS calls, sum(tokens) AS tokens, sum(cost) AS cost
FROM (
  SELECT model, calls, prompt_tokens + completion_tokens AS tokens, cost FROM usage_hours
  WHERE {OF_PROJECT} AND hour >= $2 AND hour < $3 AND has_model
  UNION ALL
  SELECT summed.* FROM unnest($4::timestamptz[], $5::timestamptz[]) AS cut (since, until)
  CROSS JOIN LATERAL (
    SELECT model, count(*), sum(prompt_tokens) + sum(completion_tokens), sum(cost_amount)
    FROM spans
    WHERE {OF_PROJECT} AND started_at >= since
      AND started_at < coalesce(until, 'infinity'::timestamptz) AND model IS NOT NULL
    GROUP BY model
  ) AS summed
) AS counted
GROUP BY model ORDER BY calls DESC, model LIMIT {MODELS_MAX}
"""
# Sessions wholly in the period by their rows, those that began before it or went on after it by
# their traces within.
SESSIONS: Final = f"""
SELECT date_trunc({{granularity}}, first_started_at) AS bucket, count(*) AS sessions,
       sum(trace_count)::bigint AS traces, count(latency_us) AS latencies,
       sum(latency_us) AS latency_us
FROM (
  SELECT first_started_at, trace_count, latency_us FROM sessions
  WHERE {OF_PROJECT} AND {{inside}}
  UNION ALL
  SELECT summed.* FROM sessions CROSS JOIN LATERAL (
    SELECT min(started_at), count(*), sum(latency_us) FROM traces
    WHERE {OF_PROJECT} AND session_id = sessions.session_id
      AND started_at >= {{after}} AND started_at < {{before}}
    HAVING count(*) > 0
  ) AS summed
  WHERE {OF_PROJECT} AND {{straddling}}
) AS counted
GROUP BY 1 ORDER BY 1 LIMIT {BUCKETS_MAX + 1}
"""
USERS: Final = Sql(f"(SELECT count(*) FROM trace_users WHERE {OF_PROJECT})")


@dataclass(frozen=True, slots=True)
class PostgresTraceAnalytics:
    """Each answer is of one moment, and takes `timeout_s` at most."""

    pool: Pool
    timeout_s: float = READ_TIMEOUT_S

    async def volume(
        self, project: ProjectId, period: Period, granularity: Granularity
    ) -> Sequence[TraceBucket]:
        volume = Volume(project, granularity)
        async with snapshot(self.pool, ADVICE, self.timeout_s) as connection:
            buckets = await volume.read(connection, period)
        await volume.keep(self.pool)
        return buckets

    async def usage(
        self, project: ProjectId, period: Period, granularity: Granularity
    ) -> Sequence[UsageBucket]:
        async with snapshot(self.pool, ADVICE, self.timeout_s) as connection:
            rows = await connection.fetch(USAGE, project, *_hours(period), granularity)
        return check_bucket_count(
            [
                UsageBucket(
                    row["bucket"],
                    int(row["prompt_tokens"]),
                    int(row["completion_tokens"]),
                    row["cost"],
                )
                for row in rows
            ]
        )

    async def models(self, project: ProjectId, period: Period) -> Sequence[ModelUsage]:
        async with snapshot(self.pool, ADVICE, self.timeout_s) as connection:
            rows = await connection.fetch(MODELS, project, *_hours(period))
        return [
            ModelUsage(row["model"], row["calls"], int(row["tokens"]), row["cost"]) for row in rows
        ]

    async def sessions(
        self, project: ProjectId, period: Period, granularity: Granularity
    ) -> Sequence[SessionBucket]:
        if period.after >= period.before:
            return []
        p = Parameters([project])
        sql = SESSIONS.format(
            granularity=p.put(granularity),
            inside=p.sql(inside((period.after, period.before))),
            straddling=p.sql(straddling((period.after, period.before))),
            after=p.put(period.after),
            before=p.put(period.before),
        )
        async with snapshot(self.pool, ADVICE, self.timeout_s) as connection:
            rows = await connection.fetch(sql, *p.values)
        return check_bucket_count([_session_bucket(row) for row in rows])

    async def users(self, project: ProjectId, window: PageRequest) -> Page[UserSummary]:
        ordered = Ordered(
            project=project,
            table="trace_users",
            id="user_id",
            value="last_seen",
            columns=("user_id", "trace_count", "error_count", "first_seen", "last_seen"),
            down=True,
            window=window,
        )
        found = None
        if window.offset <= NEAR:
            async with reading(self.pool, USERS_ADVICE, self.timeout_s) as connection:
                found = await ordered.among_all(connection, USERS)
        if found is None:
            async with snapshot(
                self.pool, USERS_ADVICE, self.timeout_s, shown_of=project
            ) as connection:
                total = await connection.fetchval(f"SELECT {USERS.text}", project)
                found = await ordered.matching(connection, Where(among=total, total=total))
        items = [_user(row) for row in found.rows]
        shown = items[: window.limit]
        return Page(shown, found.total, shown[-1].position if len(items) > len(shown) else None)


def _hours(period: Period) -> tuple[object, ...]:
    """First and last bound of whole hours, with nothing in between for none; the cuts' bounds."""
    hours = parts((period.after, period.before), Granularity.HOUR)
    whole = hours.whole or (period.after, period.after)
    return (*whole, [cut[0] for cut in hours.cuts], [cut[1] for cut in hours.cuts])


def _session_bucket(row: Record) -> SessionBucket:
    count, latencies = row["sessions"], row["latencies"]
    return SessionBucket(
        row["bucket"],
        count,
        row["traces"] / count,
        mean_ms(int(row["latency_us"]), latencies) if latencies else None,
    )


def _user(row: Record) -> UserSummary:
    return UserSummary(
        id=row["user_id"],
        trace_count=row["trace_count"],
        error_count=row["error_count"],
        first_seen=row["first_seen"],
        last_seen=row["last_seen"],
    )
