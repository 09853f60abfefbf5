"""Judges held against people on the wire, and what people may label next."""

from typing import Annotated, Final, Self
from uuid import UUID

import msgspec
from msgspec import Meta

from domain.evaluation.agreement import calibration as calibrations
from domain.evaluation.agreement.annotation_queue import (
    QUEUE_LENGTH_DEFAULT,
    QUEUE_LENGTH_MAX,
    QueueItem,
    SelectionReason,
)
from domain.evaluation.agreement.statistics import ConfusionMatrix, IntervalEstimate
from domain.evaluation.metrics.metric import THRESHOLD
from domain.tracing.payload import scalar_members
from entrypoints.http.controllers.scores.analytics_schemas import CreatedQuery, MetricName
from entrypoints.http.requests.wire_types import ShownInstant, instant

NO_INTERVAL: Final = "no interval: the pairs are too few, or too much alike"

type Threshold = Annotated[float, Meta(ge=0, le=1, description="From where on a score passes")]


class AgreementQuery(CreatedQuery, frozen=True, kw_only=True):
    name: MetricName
    threshold: Threshold = THRESHOLD


class AnnotationQueueQuery(msgspec.Struct, frozen=True, kw_only=True):
    name: MetricName
    threshold: Threshold = THRESHOLD
    limit: Annotated[int, Meta(ge=1, le=QUEUE_LENGTH_MAX, description="How many to show")] = (
        QUEUE_LENGTH_DEFAULT
    )


class AgreementFigure(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with its interval of 95 %; null where it isn't defined, and the reason why.

    `low` and `high` alone are null where the pairs tell of no interval: of fewer than 8 for the
    kappas, and where they are too much alike, as when judge and people agree in all.
    """

    value: float | None
    low: float | None
    high: float | None
    reason: str | None

    @classmethod
    def of(cls, figure: calibrations.Statistic) -> Self:
        if isinstance(figure, IntervalEstimate):
            low, value, high = (
                None if one is None else round(one, 4) + 0.0  # no -0.0
                for one in (figure.low, figure.value, figure.high)
            )
            reason = NO_INTERVAL if low is None else None
            return cls(value=value, low=low, high=high, reason=reason)
        return cls(value=None, low=None, high=None, reason=figure.reason)


class ConfusionCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many traces pass by the judge and by people."""

    both_pass: int
    only_judge_passes: int
    only_people_pass: int
    both_fail: int

    @classmethod
    def of(cls, found: ConfusionMatrix) -> Self:
        return cls(
            both_pass=found.both_pass,
            only_judge_passes=found.judge_alone,
            only_people_pass=found.person_alone,
            both_fail=found.both_fail,
        )


class AgreementItem(msgspec.Struct, frozen=True, kw_only=True):
    """How far one judge agrees with people.

    `n` counts the traces that both have scored; with fewer than 30 it isn't `calibrated`.
    `judged` counts the scores that the pass rates are of. `fingerprint` is null where no run
    vouches for it.
    """

    fingerprint: str | None
    judge_kind: str | None
    n: int
    calibrated: bool
    confusion: ConfusionCounts
    agreement: AgreementFigure
    kappa: AgreementFigure
    weighted_kappa: AgreementFigure
    spearman: AgreementFigure
    mean_absolute_error: AgreementFigure
    sensitivity: AgreementFigure
    specificity: AgreementFigure
    judged: int
    pass_rate: AgreementFigure
    corrected_pass_rate: AgreementFigure

    @classmethod
    def of(cls, found: calibrations.Calibration) -> Self:
        return cls(
            fingerprint=found.fingerprint,
            judge_kind=found.judge_kind,
            n=found.n,
            calibrated=found.is_calibrated,
            confusion=ConfusionCounts.of(found.confusion),
            agreement=AgreementFigure.of(found.agreement),
            kappa=AgreementFigure.of(found.kappa),
            weighted_kappa=AgreementFigure.of(found.weighted_kappa),
            spearman=AgreementFigure.of(found.spearman),
            mean_absolute_error=AgreementFigure.of(found.mean_absolute_error),
            sensitivity=AgreementFigure.of(found.sensitivity),
            specificity=AgreementFigure.of(found.specificity),
            judged=found.judged,
            pass_rate=AgreementFigure.of(found.pass_rate),
            corrected_pass_rate=AgreementFigure.of(found.corrected_pass_rate),
        )


class AnnotationQueueItem(msgspec.Struct, frozen=True, kw_only=True):
    """A judge's score of a trace that no person has spoken of, and why it is offered."""

    trace_id: UUID
    score_id: UUID
    score: float | None
    reason: str | None
    fingerprint: str | None
    judge_kind: str | None
    created_at: ShownInstant
    why: SelectionReason

    @classmethod
    def of(cls, one: QueueItem) -> Self:
        score = one.score
        return cls(
            trace_id=score.trace_id,
            score_id=score.id,
            score=score.number,
            reason=score.reason,
            fingerprint=scalar_members(score.metadata).get("fingerprint"),
            judge_kind=score.judge_kind,
            created_at=instant(score.created_at),
            why=one.why,
        )
