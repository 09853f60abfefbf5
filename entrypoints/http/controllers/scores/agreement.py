"""How far judges agree with people, and what people may label next."""

from typing import Any, Final

from litestar import Controller, get

from application.use_cases import UseCases
from domain.evaluation.agreement.annotation_queue import CANDIDATES_MAX
from domain.evaluation.agreement.calibration import (
    CALIBRATED_FROM,
    JUDGED_MAX,
    JUDGES_MAX,
    LABELS_MAX,
)
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
from entrypoints.http.authentication import data_plane
from entrypoints.http.controllers.scores.agreement_schemas import (
    AgreementItem,
    AgreementQuery,
    AnnotationQueueItem,
    AnnotationQueueQuery,
)
from entrypoints.http.controllers.scores.examples import AT, SCORE_ID
from entrypoints.http.controllers.traces.examples import TRACE_ID
from entrypoints.http.endpoint import Injected, endpoint

_FINGERPRINT: Final = "5f0c1e7a9b3d4f62"


def _figure(value: float, low: float, high: float) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "reason": None}


AGREEMENT: Final = endpoint(
    data_plane(Scope.READ),
    summary="Agreement of judges with people",
    description=(
        "Of each judge, told by its fingerprint, how its scores of traces under a name agree "
        "with what people said of the same traces: those with the most labels first, at most "
        f"{JUDGES_MAX}. A label is a NUMERIC ANNOTATION, or a person's value over a run's "
        f"score; the newest {LABELS_MAX:,} made in these dates count, of one trace that which "
        f"was written last. Fewer than {CALIBRATED_FROM} say little: `calibrated` is false "
        f"then. Pass rates are of the judge's newest scores in these dates, {JUDGED_MAX:,} of "
        "all judges at most. What isn't defined is null, with the reason."
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
            "corrected_pass_rate": _figure(0.8667, 0.7901, 0.9432),
        }
    ],
)

QUEUE: Final = endpoint(
    data_plane(Scope.READ),
    summary="What is most worth labelling",
    description=(
        "Automated scores of traces that no person has labelled under this name: those that "
        "lie nearest to the threshold, and at every fifth place one drawn by chance, in an "
        f"order that stays all day (UTC). Chosen from the newest {CANDIDATES_MAX:,}; of a trace "
        "its newest."
    ),
    example=[
        {
            "trace_id": TRACE_ID,
            "score_id": SCORE_ID,
            "score": 0.52,
            "reason": "The flight was booked, and the seat was not",
            "fingerprint": _FINGERPRINT,
            "judge_kind": "model",
            "created_at": AT,
            "why": "uncertain",
        }
    ],
)


class AgreementController(Controller):
    path = "/evaluations/analytics"

    @get("/agreement", **AGREEMENT)
    async def read_agreement(
        self,
        caller: Injected[Caller],
        params: Injected[AgreementQuery],
        use_cases: Injected[UseCases],
    ) -> list[AgreementItem]:
        query = params
        found = await use_cases.evaluation.read_agreement(
            caller.project_id, query.name, query.threshold, query.within
        )
        return [AgreementItem.of(one) for one in found]

    @get("/annotation-queue", **QUEUE)
    async def read_annotation_queue(
        self,
        caller: Injected[Caller],
        params: Injected[AnnotationQueueQuery],
        use_cases: Injected[UseCases],
    ) -> list[AnnotationQueueItem]:
        query = params
        found = await use_cases.evaluation.read_annotation_queue(
            caller.project_id, query.name, query.threshold, query.limit
        )
        return [AnnotationQueueItem.of(one) for one in found]
