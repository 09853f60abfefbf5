"""Contract of TraceScores, run against every adapter."""

import asyncio
import json
import random
import uuid
from dataclasses import replace
from itertools import combinations

import pytest

from adapters.postgres.evaluation.scores.scores import ADDED_AT_A_TIME, PostgresTraceScores
from domain.errors import Failure, Invalid, NotFound
from domain.evaluation.scores.score import (
    BRIEF_SCORES_MAX,
    DataType,
    ScoreBrief,
    ScoreChange,
    ScoreFilter,
    ScoreOutcome,
    ScoreSource,
    ScoreStatus,
    latest_by_name,
    newest_first,
)
from domain.page import OFFSET_MAX, PageRequest
from domain.tracing.payloads.read_limit import TooLargeToRead
from tests.support.builders.scores import (
    ADA,
    AUTOMATED,
    FAILED,
    PENDING,
    RUNS,
    SKIPPED,
    by,
    session_score,
    trace_score,
    varied,
)
from tests.support.builders.values import at, span, span_id, trace, trace_id
from tests.support.fixtures.data_plane import (
    ALL,
    assert_pages_are,
    fill,
    over_postgres,
    project,
    read_all_pages,
)

AT_ONCE = 50
ROUNDS = 5


@pytest.fixture
def scores(plane):
    return plane.evaluation.trace_scores


@pytest.fixture
async def ours(plane):
    """A project with three traces of one session."""
    ours = project()
    await fill(plane, ours, *(trace(id=one, session_id="s") for one in trace_ids_of(ours)))
    return ours


def trace_ids_of(of):
    return tuple(uuid.uuid5(of, f"{n}") for n in range(3))


async def all_of(scores, of, **conditions):
    """Returns all matching scores; at most LIMIT_MAX."""
    page = await scores.page(of, ScoreFilter(**conditions), ALL)
    assert (page.total, page.end) == (len(page.items), None)
    return list(page.items)


async def store_varied(scores, of):
    """Stores scores that differ in every field, concurrently."""
    sent = varied(of, trace_ids_of(of))
    assert await asyncio.gather(*map(scores.add, sent)) == sent
    return sent


# --- single scores ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"value": "1E0", "data_type": DataType.NUMERIC, "source": ScoreSource.PROGRAMMATIC},
        {"value": "TRUE", "data_type": DataType.BOOLEAN, "author_id": ADA, "reason": ""},
        {"value": "", "data_type": DataType.CATEGORICAL, "environment": "", "run_id": RUNS[0]},
        {"value": None, "outcome": FAILED, "reason": "why 🐼", "environment": "prod"},
        {"value": None, "outcome": SKIPPED, "metadata": b'{"code": "no_output"}'},
        {"value": None, "outcome": PENDING, "source": AUTOMATED, "updated_at": at(9)},
        {"metadata": b'{"a":1.0, "b":[12345678901234567890], "a":"\\u00e9"}', "name": "é 100%"},
        {"metadata": b'{"judge_kind":"\\u0000","code":{},"fingerprint":"\\ud800"}'},
    ],
    ids=str,
)
async def test_add_returns_and_stores_score_as_given(scores, ours, overrides):
    one = trace_score(ours, trace_ids_of(ours)[0], **overrides)
    assert await scores.add(one) == one
    assert await all_of(scores, ours) == [one]


async def test_judge_name_may_be_long(scores, ours):
    name = random.randbytes(9_999).hex()  # random, so that no index compresses it
    one = trace_score(ours, trace_ids_of(ours)[0], metadata=by(name), source=AUTOMATED)
    assert await scores.add(one) == one
    assert await all_of(scores, ours, name="m") == [one]


async def test_add_with_existing_id_returns_stored_score(scores, ours):
    first, second, _ = trace_ids_of(ours)
    one = trace_score(ours, first)
    assert await scores.add(one) == one
    assert await scores.add(replace(one, name="other", trace_id=second, value="1")) == one
    changed = await scores.change(ours, one.id, ScoreChange(value="0.75"), at(1), None)
    assert await scores.add(one) == changed
    assert await all_of(scores, ours) == [changed]


