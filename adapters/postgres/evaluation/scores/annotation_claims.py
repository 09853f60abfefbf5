"""Claims of the annotation queue. One request of a project at a time chooses items."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from asyncpg import Record

from adapters.postgres.database.advisory_locks import AdvisoryLock
from adapters.postgres.database.pool import IN_PROJECT, Connection, affected_rows
from adapters.postgres.database.read_transactions import (
    READ_VIEWS,
    RETRY_LATER,
    SET_PLAN_BY_VALUE,
    PoolReader,
)
from adapters.postgres.database.statements.bounded_delete import delete_some
from adapters.postgres.database.tenants import ALL_TENANTS
from adapters.postgres.database.transactions import project_transaction, transaction
from adapters.postgres.evaluation.scores.agreement import (
    BY_CHANCE_FIRST,
    IS_ANNOTATION,
    UNCERTAIN_FIRST,
    WAITING,
)
from adapters.postgres.evaluation.scores.score_rows import SCORES_OF_TRACES, TRACE_SCORES
from domain.evaluation.agreement.calibration import LABELS_MAX, QueueItem, SelectionReason
from domain.evaluation.agreement.claims import (
    ClaimableItems,
    ClaimedItem,
    ClaimedItems,
    ClaimRequest,
    QueueClaim,
    QueueProgress,
    claim_items,
)
from domain.evaluation.scores.score import TraceScore
from domain.ids import ProjectId, TraceId

CLAIMS_PER_DELETE: Final = 2_000  # claims that one transaction deletes
HELD, UNCERTAIN, BY_CHANCE = "held", "uncertain", "by_chance"

_LABELLED: Final = f"""
SELECT count(DISTINCT trace_id) FILTER (WHERE updated_at >= $3::timestamptz) FROM (
  SELECT trace_id, updated_at FROM trace_scores
  WHERE {SCORES_OF_TRACES} AND name = $2 AND {IS_ANNOTATION}
  ORDER BY created_at DESC, id DESC LIMIT {LABELS_MAX}
) AS newest_labels
"""
SELECT_PROGRESS: Final = f"""
WITH {WAITING}
SELECT (SELECT count(*) FROM waiting) AS length, ({_LABELLED}) AS labelled
"""
# The items of the holder, and the first unclaimed items in both orders, with the counts.
SELECT_CLAIMABLE: Final = f"""
WITH {WAITING}, live AS MATERIALIZED (
  SELECT trace_id, holder, why, place, claimed_at, expires_at FROM annotation_claims
  WHERE {IN_PROJECT} AND name = $2 AND expires_at > $4::timestamptz
), free AS MATERIALIZED (
  SELECT id, trace_id, number FROM waiting
  WHERE trace_id <> ALL($6::uuid[])
    AND NOT EXISTS (SELECT 1 FROM live WHERE live.trace_id = waiting.trace_id)
), chosen AS MATERIALIZED (
  (SELECT '{HELD}' AS part, waiting.id,
     row_number() OVER (ORDER BY claimed_at, place, trace_id) AS position
   FROM waiting JOIN live USING (trace_id)
   WHERE holder = $5 AND trace_id <> ALL($6::uuid[]))
  UNION ALL
  (SELECT '{UNCERTAIN}', id, row_number() OVER () FROM (
    SELECT id FROM free {UNCERTAIN_FIRST.format(threshold="$7")} LIMIT $9
  ) AS uncertain)
  UNION ALL
  (SELECT '{BY_CHANCE}', id, row_number() OVER () FROM (
    SELECT id FROM free {BY_CHANCE_FIRST.format(seed="$8")} LIMIT $9
  ) AS by_chance)
), counts AS MATERIALIZED (
  SELECT (SELECT count(*) FROM waiting) AS length, ({_LABELLED}) AS labelled,
    (SELECT count(*) FROM waiting JOIN live USING (trace_id)) AS claimed,
    (SELECT count(*) FROM annotation_claims
     WHERE {IN_PROJECT} AND expires_at > $4::timestamptz) AS claims
)
SELECT counts.*, found.* FROM counts LEFT JOIN (
  SELECT part, position, why, place, claimed_at, expires_at, s.*
  FROM chosen CROSS JOIN LATERAL (
    SELECT {TRACE_SCORES.select()} FROM trace_scores
    WHERE {IN_PROJECT} AND id = chosen.id OFFSET 0
  ) AS s LEFT JOIN live ON part = '{HELD}' AND live.trace_id = s.trace_id
) AS found ON true ORDER BY part, position
"""
# A trace that is being deleted is waited for, and then has no claim. Writers of its claims lock it
# first, as its removal does.
LOCK_TRACES: Final = f"""
SELECT trace_id FROM traces WHERE {IN_PROJECT} AND trace_id = ANY($2::uuid[])
ORDER BY project_id, trace_id FOR KEY SHARE
"""
DELETE_SKIPPED: Final = f"""
DELETE FROM annotation_claims
WHERE {IN_PROJECT} AND name = $2 AND holder = $3 AND trace_id = ANY($4::uuid[])
"""
# A row with the same key is a claim of the holder, or an expired claim.
UPSERT_CLAIMS: Final = """
INSERT INTO annotation_claims
  (project_id, name, holder, claimed_at, expires_at, trace_id, why, place)
