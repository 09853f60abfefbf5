"""The targets of a run: filters, ids, and sampling."""

import json
from dataclasses import fields
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.evaluation.runs.run import TARGETS_MAX, TargetType
from domain.evaluation.runs.selection import (
    BATCH_MAX,
    MATCHES_MAX,
    GivenInstant,
    SessionSelection,
    TraceSelection,
    batch_as_given,
    counted_max,
    filters_as_given,
    sampled,
    sampled_count,
    sampling_rank,
    select_sessions,
    validate_batch_ids,
    validate_target_count,
)
from domain.tracing.query import TraceFilter
from domain.tracing.session import SessionFilter
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
def test_sampling_rank_matches_golden_value(last, place):
    target = f"00000000-0000-0000-0000-00000000000{last}"
    assert sampling_rank(target, SALT) / 2**64 == pytest.approx(place, abs=5e-9)


@pytest.mark.parametrize(
    ("matches", "rate", "count"),
    [
        *((100, 0.29, 29), (100, 0.57, 57), (1_000, 0.001, 1), (150, 0.5, 75), (3, 0.5, 1)),
        *((100, 0.0, 0), (100, 1e-300, 1), (1, 0.5, 1), (0, 0.5, 0), (7, 1.0, 7), (7, 0.999, 6)),
    ],
)
def test_sample_size(matches, rate, count):
    assert len(sampled(map(str, range(matches)), rate, SALT)) == count


def test_monitor_samples_at_least_one_target():
    assert sampled("ab", 0.0, SALT) == ()
    assert len(sampled("ab", 0.0, SALT, least=1)) == 1
    assert sampled("", 0.0, SALT, least=1) == ()


@given(targets, rates, rates)
def test_higher_rate_includes_the_sample_of_a_lower_one(some, one, other):
    low, high = sorted((one, other))
    assert set(sampled(some, low, SALT)) <= set(sampled(some, high, SALT)) <= set(some)


def test_samples_of_all_rates_are_nested():
    some = [str(n) for n in range(100)]
    taken = [set(sampled(some, tenth / 10, SALT)) for tenth in range(11)]
    assert [len(one) for one in taken] == list(range(0, 101, 10))
    assert all(one < other for one, other in pairwise(taken))


@given(targets, rates, st.randoms())
def test_sample_ignores_order_and_duplicates(some, rate, chance):
    shuffled = [*some, *some]
    chance.shuffle(shuffled)
    found = sampled(some, rate, SALT)
    assert set(sampled(shuffled, rate, SALT)) == set(found)
    assert list(found) == [one for one in some if one in set(found)]


@given(targets, rates, st.text(max_size=5))
def test_additional_match_replaces_at_most_one_target(some, rate, new):
    before, after = set(sampled(some, rate, SALT)), set(sampled([*some, new], rate, SALT))
    assert len(before - after) <= 1


def test_salt_changes_the_sample():
    some = [str(n) for n in range(100)]
    assert set(sampled(some, 0.5, SALT)) != set(sampled(some, 0.5, "other"))


# --- batches and limits ----------------------------------------------------------------------


def test_batch_size_is_limited_and_ids_unique():
    assert validate_batch_ids(TargetType.SESSION, ["b", "a", "b"]) == ("b", "a")
    assert len(validate_batch_ids(TargetType.TRACE, list(map(str, range(BATCH_MAX))))) == BATCH_MAX
    for ids in ([], ["a"] * (BATCH_MAX + 1)):
        with pytest.raises(Invalid) as raised:
            validate_batch_ids(TargetType.TRACE, ids)
        assert [one.field for one in raised.value.errors] == ["trace_ids"]


@given(rate=st.floats(1e-3, 1))
def test_sample_of_most_counted_matches_is_the_largest(rate: float) -> None:
    most = counted_max(rate)
    assert sampled_count(most, rate) <= TARGETS_MAX < sampled_count(most + 1, rate)


@pytest.mark.parametrize(("rate", "most"), [(0.0, TARGETS_MAX), (5e-324, MATCHES_MAX)])
def test_counting_ends_for_any_rate(rate: float, most: int) -> None:
    assert counted_max(rate) == most


def test_target_count_is_limited():
    assert validate_target_count(["a"]) == ["a"]
    for some in ([], ["a"] * (TARGETS_MAX + 1)):
        with pytest.raises(Invalid):
            validate_target_count(some)


# --- filters ---------------------------------------------------------------------------------


def test_filters_are_shown_as_given():
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


def test_both_names_of_a_bound_have_to_hold():
    later = GivenInstant("noon", NOON)
    for names in (("date_from", "started_after"), ("started_after", "date_from")):
        both = TraceSelection(**dict(zip(names, (MARCH, later), strict=True)))
        assert both.matching.started_after == NOON
    for names in (("date_to", "started_before"), ("started_before", "date_to")):
        both = SessionSelection(**dict(zip(names, (MARCH, later), strict=True)))
        assert both.matching.started_before == MARCH.instant


def test_every_filter_of_a_list_is_one_of_runs():
    """A filter that runs ignored would evaluate, and charge, everything."""
    assert names_of(TraceSelection) == names_of(TraceFilter) | {"date_from", "date_to"}
    own = {"date_from", "date_to", "min_trace_count"}
    assert names_of(SessionSelection) == names_of(SessionFilter) | own


def names_of(filters):
    return {one.name for one in fields(filters)}


def test_metadata_is_shown_as_an_object():
    selection = TraceSelection(metadata=(("k", ("v", "w")),), has_error=False)
    assert json.loads(filters_as_given(selection)) == {
        "has_error": False,
        "metadata": {"k": ["v", "w"]},
    }


def test_filters_show_weights_only_if_given():
    weights = {"loop_detection": 1.5}
    assert json.loads(filters_as_given(SessionSelection(min_trace_count=3), weights)) == {
        "min_trace_count": 3,
        "signal_weights": weights,
    }
    assert filters_as_given(SessionSelection(), {}) == b"{}"
    assert batch_as_given(TargetType.TRACE, ["a"]) == b'{"trace_ids":["a"]}'


def test_sessions_are_selected_by_their_matching_traces():
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
