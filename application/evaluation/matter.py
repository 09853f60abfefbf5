"""A trace before its metrics: what several of them read is made once."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Final

from application.evaluation.circuits import HEAD_START_S
from application.evaluation.keeping import RENEW_EVERY
from application.evaluation.ports.work_queue import LEASE, RENEW_DEBOUNCE
from domain.evaluation.evidence.builder import EVIDENCE_TOKENS, build_evidence
from domain.evaluation.evidence.evidence import Evidence
from domain.evaluation.evidence.redaction import RedactionMode
from domain.evaluation.judging.judge import Question
from domain.evaluation.metrics.judged_metrics import is_output_shown
from domain.evaluation.metrics.metric import Metric
from domain.evaluation.metrics.similarity import ComparedTexts
from domain.evaluation.runs.run import EvalRun
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace

# From here on evidence takes ten milliseconds, in which nobody else would get a turn: a
# step takes as long as a kilobyte of payload.
LARGE: Final = 150
_STEP_BYTES: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuringPolicy:
    """Within what bounds targets are measured.

    `deadline_s` is for one question, `head_start_s` for the first of a run (see Circuits).
    Together they have to stay within what is left of a lease at the least, or the target goes to
    somebody else meanwhile: else ValueError.
    """

    evidence_tokens: int = EVIDENCE_TOKENS
    masking: RedactionMode = RedactionMode.SECRETS
    deadline_s: float = 60.0
    head_start_s: float = HEAD_START_S
    metrics_at_once: int = 8  # of one target
    traces_at_once: int = 4  # of one session: so many are in memory
    renew_every: timedelta = RENEW_EVERY

    def __post_init__(self) -> None:
        if timedelta(seconds=self.deadline_s + self.head_start_s) >= LEASE - RENEW_DEBOUNCE:
            raise ValueError(f"a question of {self.deadline_s} s does not fit into a lease")


USUAL: Final = MeasuringPolicy()


async def _always() -> bool:
    return True


@dataclass(frozen=True)  # no slots: what was looked into is kept
class Matter:
    """One trace in one run. `boundary` as in `Question`. `whole` where this is a shorter one of it.

    `is_wanted` tells whether the run is still to be done, and the trace still there.
    """

    subject: EvaluatedTrace
    run: EvalRun
    policy: MeasuringPolicy
    boundary: str
    whole: "Matter | None" = None
    is_wanted: Callable[[], Awaitable[bool]] = _always
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def seen[T](self, look: Callable[["Matter"], T]) -> T:
        """What a pure function finds in it; beside the event loop where it is large.

        One at a time: what the first has looked into, the next finds ready.
        """
        if not self._is_large:
            return look(self)
        async with self._turn:
            return await asyncio.to_thread(look, self)

    @cached_property
    def evidence(self) -> Evidence:
        return build_evidence(self.subject, self.policy.masking, self.policy.evidence_tokens)

    @cached_property
    def evidence_marks(self) -> Mapping[str, object]:
        return self.evidence.marks()

    @cached_property
    def evidence_hash(self) -> str:
        """That of the whole: a trace has the same one, however much of it is shown."""
        if self.whole is not None:
            return self.whole.evidence_hash
        return str(self.evidence_marks["evidence_hash"])

    @cached_property
    def texts(self) -> ComparedTexts:
        return ComparedTexts.from_trace(self.subject, self.policy.masking)

    def question(self, metric: Metric) -> Question:
        return Question(
            metric=metric,
            evidence=self._shown(metric),
            boundary=self.boundary,
            model=metric.model or self.run.model,
            deadline_s=self.policy.deadline_s,
            is_output_shown=is_output_shown(metric, self.subject),
        )

    def _shown(self, metric: Metric) -> Evidence:
        template = metric.rubric.template if metric.rubric else ""
        return replace(self.evidence, template=template) if template else self.evidence

    @cached_property
    def _is_large(self) -> bool:
        trace = self.subject.trace
        size = len(trace.input or b"") + len(trace.output or b"")
        size += sum(map(len, self.subject.earlier_outputs))
        for span in trace.spans:
            size += len(span.input or b"") + len(span.output or b"") + len(span.metadata)
        return len(trace.spans) + size // _STEP_BYTES >= LARGE
