"""Estimates what a run would ask and cost, before it is created; stores nothing."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Final
from uuid import UUID

from application.concurrency import gather_limited
from application.evaluation.judging.evaluation_policy import EvaluationPolicy
from application.evaluation.judging.judge_client import (
    answer_tokens,
    prompt_tokens,
    verdict_cache_key,
)
from application.evaluation.judging.trace_context import TraceContext
from application.evaluation.ports.custom_metrics import RegexEngine
from application.evaluation.ports.judging import Judge, JudgingPorts
from application.evaluation.ports.runs import Targets
from application.evaluation.ports.work_queue import SignalKey, WorkQueue
from application.evaluation.runs.requests import RunFactory, find_run_targets
from application.evaluation.runs.run_rules import RunRequest
from application.ports import NewId
from domain.evaluation.costs.judge_costs import (
    ANSWER_TOKENS_MIN,
    CostEstimate,
    JudgeWorkload,
    Range,
    evenly_spaced,
    extrapolate,
    usage_of,
)
from domain.evaluation.custom_metrics.custom_metric import get_run_metric
from domain.evaluation.judging.judge import JudgeRefused, Question, TokenUse
from domain.evaluation.judging.models import provider_of
from domain.evaluation.metrics.metric import EvaluationMethod, JudgeKind, Metric
from domain.evaluation.runs.run import EvalRun, Target, TargetType
from domain.evaluation.runs.selection import (
    Eligibility,
    SessionSelection,
    TraceSelection,
    validate_batch_ids,
)
from domain.evaluation.runs.voting import questions_needed
from domain.evaluation.sessions.metrics import required_signals
from domain.evaluation.sessions.signals import SESSION_TRACES_MAX
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.ids import ProjectId, RunId, TraceId
from domain.tracing.usage import Pricing

SAMPLED_TRACES_MAX: Final = 20  # of one estimate: each takes as long as reading the whole trace
SAMPLED_SESSIONS_MAX: Final = 20  # of one estimate: sessions whose traces are counted

_FENCE: Final = "0" * 16  # it is never sent

type RunTargets = TraceSelection | SessionSelection | Sequence[Target]
"""The targets of a run: a sample of those that match a selection, or ids."""


@dataclass(frozen=True, slots=True)
class EstimateRun:
    """Looks at a sample of the traces that a run would evaluate, and scales up."""

    run_factory: RunFactory
    targets: Targets
    work_queue: WorkQueue
    judge: Judge
    ports: JudgingPorts
    policy: EvaluationPolicy
    regex: RegexEngine
    new_id: NewId

    async def __call__(
        self, project: ProjectId, target_type: TargetType, order: RunRequest, about: RunTargets
    ) -> CostEstimate:
        """Raises Invalid for whatever such a run is refused for; Unavailable."""
        run = await self.run_factory.build(project, RunId(self.new_id()), target_type, order)
        targets = await self._targets(run, order, about)
        metrics = self._paid_metrics(run)
        traces, count = await self._traces(run, targets if metrics else ())
        pricing = await self.ports.prices.for_project(project)
        steps = [partial(self._trace, run, metrics, pricing, one) for one in traces]
        seen = await gather_limited(self.policy.concurrent_traces, steps)
        return CostEstimate.from_sample(run.model, run.votes, len(targets), seen, count)

    async def _targets(
        self, run: EvalRun, order: RunRequest, about: RunTargets
    ) -> Sequence[Target]:
        if not isinstance(about, TraceSelection | SessionSelection):
            return validate_batch_ids(run.target_type, about)
        eligibility = Eligibility(settled_only=order.settled_only)
        return await find_run_targets(
            self.targets, run.project_id, about, eligibility, run.sampling_rate
        )

    async def _traces(
        self, run: EvalRun, targets: Sequence[Target]
    ) -> tuple[Sequence[TraceId], Range]:
        """The traces to look at, and how many there are in total."""
        if run.target_type is TargetType.TRACE:
            picked = evenly_spaced(targets, SAMPLED_TRACES_MAX)
            return [TraceId(UUID(one)) for one in picked], _exactly(len(targets))
        steps = [
            partial(self.targets.session_traces, run.project_id, session)
            for session in evenly_spaced(targets, SAMPLED_SESSIONS_MAX)
        ]
        sessions = await gather_limited(self.policy.concurrent_traces, steps)
        # A session with too many traces is not judged.
        judged = [one if len(one) <= SESSION_TRACES_MAX else () for one in sessions]
        count = extrapolate([_exactly(len(one)) for one in judged], _exactly(len(targets)))
        return evenly_spaced([trace for one in judged for trace in one], SAMPLED_TRACES_MAX), count

    def _paid_metrics(self, run: EvalRun) -> Sequence[Metric]:
        """The metrics that need a provider; for sessions, their signals that do."""
        names = run.metrics
        if run.target_type is TargetType.SESSION:
            names = required_signals(run.metrics, run.signal_weights)
        metrics = [get_run_metric(run.definitions, name, self.regex.new_search) for name in names]
        return [
            one
            for one in metrics
            if one.method is EvaluationMethod.JUDGED
            and provider_of(one.model or run.model) != JudgeKind.HEURISTIC
        ]

    # --- one trace ---

    async def _trace(
        self, run: EvalRun, metrics: Sequence[Metric], pricing: Pricing, trace: TraceId
    ) -> JudgeWorkload:
        """The questions about one trace; none if it is gone or too large."""
        found = await self.targets.load_trace(run.project_id, trace)
        if not isinstance(found, EvaluatedTrace):
            return JudgeWorkload()
        context = TraceContext(found, run, self.policy, _FENCE)
        due = await context.compute(lambda it: _undecided(metrics, it.subject))
        known = await self._signals(context, due) if run.target_type is TargetType.SESSION else ()
        pairs = [await self._pair(context, one, pricing, is_known=one.name in known) for one in due]
        return sum(pairs, JudgeWorkload())

    async def _signals(self, context: TraceContext, metrics: Sequence[Metric]) -> Container[str]:
        """The signals for which an earlier score of the trace would be used again."""
        evidence_hash = await context.compute(lambda it: it.evidence_hash)
        try:
            keys = {
                one.name: SignalKey(self.judge.fingerprint(one, context.run.model), evidence_hash)
                for one in metrics
            }
        except JudgeRefused:
            return ()
        trace = context.subject.trace.id
        scores = await self.work_queue.find_signals(context.run.project_id, trace, keys)
        return {score.name for score in scores}

    async def _pair(
        self, context: TraceContext, metric: Metric, pricing: Pricing, *, is_known: bool
    ) -> JudgeWorkload:
        question = await context.compute(lambda it: it.question(metric))
        tokens = await context.compute(lambda _: prompt_tokens(question))
        answer = answer_tokens(question)
        prices = self._prices(pricing, question.model, tokens, answer)
        if is_known:
            return JudgeWorkload.for_question((0, 0), tokens, answer, prices)
        votes = await self._cached_votes(context, question)
        return JudgeWorkload.for_question(
            questions_needed(votes, metric.threshold), tokens, answer, prices
        )

    async def _cached_votes(
        self, context: TraceContext, question: Question
    ) -> Sequence[float | None]:
        """The value of each vote in the verdict cache; empty if this process lacks the judge."""
        most = context.run.votes
        if not self.ports.caches_verdicts:
            return [None] * most
        evidence_hash = await context.compute(lambda it: it.evidence_hash)
        since = self.run_factory.clock() - self.ports.verdict_retention
        found: list[float | None] = []
        for sample in range(most):
            try:
                key = verdict_cache_key(replace(question, sample=sample), self.judge, evidence_hash)
            except JudgeRefused:
                break
            verdict = await self.ports.verdicts.find(context.run.project_id, key, since)
            if verdict is None and not found:
                break  # without the first vote there are hardly ever others
            found.append(None if verdict is None else verdict.outcome.value)
        return [*found, *[None] * (most - len(found))]

    def _prices(self, pricing: Pricing, model: str, tokens: int, answer: int) -> Range | None:
        """The price of a question with the shortest answer, and with the longest."""
        low = self._price(pricing, model, tokens, ANSWER_TOKENS_MIN)
        high = self._price(pricing, model, tokens, answer)
        return None if low is None or high is None else Range(low, high)

    def _price(self, pricing: Pricing, model: str, tokens: int, answer: int) -> Decimal | None:
        use = TokenUse(requests=1, input=tokens, output=answer)
        price = pricing(model, usage_of(use), self.run_factory.clock())
        return None if price is None else price.amount


def _undecided(metrics: Sequence[Metric], subject: EvaluatedTrace) -> Sequence[Metric]:
    """The metrics whose rule doesn't decide, so that a judge has to."""
    return [one for one in metrics if one.precheck is None or one.precheck(subject) is None]


def _exactly(count: int) -> Range:
    return Range(Decimal(count), Decimal(count))
