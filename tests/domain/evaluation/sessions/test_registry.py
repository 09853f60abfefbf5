"""Every session metric by its name, and what has to be measured for it."""

import pytest

from domain.evaluation.metrics.metric import Category, Way
from domain.evaluation.metrics.registry import CATALOGUE, listed
from domain.evaluation.sessions.registry import ROLL_UPS, read_inputs, signals_of
from domain.evaluation.sessions.reliability_v1 import TRIPWIRES, WEIGHTS

NAMES = (*WEIGHTS, *TRIPWIRES)


@pytest.mark.parametrize(
    ("metrics", "given_weights", "signals"),
    [
        (["agent_reliability_v2"], {}, TRIPWIRES),
        (["agent_reliability_v2"], {"coherence": 1}, ("coherence", *TRIPWIRES)),
        (["agent_reliability_v2"], {"trace_success": 0}, TRIPWIRES[:2]),
        (["agent_consistency_v2"], {}, tuple(WEIGHTS)),
        (["agent_reliability"], {"coherence": 0}, tuple(WEIGHTS)),
        (["agent_consistency", "agent_reliability_v2"], {}, NAMES),
        (["user_repetition", "session_error_rate"], {"trace_success": 0}, ("trace_success",)),
        (["outcome_consistency"], {"confidence": 1}, ("trace_success",)),
        (["gone"], {}, ()),
        ([], {}, ()),
    ],
)
def test_only_the_signals_of_the_metrics_asked_for_are_measured(metrics, given_weights, signals):
    assert signals_of(metrics, given_weights) == signals


def test_every_roll_up_is_a_metric_of_sessions():
    assert [*ROLL_UPS] == sorted(ROLL_UPS)
    for name, roll_up in ROLL_UPS.items():
        assert set(roll_up.weights({})) == set(signals_of([name], {}))
    assert [*ROLL_UPS] == [one.name for one in listed(Category.SESSION)]
    for name in ROLL_UPS:
        assert CATALOGUE[name].way is Way.ROLLED_UP


def test_inputs_are_read_for_those_that_take_them_alone():
    reading = {name for name in ROLL_UPS if read_inputs([name])}
    assert reading == {"outcome_consistency", "user_repetition"}
    assert read_inputs(["session_error_rate", "user_repetition"])
    assert not read_inputs(["gone"])
    assert not read_inputs([])
