"""The results of a run by metric: outcomes and numbers."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from domain.evaluation.runs.run import EvalRun
from domain.evaluation.scores.analytics import SeparateKind
from domain.evaluation.scores.score import Score, ScoreOutcome
from domain.tracing.payloads.payload import scalar_members

CODES_MAX: Final = 50  # of one metric, the most frequent; fewer are defined


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreGroup:
    """Scores of one metric of a run that differ in their targets and numbers only.

    `total` is the sum of their numbers, of which `passed` reach the threshold. Scores that were
    changed after the run gave them aren't automated, and have no threshold and no judge here.
    `is_cached`: a cached verdict replaced every request to the judge.
    """

    metric: str
    outcome: ScoreOutcome
    code: str | None
    judge_kind: str | None
    threshold: float | None
    is_automated: bool
    is_cached: bool
    count: int
    total: float
    passed: int

    @classmethod
    def from_score(cls, score: Score) -> Self:
        """The group of a single score."""
        threshold = score.threshold if score.is_automated else None
        number = score.number
        return cls(
            metric=score.name,
            outcome=score.outcome,
            code=score.code,
            judge_kind=score.judge_kind,
            threshold=threshold,
            is_automated=score.is_automated,
            is_cached=score.is_automated and scalar_members(score.metadata).get("cache") == "hit",
            count=1,
            total=number or 0.0,
            passed=int(number is not None and threshold is not None and number >= threshold),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSummary:
    """The results of a run in one metric, or in one signal of a session run.

    The outcomes count the scores that exist now. `mean` is of the `counted` numbers that the run
    gave: values that people changed are scored, and not counted. `passed` of the counted numbers
    reach `threshold`; both are None if no number has one, `threshold` also if they differ.
    `judge_kind` is heuristic or model; None if neither gave a number. `codes` count failed and
    skipped scores, the most frequent first.
    """

    metric: str
    is_signal: bool
    scored: int
    skipped: int
    failed: int
    pending: int
    mean: float | None
    counted: int
    threshold: float | None
    passed: int | None
    codes: Mapping[str, int]
    judge_kind: str | None
    cache_hits: int


def summarize_run(
    run: EvalRun, groups: Iterable[ScoreGroup], asked: Iterable[str] = ()
) -> Sequence[MetricSummary]:
    """The metrics of a run in its order, then the signals that a session run computed, by name.

    `asked` are the names that judges were asked about: a signal may have no score.
    """
    by_metric: dict[str, list[ScoreGroup]] = {name: [] for name in run.metrics}
    signals: dict[str, list[ScoreGroup]] = {name: [] for name in asked if name not in by_metric}
    for one in groups:
        known = by_metric if one.metric in by_metric else signals
        known.setdefault(one.metric, []).append(one)
    return [
        _metric_summary(name, some, is_signal=name in signals)
        for name, some in [*by_metric.items(), *sorted(signals.items())]
    ]


def _metric_summary(name: str, groups: Sequence[ScoreGroup], *, is_signal: bool) -> MetricSummary:
    outcomes, codes = Counter[ScoreOutcome](), Counter[str]()
    for one in groups:
        outcomes[one.outcome] += one.count
        if one.code is not None:
            codes[one.code] += one.count
    given = [one for one in groups if one.is_automated and one.outcome is ScoreOutcome.SCORED]
    kinds = {one.judge_kind for one in given}
    kind = next((one for one in (SeparateKind.MODEL, SeparateKind.HEURISTIC) if one in kinds), None)
    # Numbers of the heuristic judge and of models are never averaged together.
    if kind is SeparateKind.MODEL:
        given = [one for one in given if one.judge_kind != SeparateKind.HEURISTIC]
    counted = sum(one.count for one in given)
    thresholds = {one.threshold for one in given if one.threshold is not None}
    return MetricSummary(
        metric=name,
        is_signal=is_signal,
        scored=outcomes[ScoreOutcome.SCORED],
        skipped=outcomes[ScoreOutcome.SKIPPED],
        failed=outcomes[ScoreOutcome.FAILED],
        pending=outcomes[ScoreOutcome.PENDING],
        mean=math.fsum(one.total for one in given) / counted if counted else None,
        counted=counted,
        threshold=min(thresholds) if len(thresholds) == 1 else None,
        passed=sum(one.passed for one in given) if thresholds else None,
        codes=dict(sorted(codes.items(), key=lambda one: (-one[1], one[0]))[:CODES_MAX]),
        judge_kind=kind,
        cache_hits=sum(one.count for one in groups if one.is_cached),
    )
