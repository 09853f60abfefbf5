"""Tries a custom metric, or a draft of one, on one trace, without storing a score."""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final
from uuid import UUID

from application.evaluation.custom_metrics.custom_metrics import MetricRequest, MetricRules
from application.evaluation.judging.evaluation_policy import EvaluationPolicy
from application.evaluation.judging.judge_client import answer_tokens
from application.evaluation.judging.trace_context import TraceContext
from application.evaluation.ports.custom_metrics import CustomMetrics, RegexEngine
from application.evaluation.ports.runs import Targets
from application.evaluation.runs.requests import RunFactory
from application.evaluation.runs.run_rules import RunRequest
from application.ports import RandomBytes
from domain.errors import NotFound
from domain.evaluation.costs.judge_costs import usage_of
from domain.evaluation.custom_metrics.custom_metric import CustomMetric
from domain.evaluation.custom_metrics.parser import build_metric
from domain.evaluation.evidence.redaction import estimate_tokens
from domain.evaluation.judging.judge import Question, TokenUse
from domain.evaluation.judging.prompt import Stage, judged_calls, prompt_text
from domain.evaluation.metrics.metric import (
    Definition,
    DefinitionKind,
    EvaluationMethod,
    Metric,
)
from domain.evaluation.metrics.registry import compute_metric
from domain.evaluation.metrics.rubrics import PROTOCOL
from domain.evaluation.runs.run import NAME_MAX, EvalRun, RunProgress, TargetType
from domain.evaluation.runs.selection import batch_as_given
from domain.evaluation.scores.outcome import Failed, Outcome
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.ids import ProjectId, RunId, TraceId

PREFIX: Final = "Dry run: "
DRAFT: Final = "draft"
NOT_STORED: Final = UUID(int=0)  # the id of a draft, and of the run that it is tried in
_FENCE_BYTES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """The outcome of a metric on a trace, or what a judge would be asked for it.

    `prompt` is what a judge would read, word by word but for the fence, which is random each time;
    () if no judge is needed. `outcome` is None if only a judge can tell: then `run`, if there is
    one, asks it. `model` is that judge, `usd` an estimate of what one request to it costs at most:
    None if its tokens have no price, 0 if no judge is needed.
    """

    definition: Definition
    evidence_hash: str | None = None
    prompt: tuple[Stage, ...] = ()
    outcome: Outcome | None = None
    run: RunProgress | None = None
    model: str | None = None
    usd: Decimal | None = Decimal(0)


@dataclass(frozen=True, slots=True)
class DryRunCustomMetric:
    metrics: CustomMetrics
    dry_runs: "DryRuns"

    async def __call__(
        self,
        project: ProjectId,
        name: str,
        trace: TraceId,
        new: RunId,
        *,
        model: str | None = None,
        ask: bool = False,
    ) -> DryRun:
        """Tries the newest revision, also of an archived metric. `ask` creates the run `new`.

        Raises NotFound if the project has no such metric or trace, and Invalid as a run does.
        """
        known = await self.metrics.get(project, name)
        return await self.dry_runs.run(known, trace, new, model=model, ask=ask)


@dataclass(frozen=True, slots=True)
class DryRunDraft:
    """Tries a definition that isn't stored. Its judge is never asked: a run needs a stored one."""

    rules: MetricRules
    dry_runs: "DryRuns"

    async def __call__(
        self,
        project: ProjectId,
        kind: DefinitionKind,
        request: MetricRequest,
        trace: TraceId,
        *,
        model: str | None = None,
    ) -> DryRun:
        """Raises Invalid for a wrong definition, and NotFound without such a trace."""
        definition = replace(await self.rules.validate(DRAFT, kind, request), revision=0)
        now = self.dry_runs.run_factory.clock()
        draft = CustomMetric(
            id=NOT_STORED, project_id=project, newest=definition, created_at=now, updated_at=now
        )
        return await self.dry_runs.run(draft, trace, RunId(NOT_STORED), model=model)


