"""A trace as its metrics see it: what several of them need is computed once."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

from application.evaluation.judging.evaluation_policy import EvaluationPolicy
from domain.evaluation.evidence.builder import EVIDENCE_TOKENS_MIN, build_evidence
from domain.evaluation.evidence.evidence import Evidence
from domain.evaluation.judging.judge import Question
from domain.evaluation.metrics.judged_metrics import is_output_shown
from domain.evaluation.metrics.metric import DefinitionKind, Metric
from domain.evaluation.metrics.similarity import ComparedTexts
from domain.evaluation.runs.run import EvalRun
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace

# From this size on, building the evidence takes 10 ms, for which it would block the event loop.
# A step takes as long as a kilobyte of payload.
LARGE_TRACE_STEPS: Final = 150
_BYTES_PER_STEP: Final = 1_000


async def _always() -> bool:
    return True


@dataclass(frozen=True)  # no slots: cached properties need a dict
class TraceContext:
    """One trace in one run. `boundary` as in `Question`.

    `is_live` tells whether the run is still RUNNING and the trace still exists. `whole` is set in
    a copy with less evidence: the context that it was made from.
    """

    subject: EvaluatedTrace
    run: EvalRun
    policy: EvaluationPolicy
    boundary: str
    whole: "TraceContext | None" = None
    is_live: Callable[[], Awaitable[bool]] = _always
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def compute[T](self, function: Callable[["TraceContext"], T]) -> T:
        """The result of a pure function of the context; computed in a thread if it may take long.

        One at a time, so that what one metric has computed is cached for the next.
        """
        if not (self._is_large or self._has_patterns):
            return function(self)
        async with self._lock:
            return await asyncio.to_thread(function, self)

    @cached_property
    def evidence(self) -> Evidence:
        return build_evidence(self.subject, self.policy.masking, self.policy.evidence_tokens)

    @cached_property
    def evidence_marks(self) -> Mapping[str, object]:
        return self.evidence.marks()

    @cached_property
    def evidence_hash(self) -> str:
        """The hash of the whole evidence: the same for a trace, however much of it is shown."""
        if self.whole is not None:
            return self.whole.evidence_hash
        return str(self.evidence_marks["evidence_hash"])

    @cached_property
    def texts(self) -> ComparedTexts:
        return ComparedTexts.from_trace(self.subject, self.policy.masking)

    def question(self, metric: Metric) -> Question:
        return Question(
            metric=metric,
            evidence=self._evidence_for(metric),
            boundary=self.boundary,
            model=metric.model or self.run.model,
            deadline_s=self.policy.deadline_s,
            is_output_shown=is_output_shown(metric, self.subject),
        )

    def halved(self) -> "TraceContext | None":
        """The same with half of the evidence; None if it has the minimum already."""
        shown = min(self.policy.evidence_tokens, self.evidence.tokens)
        tokens = max(shown // 2, EVIDENCE_TOKENS_MIN)
        if tokens >= shown:
            return None
        return replace(self, policy=replace(self.policy, evidence_tokens=tokens), whole=self)

    def _evidence_for(self, metric: Metric) -> Evidence:
        template = metric.rubric.template if metric.rubric else ""
        return replace(self.evidence, template=template) if template else self.evidence

    @cached_property
    def _is_large(self) -> bool:
        trace = self.subject.trace
        size = len(trace.input or b"") + len(trace.output or b"") + len(trace.metadata)
        size += sum(map(len, self.subject.earlier_outputs))
        for span in trace.spans:
            size += len(span.input or b"") + len(span.output or b"") + len(span.metadata)
            size += len(span.error or "")
        return len(trace.spans) + size // _BYTES_PER_STEP >= LARGE_TRACE_STEPS

    @cached_property
    def _has_patterns(self) -> bool:
        """Whether the run may have some: in a small trace, too, a search can take seconds."""
        return any(one.kind is not DefinitionKind.JUDGE for one in self.run.definitions)
