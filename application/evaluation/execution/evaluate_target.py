"""Evaluates one target of a run: what a worker does for each message."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

from application.concurrency import gather_limited
from application.evaluation.execution.fault_tolerant_evaluator import FaultTolerantEvaluator
from application.evaluation.execution.outcome_writer import OutcomeWriter
from application.evaluation.execution.session_signals import SessionSignals, SignalEvaluator
from application.evaluation.execution.target_closer import TargetCloser
from application.evaluation.judging.adaptive_concurrency import AdaptiveLimiter
from application.evaluation.judging.evaluation_policy import EvaluationPolicy
from application.evaluation.judging.trace_context import TraceContext
from application.evaluation.ports.runs import OnFault
from application.evaluation.ports.work_queue import Claim, WorkQueue
from application.jobs import Jobs
from application.ports import Clock
from domain.errors import Unavailable
from domain.evaluation.custom_metrics.custom_metric import evaluation_method, needs_model
from domain.evaluation.judging.judge import JudgeUnavailable
from domain.evaluation.judging.models import provider_of
from domain.evaluation.judging.prompt import session_fingerprint
from domain.evaluation.metrics.metric import EvaluationMethod, JudgeKind
from domain.evaluation.metrics.registry import METRIC_REGISTRY
from domain.evaluation.runs.run import EvalRun, Target, TargetType
from domain.evaluation.scores.outcome import FailCode, Failed, Outcome, Scored
from domain.evaluation.sessions.metrics import SESSION_METRICS, required_signals
from domain.evaluation.sessions.signals import JUDGED_SIGNALS, TraceSignals
from domain.ids import ProjectId, RunId, TraceId

RETRY_DELAY: Final = timedelta(seconds=10)  # after the first attempt; doubles with each further one
RETRY_DELAY_MAX: Final = timedelta(minutes=10)
RETRY_AFTER_MAX: Final = timedelta(hours=1)  # a provider that asks for more gets this
RELEASE_TIMEOUT_S: Final = 1.0  # the worker stops meanwhile
LARGE_SESSION_TRACES: Final = 100  # from here on aggregating them takes milliseconds


@dataclass(frozen=True, slots=True)
class EvaluateTarget:
    """Evaluates every open metric of a target, each on its own, and stores each result at once.

    If a judge gives no answer, the other metrics go on, and the target is put back for later. A
    target that asks a judge waits for a slot of its provider first, so that a provider that doesn't
    answer takes no slots from others. A target that waits has read nothing yet.
    """

    work_queue: WorkQueue
    jobs: Jobs
    evaluator: FaultTolerantEvaluator
    signals: SignalEvaluator
    limiters: Mapping[str, AdaptiveLimiter]  # of concurrent targets, by provider
    policy: EvaluationPolicy
    on_fault: OnFault
    clock: Clock
    closer: TargetCloser

    async def __call__(self, project: ProjectId, run: RunId, target: Target) -> None:
        """Does nothing if another worker has the target, or it is done. Raises Unavailable.

        After that the next worker to claim the target does the rest: when the lease has expired,
        or at once if this call was cancelled.
        """
        claim = await self.work_queue.claim(project, run, target, self.clock())
        if claim is None:
            return
        is_trace = claim.run.target_type is TargetType.TRACE
        renewing = renewing_lease(self.work_queue, claim, self.clock, self.policy.renew_every)
        try:
            async with renewing, self._slot(claim):
                failure = await (self._trace(claim) if is_trace else self._session(claim))
        except asyncio.CancelledError:
            await self._release(claim)
            raise
        if failure is None:
            await self.closer.close(claim)
            return
        now = self.clock()
        until = now + retry_delay(claim.attempt, failure)
        await self.work_queue.postpone(claim, until, failure.code, now)
        # This leaves room for another target: of any run if this one is dead, else of another run.
        await self.jobs.send(*await self.work_queue.dispatch(project, now))

    async def _release(self, claim: Claim) -> None:
        """Gives the target back; if the database doesn't answer, its lease expires."""
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                await self.work_queue.release(claim, self.clock())

    def _slot(self, claim: Claim) -> AbstractAsyncContextManager[None]:
        if not _asks_judge(claim):
            return contextlib.nullcontext()
        return self.limiters[provider_of(claim.run.model)].slot(claim.run.project_id)

    def _writer(self, claim: Claim) -> OutcomeWriter:
        return OutcomeWriter(self.work_queue, claim, self.clock, self.on_fault)

    # --- traces ---

    async def _trace(self, claim: Claim) -> JudgeUnavailable | None:
        if not claim.metrics:
            return None
        # It may have waited for its slot. Others go on with what the claim has just found.
        if _asks_judge(claim) and not await self.work_queue.is_live(claim):
            return None
        trace_id = TraceId(UUID(claim.target))
        writer = self._writer(claim)
        trace = await self.evaluator.load(claim.run, trace_id, claim.metrics)
        if not isinstance(trace, TraceContext):
            await writer.write(dict.fromkeys(claim.metrics, trace))
            return None
        trace = replace(trace, is_live=partial(self.work_queue.is_live, claim, trace_id))
        steps = [partial(self._metric, claim, name, trace, writer) for name in claim.metrics]
        found = await gather_limited(self.policy.concurrent_metrics, steps)
        failures = [failure for failure in found if failure is not None]
        return max(failures, key=lambda failure: failure.retry_after_s, default=None)

    async def _metric(
        self, claim: Claim, name: str, trace: TraceContext, writer: OutcomeWriter
    ) -> JudgeUnavailable | None:
        """Writes the outcome; without an answer returns why, if there may be one later."""
        # A computed metric is done before the run could be cancelled.
        method, _ = evaluation_method(claim.run.definitions, name)
        if method is not EvaluationMethod.COMPUTED and not await self.work_queue.is_live(claim):
            return None
        try:
            outcome = await self.evaluator.evaluate(name, trace)
        except JudgeUnavailable as failure:
            return failure
        await writer.put(name, outcome)
        return None

    # --- sessions ---

    async def _session(self, claim: Claim) -> JudgeUnavailable | None:
        if not claim.metrics:
            return None
        session = SessionSignals(claim)
        signals = await self.signals.collect(session)
        if session.failure is not None and not session.is_last_attempt:
            return session.failure
        await self.signals.store_failed(session)
        failure = None if session.is_judged else session.failure
        names = [name for name in claim.metrics if failure is None or _is_computed(claim.run, name)]
        if names:
            outcomes = {name: await self._aggregate_safely(claim, name, signals) for name in names}
            await self._writer(claim).write(outcomes)
        return failure

    async def _aggregate_safely(
        self, claim: Claim, name: str, signals: Sequence[TraceSignals]
    ) -> Outcome:
        try:
            if len(signals) < LARGE_SESSION_TRACES:
                return self._aggregate(claim.run, name, signals)
            return await asyncio.to_thread(self._aggregate, claim.run, name, signals)
        except Exception as fault:  # noqa: BLE001 - a metric that breaks affects no other
            self.on_fault(claim.run.score_id(claim.target, name), fault)
            return Failed(FailCode.INTERNAL)

    def _aggregate(self, run: EvalRun, name: str, signals: Sequence[TraceSignals]) -> Outcome:
        session_metric, metric = SESSION_METRICS[name], METRIC_REGISTRY[name]
        outcome = session_metric.compute(signals, run.signal_weights)
        if not isinstance(outcome, Scored):
            return outcome
        weights = session_metric.weights(run.signal_weights)
        prints = {signal: self.evaluator.fingerprint(signal, run.model) for signal in weights}
        marks = {
            **metric.marks(outcome.value),
            **_judge_marks(run, weights),
            "fingerprint": session_fingerprint(metric, weights, prints),
        }
        return replace(outcome, metadata={**outcome.metadata, **marks})


