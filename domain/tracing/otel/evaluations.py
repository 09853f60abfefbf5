"""Evaluations that instrumentations send with their spans, to be stored as scores."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid5

from domain.ids import ScoreId, TraceId

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
EVALUATION: Final = "gen_ai.evaluation.result"
"""The name of the span event or log record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentEvaluation:
    """The result of an evaluation, as a sender states it.

    Its target is the session of `session_id`, else the span of `span_id` (16 hex digits), else the
    trace it came with, else, without a trace, the span of `response_id`. Only one is set.

    `value` is a number from 0 to 1 if `is_numeric`, else any text. It is None if the evaluation
    failed, and `error` says why, or if there was nothing to measure, and `reason` says why.
    `metadata` has texts.
    """

    name: str
    time_ns: int
    value: str | None
    is_numeric: bool = False
    error: str | None = None
    reason: str | None = None
    span_id: str | None = None
    session_id: str | None = None
    response_id: str | None = None
    identifier: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def happened_at(self, now: datetime) -> datetime:
        """The time of the evaluation, cut to microseconds; `now` if it is unknown or later."""
        stated = _EPOCH + timedelta(microseconds=self.time_ns // 1_000)
        return min(now, stated) if self.time_ns else now

    def score_id(self, trace: TraceId, span_id: str | None) -> ScoreId:
        """The id of its score: the same each time the evaluation is sent.

        `span_id` is that of the span to which it turned out to belong.
        """
        parts = [span_id or self.session_id or "", self.name, str(self.time_ns)]
        if self.identifier is not None:
            parts.append(self.identifier)
        return ScoreId(uuid5(trace, ", ".join(parts)))


@dataclass(frozen=True, slots=True)
class ReceivedEvaluation:
    """An evaluation and the trace it came with; None if it only names a response."""

    trace: TraceId | None
    evaluation: SentEvaluation
