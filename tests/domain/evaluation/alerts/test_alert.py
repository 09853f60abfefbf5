"""Alerts: figures and state transitions."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.evaluation.alerts.alert import (
    AlertFigure,
    AlertProgress,
    AlertRule,
    AlertRuleChange,
    AlertState,
    FinishedRunStats,
    RunMetricStats,
    preview_rule,
)
from domain.ids import RunId

START = datetime(2026, 3, 1, tzinfo=UTC)
OK, ALERTING, NO_DATA = AlertState.OK, AlertState.ALERTING, AlertState.NO_DATA
GOOD, BAD = RunMetricStats.from_scores((0.9,) * 10), RunMetricStats.from_scores((0.2,) * 10)


def rule(
    figure: AlertFigure = AlertFigure.SCORE_MEAN, threshold: float = 0.5, **more: object
) -> AlertRule:
    values = {"metric": "task_completion", "figure": figure, "threshold": threshold}
    return AlertRule(**{"clear_at": threshold, **values, **more})


def states(watched: AlertRule, values: list[float | None]) -> list[AlertState]:
    watch, seen = AlertProgress(since=START), []
    for n, value in enumerate(values):
        watch = watch.updated(watched, value, START + timedelta(hours=n))
        seen.append(watch.state)
    return seen


@pytest.mark.parametrize(
    ("watched", "run", "value"),
    [
        (rule(), BAD, 0.2),
        (rule(), RunMetricStats.from_scores((0.2,) * 4), None),
        (rule(samples_min=4), RunMetricStats.from_scores((0.2,) * 4), 0.2),
        (rule(AlertFigure.PASS_RATE), RunMetricStats.from_scores((0.5, 0.49, 1.0, 0.0)), None),
        (
            rule(AlertFigure.PASS_RATE, samples_min=4),
            RunMetricStats.from_scores((0.5, 0.49, 1.0, 0.0)),
            0.5,
        ),
        (
            rule(AlertFigure.PASS_RATE, samples_min=1),
            RunMetricStats.from_scores((0.1,), threshold=0.0),
            1.0,
        ),
        (
            rule(AlertFigure.FAILED_SHARE),
            RunMetricStats.from_scores((0.9,) * 6, failed=2, skipped=2),
            0.2,
        ),
        (
            rule(AlertFigure.SKIPPED_SHARE),
            RunMetricStats.from_scores((0.9,) * 5, failed=2, skipped=3),
            0.3,
        ),
        (rule(AlertFigure.FAILED_SHARE), RunMetricStats(failed=3, skipped=1), None),
        (rule(AlertFigure.NO_DATA), RunMetricStats.from_scores((0.9,) * 4, failed=90), 1.0),
        (rule(AlertFigure.NO_DATA), GOOD, 0.0),
        (rule(AlertFigure.DROP), BAD, 0.7),
        (rule(AlertFigure.DROP), RunMetricStats.from_scores((1.0,) * 10), 0.0),
    ],
)
def test_alert_figures(watched, run, value):
    found = watched.value(run, [GOOD])
    assert found == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize("number", [0.35, 0.45, 0.7])
@pytest.mark.parametrize("count", [6, 9, 18, 30])
def test_mean_of_equal_scores_reaches_a_threshold_of_that_score(number, count):
    """As doubles, the sum of three scores of 0.7, divided by three, is less than 0.7."""
    watched = rule(threshold=number)
    mean = watched.value(RunMetricStats.from_scores((number,) * count), [])
    rough = watched.value(RunMetricStats(scored=count, mean=sum([number] * count) / count), [])
    for value in (mean, rough, number):
        assert (watched.is_breached(value), watched.is_clear(value)) == (False, True)
    assert watched.is_breached(number - 1e-6)
    assert not watched.is_clear(number - 1e-6)


@pytest.mark.parametrize(("before", "after"), [(0.8, 0.7), (0.7, 0.6), (0.9, 0.8), (0.4, 0.3)])
def test_drop_that_equals_the_threshold_is_not_above_it(before, after):
    """As doubles, 0.8 - 0.7 is more than 0.1."""
    watched = rule(AlertFigure.DROP, 0.1)
    earlier = [RunMetricStats.from_scores((before,) * 10)]
    value = watched.value(RunMetricStats.from_scores((after,) * 10), earlier)
    assert (watched.is_breached(value), watched.is_clear(value)) == (False, True)
    more = watched.value(RunMetricStats.from_scores((after - 0.001,) * 10), earlier)
    assert (watched.is_breached(more), watched.is_clear(more)) == (True, False)


def test_drop_is_measured_against_runs_of_the_same_judge():
    """A stricter model, or another revision of a metric, doesn't show that the agent got worse."""

    def by(*fingerprints, of=0.9):
        return RunMetricStats.from_scores((of,) * 10, fingerprints=fingerprints)

    drop = rule(AlertFigure.DROP)
    assert drop.value(by("b", of=0.2), [by("a"), by("a")]) is None
    assert drop.value(by("b", of=0.2), [by("b", of=0.3), by("a")]) == pytest.approx(0.1)
    assert drop.value(by("a", "rule/1", of=0.2), [by("a"), by("rule/1")]) == pytest.approx(0.7)
    assert drop.value(by(of=0.2), [by("a")]) == pytest.approx(0.7)


