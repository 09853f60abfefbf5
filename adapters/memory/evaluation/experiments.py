"""Experiments, in memory."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from adapters.memory.evaluation.datasets import visible_items
from adapters.memory.store import MemoryStore, by_creation, newest_page
from domain.errors import Conflict, NotFound
from domain.evaluation.experiments.experiment import (
    EXPERIMENTS_MAX,
    CaseResult,
    CaseScore,
    Experiment,
    NoiseFloor,
    Result,
    ResultsWritten,
    first_of_cases,
    named_case,
    plan_results,
)
from domain.evaluation.experiments.measurements import (
    Figure,
    Measurements,
    MetricValues,
    measured_usage,
)
from domain.evaluation.runs.run import EvalRun
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId, RunId
from domain.page import Page, PageRequest
from domain.tracing.payloads.payload import scalar_members
from domain.tracing.trace import TraceSummary


@dataclass(frozen=True, slots=True)
class MemoryExperiments:
    store: MemoryStore

    async def create(
        self, experiment: Experiment, *, audit: AuditEntry | None = None
    ) -> Experiment:
        project = experiment.project_id
        self.store.check_exists(project)
        known = self.store.experiments.find(project, experiment.id)
        if known is not None:
            return self._with_version(known)
        if all(
            one.id != experiment.version.dataset_id
            for one in self.store.datasets.in_project(project)
        ):
            raise NotFound("Dataset not found")
        if len(self.store.experiments.in_project(project)) >= EXPERIMENTS_MAX:
            raise Conflict(f"A project has {EXPERIMENTS_MAX:,} experiments at most: delete some")
        self.store.experiments[project, experiment.id] = experiment
        self.store.record(audit)
        return experiment

    async def get(self, project: ProjectId, experiment: UUID) -> Experiment:
        return self._with_version(self.store.experiments.require(project, experiment))

    async def page(
        self, project: ProjectId, dataset: str | None, window: PageRequest
    ) -> Page[Experiment]:
        ours = by_creation(self.store.experiments.in_project(project))
        return newest_page(
            [self._with_version(one) for one in ours if dataset is None or one.dataset == dataset],
            window,
        )

    async def put_results(
        self, project: ProjectId, experiment: UUID, sent: Sequence[Result]
    ) -> ResultsWritten:
        self.store.check_exists(project)
        known = await self.get(project, experiment)
        known.check_open()
        rows = self.store.results.live()
        taken = {trace: (key[1], key[2]) for key, trace in rows if key[0] == project}
        ours = {one.case: one.trace for one in await self.results(project, experiment)}
        plan = plan_results(known, ours, sent, self._items(known), taken)
        for one in plan.stored:
            self.store.results[project, experiment, one.case] = one.trace
        return ResultsWritten(
            stored=len(plan.stored),
            unchanged=plan.unchanged,
            results=await self.count_results(project, experiment),
            refused=plan.refused,
        )

    async def named_results(self, project: ProjectId, experiment: UUID) -> Sequence[Result]:
        named = [
            Result(case, one.id)
            for one in self.store.visible_traces(project)
            if (case := named_case(one.metadata, experiment)) is not None
        ]
        return first_of_cases(named)

    async def close(
        self,
        project: ProjectId,
        experiment: UUID,
        run: RunId,
        now: datetime,
        *,
        audit: AuditEntry | None = None,
    ) -> Experiment:
        known = self.store.experiments.require(project, experiment)
        closed = known.closed(run, now)
        if closed != known:
            self.store.experiments[project, experiment] = closed
            self.store.record(audit)
        return await self.get(project, experiment)

    async def results(self, project: ProjectId, experiment: UUID) -> Sequence[Result]:
        rows = self.store.results.live()
        ours = [Result(key[2], one) for key, one in rows if key[:2] == (project, experiment)]
        return sorted(ours, key=lambda one: one.case)

    async def count_results(self, project: ProjectId, experiment: UUID) -> int:
        return len(await self.results(project, experiment))

    async def case_results(
        self, project: ProjectId, experiment: UUID, items: Sequence[str], run: EvalRun | None
    ) -> Sequence[CaseResult]:
        found = await self.results(project, experiment)
        return [self._case_result(project, one, run) for one in found if one.case.item in items]

    async def measurements(
        self, experiment: Experiment, run: EvalRun | None, metrics: Sequence[str]
    ) -> Measurements:
        project = experiment.project_id
        figures: dict[Figure, dict[str, list[tuple[int, float]]]] = {
            one: defaultdict(list) for one in Figure
        }
        results, cost = Counter[int](), Decimal(0)
        found = await self.results(project, experiment.id)
        for one in found:
            made = self._case_result(project, one, None)
            known = {
                Figure.LATENCY: made.latency_ms,
                Figure.TOKENS: made.tokens,
                Figure.COST: made.cost_usd,
            }
            for figure, number in known.items():
                if number is not None:
                    pair = (one.case.repetition, float(number))
                    figures[figure][one.case.item].append(pair)
            if self.store.visible_trace(project, one.trace) is not None:
                results[one.case.repetition] += 1
            cost += made.cost_usd or Decimal(0)
        return Measurements(
            cases=experiment.cases,
            repetitions=experiment.repetitions,
            metrics={} if run is None else self._metric_values(found, run, metrics),
            figures=figures,
            repetition_results=results,
            cost_usd=cost,
        )

    def _metric_values(
        self, found: Sequence[Result], run: EvalRun, metrics: Sequence[str]
    ) -> Mapping[str, MetricValues]:
        cases = {one.trace: one.case for one in found}
        measured: dict[str, MetricValues] = {}
        for name in metrics:
            scores = [
                one
                for one in self.store.visible_trace_scores(run.project_id)
                if one.run_id == run.id and one.name == name and one.number is not None
            ]
            values: dict[str, list[tuple[int, float]]] = defaultdict(list)
            for one in scores:
                case = cases.get(one.trace_id)
                if case is not None and one.number is not None:
                    values[case.item].append((case.repetition, one.number))
            ours = [one for one in scores if one.trace_id in cases]
            if ours:
                prints = (scalar_members(one.metadata).get("fingerprint", "") for one in ours)
                thresholds = [one.threshold for one in ours if one.threshold is not None]
                measured[name] = MetricValues(
                    values={item: sorted(pairs) for item, pairs in values.items()},
                    fingerprints=frozenset(prints),
                    threshold=max(thresholds, default=None),
                )
        return measured

    async def keep_noise_floor(
        self, project: ProjectId, experiment: UUID, floor: Mapping[str, NoiseFloor]
    ) -> Mapping[str, NoiseFloor]:
        known = self.store.experiments.require(project, experiment)
        kept = {**(known.noise_floor or {}), **floor}
        self.store.experiments[project, experiment] = replace(known, noise_floor=kept)
        return kept

    async def delete(
        self, project: ProjectId, experiment: UUID, *, audit: AuditEntry | None = None
    ) -> bool:
        if not self.store.experiments.discard(project, experiment):
            return False
        for key in [one for one in self.store.results if one[:2] == (project, experiment)]:
            del self.store.results[key]
        self.store.record(audit)
        return True

    def _with_version(self, known: Experiment) -> Experiment:
        key = (known.project_id, known.version.dataset_id, known.version.number)
        return replace(known, version=self.store.dataset_versions[key])

    def _items(self, known: Experiment) -> set[str]:
        project, version = known.project_id, known.version
        rows = [
            row
            for key, row in self.store.dataset_items.live()
            if key[:2] == (project, version.dataset_id) and row.is_in(version.number)
        ]
        return {
            one.item.id
            for one in visible_items(self.store, project, rows)
            if known.split is None or one.item.split == known.split
        }

    def _case_result(self, project: ProjectId, result: Result, run: EvalRun | None) -> CaseResult:
        made = CaseResult(case=result.case, trace=result.trace, scores=self._scores(result, run))
        trace = self.store.visible_trace(project, result.trace)
        if trace is None:
            return made
        summary = TraceSummary.from_trace(trace)
        tokens, cost = measured_usage(summary.totals)
        return replace(made, latency_ms=summary.latency_ms, tokens=tokens, cost_usd=cost)

    def _scores(self, result: Result, run: EvalRun | None) -> tuple[CaseScore, ...]:
        if run is None:
            return ()
        ours = {one.id: one for one in self.store.visible_trace_scores(run.project_id)}
        ids = [run.score_id(str(result.trace), metric) for metric in run.metrics]
        return tuple(
            CaseScore(
                metric=one.name,
                outcome=one.outcome,
                value=one.value,
                code=one.code,
                reason=one.reason,
            )
            for one in (ours[id_] for id_ in ids if id_ in ours)
        )
