"""Measuring where anything may break: what nobody expected costs one score, and is told."""

from dataclasses import dataclass
from typing import Final

from application.evaluation.matter import Matter, MeasuringPolicy
from application.evaluation.measuring import Measuring
from application.evaluation.ports.evaluation import OnFault, Targets
from application.evaluation.ports.work_queue import SignalKey
from application.ports import RandomBytes
from domain.errors import Unavailable
from domain.evaluation.custom_metrics.custom_metric import get_run_metric
from domain.evaluation.custom_metrics.regex import RegexSearch
from domain.evaluation.judging.judge import JudgeRefused
from domain.evaluation.metrics.registry import METRIC_REGISTRY
from domain.evaluation.runs.run import EvalRun
from domain.evaluation.scores.outcome import FailCode, Failed, Outcome, Skipped
from domain.evaluation.sessions.counted import TRACE_SUCCESS
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.user_request import UserRequest
from domain.ids import TraceId

_FENCE_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class GuardedMeasuring:
    """As Measuring, with a fault as FAILED `internal`: `on_fault` has its cause, by the score's id.

    No text of an exception gets into a score.
    """

    targets: Targets
    measuring: Measuring
    policy: MeasuringPolicy
    random: RandomBytes
    regex_search: RegexSearch
    on_fault: OnFault

    async def matter(
        self, run: EvalRun, trace: TraceId, names: tuple[str, ...]
    ) -> Matter | Skipped | Failed:
        """A trace to measure; else what that makes of each metric of `names`.

        Raises Unavailable.
        """
        try:
            found = await self.targets.load_trace(run.project_id, trace)
        except Unavailable:
            raise
        except Exception as fault:  # noqa: BLE001 - a trace that can't be read costs only itself
            for name in names:
                self.on_fault(run.score_id(str(trace), name), fault)
            return Failed(FailCode.INTERNAL)
        if not isinstance(found, EvaluatedTrace):
            return found
        return Matter(found, run, self.policy, self.random(_FENCE_BYTES).hex())

    async def outcome(self, name: str, matter: Matter) -> Outcome:
        """What the metric of that name comes to. Raises JudgeUnavailable, Unavailable."""
        try:
            metric = get_run_metric(matter.run.definitions, name, self.regex_search)
            return await self.measuring.outcome(metric, matter)
        except Unavailable:  # of a judge, or of what is kept of them: it is no fault of the metric
            raise
        except Exception as fault:  # noqa: BLE001 - a metric that breaks costs only itself
            target = str(matter.subject.trace.id)
            self.on_fault(matter.run.score_id(target, name), fault)
            return Failed(FailCode.INTERNAL)

    async def asked(self, matter: Matter) -> UserRequest | None:
        """What the user asked in it; None also for what can't be looked into."""
        try:
            return await matter.seen(lambda it: UserRequest.from_text(it.subject.request.text))
        except Exception as fault:  # noqa: BLE001 - an input that breaks costs only itself
            target = str(matter.subject.trace.id)
            self.on_fault(matter.run.score_id(target, TRACE_SUCCESS), fault)
            return None

    async def key(self, name: str, matter: Matter) -> SignalKey | None:
        """As `Measuring.key`; None also for what can't be looked into: measuring it will tell."""
        try:
            return await self.measuring.key(METRIC_REGISTRY[name], matter)
        except Exception:  # noqa: BLE001 - measuring the same comes upon it again, and tells it
            return None

    def fingerprint(self, name: str, model: str) -> str:
        """As `Measuring.fingerprint`; "" where nobody answers for the model."""
        try:
            return self.measuring.fingerprint(METRIC_REGISTRY[name], model)
        except JudgeRefused:
            return ""
