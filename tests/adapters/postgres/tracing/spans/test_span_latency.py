"""Latencies and buckets of spans in SQL are those of the domain, to the microsecond."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from adapters.postgres.tracing.span_filters import LATENCY_US
from domain.tracing.span import elapsed_us

pytestmark = pytest.mark.service

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
US = timedelta(microseconds=1)
YEAR_US = timedelta(days=365) // US


async def test_latencies_are_exact_however_long(pool):
    chance = random.Random(1)
    starts = [EPOCH + chance.randrange(-100 * YEAR_US, 100 * YEAR_US) * US for _ in range(4_000)]
    lengths = [0, 1, 999_999, -1, *(10**n + 1 for n in range(17))]
    lengths += [chance.randrange(10_000 * 86_400_000_000 + 2) for _ in range(2_000)]
    lengths += [chance.randrange(200 * YEAR_US) for _ in starts[len(lengths) :]]
    ends = [start + length * US for start, length in zip(starts, lengths, strict=True)]
    sql = f"""
    SELECT {LATENCY_US} FROM unnest($1::timestamptz[], $2::timestamptz[])
    WITH ORDINALITY AS s (started_at, ended_at, n) ORDER BY n
    """
    found = [row[0] for row in await pool.fetch(sql, starts, ends)]
    assert found == [elapsed_us(*one) for one in zip(starts, ends, strict=True)]
