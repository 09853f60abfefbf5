"""Roll-ups equal at any moment what counting all traces and spans gives."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters.postgres.database.pool import Connection, Pool
from adapters.postgres.pricing.repricings import PostgresRepricings
from adapters.postgres.tracing.analytics import PostgresTraceAnalytics
from adapters.postgres.tracing.traces import PostgresTraces
from domain.errors import NotFound
from domain.ids import ProjectId
from domain.tracing.analytics import Granularity, Period
from domain.tracing.change import UNCHANGED
from domain.tracing.span import Span, SpanChange, SpanKind, SpanStatus
from domain.tracing.trace import Trace, TraceChange, TraceStatus
from domain.tracing.usage import Price, Usage
from tests.support.builders.values import NOON, prices, span, span_id, trace, trace_id
from tests.support.fixtures.data_plane import BERLIN
from tests.support.fixtures.pricing import a_repricing
from tests.support.fixtures.rollup_recount import RECOUNT

pytestmark = pytest.mark.service

COUNTED = {
    "trace_facets": "kind, value, trace_count",
    "trace_hours": "hour, trace_count, error_count, latency_count, latency_us",
    "usage_hours": "hour, has_model, model, calls, prompt_tokens, completion_tokens, cost,"
    " unpriced_span_count, priced_span_count, cached_tokens, reasoning_tokens",
    "span_hours": "hour, kind, name, has_model, model, span_count, error_count, latency_count,"
    " latency_us, latency_bins, prompt_tokens, completion_tokens, cost, unpriced_span_count",
    "sessions": "session_id, trace_count, first_started_at, last_started_at, last_ended_at,"
    " last_activity_at, latency_count, latency_sum_us, error_count, user_id, user_started_at,"
    " user_trace_id, tags, span_count, error_span_count, prompt_tokens, completion_tokens,"
    " total_cost, unpriced_span_count",
    "session_hours": "*",
    "trace_users": "*",
    "traces": "trace_id, models, ARRAY(SELECT DISTINCT unnest(terms) ORDER BY 1)",
}
SUMS = """
SELECT trace_id, total_cost, coalesce(sum(spans.cost_amount), 0) AS cost, unpriced_span_count,
       count(*) FILTER (WHERE cost_source = 'unpriced' AND (
           kind IN ('LLM', 'EMBEDDING') OR spans.prompt_tokens + spans.completion_tokens > 0
       )) AS unpriced
FROM traces LEFT JOIN span_rows AS spans USING (project_id, trace_id) WHERE traces.project_id = $1
GROUP BY traces.project_id, trace_id, total_cost, unpriced_span_count
"""
# Bounds that deleted and changed spans leave as they are.
GREATEST = """
SELECT hour, kind, name, has_model, model, max_latency_us, max_tokens, max_cost FROM span_hours
WHERE project_id = $1
"""
EXTENTS = """
SELECT hour, first_span_at, last_span_at FROM trace_hours WHERE project_id = $1
"""
LATENCY = "SELECT sum(latency_us) FROM span_hours WHERE project_id = $1"
REVISION = "SELECT revision FROM trace_hours WHERE project_id = $1"
KEEP_PERCENTILES = """
INSERT INTO trace_percentiles
SELECT project_id, 'hour', hour, revision, 7000, 8000, 9000 FROM trace_hours
WHERE project_id = $1 AND hour = $2
"""
EXCEEDING = """
SELECT count(*) FROM (
  SELECT project_id, date_trunc('hour', started_at) AS hour, kind, name, model IS NOT NULL AS has,
         coalesce(model, '') AS model, prompt_tokens + completion_tokens AS tokens,
         (extract(epoch FROM ended_at - started_at) * 1000000)::bigint AS us,
         CASE WHEN cost_source <> 'unpriced' THEN cost_amount END AS usd
  FROM span_rows WHERE project_id = $1
) AS s LEFT JOIN span_hours AS h ON (h.project_id, h.hour, h.kind, h.name, h.has_model, h.model)
                                  = (s.project_id, s.hour, s.kind, s.name, s.has, s.model)
