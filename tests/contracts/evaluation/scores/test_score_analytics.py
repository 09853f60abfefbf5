"""Contract of ScoreAnalytics, run against every adapter."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from domain.errors import Invalid
from domain.evaluation.scores.analytics import (
    BINS_MAX,
    FINGERPRINTS_MAX,
    HistogramBin,
    HistoryPoint,
    RankedSession,
    ScoreSummary,
    SeparateKind,
)
from domain.evaluation.scores.score import CreatedWithin, DataType, ScoreStatus, ScoreTarget
from domain.ids import ScoreId
from domain.page import PageRequest, Position, SortOrder
from domain.tracing.analytics import BUCKETS_MAX, Granularity
from tests.support.builders.scores import (
    ANNOTATION,
    AUTOMATED,
    EVER,
    FAILED,
    PENDING,
    PROGRAMMATIC,
    RUNS,
    SKIPPED,
    by,
    session_score,
    trace_score,
)
from tests.support.builders.values import NOON, at, span, span_id, trace, trace_id
from tests.support.fixtures.data_plane import fill, project, read_all_pages
from tests.support.fixtures.evaluation.counted_days import AfterCounting

TRACE, SPAN, SESSION = ScoreTarget
HOUR, DAY, WEEK = Granularity
ASC, DESC = SortOrder.ASC, SortOrder.DESC
BOTH_TARGET_TYPES = pytest.mark.parametrize("of", ScoreTarget)
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
TRACE_ID, SPAN_ID = trace_id(), span_id()
SESSIONS = ("s", "S", "t", "é", "🐼", "\uffff", "")


@pytest.fixture
def figures(plane):
    """Each figure is read twice: from scores, and after the days that are over were counted."""
    return AfterCounting(plane.evaluation)


@pytest.fixture
async def ours(plane):
    """A project with some sessions, of one trace each."""
    ours = project()
    await fill(plane, ours, *(
        trace(span(id=SPAN_ID), id=TRACE_ID if one == "s" else trace_id(), session_id=one)
        for one in SESSIONS
    ))  # fmt: skip
    return ours


@pytest.fixture
def add(plane, ours):
    """Returns a function that stores scores of one target type, given their fields."""

    async def add(of, *score_fields):
        if of is not SESSION:
            span = {"span_id": SPAN_ID} if of is SPAN else {}
            scores = [trace_score(ours, TRACE_ID, **span, **one) for one in score_fields]
            await asyncio.gather(*map(plane.evaluation.trace_scores.add, scores))
        else:
            scores = [session_score(ours, **one) for one in score_fields]
            await asyncio.gather(*map(plane.evaluation.session_scores.add, scores))

    return add


def judge_score(kind, value, seconds=0, **overrides):
    """Returns the fields of a score by a judge of this kind."""
    known = {"metadata": by(kind), "value": value, "created_at": at(seconds)}
    return known | {"source": AUTOMATED} | overrides


# --- summaries -------------------------------------------------------------------------------


@BOTH_TARGET_TYPES
async def test_summary_aggregates_scores_by_name(figures, ours, add, of):
    await add(
        of,
        {"value": "0.25"}, {"value": "1", "created_at": at(3)}, {"value": "0.5"},
        {"value": "0.25", "name": "M"}, {"value": "0.75", "name": "M", "created_at": at(9)},
        {"value": None, "outcome": FAILED, "created_at": at(4)},
        {"value": None, "outcome": SKIPPED, "created_at": at(5)},
        {"value": None, "outcome": PENDING, "created_at": at(6)},
        {"value": "true", "data_type": DataType.BOOLEAN, "name": "é"},
        {"value": None, "outcome": FAILED, "name": "é"},
        {"value": None, "outcome": PENDING, "name": "z", "created_at": at(7)},
    )  # fmt: skip
    assert await figures.summaries(ours, of, EVER) == [
        summary("M", (0.5, 0.25, 0.75, 0.5), (2, 0, 0, 0), at(9), counted=2),
        summary("m", (pytest.approx(1.75 / 3), 0.25, 1.0, 0.5), (3, 1, 1, 1), at(6), counted=3),
        summary("z", (None,) * 4, (0, 0, 0, 1), at(7), counted=0),
        summary("é", (None,) * 4, (1, 0, 1, 0), NOON, counted=0),
    ]
    for other in set(ScoreTarget) - {of}:
        assert await figures.summaries(ours, other, EVER) == []
    assert await figures.summaries(project(), of, EVER) == []


def summary(name, numbers, counts, latest_at, *, counted):
    mean, least, most, median = numbers
    scored, skipped, failed, pending = counts
    return ScoreSummary(
        name=name, mean=mean, minimum=least, maximum=most, median=median, scored=scored,
        skipped=skipped, failed=failed, pending=pending, latest_at=latest_at, judge_kind=None,
        from_runs=False, counted=counted, left_out=0, passed=None, with_threshold=0,
        minimum_threshold=None, maximum_threshold=None, fingerprints=[],
    )  # fmt: skip


@BOTH_TARGET_TYPES
@pytest.mark.parametrize(
    ("values", "median"),
    [
        (["0.3"], 0.3),
        (["0.3", "0.3", "0.3"], 0.3),
        (["0", "1"], 0.5),
        (["0.1", "0.4", "0.4", "1"], 0.4),
        (["0.1", "0.2", "0.4", "1"], 0.3),
        (["0.1", "0.2", "0.2", "0.9", "1"], 0.2),
    ],
    ids=str,
)
async def test_median_is_interpolated(figures, ours, add, of, values, median):
    await add(of, *({"value": value} for value in values))
    [found] = await figures.summaries(ours, of, EVER)
    assert found.median == pytest.approx(median)


@BOTH_TARGET_TYPES
async def test_period_includes_start_and_excludes_end(figures, ours, add, of):
    await add(of, *({"value": f"0.{n}", "created_at": at(n)} for n in range(1, 5)))
    within = CreatedWithin(at(2), at(4))
    [found] = await figures.summaries(ours, of, within)
    assert (found.scored, found.minimum, found.maximum) == (2, 0.2, 0.3)
    [point] = await figures.trend(ours, of, ("m",), HOUR, within)
    assert (point.count, point.mean) == (2, pytest.approx(0.25))
    assert [one.number for one in (await figures.distribution(ours, of, "m", 10, within)).bins] == [
        3,
        4,
    ]
    for nothing in (CreatedWithin(at(2), at(2)), CreatedWithin(at(3), at(2))):
        assert await figures.summaries(ours, of, nothing) == []
        assert await figures.trend(ours, of, ("m",), HOUR, nothing) == []
        assert (await figures.distribution(ours, of, "m", 10, nothing)).bins == []
    [half] = await figures.summaries(ours, of, CreatedWithin(after=at(3)))
    assert half.scored == 2
    [half] = await figures.summaries(ours, of, CreatedWithin(before=at(3)))
    assert half.scored == 2


# --- judge kinds -----------------------------------------------------------------------------


@BOTH_TARGET_TYPES
@pytest.mark.parametrize(
    ("score_fields", "numbers", "kind"),
    [
        ([judge_score("model", "0.2"), judge_score("heuristic", "0.8", 1)], [0.8], "heuristic"),
        ([judge_score("model", "0.2", 1), judge_score("heuristic", "0.8")], [0.2], "model"),
        ([judge_score("model", "0.2"), judge_score("model", "0.4", 1)], [0.2, 0.4], "model"),
        ([judge_score("rule", "0.2", 5), judge_score("measured", "0.4")], [0.2, 0.4], None),
        (
            [
                judge_score("model", "0.2"),
                judge_score("heuristic", "0.8", 1),
                judge_score("rule", "0.6", 2),
            ],
            [0.6, 0.8],
            "heuristic",
        ),
        (
            [judge_score("model", "0.2"), judge_score("heuristic", "0.8", 1, source=ANNOTATION)],
            [0.2],
            "model",
        ),
        (
            [judge_score("heuristic", "0.2"), judge_score("model", None, 9, outcome=FAILED)],
            [0.2],
            "heuristic",
        ),
        (
            [
                judge_score("heuristic", "0.2"),
                judge_score("model", "true", 9, data_type=DataType.BOOLEAN),
                {"value": "0.4"},
            ],
            [0.2],
            "heuristic",
        ),
        (
            [judge_score("model", "0.2", 5), judge_score("heuristic", "0.8", 1, name="other")],
            [0.2],
            "model",
        ),
    ],
    ids=str,
)
async def test_heuristic_and_model_scores_are_not_mixed(
    figures, ours, add, of, score_fields, numbers, kind
):
    await add(of, *score_fields)
    [found] = [one for one in await figures.summaries(ours, of, EVER) if one.name == "m"]
    assert (found.minimum, found.maximum, found.judge_kind) == (min(numbers), max(numbers), kind)
    assert found.mean == pytest.approx(sum(numbers) / len(numbers))
    assert found.median == pytest.approx(sum(numbers) / len(numbers))
    [point] = await figures.trend(ours, of, ("m",), DAY, EVER)
    assert (point.mean, point.count) == (pytest.approx(found.mean), len(numbers))
    parts = await figures.distribution(ours, of, "m", 10, EVER)
    assert sum(part.count for part in parts.bins) == len(numbers)


@BOTH_TARGET_TYPES
async def test_newest_judge_kind_is_chosen_within_period(figures, ours, add, of):
    await add(
        of,
        judge_score("model", "0.2"),
        judge_score("heuristic", "0.8", 1),
        judge_score("model", "0.4", 2),
    )
    [found] = await figures.summaries(ours, of, CreatedWithin(before=at(2)))
    assert (found.mean, found.judge_kind) == (0.8, "heuristic")
    [point] = await figures.trend(ours, of, ("m",), DAY, CreatedWithin(before=at(2)))
    assert point.mean == 0.8


# --- sources ---------------------------------------------------------------------------------


async def test_trace_score_says_nothing_of_the_session_score_with_its_id(figures, plane, ours):
    of_run = run_score("1", 1, "f1", id=ScoreId(uuid.uuid4()))
    await plane.evaluation.session_scores.add(session_score(ours, **of_run))
    forged = by("model", fingerprint="f2")
    other = trace_score(ours, TRACE_ID, id=of_run["id"], metadata=forged, source=AUTOMATED)
    await plane.evaluation.trace_scores.add(other)
    [of_session] = await figures.summaries(ours, SESSION, EVER)
    [of_trace] = await figures.summaries(ours, TRACE, EVER)
    assert (of_session.fingerprints, of_trace.fingerprints) == (["f1"], [])


@BOTH_TARGET_TYPES
async def test_scores_of_runs_and_others_are_not_combined(figures, ours, add, of):
    forged = by("model", fingerprint="f")
    await add(
        of,
        judge_score("heuristic", "0.8"),
        {"value": "1", "source": PROGRAMMATIC, "metadata": forged, "created_at": at(3)},
        {"value": "0.4", "created_at": at(4)},
        judge_score("model", None, 5, outcome=FAILED),
        judge_score("model", None, 6, outcome=FAILED, name="broken"),
        {"value": "1", "source": PROGRAMMATIC, "name": "broken"},
    )
    broken, found = await figures.summaries(ours, of, EVER)
    assert (found.mean, found.judge_kind, found.from_runs) == (0.8, "heuristic", True)
    assert (found.counted, found.left_out, found.scored, found.failed) == (1, 2, 1, 1)
    assert found.latest_at == at(5)
    assert (broken.mean, broken.from_runs, broken.left_out) == (None, True, 1)
    for source, number in ((None, 0.8), (AUTOMATED, 0.8), (PROGRAMMATIC, 1.0), (ANNOTATION, 0.4)):
        [point] = await figures.trend(ours, of, ("m",), DAY, EVER, source=source)
        assert (point.mean, point.count) == (number, 1)
        [part] = (await figures.distribution(ours, of, "m", 1, EVER, source=source)).bins
        assert part.count == 1
        [found] = [
            one for one in await figures.summaries(ours, of, EVER, source=source) if one.name == "m"
        ]
        assert (found.mean, found.from_runs) == (number, number == 0.8)
        assert found.judge_kind == ("heuristic" if number == 0.8 else None)
    # Without a score of a run in the period, the others count.
    [found] = await figures.summaries(ours, of, CreatedWithin(at(3), at(5)))
    assert (found.mean, found.from_runs, found.counted) == (pytest.approx(0.7), False, 2)


async def test_posted_score_of_a_session_replaces_none_of_a_run(figures, ours, add):
    await add(
        SESSION,
        judge_score("heuristic", "0.8"),
        {"value": "1", "source": PROGRAMMATIC, "created_at": at(3)},
        {"value": "0.5", "source": PROGRAMMATIC, "name": "posted", "created_at": at(4)},
    )
    ranked = await figures.comparison(ours, "m", DESC, PageRequest())
    assert [(one.number, one.source) for one in ranked.items] == [(0.8, AUTOMATED)]
    posted = await figures.comparison(ours, "m", DESC, PageRequest(), source=PROGRAMMATIC)
    assert [(one.number, one.source) for one in posted.items] == [(1.0, PROGRAMMATIC)]
    shown = [(one.number, one.source) for one in await figures.history(ours, "s", None, 9)]
    assert shown == [(0.8, AUTOMATED), (0.5, PROGRAMMATIC)]
    posted = await figures.history(ours, "s", "m", 9, source=PROGRAMMATIC)
    assert [one.number for one in posted] == [1.0]


@pytest.mark.parametrize(("of", "other"), [(TRACE, SPAN), (SPAN, TRACE)])
async def test_scores_of_spans_and_of_traces_are_not_combined(figures, ours, add, of, other):
    await add(of, {"value": "0.25"}, {"value": "0.75", "created_at": at(1)})
    await add(
        other,
        judge_score("model", "1", 2),  # it would be chosen before those that runs didn't give
        {"value": "1", "created_at": at(3)},
        {"value": None, "outcome": FAILED, "created_at": at(4)},
        {"value": "1", "name": "other", "created_at": at(5)},
    )
    assert await figures.summaries(ours, of, EVER) == [
        summary("m", (0.5, 0.25, 0.75, 0.5), (2, 0, 0, 0), at(1), counted=2)
    ]
    [point] = await figures.trend(ours, of, ("m",), DAY, EVER)
    assert (point.bucket, point.mean, point.count) == (DAY.bucket(NOON), 0.5, 2)
    assert await figures.trend(ours, of, ("other",), DAY, EVER) == []
    parts = (await figures.distribution(ours, of, "m", 4, EVER)).bins
    assert [(part.number, part.count) for part in parts] == [(2, 1), (4, 1)]


# --- trends and distributions ----------------------------------------------------------------


@BOTH_TARGET_TYPES
async def test_trend_has_point_for_each_bucket_with_numbers(figures, ours, add, of):
    await add(
        of,
        *({"value": "0.5", "created_at": MONDAY + timedelta(days=days)} for days in (-7, 0, 1)),
        {"value": "1", "created_at": MONDAY + timedelta(days=1, hours=3)},
        {"value": "0.25", "created_at": MONDAY - timedelta(microseconds=1)},
        {"value": None, "outcome": FAILED, "created_at": MONDAY + timedelta(days=30)},
        {"value": "0.5", "name": "other", "created_at": MONDAY + timedelta(days=60)},
    )
    weeks = await figures.trend(ours, of, ("m",), WEEK, EVER)
    assert [(one.bucket, one.mean, one.count) for one in weeks] == [
        (MONDAY - timedelta(days=7), 0.375, 2),
        (MONDAY, pytest.approx(2 / 3), 3),
    ]
    days = await figures.trend(ours, of, ("m",), DAY, EVER)
    assert [(one.bucket - MONDAY).days for one in days] == [-7, -1, 0, 1]
    assert (days[-1].mean, days[-1].count) == (0.75, 2)
    assert len(await figures.trend(ours, of, ("m",), HOUR, EVER)) == 5
    assert await figures.trend(ours, of, ("none",), DAY, EVER) == []


@BOTH_TARGET_TYPES
async def test_first_and_last_year_have_buckets(figures, ours, add, of):
    ends = [datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
    await add(of, *({"value": "1", "created_at": when} for when in ends))
    for granularity in Granularity:
        found = await figures.trend(ours, of, ("m",), granularity, EVER)
        assert [one.bucket for one in found] == [granularity.bucket(when) for when in ends]


# Writing so much takes seconds. The domain's own tests have the limit, and
# tests/adapters/postgres/evaluation/test_score_buckets.py inserts so many rows with one statement.
@pytest.mark.exhaustive
@pytest.mark.slow
async def test_more_buckets_than_maximum_are_rejected(plane, ours, add):
    figures = plane.evaluation.score_analytics  # counting a year of days takes long
    hours = [{"value": "1", "created_at": at(3600 * n)} for n in range(BUCKETS_MAX + 1)]
    for first in range(0, len(hours), 200):
        await add(TRACE, *hours[first : first + 200])
    with pytest.raises(Invalid):
        await figures.trend(ours, TRACE, ("m",), HOUR, EVER)
    all_but_one = CreatedWithin(before=at(3600 * BUCKETS_MAX))
    assert len(await figures.trend(ours, TRACE, ("m",), HOUR, all_but_one)) == BUCKETS_MAX
    assert len(await figures.trend(ours, TRACE, ("m",), DAY, EVER)) == len(
        {DAY.bucket(one["created_at"]) for one in hours}
    )


@BOTH_TARGET_TYPES
@pytest.mark.parametrize("parts", [1, 3, 7, 10, 29, BINS_MAX])
async def test_bin_includes_lower_bound_and_last_bin_includes_1(figures, ours, add, of, parts):
    bounds = [repr(n / parts) for n in range(parts + 1)]
    await add(of, *({"value": value} for value in [*bounds, "-0.0", "1e-400", "1e0"]))
    found = (await figures.distribution(ours, of, "m", parts, EVER)).bins
    assert sum(one.count for one in found) == parts + 4
    assert found[0].lower == 0.0
    assert found[-1].upper == 1.0
    assert found[-1].number == parts
    # A third as a decimal fraction is less than a third.
    exact = parts in {1, 10, BINS_MAX}
    assert not exact or [one.count for one in found] == (
        [parts + 4] if parts == 1 else [3, *[1] * (parts - 2), 3]
    )


async def test_bins_have_rounded_bounds_and_empty_ones_are_left_out(figures, ours, add):
    await add(TRACE, {"value": "0.29"}, {"value": "0.2999"}, {"value": "0.999999"})
    assert (await figures.distribution(ours, TRACE, "m", 100, EVER)).bins == [
        HistogramBin(30, 0.29, 0.3, 2),
        HistogramBin(100, 0.99, 1.0, 1),
    ]
    assert (await figures.distribution(ours, TRACE, "m", 3, EVER)).bins == [
        HistogramBin(1, 0.0, 0.3333, 2),
        HistogramBin(3, 0.6667, 1.0, 1),
    ]
    assert (await figures.distribution(ours, TRACE, "none", 3, EVER)).bins == []


# --- coverage, thresholds and fingerprints ---------------------------------------------------


def run_score(value, day, fingerprint="f1", threshold=0.5, **overrides):
    """Returns the fields of a score by a model in a run, on a day of the week of MONDAY."""
    known = {"run_id": RUNS[0], "source": AUTOMATED, "created_at": MONDAY + timedelta(days=day)}
    metadata = by("model", fingerprint=fingerprint, threshold=threshold)
    return known | {"value": value, "metadata": metadata} | overrides


RUN_TARGETS = pytest.mark.parametrize("of", [TRACE, SESSION])  # runs score no spans


@BOTH_TARGET_TYPES
async def test_buckets_without_numbers_are_returned_on_request(figures, ours, add, of):
    days = [MONDAY + timedelta(days=days) for days in range(4)]
    await add(
        of,
        {"value": "0.5", "created_at": days[0]},
        {"value": None, "outcome": SKIPPED, "created_at": days[0]},
        {"value": None, "outcome": FAILED, "created_at": days[1]},
        {"value": None, "outcome": SKIPPED, "created_at": days[1]},
        {"value": None, "outcome": PENDING, "created_at": days[2]},
        {"value": "good", "data_type": DataType.CATEGORICAL, "created_at": days[3]},
    )
    known = [(1, 1, 0, 0), (0, 1, 1, 0), (0, 0, 0, 1), (1, 0, 0, 0)]
    ask = figures.trend(ours, of, ("m",), DAY, EVER, empty_buckets=True)
    for point, day, counts in zip(await ask, days, known, strict=True):
        assert (point.bucket, point.name) == (day, "m")
        assert (point.scored, point.skipped, point.failed, point.pending) == counts
        is_first = day == days[0]
        assert (point.mean, point.p10, point.p90) == ((0.5,) * 3 if is_first else (None,) * 3)
        assert (point.count, point.passed) == (int(is_first), None)
    [only] = await figures.trend(ours, of, ("m",), DAY, EVER)
    assert (only.bucket, only.skipped) == (days[0], 1)
    # A bucket of another source isn't one of this.
    assert await figures.trend(
        ours, of, ("m",), DAY, EVER, source=PROGRAMMATIC, empty_buckets=True
    ) == []  # fmt: skip
    histogram = await figures.distribution(ours, of, "m", 4, EVER, empty_buckets=True)
    assert [one.count for one in histogram.bins] == [0, 0, 1, 0]
    outcomes = (histogram.scored, histogram.skipped, histogram.failed, histogram.pending)
    assert outcomes == (2, 2, 1, 1)


@BOTH_TARGET_TYPES
async def test_trend_has_percentiles_and_names_in_order(figures, ours, add, of):
    await add(
        of,
        *({"value": f"{n / 10}", "created_at": at(n)} for n in range(11)),
        {"value": "0.25", "name": "a"},
        {"value": "0.75", "name": "other"},
    )
    found = await figures.trend(ours, of, ("m", "none", "a", "m"), DAY, EVER)
    assert [(one.name, one.count) for one in found] == [("m", 11), ("a", 1)]
    percentiles = [found[0].p10, found[0].p50, found[0].p90]
    assert percentiles == [pytest.approx(n) for n in (0.1, 0.5, 0.9)]
    assert (found[1].p10, found[1].p50, found[1].p90) == (0.25,) * 3


@RUN_TARGETS
async def test_fingerprints_are_returned_at_the_bucket_where_they_change(figures, ours, add, of):
    await add(
        of,
        run_score("0.2", 0), run_score("0.4", 1), run_score("0.4", 1, "f2"),
        run_score("0.8", 2, "f2"), run_score(None, 2, "f9", outcome=FAILED),
        run_score("0.8", 2, "f8", metadata=by("heuristic", fingerprint="f8"),
                  created_at=MONDAY + timedelta(days=1)),
        run_score("0.8", 2, "f7", run_id=None),
    )  # fmt: skip
    found = await figures.trend(ours, of, ("m",), DAY, EVER)
    assert [list(one.fingerprints) for one in found] == [["f1"], ["f1", "f2"], ["f2"]]
    assert {one.judge_kind for one in found} == {"model"}
    [whole] = await figures.summaries(ours, of, EVER)
    assert list(whole.fingerprints) == ["f1", "f2"]
    many = [run_score("1", 4, f"g{n:02}") for n in range(FINGERPRINTS_MAX + 1)]
    await add(of, *many)
    [whole] = await figures.summaries(ours, of, CreatedWithin(MONDAY + timedelta(days=4)))
    assert list(whole.fingerprints) == [f"g{n:02}" for n in range(FINGERPRINTS_MAX)]


@BOTH_TARGET_TYPES
async def test_numbers_are_compared_with_their_own_thresholds(figures, ours, add, of):
    said = [("0.5", 0.5), ("0.4", 0.5), ("0.4", 0.25), ("1", None), (None, 0.9)]
    for n, (value, threshold) in enumerate(said):
        known = {"threshold": threshold} if threshold is not None else {}
        outcome = {} if value else {"outcome": SKIPPED}
        await add(
            of, {"value": value, "metadata": by("rule", **known), "created_at": at(n)} | outcome
        )
    [whole] = await figures.summaries(ours, of, EVER)
    [point] = await figures.trend(ours, of, ("m",), DAY, EVER)
    for one in (whole, point):
        assert (one.passed, one.with_threshold) == (2, 3)
    assert (whole.minimum_threshold, whole.maximum_threshold) == (0.25, 0.5)
    [none] = await figures.summaries(ours, of, CreatedWithin(at(3)))
    assert (none.passed, none.with_threshold, none.counted) == (None, 0, 1)


@BOTH_TARGET_TYPES
async def test_kind_of_judge_can_be_chosen(figures, ours, add, of):
    await add(of, judge_score("model", "0.25", 1), judge_score("heuristic", "0.75"),
              judge_score("rule", "1", name="r"))  # fmt: skip
    for kind, number in ((None, 0.25), (SeparateKind.MODEL, 0.25), (SeparateKind.HEURISTIC, 0.75)):
        of_m, of_r = await figures.summaries(ours, of, EVER, judge_kind=kind)
        [point] = await figures.trend(ours, of, ("m",), DAY, EVER, judge_kind=kind)
        assert (of_m.mean, of_m.left_out, of_m.scored) == (number, 1, 2)
        assert (point.mean, point.count, point.scored) == (number, 1, 2)
        assert of_m.judge_kind == point.judge_kind == (kind or SeparateKind.MODEL)
        assert (of_r.mean, of_r.judge_kind) == (1.0, None)
        histogram = await figures.distribution(ours, of, "m", 4, EVER, judge_kind=kind)
        assert [one.lower for one in histogram.bins] == [number]


# --- sessions --------------------------------------------------------------------------------


async def test_history_lists_newest_ascending_with_failures(figures, ours, add):
    await add(
        SESSION,
        {"value": "0.1", "run_id": RUNS[0]},
        {"value": None, "outcome": FAILED, "created_at": at(1)},
        {"value": None, "outcome": SKIPPED, "created_at": at(2), "name": "M"},
        {"value": None, "outcome": PENDING, "created_at": at(3)},
        {"value": "true", "data_type": DataType.BOOLEAN, "created_at": at(4)},
        {"value": "0.2", "created_at": at(5)},
    )
    expected = [
        HistoryPoint("m", 0.1, RUNS[0], NOON, ScoreStatus.SUCCESS, ANNOTATION),
        HistoryPoint("m", None, None, at(1), ScoreStatus.FAILED, ANNOTATION),
        HistoryPoint("M", None, None, at(2), ScoreStatus.FAILED, ANNOTATION),
        HistoryPoint("m", 0.2, None, at(5), ScoreStatus.SUCCESS, ANNOTATION),
    ]
    assert await figures.history(ours, "s", None, 50) == expected
    for limit in (1, 2, 3):
        assert await figures.history(ours, "s", None, limit) == expected[-limit:]
    assert await figures.history(ours, "s", "M", 50) == expected[2:3]
    assert await figures.history(ours, "s", "m", 2) == [expected[1], expected[3]]
    for of, session in ((ours, "S"), (ours, "none"), (project(), "s")):
        assert await figures.history(of, session, None, 50) == []


@pytest.mark.parametrize("order", SortOrder)
@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 100])
async def test_sessions_are_ranked_by_newest_number_then_id(plane, figures, ours, order, limit):
    scores = [
        session_score(ours, one, value=f"0.{n % 3}", run_id=RUNS[n % 2], created_at=at(n))
        for n, one in enumerate(SESSIONS)
    ]
    hidden = [
        session_score(ours, "s", value="0.9", created_at=at(-5)),
        session_score(ours, "s", name="other", value="0.9", created_at=at(99)),
        session_score(ours, "t", value=None, created_at=at(99)),
        session_score(ours, "S", value="good", data_type=DataType.CATEGORICAL, created_at=at(99)),
    ]
    await asyncio.gather(*map(plane.evaluation.session_scores.add, [*hidden, *scores]))
    ranked = [
        RankedSession(s.session_id, s.number, s.created_at, s.run_id, s.source) for s in scores
    ]
    ranked.sort(key=lambda one: one.session_id)
    ranked.sort(key=lambda one: one.number, reverse=order is DESC)
    by_position, by_offset = await read_all_pages(
        lambda window: figures.comparison(ours, "m", order, window), limit
    )
    assert by_position == by_offset == ranked
    beyond = await figures.comparison(ours, "m", order, PageRequest(offset=2**63 - 1))
    assert (list(beyond.items), beyond.total, beyond.end) == ([], 7, None)
    nothing = await figures.comparison(project(), "m", order, PageRequest())
    assert (list(nothing.items), nothing.total, nothing.end) == ([], 0, None)


@pytest.mark.parametrize(
    "position",
    [Position(NOON, "s"), Position("0.5", "s"), Position(0.5, TRACE_ID), Position(None, "")],
)
async def test_cursor_of_another_list_is_rejected(figures, ours, position):
    with pytest.raises(Invalid) as caught:
        await figures.comparison(ours, "m", ASC, PageRequest(after=position))
    assert [error.field for error in caught.value.errors] == ["query.cursor"]
