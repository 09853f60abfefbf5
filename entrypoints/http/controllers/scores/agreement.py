"""Agreement of judges with human labels, the annotation queue, and claims of its items."""

from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Final, Self
from uuid import UUID

import msgspec
from litestar import Controller
from msgspec import UNSET, Meta, UnsetType

from application.use_cases import UseCases
from domain.evaluation.agreement import calibration as calibrations
from domain.evaluation.agreement import claims
from domain.evaluation.agreement.statistics import ConfusionMatrix, IntervalEstimate
from domain.evaluation.metrics.metric import THRESHOLD
from domain.evaluation.scores.score import TraceScore
from domain.identity.caller import Caller
from domain.ids import ProjectId, TraceId
from domain.tracing.payloads.payload import scalar_members
from entrypoints.http.authentication import CAN_INGEST_AND_READ, CAN_READ
from entrypoints.http.controllers.scores.analytics import CreatedQuery, MetricName
from entrypoints.http.controllers.scores.examples import AT, SCORE_ID
from entrypoints.http.controllers.traces.examples import TRACE_ID
from entrypoints.http.controllers.traces.schemas import INCLUDED, some_of
from entrypoints.http.endpoint import get, post
from entrypoints.http.requests.scalar_types import PLAIN_TEXT
from entrypoints.http.requests.wire_types import ResponseInstant, format_instant
from entrypoints.http.response_structs import OPTIONAL, ResponseStruct, Source

FINGERPRINT_CHARS_MAX: Final = 128
NO_INTERVAL: Final = (
    "no interval: there are too few pairs, they are too similar, or they contradict the pass rate"
)

type Threshold = Annotated[float, Meta(ge=0, le=1, description="Scores from this value on pass")]


class AgreementQuery(CreatedQuery, frozen=True, kw_only=True):
    name: MetricName
    threshold: Threshold = THRESHOLD


class PairedTracesQuery(AgreementQuery, frozen=True, kw_only=True):
    cell: Annotated[
        calibrations.ConfusionCell,
        Meta(
            description="A number of `confusion`: who passes the trace",
            examples=["only_judge_passes"],
        ),
    ]
    fingerprint: (
        Annotated[
            str,
            Meta(
                max_length=FINGERPRINT_CHARS_MAX,
                description=(
                    "Only this judge. Empty: scores without a fingerprint. Left out: every judge"
                ),
                extra=PLAIN_TEXT,
            ),
        ]
        | None
    ) = None

    def to_domain(self) -> calibrations.CellQuery:
        judges = None if self.fingerprint is None else frozenset({self.fingerprint or None})
        return calibrations.CellQuery(cell=self.cell, threshold=self.threshold, judges=judges)


class QueueIncluded(StrEnum):
    """What else each item of an annotation queue shows."""

    PREVIEW = "preview"


type QueueInclude = Annotated[
    str,
    some_of(
        QueueIncluded,
        "preview",
        "`preview` adds `input_preview` and `output_preview` of the trace to each item",
    ),
]


class IncludeQuery(msgspec.Struct, frozen=True, kw_only=True):
    include: QueueInclude | None = None


class AnnotationQueueQuery(IncludeQuery, frozen=True, kw_only=True):
    name: MetricName
    threshold: Threshold = THRESHOLD
    limit: Annotated[
        int, Meta(ge=1, le=calibrations.QUEUE_LENGTH_MAX, description="How many scores to return")
    ] = calibrations.QUEUE_LENGTH_DEFAULT


class AgreementFigure(msgspec.Struct, frozen=True, kw_only=True):
    """A statistic with its 95 % confidence interval; null, with a reason, if it isn't defined.

    Only `low` and `high` are null if the pairs allow no interval: fewer than 8 pairs for the
    kappas, pairs that are too similar, for example if judge and people always agree, or pairs that
    contradict the pass rate of the judge.
    """

    value: float | None
    low: float | None
    high: float | None
    reason: str | None

    @classmethod
    def from_domain(cls, figure: calibrations.Statistic) -> Self:
        if isinstance(figure, IntervalEstimate):
            low, value, high = (
                None if bound is None else round(bound, 4) + 0.0  # not -0.0
                for bound in (figure.low, figure.value, figure.high)
            )
            reason = NO_INTERVAL if low is None else None
            return cls(value=value, low=low, high=high, reason=reason)
        return cls(value=None, low=None, high=None, reason=figure.reason)


class ConfusionCounts(ResponseStruct[ConfusionMatrix], frozen=True, kw_only=True):
    """How many traces pass according to the judge and to people."""

    both_pass: int
    only_judge_passes: Annotated[int, Source("judge_alone")]
    only_people_pass: Annotated[int, Source("person_alone")]
    both_fail: int


class AgreementItem(ResponseStruct[calibrations.Calibration], frozen=True, kw_only=True):
    """The agreement of one judge with people.

    `n` is the number of traces that both have scored; `calibrated` is false below 30. `judged` is
    the number of scores in the pass rates. `fingerprint` is null for scores without a run.
    """

    fingerprint: str | None
    judge_kind: str | None
    n: int
    calibrated: Annotated[bool, Source("is_calibrated")]
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