async def test_concurrent_adds_with_one_id_store_one(scores, ours):
    one = trace_score(ours, trace_ids_of(ours)[0])
    sent = [replace(one, name=f"n{n}") for n in range(AT_ONCE)]
    answered = await asyncio.gather(*map(scores.add, sent))
    assert len(set(answered)) == 1
    assert await all_of(scores, ours) == [answered[0]]


async def test_new_scores_are_added_and_known_ones_named(scores, ours):
    first, second, _ = trace_ids_of(ours)
    known, elsewhere = trace_score(ours, first, value="1"), trace_score(ours, second)
    await asyncio.gather(scores.add(known), scores.add(elsewhere))
    of_missing_span = trace_score(ours, first, span_id=span_id())
    new = [trace_score(ours, first, name=f"n{n}") for n in range(5)]
    sent = [
        *new,
        of_missing_span,
        replace(known, value="0"),
        replace(elsewhere, trace_id=first),
        replace(new[0], name="later"),  # with an id that came before
    ]
    assert await scores.add_new(ours, first, sent) == {known.id: first, elsewhere.id: second}
    assert await all_of(scores, ours) == newest_first([*new, known, elsewhere])
    assert await all_of(scores, ours, of_spans=True) == [of_missing_span]
    assert await scores.add_new(ours, first, new) == {one.id: first for one in new}
    assert await scores.add_new(ours, first, []) == {}


async def test_new_scores_require_trace_of_their_project(plane, scores, ours):
    theirs, (one, gone, _) = project(), trace_ids_of(ours)
    await plane.traces.delete(ours, [gone])
    for of, target in ((ours, gone), (ours, trace_id()), (theirs, one)):
        with pytest.raises(NotFound):
            await scores.add_new(of, target, [trace_score(of, target)])
        assert await scores.add_new(of, target, []) == {}
    mine = await scores.add(trace_score(ours, one))
    await fill(plane, theirs, trace(id=one))
    assert await scores.add_new(theirs, one, [replace(mine, project_id=theirs)]) == {}
    assert await all_of(scores, ours) == [mine]
    assert await all_of(scores, theirs) == [replace(mine, project_id=theirs)]


