"""Computed metrics of the final output: repetition within, repetition of earlier ones, refusal."""

import zlib
from typing import Final

from domain.evaluation.metrics.metric import Direction, EvaluationMethod, Metric
from domain.evaluation.scores.outcome import Outcome, Scored, SkipCode, Skipped, clamped
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.messages import decode_embedded_json
from domain.evaluation.trace_content.text import containment, has_words, ngrams, shingles, words

OUTPUT_MAX: Final = 200_000  # characters; only the beginning of longer outputs is read
NGRAM_WORDS: Final = 4  # words
NGRAMS_MIN: Final = 8  # with fewer, repetition may be chance
COMPRESSED_BYTES_MIN: Final = 512  # shorter texts hardly deflate
# Prose deflates to 0.42-0.46 of its size, source code to 0.37, a Markdown table to 0.16; one
# sentence forty times to 0.04.
COMPRESSION_RATIO_MIN: Final = 0.15
REPETITION_WORDS_MIN: Final = 8  # shorter answers repeat by chance

# Phrases in the form that `words` gives, so that "can't" with any apostrophe is "can t".
REFUSALS: Final = (
    *("i can t help with", "i cannot help with", "i can not help with", "i m unable to help"),
    *("i can t assist", "i cannot assist", "i can not assist", "i m not able to assist"),
    *("i am unable to assist", "i m unable to assist", "i am not able to help"),
    *("i can t do that", "i cannot do that", "i won t be able to", "i will not be able to"),
    *("i can t provide", "i cannot provide", "i m unable to provide", "i am unable to provide"),
    *("i can t comply", "i cannot comply", "i can t fulfill", "i cannot fulfill", "i must decline"),
    *("i have to decline", "i must refuse", "i refuse to", "i m not allowed to"),
    *("i am not allowed to", "against my guidelines", "as an ai language model i can t"),
    *("as an ai language model i cannot", "sorry i can t", "sorry i cannot"),
    *("sorry but i can t", "sorry but i cannot"),
)


def output_degeneration(subject: EvaluatedTrace) -> Outcome:
    """1 - max(share of repeated 4-grams, how far the text compresses below prose)."""
    text = subject.answer.text[:OUTPUT_MAX]
    if not text.strip():
        return Skipped(SkipCode.EMPTY_OUTPUT)
    if decode_embedded_json(text) is not text:
        return Skipped(SkipCode.STRUCTURED_OUTPUT)
    if not has_words(text):
        return Scored(0.0, "the output holds no word")
    grams = list(ngrams(words(text), NGRAM_WORDS))
    again = 1 - len(set(grams)) / len(grams) if len(grams) >= NGRAMS_MIN else 0.0
    dense = _density(text)
    return Scored(
        1 - max(again, dense),
        f"{again:.0%} of the output's word sequences repeat an earlier one",
        {"repeated": round(again, 4), "dense": round(dense, 4)},
    )


def _density(text: str) -> float:
    raw = text.encode(errors="replace")
    if len(raw) < COMPRESSED_BYTES_MIN:
        return 0.0
    return clamped(
        (COMPRESSION_RATIO_MIN - len(zlib.compress(raw, 6)) / len(raw)) / COMPRESSION_RATIO_MIN
    )


def answer_repetition(subject: EvaluatedTrace) -> Outcome:
    """1 - the largest share of the output's shingles found in one of the recent outputs."""
    if not subject.recent_outputs:
        return Skipped(SkipCode.NO_PREVIOUS_TRACES)
    text = subject.answer.text[:OUTPUT_MAX]
    if len(words(text)) < REPETITION_WORDS_MIN:
        return Skipped(SkipCode.TOO_SHORT)
    earlier = [known for one in subject.recent_outputs if (known := shingles(one[:OUTPUT_MAX]))]
    if not earlier:  # nothing to compare with, so novelty is unknown
        return Skipped(SkipCode.NO_PREVIOUS_OUTPUTS)
    own = shingles(text)
    again = max(containment(own, known) for known in earlier)
    return Scored(
        1 - again,
        f"{again:.0%} of the output stands in an earlier output of the session",
        {"window_size": len(subject.recent_outputs), "max_containment": round(again, 4)},
    )


def refusal(subject: EvaluatedTrace) -> Outcome:
    """1 if the output declines in one of the usual phrases, else 0. Neutral."""
    text = subject.answer.text[:OUTPUT_MAX]
    if not text.strip():
        return Skipped(SkipCode.EMPTY_OUTPUT)
    spaced = f" {' '.join(words(text))} "
    declines = any(f" {phrase} " in spaced for phrase in REFUSALS)
    reason = "the output declines the request" if declines else "the output does not decline"
    return Scored(float(declines), reason)


OUTPUT_METRICS: Final = (
    Metric(
        name="output_degeneration",
        description="Absence of repetition inside the final output",
        method=EvaluationMethod.COMPUTED,
        compute=output_degeneration,
    ),
    Metric(
        name="answer_repetition",
        description="How new the output is against the session's last three",
        method=EvaluationMethod.COMPUTED,
        compute=answer_repetition,
    ),
    Metric(
        name="refusal",
        description="Whether the final output declines the request",
        method=EvaluationMethod.COMPUTED,
        direction=Direction.NEUTRAL,
        compute=refusal,
    ),
)
