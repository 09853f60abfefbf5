"""As many buckets of a trend as one answer may have, and one more."""

import uuid
from datetime import timedelta
from typing import Final

import pytest

from adapters.postgres.database.pool import Pool
from adapters.postgres.evaluation.scores.score_analytics import PostgresScoreAnalytics
from domain.errors import Invalid
from domain.evaluation.scores.score import CreatedWithin, ScoreTarget
from domain.ids import ProjectId
from domain.tracing.analytics import BUCKETS_MAX, Granularity
from tests.support.builders.values import NOON

pytestmark = pytest.mark.service

INSERT_HOURLY: Final = """
INSERT INTO trace_scores (project_id, id, trace_id, name, outcome, value, number, data_type, source,
                          metadata, created_at, updated_at)
SELECT $1, gen_random_uuid(), gen_random_uuid(), 'm', 'scored', '1', 1, 'NUMERIC', 'AUTOMATED',
       '{}', at, at
FROM generate_series($2::timestamptz, $3, interval '1 hour') AS at
"""


async def test_more_buckets_than_maximum_are_rejected(pool: Pool) -> None:
    ours, last = ProjectId(uuid.uuid4()), NOON + timedelta(hours=BUCKETS_MAX)
    await pool.execute(INSERT_HOURLY, ours, NOON, last)
    figures = PostgresScoreAnalytics(pool)
    hourly = (ours, ScoreTarget.TRACE, ("m",), Granularity.HOUR)
    with pytest.raises(Invalid):
        await figures.trend(*hourly, CreatedWithin())
    assert len(await figures.trend(*hourly, CreatedWithin(before=last))) == BUCKETS_MAX