def test_drop_needs_earlier_runs():
    assert rule(AlertFigure.DROP).value(BAD, []) is None
    assert rule(AlertFigure.DROP).value(BAD, [RunMetricStats.from_scores((0.9,) * 4)]) is None
    two = [RunMetricStats.from_scores((0.9,) * 3), RunMetricStats.from_scores((0.7,) * 3)]
    assert rule(AlertFigure.DROP).value(BAD, two) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("watched", "values", "expected"),
    [
        (rule(), [0.6, 0.4, 0.4, 0.5], [OK, ALERTING, ALERTING, OK]),
        (rule(breaches=2), [0.4, 0.6, 0.4, 0.4], [OK, OK, OK, ALERTING]),
        (rule(recoveries=2), [0.4, 0.9, 0.4, 0.9, 0.9], [ALERTING] * 4 + [OK]),
        (rule(clear_at=0.7), [0.4, 0.6, 0.69, 0.7, 0.6], [ALERTING] * 3 + [OK, OK]),
        (rule(), [None, 0.9, None, 0.1], [NO_DATA, OK, NO_DATA, ALERTING]),
        (rule(breaches=2), [0.1, None, 0.1, 0.1], [OK, NO_DATA, NO_DATA, ALERTING]),
        (rule(breaches=2), [None, 0.1, None, 0.1, 0.9], [NO_DATA] * 4 + [OK]),
        (rule(breaches=2), [0.1, 0.1, None, 0.1, 0.1], [OK, ALERTING, NO_DATA, NO_DATA, ALERTING]),
        (rule(), [0.1, None, 0.9], [ALERTING, NO_DATA, OK]),
        (rule(AlertFigure.DROP, 0.2, clear_at=0.1), [0.3, 0.15, 0.1], [ALERTING, ALERTING, OK]),
        (rule(AlertFigure.NO_DATA), [1.0, 1.0, 0.0], [ALERTING, ALERTING, OK]),
        (rule(threshold=0.0), [0.0], [OK]),  # no value is below a threshold of 0
    ],
)
def test_alert_state_transitions(watched, values, expected):
    assert states(watched, values) == expected


def test_since_changes_with_the_state():
    watch = AlertProgress(since=START).updated(rule(), 0.1, START + timedelta(hours=1))
    later = watch.updated(rule(), 0.2, START + timedelta(hours=2))
    assert (later.state, later.since, later.value) == (ALERTING, START + timedelta(hours=1), 0.2)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"threshold": 1.1}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"clear_at": 0.4}, "clear_at"),
        ({"figure": AlertFigure.DROP, "clear_at": 0.6}, "clear_at"),
        ({"samples_min": 0}, "samples_min"),
        ({"breaches": 101}, "breaches"),
        ({"recoveries": 0}, "recoveries"),
    ],
)
def test_invalid_alert_rule_names_the_field(wrong, field):
    with pytest.raises(Invalid) as refused:
        rule(**wrong)
    assert field in [error.field for error in refused.value.errors]


