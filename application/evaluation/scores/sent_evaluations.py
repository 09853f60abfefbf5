"""Scores of evaluations that instrumentations send with their spans."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

from application.batches import BATCHES_MAX, run_in_batches
from application.concurrency import gather_limited
from application.evaluation.ports.scores import SessionScores, TraceScores
from application.evaluation.ports.sent_evaluations import (
    WAITING_MAX,
    WaitingEvaluation,
    WaitingEvaluations,
)
from application.ports import Clock
from domain.errors import Invalid, NotFound, Unavailable
from domain.evaluation.scores.outcome import SKIPPED_PREFIX, truncate_reason
from domain.evaluation.scores.score import (
    DataType,
    ScoreOutcome,
    ScoreSource,
    SessionScore,
    TraceScore,
)
from domain.ids import ProjectId
from domain.tracing.otel.evaluations import ReceivedEvaluation, SentEvaluation
from domain.tracing.otel.fragments import otel_span_id
from domain.tracing.otel.requests import Rejection, RejectionReason

CONCURRENT_WRITES_MAX: Final = 8
EVALUATION_WAIT: Final = timedelta(hours=24)
# Failed writes of waiting evaluations in one round: each may have waited for a timeout.
UNAVAILABLE_MAX: Final = 64
UNAVAILABLE_OF_PROJECT_MAX: Final = 8

type ReportRejections = Callable[[ProjectId, Sequence[Rejection]], None]


def ignore_rejections(_project: ProjectId, _rejections: Sequence[Rejection]) -> None:
    """Reports none."""


@dataclass(frozen=True, slots=True)
class EvaluationWriter:
    """Adds the score of an evaluation, with an id that is the same each time it is sent."""

    trace_scores: TraceScores
    session_scores: SessionScores
    clock: Clock

    async def write(self, project: ProjectId, received: ReceivedEvaluation) -> None:
        """Raises NotFound without the trace or the session, Invalid, Unavailable.

        The span may come later.
        """
        trace, one = received.trace, received.evaluation
        assert trace is not None
        fields = self._fields(project, received)
        if one.session_id is not None:
            await self.session_scores.add(SessionScore(session_id=one.session_id, **fields))
            return
        span = None if one.span_id is None else otel_span_id(trace, one.span_id)
        await self.trace_scores.add(
            TraceScore(trace_id=trace, span_id=span, **fields), checks_span=False
        )

    def _fields(self, project: ProjectId, received: ReceivedEvaluation) -> dict[str, Any]:
        trace, one = received.trace, received.evaluation
        assert trace is not None
        outcome, reason = _outcome(one)
        happened_at = one.happened_at(self.clock())
        metadata = dict(one.metadata)
        if one.error is not None:
            metadata["error_type"] = one.error
        return {
            "id": one.score_id(trace, one.span_id),
            "project_id": project,
            "name": one.name,
            "value": one.value,
            "outcome": outcome,
            "data_type": DataType.NUMERIC if one.is_numeric else DataType.CATEGORICAL,
            "source": ScoreSource.PROGRAMMATIC,
            "reason": None if reason is None else truncate_reason(reason),
            "metadata": json.dumps(metadata, ensure_ascii=False).encode(),
            "created_at": happened_at,
            "updated_at": happened_at,
        }


def _outcome(one: SentEvaluation) -> tuple[ScoreOutcome, str | None]:
    """The outcome, and the reason: without a value there is always one."""
    if one.error is not None:
        return ScoreOutcome.FAILED, one.reason or f"The evaluation failed: {one.error}"
    if one.value is None:
        return (
            ScoreOutcome.SKIPPED,
            f"{SKIPPED_PREFIX}{one.reason or 'the sender states no result'}",
        )
    return ScoreOutcome.SCORED, one.reason


@dataclass(frozen=True, slots=True)
class RecordSentEvaluations:
    """Records the evaluations of a request; those of unknown traces wait for them."""

    writer: EvaluationWriter
    waiting: WaitingEvaluations
    clock: Clock

    async def __call__(
        self, project: ProjectId, received: Sequence[ReceivedEvaluation]
    ) -> Sequence[Rejection]:
        """Returns why some are neither recorded nor wait. Idempotent. Raises Unavailable."""
        rejections: list[Rejection] = []
        early: list[ReceivedEvaluation] = []

        async def record(one: ReceivedEvaluation) -> None:
            try:
                await self.writer.write(project, one)
            except NotFound:
                early.append(one)
            except Invalid as invalid:
                rejections.append(_not_storable(one, invalid))

        known = [one for one in received if one.trace is not None]
        await gather_limited(CONCURRENT_WRITES_MAX, [partial(record, one) for one in known])
        early += [one for one in received if one.trace is None]
        left_out = await self.waiting.add(project, early, self.clock()) if early else 0
        if left_out:
            message = f"{WAITING_MAX:,} evaluations of the project wait for what they evaluate"
            reason = RejectionReason.NOT_STORABLE
            rejections.append(Rejection(reason=reason, message=message, count=left_out))
        return rejections


@dataclass(frozen=True, slots=True)
class RecordWaitingEvaluations:
    """Records the evaluations whose trace has come. One that can't be written delays no other."""

    writer: EvaluationWriter
    waiting: WaitingEvaluations
    report: ReportRejections

    async def __call__(self) -> int:
        """The number of evaluations that wait no longer.

        Raises Unavailable once the others were tried, or once UNAVAILABLE_MAX writes failed. What
        failed is retried by the next call.
        """
        recorded, failures = 0, list[Unavailable]()
        failed = Counter[ProjectId]()

        async def record(one: WaitingEvaluation) -> WaitingEvaluation | None:
            too_many = failed[one.project] >= UNAVAILABLE_OF_PROJECT_MAX
            if too_many or len(failures) >= UNAVAILABLE_MAX:
                return None
            try:
                await self._record(one)
            except Unavailable as failure:
                failed[one.project] += 1
                failures.append(failure)
                return None
            return one

        for _ in range(BATCHES_MAX):
            due = await self.waiting.list_due(failed.keys())
            steps = [partial(record, one) for one in due]
            tried = await gather_limited(CONCURRENT_WRITES_MAX, steps)
            if done := [one for one in tried if one is not None]:
                await self.waiting.delete(done)
                recorded += len(done)
            if not due or len(failures) >= UNAVAILABLE_MAX:
                break
        if failures:
            raise failures[0]
        return recorded

    async def _record(self, one: WaitingEvaluation) -> None:
        try:
            await self.writer.write(one.project, one.received)
        except (NotFound, Invalid) as refused:  # it is being erased, or its session is unknown
            self.report(one.project, [_not_storable(one.received, refused)])


