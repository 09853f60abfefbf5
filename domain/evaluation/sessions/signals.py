"""The inputs of session metrics: signals with their weights, and compact user requests."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, Self

from domain.errors import FieldError, Invalid
from domain.evaluation.scores.outcome import FailCode, Failed, Outcome, Scored, SkipCode, Skipped
from domain.evaluation.trace_content.text import jaccard, ngrams, normalize_text, words
from domain.wording import counted, noun_of

READ_MAX: Final = 100_000  # characters that are normalized; the rest is compared as it is
WORDS_CHARS_MAX: Final = 500  # longer texts may begin alike and ask something else
WORDS_MIN: Final = 3  # "yes" and "thank you" recur without a repeated request
SIMILARITY_MIN: Final = 0.7  # reached despite different spelling or word order

_DIGEST_BYTES: Final = 16
_NGRAM_CHARS: Final = 3

SESSION_TRACES_MAX: Final = 1_000  # default; larger sessions are stored, but not evaluated
COVERAGE_MIN: Final = 0.5  # of a session's traces; below it a score wouldn't represent them

CONFIDENCE: Final = "confidence"
COHERENCE: Final = "coherence"
LOOP_DETECTION: Final = "loop_detection"
TOOL_CORRECTNESS: Final = "tool_correctness"
DEFAULT_WEIGHTS: Final[Mapping[str, float]] = {
    CONFIDENCE: 1.0,
    COHERENCE: 1.0,
    LOOP_DETECTION: 1.0,
    TOOL_CORRECTNESS: 0.8,
}
"""The signals in their order, with their default weights."""
JUDGED_SIGNALS: Final = frozenset({CONFIDENCE, TOOL_CORRECTNESS})
"""The signals that need a judge."""

COMPUTED_SIGNALS: Final = ("tool_loop", "tool_success_rate", "trace_success")
"""Signals computed without a judge, added by version 2 to those of DEFAULT_WEIGHTS."""

WEIGHT_COUNTED_MAX: Final = 1e6  # larger weights are clamped: sums of squares stay finite

RISK_NAMES: Final = {
    CONFIDENCE: "confidence_risk",
    COHERENCE: "coherence_risk",
    LOOP_DETECTION: "loop_risk",
    TOOL_CORRECTNESS: "tool_risk",
    **{signal: f"{signal}_risk" for signal in COMPUTED_SIGNALS},
}


@dataclass(frozen=True, slots=True)
class UserRequest:
    """The digest and the words of a request.

    `digest` is equal for texts that differ only in case, width and whitespace. `words` are the
    words, separated by single spaces; empty if the text is too long for a similarity comparison.
    `is_question` tells whether the text is long enough for a repetition to be meaningful.
    """

    digest: bytes
    words: str
    is_question: bool

    @classmethod
    def from_text(cls, text: str) -> Self | None:
        """None if the text is blank."""
        if not text.strip():
            return None
        head, rest = text[:READ_MAX], text[READ_MAX:]
        same = f"{' '.join(normalize_text(head).split())}\n{rest}".encode(errors="replace")
        digest = blake2b(same, digest_size=_DIGEST_BYTES).digest()
        found = words(head)
        spaced = " ".join(found)
        return cls(
            digest, spaced if len(spaced) <= WORDS_CHARS_MAX else "", len(found) >= WORDS_MIN
        )

    @property
    def fingerprint(self) -> "RequestFingerprint":
        grams = ngrams(f" {self.words} ", _NGRAM_CHARS)
        numbers = [word for word in self.words.split() if any(map(str.isdigit, word))]
        return RequestFingerprint(frozenset(map("".join, grams)), frozenset(numbers))


@dataclass(frozen=True, slots=True)
class RequestFingerprint:
    """The features that similarity is computed from: character 3-grams, and words with a digit."""

    grams: frozenset[str]
    numbers: frozenset[str]

    def is_similar_to(self, other: "RequestFingerprint") -> bool:
        """Whether both ask the same. Different numbers mean different requests.

        Symmetric. A request without words is similar to none.
        """
        fewer, more = sorted((len(self.grams), len(other.grams)))
        if self.numbers != other.numbers or fewer < SIMILARITY_MIN * more:  # can't be close enough
            return False
        return jaccard(self.grams, other.grams) >= SIMILARITY_MIN


@dataclass(frozen=True, slots=True)
class TraceSignals:
    """The outcome of each signal of one trace; a signal may be missing.

    Only scored signals are numbers; nothing replaces the others. `request` is set for metrics that
    read it, if the trace has an input.
    """

    trace: str
    outcomes: Mapping[str, Outcome]
    request: UserRequest | None = None

    def risks_of(self, signals: Iterable[str]) -> dict[str, float]:
        """1 - score for each scored one of `signals`, in their order."""
        return {
            signal: 1 - outcome.value
            for signal in signals
            if isinstance(outcome := self.outcomes.get(signal), Scored)
        }


def validate_weights(given: Mapping[str, float] | None) -> Mapping[str, float]:
    """Returns the overrides. Raises Invalid, naming `signal_weights.<key>` for each bad value.

    Unknown signals have no effect, but their values are checked too: a bad value is a mistake
    anyway.
    """
    wrong = [
        FieldError(f"signal_weights.{key}", "must be a finite number, 0 or more")
        for key, weight in (given or {}).items()
        if not (math.isfinite(weight) and weight >= 0)
    ]
    if wrong:
        raise Invalid.fields(wrong)
    return dict(given or {})


def default_and_given_weights(given: Mapping[str, float]) -> dict[str, float]:
    """The weight of each signal: the given one, else the default. 0 is a valid weight."""
    return _weights(DEFAULT_WEIGHTS, given)


def consistency_weights(given: Mapping[str, float]) -> dict[str, float]:
    """The weights above 0 of the signals that count in version 2: the given ones, else defaults."""
    weights = default_and_given_weights(given)
    return {signal: weight for signal, weight in weights.items() if weight > 0}


def reliability_weights(given: Mapping[str, float]) -> dict[str, float]:
    """The weights above 0 of the signals that count.

    A computed signal has weight 1 unless `given` overrides it; other signals count only if given.
    """
    usual = dict.fromkeys(COMPUTED_SIGNALS, 1.0) | dict.fromkeys(DEFAULT_WEIGHTS, 0.0)
    return {signal: weight for signal, weight in _weights(usual, given).items() if weight > 0}


def _weights(usual: Mapping[str, float], given: Mapping[str, float]) -> dict[str, float]:
    return {
        signal: min(float(given.get(signal, weight)), WEIGHT_COUNTED_MAX)
        for signal, weight in usual.items()
    }


def rounded(value: float) -> float:
    return round(value, 4)


def signal_metadata(
    session: Sequence[TraceSignals],
    weights: Mapping[str, float],
    evaluated: Mapping[str, float],
    figure: str,
) -> dict[str, Any]:
    """The metadata of every outcome; `figure` names the numbers in `evaluated`.

    `weights` are those of the signals that count.
    """
    per_trace: dict[str, dict[str, float]] = {}
    for one in session:
        if risks := one.risks_of(weights):
            figures = {RISK_NAMES[signal]: rounded(risk) for signal, risk in risks.items()}
            if one.trace in evaluated:
                figures[figure] = rounded(evaluated[one.trace])
            per_trace[one.trace] = figures
    return {
        "total_traces_in_session": len(session),
        "traces_evaluated": len(evaluated),
        "coverage": rounded(len(evaluated) / len(session)) if session else 0.0,
        "signal_weights": dict(weights),
        "per_trace_signals": per_trace,
    }


def insufficient_signals(
    session: Sequence[TraceSignals],
    evaluated: int,
    known: Mapping[str, object],
    signals: Collection[str] = DEFAULT_WEIGHTS,
) -> Outcome | None:
    """The outcome if there can be no number, else None. `signals` are those that count."""
    if not session:
        return Failed(FailCode.TARGET_GONE, "The session has no trace", known)
    if len(session) > SESSION_TRACES_MAX:
        why = f"the session has more than {SESSION_TRACES_MAX} traces"
        return Skipped(SkipCode.TRACE_TOO_LARGE, why, known)
    if evaluated < COVERAGE_MIN * len(session):
        why = f"{evaluated} of {len(session)} traces have the signals it takes"
    elif _is_judge_out_of_reach(session, JUDGED_SIGNALS.intersection(signals)):
        why = "the judge failed wherever it was asked"
    else:
        return None
    ended = Counter(
        type(outcome)
        for one in session
        for signal, outcome in one.outcomes.items()
        if signal in signals
    )
    why += (
        f"; {counted(ended[Failed], 'signal')} failed and {ended[Skipped]} "
        f"{noun_of(ended[Skipped], 'was', 'were')} skipped"
    )
    return Skipped(SkipCode.INSUFFICIENT_SIGNALS, why, known)


def _is_judge_out_of_reach(session: Sequence[TraceSignals], asked: frozenset[str]) -> bool:
    """Whether every judge call failed: computed signals alone aren't enough."""
    judged = {type(one.outcomes[signal]) for one in session for signal in asked & set(one.outcomes)}
    return Failed in judged and Scored not in judged