async def test_concurrent_additions_of_the_same_scores_store_each_once(scores, ours):
    one = trace_ids_of(ours)[0]
    sent = [trace_score(ours, one, name=f"n{n % 3}") for n in range(2 * ADDED_AT_A_TIME // 5)]
    await asyncio.gather(*(scores.add_new(ours, one, sent[:: 1 - 2 * (n % 2)]) for n in range(8)))
    assert await all_of(scores, ours) == newest_first(sent)


async def test_score_requires_trace_of_its_own_project(plane, scores, ours):
    theirs, one = project(), trace_ids_of(ours)[0]
    known = await scores.add(trace_score(ours, one))
    gone = trace_ids_of(ours)[1]
    await plane.traces.delete(ours, [gone])
    for wrong in (
        trace_score(ours, trace_id()),
        trace_score(ours, gone),
        trace_score(theirs, one),
        replace(known, trace_id=trace_id()),
        replace(known, project_id=theirs),
    ):
        with pytest.raises(NotFound):
            await scores.add(wrong)
    assert await all_of(scores, ours) == [known]
    assert await all_of(scores, theirs) == []


async def test_same_id_in_two_projects_is_two_scores(plane, scores, ours):
    theirs, one = project(), trace_ids_of(ours)[0]
    await fill(plane, theirs, trace(id=one))
    mine = await scores.add(trace_score(ours, one))
    other = await scores.add(replace(mine, project_id=theirs, value="0.1"))
    changed = await scores.change(ours, mine.id, ScoreChange(reason="mine"), at(1), None)
    assert await all_of(scores, theirs) == [other]
    assert await scores.delete(ours, mine.id)
    assert await all_of(scores, theirs) == [other]
    assert changed.reason == "mine"


# --- changing and deleting -------------------------------------------------------------------

CHANGES = [
    {},
    {"value": "0.75"},
    {"reason": ""},
    {"metadata": b'{"judge_kind": "model"}'},
    {"value": "1", "reason": "since", "metadata": b'{"a": 1.0}'},
]


@pytest.mark.parametrize("overrides", CHANGES, ids=str)
@pytest.mark.parametrize("outcome", ScoreOutcome)
async def test_change_stores_and_returns_patched_score(scores, ours, outcome, overrides):
    value = "0.5" if outcome is ScoreOutcome.SCORED else None
    known = {"value": value, "outcome": outcome, "source": AUTOMATED, "run_id": RUNS[0]}
    one = await scores.add(trace_score(ours, trace_ids_of(ours)[0], metadata=by("model"), **known))
    change = ScoreChange(**overrides)
    expected = one.patched(change, at(5), ADA)
    assert await scores.change(ours, one.id, change, at(5), ADA) == expected
    assert await all_of(scores, ours) == [expected]
    again = expected.patched(change, at(6), None)
    assert await scores.change(ours, one.id, change, at(6), None) == again
    assert await all_of(scores, ours) == [again]


async def test_filters_match_changed_score_by_new_values(scores, ours):
    known = {"value": None, "outcome": FAILED, "source": AUTOMATED}
    one = await scores.add(trace_score(ours, trace_ids_of(ours)[0], metadata=by("model"), **known))
    await scores.change(ours, one.id, ScoreChange(value="0.5"), at(1), None)
    for gone in ({"status": ScoreStatus.FAILED}, {"outcome": FAILED}, {"source": AUTOMATED}):
        assert await all_of(scores, ours, **gone) == [], gone
    [found] = await all_of(scores, ours, status=ScoreStatus.SUCCESS, source=ScoreSource.ANNOTATION)
    assert json.loads(found.metadata) == {"judge_kind": "model", "original_value": None}


async def test_unknown_score_cannot_be_changed_or_deleted(scores, ours):
    one = await scores.add(trace_score(ours, trace_ids_of(ours)[0]))
    for of, wrong in ((project(), one.id), (ours, uuid.uuid4())):
        with pytest.raises(NotFound):
            await scores.change(of, wrong, ScoreChange(value="1"), at(1), None)
        assert not await scores.delete(of, wrong)
    assert await all_of(scores, ours) == [one]


async def test_rejected_change_changes_nothing(scores, ours):
    one = await scores.add(trace_score(ours, trace_ids_of(ours)[0]))
    with pytest.raises(Invalid) as caught:
        await scores.change(ours, one.id, ScoreChange(value="2", reason="r"), at(1), None)
    assert [error.field for error in caught.value.errors] == ["value"]
    assert await all_of(scores, ours) == [one]


async def test_score_is_deleted_once(scores, ours):
    sent = await store_varied(scores, ours)
    answers = await asyncio.gather(*(scores.delete(ours, sent[0].id) for _ in range(8)))
    assert sorted(answers) == [False] * 7 + [True]
    assert await all_of(scores, ours) == newest_first(sent[1:])


# --- lists -----------------------------------------------------------------------------------

CONDITIONS = {
    "trace_id": 0,
    "name": "m",
    "environment": "",
    "source": ScoreSource.PROGRAMMATIC,
    "status": ScoreStatus.FAILED,
    "outcome": ScoreOutcome.SCORED,
    "data_type": DataType.NUMERIC,
    "run_id": RUNS[0],
    "created_after": at(1),
    "created_before": at(3),
}


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 23, 24, 25, 200])
async def test_pages_are_newest_first_at_every_size(scores, ours, limit):
    sent = await store_varied(scores, ours)
    by_position, by_offset = await read_all_pages(
        lambda window: scores.page(ours, ScoreFilter(), window), limit
    )
    assert by_position == by_offset == newest_first(sent)


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_filters_work_separately_and_combined(scores, ours, number):
    sent = await store_varied(scores, ours)
    matched = 0
    for some in combinations(CONDITIONS, number):
        overrides = {name: CONDITIONS[name] for name in some}
        if "trace_id" in overrides:
            overrides["trace_id"] = trace_ids_of(ours)[0]
        matching = ScoreFilter(**overrides)
        expected = newest_first(one for one in sent if matching.matches(one))
        matched += bool(expected)
        assert number > 1 or 0 < len(expected) < len(sent), overrides
        assert await all_of(scores, ours, **overrides) == expected, overrides
        if number == 1:
            by_position, by_offset = await read_all_pages(
                lambda window, matching=matching: scores.page(ours, matching, window), 2
            )
            assert by_position == by_offset == expected, overrides
    assert matched > 5


