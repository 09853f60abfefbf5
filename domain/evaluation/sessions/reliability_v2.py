"""Session metrics, version 2, under names of their own: version 1 stays comparable.

Reliability regards tripwires, which are measured, and of the other signals only those that a run
gives a weight to, as whoever has held a judge against people may do. Its tail grows evenly with
the session: adding a perfect trace never lowers the score, and raises it by less than 0.12.
Consistency takes every risk of a trace for itself (noisy-or), so that nothing has to be doubted
first to count.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any, Final

from domain.evaluation.scores.outcome import Outcome, Scored, clamped
from domain.evaluation.sessions.reliability_v1 import (
    COMPUTED_SIGNALS,
    DEFAULT_WEIGHTS,
    FLAGGED_ABOVE,
    TAIL_PERCENT,
    WEIGHT_COUNTED_MAX,
    WORST_TRACE_SHARE,
    TraceSignals,
    default_and_given_weights,
    describe_consistency,
    insufficient_signals,
    rounded,
    signal_metadata,
)

INTERVAL_TRACES_MIN: Final = 8  # traces; fewer say too little to be drawn from again
RESAMPLES: Final = 400
CONFIDENCE_LEVEL: Final = 0.95

_SEED: Final = 2  # any: the same risks have the same interval


@dataclass(frozen=True, slots=True)
class TraceRisk:
    """The risk of a trace, in [0, 1], and the signal that has the largest part in it."""

    risk: float
    signal: str


def reliability_weights(given: Mapping[str, float]) -> dict[str, float]:
    """Of the signals that count, those of a weight above 0.

    A tripwire has 1 unless `given` says otherwise; any other signal only what is given.
    """
    usual = dict.fromkeys(COMPUTED_SIGNALS, 1.0) | dict.fromkeys(DEFAULT_WEIGHTS, 0.0)
    named = {
        signal: min(float(given.get(signal, weight)), WEIGHT_COUNTED_MAX)
        for signal, weight in usual.items()
    }
    return {signal: weight for signal, weight in named.items() if weight > 0}


def agent_reliability_v2(session: Sequence[TraceSignals], given: Mapping[str, float]) -> Outcome:
    """How bad the worst traces are. `session` holds every trace, in order; `given` overrides.

    Per trace the largest weighted risk, 1 at most; then 0.9 · the mean of the worst 15 %, the last
    of them in part (at least one whole) + 0.1 · the worst. Raising a risk never raises the score.
    """
    weights = reliability_weights(given)
    worst = {one.trace: found for one in session if (found := _largest(one, weights)) is not None}
    known = signal_metadata(session, weights, _risks(worst), "step_risk")
    if (refusal := insufficient_signals(session, len(worst), known, weights)) is not None:
        return refusal
    risks = sorted(_risks(worst).values(), reverse=True)
    raw = _tail_risk(risks)
    flagged = [trace for trace, one in worst.items() if one.risk > FLAGGED_ABOVE]
    return Scored(
        clamped(1 - raw),
        f"{len(flagged)} of {len(worst)} traces flagged" if flagged else "No trace flagged",
        {
            **known,
            "raw_risk": rounded(raw),
            "flagged_traces": flagged,
            "aggregation": {
                "method": "max_compose_fractional_tail",
                "tail_percentile": TAIL_PERCENT / 100,
                "ensemble_weight": WORST_TRACE_SHARE,
                "mean_tail_risk": rounded(_tail(risks)),
                "max_risk": rounded(risks[0]),
            },
            **_beside(session, worst, _tail_risk),
        },
    )


def agent_consistency_v2(session: Sequence[TraceSignals], given: Mapping[str, float]) -> Outcome:
    """How even the behaviour is. `session` holds every trace, in order; `given` overrides.

    Per trace 1 - the product of 1 - each weighted risk, 1 at most; then the root mean square.
    Raising a risk never raises the score.
    """
    weights = default_and_given_weights(given)
    worst = {one.trace: found for one in session if (found := _noisy_or(one, weights)) is not None}
    known = signal_metadata(session, weights, _risks(worst), "step_risk")
    if (refusal := insufficient_signals(session, len(worst), known)) is not None:
        return refusal
    rms = _rms(list(_risks(worst).values()))
    score = clamped(1 - rms)
    return Scored(
        score,
        describe_consistency(score),
        {
            **known,
            "raw_instability": rounded(rms),
            "aggregation": {"method": "noisy_or_rms", "rms_value": rounded(rms)},
            **_beside(session, worst, _rms),
        },
    )


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


def _risks(worst: Mapping[str, TraceRisk]) -> dict[str, float]:
    return {trace: one.risk for trace, one in worst.items()}


# --- the risk of a session -------------------------------------------------------------------


def _tail(risks: Sequence[float]) -> float:
    """The mean of the worst 15 % of `risks`, which descend; in whole numbers as far as it goes."""
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


# --- beside the score ------------------------------------------------------------------------


def _beside(
    session: Sequence[TraceSignals],
    worst: Mapping[str, TraceRisk],
    risk_of: Callable[[Sequence[float]], float],
) -> dict[str, Any]:
    """The worst trace (the first of several), where the session goes, and how sure the score is."""
    trace = max(worst, key=lambda one: worst[one].risk)
    of_worst = worst[trace]
    told = {"trace_id": trace, "signal": of_worst.signal, "risk": rounded(of_worst.risk)}
    places = [place for place, one in enumerate(session) if one.trace in worst]
    return {
        "worst_trace": told if of_worst.risk > 0 else None,
        "slope": _slope(places, [1 - one.risk for one in worst.values()]),
        "interval": _interval([one.risk for one in worst.values()], risk_of),
    }


def _slope(places: Sequence[int], goods: Sequence[float]) -> float | None:
    """By how much 1 - risk changes a trace, by least squares; None of fewer than two traces."""
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
    """Between which bounds the score lies when traces are drawn again, with repetition.

    The percentiles of RESAMPLES drawings, which are the same for the same risks in any order.
    """
    if (count := len(risks)) < INTERVAL_TRACES_MIN:
        return None
    chance, known = Random(_SEED), sorted(risks)  # noqa: S311 - nothing is kept secret by it
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
