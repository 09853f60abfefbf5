"""What lists of scores can be narrowed by."""

from dataclasses import dataclass
from datetime import datetime

from domain.evaluation.scores.score import (
    DataType,
    Score,
    ScoreOutcome,
    ScoreSource,
    ScoreStatus,
    SessionScore,
    TraceScore,
)
from domain.ids import RunId, TraceId
from domain.page import Position


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreFilter:
    """Conditions that all have to hold; None is no condition. Texts are compared as they are.

    `created_after` includes its instant, `created_before` doesn't. `trace_id` and `environment`
    are of trace scores, `session_id` of session scores: no other has them.
    """

    trace_id: TraceId | None = None
    session_id: str | None = None
    environment: str | None = None
    name: str | None = None
    source: ScoreSource | None = None
    status: ScoreStatus | None = None
    outcome: ScoreOutcome | None = None
    data_type: DataType | None = None
    run_id: RunId | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def matches(self, score: Score) -> bool:
        return (
            self._matches_target(score)
            and (self.name is None or score.name == self.name)
            and (self.source is None or score.source is self.source)
            and (self.status is None or score.status is self.status)
            and (self.outcome is None or score.outcome is self.outcome)
            and (self.data_type is None or score.data_type is self.data_type)
            and (self.run_id is None or score.run_id == self.run_id)
            and (self.created_after is None or score.created_at >= self.created_after)
            and (self.created_before is None or score.created_at < self.created_before)
        )

    def _matches_target(self, score: Score) -> bool:
        trace, session, environment = None, None, None
        if isinstance(score, TraceScore):
            trace, environment = score.trace_id, score.environment
        elif isinstance(score, SessionScore):
            session = score.session_id
        return (
            (self.trace_id is None or trace == self.trace_id)
            and (self.session_id is None or session == self.session_id)
            and (self.environment is None or environment == self.environment)
        )


@dataclass(frozen=True, slots=True)
class CreatedWithin:
    """When something was made: `after` includes its instant, `before` doesn't; None is no bound."""

    after: datetime | None = None
    before: datetime | None = None

    def matches(self, score: Score) -> bool:
        return self.includes(score.created_at)

    def includes(self, instant: datetime) -> bool:
        return (self.after is None or instant >= self.after) and (
            self.before is None or instant < self.before
        )


def list_position(score: Score) -> Position:
    """Where a score stands in a list, which goes from the newest to the oldest."""
    return Position(score.created_at, score.id)
