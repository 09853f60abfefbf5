"""What the list of traces can be narrowed by."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.tracing.trace import TraceStatus, TraceSummary


class SortOrder(StrEnum):
    ASC = "asc"
    DESC = "desc"


def folded(text: str) -> str:
    """What substring filters compare: text without regard to case, in any script."""
    return text.casefold()


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFilter:
    """Conditions that all have to hold; None is no condition.

    `name` is a substring without regard to case, and none where empty; `started_after` includes
    its instant, `started_before` doesn't.
    """

    session_id: str | None = None
    user_id: str | None = None
    status: TraceStatus | None = None
    name: str | None = None
    started_after: datetime | None = None
    started_before: datetime | None = None

    def admits(self, trace: TraceSummary) -> bool:
        return (
            (self.session_id is None or trace.session_id == self.session_id)
            and (self.user_id is None or trace.user_id == self.user_id)
            and (self.status is None or trace.status is self.status)
            and (not self.name or folded(self.name) in folded(trace.name))
            and (self.started_after is None or trace.started_at >= self.started_after)
            and (self.started_before is None or trace.started_at < self.started_before)
        )
