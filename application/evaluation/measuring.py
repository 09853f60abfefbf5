"""How a metric of a trace is measured: by a rule, a judge, an embedder, or computation alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from application.evaluation.asking import Asking
from application.evaluation.circuits import Circuits
from application.evaluation.matter import Matter
from application.evaluation.ports.evaluation import Embedder
from application.evaluation.ports.work_queue import SignalKey
from application.evaluation.too_long import answered
from domain.evaluation.evidence.score_details import score_details
from domain.evaluation.judging.judge import JudgeRefused
from domain.evaluation.metrics import similarity
from domain.evaluation.metrics.metric import EvaluationMethod, JudgeKind, Metric
from domain.evaluation.metrics.registry import compute_metric, computed_fingerprint
from domain.evaluation.metrics.similarity import COHERENCE, HASH_EMBEDDER, ComparedTexts
from domain.evaluation.scores.outcome import Failed, Outcome, Scored, SkipCode, Skipped
from domain.evaluation.trace_content.text import Vector, cosine


@dataclass(frozen=True, slots=True)
class Measuring:
    """Finds what a metric of a trace comes to, with the marks that its score carries."""

    asking: Asking
    embedder: Embedder
    circuits: Circuits

    async def outcome(self, metric: Metric, matter: Matter) -> Outcome:
        """Raises JudgeUnavailable where it may succeed later; Unavailable."""
        try:
            match metric.method:
                case EvaluationMethod.COMPUTED:
                    return await matter.seen(lambda it: compute_metric(metric, it.subject))
                case EvaluationMethod.JUDGED:
                    return await self._judged(metric, matter)
                case EvaluationMethod.EMBEDDED:
                    return await self._embedded(metric, matter)
                case EvaluationMethod.AGGREGATED:
                    raise ValueError(f"{metric.name} is of no single trace")
        except JudgeRefused as refused:
            return Failed(refused.code)

    async def key(self, metric: Metric, matter: Matter) -> SignalKey | None:
        """In what an earlier score has to agree to stand for this one; None where none can."""
        try:
            fingerprint = self.fingerprint(metric, metric.model or matter.run.model)
        except JudgeRefused:
            return None
        return SignalKey(fingerprint, await matter.seen(lambda it: _hash(metric, it)))

    def fingerprint(self, metric: Metric, model: str) -> str:
        """Of a metric of traces. Raises JudgeRefused."""
        if metric.method is EvaluationMethod.COMPUTED:
            return computed_fingerprint(metric)
        if metric.method is EvaluationMethod.EMBEDDED:
            return similarity.embedding_fingerprint(metric, self.embedder.key)
        return self.asking.judge.fingerprint(metric, model)

    # --- judged ---

    async def _judged(self, metric: Metric, matter: Matter) -> Outcome:
        if (ruled := await matter.seen(lambda it: _ruled(metric, it))) is not None:
            return ruled
        outcome = await answered(matter, lambda it: self.asking.answer(metric, it))
        return await matter.seen(lambda it: _answered(metric, it, outcome))

    # --- embedded ---

    async def _embedded(self, metric: Metric, matter: Matter) -> Outcome:
        if self.embedder.key != HASH_EMBEDDER and not await matter.is_wanted():
            return Skipped(SkipCode.CANCELLED)
        texts = await matter.seen(lambda it: it.texts)
        if metric is COHERENCE:
            outcome = await self._coherence(matter, texts)
        else:
            outcome = await self._loop_detection(matter, texts)
        if not isinstance(outcome, Scored):
            return outcome
        marks = {
            **metric.marks(outcome.value),
            "judge_kind": JudgeKind.EMBEDDING.value,
            "fingerprint": similarity.embedding_fingerprint(metric, self.embedder.key),
            "evidence_hash": await matter.seen(lambda it: _hash(metric, it)),
        }
        return replace(outcome, metadata={**outcome.metadata, **marks})

    async def _coherence(self, matter: Matter, texts: ComparedTexts) -> Outcome:
        both = [texts.request, texts.answer]
        vectors = await self._vectors(matter, both if all(map(str.strip, both)) else ())
        return similarity.coherence(texts.request, texts.answer, vectors.__getitem__)

    async def _loop_detection(self, matter: Matter, texts: ComparedTexts) -> Outcome:
        if self.embedder.key == HASH_EMBEDDER:
            return similarity.loop_detection(texts.answer, texts.window)
        earlier = [text for text in texts.window if text.strip()]
        is_due = bool(earlier and texts.answer.strip())
        vectors = await self._vectors(matter, [texts.answer, *earlier] if is_due else ())
        return similarity.loop_detection(
            texts.answer, texts.window, lambda own, other: cosine(vectors[own], vectors[other])
        )

    async def _vectors(self, matter: Matter, texts: Sequence[str]) -> dict[str, Vector]:
        distinct = list(dict.fromkeys(texts))
        if not distinct:
            return {}
        found = await self.circuits.ask(
            matter.run.id, self.embedder.key, lambda: self.embedder.embed(distinct)
        )
        return dict(zip(distinct, found, strict=True))


def _hash(metric: Metric, matter: Matter) -> str:
    if metric is similarity.LOOP_DETECTION:
        return matter.texts.windowed(matter.evidence_hash)
    return matter.evidence_hash


def _ruled(metric: Metric, matter: Matter) -> Outcome | None:
    """What the metric's rule says, so that nobody needs to be asked."""
    outcome = metric.precheck(matter.subject) if metric.precheck else None
    if not isinstance(outcome, Scored):
        return outcome
    marks = {
        **metric.marks(outcome.value),
        "fingerprint": f"{JudgeKind.RULE}/{metric.version}",
        **matter.evidence_marks,
    }
    told = score_details(metric.name, matter.evidence)
    return replace(outcome, metadata={**told, **outcome.metadata, **marks})


def _answered(metric: Metric, matter: Matter, outcome: Scored | Skipped) -> Scored | Skipped:
    # Who judges may tell what of the evidence was shown, which can be less.
    asked = {**matter.evidence_marks, **outcome.metadata}
    if isinstance(outcome, Skipped):
        return replace(outcome, metadata=asked)
    told: dict[str, object] = {"evidence": [], **score_details(metric.name, matter.evidence)}
    return replace(outcome, metadata={**told, **asked, **metric.marks(outcome.value)})
