"""Session metrics: reliability and consistency of the traces, and unweighted counts.

The formulas of version 1 follow TRACER (arXiv 2602.11409, the worst step and a tail) and SAUP
(arXiv 2412.01033, a root mean square of weighted uncertainty). Both take the uncertainty from the
agent's own token probabilities; here a judge's score or a computed metric replaces it.

Version 2 has names of its own, so that version 1 scores stay comparable. Its reliability uses the
computed signals, plus every judged signal to which the run gives a weight, which is sensible after
calibrating the judge. Its tail grows continuously with the session: adding a perfect trace never
lowers the score and raises it by less than 0.12. Its consistency combines the risks of a trace by
noisy-or, so each risk counts without depending on another.

Each metric gets every trace of a session, in order, and the given weights, which override the
usual ones. Raising a risk never raises a score.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any, Final

from domain.evaluation.scores.outcome import Outcome, Scored, SkipCode, Skipped, clamped
from domain.evaluation.sessions.signals import (
    COMPUTED_SIGNALS,
    CONFIDENCE,
    DEFAULT_WEIGHTS,
    RequestFingerprint,
    TraceSignals,
    consistency_weights,
    default_and_given_weights,
    insufficient_signals,
    reliability_weights,
    rounded,
    signal_metadata,
)

FLAGGED_ABOVE: Final = 0.5
TAIL_PERCENT: Final = 15
WORST_TRACE_SHARE: Final = 0.1  # weight of the worst trace; the rest is the mean of the tail
CONSISTENT_FROM: Final = 0.8
INCONSISTENT_BELOW: Final = 0.5

INTERVAL_TRACES_MIN: Final = 8  # fewer traces are too few to resample
RESAMPLES: Final = 400
CONFIDENCE_LEVEL: Final = 0.95

TRACE_SUCCESS: Final = "trace_success"
RECENT_REQUESTS: Final = 10  # compared for similarity; equal requests are found at any distance
PASS_K: Final = 2  # k of pass^k

_SEED: Final = 2  # arbitrary but fixed: the same risks give the same interval


@dataclass(frozen=True, slots=True)
class TraceRisk:
    """The risk of a trace, in [0, 1], and the signal that contributes most."""

    risk: float
    signal: str


def agent_reliability(session: Sequence[TraceSignals], given: Mapping[str, float]) -> Outcome:
    """Version 1 of how bad the worst traces are.

    Per trace, the largest weighted risk; then 0.9 · the mean of the worst 15 % (at least one
    trace) + 0.1 · the worst.
    """
    weights = default_and_given_weights(given)
    worst = {
        one.trace: max(weights[signal] * risk for signal, risk in risks.items())
        for one in session
        if (risks := one.risks_of(weights))
    }
    known = signal_metadata(session, weights, worst, "step_risk")
    if (refusal := insufficient_signals(session, len(worst), known)) is not None:
        return refusal
    count = max(1, -(-TAIL_PERCENT * len(worst) // 100))  # rounded up, in whole numbers
    tail = math.fsum(sorted(worst.values(), reverse=True)[:count]) / count
    names = ("max_compose_top_k", "top_k_percentile", "mean_top_k_risk")
    return _reliability(known, worst, tail, names)


def agent_reliability_v2(session: Sequence[TraceSignals], given: Mapping[str, float]) -> Outcome:
    """Version 2 of how bad the worst traces are.

    Per trace, the largest weighted risk, at most 1; then 0.9 · the mean of the worst 15 %, with
    the last of them in part (at least one whole) + 0.1 · the worst.
    """
    weights = reliability_weights(given)
    worst = {one.trace: found for one in session if (found := _largest(one, weights)) is not None}
    risks = {trace: one.risk for trace, one in worst.items()}
    known = signal_metadata(session, weights, risks, "step_risk")
    if (refusal := insufficient_signals(session, len(worst), known, weights)) is not None:
        return refusal
    tail = _tail(sorted(risks.values(), reverse=True))
    names = ("max_compose_fractional_tail", "tail_percentile", "mean_tail_risk")
    return _reliability(known, risks, tail, names, _further_metadata(session, worst, _tail_risk))


def _reliability(
    known: Mapping[str, object],
    risks: Mapping[str, float],
    tail: float,
    names: tuple[str, str, str],
    more: Mapping[str, object] | None = None,
) -> Scored:
    """`names` are the method of aggregation, and its keys of the percentile and of `tail`."""
    method, percentile, mean = names
    largest = max(risks.values())
    raw = (1 - WORST_TRACE_SHARE) * tail + WORST_TRACE_SHARE * largest
    flagged = [trace for trace, risk in risks.items() if risk > FLAGGED_ABOVE]
    return Scored(
        clamped(1 - raw),
        f"{len(flagged)} of {len(risks)} traces flagged" if flagged else "No trace flagged",
        {
            **known,
            "raw_risk": rounded(raw),
            "flagged_traces": flagged,
            "aggregation": {
                "method": method,
                percentile: TAIL_PERCENT / 100,
                "ensemble_weight": WORST_TRACE_SHARE,
                mean: rounded(tail),
                "max_risk": rounded(largest),
            },
            **(more or {}),
        },
    )


def agent_consistency(session: Sequence[TraceSignals], given: Mapping[str, float]) -> Outcome:
    """Version 1 of how even the behaviour is.

    For traces with a confidence signal: its weighted risk, times 1 + the weighted risks of the
    other signals; then the root mean square.
    """
    weights = default_and_given_weights(given)
    penalties: dict[str, float] = {}
    uncertainties: dict[str, float] = {}
    for one in session:
        if CONFIDENCE in (risks := one.risks_of(weights)):
            doubt = weights[CONFIDENCE] * risks.pop(CONFIDENCE)
            penalty = math.fsum(weights[signal] * risk for signal, risk in risks.items())
            penalties[one.trace] = penalty
            uncertainties[one.trace] = (1 + penalty) * doubt
    known = signal_metadata(session, weights, penalties, "situational_penalty")
    for trace, value in uncertainties.items():
        known["per_trace_signals"][trace]["weighted_uncertainty"] = rounded(value)
    if (refusal := insufficient_signals(session, len(penalties), known)) is not None:
        return refusal
    return _consistency(known, _rms([*uncertainties.values()]), "weighted_rms")


def agent_consistency_v2(session: Sequence[TraceSignals], given: Mapping[str, float]) -> Outcome:
    """Version 2 of how even the behaviour is.

    Per trace, 1 - the product of 1 - each weighted risk, at most 1; then the root mean square.
    """
    weights = consistency_weights(given)
    worst = {one.trace: found for one in session if (found := _noisy_or(one, weights)) is not None}
    risks = {trace: one.risk for trace, one in worst.items()}
    known = signal_metadata(session, weights, risks, "step_risk")
    if (refusal := insufficient_signals(session, len(worst), known, weights)) is not None:
        return refusal
    more = _further_metadata(session, worst, _rms)
    return _consistency(known, _rms([*risks.values()]), "noisy_or_rms", more)


def _consistency(
    known: Mapping[str, object], rms: float, method: str, more: Mapping[str, object] | None = None
) -> Scored:
    score = clamped(1 - rms)
    if score >= CONSISTENT_FROM:
        reason = "The behaviour is even across the session"
    elif score >= INCONSISTENT_BELOW:
        reason = "The behaviour varies across the session"
    else:
        reason = "The behaviour is uneven across the session"
    aggregation = {"method": method, "rms_value": rounded(rms)}
    more = {"raw_instability": rounded(rms), "aggregation": aggregation, **(more or {})}
    return Scored(score, reason, {**known, **more})


# --- the risk of a trace ---------------------------------------------------------------------


def _weighted(one: TraceSignals, weights: Mapping[str, float]) -> dict[str, float]:
    risks = one.risks_of(weights)
    return {signal: clamped(weights[signal] * risk) for signal, risk in risks.items()}


def _largest(one: TraceSignals, weights: Mapping[str, float]) -> TraceRisk | None:
    risks = _weighted(one, weights)
    if not risks:
        return None
    signal = max(risks, key=risks.__getitem__)
    return TraceRisk(risks[signal], signal)


def _noisy_or(one: TraceSignals, weights: Mapping[str, float]) -> TraceRisk | None:
    found = _largest(one, weights)
    if found is None:
        return None
    whole = 1 - math.prod(1 - risk for risk in _weighted(one, weights).values())
    return TraceRisk(whole, found.signal)


# --- the risk of a session -------------------------------------------------------------------


def _tail(risks: Sequence[float]) -> float:
    """The mean of the worst 15 % of `risks`, which descend; in integers where possible."""
    percents = TAIL_PERCENT * len(risks)
    if percents <= 100:  # noqa: PLR2004 - one trace
        return risks[0]
    whole, part = divmod(percents, 100)
    beyond = part * risks[whole] if part else 0.0
    return (100 * math.fsum(islice(risks, whole)) + beyond) / percents


def _tail_risk(risks: Sequence[float]) -> float:
    descending = sorted(risks, reverse=True)
    return (1 - WORST_TRACE_SHARE) * _tail(descending) + WORST_TRACE_SHARE * descending[0]


def _rms(risks: Sequence[float]) -> float:
    return math.sqrt(math.fsum(risk * risk for risk in risks) / len(risks))


# --- further metadata ------------------------------------------------------------------------


def _further_metadata(
    session: Sequence[TraceSignals],
    worst: Mapping[str, TraceRisk],
    risk_of: Callable[[Sequence[float]], float],
) -> dict[str, Any]:
    """The worst trace (the first of several), the trend, and the confidence interval."""
    trace = max(worst, key=lambda one: worst[one].risk)
    worst_risk = worst[trace]
    worst_trace = {"trace_id": trace, "signal": worst_risk.signal, "risk": rounded(worst_risk.risk)}
    places = [place for place, one in enumerate(session) if one.trace in worst]
    return {
        "worst_trace": worst_trace if worst_risk.risk > 0 else None,
        "slope": _slope(places, [1 - one.risk for one in worst.values()]),
        "interval": _interval([one.risk for one in worst.values()], risk_of),
    }


def _slope(places: Sequence[int], goods: Sequence[float]) -> float | None:
    """The change of 1 - risk per trace, by least squares; None for fewer than two traces."""
    if len(places) < 2:  # noqa: PLR2004 - a line
        return None
    middle, mean = math.fsum(places) / len(places), math.fsum(goods) / len(goods)
    along = math.fsum(
        (place - middle) * (good - mean) for place, good in zip(places, goods, strict=True)
    )
    return rounded(along / math.fsum((place - middle) ** 2 for place in places))


def _interval(
    risks: Sequence[float], risk_of: Callable[[Sequence[float]], float]
) -> dict[str, float] | None:
    """The bootstrap interval of the score: traces are resampled with replacement.

    The percentiles of RESAMPLES samples, equal for equal risks in any order. None if all traces
    have the same risk: resampling would give an interval of no width, however few they are.
    """
    if (count := len(risks)) < INTERVAL_TRACES_MIN or len(set(risks)) == 1:
        return None
    chance, known = Random(_SEED), sorted(risks)  # noqa: S311 - not for security
    scores = sorted(
        clamped(1 - risk_of([known[int(chance.random() * count)] for _ in known]))
        for _ in range(RESAMPLES)
    )
    beyond = round(RESAMPLES * (1 - CONFIDENCE_LEVEL) / 2)
    return {
        "level": CONFIDENCE_LEVEL,
        "low": rounded(scores[beyond]),
        "high": rounded(scores[RESAMPLES - 1 - beyond]),
    }


# --- unweighted metrics: error rate, repeated requests, consistency of outcomes ----------------


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


@dataclass(frozen=True, slots=True)
class SessionMetric:
    """How a session metric is computed from its signals, and the weights of these signals.

    `needs_requests` tells whether it also reads the user request of each trace.
    """

    compute: Callable[[Sequence[TraceSignals], Mapping[str, float]], Outcome]
    weights: Callable[[Mapping[str, float]], Mapping[str, float]]
    needs_requests: bool = False


SESSION_METRICS: Final[Mapping[str, SessionMetric]] = {
    "agent_consistency": SessionMetric(agent_consistency, default_and_given_weights),
    "agent_consistency_v2": SessionMetric(agent_consistency_v2, consistency_weights),
    "agent_reliability": SessionMetric(agent_reliability, default_and_given_weights),
    "agent_reliability_v2": SessionMetric(agent_reliability_v2, reliability_weights),
    "outcome_consistency": SessionMetric(
        outcome_consistency, trace_success_only, needs_requests=True
    ),
    "session_error_rate": SessionMetric(session_error_rate, trace_success_only),
    "user_repetition": SessionMetric(user_repetition, trace_success_only, needs_requests=True),
}


def required_signals(metrics: Iterable[str], given: Mapping[str, float]) -> tuple[str, ...]:
    """The signals that some session metrics need, in a fixed order."""
    taken = {
        signal
        for name in metrics
        if name in SESSION_METRICS
        for signal in SESSION_METRICS[name].weights(given)
    }
    return tuple(signal for signal in (*DEFAULT_WEIGHTS, *COMPUTED_SIGNALS) if signal in taken)


def needs_requests(metrics: Iterable[str]) -> bool:
    """Whether one of some session metrics reads the user requests."""
    return any(SESSION_METRICS[name].needs_requests for name in metrics if name in SESSION_METRICS)
