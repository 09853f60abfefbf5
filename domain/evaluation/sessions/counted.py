"""Unweighted session metrics: error rate, repeated requests, consistency of outcomes."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

from domain.evaluation.scores.outcome import Outcome, Scored, SkipCode, Skipped
from domain.evaluation.sessions.signals import TraceSignals, insufficient_signals, rounded
from domain.evaluation.trace_content.user_request import RequestFingerprint

TRACE_SUCCESS: Final = "trace_success"
RECENT_REQUESTS: Final = 10  # compared for similarity; equal requests are found at any distance
PASS_K: Final = 2  # k of pass^k


def trace_success_only(given: Mapping[str, float]) -> dict[str, float]:
    """The only signal of these metrics; given weights are ignored."""
    del given
    return {TRACE_SUCCESS: 1.0}


def session_error_rate(session: Sequence[TraceSignals], given: Mapping[str, float]) -> Outcome:
    """1 - failed traces / ended traces, so that 1 is the good end."""
    weights = trace_success_only(given)
    ended = _successes(session)
    failed = [trace for trace, success in ended.items() if not success]
    known = {
        "total_traces_in_session": len(session),
        "traces_evaluated": len(ended),
        "failed_traces": failed,
    }
    if (refusal := insufficient_signals(session, len(ended), known, weights)) is not None:
        return refusal
    return Scored(
        1 - len(failed) / len(ended), f"{len(failed)} of {len(ended)} traces failed", known
    )


def user_repetition(session: Sequence[TraceSignals], given: Mapping[str, float]) -> Outcome:
    """1 - inputs that repeat an earlier request / inputs after the first.

    Only inputs that are long enough count. An input repeats if it is equal to any earlier one, or
    similar to one of the last RECENT_REQUESTS.
    """
    asked = [(one.trace, one.request) for one in session if one.request and one.request.is_question]
    known: dict[str, Any] = {"total_traces_in_session": len(session), "inputs": len(asked)}
    if (refusal := _unread(session, known, given)) is not None:
        return refusal
    if len(asked) < 2:  # noqa: PLR2004 - a comparison needs two
        return Skipped(SkipCode.TOO_FEW_INPUTS, metadata=known)
    seen: set[bytes] = set()
    recent: deque[RequestFingerprint] = deque(maxlen=RECENT_REQUESTS)
    again: list[str] = []
    for trace, one in asked:
        fingerprint = one.fingerprint
        if one.digest in seen or any(map(fingerprint.is_similar_to, recent)):
            again.append(trace)
        seen.add(one.digest)
        recent.append(fingerprint)
    return Scored(
        1 - len(again) / (len(asked) - 1),
        f"{len(again)} of {len(asked) - 1} inputs after the first repeat an earlier one",
        {**known, "repeating_traces": again},
    )


def outcome_consistency(session: Sequence[TraceSignals], given: Mapping[str, float]) -> Outcome:
    """pass^2 over equal inputs: the probability that two random tries of an input succeed.

    For each input with n ended traces, n at least 2, of which c succeeded: C(c, 2) / C(n, 2); then
    the mean. This is the estimator of τ-bench (arXiv 2406.12045), applied to inputs that happen to
    recur.
    """
    ended = _successes(session)
    tries: dict[bytes, list[bool]] = {}
    for one in session:
        if one.request is not None and one.trace in ended:
            tries.setdefault(one.request.digest, []).append(ended[one.trace])
    repeated = [successes for successes in tries.values() if len(successes) >= PASS_K]
    known: dict[str, Any] = {
        "total_traces_in_session": len(session),
        "repeated_inputs": len(repeated),
        "traces_evaluated": sum(map(len, repeated)),
    }
    if (refusal := _unread(session, known, given)) is not None:
        return refusal
    if not repeated:
        return Skipped(SkipCode.NO_REPEATED_INPUTS, metadata=known)
    shares = [math.comb(sum(one), PASS_K) / math.comb(len(one), PASS_K) for one in repeated]
    steady = sum(map(all, repeated))
    return Scored(
        math.fsum(shares) / len(shares),
        f"{steady} of {len(repeated)} repeated inputs succeeded each time",
        {
            **known,
            "aggregation": {
                "method": "pass_hat_k",
                "k": PASS_K,
                "always_succeeded": rounded(steady / len(repeated)),
            },
        },
    )


def _successes(session: Sequence[TraceSignals]) -> dict[str, bool]:
    """Whether each ended trace succeeded, in order."""
    return {
        one.trace: outcome.value == 1
        for one in session
        if isinstance(outcome := one.outcomes.get(TRACE_SUCCESS), Scored)
    }


def _unread(
    session: Sequence[TraceSignals], known: Mapping[str, object], given: Mapping[str, float]
) -> Outcome | None:
    """The outcome if too few traces could be evaluated, else None."""
    read = sum(_is_read(one.outcomes.get(TRACE_SUCCESS)) for one in session)
    return insufficient_signals(session, read, known, trace_success_only(given))


def _is_read(outcome: Outcome | None) -> bool:
    if isinstance(outcome, Skipped):
        return outcome.code is SkipCode.TRACE_RUNNING
    return isinstance(outcome, Scored)
