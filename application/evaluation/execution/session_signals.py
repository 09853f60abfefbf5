"""Collects the signals of a session's traces: known ones are used again, others are evaluated."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from application.concurrency import gather_limited
from application.evaluation.execution.fault_tolerant_evaluator import FaultTolerantEvaluator
from application.evaluation.judging.evaluation_policy import EvaluationPolicy
from application.evaluation.judging.trace_context import TraceContext
from application.evaluation.ports.runs import Targets
from application.evaluation.ports.work_queue import ATTEMPTS_MAX, Claim, WorkQueue
from application.ports import Clock
from domain.evaluation.judging.judge import JudgeUnavailable
from domain.evaluation.metrics.metric import EvaluationMethod
from domain.evaluation.metrics.registry import METRIC_REGISTRY
from domain.evaluation.runs.run import signal_score
from domain.evaluation.scores.outcome import FailCode, Failed, Outcome, Scored
from domain.evaluation.scores.score import TraceScore
from domain.evaluation.sessions.metrics import needs_requests, required_signals
from domain.evaluation.sessions.signals import (
    JUDGED_SIGNALS,
    SESSION_TRACES_MAX,
    TraceSignals,
    UserRequest,
)
from domain.ids import TraceId

UNANSWERED_MAX: Final = 3  # questions in a row without an answer: then a session asks no more


@dataclass(slots=True)
class SessionSignals:
    """What has been found of one session so far, and how the judge and the embedder answer.

    `failed` signals are not stored yet: one that is tried again must not have a score. `failure`
    is that of a question without an answer, of several the one to wait for the longest. Outcomes
    are without their metadata, and `user_requests` are small: a session has up to a thousand
    traces.
    """

    claim: Claim
    found: dict[TraceId, dict[str, Outcome]] = field(default_factory=dict)
    user_requests: dict[TraceId, UserRequest] = field(default_factory=dict)
    failed: list[TraceScore] = field(default_factory=list)
    failure: JudgeUnavailable | None = None
    unanswered: Counter[EvaluationMethod] = field(default_factory=Counter)  # in a row

    @property
    def names(self) -> tuple[str, ...]:
        """The signals that the open metrics are made of."""
        return required_signals(self.claim.metrics, self.claim.run.signal_weights)

    @property
    def is_last_attempt(self) -> bool:
        """Whether a signal that isn't evaluated in this attempt has failed."""
        return self.claim.attempt >= ATTEMPTS_MAX

    @property
    def is_judged(self) -> bool:
        """Whether a judge has graded any of it, now or earlier."""
        judged = (one.get(name) for one in self.found.values() for name in JUDGED_SIGNALS)
        return any(isinstance(outcome, Scored) for outcome in judged)

    @property
    def is_given_up(self) -> bool:
        """Whether the rest waits for the next attempt."""
        return not self.is_last_attempt and any(map(self.is_silent, self.unanswered))

    def is_silent(self, method: EvaluationMethod) -> bool:
        return self.unanswered[method] >= UNANSWERED_MAX

    def add_failure(self, method: EvaluationMethod, failure: JudgeUnavailable) -> None:
        self.unanswered[method] += 1
        if self.failure is None or failure.retry_after_s > self.failure.retry_after_s:
            self.failure = failure

    def in_order(self, traces: Sequence[TraceId]) -> list[TraceSignals]:
        """The signals in the order of `traces`, without those of traces that are gone."""
        return [
            TraceSignals(str(one), self.found[one], self.user_requests.get(one))
            for one in traces
            if one in self.found
        ]


@dataclass(frozen=True, slots=True)
class SignalEvaluator:
    """Finds the signals of every trace of a session, and stores those that it asked for.

    An earlier score is used again if it has the same fingerprint and is about the same evidence.
    Few traces are in memory at a time.
    """

    work_queue: WorkQueue
    targets: Targets
    evaluator: FaultTolerantEvaluator
    policy: EvaluationPolicy
    clock: Clock

    async def collect(self, session: SessionSignals) -> list[TraceSignals]:
        """The signals of each trace that exists, in order. Raises Unavailable."""
        run = session.claim.run
        traces = await self.targets.session_traces(run.project_id, session.claim.target)
        if len(traces) > SESSION_TRACES_MAX:  # aggregating them refuses it
            return [TraceSignals(str(trace), {}) for trace in traces]
        steps = [partial(self._trace, session, trace) for trace in traces]
        await gather_limited(self.policy.concurrent_traces, steps)
        return session.in_order(traces)

    async def store_failed(self, session: SessionSignals) -> None:
        """Stores the failed signals. To be called once nothing of the session is tried again."""
        for score in session.failed:
            await self.work_queue.record_signal(session.claim, score, self.clock())

    async def _trace(self, session: SessionSignals, trace_id: TraceId) -> None:
        if session.is_given_up or not await self.work_queue.is_live(session.claim):
            return
        names = session.names
        trace = await self.evaluator.load(session.claim.run, trace_id, names)
        if isinstance(trace, Failed) and trace.code is FailCode.TARGET_GONE:
            return  # the trace has left the session
        if not isinstance(trace, TraceContext):
            for name in names:
                await self._keep(session, trace_id, name, trace, None)
            return
        trace = replace(trace, is_live=partial(self.work_queue.is_live, session.claim, trace_id))
        known = await self._known_signals(session.claim, trace, names)
        session.found[trace_id] = known
        if needs_requests(session.claim.metrics):
            user_request = await self.evaluator.user_request(trace)
            if user_request is not None:
                session.user_requests[trace_id] = user_request
        missing = [name for name in names if name not in known]
        await gather_limited(
            len(names), [partial(self._signal, session, trace, name) for name in missing]
        )

    async def _known_signals(
        self, claim: Claim, trace: TraceContext, names: Sequence[str]
    ) -> dict[str, Outcome]:
        keys = {
            name: key
            for name in names
            if not _is_computed(name)
            and (key := await self.evaluator.signal_key(name, trace)) is not None
        }
        stored = trace.subject.trace
        scores = await self.work_queue.find_signals(claim.run.project_id, stored.id, keys)
        if scores or not keys:  # these signals will not be written, which would renew the lease
            await self.work_queue.renew(claim, self.clock())
        numbers = {score.name: score.number for score in scores}
        return {name: Scored(value, "") for name, value in numbers.items() if value is not None}

    async def _signal(self, session: SessionSignals, trace: TraceContext, name: str) -> None:
        method = METRIC_REGISTRY[name].method
        if session.failure is not None and session.is_silent(method):
            outcome: Outcome = Failed(session.failure.code)
        else:
            try:
                outcome = await self.evaluator.evaluate(name, trace)
            except JudgeUnavailable as failure:
                session.add_failure(method, failure)
                outcome = Failed(failure.code)
            else:
                if isinstance(outcome, Scored):
                    session.unanswered[method] = 0
        stored = trace.subject.trace
        await self._keep(session, stored.id, name, outcome, stored.environment)

    async def _keep(
        self,
        session: SessionSignals,
        trace: TraceId,
        name: str,
        outcome: Outcome,
        environment: str | None,
    ) -> None:
        session.found.setdefault(trace, {})[name] = replace(outcome, metadata={})
        if _is_computed(name):
            return  # it can be computed again at any time
        now = self.clock()
        score = signal_score(session.claim.run, trace, name, outcome, now, environment=environment)
        if isinstance(outcome, Failed):
            session.failed.append(score)
        else:
            await self.work_queue.record_signal(session.claim, score, now)


def _is_computed(name: str) -> bool:
    return METRIC_REGISTRY[name].method is EvaluationMethod.COMPUTED