class PairedTraceResponse(ResponseStruct[calibrations.PairedTrace], frozen=True, kw_only=True):
    """A trace with the newest score of a judge and the label that was written last."""

    trace_id: Annotated[UUID, Source("trace")]
    fingerprint: str | None
    judge: Annotated[float, Source("pair.judge")]
    person: Annotated[float, Source("pair.person")]
    labelled_at: ResponseInstant


class PairedTracesResponse(ResponseStruct[calibrations.PairedTraces], frozen=True, kw_only=True):
    """Traces of a cell, those that were labelled last first."""

    items: Annotated[list[PairedTraceResponse], Source("traces")]
    total: Annotated[int, Meta(description="How many the cell has")]


def _fingerprint(score: TraceScore) -> str | None:
    return scalar_members(score.metadata).get("fingerprint")


class AnnotationQueueItem(ResponseStruct[calibrations.QueueItem], frozen=True, kw_only=True):
    """A judge's score of a trace without a human label, and the reason for its selection."""

    trace_id: Annotated[UUID, Source("score.trace_id")]
    score_id: Annotated[UUID, Source("score.id")]
    score: Annotated[float | None, Source("score.number")]
    reason: Annotated[str | None, Source("score.reason")]
    fingerprint: Annotated[str | None, Source("score", _fingerprint)]
    judge_kind: Annotated[str | None, Source("score.judge_kind")]
    created_at: Annotated[ResponseInstant, Source("score.created_at")]
    why: calibrations.SelectionReason
    input_preview: Annotated[str | UnsetType | None, OPTIONAL, INCLUDED] = UNSET
    output_preview: Annotated[str | UnsetType | None, OPTIONAL, INCLUDED] = UNSET
    claimed_until: Annotated[
        ResponseInstant | UnsetType, OPTIONAL, Meta(description="Only in answers to a claim")
    ] = UNSET


class AnnotationQueueResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Items of the queue, with its whole length, and how many traces were labelled today (UTC)."""

    items: list[AnnotationQueueItem]
    queue_length: int
    labelled_today: int


class ClaimAnnotationsRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """How many items, of which queue, for whom."""

    name: MetricName
    threshold: Threshold = THRESHOLD
    count: Annotated[
        int,
        Meta(ge=1, le=claims.CLAIM_COUNT_MAX, description="How many items without a label to hold"),
    ] = claims.CLAIM_COUNT_DEFAULT
    holder: Annotated[
        str,
        Meta(
            max_length=claims.HOLDER_CHARS_MAX,
            description="Distinguishes people who share a key, or browsers of one person",
            extra=PLAIN_TEXT,
        ),
    ] = ""
    skip: Annotated[
        list[UUID],
        Meta(
            max_length=claims.SKIPPED_MAX,
            description="Traces that the holder doesn't want to label: its claims of them end",
        ),
    ] = []


_FINGERPRINT: Final = "5f0c1e7a9b3d4f62"
_QUEUE_ITEM: Final[dict[str, Any]] = {
    "trace_id": TRACE_ID,
    "score_id": SCORE_ID,
    "score": 0.52,
    "reason": "The flight was booked, and the seat was not",
    "fingerprint": _FINGERPRINT,
    "judge_kind": "model",
    "created_at": AT,
    "why": "uncertain",
}
_PROGRESS: Final = {"queue_length": 120, "labelled_today": 14}


def _figure(value: float, low: float, high: float) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "reason": None}


class AgreementController(Controller):
    path = "/evaluations/analytics"

    @get(
        "/agreement",
        CAN_READ,
        description=(
            "Compares the scores that each judge gave traces under a name with the human labels of "
            "the same traces. A judge is identified by its fingerprint; judges with the most "
            f"labels come first, at most {calibrations.JUDGES_MAX}. A label is a NUMERIC "
            "ANNOTATION, or a value with which a person replaced a run's score. The newest "
            f"{calibrations.LABELS_MAX:,} labels in the period count; of several labels of one "
            f"trace, the one that was written last. With fewer than {calibrations.CALIBRATED_FROM} "
            "labels, `calibrated` is false. The pass rates use the judge's newest scores in the "
            f"period, at most {calibrations.JUDGED_MAX:,} of all judges together. A statistic that "
            "isn't defined is null, with a reason."
        ),
        example=[
            {
                "fingerprint": _FINGERPRINT,
                "judge_kind": "model",
                "n": 200,
                "calibrated": True,
                "confusion": {
                    "both_pass": 90,
                    "only_judge_passes": 15,
                    "only_people_pass": 10,
                    "both_fail": 85,
                },
                "agreement": _figure(0.875, 0.822, 0.9139),
                "kappa": _figure(0.75, 0.6584, 0.8416),
                "weighted_kappa": _figure(0.7832, 0.7229, 0.8435),
                "spearman": _figure(0.9037, 0.8683, 0.9299),
                "mean_absolute_error": _figure(0.1625, 0.1395, 0.1855),
                "sensitivity": _figure(0.9, 0.8256, 0.9448),
                "specificity": _figure(0.85, 0.7672, 0.9069),
                "judged": 1000,
                "pass_rate": _figure(0.8, 0.7741, 0.8236),
                "corrected_pass_rate": _figure(0.8667, 0.7982, 0.9581),
            }
        ],
    )
    async def read_agreement(
        self, caller: Caller, params: AgreementQuery, use_cases: UseCases
    ) -> list[AgreementItem]:
        """Agreement of judges with human labels."""
        results = await use_cases.evaluation.annotation.read_agreement(
            caller.project_id, params.name, params.threshold, params.within
        )
        return [AgreementItem.from_domain(result) for result in results]

    @get(
        "/agreement/traces",
        CAN_READ,
        description=(
            "The traces behind a number of `confusion` in the agreement: the "
            f"{calibrations.PAIRED_TRACES_MAX} that were labelled last. Without `fingerprint`, a "
            "trace stands there once for each judge. Labels and scores are those of the agreement, "
            "with its limits."
        ),
        example={
            "items": [
                {
                    "trace_id": TRACE_ID,
                    "fingerprint": _FINGERPRINT,
                    "judge": 0.9,
                    "person": 0.0,
                    "labelled_at": AT,
                }
            ],
            "total": 15,
        },
    )
    async def read_paired_traces(
        self, caller: Caller, params: PairedTracesQuery, use_cases: UseCases
    ) -> PairedTracesResponse:
        """Traces on which a judge and people agree or differ."""
        found = await use_cases.evaluation.annotation.read_paired_traces(
            caller.project_id, params.name, params.to_domain(), params.within
        )
        return PairedTracesResponse.from_domain(found)

    @get(
        "/annotation-queue",
        CAN_READ,
        description=(
            "Automated scores of traces that have no human label under this name. The scores "
            "nearest to the threshold come first; every fifth score is drawn at random. The order "
            "stays the same for a day (UTC). The scores are selected from the newest "
            f"{calibrations.CANDIDATES_MAX:,}, with the newest one of each trace."
        ),
        example={"items": [_QUEUE_ITEM], **_PROGRESS},
    )
    async def read_annotation_queue(
        self, caller: Caller, params: AnnotationQueueQuery, use_cases: UseCases
    ) -> AnnotationQueueResponse:
        """Read the annotation queue."""
        project = caller.project_id
        queue = await use_cases.evaluation.annotation.read_queue(
            project, params.name, params.threshold, params.limit
        )
        progress = await use_cases.evaluation.annotation.read_progress(project, params.name)
        items = [AnnotationQueueItem.from_domain(item) for item in queue]
        return await _respond(use_cases, project, items, progress, params)

    @post(
        "/annotation-queue/claims",
        CAN_INGEST_AND_READ,
        status_code=200,
        description=(
            "Reserves items of the annotation queue, so that several people can label it at the "
            f"same time: no other holder gets them for {claims.CLAIM_TIME.seconds // 60} minutes. "
            "The answer has up to `count` items: first those that the holder has already and that "
            "have no label, then new ones. Each has its whole time again. The holder is the "
            "caller, with `holder` if it is given. A claim ends when the trace is labelled, when "
            "its time is over, or if the trace is in `skip`. At most "
            f"{claims.CLAIMS_MAX:,} items of a project are claimed at a time."
        ),
        example={"items": [_QUEUE_ITEM | {"claimed_until": AT}], **_PROGRESS},
        body_example={"name": "task_completion", "count": 3},
    )
    async def claim_annotations(
        self,
        caller: Caller,
        content: ClaimAnnotationsRequest,
        params: IncludeQuery,
        use_cases: UseCases,
    ) -> AnnotationQueueResponse:
        """Claim items of the annotation queue."""
        project = caller.project_id
        claimed = await use_cases.evaluation.annotation.claim(
            project,
            content.name,
            content.threshold,
            holder=f"{caller.user_id or caller.key_id}/{content.holder}",
            count=content.count,
            skipped=frozenset(TraceId(one) for one in content.skip),
        )
        items = [AnnotationQueueItem.from_domain(one.item) for one in claimed.items]
        for item, one in zip(items, claimed.items, strict=True):
            until = format_instant(one.claim.expires_at)
            msgspec.structs.force_setattr(item, "claimed_until", until)
        return await _respond(use_cases, project, items, claimed.progress, params)


async def _respond(
    use_cases: UseCases,
    project: ProjectId,
    items: list[AnnotationQueueItem],
    progress: claims.QueueProgress,
    params: IncludeQuery,
) -> AnnotationQueueResponse:
    if params.include is not None and items:
        traces = [TraceId(one.trace_id) for one in items]
        previews = await use_cases.tracing.traces.previews(project, traces)
        for item in items:
            preview = previews.get(TraceId(item.trace_id))
            add = partial(msgspec.structs.force_setattr, item)
            add("input_preview", None if preview is None else preview.input)
            add("output_preview", None if preview is None else preview.output)
    return AnnotationQueueResponse(
        items=items, queue_length=progress.length, labelled_today=progress.labelled_today
    )
