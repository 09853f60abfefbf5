"""Contract of TraceScores, run against every adapter."""

import asyncio
import json
import random
import uuid
from dataclasses import replace
from itertools import combinations

import pytest

from adapters.postgres.evaluation.scores.scores import PostgresTraceScores
from domain.errors import Failure, Invalid, NotFound
from domain.evaluation.scores.query import ScoreFilter
from domain.evaluation.scores.score import (
    DataType,
    ScoreChange,
    ScoreOutcome,
    ScoreSource,
    ScoreStatus,
    latest_by_name,
    newest_first,
)
from domain.page import OFFSET_MAX, PageRequest
from tests.support.builders.scores import (
    ADA,
    AUTOMATED,
    FAILED,
    PENDING,
    RUNS,
    SKIPPED,
    by,
    trace_score,
    varied,
)
from tests.support.builders.values import at, trace, trace_id
from tests.support.fixtures.data_plane import ALL, fill, over_postgres, project, walked

AT_ONCE = 50
ROUNDS = 5


@pytest.fixture
def scores(plane):
    return plane.evaluation.trace_scores


@pytest.fixture
async def ours(plane):
    """A project with three traces of one session."""
    ours = project()
    await fill(plane, ours, *(trace(id=one, session_id="s") for one in three(ours)))
    return ours


def three(of):
    return tuple(uuid.uuid5(of, f"{n}") for n in range(3))


async def all_of(scores, of, **conditions):
    """All that the conditions admit; at most LIMIT_MAX."""
    page = await scores.page(of, ScoreFilter(**conditions), ALL)
    assert (page.total, page.end) == (len(page.items), None)
    return list(page.items)


async def stored(scores, of):
    """Scores that differ in every way, sent at once."""
    sent = varied(of, three(of))
    assert await asyncio.gather(*map(scores.add, sent)) == sent
    return sent


# --- one -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
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
async def test_what_is_added_comes_back_as_it_was(scores, ours, said):
    one = trace_score(ours, three(ours)[0], **said)
    assert await scores.add(one) == one
    assert await all_of(scores, ours) == [one]


async def test_whoever_is_named_as_judge_may_have_a_long_name(scores, ours):
    name = random.randbytes(9_999).hex()  # which no index makes small
    one = trace_score(ours, three(ours)[0], metadata=by(name), source=AUTOMATED)
    assert await scores.add(one) == one
    assert await all_of(scores, ours, name="m") == [one]


async def test_an_id_that_is_taken_is_answered_with_what_has_it(scores, ours):
    first, second, _ = three(ours)
    one = trace_score(ours, first)
    assert await scores.add(one) == one
    assert await scores.add(replace(one, name="other", trace_id=second, value="1")) == one
    changed = await scores.change(ours, one.id, ScoreChange(value="0.75"), at(1), None)
    assert await scores.add(one) == changed
    assert await all_of(scores, ours) == [changed]


async def test_of_many_at_once_with_one_id_one_is_stored(scores, ours):
    one = trace_score(ours, three(ours)[0])
    sent = [replace(one, name=f"n{n}") for n in range(AT_ONCE)]
    answered = await asyncio.gather(*map(scores.add, sent))
    assert len(set(answered)) == 1
    assert await all_of(scores, ours) == [answered[0]]


async def test_a_score_needs_a_trace_of_its_own_project(plane, scores, ours):
    theirs, one = project(), three(ours)[0]
    known = await scores.add(trace_score(ours, one))
    gone = three(ours)[1]
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


async def test_one_id_in_two_projects_is_two_scores(plane, scores, ours):
    theirs, one = project(), three(ours)[0]
    await fill(plane, theirs, trace(id=one))
    mine = await scores.add(trace_score(ours, one))
    other = await scores.add(replace(mine, project_id=theirs, value="0.1"))
    changed = await scores.change(ours, mine.id, ScoreChange(reason="mine"), at(1), None)
    assert await all_of(scores, theirs) == [other]
    assert await scores.delete(ours, mine.id)
    assert await all_of(scores, theirs) == [other]
    assert changed.reason == "mine"


# --- changing and removing -------------------------------------------------------------------

CHANGES = [
    {},
    {"value": "0.75"},
    {"reason": ""},
    {"metadata": b'{"judge_kind": "model"}'},
    {"value": "1", "reason": "since", "metadata": b'{"a": 1.0}'},
]


