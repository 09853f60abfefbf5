"""The quality of `task_completion` without a model, against labelled traces."""

from collections import Counter
from pathlib import Path

import pytest

from tests.benchmarks.heuristic_judge import area_under_curve, calibration, judge, table
from tests.support.builders.labelled_traces import Half, labelled_traces

ROOT = Path(__file__).parents[4]
TRACES = list(labelled_traces())


def test_documented_tables_are_the_measured_ones():
    """If this fails, run `python -m tests.benchmarks.heuristic_judge` and put its output there."""
    page = (ROOT / "docs/evaluation/metrics.md").read_text(encoding="utf-8")
    assert table(Half.REPORTED) in page
    assert calibration(Half.REPORTED) in page


def test_labelled_traces_are_varied():
    assert len({trace.id for trace in TRACES}) == len(TRACES) >= 200
    assert len({trace.language for trace in TRACES}) >= 12
    for half in Half:
        kinds = Counter(trace.kind for trace in TRACES if trace.half is half)
        assert len(kinds) == 12
        assert min(kinds.values()) >= 9
    assert 0.4 <= sum(trace.is_done for trace in TRACES) / len(TRACES) <= 0.6
    assert all(trace.id.startswith(f"{trace.kind}-") for trace in TRACES)


@pytest.mark.parametrize("half", Half)
def test_scores_rank_fulfilled_requests_above_others(half):
    judged = [judge(trace) for trace in TRACES if trace.half is half]
    scores = [(one.score, one.trace.is_done) for one in judged if one.score is not None]
    assert len(scores) >= 0.8 * len(judged)
    assert (area_under_curve(scores) or 0) >= 0.85


def test_area_under_curve():
    assert area_under_curve([(0.1, False), (0.9, True)]) == 1.0
    assert area_under_curve([(0.9, False), (0.1, True)]) == 0.0
    assert area_under_curve([(0.5, False), (0.5, True)]) == 0.5
    assert area_under_curve([(0.5, True)]) is None
