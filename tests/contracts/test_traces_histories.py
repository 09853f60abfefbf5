"""Any history of writes, told to the memory model and to Postgres: every read agrees.

Belongs to the contract of Traces.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from adapters.memory.store import MemoryStore
from adapters.memory.tracing import MemoryTraces
from adapters.postgres.engine import Engine, PoolSettings, opened
from adapters.postgres.tracing import PostgresTraces
from application.tracing.ports import Traces
from domain.errors import Failure
from domain.ids import ProjectId, TraceId
from domain.page import Window
from domain.tracing.query import SortOrder, TraceFilter
from domain.tracing.span import Span
from domain.tracing.trace import Trace, TraceStatus
from tests import strategies
from tests.builders import NOON, prices

pytestmark = pytest.mark.service

FILTERS = st.builds(
    TraceFilter,
    session_id=strategies.labels,
    user_id=strategies.labels,
    status=strategies.maybe(st.sampled_from(TraceStatus)),
    name=st.none() | st.sampled_from(["", "a", "A", "ß", "%", "_", "\\"]),
    started_after=st.none() | st.just(NOON),
    started_before=st.none() | st.just(NOON),
)
projects = st.integers(0, 1)


class Histories(RuleBasedStateMachine):
    """Two projects that use the same few ids, so that whatever could meet does."""

    url: ClassVar[str]
    runner: ClassVar[asyncio.Runner]

    @initialize()
    def open(self) -> None:
        self.projects = [ProjectId(uuid.uuid4()), ProjectId(uuid.uuid4())]
        self.model = MemoryTraces(MemoryStore(), prices())
        self.postgres = self.runner.run(self._open())
        self.sent: list[tuple[ProjectId, Trace]] = []

    async def _open(self) -> PostgresTraces:
        self.stack = AsyncExitStack()
        pool = await self.stack.enter_async_context(
            opened(Engine(config={}), PoolSettings(url=self.url, size=3))
        )
        return await self.stack.enter_async_context(PostgresTraces.over(pool, prices()))

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.runner.run(self.stack.aclose())

    def both(self, act: Callable[[Traces], Awaitable[Any]]) -> None:
        assert self._outcome(act, self.postgres) == self._outcome(act, self.model)

    def _outcome(self, act: Callable[[Traces], Awaitable[Any]], traces: Traces) -> Any:
        async def go() -> Any:
            try:
                return await act(traces)
            except Failure as failure:
                return type(failure), failure.message

        return self.runner.run(go())

    @rule(of=projects, trace=strategies.traces())
    def put(self, of: int, trace: Trace) -> None:
        self.sent.append((self.projects[of], trace))
        self.both(lambda traces: traces.put(self.projects[of], trace))

    @rule(some=st.lists(st.tuples(projects, strategies.traces()), min_size=2, max_size=5))
    def put_at_once(self, some: Sequence[tuple[int, Trace]]) -> None:
        """Callers in one batch are merged in the order in which they came."""

        async def act(traces: Traces) -> None:
            await asyncio.gather(*(traces.put(self.projects[of], trace) for of, trace in some))

        self.both(act)

    @rule(data=st.data())
    def put_again(self, data: st.DataObject) -> None:
        if self.sent:
            project, trace = data.draw(st.sampled_from(self.sent))
            self.both(lambda traces: traces.put(project, trace))

    @rule(
        of=projects,
        trace=strategies.trace_ids,
        spans=st.lists(strategies.spans(), min_size=1, max_size=3),
    )
    def add_spans(self, of: int, trace: TraceId, spans: Sequence[Span]) -> None:
        self.both(lambda traces: traces.add_spans(self.projects[of], trace, spans))

    @rule(of=projects, some=st.lists(strategies.trace_ids, min_size=1, max_size=3))
    def delete(self, of: int, some: Sequence[TraceId]) -> None:
        self.both(lambda traces: traces.delete(self.projects[of], some))

    @rule(
        of=projects,
        matching=FILTERS,
        order=st.sampled_from(SortOrder),
        window=st.builds(Window, st.integers(1, 3), st.integers(0, 3)),
    )
    def browse(self, of: int, matching: TraceFilter, order: SortOrder, window: Window) -> None:
        self.both(lambda traces: traces.summaries(self.projects[of], matching, order, window))

    @invariant()
    def every_read_agrees(self) -> None:
        async def read(traces: Traces) -> Any:
            found: list[Any] = []
            for project in self.projects:
                page = await traces.summaries(project, TraceFilter(), SortOrder.ASC, Window())
                found.append(page)
                for summary in page.items:
                    found.append(await traces.get(project, summary.id))
            return found

        if hasattr(self, "postgres"):
            self.both(read)


def test_any_history_of_writes_reads_the_same(pool, postgres_url):
    with asyncio.Runner() as runner:
        Histories.url, Histories.runner = postgres_url, runner
        run_machine(
            Histories,
            settings=settings(
                max_examples=40,
                stateful_step_count=12,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            ),
        )
