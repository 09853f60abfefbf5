"""What tracing needs from the world."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from domain.ids import ProjectId, SpanId, TraceId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.analytics import (
    Granularity,
    ModelUsage,
    Period,
    SessionBucket,
    TraceBucket,
    UsageBucket,
    UserSummary,
)
from domain.tracing.change import SpanChange, TraceChange
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.session import Session, SessionFilter, SessionSort, SessionSummary
from domain.tracing.span import Span
from domain.tracing.trace import Trace, TraceSummary
from domain.tracing.usage import Price, Usage


class PriceBook(Protocol):
    """What tokens cost. Contract of PriceBook: tests/contracts/pricing/test_prices.py."""

    @property
    def version(self) -> str:
        """Which prices these are, e.g. `genai-prices 0.2.3`."""
        ...

    @property
    def is_loaded(self) -> bool:
        """Whether prices are at hand. Where they can't be had, no model has one."""
        ...

    def price(self, model: str, usage: Usage, at: datetime) -> Price | None:
        """What `usage` costs at the instant `at`; None where the book has no such model.

        `model` may carry a `<provider>/` prefix. The same answer for one version; never raises.
        """
        ...


class Traces(Protocol):
    """The traces of every project, seen one project at a time.

    No method reads or writes outside the project it is given: the same trace id in another
    project is another trace. What is written is durable on return and seen by every reader from
    then on; a write happens wholly or not at all, and one that is interrupted may still happen.
    Contract of Traces: tests/contracts/tracing/test_traces.py.
    """

    async def put(self, project: ProjectId, trace: Trace) -> None:
        """Merges `trace` into what is stored of it, as `Trace.merged` and `settled` say.

        Idempotent. Calls at once for one trace lose nothing. Raises Invalid, naming the fields,
        where a value can't be stored, where the trace was erased, or where it would be taken from
        a user or session that is being erased, and then only this trace fails; Unavailable where
        the store is out of reach or too many writes wait already.
        """
        ...

    async def add_spans(self, project: ProjectId, trace: TraceId, spans: Sequence[Span]) -> None:
        """Merges spans into a stored trace, which otherwise stays as it is.

        Raises NotFound where the project has no such trace; Invalid and Unavailable as `put`.
        """
        ...

    async def change(self, project: ProjectId, trace: TraceId, change: TraceChange) -> Trace:
        """The whole trace after `change.applied`. Calls at once for one trace lose nothing.

        Raises NotFound; Invalid and Unavailable as `put`.
        """
        ...

    async def change_span(
        self, project: ProjectId, trace: TraceId, span: SpanId, change: SpanChange
    ) -> Span:
        """The span after `change.applied`; as `change`."""
        ...

    async def retag(
        self,
        project: ProjectId,
        traces: Sequence[TraceId],
        add: Sequence[str],
        remove: Sequence[str],
    ) -> int:
        """Changes tags as `retagged` says; the number of traces that are there, each counted once.

        Raises Unavailable.
        """
        ...

    async def get(self, project: ProjectId, trace: TraceId) -> Trace:
        """The whole trace, settled, spans in order. Raises NotFound, Unavailable."""
        ...

    async def summaries(
        self,
        project: ProjectId,
        matching: TraceFilter,
        sort: TraceSort,
        order: SortOrder,
        window: PageRequest,
    ) -> Page[TraceSummary]:
        """The traces that `matching` admits, as `paginate` says. Raises Unavailable."""
        ...

    async def delete(self, project: ProjectId, traces: Sequence[TraceId]) -> int:
        """Removes traces with their spans; the number that was there. Raises Unavailable."""
        ...


class Sessions(Protocol):
    """The sessions that the traces of each project form; of `Traces` all that regards projects.

    A session is there while a trace has its id. Contract of Sessions:
    tests/contracts/tracing/test_sessions.py.
    """

    async def summaries(
        self,
        project: ProjectId,
        matching: SessionFilter,
        sort: SessionSort,
        order: SortOrder,
        window: PageRequest,
    ) -> Page[SessionSummary]:
        """The summaries that `matching` admits, as `paginate` says. Raises Unavailable."""
        ...

    async def get(self, project: ProjectId, session: str, window: PageRequest) -> Session:
        """The summary of the whole session, and the traces of `window`, by (started_at, id).

        Raises NotFound, Unavailable; Invalid where the traces are too large for one page.
        """
        ...

    async def delete(self, project: ProjectId, session: str) -> int:
        """Removes the traces of a session with their spans; the number there was.

        A large one goes in pieces: each goes wholly or not at all, and after a failure or an
        interruption the rest is still there, for the next call. Raises Unavailable.
        """
        ...


class TraceAnalytics(Protocol):
    """Figures over the traces of each project, as the functions of `domain.tracing.analytics`.

    Contract of TraceAnalytics: tests/contracts/tracing/test_trace_analytics.py.
    All raise Unavailable, and Invalid for more than BUCKETS_MAX buckets.
    """

    async def volume(
        self, project: ProjectId, period: Period, granularity: Granularity
    ) -> Sequence[TraceBucket]: ...

    async def usage(
        self, project: ProjectId, period: Period, granularity: Granularity
    ) -> Sequence[UsageBucket]: ...

    async def models(self, project: ProjectId, period: Period) -> Sequence[ModelUsage]: ...

    async def sessions(
        self, project: ProjectId, period: Period, granularity: Granularity
    ) -> Sequence[SessionBucket]: ...

    async def users(self, project: ProjectId, window: PageRequest) -> Page[UserSummary]:
        """By `last_seen`, newest first, then by id, as `paginate` says."""
        ...