def _asks_judge(claim: Claim) -> bool:
    run = claim.run
    return needs_model(claim.metrics, run.model, run.definitions, run.signal_weights)


def _is_computed(run: EvalRun, name: str) -> bool:
    """Whether a session metric needs neither a judge nor an embedder."""
    return all(
        METRIC_REGISTRY[one].method is EvaluationMethod.COMPUTED
        for one in required_signals([name], run.signal_weights)
    )


def _judge_marks(run: EvalRun, signals: Collection[str]) -> dict[str, object]:
    if JUDGED_SIGNALS.isdisjoint(signals):
        methods = {METRIC_REGISTRY[signal].method for signal in signals}
        kind = JudgeKind.EMBEDDING if EvaluationMethod.EMBEDDED in methods else JudgeKind.MEASURED
        return {"judge_kind": kind.value}
    is_heuristic = provider_of(run.model) == JudgeKind.HEURISTIC
    kind = JudgeKind.HEURISTIC if is_heuristic else JudgeKind.MODEL
    return {"judge_kind": kind.value, "model": run.model}


def retry_delay(attempt: int, failure: JudgeUnavailable) -> timedelta:
    """How long to wait after an attempt, counted from 1; longer if the provider asks for it."""
    usual = min(RETRY_DELAY * (1 << attempt - 1), RETRY_DELAY_MAX)
    asked = min(timedelta(seconds=failure.retry_after_s), RETRY_AFTER_MAX)
    return max(usual, asked)


@asynccontextmanager
async def renewing_lease(
    work_queue: WorkQueue, claim: Claim, clock: Clock, every: timedelta
) -> AsyncIterator[None]:
    """Renews the lease in the background until the block ends, so that no other worker begins.

    It stops with the process, so a killed worker's lease runs out.
    """
    renewing = asyncio.create_task(_renew_forever(work_queue, claim, clock, every))
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)


async def _renew_forever(
    work_queue: WorkQueue, claim: Claim, clock: Clock, every: timedelta
) -> None:
    while True:
        await asyncio.sleep(every.total_seconds())
        with contextlib.suppress(Unavailable):  # the next renewal may succeed
            await work_queue.renew(claim, clock())
