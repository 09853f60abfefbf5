"""Claims of deliveries while more are due than a claim looks at."""

from datetime import timedelta

import pytest

from adapters.postgres.database.tenants import within
from adapters.postgres.evaluation.alerts.webhooks import DUE_CANDIDATES_MAX
from tests.support.builders.values import NOON
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.evaluation import monitors
from tests.support.fixtures.evaluation.alerts import a_delivery, a_webhook

pytestmark = pytest.mark.service

LONG_AGO = NOON - timedelta(days=400)  # before anything that other tests have due
FLOOD = """
INSERT INTO alert_deliveries (project_id, id, webhook_id, body, attempts, created_at,
                              next_attempt_at)
SELECT $1, gen_random_uuid(), $2, '{}', 0, $3, $3::timestamptz - interval '1 day'
FROM generate_series(1, $4::int)
"""


async def test_any_number_of_messages_leaves_those_of_others_visible(pool):
    busy, other = a_webhook(project()), a_webhook(project())
    mine = a_delivery(other, next_attempt_at=LONG_AGO)
    async with monitors.over_postgres(pool) as monitoring:
        webhooks = monitoring.webhooks
        for one in (busy, other):
            await webhooks.create(one)
        flood = (busy.project_id, busy.id, LONG_AGO, DUE_CANDIDATES_MAX + 1)
        await within(pool, busy.project_id).execute(FLOOD, *flood)
        await webhooks.enqueue(mine)
        found = await webhooks.claim_due(LONG_AGO, 100)
        assert mine in [delivery for delivery, of in found if of.id == other.id]
        for one in (busy, other):
            assert await webhooks.delete(one.project_id, one.id)
