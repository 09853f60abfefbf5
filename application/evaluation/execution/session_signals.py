"""The signals of a session's traces: those that are known, and those that have to be measured."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from application.concurrency import gather_limited
from application.evaluation.guarded import GuardedMeasuring
from application.evaluation.matter import Matter, MeasuringPolicy
from application.evaluation.ports.evaluation import Targets
from application.evaluation.ports.work_queue import ATTEMPTS_MAX, Claim, WorkQueue
from application.ports import Clock
from domain.evaluation.judging.judge import JudgeUnavailable
from domain.evaluation.metrics.metric import EvaluationMethod
from domain.evaluation.metrics.registry import METRIC_REGISTRY
from domain.evaluation.runs.run import signal_score
from domain.evaluation.scores.outcome import FailCode, Failed, Outcome, Scored
from domain.evaluation.scores.score import TraceScore
from domain.evaluation.sessions.registry import needs_requests, required_signals
from domain.evaluation.sessions.reliability_v1 import (
    JUDGED_SIGNALS,
    SESSION_TRACES_MAX,
    TraceSignals,
)
from domain.evaluation.trace_content.user_request import UserRequest
from domain.ids import TraceId

SILENCES_MAX: Final = 3  # questions in a row without an answer: then a session asks no more


@dataclass(slots=True)
class SessionSignals:
    """What has been found of one session so far, and how the judge and the embedder answer.

    `failed` are not stored yet: what is tried again must not be there. `late` is a question that
    got no answer, of several the one to wait for the longest. Outcomes are without their
    metadata, and of what was `asked` there is little: of a thousand traces that is much.
    """

    claim: Claim
    found: dict[TraceId, dict[str, Outcome]] = field(default_factory=dict)
    asked: dict[TraceId, UserRequest] = field(default_factory=dict)
    failed: list[TraceScore] = field(default_factory=list)
    late: JudgeUnavailable | None = None
    silences: Counter[EvaluationMethod] = field(default_factory=Counter)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the signals that the open metrics are made of."""
        return required_signals(self.claim.metrics, self.claim.run.signal_weights)

    @property
    def is_last(self) -> bool:
        """Whether what isn't measured in this attempt has failed."""
        return self.claim.attempt >= ATTEMPTS_MAX

    @property
    def is_judged(self) -> bool:
        """Whether a judge has graded any of it, now or earlier."""
        judged = (one.get(name) for one in self.found.values() for name in JUDGED_SIGNALS)
        return any(isinstance(outcome, Scored) for outcome in judged)

    @property
    def is_given_up(self) -> bool:
        """Whether the rest waits for the next attempt."""
        return not self.is_last and any(map(self.is_silent, self.silences))

    def is_silent(self, method: EvaluationMethod) -> bool:
        return self.silences[method] >= SILENCES_MAX

    def missed(self, method: EvaluationMethod, late: JudgeUnavailable) -> None:
        self.silences[method] += 1
        if self.late is None or late.retry_after_s > self.late.retry_after_s:
            self.late = late

    def of(self, traces: Sequence[TraceId]) -> list[TraceSignals]:
        """In the order of `traces`, of those that are there."""
        return [
            TraceSignals(str(one), self.found[one], self.asked.get(one))
            for one in traces
            if one in self.found
        ]


@dataclass(frozen=True, slots=True)
class SignalMeasuring:
    """Finds the signals of every trace of a session, and stores those that it asked for.

    A known one is taken where it has the same fingerprint and is of the same evidence. Few traces
    are in memory at once.
    """

    work_queue: WorkQueue
    targets: Targets
    measuring: GuardedMeasuring
    policy: MeasuringPolicy
    clock: Clock

    async def of(self, session: SessionSignals) -> list[TraceSignals]:
        """Of each trace that is there, in order. Raises Unavailable."""
        run = session.claim.run
        traces = await self.targets.session_traces(run.project_id, session.claim.target)
        if len(traces) > SESSION_TRACES_MAX:  # rolling them up refuses it
            return [TraceSignals(str(trace), {}) for trace in traces]
        await gather_limited(
            self.policy.traces_at_once, [partial(self._trace, session, trace) for trace in traces]
        )
        return session.of(traces)

    async def store_failed(self, session: SessionSignals) -> None:
        """Once nothing of the session is tried again."""
        for score in session.failed:
            await self.work_queue.record_signal(session.claim, score, self.clock())

    async def _trace(self, session: SessionSignals, trace: TraceId) -> None:
        if session.is_given_up or not await self.work_queue.is_live(session.claim):
            return
        names = session.names
        matter = await self.measuring.matter(session.claim.run, trace, names)
        if isinstance(matter, Failed) and matter.code is FailCode.TARGET_GONE:
            return  # it is no trace of the session any more
        if not isinstance(matter, Matter):
            for name in names:
                await self._keep(session, trace, name, matter, None)
            return
        is_wanted = partial(self.work_queue.is_live, session.claim, trace)
        matter = replace(matter, is_wanted=is_wanted)
        known = await self._known(session.claim, matter, names)
        session.found[trace] = known
        if needs_requests(session.claim.metrics):
            asked = await self.measuring.asked(matter)
            if asked is not None:
                session.asked[trace] = asked
        missing = [name for name in names if name not in known]
        await gather_limited(
            len(names), [partial(self._signal, session, matter, name) for name in missing]
        )

    async def _known(
        self, claim: Claim, matter: Matter, names: Sequence[str]
    ) -> dict[str, Outcome]:
        keys = {
            name: key
            for name in names
            if not _is_measured(name)
            and (key := await self.measuring.key(name, matter)) is not None
        }
        trace = matter.subject.trace.id
        scores = await self.work_queue.find_signals(claim.run.project_id, trace, keys)
        if scores or not keys:  # nothing of these will be written, which would renew the lease
            await self.work_queue.renew(claim, self.clock())
        numbers = {score.name: score.number for score in scores}
        return {name: Scored(value, "") for name, value in numbers.items() if value is not None}

    async def _signal(self, session: SessionSignals, matter: Matter, name: str) -> None:
        method, trace = METRIC_REGISTRY[name].method, matter.subject.trace
        if session.late is not None and session.is_silent(method):
            outcome: Outcome = Failed(session.late.code)
        else:
            try:
                outcome = await self.measuring.outcome(name, matter)
            except JudgeUnavailable as late:
                session.missed(method, late)
                outcome = Failed(late.code)
            else:
                if isinstance(outcome, Scored):
                    session.silences[method] = 0
        await self._keep(session, trace.id, name, outcome, trace.environment)

    async def _keep(
        self,
        session: SessionSignals,
        trace: TraceId,
        name: str,
        outcome: Outcome,
        environment: str | None,
    ) -> None:
        session.found.setdefault(trace, {})[name] = replace(outcome, metadata={})
        if _is_measured(name):
            return  # the trace tells it again at any time
        now = self.clock()
        score = signal_score(session.claim.run, trace, name, outcome, now, environment=environment)
        if isinstance(outcome, Failed):
            session.failed.append(score)
        else:
            await self.work_queue.record_signal(session.claim, score, now)


def _is_measured(name: str) -> bool:
    return METRIC_REGISTRY[name].method is EvaluationMethod.COMPUTED
