"""Wire schemas of comparisons."""

from typing import Annotated, Self
from uuid import UUID

import msgspec
from msgspec import Meta

from application.evaluation.experiments.compare import (
    ComparedSide,
    Comparison,
    ComparisonRequest,
    FailureEvidence,
    Rescoring,
)
from domain.errors import Invalid
from domain.evaluation.experiments.comparison import (
    CONFIDENCE,
    COVERAGE,
    MAX_DROP,
    RULES_MAX,
    Mismatch,
    Needed,
    Rule,
    RuleResult,
    Rules,
    Verdict,
)
from domain.ids import RunId
from entrypoints.http.controllers.experiments.schemas import CaseResultResponse, GitFields
from entrypoints.http.requests import wire_types as wire
from entrypoints.http.requests.scalar_types import PLAIN_TEXT
from entrypoints.http.response_structs import ResponseStruct, Source

METRIC_MAX = 100  # characters: longer than any name of a metric
RATIO_MAX = 1_000

type Share = Annotated[float, Meta(ge=0, le=1)]


class RuleFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Exactly one limit: `max_drop` or `min` of a metric, `max_ratio` of a figure."""

    metric: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=METRIC_MAX,
            extra=PLAIN_TEXT,
            description="The name of a metric, or latency_ms, tokens or cost_usd",
        ),
    ]
    max_drop: (
        Annotated[float, Meta(ge=0, le=1, description="How much lower the mean may be")] | None
    ) = None
    min: Annotated[float, Meta(ge=0, le=1, description="The least mean")] | None = None
    max_ratio: (
        Annotated[
            float,
            Meta(gt=0, le=RATIO_MAX, description="How many times that of the baseline it may be"),
        ]
        | None
    ) = None
    confidence: Annotated[
        float, Meta(ge=0.5, le=0.9999, description="Of the two-sided interval")
    ] = CONFIDENCE

    @classmethod
    def from_domain(cls, rule: Rule) -> Self:
        return cls(
            metric=rule.metric,
            max_drop=rule.max_drop,
            min=rule.min,
            max_ratio=rule.max_ratio,
            confidence=rule.confidence,
        )

    def to_domain(self) -> Rule:
        return Rule(
            metric=self.metric,
            max_drop=self.max_drop,
            min=self.min,
            max_ratio=self.max_ratio,
            confidence=self.confidence,
        )


class CompareRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two experiments, or one with `aa`."""

    base: Annotated[UUID, Meta(description="The experiment to compare with")]
    candidate: Annotated[UUID, Meta(description="Required without `aa`")] | None = None
    aa: Annotated[
        bool, Meta(description="Compare the repetitions of the baseline with each other")
    ] = False
    rules: Annotated[
        list[RuleFields],
        Meta(
            max_length=RULES_MAX,
            description=f"Without rules, each metric may drop by {MAX_DROP}",
        ),
    ] = []
    coverage: Annotated[
        Share, Meta(description="The least share of cases with a score, of each metric and side")
    ] = COVERAGE
    min_kappa: (
        Annotated[
            float,
            Meta(
                ge=-1,
                le=1,
                description="The least agreement of a judge with people, if it has enough labels",
            ),
        ]
        | None
    ) = None
    base_run: (
        Annotated[UUID, Meta(description="A run whose scores replace those of the baseline")] | None
    ) = None
    candidate_run: (
        Annotated[UUID, Meta(description="A run whose scores replace those of the candidate")]
        | None
    ) = None

    def to_domain(self) -> ComparisonRequest:
        """Raises Invalid unless there is either a candidate or `aa`."""
        if self.aa == (self.candidate is not None):
            message = "is required without aa, and not allowed with it"
            raise Invalid.semantic("candidate", message)
        return ComparisonRequest(
            base=self.base,
            candidate=self.candidate,
            rules=Rules(
                rules=[one.to_domain() for one in self.rules],
                coverage=self.coverage,
                min_kappa=self.min_kappa,
            ),
            base_run=None if self.base_run is None else RunId(self.base_run),
            candidate_run=None if self.candidate_run is None else RunId(self.candidate_run),
        )


class ComparedSideResponse(ResponseStruct[ComparedSide], frozen=True, kw_only=True):
    """A side. The figures are means over items; null if none was measured.

    `latency_items`, `tokens_items` and `cost_items` say over how many of the `cases`. A trace with
    a step without a price has no cost. `total_cost_usd` is that of all traces whose cost is known,
    `judge_cost_usd` that of its run without `unpriced_calls`.
    """

    id: Annotated[UUID, Source("experiment.id")]
    name: Annotated[str | None, Source("experiment.name")]
    release: Annotated[str | None, Source("experiment.release")]
    git: Annotated[GitFields, Source("experiment.git")]
    run_id: UUID | None
    cases: int
    results: int
    latency_ms: float | None
    latency_items: int
    tokens: float | None
    tokens_items: int
    cost_usd: float | None
    cost_items: int
    total_cost_usd: wire.Usd
    judge_cost_usd: Annotated[wire.Usd, Source("judges.usd")]
    unpriced_calls: Annotated[int, Source("judges.unpriced")]


class NeededResponse(ResponseStruct[Needed], frozen=True, kw_only=True):
    """About how many more items, or how many repetitions in all, would decide a rule.

    Null if as many aren't allowed, or nothing is known of their noise or cost.
    """

    items: int | None
    items_cost_usd: wire.Usd | None
    repetitions: int | None
    repetitions_cost_usd: wire.Usd | None


class RuleResultResponse(ResponseStruct[RuleResult], frozen=True, kw_only=True):
    """What a rule says. `change` is the candidate's mean minus the baseline's.

    With `max_ratio` it is their ratio, with `min` the candidate's mean. `low` and `high` are its
    two-sided interval; `p_value` is that of the test that the limit holds.
    """

    rule: RuleFields
    verdict: Verdict
    why: str
    items: int
    base_coverage: float
    candidate_coverage: float
    base_mean: float | None
    candidate_mean: float | None
    change: float | None
    low: float | None
    high: float | None
    p_value: float | None
    kappa: float | None
    needed: NeededResponse | None


class MismatchResponse(ResponseStruct[Mismatch], frozen=True, kw_only=True):
    """Why there is no comparison: the versions, splits, metrics or fingerprints of both sides."""

    what: str
    metric: str | None
    base: list[str]
    candidate: list[str]


class RescoringResponse(ResponseStruct[Rescoring], frozen=True, kw_only=True):
    """A run of `metrics` over the traces of the baseline; its id is then `base_run`."""

    metrics: list[str]
    targets: int
    estimated_cost_usd: wire.Usd | None


class NewFailureResponse(ResponseStruct[FailureEvidence], frozen=True, kw_only=True):
    """An item that reached the threshold and doesn't any more, with its results."""

    metric: Annotated[str, Source("failure.metric")]
    item: Annotated[str, Source("failure.item")]
    base: Annotated[float, Source("failure.base")]
    candidate: Annotated[float, Source("failure.candidate")]
    threshold: Annotated[float, Source("failure.threshold")]
    results: list[CaseResultResponse]


class ComparisonResponse(ResponseStruct[Comparison], frozen=True, kw_only=True):
    """The verdict, and what it follows from. `failures` counts all new failures of items."""

    verdict: Verdict
    base: ComparedSideResponse
    candidate: ComparedSideResponse
    results: list[RuleResultResponse]
    mismatches: list[MismatchResponse]
    rescoring: RescoringResponse | None
    failures: int
    new_failures: list[NewFailureResponse]
    noise_floor: dict[str, float] | None