WHERE h.hour IS NULL OR tokens > max_tokens OR tokens IS NOT NULL AND max_tokens IS NULL
   OR us > max_latency_us OR us >= 0 AND max_latency_us IS NULL
   OR usd > max_cost OR usd IS NOT NULL AND max_cost IS NULL
"""
OUTSIDE = """
SELECT count(*) FROM span_rows AS s JOIN traces AS t USING (project_id, trace_id)
JOIN trace_hours AS h
  ON h.project_id = t.project_id AND h.hour = date_trunc('hour', t.started_at)
WHERE t.project_id = $1
  AND s.started_at NOT BETWEEN least(h.hour, h.first_span_at)
      AND greatest(h.hour + interval '1 hour' - interval '1 us', h.last_span_at)
"""
# Counted from the others.
RECOUNTED = (
    *("trace_facets", "trace_hours", "trace_percentiles", "usage_hours", "span_hours"),
    *("sessions", "session_hours", "trace_users"),
)
COPY_EMPTY = "CREATE TEMPORARY TABLE {table} (LIKE public.{table} INCLUDING ALL) ON COMMIT DROP"
COPY = """
CREATE TEMPORARY TABLE {table} ON COMMIT DROP AS
SELECT * FROM public.{table} WHERE project_id = ANY($1)
"""
MINUTES = [-70, -1, 0, 0, 0, 1, 30, 59, 60, 61, 24 * 60, 7 * 24 * 60]


class Chance:
    """Values from small pools, so that what could meet does."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.traces = [trace_id() for _ in range(5)]
        self.spans = [span_id() for _ in range(4)]

    def one(self, *values: Any) -> Any:
        return self.random.choice(values)

    def some(self, *values: Any) -> tuple[Any, ...]:
        return tuple(self.random.choices(values, k=self.random.randint(0, 3)))

    def instant(self) -> Any:
        return NOON + timedelta(minutes=self.one(*MINUTES))

    def span(self) -> Span:
        return span(
            id=self.one(*self.spans),
            name=self.one("step", "tool", "ß"),
            kind=self.one(None, *SpanKind),
            started_at=self.instant(),
            ended_at=self.one(None, self.instant(), NOON + timedelta(milliseconds=self.one(1, 3))),
            model=self.one(None, "gpt-4o", "tiny", ""),
            token_usage=self.one(None, b'{"prompt_tokens":10,"completion_tokens":3}'),
            cost=self.one(None, {"total": 0.1}, {"a": 1.0, "b": 1e-9}),
            status=self.one(None, SpanStatus.ERROR, SpanStatus.OK),
        )

    def trace(self) -> Trace:
        return trace(
            *(self.span() for _ in range(self.random.randint(0, 3))),
            id=self.one(*self.traces),
            name=self.one("n", "N", "ß"),
            started_at=self.instant(),
            ended_at=self.one(None, self.instant()),
            session_id=self.one(None, "s", "t", ""),
            user_id=self.one(None, "u", "v"),
            status=self.one(None, *TraceStatus),
            environment=self.one(None, "e", "f"),
            release=self.one(None, "1"),
            tags=self.some("a", "b", "ä"),
            metadata=self.one(b"{}", b'{"k":1.0}', b'{"k":"x","n":null,"o":{},"t":true}'),
        )

    def change(self) -> TraceChange:
        return TraceChange(
            name=self.one(None, "z"),
            status=self.one(None, *TraceStatus),
            tags=self.one(None, ("a",), ("b", "c")),
            metadata=self.one(b"{}", b'{"k":2}'),
            ended_at=self.one(UNCHANGED, None, self.instant()),
            session_id=self.one(UNCHANGED, None, "s", "t"),
            user_id=self.one(UNCHANGED, None, "u", "w"),
            environment=self.one(UNCHANGED, None, "e"),
            release=self.one(UNCHANGED, None, "2"),
        )

    def span_change(self) -> SpanChange:
        return SpanChange(
            name=self.one(None, "step", "tool"),
            kind=self.one(None, SpanKind.TOOL, SpanKind.LLM),
            ended_at=self.one(UNCHANGED, None, self.instant()),
            status=self.one(None, SpanStatus.ERROR, SpanStatus.OK),
            model=self.one(UNCHANGED, None, "tiny", "gpt-4o"),
            token_usage=self.one(UNCHANGED, None, b'{"prompt_tokens":7}'),
            cost=self.one(UNCHANGED, None, {"total": 3.0}),
        )


