"""The three ports of the data plane over one store, and what tests of them share."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Final, Self

from adapters.judges.heuristic import HeuristicJudge
from adapters.memory.jobs import RecordedJobs
from adapters.memory.monitors import MemoryLeadership
from adapters.memory.store import MemoryStore
from adapters.memory.tracing import MemorySessions, MemoryTraceAnalytics, MemoryTraces
from adapters.postgres.engine import Pool
from adapters.postgres.reading.analytics import PostgresTraceAnalytics
from adapters.postgres.sessions import PostgresSessions
from adapters.postgres.tracing import PostgresTraces
from application.evaluation.use_cases import EvaluationPorts
from application.exporting.use_cases import ExportPorts
from application.tracing.keeping_use_cases import KeepingPorts
from application.tracing.ports import Sessions, TraceAnalytics, Traces
from application.tracing.pricing_use_cases import PricingPorts
from application.use_cases import Ports
from domain.ids import ProjectId
from domain.page import LIMIT_MAX, Page, Position, SortOrder, Window
from domain.tracing.analytics import (
    Granularity,
    Period,
    session_buckets,
    top_models,
    trace_buckets,
    usage_buckets,
    user_summaries,
)
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.session import SessionFilter, SessionSort, SessionSummary, sessions_of
from domain.tracing.span import Totals
from domain.tracing.trace import Trace, TraceSummary
from entrypoints.composition import evaluation_ports
from entrypoints.exporting import export_ports_over
from entrypoints.keeping import keeping_ports
from entrypoints.pricing import pricing_ports
from entrypoints.settings import Settings
from tests.builders import prices
from tests.worlds import memory_evaluation, memory_exporting, memory_keeping, memory_pricing

ALL: Final = Window(limit=LIMIT_MAX)
EVER: Final = Period(datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
EXPORT_S: Final = 60.0  # that one may take
PAGES_MAX: Final = 100  # of one walk


@dataclass(frozen=True, slots=True)
class DataPlane:
    traces: Traces
    sessions: Sessions
    analytics: TraceAnalytics
    evaluation: EvaluationPorts
    exporting: ExportPorts
    keeping: KeepingPorts
    pricing: PricingPorts

    @classmethod
    def of(cls, ports: Ports) -> Self:
        """The ports of the data plane among all."""
        return cls(**{one.name: getattr(ports, one.name) for one in fields(cls)})


def over_memory(store: MemoryStore | None = None) -> DataPlane:
    """A store of its own where none is given."""
    store = MemoryStore() if store is None else store
    return DataPlane(
        MemoryTraces(store, prices()),
        MemorySessions(store),
        MemoryTraceAnalytics(store),
        memory_evaluation(store),
        memory_exporting(store),
        memory_keeping(store),
        memory_pricing(store),
    )


@asynccontextmanager
async def over_postgres(pool: Pool) -> AsyncIterator[DataPlane]:
    async with PostgresTraces.over(pool, prices()) as traces:
        evaluation = evaluation_ports(Settings(), pool, RecordedJobs(), prices(), HeuristicJudge())
        yield DataPlane(
            traces,
            PostgresSessions(pool, traces.edits),
            PostgresTraceAnalytics(pool),
            replace(evaluation, leadership=MemoryLeadership()),  # nobody else schedules here
            export_ports_over(pool, pool, EXPORT_S),
            keeping_ports(traces.edits),
            pricing_ports(pool, prices(), traces.edits),
        )


def project() -> ProjectId:
    """A project that no other test, and no other example of this one, has written to."""
    return ProjectId(uuid.uuid4())


async def fill(plane: DataPlane, of: ProjectId, *sent: Trace) -> None:
    """Puts traces of different ids, at once."""
    await asyncio.gather(*(plane.traces.put(of, one) for one in sent))


async def traces_page(
    plane: DataPlane,
    of: ProjectId,
    *,
    sort: TraceSort = TraceSort.STARTED_AT,
    order: SortOrder = SortOrder.ASC,
    window: Window = ALL,
    **conditions: Any,
) -> Page[TraceSummary]:
    return await plane.traces.summaries(of, TraceFilter(**conditions), sort, order, window)


async def names(plane: DataPlane, of: ProjectId, **conditions: Any) -> list[str]:
    """The names of all traces that the conditions admit, by start; at most LIMIT_MAX."""
    page = await traces_page(plane, of, **conditions)
    assert (page.total, page.end) == (len(page.items), None)
    return [summary.name for summary in page.items]


async def sessions_page(
    plane: DataPlane,
    of: ProjectId,
    *,
    sort: SessionSort = SessionSort.RECENT,
    order: SortOrder = SortOrder.ASC,
    window: Window = ALL,
    **conditions: Any,
) -> Page[SessionSummary]:
    return await plane.sessions.summaries(of, SessionFilter(**conditions), sort, order, window)


async def session_counts(plane: DataPlane, of: ProjectId, **conditions: Any) -> dict[str, int]:
    """How many traces each admitted session has, by its id; at most LIMIT_MAX sessions."""
    page = await sessions_page(plane, of, **conditions)
    assert (page.total, page.end) == (len(page.items), None)
    return {one.id: one.trace_count for one in page.items}


async def session(plane: DataPlane, of: ProjectId, key: str) -> SessionSummary:
    """The summary of one session, as its page has it. Raises NotFound."""
    return (await plane.sessions.get(of, key, Window())).summary


async def walked[T](
    read: Callable[[Window], Awaitable[Page[T]]], limit: int
) -> tuple[list[T], list[T]]:
    """All items of a list: page by page from a position on, and page by page by offset."""
    by_position: list[T] = []
    by_offset: list[T] = []
    after: Position | None = None
    for n in range(PAGES_MAX):
        page = await read(Window(limit=limit, after=after))
        same = await read(Window(limit=limit, offset=n * limit))
        assert (page.total, page.end) == (same.total, same.end)
        assert len(page.items) <= limit
        by_position += page.items
        by_offset += same.items
        if (after := page.end) is None:
            assert len(by_position) == page.total
            return by_position, by_offset
    raise AssertionError("the walk doesn't end")


async def stored(plane: DataPlane, of: ProjectId) -> list[Trace]:
    """Every trace of a project, whole; at most LIMIT_MAX."""
    page = await traces_page(plane, of)
    assert page.end is None
    return [await plane.traces.get(of, one.id) for one in page.items]


async def assert_rolled_up(plane: DataPlane, of: ProjectId) -> Sequence[Trace]:
    """All that is read of many traces is what the domain makes of each; these traces."""
    traces = await stored(plane, of)
    for one in (await traces_page(plane, of)).items:
        [same] = [trace for trace in traces if trace.id == one.id]
        assert one.totals == Totals.of(same.spans)
        assert (one.name, one.status, one.latency_us) == (same.name, same.status, same.latency_us)
    found = (await sessions_page(plane, of)).items
    assert sorted(found, key=_id) == sorted(sessions_of(traces, SessionFilter()), key=_id)
    users = (await plane.analytics.users(of, ALL)).items
    assert sorted(users, key=_id) == user_summaries(traces)
    await assert_figures(plane, of, EVER, traces)
    return traces


async def assert_figures(
    plane: DataPlane, of: ProjectId, period: Period, traces: Sequence[Trace]
) -> None:
    """All figures of a period are what the domain makes of traces."""
    spans = [span for one in traces for span in one.spans]
    ask = plane.analytics
    for by in Granularity:
        assert await ask.volume(of, period, by) == trace_buckets(traces, period, by)
        assert await ask.usage(of, period, by) == usage_buckets(spans, period, by)
        assert await ask.sessions(of, period, by) == session_buckets(traces, period, by)
    assert await ask.models(of, period) == top_models(spans, period)


def _id(one: Any) -> str:
    return one.id