@pytest.mark.service
@pytest.mark.parametrize(("counted", "sampled"), [(5, 3), (5, 1), (1, 30), (30, 2)])
async def test_pages_are_whole_where_counting_ends_early(pool, counted, sampled):
    ours = project()
    async with over_postgres(pool) as plane:
        await fill(plane, ours, *(trace(id=one) for one in trace_ids_of(ours)))
    scores = PostgresTraceScores(pool, counted_max=counted, sampled_max=sampled)
    sent = await store_varied(scores, ours)
    for conditions in ({}, *({name: value} for name, value in CONDITIONS.items() if value != 0)):
        matching = ScoreFilter(**conditions)
        expected = [one.id for one in newest_first(sent) if matching.matches(one)]
        for limit in (2, 7):
            await assert_pages_are(
                lambda window, matching=matching: scores.page(ours, matching, window),
                expected, limit, counted,
            )  # fmt: skip


async def test_each_value_is_found_by_its_filter_only(scores, ours):
    sent = await store_varied(scores, ours)
    for name in (
        "name",
        "environment",
        "source",
        "status",
        "outcome",
        "data_type",
        "code",
        "run_id",
    ):
        for value in {getattr(one, name) for one in sent} - {None}:
            expected = [one for one in newest_first(sent) if getattr(one, name) == value]
            assert await all_of(scores, ours, **{name: value}) == expected
    for nowhere in (
        {"name": "N"}, {"name": ""}, {"environment": "PROD"}, {"trace_id": trace_id()},
        {"run_id": uuid.uuid4()}, {"session_id": "s"},
        {"created_after": at(3), "created_before": at(3)},
    ):  # fmt: skip
        assert await all_of(scores, ours, **nowhere) == []
    assert await all_of(scores, project()) == []


async def test_offset_past_end_returns_total_without_scores(scores, ours):
    sent = await store_varied(scores, ours)
    for matching in (ScoreFilter(), ScoreFilter(name="m"), ScoreFilter(source=AUTOMATED)):
        page = await scores.page(ours, matching, PageRequest(offset=OFFSET_MAX))
        expected = sum(map(matching.matches, sent))
        assert (list(page.items), page.total, page.end) == ([], expected, None)


async def test_cursor_continues_despite_adds_and_deletes(scores, ours):
    sent = newest_first(await store_varied(scores, ours))
    page = await scores.page(ours, ScoreFilter(), PageRequest(limit=5))
    await scores.add(trace_score(ours, trace_ids_of(ours)[0], created_at=at(99)))
    await scores.delete(ours, sent[4].id)
    later = await scores.page(ours, ScoreFilter(), PageRequest(limit=3, after=page.end))
    assert (list(later.items), later.total) == (sent[5:8], 24)


async def test_latest_lists_newest_of_each_name_without_pending(scores, ours):
    sent = await store_varied(scores, ours)
    for one in trace_ids_of(ours):
        expected = latest_by_name(score for score in sent if score.trace_id == one)
        assert len(expected) > 1
        assert list(await scores.latest(ours, one)) == expected
        assert list(await scores.latest(project(), one)) == []
    assert list(await scores.latest(ours, trace_id())) == []


async def test_latest_of_traces_are_those_of_each(scores, ours):
    await store_varied(scores, ours)
    [first, second, third] = trace_ids_of(ours)
    asked = [third, first, trace_id()]
    found = await scores.latest_of_traces(ours, asked)
    assert {one: list(some) for one, some in found.items()} == {
        one: [ScoreBrief.from_score(score) for score in await scores.latest(ours, one)]
        for one in (first, third)
    }
    assert await scores.latest_of_traces(project(), [first, second]) == {}


async def test_latest_of_traces_are_bounded(scores, ours):
    [one, *_] = trace_ids_of(ours)
    for n in range(BRIEF_SCORES_MAX + 1):
        await scores.add(trace_score(ours, one, name=f"n{n:02}"))
    found = await scores.latest_of_traces(ours, [one])
    assert [score.name for score in found[one]] == [f"n{n:02}" for n in range(BRIEF_SCORES_MAX)]


