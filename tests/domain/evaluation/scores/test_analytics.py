"""Score analytics, and filters of score lists."""

import json
import statistics
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.evaluation.scores.analytics import (
    HistogramBin,
    bin_number,
    comparison,
    distribution,
    history,
    summaries,
    trend,
)
from domain.evaluation.scores.score import (
    DataType,
    ScoreFilter,
    ScoreOutcome,
    ScoreSource,
    ScoreStatus,
    SessionScore,
    TraceScore,
    list_position,
    newest_first,
)
from domain.ids import RunId, ScoreId, SpanId, TraceId
from domain.page import PageRequest, Position, SortOrder, paginate
from domain.tracing.analytics import BUCKETS_MAX, Granularity
from tests.support.builders.scores import trace_score
from tests.support.builders.values import NOON, OURS, at

FRESH = count(1)
RUN = RunId(UUID(int=5))
GONE = {"value": None}


def score(value: str | None = "0.5", seconds: float = 0, **said: Any) -> SessionScore:
    """An automated score of the session s named m, `seconds` after noon."""
    outcome = ScoreOutcome.FAILED if value is None else ScoreOutcome.SCORED
    kind = said.pop("kind", None)
    known: dict[str, Any] = {
        "id": ScoreId(UUID(int=next(FRESH))),
        "project_id": OURS,
        "session_id": "s",
        "name": "m",
        "outcome": outcome,
        "value": value,
        "source": ScoreSource.AUTOMATED,
        "metadata": json.dumps({"judge_kind": kind} if kind else {}).encode(),
        "created_at": at(seconds),
        "updated_at": at(seconds),
    }
    return SessionScore(**known | said)


WAITS = {"value": None, "outcome": ScoreOutcome.PENDING}
SKIPPED = {"value": None, "outcome": ScoreOutcome.SKIPPED}
CATEGORY = {"data_type": DataType.CATEGORICAL}


# --- summaries -------------------------------------------------------------------------------


def test_summary_counts_all_scores_and_averages_numbers():
    some = [
        score("0.2", 1),
        score("1.0", 2),
        score("0.3", 3),
        score("0.4", 0),
        score("1", 4, **CATEGORY),
        score(None, 5),
        score(None, 6, outcome=ScoreOutcome.SKIPPED),
        score(None, 7, outcome=ScoreOutcome.PENDING),
        score(None, 0, name="é", outcome=ScoreOutcome.SKIPPED),
        score("0.1", 0, name="Z"),
    ]
    found = summaries(some)
    assert [one.name for one in found] == ["Z", "m", "é"]
    of_m = found[1]
    assert of_m.mean == pytest.approx(0.475)
    assert (of_m.minimum, of_m.maximum, of_m.median) == (0.2, 1.0, pytest.approx(0.35))
    assert (of_m.scored, of_m.failed, of_m.latest_at) == (5, 1, at(7))
    nothing = found[2]
    assert (nothing.mean, nothing.minimum, nothing.maximum, nothing.median) == (None,) * 4
    assert (nothing.scored, nothing.failed, nothing.latest_at) == (0, 0, NOON)


@pytest.mark.parametrize(
    ("last", "mean", "kind"), [("model", 0.8, "model"), ("heuristic", 0.25, "heuristic")]
)
def test_heuristic_and_model_scores_of_one_name_are_not_averaged(last, mean, kind):
    """The kind that scored last counts; scores of rules always count."""
    some = [
        score("0.9", 1, kind="model"),
        score("0.9", 2, kind="model"),
        score("0.1", 1, kind="heuristic"),
        score("0.1", 2, kind="heuristic"),
        score("0.6" if last == "model" else "0.7", 3, kind="rule"),
        score("0.8" if last == "model" else "0.1", 4, kind=last),
        score("0.8" if last == "model" else "0.25", 0, kind="measured"),
        score(None, 9, kind="model"),
        score("0.4", 9, name="other", kind="heuristic"),
    ]
    found = {one.name: one for one in summaries(some)}
    assert found["m"].mean == pytest.approx(mean)
    assert (found["m"].judge_kind, found["m"].scored) == (kind, 7)
    assert (found["other"].mean, found["other"].judge_kind) == (0.4, "heuristic")
    assert [one.mean for one in trend(some, ("m",), Granularity.DAY)] == [pytest.approx(mean)]
    assert sum(one.count for one in distribution(some, "m", 10).bins) == (
        sum(one.judge_kind not in {"model", "heuristic"} - {kind} for one in some[:7])
    )


