"""The ledger of requests to judge providers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from asyncpg import Record

from adapters.postgres.database import tenants
from adapters.postgres.database.pool import IN_PROJECT, translate_errors
from adapters.postgres.database.read_transactions import ASK_FOR_FEWER, PoolReader
from adapters.postgres.database.statements.bounded_delete import delete_older_than
from adapters.postgres.database.statements.columns import Column, Table, arrays, columns
from application.evaluation.ports.judging import DELETED_ROWS_MAX, PARTS_MAX
from domain.evaluation.costs.judge_costs import LedgerEntry, Spending, SpendingBy, SpendingGroup
from domain.evaluation.judging.judge import TokenUse
from domain.evaluation.scores.score import CreatedWithin
from domain.ids import ProjectId, RunId

NARROW_PERIOD: Final = "narrow the period, or try again later"

JUDGE_CALLS: Final = Table(
    "judge_calls",
    (
        *columns("project_id uuid, id uuid, run_id uuid, target text, metric text, attempt int"),
        *columns("usd numeric, price_version text, created_at timestamptz"),
        *columns("provider text, model text, latency_ms float8, code text", at="call"),
        Column("input_tokens", "bigint", "call.use.input"),
        Column("cache_read_tokens", "bigint", "call.use.cache_read"),
        Column("cache_write_tokens", "bigint", "call.use.cache_write"),
        Column("output_tokens", "bigint", "call.use.output"),
        Column("reasoning_tokens", "bigint", "call.use.reasoning"),
        Column("estimated", "boolean", "call.is_estimated"),
    ),
)
_row: Final = JUDGE_CALLS.compile_row()
INSERT_CALLS: Final = f"{JUDGE_CALLS.insert_from('calls')} ON CONFLICT (project_id, id) DO NOTHING"
SPENDING_SUMS: Final = """
count(*) AS calls, count(code) AS failed, count(*) - count(usd) AS unpriced,
count(*) FILTER (WHERE estimated) AS estimated,
coalesce(sum(input_tokens), 0) AS input, coalesce(sum(cache_read_tokens), 0) AS cache_read,
coalesce(sum(cache_write_tokens), 0) AS cache_write, coalesce(sum(output_tokens), 0) AS output,
coalesce(sum(reasoning_tokens), 0) AS reasoning, coalesce(sum(usd), 0) AS usd
"""
SUM_RUN_SPENDING: Final = (
    f"SELECT {SPENDING_SUMS} FROM judge_calls WHERE {IN_PROJECT} AND run_id = $2"
)
SUM_SPENDING_OF_RUNS: Final = f"""
SELECT run_id, {SPENDING_SUMS} FROM judge_calls
WHERE {IN_PROJECT} AND run_id = ANY($2::uuid[]) GROUP BY run_id
"""
GROUP_KEYS: Final = {
    SpendingBy.PROJECT: "project_id::text",
    SpendingBy.MODEL: "provider || '/' || model",
    SpendingBy.METRIC: "metric",
    SpendingBy.DAY: "to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
}
_FROM_CALLS_WITHIN: Final = """
FROM judge_calls WHERE project_id = ANY($1::uuid[]) AND created_at >= $2 AND created_at < $3
"""
SUM_SPENDING: Final = f"SELECT {SPENDING_SUMS} {_FROM_CALLS_WITHIN}"
SUM_SPENDING_BY_KEY: Final = f"""
SELECT ({{key}}) COLLATE "C" AS key, {SPENDING_SUMS} {_FROM_CALLS_WITHIN}
GROUP BY 1 ORDER BY {{order}} LIMIT $4
"""
MOST_EXPENSIVE_FIRST: Final = "usd DESC, calls DESC, key"
SUM_RUN_SPENDING_BY_METRIC: Final = f"""
SELECT metric AS key, {SPENDING_SUMS} FROM judge_calls WHERE {IN_PROJECT} AND run_id = $2
GROUP BY metric ORDER BY {MOST_EXPENSIVE_FIRST} LIMIT $3
"""

_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PostgresLedger(PoolReader):
    async def append(self, entries: Sequence[LedgerEntry]) -> None:
        if not entries:
            return
        async with translate_errors():
            await tenants.within(self.pool, {one.project_id for one in entries}).execute(
                INSERT_CALLS, *arrays(map(_row, entries))
            )

    async def run_spending(self, project: ProjectId, run: RunId) -> Spending:
        [row] = await self._fetch(NARROW_PERIOD, project, SUM_RUN_SPENDING, project, run)
        return _spending_from_row(row)

    async def spending_by_run(
        self, project: ProjectId, runs: Sequence[RunId]
    ) -> Mapping[RunId, Spending]:
        rows = await self._fetch(ASK_FOR_FEWER, project, SUM_SPENDING_OF_RUNS, project, runs)
        return {RunId(row["run_id"]): _spending_from_row(row) for row in rows}

    async def run_spending_by_metric(
        self, project: ProjectId, run: RunId
    ) -> Sequence[SpendingGroup]:
        sql = SUM_RUN_SPENDING_BY_METRIC
        rows = await self._fetch(NARROW_PERIOD, project, sql, project, run, PARTS_MAX)
        return [SpendingGroup(row["key"], _spending_from_row(row)) for row in rows]

    async def total(self, projects: Sequence[ProjectId], within: CreatedWithin) -> Spending:
        [row] = await self._fetch(NARROW_PERIOD, projects, SUM_SPENDING, projects, *_bounds(within))
        return _spending_from_row(row)

    async def projects_spending(
        self, projects: Sequence[ProjectId], within: CreatedWithin, by: SpendingBy
    ) -> Sequence[SpendingGroup]:
        order = "key DESC" if by is SpendingBy.DAY else MOST_EXPENSIVE_FIRST
        sql = SUM_SPENDING_BY_KEY.format(key=GROUP_KEYS[by], order=order)
        rows = await self._fetch(
            NARROW_PERIOD, projects, sql, projects, *_bounds(within), PARTS_MAX
        )
        groups = [SpendingGroup(row["key"], _spending_from_row(row)) for row in rows]
        return groups[::-1] if by is SpendingBy.DAY else groups

    async def delete_older(self, before: datetime) -> int:
        return await delete_older_than(self.pool, "judge_calls", before, DELETED_ROWS_MAX)


def _spending_from_row(row: Record) -> Spending:
    tokens = ("input", "cache_read", "cache_write", "output", "reasoning")
    return Spending(
        calls=row["calls"],
        failed=row["failed"],
        unpriced=row["unpriced"],
        estimated=row["estimated"],
        use=TokenUse(requests=row["calls"], **{name: int(row[name]) for name in tokens}),
        usd=row["usd"],
    )


def _bounds(within: CreatedWithin) -> tuple[datetime, datetime]:
    return within.after or _EARLIEST, within.before or _LATEST