@pytest.mark.parametrize("said", CHANGES, ids=str)
@pytest.mark.parametrize("outcome", ScoreOutcome)
async def test_a_change_gives_and_stores_the_score_after_it(scores, ours, outcome, said):
    value = "0.5" if outcome is ScoreOutcome.SCORED else None
    known = {"value": value, "outcome": outcome, "source": AUTOMATED, "run_id": RUNS[0]}
    one = await scores.add(trace_score(ours, three(ours)[0], metadata=by("model"), **known))
    change = ScoreChange(**said)
    expected = one.patched(change, at(5), ADA)
    assert await scores.change(ours, one.id, change, at(5), ADA) == expected
    assert await all_of(scores, ours) == [expected]
    again = expected.patched(change, at(6), None)
    assert await scores.change(ours, one.id, change, at(6), None) == again
    assert await all_of(scores, ours) == [again]


async def test_a_list_finds_what_was_changed_and_no_longer_what_was_before(scores, ours):
    known = {"value": None, "outcome": FAILED, "source": AUTOMATED}
    one = await scores.add(trace_score(ours, three(ours)[0], metadata=by("model"), **known))
    await scores.change(ours, one.id, ScoreChange(value="0.5"), at(1), None)
    for gone in ({"status": ScoreStatus.FAILED}, {"outcome": FAILED}, {"source": AUTOMATED}):
        assert await all_of(scores, ours, **gone) == [], gone
    [found] = await all_of(scores, ours, status=ScoreStatus.SUCCESS, source=ScoreSource.ANNOTATION)
    assert json.loads(found.metadata) == {"judge_kind": "model", "original_value": None}


async def test_there_is_nothing_to_change_for_nobody_and_in_another_project(scores, ours):
    one = await scores.add(trace_score(ours, three(ours)[0]))
    for of, wrong in ((project(), one.id), (ours, uuid.uuid4())):
        with pytest.raises(NotFound):
            await scores.change(of, wrong, ScoreChange(value="1"), at(1), None)
        assert not await scores.delete(of, wrong)
    assert await all_of(scores, ours) == [one]


async def test_a_change_that_is_refused_changes_nothing(scores, ours):
    one = await scores.add(trace_score(ours, three(ours)[0]))
    with pytest.raises(Invalid) as caught:
        await scores.change(ours, one.id, ScoreChange(value="2", reason="r"), at(1), None)
    assert [error.field for error in caught.value.errors] == ["value"]
    assert await all_of(scores, ours) == [one]


async def test_a_score_is_removed_once(scores, ours):
    sent = await stored(scores, ours)
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
async def test_a_list_goes_from_the_newest_to_the_oldest_at_every_page_size(scores, ours, limit):
    sent = await stored(scores, ours)
    by_position, by_offset = await walked(
        lambda window: scores.page(ours, ScoreFilter(), window), limit
    )
    assert by_position == by_offset == newest_first(sent)


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_each_filter_narrows_and_all_of_them_together(scores, ours, number):
    sent = await stored(scores, ours)
    matched = 0
    for some in combinations(CONDITIONS, number):
        said = {name: CONDITIONS[name] for name in some}
        if "trace_id" in said:
            said["trace_id"] = three(ours)[0]
        matching = ScoreFilter(**said)
        expected = newest_first(one for one in sent if matching.matches(one))
        matched += bool(expected)
        assert number > 1 or 0 < len(expected) < len(sent), said
        assert await all_of(scores, ours, **said) == expected, said
        if number == 1:
            by_position, by_offset = await walked(
                lambda window, matching=matching: scores.page(ours, matching, window), 2
            )
            assert by_position == by_offset == expected, said
    assert matched > 5


async def test_every_value_is_found_by_its_filter_and_others_by_none(scores, ours):
    sent = await stored(scores, ours)
    for name in ("name", "environment", "source", "status", "outcome", "data_type", "run_id"):
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


async def test_an_offset_beyond_the_end_gives_no_scores_and_the_total(scores, ours):
    sent = await stored(scores, ours)
    for matching in (ScoreFilter(), ScoreFilter(name="m"), ScoreFilter(source=AUTOMATED)):
        page = await scores.page(ours, matching, PageRequest(offset=OFFSET_MAX))
        expected = sum(map(matching.matches, sent))
        assert (list(page.items), page.total, page.end) == ([], expected, None)


async def test_a_cursor_goes_on_where_it_stood_whatever_was_added_and_removed(scores, ours):
    sent = newest_first(await stored(scores, ours))
    page = await scores.page(ours, ScoreFilter(), PageRequest(limit=5))
    await scores.add(trace_score(ours, three(ours)[0], created_at=at(99)))
    await scores.delete(ours, sent[4].id)
    later = await scores.page(ours, ScoreFilter(), PageRequest(limit=3, after=page.end))
    assert (list(later.items), later.total) == (sent[5:8], 24)