async def act(traces: PostgresTraces, of: ProjectId, chance: Chance) -> None:
    one, many = chance.one(*chance.traces), chance.random.sample(chance.traces, 2)
    acts = [
        *[lambda: traces.put(of, chance.trace())] * 5,
        lambda: traces.add_spans(of, one, [chance.span(), chance.span()]),
        lambda: traces.change(of, one, chance.change()),
        lambda: traces.change(of, one, chance.change()),
        lambda: traces.change_span(of, one, chance.one(*chance.spans), chance.span_change()),
        lambda: traces.retag(of, many, chance.some("d", "a"), chance.some("a", "b")),
        lambda: traces.delete(of, many),
        lambda: traces.edits.delete_session(of, chance.one("s", "t", "nobody's")),
    ]
    with suppress(NotFound):
        await chance.one(*acts)()


async def counted(pool: Pool | Connection, of: Sequence[ProjectId]) -> dict[str, list[str]]:
    return {
        table: sorted(
            str([one.normalize() if isinstance(one, Decimal) else one for one in row])
            for row in await pool.fetch(
                f"SELECT project_id, {columns} FROM {table} WHERE project_id = ANY($1)"
                f" {'AND trace_count > 0' if table == 'trace_hours' else ''}",
                of,
            )
        )
        for table, columns in COUNTED.items()
    }


@asynccontextmanager
async def recounted(pool: Pool, of: Sequence[ProjectId]) -> AsyncIterator[Connection]:
    """A connection whose roll-ups are counted from copies of what the projects have stored.

    The copies hide the tables of their names from it. On a cluster these are on a worker, which
    doesn't take every statement.
    """
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            for table in RECOUNTED:
                await connection.execute(COPY_EMPTY.format(table=table))
            for table in ("traces", "span_rows"):
                await connection.execute(COPY.format(table=table), of)
            for sql in RECOUNT:
                await connection.execute(sql)
            yield connection
        finally:
            await transaction.rollback()


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in range(1, 6))]
)
async def test_rollups_equal_recount_after_random_history(pool, seed):
    chance, projects = Chance(seed), [ProjectId(uuid.uuid4()) for _ in range(2)]
    async with PostgresTraces.open(pool, prices()) as traces:
        for _ in range(40):
            await act(traces, chance.one(*projects), chance)
        for _ in range(15):
            await asyncio.gather(*(act(traces, chance.one(*projects), chance) for _ in range(8)))
        kept = await counted(pool, projects)
        assert kept["trace_facets"] != []
        for project in projects:
            await assert_in_bounds(pool, project)
        async with recounted(pool, projects) as again:
            assert await counted(again, projects) == kept