async def test_scores_of_run_are_newest_first(scores, ours):
    sent = await store_varied(scores, ours)
    for run in RUNS:
        expected = newest_first(one for one in sent if one.run_id == run)
        assert len(expected) > 1
        assert list(await scores.by_run(ours, run)) == expected
        assert list(await scores.by_run(project(), run)) == []
    assert list(await scores.by_run(ours, uuid.uuid4())) == []


# --- spans -----------------------------------------------------------------------------------


@pytest.fixture
async def spans(plane, ours):
    """The ids of two spans of the first trace."""
    first, *_ = trace_ids_of(ours)
    spans = (span(), span())
    await plane.traces.add_spans(ours, first, spans)
    return tuple(one.id for one in spans)


def of_span(of, span_id, **said):
    """A score of a span of the first trace."""
    return trace_score(of, trace_ids_of(of)[0], span_id=span_id, **said)


async def test_score_of_span_is_stored_once_changed_and_deleted(scores, ours, spans):
    one = of_span(ours, spans[0], environment="prod")
    assert await scores.add(one) == one
    assert await scores.add(replace(one, value="1", span_id=spans[1])) == one
    assert await scores.get(ours, one.id) == one
    change = ScoreChange(value="0.75")
    changed = await scores.change(ours, one.id, change, at(1), ADA)
    assert changed == one.patched(change, at(1), ADA)
    assert await all_of(scores, ours, span_id=spans[0]) == [changed]
    assert await scores.delete(ours, one.id)
    assert await all_of(scores, ours, of_spans=True) == []


async def test_span_has_to_be_of_the_trace_and_the_project(plane, scores, ours, spans):
    theirs, (first, second, _) = project(), trace_ids_of(ours)
    await fill(plane, theirs, trace(id=first))
    known = await scores.add(of_span(ours, spans[0]))
    for wrong in (
        of_span(ours, span_id()),
        trace_score(ours, second, span_id=spans[0]),
        trace_score(theirs, first, span_id=spans[0]),
        replace(known, span_id=span_id()),
    ):
        with pytest.raises(NotFound, match="Span not found"):
            await scores.add(wrong)
    for wrong in (
        trace_score(ours, trace_id(), span_id=spans[0]),
        trace_score(theirs, second, span_id=spans[0]),
    ):
        for checks_span in (True, False):
            with pytest.raises(NotFound, match="Trace not found"):
                await scores.add(wrong, checks_span=checks_span)
    assert await all_of(scores, ours, of_spans=True) == [known]
    assert await all_of(scores, theirs, of_spans=True) == []


async def test_scores_that_are_too_large_together_are_refused(scores, ours, spans):
    one, run = trace_ids_of(ours)[0], RUNS[0]
    reason = "r" * 5_000
    for n in range(4):
        await scores.add(trace_score(ours, one, name=f"n{n}", reason=reason, run_id=run))
        await scores.add(
            of_span(ours, spans[0], name=f"n{n}", metadata=b'{"a":"%b"}' % (b"x" * 5_000))
        )
    for most, is_refused in ((15_000, True), (60_000, False)):
        bounded = replace(scores, bytes_max=most)
        for read in (
            lambda of=bounded: of.latest(ours, one),
            lambda of=bounded: of.latest(ours, one, spans[0]),
            lambda of=bounded: of.by_run(ours, run),
        ):
            if is_refused:
                with pytest.raises(TooLargeToRead, match="ask for pages"):
                    await read()
            else:
                assert len(await read()) == 4
        assert list(await bounded.latest(ours, trace_ids_of(ours)[1])) == []
        assert list(await bounded.by_run(ours, RUNS[1])) == []


async def test_score_may_come_before_its_span(plane, scores, ours):
    later = span()
    one = of_span(ours, later.id)
    for _ in range(2):
        assert await scores.add(one, checks_span=False) == one
    with pytest.raises(NotFound):
        await scores.add(of_span(ours, later.id))
    assert list(await scores.latest(ours, one.trace_id, later.id)) == [one]
    await plane.traces.add_spans(ours, one.trace_id, [later])
    assert await scores.add(one) == one
    assert await all_of(scores, ours, of_spans=True) == [one]


