"""Cost estimates of runs, extrapolated from a sample."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation.costs.judge_costs import (
    ANSWER_TOKENS_MAX,
    ANSWER_TOKENS_MIN,
    CostEstimate,
    JudgeWorkload,
    Range,
    evenly_spaced,
    extrapolate,
)

COUNTS = st.integers(0, 10**6).map(Decimal)
RANGES = st.tuples(COUNTS, COUNTS).map(lambda two: Range(*sorted(two)))
SEEN = st.lists(RANGES, min_size=1, max_size=20)


def exactly(number: int | str) -> Range:
    return Range(Decimal(number), Decimal(number))


def asked(low: int, high: int, tokens: int = 1_000, usd: str | None = "0.01") -> JudgeWorkload:
    prices = None if usd is None else Range(Decimal(usd), 2 * Decimal(usd))
    return JudgeWorkload.for_question((low, high), tokens, ANSWER_TOKENS_MAX, prices)


# --- one pair, one trace ---


def test_workload_of_a_pair_is_that_of_its_questions():
    assert asked(1, 3) == JudgeWorkload(
        pairs=1,
        remembered=0,
        questions=Range(Decimal(1), Decimal(3)),
        input_tokens=Range(Decimal(1_000), Decimal(3_000)),
        output_tokens=Range(Decimal(ANSWER_TOKENS_MIN), Decimal(3 * ANSWER_TOKENS_MAX)),
        usd=Range(Decimal("0.01"), Decimal("0.06")),
    )


def test_cached_pair_needs_no_work():
    assert asked(0, 0) == JudgeWorkload(pairs=1, remembered=1)


def test_workload_of_a_trace_is_the_sum_of_its_pairs():
    both = asked(1, 3) + asked(0, 0)
    assert (both.pairs, both.remembered, both.questions) == (2, 1, asked(1, 3).questions)
    assert (asked(1, 1) + asked(1, 1, usd=None)).usd is None
    assert (asked(1, 1, usd=None) + JudgeWorkload()).usd is None


# --- extrapolation ---


@given(SEEN)
def test_extrapolation_is_exact_if_all_items_were_seen(seen):
    total = Range(sum(one.low for one in seen), sum(one.high for one in seen))
    assert extrapolate(seen, exactly(len(seen))) == total


@given(SEEN, st.integers(0, 10**6), st.integers(0, 10**6))
def test_low_is_at_most_high_and_at_least_the_sample(seen, more, most):
    found = extrapolate(seen, Range(Decimal(len(seen) + more), Decimal(len(seen) + more + most)))
    assert sum(one.low for one in seen) <= found.low <= found.high
    assert found.high >= sum(one.high for one in seen)


@given(SEEN, st.integers(1, 1_000))
def test_extrapolated_mean_lies_within_the_range(seen, more):
    index = len(seen) + more
    found = extrapolate(seen, exactly(index))
    hair = Decimal("1e-12") * (1 + found.high)
    assert found.low <= index * sum(one.low for one in seen) / len(seen) + hair
    assert found.high >= index * sum(one.high for one in seen) / len(seen) - hair


@given(SEEN, st.integers(1, 1_000), st.integers(1, 5))
def test_larger_population_never_lowers_the_estimate(seen, more, factor):
    index = exactly(len(seen) + more)
    dearer = [Range(one.low, one.high * factor) for one in seen]
    assert extrapolate(dearer, index).high >= extrapolate(seen, index).high
    assert extrapolate(dearer, index).low == extrapolate(seen, index).low


def test_range_has_two_standard_errors_on_each_side():
    seen = [exactly(one) for one in (2, 4, 4, 4, 5, 5, 7, 9)]  # mean 5, variance 32 / 7
    found = extrapolate(seen, exactly(80))
    error = (Decimal(32) / 7 / 8 * 72 / 79).sqrt()
    assert found.low == pytest.approx(80 * (5 - 2 * error))
    assert found.high == pytest.approx(80 * (5 + 2 * error))


def test_equal_items_give_an_exact_range():
    assert extrapolate([exactly(7)] * 20, exactly(1_000)) == exactly(7_000)


def test_single_item_has_a_spread_as_large_as_itself():
    assert extrapolate([exactly(5)], exactly(10)) == Range(Decimal(5), Decimal(150))


def test_empty_sample_gives_zero():
    assert extrapolate([], Range(Decimal(0), Decimal(9))) == Range()


# --- a whole run ---


def estimate(*seen: JudgeWorkload, index: int | None = None, votes: int = 1) -> CostEstimate:
    return CostEstimate.from_sample(
        "openai/tiny", votes, 9, seen, exactly(len(seen) if index is None else index)
    )


def test_estimate_is_rounded_outwards():
    found = estimate(asked(1, 1), asked(0, 0), index=7)
    for one in (found.questions, found.input_tokens, found.output_tokens):
        assert one.low == int(one.low)
        assert one.high == int(one.high)
    assert found.usd is not None
    assert {-one.as_tuple().exponent for one in (found.usd.low, found.usd.high)} == {6}
    assert found.usd.low >= 0
    assert (found.targets, found.looked_at, found.remembered_share) == (9, 2, 0.5)


def test_cost_is_none_without_price_and_zero_without_questions():
    assert estimate(asked(1, 1, usd=None), asked(1, 1)).usd is None
    assert estimate(index=5).usd == exactly(0)
    assert estimate(index=5).remembered_share is None
    assert estimate(asked(1, 1)).remembered_share == 0


@given(st.lists(st.integers(0, 1).map(lambda due: asked(due, due)), max_size=20))
def test_estimate_of_a_full_sample_is_exact(seen):
    due = sum(one.pairs - one.remembered for one in seen)
    found = estimate(*seen)
    assert found.questions == exactly(due)
    assert found.input_tokens == exactly(1_000 * due)
    assert found.output_tokens.low == ANSWER_TOKENS_MIN * due


def test_assumptions_name_sample_votes_and_tokens():
    reported = estimate(asked(1, 3), votes=3).assumptions
    for word in ("Sampled traces: 1.", "up to 3 times", f"{ANSWER_TOKENS_MAX} tokens"):
        assert word in reported


# --- sampling ---


@given(st.integers(1, 200), st.integers(1, 50))
def test_evenly_spaced_items_have_even_distances(count, most):
    picked = evenly_spaced(range(count), most)
    assert len(picked) == min(count, most)
    assert list(picked) == sorted(set(picked))
    gaps = {after - before for before, after in zip(picked, [*picked[1:], count], strict=True)}
    assert max(gaps) - min(gaps) <= 1
    assert evenly_spaced([], most) == []