SELECT $1, $2, $3, new.claimed_at, $4, new.trace_id, new.why, new.place
FROM unnest($5::uuid[], $6::text[], $7::int[], $8::timestamptz[])
  AS new (trace_id, why, place, claimed_at)
ON CONFLICT (project_id, name, trace_id) DO UPDATE SET holder = excluded.holder,
  claimed_at = excluded.claimed_at, expires_at = excluded.expires_at, why = excluded.why,
  place = excluded.place
"""
# Across projects.
DELETE_EXPIRED: Final = delete_some(
    "annotation_claims", "expires_at <= $1", CLAIMS_PER_DELETE, skip_locked=True
)


@dataclass(frozen=True, slots=True)
class PostgresAnnotationClaims(PoolReader):
    async def progress(self, project: ProjectId, name: str, day: datetime) -> QueueProgress:
        [row] = await self._fetch_visible(RETRY_LATER, project, SELECT_PROGRESS, project, name, day)
        return QueueProgress(length=row["length"], labelled_today=row["labelled"])

    async def claim(self, project: ProjectId, request: ClaimRequest) -> ClaimedItems:
        lock = AdvisoryLock.ANNOTATION_CLAIMS
        async with project_transaction(self.pool, lock, project) as connection:
            await connection.execute(READ_VIEWS.format(project))
            await connection.execute(SET_PLAN_BY_VALUE)
            rows = await connection.fetch(
                SELECT_CLAIMABLE,
                *(project, request.name, request.day, request.now, request.holder),
                *([*request.skipped], request.threshold, request.seed, request.count),
            )
            items = claim_items(_claimable(rows, request), request)
            traces = {one.claim.trace for one in items} | request.skipped
            there = await connection.fetch(LOCK_TRACES, project, [*traces])
            known = {TraceId(row["trace_id"]) for row in there}
            items = [one for one in items if one.claim.trace in known]
            await _store_claims(connection, project, request, items)
        progress = QueueProgress(length=rows[0]["length"], labelled_today=rows[0]["labelled"])
        return ClaimedItems(items, progress)

    async def delete_expired(self, now: datetime) -> int:
        async with transaction(self.pool, ALL_TENANTS) as connection:
            return affected_rows(await connection.execute(DELETE_EXPIRED, now))


async def _store_claims(
    connection: Connection, project: ProjectId, request: ClaimRequest, items: Sequence[ClaimedItem]
) -> None:
    whose = (project, request.name, request.holder)
    if request.skipped:
        await connection.execute(DELETE_SKIPPED, *whose, [*request.skipped])
    if items:
        claims = [one.claim for one in items]
        await connection.execute(
            UPSERT_CLAIMS,
            *(*whose, claims[0].expires_at),
            *([one.trace for one in claims], [one.why for one in claims]),
            *([one.place for one in claims], [one.claimed_at for one in claims]),
        )


def _claimable(rows: Sequence[Record], request: ClaimRequest) -> ClaimableItems:
    counts = rows[0]
    scores: dict[str, list[TraceScore]] = {UNCERTAIN: [], BY_CHANCE: []}
    held: list[ClaimedItem] = []
    for row in rows:
        if row["part"] == HELD:
            held.append(_claimed_item(row, request))
        elif row["part"] is not None:
            scores[row["part"]].append(TRACE_SCORES.score(row))
    return ClaimableItems(
        held=held,
        uncertain=scores[UNCERTAIN],
        by_chance=scores[BY_CHANCE],
        done=counts["labelled"] + counts["claimed"],
        claims=counts["claims"],
    )


def _claimed_item(row: Record, request: ClaimRequest) -> ClaimedItem:
    score, why = TRACE_SCORES.score(row), SelectionReason(row["why"])
    claim = QueueClaim(
        name=request.name,
        trace=score.trace_id,
        holder=request.holder,
        why=why,
        place=row["place"],
        claimed_at=row["claimed_at"],
        expires_at=row["expires_at"],
    )
    return ClaimedItem(QueueItem(score, why), claim)
