"""What a run is about: filters, ids, metrics, and the share that is taken."""

import json
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.evaluation.runs.run import TARGETS_MAX, TargetType
from domain.evaluation.runs.selection import (
    BATCH_MAX,
    GivenInstant,
    SessionSelection,
    TraceSelection,
    batch_as_given,
    filters_as_given,
    sampled,
    sampling_rank,
    select_sessions,
    validate_batch_ids,
    validate_target_count,
)
from domain.tracing.trace import TraceStatus
from tests.support.builders.values import NOON, at, prices, trace

SALT = "00000000-0000-0000-0000-000000000001"
MARCH = GivenInstant("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC))

targets = st.lists(st.text(max_size=5), max_size=30, unique=True)
rates = st.floats(0, 1) | st.sampled_from([0.0, 0.29, 0.5, 0.57, 1.0])


# --- sampling --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "place"), [("7", 0.95239938), ("8", 0.09932577), ("9", 0.54073755)]
)
def test_the_place_of_a_target_is_the_golden_one(last, place):
    target = f"00000000-0000-0000-0000-00000000000{last}"
    assert sampling_rank(target, SALT) / 2**64 == pytest.approx(place, abs=5e-9)


@pytest.mark.parametrize(
    ("matches", "rate", "count"),
    [
        *((100, 0.29, 29), (100, 0.57, 57), (1_000, 0.001, 1), (150, 0.5, 75), (3, 0.5, 1)),
        *((100, 0.0, 0), (100, 1e-300, 1), (1, 0.5, 1), (0, 0.5, 0), (7, 1.0, 7), (7, 0.999, 6)),
    ],
)
def test_so_many_are_taken(matches, rate, count):
    assert len(sampled(map(str, range(matches)), rate, SALT)) == count


def test_a_monitor_takes_one_at_least_where_there_is_one():
    assert sampled("ab", 0.0, SALT) == ()
    assert len(sampled("ab", 0.0, SALT, least=1)) == 1
    assert sampled("", 0.0, SALT, least=1) == ()


@given(targets, rates, rates)
def test_a_higher_rate_keeps_everything_that_a_lower_one_had(some, one, other):
    low, high = sorted((one, other))
    assert set(sampled(some, low, SALT)) <= set(sampled(some, high, SALT)) <= set(some)


def test_rates_are_nested_like_dolls():
    some = [str(n) for n in range(100)]
    taken = [set(sampled(some, tenth / 10, SALT)) for tenth in range(11)]
    assert [len(one) for one in taken] == list(range(0, 101, 10))
    assert all(one < other for one, other in pairwise(taken))


@given(targets, rates, st.randoms())
def test_the_same_are_taken_whatever_their_order_and_however_often_they_come(some, rate, chance):
    shuffled = [*some, *some]
    chance.shuffle(shuffled)
    found = sampled(some, rate, SALT)
    assert set(sampled(shuffled, rate, SALT)) == set(found)
    assert list(found) == [one for one in some if one in set(found)]


@given(targets, rates, st.text(max_size=5))
def test_one_more_match_drives_out_none_but_what_it_replaces(some, rate, new):
    before, after = set(sampled(some, rate, SALT)), set(sampled([*some, new], rate, SALT))
    assert len(before - after) <= 1


def test_another_salt_takes_others():
    some = [str(n) for n in range(100)]
    assert set(sampled(some, 0.5, SALT)) != set(sampled(some, 0.5, "other"))


# --- what is asked for -----------------------------------------------------------------------


def test_a_batch_holds_1_to_so_many_ids_each_once():
    assert validate_batch_ids(TargetType.SESSION, ["b", "a", "b"]) == ("b", "a")
    assert len(validate_batch_ids(TargetType.TRACE, list(map(str, range(BATCH_MAX))))) == BATCH_MAX
    for ids in ([], ["a"] * (BATCH_MAX + 1)):
        with pytest.raises(Invalid) as raised:
            validate_batch_ids(TargetType.TRACE, ids)
        assert [one.field for one in raised.value.errors] == ["trace_ids"]


def test_a_run_has_targets_but_not_any_number():
    assert validate_target_count(["a"]) == ["a"]
    for some in ([], ["a"] * (TARGETS_MAX + 1)):
        with pytest.raises(Invalid):
            validate_target_count(some)


# --- filters ---------------------------------------------------------------------------------


def test_filters_are_shown_as_given_and_mean_what_they_say():
    selection = TraceSelection(
        date_from=MARCH,
        date_to=GivenInstant(1772366400, NOON),
        status=TraceStatus.ERROR,
        tags=("prod", "é"),
    )
    assert json.loads(filters_as_given(selection)) == {
        "date_from": "2026-03-01",
        "date_to": 1772366400,
        "status": "ERROR",
        "tags": ["prod", "é"],
    }
    inside = trace(started_at=MARCH.instant, status=TraceStatus.ERROR, tags=("é",))
    assert selection.matching.matches(inside)
    assert not selection.matching.matches(trace(status=TraceStatus.ERROR, tags=("é",)))
    assert filters_as_given(TraceSelection(tags=())) == b'{"tags":[]}'
    assert TraceSelection().matching.matches(trace())


def test_weights_stand_beside_filters_only_where_there_are_some():
    weights = {"loop_detection": 1.5}
    assert json.loads(filters_as_given(SessionSelection(min_trace_count=3), weights)) == {
        "min_trace_count": 3,
        "signal_weights": weights,
    }
    assert filters_as_given(SessionSelection(), {}) == b"{}"
    assert batch_as_given(TargetType.TRACE, ["a"]) == b'{"trace_ids":["a"]}'


def test_sessions_are_judged_by_their_selected_traces():
    known = [
        trace(session_id="a", started_at=at(-1), status=TraceStatus.ERROR),
        trace(session_id="a"),
        trace(session_id="b", status=TraceStatus.ERROR, tags=("x",)),
        trace(session_id="b", tags=("x",)),
        trace(session_id="c", started_at=at(-1)),
        trace(),
    ]
    settled = [one.settled(prices().price) for one in known]
    since_noon = GivenInstant("noon", NOON)

    def found(**said: object) -> list[str]:
        return select_sessions(settled, SessionSelection(**said))

    assert found() == ["a", "b", "c"]
    assert found(date_from=since_noon) == ["a", "b"]
    assert found(date_from=since_noon, has_error=False) == ["a"]
    assert found(has_error=True) == ["a", "b"]
    assert found(min_trace_count=2) == ["a", "b"]
    assert found(min_trace_count=2, date_from=since_noon) == ["b"]
    assert found(tags=("x",), user_id=None) == ["b"]
