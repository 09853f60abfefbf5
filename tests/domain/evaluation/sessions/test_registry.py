"""The session metrics, and the signals they need."""

import pytest

from domain.evaluation.metrics.metric import Category, EvaluationMethod
from domain.evaluation.metrics.registry import METRIC_REGISTRY, listed_metrics
from domain.evaluation.sessions.metrics import SESSION_METRICS, needs_requests, required_signals
from domain.evaluation.sessions.signals import COMPUTED_SIGNALS, DEFAULT_WEIGHTS

NAMES = (*DEFAULT_WEIGHTS, *COMPUTED_SIGNALS)


@pytest.mark.parametrize(
    ("metrics", "given_weights", "signals"),
    [
        (["agent_reliability_v2"], {}, COMPUTED_SIGNALS),
        (["agent_reliability_v2"], {"coherence": 1}, ("coherence", *COMPUTED_SIGNALS)),
        (["agent_reliability_v2"], {"trace_success": 0}, COMPUTED_SIGNALS[:2]),
        (["agent_consistency_v2"], {}, tuple(DEFAULT_WEIGHTS)),
        (
            ["agent_consistency_v2"],
            {"confidence": 0, "coherence": 0},
            ("loop_detection", "tool_correctness"),
        ),
        (["agent_reliability"], {"coherence": 0}, tuple(DEFAULT_WEIGHTS)),
        (["agent_consistency", "agent_reliability_v2"], {}, NAMES),
        (["user_repetition", "session_error_rate"], {"trace_success": 0}, ("trace_success",)),
        (["outcome_consistency"], {"confidence": 1}, ("trace_success",)),
        (["gone"], {}, ()),
        ([], {}, ()),
    ],
)
def test_required_signals_of_metrics(metrics, given_weights, signals):
    assert required_signals(metrics, given_weights) == signals


def test_every_session_metric_is_registered():
    assert [*SESSION_METRICS] == sorted(SESSION_METRICS)
    for name, roll_up in SESSION_METRICS.items():
        assert set(roll_up.weights({})) == set(required_signals([name], {}))
    assert [*SESSION_METRICS] == [one.name for one in listed_metrics(Category.SESSION)]
    for name in SESSION_METRICS:
        assert METRIC_REGISTRY[name].method is EvaluationMethod.AGGREGATED


def test_needs_requests():
    reading = {name for name in SESSION_METRICS if needs_requests([name])}
    assert reading == {"outcome_consistency", "user_repetition"}
    assert needs_requests(["session_error_rate", "user_repetition"])
    assert not needs_requests(["gone"])
    assert not needs_requests([])
