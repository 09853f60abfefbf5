"""Comparing an experiment with its baseline, or a baseline with itself."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from uuid import UUID

from application.evaluation.experiments.experiments import find_run
from application.evaluation.ports.experiments import Experiments
from application.evaluation.ports.judging import Ledger
from application.evaluation.ports.runs import Runs
from application.evaluation.ports.scores import HumanLabels
from domain.errors import Invalid, NotFound
from domain.evaluation.agreement.calibration import calibrate
from domain.evaluation.agreement.statistics import IntervalEstimate
from domain.evaluation.costs.judge_costs import Spending
from domain.evaluation.experiments.comparison import (
    NEW_FAILURES_MAX,
    Gate,
    Mismatch,
    NewFailure,
    RuleResult,
    Rules,
    Verdict,
    find_mismatches,
    floors_of,
    new_failures,
    noise_floor,
    validate_rules,
    worst,
)
from domain.evaluation.experiments.experiment import CaseResult, Experiment, NoiseFloor
from domain.evaluation.experiments.measurements import (
    COMPARED_MAX,
    NO_VALUES,
    Figure,
    Measurements,
    item_means,
)
from domain.evaluation.metrics.metric import is_rule_fingerprint
from domain.evaluation.runs.run import EvalRun
from domain.evaluation.scores.score import CreatedWithin
from domain.ids import ProjectId, RunId

NO_EXPERIMENT: Final = "this project has no such experiment"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRequest:
    """The sides of a comparison and its rules. Without a candidate, the baseline is both sides.

    `base_run` and `candidate_run` are runs whose scores count in place of those of the experiment.
    """

    base: UUID
    candidate: UUID | None
    rules: Rules
    base_run: RunId | None = None
    candidate_run: RunId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedSide:
    """An experiment in a comparison. The figures are means over items; None if none was measured.

    Each has the number of items that it is the mean of. `cost_usd` is the mean of a trace,
    `total_cost_usd` the sum over all whose cost is known, `judges` what its run spent.
    """

    experiment: Experiment
    run_id: RunId | None
    cases: int
    results: int
    latency_ms: float | None
    latency_items: int
    tokens: float | None
    tokens_items: int
    cost_usd: float | None
    cost_items: int
    total_cost_usd: Decimal
    judges: Spending


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescoring:
    """The metrics and the cost of scoring the baseline as the candidate was scored.

    A run of `metrics` over `targets` traces, whose id is then `base_run`. The cost is estimated by
    that of the candidate's judges; None if some of their calls have no price.
    """

    metrics: Sequence[str]
    targets: int
    estimated_cost_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class FailureEvidence:
    """An item that newly fails, with its results in the candidate."""

    failure: NewFailure
    results: Sequence[CaseResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The verdict and its reasons. Without `mismatches`, each rule has one of `results`.

    `new_failures` are the first of `failures` in all.

    `noise_floor` is that of a baseline that was compared with itself, by metric; None if none is
    known of the scores that were compared.
    """

    verdict: Verdict
    base: ComparedSide
    candidate: ComparedSide
    results: Sequence[RuleResult] = ()
    mismatches: Sequence[Mismatch] = ()
    rescoring: Rescoring | None = None
    new_failures: Sequence[FailureEvidence] = ()
    failures: int = 0
    noise_floor: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class _Side:
    experiment: Experiment
    run: EvalRun | None
    measured: Measurements
    spending: Spending

    @property
    def metrics(self) -> Sequence[str]:
        return self.experiment.metrics if self.run is None else self.run.metrics

    @property
    def unscored(self) -> str:
        """Why more scores may still come; empty if none will."""
        if self.run is None:
            return " (without a run)"
        return "" if self.run.status.is_final else f" (its run is {self.run.status})"

    def summary(self) -> ComparedSide:
        figures = {
            figure: item_means(self.measured.figures.get(figure, {})).values() for figure in Figure
        }
        means = {one: sum(of) / len(of) if of else None for one, of in figures.items()}
        return ComparedSide(
            experiment=self.experiment,
            run_id=None if self.run is None else self.run.id,
            cases=self.measured.cases,
            results=self.measured.results,
            latency_ms=means[Figure.LATENCY],
            latency_items=len(figures[Figure.LATENCY]),
            tokens=means[Figure.TOKENS],
            tokens_items=len(figures[Figure.TOKENS]),
            cost_usd=means[Figure.COST],
            cost_items=len(figures[Figure.COST]),
            total_cost_usd=self.measured.cost_usd,
            judges=self.spending,
        )