def test_scores_of_runs_and_others_are_not_averaged():
    posted = {"source": ScoreSource.PROGRAMMATIC, "kind": "model"}
    some = [
        score("0.8", 1, kind="heuristic"),
        score(None, 2),
        score("1", 3, **posted),
        score("0.4", 4, source=ScoreSource.ANNOTATION),
        score("0.2", 5, name="posted", **posted),
        score("0.6", 6, name="posted", source=ScoreSource.ANNOTATION),
        score(None, 7, name="broken"),
        score("1", 8, name="broken", **posted),
    ]

    def shown(source: ScoreSource | None) -> dict[str, Any]:
        return {
            one.name: (one.mean, one.judge_kind, one.from_runs, one.counted, one.left_out)
            for one in summaries(some, source=source)
        }

    assert shown(None) == {
        "m": (0.8, "heuristic", True, 1, 2),
        "posted": (pytest.approx(0.4), None, False, 2, 0),
        "broken": (None, None, True, 0, 1),
    }
    assert shown(ScoreSource.PROGRAMMATIC) == {
        "m": (1.0, None, False, 1, 2),
        "posted": (0.2, None, False, 1, 1),
        "broken": (1.0, None, False, 1, 0),
    }
    [of_m] = [one for one in summaries(some) if one.name == "m"]
    assert (of_m.scored, of_m.failed, of_m.latest_at) == (1, 1, at(2))
    for source, numbers in ((None, [0.8]), (ScoreSource.ANNOTATION, [0.4])):
        [point] = trend(some, ("m",), Granularity.DAY, source=source)
        assert (point.mean, point.count) == (numbers[0], 1)
        assert sum(one.count for one in distribution(some, "m", 10, source=source).bins) == 1
        ranked = comparison(some, "m", SortOrder.DESC, PageRequest(), source=source)
        assert [one.number for one in ranked.items] == numbers
    assert [one.number for one in history(some, "s", None, 9)] == [0.8, None, 0.2, 0.6, None]
    assert [one.number for one in history(some, "s", None, 9, source=ScoreSource.ANNOTATION)] == [
        *(0.4, 0.6)
    ]


@given(st.lists(st.integers(0, 10_000).map(lambda n: str(n / 10_000)), min_size=1))
def test_summary_statistics_match_the_numbers(values):
    [found] = summaries([score(value) for value in values])
    numbers = [float(value) for value in values]
    assert found.mean == pytest.approx(statistics.fmean(numbers))
    assert found.median == pytest.approx(statistics.median(numbers))
    assert (found.minimum, found.maximum) == (min(numbers), max(numbers))


# --- over time -------------------------------------------------------------------------------


def test_trend_groups_by_creation_without_empty_buckets():
    hour = timedelta(hours=1) / timedelta(seconds=1)
    some = [
        score("0.2", 2 * hour),
        score("0.4", 2 * hour + 1),
        score("1", 0),
        score(None, hour),
        score("1", hour, **CATEGORY),
        score("0", 0, name="other"),
    ]
    found = trend(some, ("m",), Granularity.HOUR)
    assert [(one.bucket, one.count) for one in found] == [(NOON, 1), (at(2 * hour), 2)]
    assert [one.mean for one in found] == [1.0, pytest.approx(0.3)]


