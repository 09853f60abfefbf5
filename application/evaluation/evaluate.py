"""Evaluating one target of a run: what a worker does with what it is told to."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

from application.concurrency import gather_limited
from application.evaluation.execution.session_signals import SessionSignals, SignalMeasuring
from application.evaluation.guarded import GuardedMeasuring
from application.evaluation.keeping import kept
from application.evaluation.matter import Matter, MeasuringPolicy
from application.evaluation.ports.evaluation import OnFault
from application.evaluation.ports.work_queue import ATTEMPTS_MAX, Claim, WorkQueue
from application.evaluation.recording import Recording
from application.jobs import Jobs
from application.ports import Clock
from domain.errors import Unavailable
from domain.evaluation.custom_metrics.custom_metric import evaluation_method
from domain.evaluation.judging.judge import JudgeUnavailable
from domain.evaluation.judging.models import provider_of
from domain.evaluation.judging.prompt import session_fingerprint
from domain.evaluation.metrics.metric import EvaluationMethod, JudgeKind
from domain.evaluation.metrics.registry import METRIC_REGISTRY
from domain.evaluation.runs.run import EvalRun, Target, TargetType
from domain.evaluation.scores.outcome import FailCode, Failed, Outcome, Scored
from domain.evaluation.sessions.registry import SESSION_METRICS, required_signals
from domain.evaluation.sessions.reliability_v1 import JUDGED_SIGNALS, TraceSignals
from domain.ids import ProjectId, RunId, TraceId

WAIT: Final = timedelta(seconds=10)  # after the first attempt; twice as long after each other
WAIT_MAX: Final = timedelta(minutes=10)
LARGE: Final = 100  # traces of a session: from here on rolling them up takes milliseconds
RETRY_AFTER_MAX: Final = timedelta(hours=1)  # of what a provider asks for


@dataclass(frozen=True, slots=True)
class EvaluateTarget:
    """Measures whatever is open of a target: each pair by itself, and stored as it comes.

    Where a judge gives no answer, the rest goes on, and the target is put back for later.
    """

    work_queue: WorkQueue
    jobs: Jobs
    measuring: GuardedMeasuring
    signals: SignalMeasuring
    policy: MeasuringPolicy
    on_fault: OnFault
    clock: Clock

    async def __call__(self, project: ProjectId, run: RunId, target: Target) -> None:
        """Nothing where somebody else has it, or it is done. Raises Unavailable.

        After that, or when it is stopped, whoever claims the target next goes on with the rest.
        """
        claim = await self.work_queue.claim(project, run, target, self.clock())
        if claim is None:
            return
        is_trace = claim.run.target_type is TargetType.TRACE
        async with kept(self.work_queue, claim, self.clock, self.policy.renew_every):
            late = await (self._trace(claim) if is_trace else self._session(claim))
        now = self.clock()
        if late is None:
            await self.jobs.send(*await self.work_queue.close(claim, now))
            return
        until = now + waiting(claim.attempt, late)
        await self.work_queue.postpone(claim, until, late.code, now)
        if claim.attempt >= ATTEMPTS_MAX:  # it was buried, and left room for another
            await self.jobs.send(*await self.work_queue.dispatch(project, now))

    # --- traces ---

    async def _trace(self, claim: Claim) -> JudgeUnavailable | None:
        if not claim.metrics or not await self.work_queue.is_live(claim):
            return None
        trace = TraceId(UUID(claim.target))
        matter = await self.measuring.matter(claim.run, trace, claim.metrics)
        if not isinstance(matter, Matter):
            await self._record(claim, dict.fromkeys(claim.metrics, matter))
            return None
        matter = replace(matter, is_wanted=partial(self.work_queue.is_live, claim, trace))
        recording = Recording(partial(self._record, claim))
        steps = [partial(self._metric, claim, name, matter, recording) for name in claim.metrics]
        found = await gather_limited(self.policy.metrics_at_once, steps)
        missed = [late for late in found if late is not None]
        return max(missed, key=lambda late: late.retry_after_s, default=None)

    async def _metric(
        self, claim: Claim, name: str, matter: Matter, recording: Recording
    ) -> JudgeUnavailable | None:
        """Records what it comes to; where there was no answer and may be one later, tells that."""
        # Computing is over before anybody could cancel it.
        way, _ = evaluation_method(claim.run.definitions, name)
        if way is not EvaluationMethod.COMPUTED and not await self.work_queue.is_live(claim):
            return None
        try:
            outcome = await self.measuring.outcome(name, matter)
        except JudgeUnavailable as late:
            return late
        await recording.put(name, outcome)
        return None

    async def _record(self, claim: Claim, outcomes: Mapping[str, Outcome]) -> None:
        try:
            await self.work_queue.record_all(claim, outcomes, self.clock())
        except Unavailable:
            raise
        except Exception as fault:  # noqa: BLE001 - an outcome that can't be stored costs only itself
            if len(outcomes) > 1:
                for name, outcome in outcomes.items():
                    await self._record(claim, {name: outcome})
                return
            [name] = outcomes
            self.on_fault(claim.run.score_id(claim.target, name), fault)
            await self.work_queue.record(claim, name, Failed(FailCode.INTERNAL), self.clock())

    # --- sessions ---

    async def _session(self, claim: Claim) -> JudgeUnavailable | None:
        if not claim.metrics:
            return None
        session = SessionSignals(claim)
        signals = await self.signals.of(session)
        if session.late is not None and not session.is_last:
            return session.late
        await self.signals.store_failed(session)
        late = None if session.is_judged else session.late
        names = [name for name in claim.metrics if late is None or _is_computed(claim.run, name)]
        if names:
            outcomes = {name: await self._guarded(claim, name, signals) for name in names}
            await self._record(claim, outcomes)
        return late

    async def _guarded(self, claim: Claim, name: str, signals: Sequence[TraceSignals]) -> Outcome:
        try:
            if len(signals) < LARGE:
                return self._rolled_up(claim.run, name, signals)
            return await asyncio.to_thread(self._rolled_up, claim.run, name, signals)
        except Exception as fault:  # noqa: BLE001 - a metric that breaks costs only itself
            self.on_fault(claim.run.score_id(claim.target, name), fault)
            return Failed(FailCode.INTERNAL)

    def _rolled_up(self, run: EvalRun, name: str, signals: Sequence[TraceSignals]) -> Outcome:
        session_metric, metric = SESSION_METRICS[name], METRIC_REGISTRY[name]
        outcome = session_metric.compute(signals, run.signal_weights)
        if not isinstance(outcome, Scored):
            return outcome
        weights = session_metric.weights(run.signal_weights)
        prints = {signal: self.measuring.fingerprint(signal, run.model) for signal in weights}
        marks = {
            **metric.marks(outcome.value),
            **_by_whom(run, weights),
            "fingerprint": session_fingerprint(metric, weights, prints),
        }
        return replace(outcome, metadata={**outcome.metadata, **marks})


def _is_computed(run: EvalRun, name: str) -> bool:
    """Whether nobody has to be asked for a session metric."""
    return all(
        METRIC_REGISTRY[one].method is EvaluationMethod.COMPUTED
        for one in required_signals([name], run.signal_weights)
    )


def _by_whom(run: EvalRun, signals: Collection[str]) -> dict[str, object]:
    if JUDGED_SIGNALS.isdisjoint(signals):
        ways = {METRIC_REGISTRY[signal].method for signal in signals}
        kind = JudgeKind.EMBEDDING if EvaluationMethod.EMBEDDED in ways else JudgeKind.MEASURED
        return {"judge_kind": kind.value}
    is_heuristic = provider_of(run.model) == JudgeKind.HEURISTIC
    kind = JudgeKind.HEURISTIC if is_heuristic else JudgeKind.MODEL
    return {"judge_kind": kind.value, "model": run.model}


def waiting(attempt: int, late: JudgeUnavailable) -> timedelta:
    """How long to wait after the `attempt`th, from 1, unless a provider asks for longer."""
    usual = min(WAIT * (1 << attempt - 1), WAIT_MAX)
    asked = min(timedelta(seconds=late.retry_after_s), RETRY_AFTER_MAX)
    return max(usual, asked)
