"""Votes: when more are needed, and how they are combined."""

from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.evaluation.metrics.rubrics import checklist_reason
from domain.evaluation.runs.voting import (
    NEAR_THRESHOLD,
    VOTE_COUNTS,
    combine_votes,
    questions_needed,
    validate_votes,
    votes_needed,
)
from domain.evaluation.scores.outcome import Scored, SkipCode, Skipped

SHARES = st.integers(0, 5).map(lambda label: label / 5)


def vote(value: float, reason: str = "", **marks: object) -> Scored:
    return Scored(value, reason, marks)


def checks(undecided: int = 0, **said: str) -> Scored:
    listed = [
        {"call": call.replace("_", "."), "verdict": word, "reason": word}
        for call, word in said.items()
    ]
    yes = sum(one["verdict"] == "yes" for one in listed)
    marks = {"verdicts": listed} | ({"undecided": undecided} if undecided else {})
    return Scored(yes / len(listed), checklist_reason(yes, len(listed)), marks)


@pytest.mark.parametrize(
    ("values", "most", "due"),
    [
        ([0.8], 1, 0),
        ([0.6], 1, 0),
        ([1.0], 5, 0),  # far from 0.5
        ([0.8], 5, 0),
        ([0.6], 3, 2),
        ([0.4], 5, 2),
        ([0.6, 1.0, 1.0], 5, 0),  # the mean is far, and all are on one side
        ([0.6, 0.6, 0.6], 5, 2),
        ([0.4, 1.0, 1.0], 5, 2),  # they disagree
        ([0.4, 1.0, 1.0], 3, 0),
        ([0.6, 0.6, 0.6, 0.4, 0.6], 5, 0),
        ([0.6], 2, 1),  # two votes are the maximum here
    ],
)
def test_more_votes_near_the_threshold(values, most, due):
    assert votes_needed(values, 0.5, most) == due


def test_near_threshold_boundary_is_inclusive():
    assert votes_needed([0.6], 0.8, 3) == 2
    assert votes_needed([0.8], 0.6, 3) == 2
    assert votes_needed([0.6 - NEAR_THRESHOLD - 0.001], 0.6, 3) == 0


@given(st.lists(SHARES, min_size=1, max_size=5), SHARES, st.sampled_from(VOTE_COUNTS))
def test_voting_terminates_within_the_limit(values, threshold, most):
    assert 0 <= votes_needed(values, threshold, most) <= max(0, most - len(values))
    assert votes_needed(values[:1] * most, threshold, most) == 0


@pytest.mark.parametrize("votes", VOTE_COUNTS)
def test_votes_must_be_1_3_or_5(votes):
    assert validate_votes(votes) is None
    with pytest.raises(Invalid) as refused:
        validate_votes(votes + 1)
    assert refused.value.errors[0].field == "votes"


@pytest.mark.parametrize(
    ("known", "due"),
    [
        ([None], (1, 1)),
        ([0.6], (0, 0)),
        ([None, None, None], (1, 3)),
        ([1.0, None, None], (0, 0)),  # far from 0.5
        ([0.6, None, None], (2, 2)),
        ([0.6, None, None, None, None], (2, 4)),
        ([0.6, 1.0, None, None, None], (1, 3)),
        ([0.6, 0.6, 0.6, None, 0.6], (1, 1)),
        ([0.6, 1.0, 1.0, None, None], (0, 0)),
        ([None, 0.6, 0.6], (1, 1)),  # only the first isn't cached
    ],
)
def test_cached_votes_need_no_question(known, due):
    assert questions_needed(known, 0.5) == due


KNOWN = st.sampled_from(VOTE_COUNTS).flatmap(
    lambda most: st.lists(st.none() | SHARES, min_size=most, max_size=most)
)


@given(KNOWN, SHARES, st.data())
def test_actual_questions_lie_within_the_prediction(known, threshold, data):
    """For any answers to the questions that aren't cached."""
    low, high = questions_needed(known, threshold)
    said = [data.draw(SHARES) if value is None else value for value in known]
    taken = 1
    while due := votes_needed(said[:taken], threshold, len(said)):
        taken += due
    assert low <= known[:taken].count(None) <= high