async def test_scores_of_spans_and_of_traces_are_listed_apart(plane, scores, ours, spans):
    of_traces = await store_varied(scores, ours)
    of_spans = [
        replace(one, id=uuid.uuid4(), trace_id=trace_ids_of(ours)[0], span_id=spans[n % 5 % 2],
                run_id=None)
        for n, one in enumerate(of_traces)
    ]  # fmt: skip
    await asyncio.gather(*map(scores.add, of_spans))
    sent = [*of_traces, *of_spans]
    for overrides in (
        {},
        {"name": "m"},
        {"trace_id": trace_ids_of(ours)[0]},
        {"trace_id": trace_ids_of(ours)[0], "name": "M"},
        {"source": AUTOMATED},
        {"environment": "prod", "status": ScoreStatus.SUCCESS},
        {"created_after": at(1), "created_before": at(3)},
    ):
        for part in ({}, {"of_spans": True}, {"span_id": spans[0]}, {"span_id": spans[1]}):
            matching = ScoreFilter(**overrides, **part)
            expected = newest_first(one for one in sent if matching.matches(one))
            assert expected
            assert await all_of(scores, ours, **overrides, **part) == expected
            by_position, by_offset = await read_all_pages(
                lambda window, matching=matching: scores.page(ours, matching, window), 5
            )
            assert by_position == by_offset == expected
    for nothing in (
        {"span_id": span_id()},
        {"span_id": spans[0], "trace_id": trace_ids_of(ours)[1]},
        {"of_spans": True, "run_id": RUNS[0]},
        {"span_id": spans[0], "run_id": RUNS[0]},
    ):
        assert await all_of(scores, ours, **nothing) == []
    sessions = plane.evaluation.session_scores
    await sessions.add(session_score(ours))
    for nothing in ({"of_spans": True}, {"span_id": spans[0]}):
        assert await all_of(sessions, ours, **nothing) == []


async def test_latest_scores_of_trace_leave_out_those_of_its_spans(scores, ours, spans):
    first, second, _ = trace_ids_of(ours)
    mine = await scores.add(trace_score(ours, first))
    older, newer, other = [
        await scores.add(of_span(ours, one, created_at=at(n)))
        for n, one in enumerate((spans[0], spans[0], spans[1]), start=1)
    ]
    named = await scores.add(of_span(ours, spans[0], name="a", created_at=older.created_at))
    await scores.add(of_span(ours, spans[0], name="b", value=None, outcome=PENDING))
    assert list(await scores.latest(ours, first)) == [mine]
    assert list(await scores.latest(ours, first, spans[0])) == [named, newer]
    assert list(await scores.latest(ours, first, spans[1])) == [other]
    for of, trace_, span_ in (
        (ours, second, spans[0]), (project(), first, spans[0]), (ours, first, span_id())
    ):  # fmt: skip
        assert list(await scores.latest(of, trace_, span_)) == []


# --- deleted traces --------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["delete", "delete many", "session"])
async def test_deleting_trace_deletes_only_its_scores(plane, scores, ours, way):
    theirs, (first, second, third) = project(), trace_ids_of(ours)
    await fill(plane, theirs, trace(id=first, session_id="s"))
    other = await scores.add(trace_score(theirs, first))
    sent = await store_varied(scores, ours)
    of_spans = [trace_score(ours, one, span_id=span_id()) for one in (first, third)]
    await asyncio.gather(*(scores.add(one, checks_span=False) for one in of_spans))
    if way == "session":
        await plane.traces.put(ours, trace(id=third, session_id="t"))
        gone = {first, second}
        assert await plane.sessions.delete(ours, "s") == 2
    else:
        gone = {first, second} if way == "delete many" else {first}
        assert await plane.traces.delete(ours, [*gone, trace_id()]) == len(gone)
    left = newest_first(one for one in sent if one.trace_id not in gone)
    assert await all_of(scores, ours) == left
    for one in gone:
        assert list(await scores.latest(ours, one)) == []
    await fill(plane, ours, *(trace(id=one) for one in gone))  # the same ids again are other traces
    assert await all_of(scores, ours) == left
    assert await all_of(scores, ours, of_spans=True) == of_spans[1:]
    assert await all_of(scores, theirs) == [other]


# --- concurrency -----------------------------------------------------------------------------


