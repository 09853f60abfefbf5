"""Session metrics, version 2, under new names, so that version 1 scores stay comparable.

Reliability uses the computed signals, plus every judged signal to which the run gives a weight,
which is sensible after calibrating the judge. Its tail grows continuously with the session: adding
a perfect trace never lowers the score and raises it by less than 0.12. Consistency combines the
risks of a trace by noisy-or, so each risk counts without depending on another.
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

INTERVAL_TRACES_MIN: Final = 8  # fewer traces are too few to resample
RESAMPLES: Final = 400
CONFIDENCE_LEVEL: Final = 0.95

_SEED: Final = 2  # arbitrary but fixed: the same risks give the same interval


@dataclass(frozen=True, slots=True)
class TraceRisk:
    """The risk of a trace, in [0, 1], and the signal that contributes most."""

    risk: float
    signal: str


def reliability_weights(given: Mapping[str, float]) -> dict[str, float]:
    """The weights above 0 of the signals that count.

    A computed signal has weight 1 unless `given` overrides it; other signals count only if given.
    """
    usual = dict.fromkeys(COMPUTED_SIGNALS, 1.0) | dict.fromkeys(DEFAULT_WEIGHTS, 0.0)
    named = {
        signal: min(float(given.get(signal, weight)), WEIGHT_COUNTED_MAX)
        for signal, weight in usual.items()
    }
    return {signal: weight for signal, weight in named.items() if weight > 0}


def agent_reliability_v2(session: Sequence[TraceSignals], given: Mapping[str, float]) -> Outcome:
    """How bad the worst traces are.

    `session` holds every trace, in order; `given` overrides weights. Per trace, the largest
    weighted risk, at most 1; then 0.9 · the mean of the worst 15 %, with the last of them in part
    (at least one whole) + 0.1 · the worst. Raising a risk never raises the score.
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
    """How even the behaviour is. `session` holds every trace, in order; `given` overrides weights.

    Per trace, 1 - the product of 1 - each weighted risk, at most 1; then the root mean square.
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


def _beside(
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
