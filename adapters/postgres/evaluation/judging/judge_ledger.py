"""The ledger of requests to providers in Postgres: the port."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from asyncpg import Record

from adapters.postgres.database.bounded_delete import swept
from adapters.postgres.database.pool import OF_PROJECT, Pool, translated
from adapters.postgres.database.read_transactions import READ_TIMEOUT_S, reading
from application.evaluation.ports.judging import PARTS_MAX
from domain.evaluation.costs.judge_costs import (
    LedgerEntry,
    Spending,
    SpendingGroup,
    SpendingBy,
)
from domain.evaluation.judging.judge import TokenUse
from domain.evaluation.scores.query import CreatedWithin
from domain.ids import ProjectId, RunId

ADVICE: Final = "narrow the period, or try again later"

COLUMNS: Final = {
    "project_id": "uuid", "id": "uuid", "run_id": "uuid", "target": "text", "metric": "text",
    "attempt": "int", "provider": "text", "model": "text", "input_tokens": "bigint",
    "cache_read_tokens": "bigint", "cache_write_tokens": "bigint", "output_tokens": "bigint",
    "reasoning_tokens": "bigint", "usd": "numeric", "price_version": "text",
    "latency_ms": "float8", "code": "text", "created_at": "timestamptz",
}  # fmt: skip
ENTER: Final = f"""
INSERT INTO judge_calls ({", ".join(COLUMNS)})
SELECT * FROM unnest({", ".join(f"${n}::{kind}[]" for n, kind in enumerate(COLUMNS.values(), 1))})
ON CONFLICT (project_id, id) DO NOTHING
"""
SUMS: Final = """
count(*) AS calls, count(code) AS failed, count(*) - count(usd) AS unpriced,
coalesce(sum(input_tokens), 0) AS input, coalesce(sum(cache_read_tokens), 0) AS cache_read,
coalesce(sum(cache_write_tokens), 0) AS cache_write, coalesce(sum(output_tokens), 0) AS output,
coalesce(sum(reasoning_tokens), 0) AS reasoning, coalesce(sum(usd), 0) AS usd
"""
OF_RUN: Final = f"SELECT {SUMS} FROM judge_calls WHERE {OF_PROJECT} AND run_id = $2"
KEYS: Final = {
    SpendingBy.PROJECT: "project_id::text",
    SpendingBy.MODEL: "provider || '/' || model",
    SpendingBy.METRIC: "metric",
    SpendingBy.DAY: "to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
}
ENTERED: Final = """
FROM judge_calls WHERE project_id = ANY($1::uuid[]) AND created_at >= $2 AND created_at < $3
"""
TOTAL: Final = f"SELECT {SUMS} {ENTERED}"
OF_PROJECTS: Final = f"""
SELECT ({{key}}) COLLATE "C" AS key, {SUMS} {ENTERED}
GROUP BY 1 ORDER BY {{order}} LIMIT $4
"""
DEAREST: Final = "usd DESC, calls DESC, key"

_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PostgresLedger:
    """Each read takes `timeout_s` at most."""

    pool: Pool
    timeout_s: float = READ_TIMEOUT_S

    async def enter(self, entries: Sequence[LedgerEntry]) -> None:
        if not entries:
            return
        columns = list(zip(*map(_row, entries), strict=True))
        async with translated():
            await self.pool.execute(ENTER, *columns)

    async def of_run(self, project: ProjectId, run: RunId) -> Spending:
        async with reading(self.pool, ADVICE, self.timeout_s) as connection:
            [row] = await connection.fetch(OF_RUN, project, run)
        return _spending(row)

    async def total(self, projects: Sequence[ProjectId], within: CreatedWithin) -> Spending:
        async with reading(self.pool, ADVICE, self.timeout_s) as connection:
            [row] = await connection.fetch(TOTAL, projects, *_bounds(within))
        return _spending(row)

    async def of_projects(
        self, projects: Sequence[ProjectId], within: CreatedWithin, by: SpendingBy
    ) -> Sequence[SpendingGroup]:
        order = "key DESC" if by is SpendingBy.DAY else DEAREST
        sql = OF_PROJECTS.format(key=KEYS[by], order=order)
        async with reading(self.pool, ADVICE, self.timeout_s) as connection:
            rows = await connection.fetch(sql, projects, *_bounds(within), PARTS_MAX)
        found = [SpendingGroup(row["key"], _spending(row)) for row in rows]
        return found[::-1] if by is SpendingBy.DAY else found

    async def sweep(self, before: datetime) -> int:
        return await swept(self.pool, "judge_calls", "id", before)


def _row(entry: LedgerEntry) -> tuple[object, ...]:
    """In the order of COLUMNS."""
    call, use = entry.call, entry.call.use
    return (
        entry.project_id, entry.id, entry.run_id, entry.target, entry.metric, entry.attempt,
        call.provider, call.model, use.input, use.cache_read, use.cache_write, use.output,
        use.reasoning, entry.usd, entry.price_version, call.latency_ms, call.code,
        entry.created_at,
    )  # fmt: skip


def _spending(row: Record) -> Spending:
    tokens = ("input", "cache_read", "cache_write", "output", "reasoning")
    return Spending(
        calls=row["calls"],
        failed=row["failed"],
        unpriced=row["unpriced"],
        use=TokenUse(requests=row["calls"], **{name: int(row[name]) for name in tokens}),
        usd=row["usd"],
    )


def _bounds(within: CreatedWithin) -> tuple[datetime, datetime]:
    return within.after or _FIRST, within.before or _LAST