async def test_concurrent_changes_of_one_score_lose_no_update(scores, ours):
    known = {"source": AUTOMATED, "metadata": by("model"), "run_id": RUNS[0]}
    one = await scores.add(trace_score(ours, trace_ids_of(ours)[0], **known))
    changes = [
        ScoreChange(reason=f"r{n}") if n % 2 else ScoreChange(value=f"0.{n:02}")
        for n in range(AT_ONCE)
    ]
    answers = await asyncio.gather(
        *(scores.change(ours, one.id, change, at(n), None) for n, change in enumerate(changes))
    )
    [found] = await all_of(scores, ours)
    assert found in answers
    assert found.value in {change.value for change in changes} - {None}
    assert found.reason in {change.reason for change in changes} - {None}
    assert json.loads(found.metadata) == {"judge_kind": "model", "original_value": "0.5"}


async def test_concurrent_changes_of_different_fields_are_all_kept(scores, ours):
    sent = [trace_score(ours, trace_ids_of(ours)[0]) for _ in range(AT_ONCE // 2)]
    await asyncio.gather(*map(scores.add, sent))
    changes = [ScoreChange(value="1"), ScoreChange(reason="r"), ScoreChange(metadata=b'{"a":1}')]
    await asyncio.gather(
        *(scores.change(ours, one.id, change, at(1), None) for one in sent for change in changes)
    )
    for one in await all_of(scores, ours):
        assert (one.value, one.reason, one.metadata) == ("1", "r", b'{"a":1}')


@pytest.mark.parametrize("turn", range(ROUNDS))
async def test_scores_added_while_trace_is_deleted_leave_none(plane, scores, ours, turn):
    one = trace_ids_of(ours)[turn % 3]
    sent = [trace_score(ours, one) for _ in range(20)]

    async def outcome(call):
        try:
            return await call
        except Failure as failure:
            return type(failure)

    remove = plane.sessions.delete(ours, "s") if turn % 2 else plane.traces.delete(ours, [one])
    calls = [outcome(scores.add(score)) for score in sent]
    calls.insert(turn * 4, outcome(remove))
    answers = await asyncio.gather(*calls)
    assert answers.pop(turn * 4) in {1, 3}
    assert set(answers) <= {*sent, NotFound}
    assert await all_of(scores, ours) == []


async def test_change_of_score_being_deleted_succeeds_or_is_not_found(plane, scores, ours):
    one = await scores.add(trace_score(ours, trace_ids_of(ours)[0]))
    changes = [ScoreChange(reason=f"{n}") for n in range(9)]
    answers = await asyncio.gather(
        *(scores.change(ours, one.id, change, at(9), None) for change in changes),
        plane.traces.delete(ours, [one.trace_id]),
        return_exceptions=True,
    )
    assert answers.pop() == 1
    assert all(isinstance(each, NotFound) or each.id == one.id for each in answers)
    assert await all_of(scores, ours) == []


# --- values that cannot be stored ------------------------------------------------------------


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800", "\udc00\ud800"], ids=ascii)
@pytest.mark.parametrize("field", ["reason", "name", "value", "environment"])
async def test_text_is_stored_or_rejected_by_field(scores, ours, field, text):
    overrides = {field: text, "data_type": DataType.CATEGORICAL}
    one = trace_score(ours, trace_ids_of(ours)[0], **overrides)
    [answer] = await asyncio.gather(scores.add(one), return_exceptions=True)
    if answer != one:
        assert isinstance(answer, Invalid)
        assert [error.field for error in answer.errors] == [field]
    assert await all_of(scores, ours) == ([one] if answer == one else [])


DEEP = b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}"


@pytest.mark.service
async def test_unstorable_value_is_rejected_by_field_and_changes_nothing(pool):
    ours, scores = project(), PostgresTraceScores(pool)
    async with over_postgres(pool) as plane:
        await fill(plane, ours, *(trace(id=one) for one in trace_ids_of(ours)))
    one = await scores.add(trace_score(ours, trace_ids_of(ours)[0]))
    for field, overrides in (("metadata", {"metadata": DEEP}), ("reason", {"reason": "\x00"})):
        for call in (
            scores.add(trace_score(ours, trace_ids_of(ours)[0], **overrides)),
            scores.change(ours, one.id, ScoreChange(**overrides), at(1), None),
        ):
            with pytest.raises(Invalid) as caught:
                await call
            assert [error.field for error in caught.value.errors] == [field]
    assert await all_of(scores, ours) == [one]
