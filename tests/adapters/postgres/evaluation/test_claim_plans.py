"""The query plan of a claim: what it reads of scores and of claims, among many."""

import json
from typing import Final

import pytest

from adapters.postgres.evaluation.scores.annotation_claims import SELECT_CLAIMABLE
from tests.adapters.postgres.tracing.test_plans import (
    NAMES,
    OF_BOTH,
    OF_NAME,
    UNTIL,
    nodes,
    read_rows,
)

pytestmark = pytest.mark.service

CLAIMS: Final = 2_000  # of each project, of one name; half of them have expired
INSERT_CLAIMS: Final = f"""
INSERT INTO annotation_claims
  (project_id, name, trace_id, holder, why, place, claimed_at, expires_at)
SELECT $1, $2, gen_random_uuid(), 'ada/', 'uncertain', i, $3,
       $3::timestamptz + (i - {CLAIMS // 2}) * interval '1 s'
FROM generate_series(1, {CLAIMS}) AS i
"""


@OF_BOTH
async def test_claim_reads_the_scores_of_its_name_and_live_claims(seeded, project_id):
    asked = (project_id, NAMES[3], UNTIL, UNTIL, "ada/", [], 0.5, "seed", 3)
    await seeded.owner.execute(INSERT_CLAIMS, project_id, NAMES[3], UNTIL)
    try:
        sql = f"EXPLAIN (ANALYZE, FORMAT JSON) {SELECT_CLAIMABLE}"
        found = [*nodes(json.loads(await seeded.pool.fetchval(sql, *asked))[0]["Plan"])]
    finally:
        await seeded.owner.execute(
            "DELETE FROM annotation_claims WHERE project_id = $1", project_id
        )
    rows = read_rows(found)
    assert rows["annotation_claims"] <= 2 * CLAIMS
    assert rows["trace_scores"] <= 3 * OF_NAME + 10
    whole = {node["Relation Name"] for node in found if node["Node Type"] == "Seq Scan"}
    assert "trace_scores" not in whole
