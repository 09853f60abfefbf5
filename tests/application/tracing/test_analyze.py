"""Analytics over the traces of a project."""

from typing import Any

import pytest

from adapters.memory.store import MemoryStore
from adapters.memory.tracing.traces import MemoryTraceAnalytics, MemoryTraces
from application.tracing.analyze import (
    ListUsers,
    SessionVolume,
    TokenUsage,
    TopModels,
    TraceVolume,
)
from domain.errors import Invalid, Unavailable
from domain.page import PageRequest
from domain.tracing.analytics import BUCKETS_MAX, Granularity, Period
from domain.tracing.trace import Trace, TraceStatus
from tests.support.builders.values import NOON, OURS, THEIRS, at, prices, span, trace

HOUR, DAY, _ = Granularity
HOURS = Period(NOON, at(7200))


def run(**said: Any) -> Trace:
    usage = b'{"prompt_tokens":3,"completion_tokens":4}'
    step = span(model="m", token_usage=usage, started_at=said.get("started_at", NOON))
    return trace(step, **{"session_id": "s", "user_id": "u"} | said)


@pytest.fixture
async def analytics() -> MemoryTraceAnalytics:
    """The traces of three of our runs, one of them outside HOURS, and of one of theirs."""
    store = MemoryStore()
    traces = MemoryTraces(store, prices())
    await traces.put(OURS, run(ended_at=at(1)))
    await traces.put(OURS, run(started_at=at(3600), status=TraceStatus.ERROR, session_id="t"))
    await traces.put(OURS, run(started_at=at(7200), user_id="v"))
    await traces.put(THEIRS, run(session_id="theirs", user_id="theirs"))
    return MemoryTraceAnalytics(store)


async def test_each_statistic_covers_the_period_and_project(analytics):
    volume = await TraceVolume(analytics)(OURS, HOURS, HOUR)
    assert [(one.bucket, one.trace_count, one.error_count) for one in volume] == [
        *((NOON, 1, 0), (at(3600), 1, 1)),
    ]
    usage = await TokenUsage(analytics)(OURS, HOURS, DAY)
    assert [(one.bucket, one.tokens) for one in usage] == [(NOON.replace(hour=0), 14)]
    [model] = await TopModels(analytics)(OURS, HOURS)
    assert (model.model, model.calls, model.tokens) == ("m", 2, 14)
    sessions = await SessionVolume(analytics)(OURS, HOURS, HOUR)
    assert [(one.bucket, one.session_count) for one in sessions] == [(NOON, 1), (at(3600), 1)]


async def test_empty_period_has_no_buckets(analytics):
    nothing = Period(at(1), at(2))
    for figure in (TraceVolume, TokenUsage, SessionVolume):
        assert await figure(analytics)(OURS, nothing, HOUR) == []
    assert await TopModels(analytics)(OURS, nothing) == []


async def test_users_are_listed_last_seen_first(analytics):
    page = await ListUsers(analytics)(OURS, PageRequest(limit=1))
    assert ([one.id for one in page.items], page.total) == (["v"], 2)
    rest = await ListUsers(analytics)(OURS, PageRequest(after=page.end))
    assert [(one.id, one.trace_count, one.error_count) for one in rest.items] == [("u", 2, 1)]


async def test_rejects_too_many_buckets():
    store = MemoryStore()
    starts = [at(3600 * n) for n in range(BUCKETS_MAX + 1)]
    for n, start in enumerate(starts):
        one = trace(span(started_at=start), started_at=start, session_id=str(n))
        store.traces[OURS, one.id] = one.settled(prices().price)
    analytics = MemoryTraceAnalytics(store)
    within = Period(NOON, starts[-1])
    beyond = Period(NOON, at(3600 * BUCKETS_MAX + 1))
    for figure in (TraceVolume, TokenUsage, SessionVolume):
        assert len(await figure(analytics)(OURS, within, HOUR)) == BUCKETS_MAX
        with pytest.raises(Invalid, match="narrow"):
            await figure(analytics)(OURS, beyond, HOUR)


class Down:
    """Figures out of reach."""

    async def volume(self, *_: Any) -> Any:
        raise Unavailable("away")

    usage = models = sessions = users = volume


async def test_unreachable_store_raises_unavailable():
    calls = [
        TraceVolume(Down())(OURS, HOURS, HOUR),
        TokenUsage(Down())(OURS, HOURS, HOUR),
        TopModels(Down())(OURS, HOURS),
        SessionVolume(Down())(OURS, HOURS, HOUR),
        ListUsers(Down())(OURS, PageRequest()),
    ]
    for call in calls:
        with pytest.raises(Unavailable):
            await call
