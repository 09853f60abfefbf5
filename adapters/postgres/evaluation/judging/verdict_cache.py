"""The cache of verdicts."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from adapters.postgres.database.pool import IN_PROJECT, UNSTORABLE_ERRORS, Pool, translate_errors
from adapters.postgres.database.statements.bounded_delete import delete_older_than
from adapters.postgres.database.tenants import within
from application.evaluation.ports.judging import DELETED_ROWS_MAX, Verdict
from domain.evaluation.judging.judge import TokenUse
from domain.evaluation.scores.outcome import Scored
from domain.ids import ProjectId, TraceId

SELECT_VERDICT: Final = f"""
SELECT outcome, usage, model FROM judge_verdicts
WHERE {IN_PROJECT} AND key = $2 AND created_at >= $3
"""
# A concurrent delete of the trace waits, and then deletes the verdict too.
UPSERT_VERDICT: Final = f"""
WITH target AS MATERIALIZED (
  SELECT 1 FROM traces WHERE {IN_PROJECT} AND trace_id = $3 FOR KEY SHARE
)
INSERT INTO judge_verdicts (project_id, key, trace_id, outcome, usage, model, created_at)
SELECT $1::uuid, $2::bytea, $3::uuid, $4::json, $5::json, $6::text, $7::timestamptz FROM target
ON CONFLICT (project_id, key) DO UPDATE SET
  trace_id = excluded.trace_id, outcome = excluded.outcome, usage = excluded.usage,
  model = excluded.model, created_at = excluded.created_at
"""


class _Outcome(msgspec.Struct):
    value: float
    reason: str
    metadata: dict[str, object]


class _Usage(msgspec.Struct):
    use: TokenUse
    usd: Decimal | None


_OUTCOME_DECODER: Final = msgspec.json.Decoder(_Outcome)
_USAGE_DECODER: Final = msgspec.json.Decoder(_Usage)


@dataclass(frozen=True, slots=True)
class PostgresVerdictCache:
    pool: Pool

    async def find(self, project: ProjectId, key: bytes, since: datetime) -> Verdict | None:
        async with translate_errors():
            row = await within(self.pool, project).fetchrow(SELECT_VERDICT, project, key, since)
        if row is None:
            return None
        outcome = _OUTCOME_DECODER.decode(row["outcome"])
        usage = _USAGE_DECODER.decode(row["usage"])
        scored = Scored(outcome.value, outcome.reason, outcome.metadata)
        return Verdict(outcome=scored, model=row["model"], use=usage.use, usd=usage.usd)

    async def save(
        self, project: ProjectId, key: bytes, trace: TraceId, verdict: Verdict, now: datetime
    ) -> None:
        outcome = verdict.outcome
        try:
            metadata = dict(outcome.metadata)
            encoded = msgspec.json.encode(_Outcome(outcome.value, outcome.reason, metadata))
        except UnicodeEncodeError:
            return
        usage = msgspec.json.encode(_Usage(verdict.use, verdict.usd))
        row = (project, key, trace, encoded, usage, verdict.model, now)
        async with translate_errors():
            with suppress(*UNSTORABLE_ERRORS):
                await within(self.pool, project).execute(UPSERT_VERDICT, *row)

    async def delete_older(self, before: datetime) -> int:
        return await delete_older_than(self.pool, "judge_verdicts", before, DELETED_ROWS_MAX)
