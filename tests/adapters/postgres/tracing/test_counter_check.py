"""Counters are compared with the rows that they count."""

import uuid
from datetime import timedelta

import pytest

from adapters.postgres.tracing.rollups.counter_check import list_projects_from, wrong_counters
from adapters.postgres.tracing.traces import PostgresTraces
from domain.tracing.trace import TraceStatus
from tests.support.builders.values import NOON, prices, span, trace

pytestmark = pytest.mark.service


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ("trace_facets SET trace_count = 1", "the sum of trace_hours"),
        ("trace_hours SET latency_us = latency_us + 1", "trace_hours of "),
        ("usage_hours SET cost = cost + 0.001", "usage_of_hours of "),
        ("sessions SET error_count = 0", "sessions of "),
        ("trace_users SET trace_count = 1", "trace_users of "),
    ],
)
async def test_wrong_counter_is_found(pool, serving_pool, wrong, found):
    ours = uuid.uuid4()
    async with PostgresTraces.open(pool, prices()) as traces:
        for status in (TraceStatus.COMPLETED, TraceStatus.ERROR):
            steps = [span(model="gpt-4o", token_usage=b'{"prompt_tokens":10}') for _ in range(2)]
            ended = NOON + timedelta(seconds=2)
            sent = trace(*steps, session_id="s", user_id="u", status=status, ended_at=ended)
            await traces.put(ours, sent)
    assert await wrong_counters(serving_pool, ours) == []
    await pool.execute(f"UPDATE {wrong} WHERE project_id = $1", ours)
    [one] = await wrong_counters(serving_pool, ours)
    assert one.startswith(found)
    before = uuid.UUID(int=ours.int - 1)
    assert await list_projects_from(serving_pool, before, 1) == [ours]
    await pool.execute("INSERT INTO removals VALUES ($1, now(), 'infinity', true)", ours)
    assert ours not in await list_projects_from(serving_pool, before, 1)
