"""Filters of score lists."""

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
    """Conditions that must all hold; None means no condition. Texts are compared exactly.

    `created_after` is inclusive, `created_before` exclusive. `trace_id` and `environment` apply to
    trace scores, `session_id` to session scores; other scores don't match them.
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
    """A range of creation times: `after` is inclusive, `before` exclusive; None means unbounded."""

    after: datetime | None = None
    before: datetime | None = None

    def matches(self, score: Score) -> bool:
        return self.includes(score.created_at)

    def includes(self, instant: datetime) -> bool:
        return (self.after is None or instant >= self.after) and (
            self.before is None or instant < self.before
        )


def list_position(score: Score) -> Position:
    """The position of a score in a list, which is sorted from newest to oldest."""
    return Position(score.created_at, score.id)
