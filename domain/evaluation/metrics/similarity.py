"""Similarity metrics: input with output, and an output with earlier outputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Self

from domain.evaluation.evidence.redaction import (
    BYTES_PER_TOKEN,
    RedactionMode,
    Redactor,
    prepare_text,
)
from domain.evaluation.metrics.metric import EvaluationMethod, Metric
from domain.evaluation.scores.outcome import Outcome, Scored, SkipCode, Skipped, clamped
from domain.evaluation.trace_content.evaluated_trace import RECENT_OUTPUTS_MAX, EvaluatedTrace
from domain.evaluation.trace_content.messages import canonical_json
from domain.evaluation.trace_content.text import (
    EMBEDDED_HEAD_CHARS,
    EMBEDDED_TAIL_CHARS,
    SimilarityFunction,
    Vector,
    content_words,
    cosine,
    jaccard,
    shingle_similarity,
    truncate_for_embedding,
)

HASH_EMBEDDER: Final = "hash"  # key of the embedder without a model

COMPARED_TOKENS: Final = (EMBEDDED_HEAD_CHARS + EMBEDDED_TAIL_CHARS) // BYTES_PER_TOKEN

type Embed = Callable[[str], Vector]
"""Maps a truncated text (`truncate_for_embedding`) to its vector; zero for a text without words."""


@dataclass(frozen=True, slots=True)
class ComparedTexts:
    """The texts of a trace that are compared, redacted and truncated for embedding.

    `window` as in `loop_detection`.
    """

    request: str
    answer: str
    window: tuple[str, ...]

    @classmethod
    def from_trace(cls, subject: EvaluatedTrace, masking: RedactionMode) -> Self:
        redactor = Redactor(masking)

        def shown(text: str) -> str:
            looked = prepare_text(text, COMPARED_TOKENS, redactor)
            return truncate_for_embedding(looked.head + looked.tail)

        return cls(
            request=shown(subject.request.text),
            answer=shown(subject.answer.text),
            window=tuple(map(shown, subject.recent_outputs)),
        )

    def windowed(self, evidence_hash: str) -> str:
        """The hash of the evidence and of the outputs it is compared with."""
        held = {"evidence": evidence_hash, "window": self.window}
        return sha256(canonical_json(held).encode()).hexdigest()


def coherence(request: str, answer: str, embed: Embed) -> Outcome:
    """The cosine of input and output, version 1. A text without words is similar to nothing."""
    if not request.strip() or not answer.strip():
        return Skipped(SkipCode.EMPTY_INPUT_OR_OUTPUT)
    near = cosine(embed(truncate_for_embedding(request)), embed(truncate_for_embedding(answer)))
    gap = clamped(1 - near)
    return Scored(
        clamped(1 - gap),
        f"input and output are {1 - gap:.0%} alike in topic",
        {"coherence_gap": round(gap, 4)},
    )


def loop_detection(
    answer: str, window: Sequence[str], similar: SimilarityFunction = shingle_similarity
) -> Outcome:
    """1 - similarity to the most similar of the last outputs of the session, version 1.

    `window` holds the outputs of earlier traces, the latest last; the last RECENT_OUTPUTS_MAX
    count. `similar` is the cosine of a model embedder; without one, the containment of shingles.
    """
    recent = window[-RECENT_OUTPUTS_MAX:]
    if not recent:
        return Skipped(SkipCode.NO_PREVIOUS_TRACES)
    if not answer.strip():
        return Skipped(SkipCode.EMPTY_OUTPUT)
    own = content_words(answer)
    comparisons = []
    nearest = 0.0
    for at, earlier in enumerate(recent):
        if not earlier.strip():
            continue
        near = similar(truncate_for_embedding(answer), truncate_for_embedding(earlier))
        shared = jaccard(own, content_words(earlier))
        nearest = max(nearest, near * shared)
        comparisons.append(
            {
                "trace_index": at,
                "cosine_similarity": round(near, 4),
                "jaccard_similarity": round(shared, 4),
                "hybrid_score": round(near * shared, 4),
            }
        )
    if not comparisons:
        return Skipped(SkipCode.NO_PREVIOUS_OUTPUTS)
    return Scored(
        clamped(1 - nearest),
        f"at most {clamped(nearest):.0%} alike one of the last {len(recent)} outputs",
        {"window_size": len(recent), "max_hybrid": round(nearest, 4), "comparisons": comparisons},
    )


COHERENCE: Final = Metric(
    name="coherence",
    description="Topical closeness of output to input",
    method=EvaluationMethod.EMBEDDED,
)
LOOP_DETECTION: Final = Metric(
    name="loop_detection",
    description="How unlike the session's last outputs the output is",
    method=EvaluationMethod.EMBEDDED,
    is_listed=False,  # a signal of sessions only
)


def embedding_fingerprint(metric: Metric, embedder: str) -> str:
    """Identifies the embedder of a score: only equal fingerprints are comparable."""
    return f"{embedder}/{metric.version}"
