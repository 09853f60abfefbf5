"""Bins of latencies."""

from hypothesis import example, given
from hypothesis import strategies as st

from adapters.postgres.tracing.rollups.latency_bins import bin_start, split_range

latencies = st.integers(0, 130) | st.integers(0, 2**62)
bounds = latencies | st.integers(-(2**62), 5)


def test_bins_have_two_significant_digits():
    assert [bin_start(us) for us in (0, 7, 99, 100, 109, 110, 999, 1_000, 123_456)] == [
        0, 7, 99, 100, 100, 110, 990, 1_000, 120_000,
    ]  # fmt: skip


def test_range_splits_into_whole_and_partial_bins():
    assert split_range(105, 2_050).whole == (110, 2_000)
    assert split_range(105, 2_050).cuts == ((105, 109), (2_000, 2_050))
    assert split_range(110, 1_999).cuts == ()
    assert split_range(-5, 40).cuts == ((-5, -1),)
    assert split_range(101, 105).cuts == ((101, 105),)
    assert split_range(5, 4).cuts == ()


@given(low=bounds, high=bounds, us=latencies | bounds)
@example(low=0, high=0, us=0)
@example(low=-1, high=2**62, us=2**62)
@example(low=-9, high=-5, us=-3)
def test_split_range_counts_each_latency_once(low, high, us):
    found = split_range(low, high)
    counted = sum(first <= us <= last for first, last in found.cuts)
    if us >= 0:
        counted += found.whole[0] <= bin_start(us) < found.whole[1]
    assert counted == (low <= us <= high)
