"""Figures of cells equal those of the scores that were counted into them."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation.scores import analytics, rollup
from domain.evaluation.scores.analytics import SeparateKind, bin_number, comparable_scores
from domain.evaluation.scores.rollup import (
    PART_BOUNDS,
    PARTS,
    WHOLE_PERIOD,
    NameCells,
    NumberPart,
    ScoreCell,
)
from domain.evaluation.scores.score import ScoreSource, TraceScore, scores_of_source
from domain.tracing.analytics import Granularity
from tests.support.builders import scores
from tests.support.builders.scores import rounded

many_scores = st.lists(scores.trace_scores(), max_size=12)
kinds = st.sampled_from([None, *SeparateKind])
sources = st.sampled_from([None, *ScoreSource])


def cells_of(known: Sequence[TraceScore], granularity: Granularity | None) -> list[ScoreCell]:
    groups = defaultdict[Any, list[TraceScore]](list)
    for one in known:
        bucket = WHOLE_PERIOD if granularity is None else granularity.bucket(one.created_at)
        made = (one.source, one.judge_kind, analytics.run_fingerprint(one), one.threshold)
        groups[(one.name, bucket, *made, one.outcome)].append(one)
    return [_cell(*key, some) for key, some in groups.items()]


def _cell(
    name: Any, bucket: Any, source: Any, judge_kind: Any, fingerprint: Any, threshold: Any,
    outcome: Any, some: Sequence[TraceScore],
) -> ScoreCell:  # fmt: skip
    numeric = [one for one in some if one.number is not None]
    numbers = [one.number for one in numeric if one.number is not None]
    return ScoreCell(
        name=name,
        bucket=bucket,
        source=source,
        judge_kind=judge_kind,
        fingerprint=fingerprint,
        threshold=threshold,
        outcome=outcome,
        scores=len(some),
        numbers=len(numbers),
        total=sum(numbers),
        minimum=min(numbers, default=None),
        maximum=max(numbers, default=None),
        passed=sum(threshold is not None and one >= threshold for one in numbers),
        latest_at=max(one.created_at for one in some),
        newest_at=max((one.created_at for one in numeric), default=None),
        parts=Counter(map(part_of, numbers)),
    )


def part_of(number: float) -> int:
    """What `width_bucket(number, PART_BOUNDS)` is in SQL."""
    return bisect_right(PART_BOUNDS, number)


def choose(
    known: Sequence[TraceScore],
    granularity: Granularity | None,
    source: ScoreSource | None,
    judge_kind: SeparateKind | None,
) -> list[NameCells]:
    cells = cells_of(known, granularity)
    newest = {
        name: kind
        for name in rollup.undecided_names(cells, source)
        if (kind := comparable_scores(_chosen(known, name, source))[1])
    }
    return rollup.choose_cells(cells, source, judge_kind, newest)


def numbers_of(
    known: Sequence[TraceScore],
    names: Sequence[NameCells],
    shares: Sequence[float],
    granularity: Granularity | None,
    source: ScoreSource | None,
    judge_kind: SeparateKind | None,
) -> dict[NumberPart, list[tuple[float, int]]]:
    found = {}
    for want in rollup.wanted_parts(names, shares):
        compared, _ = comparable_scores(_chosen(known, want.name, source), judge_kind)
        counts = Counter(
            one.number
            for one in compared
            if one.number is not None
            and part_of(one.number) == want.part
            and (granularity is None or granularity.bucket(one.created_at) == want.bucket)
        )
        found[want] = sorted(counts.items())
    return found


def _chosen(known: Sequence[TraceScore], name: str, source: ScoreSource | None) -> list[TraceScore]:
    return scores_of_source([one for one in known if one.name == name], source)


@given(many_scores, sources, kinds)
def test_summaries(known, source, kind):
    names = choose(known, None, source, kind)
    numbers = numbers_of(known, names, rollup.MEDIAN, None, source, kind)
    found = rollup.summaries_of_cells(names, numbers)
    expected = analytics.summaries(known, source=source, judge_kind=kind)
    assert [rounded(one, "mean", "median") for one in found] == [
        rounded(one, "mean", "median") for one in expected
    ]


@given(many_scores, sources, kinds, st.sampled_from(Granularity), st.booleans())
def test_trend(known, source, kind, granularity, empty):
    names = [one for one in choose(known, granularity, source, kind) if one.name == "m"]
    shares = analytics.TREND_PERCENTILES
    numbers = numbers_of(known, names, shares, granularity, source, kind)
    found = rollup.trend_of_cells(names, numbers, empty_buckets=empty)
    expected = analytics.trend(
        known, ["m"], granularity, source=source, judge_kind=kind, empty_buckets=empty
    )
    means = ("mean", "p10", "p50", "p90")
    assert sorted((rounded(one, *means) for one in found), key=lambda one: one.bucket) == [
        rounded(one, *means) for one in expected
    ]


@given(many_scores, sources, kinds, st.sampled_from([1, 2, 4, 5, 10, 20, 25, 50, 100]))
def test_distribution(known, source, kind, parts):
    names = [one for one in choose(known, None, source, kind) if one.name == "m"]
    found = rollup.distribution_of_cells(names, parts, empty_buckets=False)
    assert found == analytics.distribution(known, "m", parts, source=source, judge_kind=kind)


@given(st.floats(0, 1) | st.integers(0, 10_000).map(lambda n: n / 10_000))
def test_parts_are_bins_by_decimal_digits(number):
    assert part_of(number) == bin_number(number, PARTS) - 1


def test_fewer_numbers_than_were_counted_are_refused():
    known = [cells_of([scores.trace_score(scores.OURS, scores.TRACE_IDS[0])], None)[0]]
    names = rollup.choose_cells(known, None, None, {})
    [want] = rollup.wanted_parts(names, rollup.MEDIAN)
    with pytest.raises(ValueError, match="fewer numbers"):
        rollup.summaries_of_cells(names, {want: []})