def test_trend_length_is_limited():
    some = [score("1", 3_600 * n) for n in range(BUCKETS_MAX + 1)]
    assert len(trend(some[1:], ("m",), Granularity.HOUR)) == BUCKETS_MAX
    with pytest.raises(Invalid, match="date_from"):
        trend(some, ("m",), Granularity.HOUR)


# --- distribution ----------------------------------------------------------------------------


def test_last_bin_includes_1_and_empty_bins_are_omitted():
    values = ("0", "0.0999", "0.1", "0.95", "1.0", "1")
    assert distribution([*map(score, values), score(None)], "m", 10).bins == [
        HistogramBin(1, 0.0, 0.1, 2),
        HistogramBin(2, 0.1, 0.2, 1),
        HistogramBin(10, 0.9, 1.0, 3),
    ]
    assert distribution([score("1.0"), score("0")], "m", 1).bins == [HistogramBin(1, 0.0, 1.0, 2)]
    assert distribution([score("0.5")], "m", 3).bins == [HistogramBin(2, 0.3333, 0.6667, 1)]
    assert distribution([score(None)], "m", 10).bins == []


@pytest.mark.parametrize(
    ("number", "parts", "part"),
    [(0.29, 100, 30), (0.57, 100, 58), (0.3, 10, 4), (0.7, 10, 8), (1 / 3, 3, 1), (5e-324, 7, 1)],
)
def test_bin_bounds_are_decimal_and_belong_to_the_upper_bin(number, parts, part):
    assert bin_number(number, parts) == part


@given(st.integers(1, 100), st.lists(st.integers(0, 10_000)))
def test_every_number_lies_in_one_bin(parts, tenths_of_mills):
    some = [score(str(n / 10_000)) for n in tenths_of_mills]
    found = distribution(some, "m", parts).bins
    assert sum(one.count for one in found) == len(some)
    assert all(one.count and 1 <= one.number <= parts for one in found)
    assert [one.number for one in found] == sorted({one.number for one in found})
    for n in tenths_of_mills:
        number = bin_number(n / 10_000, parts)
        assert (number - 1) * 10_000 <= n * parts
        assert n * parts < number * 10_000 or n == 10_000


# --- sessions --------------------------------------------------------------------------------


def test_history_has_the_newest_scores_ascending():
    some = [
        score("0.1", 1, run_id=RUN),
        score(None, 2),
        score(None, 3, outcome=ScoreOutcome.SKIPPED),
        score("0.4", 4, name="other"),
        score(None, 5, outcome=ScoreOutcome.PENDING),
        score("1", 6, **CATEGORY),
        score("0.7", 7, session_id="t"),
    ]

    def shown(name: str | None, limit: int) -> list[Any]:
        found = history(some, "s", name, limit)
        return [((one.created_at - NOON).seconds, one.number, one.status.value) for one in found]

    assert shown(None, 50) == [
        *((1, 0.1, "SUCCESS"), (2, None, "FAILED"), (3, None, "FAILED"), (4, 0.4, "SUCCESS")),
    ]
    assert shown("m", 2) == [(2, None, "FAILED"), (3, None, "FAILED")]
    assert history(some, "s", "m", 3)[0].run_id == RUN


RANKED = [
    score("0.9", 1, session_id="a"),
    score("0.2", 2, session_id="a", run_id=RUN),
    score(None, 3, session_id="a"),
    score("0.7", 1, session_id="c"),
    score("0.7", 2, session_id="b"),
    score("0.1", 1, session_id="d", **CATEGORY),
    score("0.0", 1, session_id="e", name="other"),
]


