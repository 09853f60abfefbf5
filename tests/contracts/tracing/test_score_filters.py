"""Part of the contract of Traces: filters by scores of the trace."""

import asyncio
import uuid

import pytest

from adapters.postgres.database.tenants import within
from adapters.postgres.evaluation.scores.scores import PostgresTraceScores
from adapters.postgres.tracing.trace_lists import TraceLists
from domain.evaluation.scores.score import DataType, ScoreChange
from domain.ids import SpanId, TraceId
from domain.page import PageRequest, SortOrder
from domain.tracing.query import ScoredOutcome, TraceFilter, TraceSort
from tests.support.builders.scores import (
    ADA,
    ANNOTATION,
    AUTOMATED,
    FAILED,
    PENDING,
    SKIPPED,
    trace_score,
)
from tests.support.builders.values import at, span, trace
from tests.support.fixtures.data_plane import (
    fill,
    names,
    over_postgres,
    project,
    read_all_pages,
    traces_page,
)
from tests.support.fixtures.evaluation import latest_scores

AT_ONCE = 12
STEP = SpanId(uuid.UUID(int=1))


def nth(n: int) -> TraceId:
    return TraceId(uuid.UUID(int=n + 1))


async def filled(plane, *letters: str):
    """A project with traces of these names, by start."""
    ours = project()
    await fill(plane, ours, *[
        trace(span(id=STEP), id=nth(n), name=letter, started_at=at(n))
        for n, letter in enumerate(letters)
    ])  # fmt: skip
    return ours


async def give(plane, ours, n: int, value: str | None, **said):
    said = {"outcome": FAILED} | said if value is None else said
    score = trace_score(ours, nth(n), value=value, **said)
    return await plane.evaluation.trace_scores.add(score)


CONDITIONS = [
    ({}, "abcdh"),
    ({"score_min": 0.5}, "bdh"),
    ({"score_max": 0.5}, "abh"),
    ({"score_min": 0.5, "score_max": 0.5}, "b"),
    ({"score_min": 0.51, "score_max": 0.89}, ""),
    ({"score_min": 0.0, "score_max": 1.0}, "abdh"),
    ({"score_outcome": ScoredOutcome.SCORED}, "abcdh"),
    ({"score_outcome": ScoredOutcome.FAILED}, "e"),
    ({"score_outcome": ScoredOutcome.SKIPPED}, "f"),
    ({"score_outcome": ScoredOutcome.SCORED, "score_max": 0.2}, "ah"),
    ({"score_max": 0.5, "session_id": None, "name": "B"}, "b"),
    ({"score_max": 0.5, "not_score": ("other", "others")}, "abh"),
    ({"score_max": 0.5, "not_score": ("m",)}, ""),
]


async def of_each(plane):
    """Traces with one score each, but for the last ones."""
    ours = await filled(plane, *"abcdefghi")
    await give(plane, ours, 0, "0.2")
    await give(plane, ours, 1, "0.5")
    await give(plane, ours, 2, "good", data_type=DataType.CATEGORICAL)
    await give(plane, ours, 3, "0.9")
    await give(plane, ours, 4, None)
    await give(plane, ours, 5, None, outcome=SKIPPED)
    await give(plane, ours, 6, None, outcome=PENDING)
    await give(plane, ours, 6, "0.1", span_id=STEP)
    # A run's score and a person's: both are shown, and either matches.
    await give(plane, ours, 7, "0.1", source=AUTOMATED)
    await give(plane, ours, 7, "0.95", source=ANNOTATION)
    await give(plane, ours, 8, "0.1", name="other")
    return ours


async def test_each_condition_selects_its_traces(plane):
    ours = await of_each(plane)
    found = {
        str(said): "".join(await names(plane, ours, score="m", **said)) for said, _ in CONDITIONS
    }
    assert found == {str(said): expected for said, expected in CONDITIONS}
    assert await names(plane, ours, score="M") == []
    assert await names(plane, ours, score="other") == ["i"]
    assert "".join(await names(plane, ours, not_score=("m",))) == "efgi"
    assert "".join(await names(plane, ours, not_score=("m", "other", "M"))) == "efg"
    assert await names(plane, project(), score="m") == []


async def test_every_sort_pages_over_the_same(plane):
    ours = await of_each(plane)
    for said, expected in CONDITIONS:
        for sort in TraceSort:
            by_position, by_offset = await read_all_pages(
                lambda window, said=said, sort=sort: traces_page(
                    plane, ours, sort=sort, order=SortOrder.DESC, window=window, score="m", **said
                ),
                2,
            )
            assert [one.id for one in by_position] == [one.id for one in by_offset]
            assert sorted(one.name for one in by_position) == list(expected), (said, sort)


