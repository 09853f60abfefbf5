"""Contract of Repricings: which spans change, which totals follow, and how workers share it."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.postgres.database.tenants import within
from application.pricing.ports import REPRICED_SPANS_BATCH, REPRICING_LEASE, REPRICINGS_KEPT_MAX
from domain.errors import Conflict, NotFound
from domain.ids import ProjectId
from domain.page import SortOrder
from domain.pricing.repricing import CostDelta, Repricing, RepricingReport, RepricingStatus
from domain.tracing.analytics import Granularity, usage_buckets
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.session import SessionFilter, SessionSort
from domain.tracing.span import Span, SpanKind, Totals
from domain.tracing.trace import Trace
from domain.tracing.usage import UNPRICED, CostSource, Price, SpanCost, Usage, UsageRole
from tests.support.builders import strategies
from tests.support.builders.values import NOON, at, prices, span, table_cost, trace
from tests.support.fixtures import data_plane
from tests.support.fixtures.data_plane import ALL, ALL_TIME
from tests.support.fixtures.lock_waits import count_lock_waits
from tests.support.fixtures.pricing import LATER, Pricing, a_repricing, over_postgres
from tests.support.hypothesis_scale import scaled
from tests.support.waiting import until

USED = b'{"prompt_tokens":1000000,"completion_tokens":0}'
BOOK = prices().price
PAID = {"cost": {"total": 7.0}}
SET_COST = "UPDATE spans SET cost_source = $2, cost_amount = $3 WHERE project_id = $1"
ALL_TRACES = (TraceFilter(), TraceSort.STARTED_AT, SortOrder.ASC, ALL)
ALL_SESSIONS = (SessionFilter(), SessionSort.RECENT, SortOrder.ASC, ALL)


def doubled(model: str, usage: Usage, when: datetime) -> Price | None:
    """Doubles the price of `prices()`; `new` costs a dollar, and `tiny` has no price any more."""
    if model == "new":
        return Price(Decimal(1), "v2", NOON)
    found = None if model == "tiny" else BOOK(model, usage, when)
    return None if found is None else Price(found.amount * 2, "v2")


def span_using(model: str, seconds: float = 0, **overrides: Any) -> Span:
    return span(model=model, started_at=at(seconds), **{"token_usage": USED} | overrides)


@pytest.fixture
def ours() -> ProjectId:
    return data_plane.project()


async def charges(pricing: Pricing, project_id: ProjectId, sent: Trace) -> list[SpanCost | None]:
    return [one.charge for one in (await pricing.traces.get(project_id, sent.id)).spans]


# --- repriced spans --------------------------------------------------------------------------


async def test_table_and_unpriced_spans_are_repriced(pricing, ours):
    sent = trace(
        span_using("gpt-4o", 0),
        span_using("new", 1),
        span_using("tiny", 2),
        span_using("unlisted", 3),
    )
    await pricing.traces.put(ours, sent)
    done = await pricing.reprice(ours, doubled)
    assert await charges(pricing, ours, sent) == [
        SpanCost(Decimal(5), CostSource.TABLE, Price(Decimal(5), "v2")),
        SpanCost(Decimal(1), CostSource.TABLE, Price(Decimal(1), "v2", NOON)),
        UNPRICED,
        UNPRICED,
    ]
    million = Decimal("1E-6")
    assert done.found.total == CostDelta(4, 3, Decimal("2.5") + million, Decimal(6))
    assert done.found.models == {
        "gpt-4o": CostDelta(1, 1, Decimal("2.5"), Decimal(5)),
        "new": CostDelta(1, 1, Decimal(0), Decimal(1)),
        "tiny": CostDelta(1, 1, million, Decimal(0)),
        "unlisted": CostDelta(1, 0, Decimal(0), Decimal(0)),
    }
    assert [one.model for one in done.found.sample] == ["gpt-4o", "new", "tiny"]


async def test_unpriced_counts_and_revision_follow(pricing, ours):
    sent = trace(
        span_using("gpt-4o", 0), span_using("new", 1), span_using("tiny", 2),
        span_using("unlisted", 3), span(kind=SpanKind.LLM, model="gpt-4o"), session_id="s",
    )  # fmt: skip
    await pricing.traces.put(ours, sent)

    async def unpriced() -> list[int]:
        [summary] = (await pricing.traces.summaries(ours, *ALL_TRACES)).items
        [session] = (await pricing.sessions.summaries(ours, *ALL_SESSIONS)).items
        [bucket] = await pricing.analytics.usage(ours, ALL_TIME, Granularity.DAY)
        models = await pricing.analytics.models(ours, ALL_TIME)
        assert {one.model: one.unpriced for one in models}["gpt-4o"] == 1
        by_model = sum(one.unpriced for one in models)
        return [summary.totals.unpriced, session.totals.unpriced, bucket.unpriced, by_model]

    assert await unpriced() == [3] * 4  # new, unlisted, and the call without tokens
    before = await pricing.traces.revision(ours, sent.id)
    await pricing.reprice(ours, doubled)
    assert await unpriced() == [3] * 4  # tiny instead of new
    usage = await pricing.analytics.model_usage(ours, ALL_TIME, Granularity.DAY)
    priced = {model: bucket.priced for model, [bucket] in usage.items()}
    assert priced == {"gpt-4o": 1, "new": 1, "tiny": 0, "unlisted": 0}
    assert await pricing.traces.revision(ours, sent.id) != before


async def test_revision_follows_costs_with_the_same_sum(pricing, ours):
    sent = trace(span_using("gpt-4o", 0), span_using("new", 1))
    await pricing.traces.put(ours, sent)
    before = await pricing.traces.revision(ours, sent.id)

    def swapped(model: str, usage: Usage, when: datetime) -> Price | None:
        found = BOOK("gpt-4o", usage, when)
        return found if model == "new" else None

    await pricing.reprice(ours, swapped)
    [summary] = (await pricing.traces.summaries(ours, *ALL_TRACES)).items
    assert (summary.totals.cost, summary.totals.unpriced) == (Decimal("2.5"), 1)
    assert await pricing.traces.revision(ours, sent.id) != before


async def test_cost_sent_by_client_is_never_changed(pricing, ours):
    paid = span_using("gpt-4o", **PAID)
    sent = trace(
        paid,
        span_using("gpt-4o", 1, cost={"total": 0.0}),
        span_using("", 2),
        span(token_usage=USED),
    )
    await pricing.traces.put(ours, sent)
    before = await charges(pricing, ours, sent)
    done = await pricing.reprice(ours, doubled)
    assert await charges(pricing, ours, sent) == before
    assert done.found == RepricingReport()


async def test_dry_repricing_reports_the_same_and_changes_nothing(pricing, ours):
    sent = trace(
        span_using("gpt-4o", 0), span_using("new", 1), span_using("tiny", 2), session_id="s"
    )
    await pricing.traces.put(ours, sent)
    before = await pricing.traces.get(ours, sent.id)
    dry = await pricing.reprice(ours, doubled, is_dry=True)
    assert await pricing.traces.get(ours, sent.id) == before
    applied = await pricing.reprice(ours, doubled)
    assert dry.found == applied.found
    assert (await pricing.traces.get(ours, sent.id)) != before


async def test_spans_whose_usage_another_one_reports_are_left_out(pricing, ours):
    twin = span_using("gpt-4o", usage_role=UsageRole.DUPLICATE)
    sent = trace(span_using("gpt-4o", 1), twin)
    await pricing.traces.put(ours, sent)
    done = await pricing.reprice(ours, doubled)
    assert done.found.total == CostDelta(1, 1, Decimal("2.5"), Decimal(5))
    await assert_totals_match(pricing, ours, [sent.id])


async def test_period_and_models_limit_repriced_spans(pricing, ours):
    sent = trace(*(span_using("gpt-4o", second) for second in range(4)), span_using("tiny", 1))
    await pricing.traces.put(ours, sent)
    overrides = {"started_after": at(1), "started_before": at(3), "models": ("gpt-4o", "none")}
    done = await pricing.reprice(ours, doubled, **overrides)
    assert done.found.total.spans == done.found.total.changed == 2
    amounts = [one.amount for one in await charges(pricing, ours, sent) if one is not None]
    assert sorted(amounts) == [Decimal("1E-6"), *[Decimal("2.5")] * 2, *[Decimal(5)] * 2]


async def test_price_is_that_of_span_start(pricing, ours):
    def dated(_model: str, _usage: Usage, when: datetime) -> Price | None:
        return Price(Decimal(1 if when < at(1) else 2), "v2")

    sent = trace(span_using("gpt-4o", 0), span_using("gpt-4o", 1))
    await pricing.traces.put(ours, sent)
    await pricing.reprice(ours, dated)
    found = [one.amount for one in await charges(pricing, ours, sent) if one is not None]
    assert found == [1, 2]


async def test_cached_tokens_are_repriced_at_their_own_rates(pricing, ours):
    usage = Usage(1_000_000, 0, is_known=True, cache_read_tokens=500_000)
    sent = trace(span_using("gpt-4o", usage=usage))
    await pricing.traces.put(ours, sent)
    seen: list[Usage] = []

    def recording(model: str, usage: Usage, when: datetime) -> Price | None:
        seen.append(usage)
        return BOOK(model, usage, when)

    done = await pricing.reprice(ours, recording)
    assert (seen[0], done.found.total.changed) == (usage, 0)
    assert await charges(pricing, ours, sent) == [table_cost("1.875")]


async def test_another_project_is_not_repriced(pricing, ours):
    theirs, sent = data_plane.project(), trace(span_using("gpt-4o"))
    for project_id in (ours, theirs):
        await pricing.traces.put(project_id, sent)
    await pricing.reprice(ours, doubled)
    assert await charges(pricing, theirs, sent) == [table_cost("2.5")]


async def test_equal_price_keeps_its_version(pricing, ours):
    sent = trace(span_using("gpt-4o"))
    await pricing.traces.put(ours, sent)
    done = await pricing.reprice(ours, lambda *_: Price(Decimal("2.50"), "v2"))
    assert done.found.total.changed == 0
    assert await charges(pricing, ours, sent) == [table_cost("2.5")]


# --- totals ----------------------------------------------------------------------------------


async def assert_totals_match(pricing: Pricing, project_id: ProjectId, ids: Sequence[Any]) -> None:
    """Asserts that lists, sessions and analytics match the spans."""
    whole = [await pricing.traces.get(project_id, one) for one in ids]
    listed = await data_plane.traces_page(pricing, project_id)
    assert {one.id: one.totals for one in listed.items} == {
        one.id: Totals.from_spans(one.spans) for one in whole
    }
    shown = await pricing.sessions.summaries(
        project_id, SessionFilter(), SessionSort.RECENT, SortOrder.DESC, ALL
    )
    for session in shown.items:
        spans = [s for one in whole if one.session_id == session.id for s in one.spans]
        assert session.totals == Totals.from_spans(spans)
    spans = [span for one in whole for span in one.spans]
    for by in (Granularity.HOUR, Granularity.WEEK):
        assert list(await pricing.analytics.usage(project_id, ALL_TIME, by)) == usage_buckets(
            spans, ALL_TIME, by
        )


@settings(
    max_examples=scaled(15),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    sent=st.lists(strategies.traces(), min_size=1, max_size=4),
    since=st.none() | strategies.instants,
    models=st.lists(strategies.models, max_size=1),
)
async def test_totals_match_spans_and_second_run_changes_nothing(
    pricing: Pricing, sent: list[Trace], since: datetime | None, models: list[str]
) -> None:
    ours = data_plane.project()
    for one in sent:
        await pricing.traces.put(ours, one)
    ids = {one.id for one in sent}
    before = {one: await pricing.traces.get(ours, one) for one in ids}
    asked = {"started_after": since, "models": tuple(models)}
    done = await pricing.reprice(ours, doubled, **asked)
    await assert_totals_match(pricing, ours, [*ids])
    changed, difference = 0, Decimal(0)
    for one in ids:
        after = await pricing.traces.get(ours, one)
        assert replace(after, spans=()) == replace(before[one], spans=())
        for old, new in zip(before[one].spans, after.spans, strict=True):
            assert replace(new, charge=old.charge) == old
            assert old.charge is not None
            assert new.charge is not None
            changed += old != new
            if old.charge.source is CostSource.CLIENT:
                assert new == old
            else:
                difference += new.charge.amount - old.charge.amount
    assert changed == done.found.total.changed
    assert difference == done.found.total.after - done.found.total.before
    again = await pricing.reprice(ours, doubled, **asked)
    assert again.found.total.changed == 0
    assert again.found.total.before == again.found.total.after == done.found.total.after


async def test_concurrently_added_spans_are_counted_once(pricing, ours):
    some = [trace(*(span_using("gpt-4o", n) for n in range(3)), session_id="s") for _ in range(8)]
    for one in some:
        await pricing.traces.put(ours, one)
    current = await pricing.repricings.create(a_repricing(ours, is_dry=False))
    more = [pricing.traces.add_spans(ours, one.id, [span_using("tiny", 9, **PAID)]) for one in some]
    await asyncio.gather(pricing.run_to_end(current, doubled), *more)
    await assert_totals_match(pricing, ours, [one.id for one in some])
    for one in some:
        assert [c.amount for c in await charges(pricing, ours, one) if c] == [5, 5, 5, 7]


@pytest.mark.service
async def test_cost_that_a_client_sent_meanwhile_is_never_changed(pool, ours):
    """The step has read the span, and waits for the lock of its trace."""
    sent, paid = trace(span_using("gpt-4o")), SpanCost(Decimal(7), CostSource.CLIENT)
    async with over_postgres(pool) as pricing:
        await pricing.traces.put(ours, sent)
        asked = await pricing.repricings.create(a_repricing(ours, is_dry=False))
        async with within(pool, ours).transaction() as client:
            await client.execute("SELECT 1 FROM traces WHERE project_id = $1 FOR UPDATE", ours)
            step = asyncio.create_task(pricing.run_to_end(asked, doubled))
            await until(lambda: count_lock_waits(pool, "FOR UPDATE OF traces"))
            values = (ours, paid.source, paid.amount)
            await client.execute(SET_COST, *values)
        assert (await step).found.total.spans == 0
        assert [replace(one, price=None) for one in await charges(pricing, ours, sent)] == [paid]


# --- leases ----------------------------------------------------------------------------------


async def put_many_spans(pricing: Pricing, project_id: ProjectId) -> int:
    """Stores spans for more than two steps, many of them at one instant, and counts them."""
    count = 2 * REPRICED_SPANS_BATCH + 1
    spans = [span_using("gpt-4o", n // 100) for n in range(count)]
    for first in range(0, count, 100):
        await pricing.traces.put(project_id, trace(*spans[first : first + 100]))
    return count


async def test_another_worker_resumes_repricing(pricing, ours):
    count = await put_many_spans(pricing, ours)
    asked = await pricing.repricings.create(a_repricing(ours, is_dry=False))
    assert asked.status is RepricingStatus.PENDING
    first = await pricing.repricings.step(asked, doubled, NOON, LATER)
    assert (first.status, first.found.total.spans) == (
        RepricingStatus.RUNNING,
        REPRICED_SPANS_BATCH,
    )
    assert await pricing.repricings.get(ours, asked.id) == first
    # A worker with an older state than the stored one was overtaken.
    assert await pricing.repricings.step(asked, doubled, NOON, LATER) is None
    done = await pricing.run_to_end(first, doubled)
    assert (done.status, done.completed_at) == (RepricingStatus.COMPLETED, NOON)
    assert done.found.total == CostDelta(count, count, count * Decimal("2.5"), count * Decimal(5))
    assert await pricing.repricings.step(done, doubled, NOON, LATER) is None
    assert await pricing.repricings.get(ours, asked.id) == done


async def test_concurrent_steps_run_once(pricing, ours):
    await put_many_spans(pricing, ours)
    asked = await pricing.repricings.create(a_repricing(ours))
    steps = [pricing.repricings.step(asked, doubled, NOON, LATER) for _ in range(3)]
    found = await asyncio.gather(*steps)
    assert sorted(one is None for one in found) == [False, True, True]
    stored = await pricing.repricings.get(ours, asked.id)
    assert stored.found.total.spans == REPRICED_SPANS_BATCH


async def claim_of_project(
    pricing: Pricing, project_id: ProjectId, now: datetime
) -> Repricing | None:
    """Claims until the repricing is of this project; other tests leave some in other projects."""
    while True:
        found = await pricing.repricings.claim(now, now + REPRICING_LEASE)
        if found is None or found.project_id == project_id:
            return found


async def test_claim_is_exclusive_until_expired_or_released(pricing, ours):
    await pricing.traces.put(ours, trace(span_using("gpt-4o")))
    asked = await pricing.repricings.create(a_repricing(ours))
    assert await claim_of_project(pricing, ours, NOON) == replace(asked, attempts=1)
    assert await claim_of_project(pricing, ours, NOON) is None
    assert await claim_of_project(pricing, ours, LATER - timedelta(microseconds=1)) is None
    assert await claim_of_project(pricing, ours, LATER) == replace(asked, attempts=2)
    await pricing.repricings.release(asked, LATER)
    third = await claim_of_project(pricing, ours, LATER)
    assert third == replace(asked, attempts=3)
    done = await pricing.run_to_end(third, doubled)
    assert done.attempts == 0  # reset by a step that succeeded
    assert await claim_of_project(pricing, ours, LATER + timedelta(days=1)) is None


async def test_failed_repricing_is_final_and_allows_another(pricing, ours):
    await pricing.traces.put(ours, trace(span_using("gpt-4o")))
    asked = await pricing.repricings.create(a_repricing(ours))
    first = await claim_of_project(pricing, ours, NOON)
    second = await claim_of_project(pricing, ours, LATER)
    await pricing.repricings.fail(first.failed(LATER))  # another worker continues with it
    assert await pricing.repricings.get(ours, asked.id) == second
    failed = second.failed(LATER)
    await pricing.repricings.fail(failed)
    await pricing.repricings.fail(replace(failed, error="other"))
    assert await pricing.repricings.get(ours, asked.id) == failed
    assert (failed.status, failed.completed_at) == (RepricingStatus.FAILED, LATER)
    assert await claim_of_project(pricing, ours, LATER + timedelta(days=1)) is None
    assert await pricing.repricings.step(failed, doubled, LATER, LATER) is None
    done = await pricing.run_to_end(await pricing.repricings.create(a_repricing(ours)), doubled)
    await pricing.repricings.fail(done.failed(LATER))
    assert await pricing.repricings.get(ours, done.id) == done


async def test_project_has_one_repricing_at_a_time(pricing, ours):
    first = await pricing.repricings.create(a_repricing(ours))
    assert await pricing.repricings.create(replace(first, is_dry=False)) == first
    with pytest.raises(Conflict, match="under way"):
        await pricing.repricings.create(a_repricing(ours))
    await pricing.repricings.create(a_repricing(data_plane.project()))
    await pricing.run_to_end(first, doubled)
    assert await pricing.repricings.create(a_repricing(ours))


async def test_newest_repricings_are_kept(pricing, ours):
    made = []
    for n in range(REPRICINGS_KEPT_MAX + 2):
        made.append(a_repricing(ours, created_at=at(n)))
        await pricing.run_to_end(await pricing.repricings.create(made[-1]), doubled)
    for gone in made[:2]:
        with pytest.raises(NotFound):
            await pricing.repricings.get(ours, gone.id)
    assert (await pricing.repricings.get(ours, made[2].id)).id == made[2].id


async def test_repricing_is_found_in_its_project_only(pricing, ours):
    one = await pricing.repricings.create(
        a_repricing(ours, started_after=at(0), started_before=at(1), models=("a", "b"))
    )
    assert await pricing.repricings.get(ours, one.id) == one
    with pytest.raises(NotFound):
        await pricing.repricings.get(data_plane.project(), one.id)