@pytest.mark.parametrize(
    ("order", "sessions"), [(SortOrder.ASC, "abc"), (SortOrder.DESC, "bca")]
)  # fmt: skip
def test_sessions_are_ranked_by_newest_number_then_id(order, sessions):
    page = comparison(RANKED, "m", order, PageRequest())
    assert "".join(one.session_id for one in page.items) == sessions
    assert (page.total, page.end) == (3, None)
    first = comparison(RANKED, "m", order, PageRequest(limit=1))
    assert first.end == first.items[-1].position
    rest = comparison(RANKED, "m", order, PageRequest(after=first.end))
    assert [*first.items, *rest.items] == page.items
    assert comparison(RANKED, "m", order, PageRequest(limit=1, offset=1)).items == page.items[1:2]
    assert comparison(RANKED, "m", order, PageRequest(offset=9)).total == 3
    [of_a] = [one for one in page.items if one.session_id == "a"]
    assert (of_a.number, of_a.evaluated_at, of_a.run_id) == (0.2, at(2), RUN)


@pytest.mark.parametrize("place", [Position("x", "s"), Position(None, "s"), Position(1.0, RUN)])
def test_position_of_another_list_is_rejected(place):
    with pytest.raises(Invalid) as raised:
        comparison(RANKED, "m", SortOrder.ASC, PageRequest(after=place))
    assert [one.field for one in raised.value.errors] == ["query.cursor"]


# --- lists -----------------------------------------------------------------------------------


def test_each_condition_of_a_filter_narrows():
    trace = TraceId(UUID(int=7))
    known = score("1", 1)
    shared = {
        name: getattr(known, name)
        for name in ("id", "project_id", "name", "outcome", "value", "created_at", "updated_at")
    }
    of_trace = TraceScore(
        **shared, trace_id=trace, environment="prod", run_id=RUN, source=ScoreSource.ANNOTATION,
        data_type=DataType.BOOLEAN,
    )  # fmt: skip
    both = {
        "name": ("m", "M"),
        "status": (ScoreStatus.SUCCESS, ScoreStatus.FAILED),
        "outcome": (ScoreOutcome.SCORED, ScoreOutcome.SKIPPED),
        "created_after": (at(1), at(2)),
        "created_before": (at(2), at(1)),
    }
    own = {
        "trace_id": (trace, TraceId(UUID(int=8))),
        "environment": ("prod", "PROD"),
        "run_id": (RUN, RunId(UUID(int=8))),
        "source": (ScoreSource.ANNOTATION, ScoreSource.AUTOMATED),
        "data_type": (DataType.BOOLEAN, DataType.NUMERIC),
    }
    for name, (good, bad) in (both | own).items():
        assert ScoreFilter(**{name: good}).matches(of_trace), name
        assert not ScoreFilter(**{name: bad}).matches(of_trace), name
    assert ScoreFilter().matches(known)
    assert ScoreFilter(session_id="s").matches(known)
    for elsewhere in (
        *({"session_id": "t"}, {"trace_id": trace}, {"environment": "prod"}),
        *({"of_spans": True}, {"span_id": SpanId(UUID(int=7))}),
    ):
        assert not ScoreFilter(**elsewhere).matches(known)


def test_filter_matches_scores_of_spans_only_if_it_asks_for_them():
    trace, span, other = TraceId(UUID(int=7)), SpanId(UUID(int=7)), SpanId(UUID(int=8))
    of_trace, of_span = (
        trace_score(OURS, trace, span_id=one, environment="prod") for one in (None, span)
    )
    for matching in ({}, {"trace_id": trace}, {"environment": "prod"}):
        assert ScoreFilter(**matching).matches(of_trace)
        assert not ScoreFilter(**matching).matches(of_span)
        for asked in ({"of_spans": True}, {"span_id": span}):
            assert ScoreFilter(**matching, **asked).matches(of_span)
            assert not ScoreFilter(**matching, **asked).matches(of_trace)
    for matching in ({"span_id": other}, {"of_spans": True, "environment": "PROD"}):
        assert not ScoreFilter(**matching).matches(of_span)


def test_lists_are_sorted_from_newest_to_oldest():
    some = [score("1", seconds) for seconds in (1, 3, 3, 2)]
    assert paginate(some, list_position, SortOrder.DESC, PageRequest()).items == newest_first(some)
