"""Figures of spans: sums, bins of latencies, and names without ids."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.postgres.tracing.rollups.span_bins import pack_bins, unpack_bins
from domain.tracing.analytics import percentile
from domain.tracing.span import SpanStatus
from domain.tracing.spans.span_figures import (
    BIN_STARTS_US,
    SpanFigures,
    latency_bin,
    name_group,
)
from tests.support.builders.values import at, prices, span

latencies = st.integers(0, 10**11)
bins = st.dictionaries(st.integers(0, len(BIN_STARTS_US)), st.integers(1, 10**9), max_size=9)


def figures(latencies_us: list[int]) -> SpanFigures:
    spans = [span(ended_at=at(one / 1e6)).settled(prices().price) for one in latencies_us]
    return SpanFigures.from_spans(spans)


def test_bins_are_a_fixed_share_wide():
    assert (BIN_STARTS_US[0], BIN_STARTS_US[-1]) == (100, 10**11)
    widths = [end / start for start, end in pairwise(BIN_STARTS_US)]
    assert max(widths) < 1.065
    assert min(widths) > 1.05


@given(latencies)
def test_latency_lies_in_its_bin(latency_us):
    found = latency_bin(latency_us)
    starts = (0, *BIN_STARTS_US)
    assert starts[found] <= latency_us
    assert found == len(BIN_STARTS_US) or latency_us < BIN_STARTS_US[found]


@given(st.lists(latencies, min_size=1, max_size=40), st.sampled_from([0, 0.5, 0.95, 0.99, 1]))
@example(some=[112], share=0.5)
@example(some=[118], share=0.5)
@example(some=[0, 10_000], share=0.5)
@example(some=[10**11 - 1], share=0.5)
def test_percentile_is_off_by_six_percent_and_a_tenth_of_a_millisecond_at_most(some, share):
    exact = percentile(sorted(map(float, some)), share)
    found = figures(some).latency_percentile_ms(share)
    assert abs(found * 1_000 - exact) <= 0.06 * exact + 100


@given(st.lists(st.lists(latencies, max_size=5), max_size=4))
def test_sum_of_parts_is_that_of_the_whole(parts):
    whole = figures([one for part in parts for one in part])
    assert SpanFigures.total(map(figures, parts)) == whole


def test_no_spans_have_no_means():
    none = SpanFigures()
    assert (none.error_rate, none.mean_latency_ms, none.latency_percentile_ms(0.5)) == (None,) * 3
    failed = span(status=SpanStatus.ERROR).settled(prices().price)
    one = SpanFigures.from_spans([failed])
    assert (one.error_rate, one.mean_latency_ms, one.latencies) == (1.0, None, 0)


@given(bins)
def test_packed_bins_are_unpacked(counts):
    assert unpack_bins(f"{int(float_free(pack_bins(counts)))}") == counts


@given(bins, bins)
def test_sums_of_packed_bins_are_sums_of_bins(one, other):
    number = int(float_free(pack_bins(one))) + int(float_free(pack_bins(other)))
    expected = {key: one.get(key, 0) + other.get(key, 0) for key in one | other}
    assert unpack_bins(str(number)) == expected


@given(bins, bins)
def test_packed_bins_can_be_subtracted(one, other):
    both = {key: one.get(key, 0) + other.get(key, 0) for key in one | other}
    less = {key: -count for key, count in other.items()} | {400: 0}
    number = int(float_free(pack_bins(both))) + int(float_free(pack_bins(less)))
    assert unpack_bins(str(number)) == one


def float_free(text: str) -> str:
    """The digits of a number with an exponent."""
    digits, _, exponent = text.partition("E")
    return digits + "0" * int(exponent or 0)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("chat claude-3-5-sonnet-20241022", "chat claude-3-5-sonnet-20241022"),
        ("step 12", "step 12"),
        ("look-up", "look-up"),
        ("order 1234567890", "order <id>"),
        ("job 550e8400-e29b-41d4-a716-446655440000 done", "job <id> done"),
        ("run 0af7651916cd43dd", "run <id>"),
        ("deadbeefdeadbeef", "deadbeefdeadbeef"),
        ("", ""),
    ],
)
def test_names_have_no_ids(name, group):
    assert name_group(name) == group
    assert name_group(group) == group


@given(st.uuids(), st.uuids(), st.text(st.characters(categories=["Zs", "P"]), max_size=3))
def test_names_that_differ_in_ids_are_one_group(one, other, between):
    assert name_group(f"job{between} {one}") == name_group(f"job{between} {other}")


def test_bins_begin_at_their_starts():
    starts = [latency_bin(start) for start in BIN_STARTS_US]
    assert starts == list(range(1, len(BIN_STARTS_US) + 1))