@given(
    st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=40),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_state_changes_only_after_enough_consecutive_values(values, breaches, recoveries):
    watched = rule(threshold=0.4, clear_at=0.6, breaches=breaches, recoveries=recoveries)
    seen = states(watched, values)
    for n, (earlier, later) in enumerate(zip([OK, *seen], seen, strict=False)):
        if later is ALERTING and earlier is not ALERTING:
            assert all(
                value is not None and value < 0.4 for value in values[n + 1 - breaches : n + 1]
            )
        if earlier is ALERTING and later is OK:
            some = values[n + 1 - recoveries : n + 1]
            assert all(value is not None and value >= 0.6 for value in some)
        if earlier is NO_DATA and later is OK:
            assert values[n] >= 0.4, "bad, and notified as OK again"


def test_changed_rule_keeps_its_metric_and_what_is_not_given():
    known = rule(threshold=0.5, clear_at=0.6, samples_min=7)
    assert known.changed(AlertRuleChange()) == known
    assert known.changed(AlertRuleChange(threshold=0.4)) == replace(known, threshold=0.4)
    assert known.changed(AlertRuleChange(clear_at=None)).clear_at == 0.5
    assert known.changed(AlertRuleChange(threshold=0.3, clear_at=None)).clear_at == 0.3
    with pytest.raises(Invalid):
        known.changed(AlertRuleChange(threshold=0.7))


def test_clear_at_that_equals_the_threshold_follows_it():
    known = rule(threshold=0.5)
    assert known.changed(AlertRuleChange(threshold=0.7)).clear_at == 0.7
    assert known.changed(AlertRuleChange(threshold=0.3, clear_at=0.4)).clear_at == 0.4


RUN_STATS = st.lists(st.sampled_from((0.1, 0.4, 0.5, 0.9)), max_size=6).map(
    lambda numbers: RunMetricStats.from_scores(numbers, failed=len(numbers) % 2)
)
RULES = st.builds(
    rule,
    st.sampled_from(AlertFigure),
    st.sampled_from((0.2, 0.5)),
    samples_min=st.integers(1, 4),
    breaches=st.integers(1, 3),
    recoveries=st.integers(1, 3),
)


@given(RULES, st.lists(RUN_STATS, max_size=12), st.integers(1, 12), st.integers(0, 3))
def test_preview_says_what_an_alert_would_have_said(watched, every, shown, baseline):
    runs = [
        FinishedRunStats(
            run=RunId(UUID(int=n)), completed_at=START + timedelta(hours=n), stats=stats
        )
        for n, stats in enumerate(every)
    ]
    found = preview_rule(watched, runs[::-1], shown, baseline)
    assert [one.run for one in found] == runs[-shown:]
    first = len(runs) - len(found)
    values = [
        watched.value(one.stats, [it.stats for it in runs[max(n - baseline, 0) : n][::-1]])
        for n, one in enumerate(runs)
    ][first:]
    assert [one.value for one in found] == values
    assert [one.after for one in found] == states(watched, values)
    assert [one.before for one in found] == [OK, *states(watched, values)][: len(found)]


def test_preview_follows_the_order_in_which_runs_ended():
    late, early = (
        FinishedRunStats(run=RunId(UUID(int=n)), completed_at=START + after, stats=stats)
        for n, after, stats in ((1, timedelta(hours=9), BAD), (2, timedelta(hours=1), GOOD))
    )
    found = preview_rule(rule(), [early, late], 20, 5)
    assert [(one.run, one.before, one.after) for one in found] == [
        (early, OK, OK),
        (late, OK, ALERTING),
    ]
