"""Evaluates one metric of a trace: by computation, a rule, a judge, or an embedder."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from application.evaluation.judging.circuit_breaker import CircuitBreaker
from application.evaluation.judging.judge_client import JudgeClient
from application.evaluation.judging.trace_context import TraceContext
from application.evaluation.ports.judging import Embedder
from application.evaluation.ports.work_queue import SignalKey
from domain.evaluation.evidence.evidence import score_details
from domain.evaluation.judging.judge import JudgeRefused
from domain.evaluation.metrics import similarity
from domain.evaluation.metrics.metric import (
    EvaluationMethod,
    JudgeKind,
    Metric,
    rule_fingerprint,
)
from domain.evaluation.metrics.registry import compute_metric, computed_fingerprint
from domain.evaluation.metrics.similarity import COHERENCE, HASH_EMBEDDER, ComparedTexts
from domain.evaluation.scores.outcome import Failed, Outcome, Scored, SkipCode, Skipped
from domain.evaluation.trace_content.text import Vector, cosine


@dataclass(frozen=True, slots=True)
class MetricEvaluator:
    """Gives the outcome of a metric, with all the metadata that its score carries."""

    judge: JudgeClient
    embedder: Embedder
    breaker: CircuitBreaker

    async def evaluate(self, metric: Metric, trace: TraceContext) -> Outcome:
        """Raises JudgeUnavailable if it may succeed later; Unavailable."""
        try:
            match metric.method:
                case EvaluationMethod.COMPUTED:
                    return await trace.compute(lambda it: compute_metric(metric, it.subject))
                case EvaluationMethod.JUDGED:
                    return await self._judged(metric, trace)
                case EvaluationMethod.EMBEDDED:
                    return await self._embedded(metric, trace)
                case EvaluationMethod.AGGREGATED:
                    raise ValueError(f"{metric.name} is a metric of sessions")
        except JudgeRefused as refused:
            return Failed(refused.code)

    async def signal_key(self, metric: Metric, trace: TraceContext) -> SignalKey | None:
        """What an earlier score must agree in to be used instead; None if no score can be."""
        try:
            fingerprint = self.fingerprint(metric, metric.model or trace.run.model)
        except JudgeRefused:
            return None
        return SignalKey(fingerprint, await trace.compute(lambda it: _evidence_hash(metric, it)))

    def fingerprint(self, metric: Metric, model: str) -> str:
        """The fingerprint of a metric of traces. Raises JudgeRefused."""
        if metric.method is EvaluationMethod.COMPUTED:
            return computed_fingerprint(metric)
        if metric.method is EvaluationMethod.EMBEDDED:
            return similarity.embedding_fingerprint(metric, self.embedder.key)
        return self.judge.fingerprint(metric, model)

    # --- by a judge ---

    async def _judged(self, metric: Metric, trace: TraceContext) -> Outcome:
        if (ruled := await trace.compute(lambda it: _rule_outcome(metric, it))) is not None:
            return ruled
        outcome = await self.judge.grade(metric, trace)
        if isinstance(outcome, Failed):
            return outcome
        return await trace.compute(lambda it: _with_evidence_marks(metric, it, outcome))

    # --- by an embedder ---

    async def _embedded(self, metric: Metric, trace: TraceContext) -> Outcome:
        if self.embedder.key != HASH_EMBEDDER and not await trace.is_live():
            return Skipped(SkipCode.CANCELLED)
        texts = await trace.compute(lambda it: it.texts)
        if metric is COHERENCE:
            outcome = await self._coherence(trace, texts)
        else:
            outcome = await self._loop_detection(trace, texts)
        if not isinstance(outcome, Scored):
            return outcome
        marks = {
            **metric.marks(outcome.value),
            "judge_kind": JudgeKind.EMBEDDING.value,
            "fingerprint": similarity.embedding_fingerprint(metric, self.embedder.key),
            "evidence_hash": await trace.compute(lambda it: _evidence_hash(metric, it)),
        }
        return replace(outcome, metadata={**outcome.metadata, **marks})

    async def _coherence(self, trace: TraceContext, texts: ComparedTexts) -> Outcome:
        both = [texts.request, texts.answer]
        vectors = await self._vectors(trace, both if all(map(str.strip, both)) else ())
        return similarity.coherence(texts.request, texts.answer, vectors.__getitem__)

    async def _loop_detection(self, trace: TraceContext, texts: ComparedTexts) -> Outcome:
        if self.embedder.key == HASH_EMBEDDER:
            return similarity.loop_detection(texts.answer, texts.window)
        earlier = [text for text in texts.window if text.strip()]
        is_due = bool(earlier and texts.answer.strip())
        vectors = await self._vectors(trace, [texts.answer, *earlier] if is_due else ())
        return similarity.loop_detection(
            texts.answer, texts.window, lambda own, other: cosine(vectors[own], vectors[other])
        )

    async def _vectors(self, trace: TraceContext, texts: Sequence[str]) -> dict[str, Vector]:
        distinct = list(dict.fromkeys(texts))
        if not distinct:
            return {}
        key, embed = self.embedder.key, self.embedder.embed  # it has one model
        found = await self.breaker.call(trace.run.id, key, key, lambda: embed(distinct))
        return dict(zip(distinct, found, strict=True))


def _evidence_hash(metric: Metric, trace: TraceContext) -> str:
    if metric is similarity.LOOP_DETECTION:
        return trace.texts.windowed(trace.evidence_hash)
    return trace.evidence_hash


def _rule_outcome(metric: Metric, trace: TraceContext) -> Outcome | None:
    """The outcome by the metric's rule; None if a judge has to be asked."""
    outcome = metric.precheck(trace.subject) if metric.precheck else None
    if not isinstance(outcome, Scored):
        return outcome
    marks = {
        **metric.marks(outcome.value),
        "fingerprint": rule_fingerprint(metric),
        **trace.evidence_marks,
    }
    details = score_details(metric.name, trace.evidence)
    return replace(outcome, metadata={**details, **outcome.metadata, **marks})


def _with_evidence_marks(
    metric: Metric, trace: TraceContext, outcome: Scored | Skipped
) -> Scored | Skipped:
    # A judge may have marked what it was shown of the evidence, which can be less than all of it.
    marked = {**trace.evidence_marks, **outcome.metadata}
    if isinstance(outcome, Skipped):
        return replace(outcome, metadata=marked)
    details: dict[str, object] = {"evidence": [], **score_details(metric.name, trace.evidence)}
    return replace(outcome, metadata={**details, **marked, **metric.marks(outcome.value)})