@dataclass(frozen=True, slots=True)
class CompareExperiments:
    experiments: Experiments
    runs: Runs
    labels: HumanLabels
    ledger: Ledger

    async def __call__(self, project: ProjectId, request: ComparisonRequest) -> Comparison:
        """The verdict. A comparison of a baseline with itself keeps its noise floor.

        Metrics with too low a coverage get none: later comparisons would have to keep to it. Raises
        Invalid for experiments, runs or rules that don't exist or fit, and for too many scores.
        """
        is_with_itself = request.candidate is None
        (base, old_run), (candidate, new_run) = await self._find_sides(project, request)
        shared = _shared_metrics((base, old_run), (candidate, new_run))
        validate_rules(request.rules.rules, shared, {})
        rules = request.rules.for_metrics(shared)
        metrics = list(dict.fromkeys(one.metric for one in rules if not one.is_of_figure))
        if max(base.cases, candidate.cases) * max(1, len(metrics)) > COMPARED_MAX:
            message = f"more than {COMPARED_MAX:,} scores: name fewer metrics in the rules"
            raise Invalid.semantic("rules", message)
        if is_with_itself:
            old = new = await self._measure(base, old_run, metrics)
        else:
            old, new = await asyncio.gather(
                self._measure(base, old_run, metrics), self._measure(candidate, new_run, metrics)
            )
            floors = floors_of(base.noise_floor or {}, old.measured)
            validate_rules(request.rules.rules, shared, floors)
        mismatches = find_mismatches((base, old.measured), (candidate, new.measured), metrics)
        if not rules:
            mismatches.append(
                Mismatch(what="set of metrics", base=old.metrics, candidate=new.metrics)
            )
        if mismatches:
            return Comparison(
                verdict=Verdict.INCOMPLETE,
                mismatches=mismatches,
                rescoring=_rescoring(mismatches, old, new),
                base=old.summary(),
                candidate=new.summary(),
            )
        first, second = old.measured, new.measured
        names = f"the baseline{old.unscored}", f"the candidate{new.unscored}"
        if is_with_itself:
            first, second = await asyncio.to_thread(old.measured.halves)
            names = f"the odd repetitions{old.unscored}", f"the even repetitions{old.unscored}"
        gate = Gate(
            base=first,
            candidate=second,
            rules=len(rules),
            coverage=request.rules.coverage,
            min_kappa=request.rules.min_kappa,
            kappas=await self._kappas(project, request.rules, second, metrics),
            case_cost_usd=_case_cost(old, new),
            names=names,
        )
        # Each in a call of its own: a longer one would hold the interpreter.
        results = [await asyncio.to_thread(gate.check, one) for one in rules]
        failures = [
            failure
            for metric in metrics
            for failure in await asyncio.to_thread(new_failures, first, second, metric)
        ]
        kept = None
        if is_with_itself:
            covered = [
                one
                for one in metrics
                if min(first.coverage(one), second.coverage(one)) >= request.rules.coverage
            ]
            kept = await self._keep_floor(base, old.measured, covered)
        return Comparison(
            verdict=worst(one.verdict for one in results),
            results=results,
            new_failures=await self._evidence(new, failures[:NEW_FAILURES_MAX]),
            failures=len(failures),
            noise_floor=kept,
            base=old.summary(),
            candidate=new.summary(),
        )

    async def _find_sides(
        self, project: ProjectId, request: ComparisonRequest
    ) -> tuple[tuple[Experiment, EvalRun | None], tuple[Experiment, EvalRun | None]]:
        """Baseline and candidate, each with its run; the baseline twice without a candidate."""
        base = await self._find(project, request.base, "base")
        if request.candidate is None:
            if base.repetitions < 2:  # noqa: PLR2004 - two halves
                message = "needs at least 2 repetitions to be compared with itself"
                raise Invalid.semantic("base", message)
            side = (base, await self._find_run(base, request.base_run, "base_run"))
            return side, side
        candidate = await self._find(project, request.candidate, "candidate")
        old_run = await self._find_run(base, request.base_run, "base_run")
        new_run = await self._find_run(candidate, request.candidate_run, "candidate_run")
        return (base, old_run), (candidate, new_run)

    async def _find(self, project: ProjectId, experiment: UUID, field: str) -> Experiment:
        try:
            return await self.experiments.get(project, experiment)
        except NotFound as missing:
            raise Invalid.semantic(field, NO_EXPERIMENT) from missing

    async def _find_run(
        self, experiment: Experiment, named: RunId | None, field: str
    ) -> EvalRun | None:
        if named is None:
            progress = await find_run(self.runs, experiment)
            return None if progress is None else progress.run
        try:
            return (await self.runs.get(experiment.project_id, named)).run
        except NotFound as missing:
            raise Invalid.semantic(field, "this project has no such run") from missing

    async def _measure(
        self, experiment: Experiment, run: EvalRun | None, metrics: Sequence[str]
    ) -> _Side:
        measured = await self.experiments.measurements(experiment, run, metrics)
        spending = Spending()
        if run is not None:
            spending = await self.ledger.run_spending(experiment.project_id, run.id)
        return _Side(experiment, run, measured, spending)

    async def _kappas(
        self, project: ProjectId, rules: Rules, measured: Measurements, metrics: Sequence[str]
    ) -> Mapping[str, float]:
        """Cohen's kappa of the judge of each metric, where people have given enough labels."""
        found: dict[str, float] = {}
        if rules.min_kappa is None:
            return found
        for metric in metrics:
            values = measured.metrics.get(metric, NO_VALUES)
            if values.threshold is None:
                continue
            compared = await self.labels.compare_with_human_labels(
                project, metric, values.threshold, CreatedWithin()
            )
            judges = {one for one in values.fingerprints if not is_rule_fingerprint(one)}
            for one in compared:
                if one.fingerprint not in judges:
                    continue
                calibration = await asyncio.to_thread(calibrate, one, values.threshold)
                if calibration.is_calibrated and isinstance(calibration.kappa, IntervalEstimate):
                    found[metric] = calibration.kappa.value
        return found

    async def _keep_floor(
        self, base: Experiment, measured: Measurements, metrics: Sequence[str]
    ) -> Mapping[str, float] | None:
        """The floors by metric that are known of these scores, with the new ones."""
        floors = dict[str, NoiseFloor]()
        for metric in metrics:
            floor = await asyncio.to_thread(noise_floor, measured, metric)
            if floor is not None:
                floors[metric] = floor
        kept = base.noise_floor or {}
        if floors:
            kept = await self.experiments.keep_noise_floor(base.project_id, base.id, floors)
        return floors_of(kept, measured) or None

    async def _evidence(
        self, side: _Side, failures: Sequence[NewFailure]
    ) -> Sequence[FailureEvidence]:
        if not failures:
            return []
        items = sorted({one.item for one in failures})
        experiment = side.experiment
        results = await self.experiments.case_results(
            experiment.project_id, experiment.id, items, side.run
        )
        return [
            FailureEvidence(one, [result for result in results if result.case.item == one.item])
            for one in failures
        ]


def _shared_metrics(*sides: tuple[Experiment, EvalRun | None]) -> Sequence[str]:
    first, second = (
        experiment.metrics if run is None else run.metrics for experiment, run in sides
    )
    return [one for one in first if one in second]


def _rescoring(mismatches: Sequence[Mismatch], old: _Side, new: _Side) -> Rescoring | None:
    """None if the experiments are different tests: then another score doesn't help."""
    if any(one.metric is None for one in mismatches):
        return None
    cost = None
    if new.measured.results and not new.spending.unpriced:
        cost = new.spending.usd * old.measured.results / new.measured.results
    return Rescoring(
        metrics=[one.metric for one in mismatches if one.metric is not None],
        targets=old.measured.results,
        estimated_cost_usd=cost,
    )


def _case_cost(*sides: _Side) -> Decimal | None:
    """The average cost of a case: its trace and its judges. None if something has no price."""
    if not all(one.measured.is_priced and not one.spending.unpriced for one in sides):
        return None
    results = sum(one.measured.results for one in sides)
    return sum((one.measured.cost_usd + one.spending.usd for one in sides), Decimal(0)) / results
