"""What runs and monitors select by, on the wire."""

from typing import Annotated

import msgspec
from msgspec import Meta

from domain.evaluation.runs.selection import GivenInstant, SessionSelection, TraceSelection
from domain.tracing.trace import TraceStatus
from entrypoints.http.controllers.traces.schemas import Tags
from entrypoints.http.requests.scalar_types import parse_instant

type FilterDate = Annotated[
    str | int | float,
    Meta(
        description="A moment in any spelling, also a mere date. It is shown again as it was given",
        extra={"scalar": "instant"},
        extra_json_schema={"type": "string", "examples": ["2026-03-01"]},
    ),
]


class EvalRunFilters(msgspec.Struct, frozen=True, kw_only=True):
    """Which traces; all that is given has to hold. `tags`: any of them; `name`: a part of it."""

    date_from: FilterDate | None = None
    date_to: FilterDate | None = None
    status: TraceStatus | None = None
    session_id: str | None = None
    user_id: str | None = None
    tags: Tags | None = None
    name: str | None = None

    def to_domain(self) -> TraceSelection:
        """Raises ValueError for what is no date."""
        return TraceSelection(
            date_from=_dated(self.date_from),
            date_to=_dated(self.date_to),
            status=self.status,
            session_id=self.session_id,
            user_id=self.user_id,
            tags=None if self.tags is None else tuple(self.tags),
            name=self.name,
        )


class SessionEvalRunFilters(msgspec.Struct, frozen=True, kw_only=True):
    """Which sessions: those with one of the traces that dates, user and tags select.

    `has_error` and `min_trace_count` regard the selected traces.
    """

    date_from: FilterDate | None = None
    date_to: FilterDate | None = None
    user_id: str | None = None
    has_error: bool | None = None
    tags: Tags | None = None
    min_trace_count: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None

    def to_domain(self) -> SessionSelection:
        """Raises ValueError for what is no date."""
        return SessionSelection(
            date_from=_dated(self.date_from),
            date_to=_dated(self.date_to),
            user_id=self.user_id,
            has_error=self.has_error,
            tags=None if self.tags is None else tuple(self.tags),
            min_trace_count=self.min_trace_count,
        )


def _dated(given: str | float | None) -> GivenInstant | None:
    return None if given is None else GivenInstant(given, parse_instant(given))