@dataclass(frozen=True, slots=True)
class DeleteExpiredEvaluations:
    """Deletes evaluations that have waited for EVALUATION_WAIT, and whose target didn't come.

    Reports those of a response: the record of any other is among those without a span.
    """

    waiting: WaitingEvaluations
    clock: Clock
    report: ReportRejections

    async def __call__(self) -> int:
        """The number of deleted evaluations. Raises Unavailable; earlier batches stay deleted."""
        before = self.clock() - EVALUATION_WAIT

        async def delete() -> int:
            gone = await self.waiting.delete_expired(before)
            counts = Counter(one.project for one in gone if one.received.trace is None)
            for project, count in counts.items():
                message = "the response that an evaluation names didn't come within 24 hours"
                reason = RejectionReason.UNKNOWN_RESPONSE_ID
                self.report(project, [Rejection(reason=reason, message=message, count=count)])
            return len(gone)

        return await run_in_batches(delete)


def _not_storable(one: ReceivedEvaluation, why: Invalid | NotFound) -> Rejection:
    return Rejection(
        reason=RejectionReason.NOT_STORABLE,
        message=f"the evaluation {one.evaluation.name} can't be stored: {why.message}",
        trace_id=None if one.trace is None else one.trace.hex,
        span_id=one.evaluation.span_id,
    )
