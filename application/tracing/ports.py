"""What tracing needs from the world."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from domain.ids import ProjectId, TraceId
from domain.page import Page, Window
from domain.tracing.query import SortOrder, TraceFilter
from domain.tracing.span import Span
from domain.tracing.trace import Trace, TraceSummary
from domain.tracing.usage import Usage


class PriceBook(Protocol):
    """What tokens cost. Contract of PriceBook: tests/contracts/test_prices.py."""

    @property
    def version(self) -> str:
        """Which prices these are, e.g. `genai-prices 0.2.3`."""
        ...

    def price(self, model: str, usage: Usage, at: datetime) -> Decimal | None:
        """USD for the tokens of `usage` at the instant `at`; None where the book has no such model.

        `model` may carry a `<provider>/` prefix. The same answer for one version; never raises.
        """
        ...


class Traces(Protocol):
    """The traces of every project, seen one project at a time.

    No method reads or writes outside the project it is given: the same trace id in another
    project is another trace. What is written is durable on return and seen by every reader from
    then on; a write happens wholly or not at all, and one that is interrupted may still happen.
    Contract of Traces: tests/contracts/test_traces.py, run against every adapter.
    """

    async def put(self, project: ProjectId, trace: Trace) -> None:
        """Merges `trace` into what is stored of it, as `Trace.merged` and `settled` say.

        Idempotent. Calls at once for one trace lose nothing. Raises Invalid, naming the fields,
        where a value can't be stored, and then only this trace fails; Unavailable where the
        store is out of reach or too many writes wait already.
        """
        ...

    async def add_spans(self, project: ProjectId, trace: TraceId, spans: Sequence[Span]) -> None:
        """Merges spans into a stored trace, which otherwise stays as it is.

        Raises NotFound where the project has no such trace; Invalid and Unavailable as `put`.
        """
        ...

    async def get(self, project: ProjectId, trace: TraceId) -> Trace:
        """The whole trace, settled, spans in order. Raises NotFound, Unavailable."""
        ...

    async def summaries(
        self, project: ProjectId, matching: TraceFilter, order: SortOrder, window: Window
    ) -> Page[TraceSummary]:
        """The traces that `matching` admits, by (started_at, id) in `order`. Raises Unavailable."""
        ...

    async def delete(self, project: ProjectId, traces: Sequence[TraceId]) -> int:
        """Removes traces with their spans; the number that was there. Raises Unavailable."""
        ...
