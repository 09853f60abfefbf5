"""The summary of a run by metric: the same in whatever groups its scores are read."""

import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation.runs.run import EvalRun, TargetType
from domain.evaluation.runs.summary import MetricSummary, ScoreGroup, summarize_run
from domain.evaluation.scores.score import ScoreOutcome
from domain.ids import ProjectId, RunId
from tests.support.builders.values import NOON

SCORED, SKIPPED, FAILED, PENDING = (
    *(ScoreOutcome.SCORED, ScoreOutcome.SKIPPED, ScoreOutcome.FAILED, ScoreOutcome.PENDING),
)


def a_run(*metrics: str) -> EvalRun:
    return EvalRun(
        id=RunId(uuid.UUID(int=1)),
        project_id=ProjectId(uuid.UUID(int=2)),
        metrics=metrics or ("m",),
        target_type=TargetType.TRACE,
        targets=3,
        model="heuristic/1",
        created_at=NOON,
    )


def group(outcome: ScoreOutcome = SCORED, number: float = 0.0, **overrides: Any) -> ScoreGroup:
    threshold = overrides.get("threshold", 0.5)
    known: dict[str, Any] = {
        "metric": "m",
        "code": None,
        "judge_kind": "model",
        "threshold": threshold,
        "is_automated": True,
        "is_cached": False,
        "count": 1,
        "total": number,
        "passed": int(isinstance(threshold, float) and number >= threshold),
    }
    return ScoreGroup(outcome=outcome, **known | overrides)


def summary(*groups: ScoreGroup) -> MetricSummary:
    [found] = summarize_run(a_run(), groups)
    return found


def test_mean_is_none_without_numbers():
    found = summary(group(FAILED, code="auth", judge_kind=None), group(PENDING, judge_kind=None))
    assert (found.mean, found.counted, found.passed, found.judge_kind) == (None, 0, None, None)
    assert (found.failed, found.pending, found.codes) == (1, 1, {"auth": 1})


def test_numbers_of_people_are_scored_and_not_counted():
    edited = group(number=1.0, is_automated=False, judge_kind=None, threshold=None)
    found = summary(group(number=0.25), group(number=0.75), edited)
    assert (found.scored, found.counted, found.mean, found.passed) == (3, 2, 0.5, 1)


def test_numbers_of_the_heuristic_judge_are_not_averaged_with_those_of_models():
    found = summary(group(number=0.5), group(number=0.0, judge_kind="heuristic"))
    assert (found.judge_kind, found.counted, found.mean) == ("model", 1, 0.5)
    alone = summary(group(number=0.25, judge_kind="heuristic"), group(number=0.75, judge_kind=None))
    assert (alone.judge_kind, alone.counted, alone.mean) == ("heuristic", 2, 0.5)


def test_threshold_is_none_if_scores_have_different_ones():
    assert summary(group(number=0.6), group(number=0.6, threshold=0.7)).threshold is None
    assert summary(group(number=0.6), group(number=0.6, threshold=0.7)).passed == 1
    assert summary(group(number=0.6, threshold=None)).passed is None


def test_metrics_keep_their_order_and_signals_follow():
    groups = [group(metric="z"), group(metric="confidence", is_cached=True), group(metric="a")]
    found = summarize_run(a_run("z", "a", "none"), groups, ["a", "asked in vain"])
    assert [(one.metric, one.is_signal) for one in found] == [
        ("z", False), ("a", False), ("none", False), ("asked in vain", True), ("confidence", True),
    ]  # fmt: skip
    assert [one.cache_hits for one in found] == [0, 0, 0, 0, 1]


scores = st.lists(
    st.builds(
        group,
        st.sampled_from(ScoreOutcome),
        st.sampled_from([0.0, 0.25, 0.5, 1.0]),
        code=st.sampled_from([None, "auth", "quota"]),
        judge_kind=st.sampled_from([None, "model", "heuristic", "rule"]),
        threshold=st.sampled_from([None, 0.5]),
        is_automated=st.booleans(),
    ),
    max_size=12,
)


@given(scores)
def test_summary_does_not_depend_on_how_scores_are_grouped(singles: list[ScoreGroup]) -> None:
    alike: dict[ScoreGroup, list[ScoreGroup]] = {}
    for one in singles:
        alike.setdefault(replace(one, total=0.0, passed=0), []).append(one)
    grouped = [
        replace(
            some[0],
            count=len(some),
            total=sum(one.total for one in some),
            passed=sum(one.passed for one in some),
        )
        for some in alike.values()
    ]
    found, again = summary(*singles), summary(*grouped)
    assert again.mean == pytest.approx(found.mean)
    assert replace(again, mean=found.mean) == found
    assert found.scored + found.skipped + found.failed + found.pending == len(singles)