@dataclass(frozen=True, slots=True)
class DryRuns:
    """Computes what needs no judge; a judge is asked by a run of one trace, and only on request.

    A service that several use cases share.
    """

    regex: RegexEngine
    targets: Targets
    run_factory: RunFactory
    policy: EvaluationPolicy
    random: RandomBytes

    async def run(
        self,
        known: CustomMetric,
        trace: TraceId,
        new: RunId,
        *,
        model: str | None = None,
        ask: bool = False,
    ) -> DryRun:
        """Tries the newest revision of a metric. Raises NotFound, and Invalid as a run does."""
        found = await self.targets.load_trace(known.project_id, trace)
        if isinstance(found, Failed):
            raise NotFound("Trace not found")
        if not isinstance(found, EvaluatedTrace):
            return DryRun(definition=known.newest, outcome=found)
        metric = build_metric(known.newest, self.regex.new_search)
        if metric.method is EvaluationMethod.COMPUTED:
            outcome = await self._context(known, found, new, model).compute(
                lambda it: compute_metric(metric, it.subject)
            )
            return DryRun(definition=known.newest, outcome=outcome)
        return await self._judged(known, metric, found, new, model=model, ask=ask)

    async def _judged(
        self,
        known: CustomMetric,
        metric: Metric,
        subject: EvaluatedTrace,
        new: RunId,
        *,
        model: str | None,
        ask: bool,
    ) -> DryRun:
        context = self._context(known, subject, new, model)
        ruled = await context.compute(
            lambda it: metric.precheck(it.subject) if metric.precheck else None
        )
        if ruled is not None:
            return DryRun(definition=known.newest, outcome=ruled)
        question = await context.compute(lambda it: it.question(metric))
        text = await context.compute(lambda _: _prompt(question))
        use = TokenUse(input=estimate_tokens(text), output=answer_tokens(question))
        pricing = await self.run_factory.rules.prices.for_project(known.project_id)
        price = pricing(question.model, usage_of(use), self.run_factory.clock())
        return DryRun(
            definition=known.newest,
            evidence_hash=await context.compute(lambda it: it.evidence_hash),
            prompt=(Stage("judge", text),),
            run=await self._start_run(known, subject, new, model) if ask else None,
            model=question.model,
            usd=None if price is None else price.amount,
        )

    async def _start_run(
        self, known: CustomMetric, subject: EvaluatedTrace, new: RunId, model: str | None
    ) -> RunProgress:
        order = RunRequest(
            metrics=[known.name], name=f"{PREFIX}{known.name}"[:NAME_MAX], model=model
        )
        targets, target_type = [str(subject.trace.id)], TargetType.TRACE
        run = await self.run_factory.build(
            known.project_id, new, target_type, order, batch_as_given(target_type, targets)
        )
        return await self.run_factory.store(run, targets)

    def _context(
        self, known: CustomMetric, subject: EvaluatedTrace, new: UUID, model: str | None
    ) -> TraceContext:
        """The trace in a run that is not stored."""
        run = EvalRun(
            id=RunId(new),
            project_id=known.project_id,
            target_type=TargetType.TRACE,
            metrics=(known.name,),
            targets=1,
            model=self.run_factory.rules.models.select(model),
            definitions=(known.newest,),
            created_at=self.run_factory.clock(),
        )
        return TraceContext(subject, run, self.policy, self.random(_FENCE_BYTES).hex())


def _prompt(question: Question) -> str:
    """Everything that a judge reads."""
    metric, evidence = question.metric, question.evidence
    assert metric.rubric is not None, "a metric that is judged has a rubric"
    calls, _ = judged_calls([step.label for step in evidence.calls])
    fenced = evidence.within_boundary(question.boundary, reasoning=metric.sees_reasoning)
    return f"{PROTOCOL}\n\n{prompt_text(metric.rubric, fenced, calls)}"
