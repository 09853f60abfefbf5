"""Isolates faults: an unexpected exception fails the score of one metric, and is reported."""

from dataclasses import dataclass
from typing import Final

from application.evaluation.execution.metric_evaluator import MetricEvaluator
from application.evaluation.judging.evaluation_policy import EvaluationPolicy
from application.evaluation.judging.trace_context import TraceContext
from application.evaluation.ports.runs import OnFault, Targets
from application.evaluation.ports.work_queue import SignalKey
from application.ports import RandomBytes
from domain.errors import Unavailable
from domain.evaluation.custom_metrics.custom_metric import get_run_metric
from domain.evaluation.custom_metrics.regex import NewRegexSearch
from domain.evaluation.judging.judge import JudgeRefused
from domain.evaluation.metrics.registry import METRIC_REGISTRY
from domain.evaluation.runs.run import EvalRun
from domain.evaluation.scores.outcome import FailCode, Failed, Outcome, Skipped
from domain.evaluation.sessions.metrics import TRACE_SUCCESS
from domain.evaluation.sessions.signals import UserRequest
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.ids import TraceId

_FENCE_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class FaultTolerantEvaluator:
    """A MetricEvaluator that turns a fault into FAILED `internal`.

    `on_fault` gets the cause with the id of the score. No text of an exception gets into a score.
    """

    targets: Targets
    evaluator: MetricEvaluator
    policy: EvaluationPolicy
    random: RandomBytes
    new_search: NewRegexSearch
    on_fault: OnFault

    async def load(
        self, run: EvalRun, trace: TraceId, names: tuple[str, ...]
    ) -> TraceContext | Skipped | Failed:
        """A trace to evaluate; else the outcome of every metric of `names`. Raises Unavailable."""
        try:
            found = await self.targets.load_trace(run.project_id, trace)
        except Unavailable:
            raise
        except Exception as fault:  # noqa: BLE001 - a trace that can't be read affects no other
            for name in names:
                self.on_fault(run.score_id(str(trace), name), fault)
            return Failed(FailCode.INTERNAL)
        if not isinstance(found, EvaluatedTrace):
            return found
        return TraceContext(found, run, self.policy, self.random(_FENCE_BYTES).hex())

    async def evaluate(self, name: str, trace: TraceContext) -> Outcome:
        """The outcome of the metric of that name. Raises JudgeUnavailable, Unavailable."""
        try:
            metric = get_run_metric(trace.run.definitions, name, self.new_search)
            return await self.evaluator.evaluate(metric, trace)
        except Unavailable:  # the judge or the database is away; the metric isn't broken
            raise
        except Exception as fault:  # noqa: BLE001 - a metric that breaks affects no other
            self._report(trace, name, fault)
            return Failed(FailCode.INTERNAL)

    async def user_request(self, trace: TraceContext) -> UserRequest | None:
        """What the user asked for; None also if it can't be read."""
        try:
            return await trace.compute(lambda it: UserRequest.from_text(it.subject.request.text))
        except Exception as fault:  # noqa: BLE001 - an input that breaks affects only its metric
            self._report(trace, TRACE_SUCCESS, fault)
            return None

    async def signal_key(self, name: str, trace: TraceContext) -> SignalKey | None:
        """As `MetricEvaluator.signal_key`; None also after a fault."""
        try:
            return await self.evaluator.signal_key(METRIC_REGISTRY[name], trace)
        except Exception:  # noqa: BLE001 - evaluating the signal has the same fault, and reports it
            return None

    def fingerprint(self, name: str, model: str) -> str:
        """As `MetricEvaluator.fingerprint`; "" if no judge answers for the model."""
        try:
            return self.evaluator.fingerprint(METRIC_REGISTRY[name], model)
        except JudgeRefused:
            return ""

    def _report(self, trace: TraceContext, name: str, fault: Exception) -> None:
        self.on_fault(trace.run.score_id(str(trace.subject.trace.id), name), fault)
