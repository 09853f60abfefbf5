"""How close two texts are: of input and output, and of an output and those before it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Self

from domain.evaluation.evidence.redaction import Masker, Masking
from domain.evaluation.evidence.truncation import BYTES_PER_TOKEN, looked_at
from domain.evaluation.metrics.metric import Metric, Way
from domain.evaluation.scores.outcome import Outcome, Scored, SkipCode, Skipped, clamped
from domain.evaluation.trace_content.evaluated_trace import WINDOW, Subject
from domain.evaluation.trace_content.messages import canonical
from domain.evaluation.trace_content.text import (
    EMBEDDED_HEAD,
    EMBEDDED_TAIL,
    Similarity,
    Vector,
    cosine,
    embedded_text,
    jaccard,
    shingle_similarity,
    tokens,
)

HASH_EMBEDDER: Final = "hash"  # the key of the embedder that needs no model

COMPARED_TOKENS: Final = (EMBEDDED_HEAD + EMBEDDED_TAIL) // BYTES_PER_TOKEN

type Embed = Callable[[str], Vector]
"""The vector of a text that `embedded_text` gave; the zero vector where it says nothing."""


@dataclass(frozen=True, slots=True)
class ComparedTexts:
    """What of a trace is compared, masked and as long as `embedded_text` leaves it.

    `window` as in `loop_detection`.
    """

    request: str
    answer: str
    window: tuple[str, ...]

    @classmethod
    def of(cls, subject: Subject, masking: Masking) -> Self:
        masker = Masker(masking)

        def shown(text: str) -> str:
            looked = looked_at(text, COMPARED_TOKENS, masker)
            return embedded_text(looked.head + looked.tail)

        return cls(
            request=shown(subject.request.text),
            answer=shown(subject.answer.text),
            window=tuple(map(shown, subject.window)),
        )

    def windowed(self, evidence_hash: str) -> str:
        """The hash of the evidence and of the window that it is compared with."""
        held = {"evidence": evidence_hash, "window": self.window}
        return sha256(canonical(held).encode()).hexdigest()


def coherence(request: str, answer: str, embed: Embed) -> Outcome:
    """The cosine of input and output, version 1. A text that says nothing is far from any."""
    if not request.strip() or not answer.strip():
        return Skipped(SkipCode.EMPTY_INPUT_OR_OUTPUT)
    near = cosine(embed(embedded_text(request)), embed(embedded_text(answer)))
    gap = clamped(1 - near)
    return Scored(
        clamped(1 - gap),
        f"input and output are {1 - gap:.0%} alike in topic",
        {"coherence_gap": round(gap, 4)},
    )


def loop_detection(
    answer: str, window: Sequence[str], similar: Similarity = shingle_similarity
) -> Outcome:
    """How unlike the nearest of the last WINDOW outputs of its session an output is, version 1.

    `window` holds the outputs of earlier traces, the latest last. `similar` is the cosine of a
    model embedder; without one, how much of the shingles stands in the earlier output.
    """
    recent = window[-WINDOW:]
    if not recent:
        return Skipped(SkipCode.NO_PREVIOUS_TRACES)
    if not answer.strip():
        return Skipped(SkipCode.EMPTY_OUTPUT)
    own = tokens(answer)
    comparisons = []
    nearest = 0.0
    for at, earlier in enumerate(recent):
        if not earlier.strip():
            continue
        near = similar(embedded_text(answer), embedded_text(earlier))
        shared = jaccard(own, tokens(earlier))
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
        {
            "window_size": len(recent),
            "max_hybrid": round(nearest, 4),
            "comparisons": comparisons,
        },
    )


COHERENCE: Final = Metric(
    name="coherence",
    description="Topical closeness of output to input",
    way=Way.EMBEDDED,
)
LOOP_DETECTION: Final = Metric(
    name="loop_detection",
    description="How unlike the session's last outputs the output is",
    way=Way.EMBEDDED,
    is_listed=False,  # a signal of sessions only
)


def fingerprint(metric: Metric, embedder: str) -> str:
    """What stands on a score by the embedder of that key: only those of one can be compared."""
    return f"{embedder}/{metric.version}"
