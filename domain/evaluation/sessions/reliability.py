"""Session metrics of reliability and consistency: how bad and how uneven the traces are.

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any, Final

from domain.evaluation.scores.outcome import Outcome, Scored, clamped
from domain.evaluation.sessions.signals import (
    CONFIDENCE,
    TraceSignals,
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
    weights = default_and_given_weights(given)
    worst = {one.trace: found for one in session if (found := _noisy_or(one, weights)) is not None}
    risks = {trace: one.risk for trace, one in worst.items()}
    known = signal_metadata(session, weights, risks, "step_risk")
    if (refusal := insufficient_signals(session, len(worst), known)) is not None:
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
    of_worst = worst[trace]
    worst_trace = {"trace_id": trace, "signal": of_worst.signal, "risk": rounded(of_worst.risk)}
    places = [place for place, one in enumerate(session) if one.trace in worst]
    return {
        "worst_trace": worst_trace if of_worst.risk > 0 else None,
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

    The percentiles of RESAMPLES samples, equal for equal risks in any order.
    """
    if (count := len(risks)) < INTERVAL_TRACES_MIN:
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