async def test_rows_that_stay_are_added_to_and_subtracted_from(pool):
    """In random histories most rows are deleted, and an error in a sum with them."""
    project, used = ProjectId(uuid.uuid4()), {"token_usage": b'{"prompt_tokens":10}'}
    steps = [span(**used, usage=Usage(10, 3, True, 4, 1, 2)) for _ in range(3)]
    async with PostgresTraces.open(pool, prices()) as traces:
        sent = trace(*steps, session_id="s", tags=("a",))
        await traces.put(project, sent)
        await traces.change_span(project, sent.id, steps[0].id, SpanChange(token_usage=None))
        await traces.put(ProjectId(uuid.uuid4()), trace(session_id="s", tags=("c",)))
        change = TraceChange(status=TraceStatus.ERROR, tags=("b",))  # the session is counted again
        await traces.change(project, sent.id, change)
        await traces.put(project, trace(session_id="s", ended_at=NOON + timedelta(seconds=1)))
    kept = await counted(pool, [project])
    assert len(kept["session_hours"]) == len(kept["usage_hours"]) == 1
    async with recounted(pool, [project]) as again:
        assert await counted(again, [project]) == kept


async def assert_in_bounds(pool: Pool, project: ProjectId) -> None:
    """No span exceeds what the roll-ups say of its hour, or of that of its trace."""
    assert await pool.fetchval(EXCEEDING, project) == 0
    assert await pool.fetchval(OUTSIDE, project) == 0


async def test_rollups_have_the_greatest_values_and_the_extent_of_spans(pool):
    chance, project = Chance(11), ProjectId(uuid.uuid4())
    async with PostgresTraces.open(pool, prices()) as traces:
        for _ in range(8):
            await traces.put(project, replace(chance.trace(), id=trace_id()))
    kept = [await pool.fetch(sql, project) for sql in (GREATEST, EXTENTS)]
    assert {row["max_tokens"] for row in kept[0]} == {0, 13}
    assert {row["first_span_at"] is None for row in kept[1]} == {True, False}
    async with recounted(pool, [project]) as again:
        assert [sorted(rows) for rows in kept] == [
            sorted(await again.fetch(sql, project)) for sql in (GREATEST, EXTENTS)
        ]


async def test_changed_values_of_spans_keep_bounds_although_sums_stay(pool):
    one, two, project = span(), span(), ProjectId(uuid.uuid4())

    def usage(tokens: int) -> bytes:
        return f'{{"prompt_tokens":{tokens}}}'.encode()

    async with PostgresTraces.open(pool, prices()) as traces:
        sent = trace(replace(one, token_usage=usage(10)), replace(two, token_usage=usage(20)))
        await traces.put(project, sent)
        spans = (replace(one, token_usage=usage(29)), replace(two, token_usage=usage(1)))
        await traces.put(project, replace(sent, spans=spans))
    assert [row["max_tokens"] for row in await pool.fetch(GREATEST, project)] == [29]


async def test_sums_and_greatest_values_follow_latencies(pool):
    # Shorter by less than a bin: no count changes with it, and no greatest value.
    one, project = span(ended_at=NOON + timedelta(microseconds=1_010)), ProjectId(uuid.uuid4())
    async with PostgresTraces.open(pool, prices()) as traces:
        sent = trace(one)
        await traces.put(project, sent)
        shorter = replace(one, ended_at=NOON + timedelta(microseconds=1_000))
        await traces.put(project, replace(sent, spans=(shorter,)))
        assert await pool.fetchval(LATENCY, project) == 1_000
        longer = span(ended_at=NOON + timedelta(microseconds=2_000))
        await traces.add_spans(project, sent.id, [longer])
    assert [row["max_latency_us"] for row in await pool.fetch(GREATEST, project)] == [2_000]


@pytest.mark.parametrize("hours", [0.9, 5])
async def test_trace_that_moves_takes_the_extent_of_its_spans_along(pool, hours):
    project, hour = ProjectId(uuid.uuid4()), timedelta(hours=1)
    sent = trace(span(started_at=NOON), span(started_at=NOON + hours * hour), started_at=NOON)
    async with PostgresTraces.open(pool, prices()) as traces:
        await traces.put(project, sent)
        for before in (2, 4):
            earlier = replace(sent, spans=(), started_at=NOON - before * hour)
            await traces.put(project, earlier)
            await assert_in_bounds(pool, project)
        late = span(started_at=NOON + (hours + 3) * hour)
        await traces.add_spans(project, sent.id, [late])
        await assert_in_bounds(pool, project)


