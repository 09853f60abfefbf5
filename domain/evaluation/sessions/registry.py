"""Every session metric by its name: what it is made of, and how."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from domain.evaluation.scores.outcome import Outcome
from domain.evaluation.sessions.counted import (
    outcome_consistency,
    session_error_rate,
    success_only,
    user_repetition,
)
from domain.evaluation.sessions.reliability_v1 import (
    TRIPWIRES,
    WEIGHTS,
    TraceSignals,
    agent_consistency,
    agent_reliability,
    merged_weights,
)
from domain.evaluation.sessions.reliability_v2 import (
    agent_consistency_v2,
    agent_reliability_v2,
    reliability_weights,
)


@dataclass(frozen=True, slots=True)
class RollUp:
    """A session metric: what its signals come to, and with which weights those count.

    `reads_inputs` where it takes what was asked in each trace, too.
    """

    of: Callable[[Sequence[TraceSignals], Mapping[str, float]], Outcome]
    weights: Callable[[Mapping[str, float]], Mapping[str, float]]
    reads_inputs: bool = False


ROLL_UPS: Final[Mapping[str, RollUp]] = {
    "agent_consistency": RollUp(agent_consistency, merged_weights),
    "agent_consistency_v2": RollUp(agent_consistency_v2, merged_weights),
    "agent_reliability": RollUp(agent_reliability, merged_weights),
    "agent_reliability_v2": RollUp(agent_reliability_v2, reliability_weights),
    "outcome_consistency": RollUp(outcome_consistency, success_only, reads_inputs=True),
    "session_error_rate": RollUp(session_error_rate, success_only),
    "user_repetition": RollUp(user_repetition, success_only, reads_inputs=True),
}


def signals_of(metrics: Iterable[str], given: Mapping[str, float]) -> tuple[str, ...]:
    """The signals that some session metrics are made of, in the order of WEIGHTS and TRIPWIRES."""
    taken = {
        signal for name in metrics if name in ROLL_UPS for signal in ROLL_UPS[name].weights(given)
    }
    return tuple(signal for signal in (*WEIGHTS, *TRIPWIRES) if signal in taken)


def read_inputs(metrics: Iterable[str]) -> bool:
    """Whether one of some session metrics takes what was asked in each trace."""
    return any(ROLL_UPS[name].reads_inputs for name in metrics if name in ROLL_UPS)
