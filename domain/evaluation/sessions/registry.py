"""All session metrics by name: how they are computed, and from which signals."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from domain.evaluation.scores.outcome import Outcome
from domain.evaluation.sessions.counted import (
    outcome_consistency,
    session_error_rate,
    trace_success_only,
    user_repetition,
)
from domain.evaluation.sessions.reliability import (
    agent_consistency,
    agent_consistency_v2,
    agent_reliability,
    agent_reliability_v2,
)
from domain.evaluation.sessions.signals import (
    COMPUTED_SIGNALS,
    DEFAULT_WEIGHTS,
    TraceSignals,
    default_and_given_weights,
    reliability_weights,
)


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
    "agent_consistency_v2": SessionMetric(agent_consistency_v2, default_and_given_weights),
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