@given(st.lists(st.none() | SHARES, min_size=5, max_size=5), SHARES)
def test_more_votes_never_need_fewer_questions(known, threshold):
    bounds = [questions_needed(known[:most], threshold) for most in VOTE_COUNTS]
    for side in range(2):
        assert [one[side] for one in bounds] == sorted(one[side] for one in bounds)


def test_single_vote_is_unchanged():
    assert combine_votes([vote(0.6, "so so", label=3)], 0.5) == vote(0.6, "so so", label=3)


def test_scale_votes_are_averaged():
    votes = [vote(0.4, "poor", label=2), vote(0.6, "fair", label=3), vote(1.0, "good", label=5)]
    outcome = combine_votes(votes, 0.5)
    assert outcome.value == pytest.approx(2 / 3, abs=1e-4)
    assert outcome.reason == "fair"
    assert outcome.metadata["label"] == 3
    assert outcome.metadata["votes"] == [0.4, 0.6, 1.0]
    assert outcome.metadata["agreement"] == pytest.approx(2 / 3)
    assert outcome.metadata["stderr"] == pytest.approx(0.176383, abs=1e-6)


def test_votes_agree_with_the_score_as_it_is_stored():
    """As doubles, the mean of 0.4, 1 and 1 is less than 0.8."""
    outcome = combine_votes([vote(0.4), vote(1.0), vote(1.0)], 0.8)
    assert (outcome.value, outcome.metadata["agreement"]) == (0.8, pytest.approx(2 / 3))


def test_checklist_votes_are_combined_by_majority():
    votes = [
        checks(s1="yes", s2="no"),
        checks(s1="yes", s2="yes"),
        checks(s1="no", s2="no", s3="yes"),
    ]
    outcome = combine_votes(votes, 0.5)
    assert outcome.value == pytest.approx(2 / 3, abs=1e-4)
    said = outcome.metadata["verdicts"]
    assert [(one["call"], one["verdict"]) for one in said] == [
        ("s1", "yes"),
        ("s2", "no"),
        ("s3", "yes"),
    ]


def test_tied_call_is_undecided():
    outcome = combine_votes([checks(s1="yes", s2="no"), checks(s1="yes", s2="yes")], 0.5)
    assert [one["call"] for one in outcome.metadata["verdicts"]] == ["s1"]
    assert outcome.value == 1.0


def test_checklist_with_a_tie_on_each_call_is_skipped():
    outcome = combine_votes([checks(s1="yes", s2="no"), checks(s1="no", s2="yes")], 0.5)
    assert isinstance(outcome, Skipped)
    assert outcome.metadata == {"code": SkipCode.CANNOT_JUDGE, "votes": [0.5, 0.5]}


def test_reason_of_a_checklist_counts_the_calls_of_the_result():
    votes = [checks(s1="yes", s2="no"), checks(s1="no", s2="yes"), checks(s1="yes", s2="yes")]
    outcome = combine_votes([*votes[:2], checks(1, s2="yes"), checks(1, s1="yes")], 0.5)
    assert (outcome.value, outcome.reason) == (1.0, checklist_reason(2, 2))
    assert "undecided" not in outcome.metadata
    outcome = combine_votes([votes[0], checks(s1="yes", s2="yes"), checks(1, s1="no")], 0.5)
    assert (outcome.value, outcome.reason) == (1.0, checklist_reason(1, 1))
    assert outcome.metadata["undecided"] == 1


def test_calls_are_in_order_though_votes_leave_out_some():
    votes = [
        checks(2, s2_10="yes"),
        checks(1, s2="yes", s2_10="yes"),
        checks(s2="yes", s2_9="no", s2_10="no"),
    ]
    said = combine_votes(votes, 0.5).metadata["verdicts"]
    assert [one["call"] for one in said] == ["s2", "s2.9", "s2.10"]


@given(st.lists(SHARES, min_size=2, max_size=5), SHARES)
def test_combined_value_lies_within_the_votes(values, threshold):
    outcome = combine_votes([vote(one) for one in values], threshold)
    assert min(values) <= outcome.value + 1e-4
    assert outcome.value <= max(values) + 1e-4
    assert outcome.value == pytest.approx(fmean(values), abs=1e-4)
    assert 0 <= outcome.metadata["agreement"] <= 1
    assert (outcome.metadata["stderr"] == 0) is (len(set(values)) == 1)