async def test_the_latest_of_each_name_is_told_and_what_waits_is_not(scores, ours):
    sent = await stored(scores, ours)
    for one in three(ours):
        expected = latest_by_name(score for score in sent if score.trace_id == one)
        assert len(expected) > 1
        assert list(await scores.latest(ours, one)) == expected
        assert list(await scores.latest(project(), one)) == []
    assert list(await scores.latest(ours, trace_id())) == []


async def test_a_runs_scores_are_told_whole_newest_first(scores, ours):
    sent = await stored(scores, ours)
    for run in RUNS:
        expected = newest_first(one for one in sent if one.run_id == run)
        assert len(expected) > 1
        assert list(await scores.of_run(ours, run)) == expected
        assert list(await scores.of_run(project(), run)) == []
    assert list(await scores.of_run(ours, uuid.uuid4())) == []


# --- traces that go --------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["delete", "delete many", "session"])
async def test_a_traces_scores_go_with_it_and_no_others(plane, scores, ours, way):
    theirs, (first, second, third) = project(), three(ours)
    await fill(plane, theirs, trace(id=first, session_id="s"))
    other = await scores.add(trace_score(theirs, first))
    sent = await stored(scores, ours)
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
    await fill(plane, ours, *(trace(id=one) for one in gone))  # the same ids again are others
    assert await all_of(scores, ours) == left
    assert await all_of(scores, theirs) == [other]


# --- at once ---------------------------------------------------------------------------------


async def test_fifty_changes_of_one_score_lose_nothing(scores, ours):
    known = {"source": AUTOMATED, "metadata": by("model"), "run_id": RUNS[0]}
    one = await scores.add(trace_score(ours, three(ours)[0], **known))
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


async def test_of_two_changes_at_once_both_stay(scores, ours):
    sent = [trace_score(ours, three(ours)[0]) for _ in range(AT_ONCE // 2)]
    await asyncio.gather(*map(scores.add, sent))
    said = [ScoreChange(value="1"), ScoreChange(reason="r"), ScoreChange(metadata=b'{"a":1}')]
    await asyncio.gather(
        *(scores.change(ours, one.id, change, at(1), None) for one in sent for change in said)
    )
    for one in await all_of(scores, ours):
        assert (one.value, one.reason, one.metadata) == ("1", "r", b'{"a":1}')


@pytest.mark.parametrize("turn", range(ROUNDS))
async def test_a_trace_that_goes_while_scores_come_leaves_none_behind(plane, scores, ours, turn):
    one = three(ours)[turn % 3]
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


async def test_changes_of_what_is_being_removed_end_as_one_or_the_other(plane, scores, ours):
    one = await scores.add(trace_score(ours, three(ours)[0]))
    changes = [ScoreChange(reason=f"{n}") for n in range(9)]
    answers = await asyncio.gather(
        *(scores.change(ours, one.id, change, at(9), None) for change in changes),
        plane.traces.delete(ours, [one.trace_id]),
        return_exceptions=True,
    )
    assert answers.pop() == 1
    assert all(isinstance(each, NotFound) or each.id == one.id for each in answers)
    assert await all_of(scores, ours) == []


# --- what can't be stored --------------------------------------------------------------------


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800", "\udc00\ud800"], ids=ascii)
@pytest.mark.parametrize("field", ["reason", "name", "value", "environment"])
async def test_text_comes_back_as_it_was_or_is_refused_by_its_name(scores, ours, field, text):
    said = {field: text, "data_type": DataType.CATEGORICAL}
    one = trace_score(ours, three(ours)[0], **said)
    [answer] = await asyncio.gather(scores.add(one), return_exceptions=True)
    if answer != one:
        assert isinstance(answer, Invalid)
        assert [error.field for error in answer.errors] == [field]
    assert await all_of(scores, ours) == ([one] if answer == one else [])


DEEP = b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}"


@pytest.mark.service
async def test_what_postgres_cant_hold_is_refused_by_its_name_and_changes_nothing(pool):
    ours, scores = project(), PostgresTraceScores(pool)
    async with over_postgres(pool) as plane:
        await fill(plane, ours, *(trace(id=one) for one in three(ours)))
    one = await scores.add(trace_score(ours, three(ours)[0]))
    for field, said in (("metadata", {"metadata": DEEP}), ("reason", {"reason": "\x00"})):
        for call in (
            scores.add(trace_score(ours, three(ours)[0], **said)),
            scores.change(ours, one.id, ScoreChange(**said), at(1), None),
        ):
            with pytest.raises(Invalid) as caught:
                await call
            assert [error.field for error in caught.value.errors] == [field]
    assert await all_of(scores, ours) == [one]
