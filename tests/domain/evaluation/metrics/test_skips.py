"""The reasons in the catalogue are those that the code of each metric gives."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

from domain.evaluation.metrics.metric import EvaluationMethod, Metric
from domain.evaluation.metrics.registry import METRIC_REGISTRY
from domain.evaluation.metrics.similarity import coherence, loop_detection
from domain.evaluation.metrics.skips import OWN_SKIPS, skip_codes
from domain.evaluation.scores.outcome import SkipCode
from domain.evaluation.sessions.metrics import SESSION_METRICS
from domain.evaluation.sessions.signals import insufficient_signals

EMBEDDED = {"coherence": coherence, "loop_detection": loop_detection}


def source_of(metric: Metric) -> str:
    """The text of the function that decides whether the metric is skipped."""
    decides: Callable[..., Any] | None = metric.compute or metric.precheck
    if metric.method is EvaluationMethod.EMBEDDED:
        decides = EMBEDDED[metric.name]
    if metric.method is EvaluationMethod.AGGREGATED:
        decides = SESSION_METRICS[metric.name].compute
    assert decides is not None
    return inspect.getsource(decides)


@pytest.mark.parametrize("metric", METRIC_REGISTRY.values(), ids=lambda one: one.name)
def test_reasons_are_those_of_the_code(metric: Metric) -> None:
    written = {SkipCode[name] for name in re.findall(r"SkipCode\.(\w+)", source_of(metric))}
    if metric.method is EvaluationMethod.AGGREGATED:
        # Each of them refuses a session with too few signals, by a function that they share.
        assert "SkipCode.INSUFFICIENT_SIGNALS" in inspect.getsource(insufficient_signals)
        written |= {SkipCode.INSUFFICIENT_SIGNALS}
    assert set(OWN_SKIPS[metric.name]) == written
    assert set(OWN_SKIPS[metric.name]) <= set(skip_codes(metric) or ())


def test_every_built_in_metric_tells_its_reasons():
    assert OWN_SKIPS.keys() == METRIC_REGISTRY.keys()