@pytest.mark.service
async def test_totals_count_a_trace_with_two_newest_scores_once(pool):
    async with over_postgres(pool) as plane:
        ours = await filled(plane, *"abc")
        for n in range(3):
            await give(plane, ours, n, "0.1", source=AUTOMATED)
            await give(plane, ours, n, "0.95", source=ANNOTATION)
    lists, window = TraceLists(pool, sorted_max=1, counted_max=3), PageRequest(limit=1)
    by = (TraceSort.STARTED_AT, SortOrder.ASC)
    page = await lists.summaries(ours, TraceFilter(score="m"), *by, window)
    assert (page.total, page.total_is_at_least) == (3, False)


async def test_the_newest_score_counts_whatever_the_order_of_writes(plane):
    ours = await filled(plane, "a")
    newer = await give(plane, ours, 0, "0.9", created_at=at(5))
    await give(plane, ours, 0, "0.1", created_at=at(3))  # comes late
    assert await names(plane, ours, score="m", score_max=0.5) == []
    assert await names(plane, ours, score="m", score_min=0.5) == ["a"]
    scores = plane.evaluation.trace_scores
    assert await scores.delete(ours, newer.id)
    assert await names(plane, ours, score="m", score_max=0.5) == ["a"]
    assert await names(plane, ours, score="m", score_min=0.5) == []


async def test_an_edit_moves_a_score_from_runs_to_others(plane):
    ours = await filled(plane, "a")
    older = await give(plane, ours, 0, "0.4", source=AUTOMATED, created_at=at(1))
    newer = await give(plane, ours, 0, "0.2", source=AUTOMATED, created_at=at(2))
    scores = plane.evaluation.trace_scores
    await scores.change(ours, newer.id, ScoreChange(value="0.9"), at(3), ADA)
    # The older score of a run is the newest of runs now.
    assert await names(plane, ours, score="m", score_min=0.9) == ["a"]
    assert await names(plane, ours, score="m", score_min=0.4, score_max=0.4) == ["a"]
    assert await names(plane, ours, score="m", score_max=0.2) == []
    await scores.change(ours, newer.id, ScoreChange(undo=True), at(4), ADA)
    assert await names(plane, ours, score="m", score_max=0.2) == ["a"]
    assert await names(plane, ours, score="m", score_min=0.4) == []
    await scores.delete(ours, newer.id)
    await scores.delete(ours, older.id)
    assert await names(plane, ours, score="m") == []


async def test_deleted_traces_and_hidden_ones_are_not_found(plane):
    ours = project()
    await fill(plane, ours, *[
        trace(id=nth(n), name=letter, started_at=at(n), user_id=letter)
        for n, letter in enumerate("abc")
    ])  # fmt: skip
    for n in range(3):
        await give(plane, ours, n, "0.1")
    await plane.traces.delete(ours, [nth(0)])
    assert await names(plane, ours, score="m", score_max=0.5) == ["b", "c"]
    await fill(plane, ours, trace(id=nth(0), name="a", started_at=at(0)))
    assert await names(plane, ours, score="m", score_max=0.5) == ["b", "c"]


async def test_a_project_finds_none_by_scores_of_another(plane):
    ours, theirs = await filled(plane, "a"), await filled(plane, "a")
    await give(plane, theirs, 0, "0.1")
    assert await names(plane, ours, score="m") == []
    assert await names(plane, theirs, score="m") == ["a"]


async def test_writers_at_once_leave_the_newest_score(plane):
    ours = await filled(plane, "a")
    scores = plane.evaluation.trace_scores
    given = [trace_score(ours, nth(0), value=f"0.{n}", created_at=at(n % 4)) for n in range(9)]
    await asyncio.gather(*map(scores.add, given))
    await asyncio.gather(
        *(scores.delete(ours, one.id) for one in given[4:]),
        *(give(plane, ours, 0, "0.5", created_at=at(n % 5)) for n in range(AT_ONCE)),
        *(scores.change(ours, one.id, ScoreChange(value="0.7"), at(9), ADA) for one in given[:4]),
    )
    shown = await scores.latest(ours, nth(0))
    for value in (0.5, 0.7):
        found = await names(plane, ours, score="m", score_min=value, score_max=value)
        assert found == ["a"] * any(one.number == value for one in shown)
    if isinstance(scores, PostgresTraceScores):
        assert await within(scores.pool, ours).fetch(latest_scores.DIFFERING, ours) == []