def doubled(model, usage, when):
    """Twice what it cost; `tiny` isn't known any more."""
    price = None if model == "tiny" else prices().price(model, usage, when)
    return None if price is None else Price(price.amount * 2, "v2")


async def test_greatest_cost_follows_a_repricing(pool):
    project, used = ProjectId(uuid.uuid4()), b'{"prompt_tokens":1000000}'
    async with PostgresTraces.open(pool, prices()) as traces:
        await traces.put(project, trace(span(model="gpt-4o", token_usage=used)))
        repricings = PostgresRepricings(pool, traces.edits)
        going = await repricings.create(a_repricing(project, is_dry=False))
        await repricings.step(going, doubled, NOON, NOON)
    assert [row["max_cost"] for row in await pool.fetch(GREATEST, project)] == [5]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.exhaustive)])
async def test_rollups_equal_recount_during_repricing(pool, seed):
    chance, project = Chance(20 + seed), ProjectId(uuid.uuid4())
    async with PostgresTraces.open(pool, prices()) as traces:
        repricings = PostgresRepricings(pool, traces.edits)
        for _ in range(25):
            await act(traces, project, chance)
        for pricing in (doubled, prices().price, doubled):
            going = await repricings.create(a_repricing(project, is_dry=False))
            busy = [act(traces, project, chance) for _ in range(8)]
            await asyncio.gather(repricings.step(going, pricing, NOON, NOON), *busy)
        await assert_in_bounds(pool, project)
        kept = await counted(pool, [project])
        sums = await pool.fetch(SUMS, project)
        assert sums != []
        assert [row for row in sums if row["total_cost"] != row["cost"]] == []
        assert [row for row in sums if row["unpriced_span_count"] != row["unpriced"]] == []
        async with recounted(pool, [project]) as again:
            assert await counted(again, [project]) == kept


async def test_each_write_gives_its_hour_a_new_revision(pool):
    """Percentiles are kept for one revision of an hour."""
    project, revisions = ProjectId(uuid.uuid4()), []
    async with PostgresTraces.open(pool, prices()) as traces:
        for _ in range(3):
            await traces.put(project, trace())
            revisions.append(await pool.fetchval(REVISION, project))
    assert len(set(revisions)) == len(revisions)


async def test_kept_percentiles_of_an_earlier_revision_are_not_shown(pool):
    project, period = ProjectId(uuid.uuid4()), Period(NOON, NOON + timedelta(hours=1))
    analytics, found = PostgresTraceAnalytics(pool), []
    async with PostgresTraces.open(pool, prices()) as traces:
        for seconds in (2, 4):
            await traces.put(project, trace(ended_at=NOON + timedelta(seconds=seconds)))
            if not found:
                await pool.execute(KEEP_PERCENTILES, project, NOON)
            [bucket] = await analytics.volume(project, period, Granularity.HOUR)
            found.append(bucket.latencies.p50)
        # A bucket in another time zone is kept by its hours: a day's are not those of an hour.
        await pool.execute(KEEP_PERCENTILES.replace("'hour'", "'24h'"), project, NOON)
        [bucket] = await analytics.volume(project, period, Granularity.HOUR, BERLIN)
        found.append(bucket.latencies.p50)
    assert found == [7, 3_000, 3_000]


async def test_rollups_are_empty_after_all_deletes(pool):
    chance, project = Chance(7), ProjectId(uuid.uuid4())
    async with PostgresTraces.open(pool, prices()) as traces:
        for _ in range(20):
            await traces.put(project, chance.trace())
        assert await traces.delete(project, chance.traces) == 5
    assert set(map(len, (await counted(pool, [project])).values())) == {0}
    for table in ("spans", "trace_payloads"):
        assert await pool.fetch(f"SELECT 1 FROM {table} WHERE project_id = $1", project) == []
