"""Contract of SessionScores, run against every adapter."""

import asyncio
import uuid
from dataclasses import replace
from itertools import combinations

import pytest

from adapters.postgres.evaluation.scores.scores import PostgresSessionScores
from domain.errors import Failure, Invalid, NotFound
from domain.evaluation.scores.score import (
    BRIEF_SCORES_MAX,
    DataType,
    ScoreBrief,
    ScoreFilter,
    ScoreOutcome,
    ScoreSource,
    ScoreStatus,
    latest_by_name,
    newest_first,
)
from domain.page import OFFSET_MAX, PageRequest
from domain.tracing.payloads.read_limit import TooLargeToRead
from domain.tracing.trace import TraceChange
from tests.support.builders.scores import (
    ADA,
    AUTOMATED,
    FAILED,
    PENDING,
    RUNS,
    SKIPPED,
    session_score,
    varied_of_sessions,
)
from tests.support.builders.values import at, trace, trace_id
from tests.support.fixtures.data_plane import ALL, fill, over_postgres, project, read_all_pages

SESSIONS = ("s", "S", "")
AT_ONCE = 50
ROUNDS = 6


@pytest.fixture
def scores(plane):
    return plane.evaluation.session_scores


@pytest.fixture
async def ours(plane):
    """A project with three sessions of two traces each."""
    ours = project()
    await fill(plane, ours, *(trace(session_id=one) for one in SESSIONS * 2))
    return ours


async def all_of(scores, of, **conditions):
    """Returns all matching scores; at most LIMIT_MAX."""
    page = await scores.page(of, ScoreFilter(**conditions), ALL)
    assert (page.total, page.end) == (len(page.items), None)
    return list(page.items)


async def store_varied(scores, of):
    """Stores scores that differ in every field, concurrently."""
    sent = varied_of_sessions(of)
    assert await asyncio.gather(*map(scores.add, sent)) == sent
    return sent


# --- single scores ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"value": ".5", "source": ScoreSource.PROGRAMMATIC, "session_id": ""},
        {"value": "TRUE", "data_type": DataType.BOOLEAN, "author_id": ADA, "reason": ""},
        {"value": "", "data_type": DataType.CATEGORICAL, "run_id": RUNS[0]},
        {"value": None, "outcome": FAILED, "reason": "why 🐼"},
        {"value": None, "outcome": SKIPPED, "metadata": b'{"code": "low_coverage"}'},
        {"value": None, "outcome": PENDING, "source": AUTOMATED, "updated_at": at(9)},
        {"metadata": b'{"a":1.0, "a":[12345678901234567890], "\\u0000":"\\ud800"}'},
    ],
    ids=str,
)
async def test_add_returns_and_stores_score_as_given(scores, ours, overrides):
    one = session_score(ours, overrides.pop("session_id", "s"), **overrides)
    assert await scores.add(one) == one
    assert await all_of(scores, ours) == [one]


async def test_add_with_existing_id_returns_stored_score(scores, ours):
    one = session_score(ours)
    sent = [one, *(replace(one, name=f"n{n}", session_id="S") for n in range(AT_ONCE))]
    answered = await asyncio.gather(*map(scores.add, sent))
    assert len(set(answered)) == 1
    assert await all_of(scores, ours) == [answered[0]]


async def test_new_scores_are_added_and_known_ones_named(scores, ours):
    known, elsewhere = session_score(ours, value="1"), session_score(ours, "S")
    await asyncio.gather(scores.add(known), scores.add(elsewhere))
    new = [session_score(ours, name=f"n{n}") for n in range(5)]
    sent = [*new, replace(known, value="0"), replace(elsewhere, session_id="s")]
    assert await scores.add_new(ours, "s", sent) == {known.id: "s", elsewhere.id: "S"}
    assert await all_of(scores, ours) == newest_first([*new, known, elsewhere])
    assert await scores.add_new(ours, "s", new) == {one.id: "s" for one in new}


async def test_new_scores_require_session_of_their_project(scores, ours):
    theirs = project()
    for of, session in ((ours, "none"), (theirs, "s")):
        with pytest.raises(NotFound):
            await scores.add_new(of, session, [session_score(of, session)])
        assert await scores.add_new(of, session, []) == {}
    assert await all_of(scores, ours) == []
    assert await all_of(scores, theirs) == []


async def test_scores_that_are_too_large_together_are_refused(scores, ours):
    sent = [session_score(ours, name=f"n{n}", reason="r" * 5_000) for n in range(4)]
    await asyncio.gather(*map(scores.add, sent))
    bounded = replace(scores, bytes_max=15_000)
    with pytest.raises(TooLargeToRead, match="ask for pages"):
        await bounded.by_session(ours, "s")
    assert list(await bounded.by_session(ours, "S")) == []
    assert list(await replace(scores, bytes_max=30_000).by_session(ours, "s")) == newest_first(sent)


async def test_score_requires_session_of_its_own_project(plane, scores, ours):
    theirs, last = project(), trace_id()
    await fill(plane, ours, trace(id=last, session_id="brief"))
    await scores.add(known := session_score(ours, "brief"))
    await plane.traces.change(ours, last, TraceChange(session_id="other"))
    for wrong in (
        session_score(ours, "none"),
        session_score(ours, "brief"),
        session_score(theirs),
        replace(known, session_id="none"),
        replace(known, project_id=theirs),
    ):
        with pytest.raises(NotFound):
            await scores.add(wrong)
    assert await all_of(scores, ours) == [known]
    assert await all_of(scores, theirs) == []


async def test_score_is_deleted_once_and_only_in_its_project(scores, ours):
    sent = await store_varied(scores, ours)
    assert not await scores.delete(project(), sent[0].id)
    assert not await scores.delete(ours, uuid.uuid4())
    answers = await asyncio.gather(*(scores.delete(ours, sent[0].id) for _ in range(8)))
    assert sorted(answers) == [False] * 7 + [True]
    assert await all_of(scores, ours) == newest_first(sent[1:])


# --- lists -----------------------------------------------------------------------------------

CONDITIONS = {
    "session_id": "",
    "name": "m",
    "source": ScoreSource.PROGRAMMATIC,
    "status": ScoreStatus.FAILED,
    "outcome": ScoreOutcome.SCORED,
    "data_type": DataType.NUMERIC,
    "run_id": RUNS[0],
    "created_after": at(1),
    "created_before": at(3),
}


@pytest.mark.parametrize("limit", [1, 2, 5, 23, 24, 25, 200])
async def test_pages_are_newest_first_at_every_size(scores, ours, limit):
    sent = await store_varied(scores, ours)
    by_position, by_offset = await read_all_pages(
        lambda window: scores.page(ours, ScoreFilter(), window), limit
    )
    assert by_position == by_offset == newest_first(sent)
    beyond = await scores.page(ours, ScoreFilter(), PageRequest(offset=OFFSET_MAX))
    assert (list(beyond.items), beyond.total, beyond.end) == ([], 24, None)


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_filters_work_separately_and_combined(scores, ours, number):
    sent = await store_varied(scores, ours)
    matched = 0
    for some in combinations(CONDITIONS, number):
        matching = ScoreFilter(**{name: CONDITIONS[name] for name in some})
        expected = newest_first(one for one in sent if matching.matches(one))
        matched += bool(expected)
        assert number > 1 or 0 < len(expected) < len(sent), some
        by_position, by_offset = await read_all_pages(
            lambda window, matching=matching: scores.page(ours, matching, window), 4
        )
        assert by_position == by_offset == expected, some
    assert matched > 5
    for nowhere in ({"trace_id": trace_id()}, {"environment": "prod"}, {"session_id": "none"}):
        assert await all_of(scores, ours, **nowhere) == []
    assert await all_of(scores, project()) == []


async def test_scores_of_session_and_run_are_newest_first(scores, ours):
    sent = await store_varied(scores, ours)
    for session in SESSIONS:
        expected = newest_first(one for one in sent if one.session_id == session)
        assert list(await scores.by_session(ours, session)) == expected
        assert list(await scores.by_session(project(), session)) == []
    for run in RUNS:
        expected = newest_first(one for one in sent if one.run_id == run)
        assert list(await scores.by_run(ours, run)) == expected
        assert list(await scores.by_run(project(), run)) == []
    assert list(await scores.by_session(ours, "none")) == []
    assert list(await scores.by_run(ours, uuid.uuid4())) == []


# --- deleted sessions ------------------------------------------------------------------------


async def test_deleting_session_deletes_only_its_scores(plane, scores, ours):
    theirs = project()
    await fill(plane, theirs, trace(session_id="s"))
    other = await scores.add(session_score(theirs))
    sent = await store_varied(scores, ours)
    assert await plane.sessions.delete(ours, "s") == 2
    left = newest_first(one for one in sent if one.session_id != "s")
    assert await all_of(scores, ours) == left
    await fill(plane, ours, trace(session_id="s"))  # the same id again is another session
    assert list(await scores.by_session(ours, "s")) == []
    assert await all_of(scores, theirs) == [other]


async def test_scores_stay_until_session_is_deleted(plane, scores, ours):
    ids = [trace_id(), trace_id()]
    await fill(plane, ours, *(trace(id=one, session_id="new") for one in ids))
    one = await scores.add(session_score(ours, "new"))
    assert await plane.traces.delete(ours, ids[:1]) == 1
    await plane.traces.change(ours, ids[1], TraceChange(session_id=None))
    assert await all_of(scores, ours) == [one]
    assert await plane.sessions.delete(ours, "new") == 0
    assert await all_of(scores, ours) == []


@pytest.mark.parametrize("turn", range(ROUNDS))
async def test_scores_added_while_session_is_deleted_leave_none(plane, scores, ours, turn):
    sent = [session_score(ours) for _ in range(20)]

    async def outcome(call):
        try:
            return await call
        except Failure as failure:
            return type(failure)

    calls = [outcome(scores.add(score)) for score in sent]
    calls.insert(turn * 4, outcome(plane.sessions.delete(ours, "s")))
    answers = await asyncio.gather(*calls)
    assert answers.pop(turn * 4) == 2
    assert set(answers) <= {*sent, NotFound}
    assert await all_of(scores, ours) == []


async def test_session_accepts_scores_while_some_traces_are_deleted(plane, scores, ours):
    ids = [trace_id() for _ in range(4)]
    await fill(plane, ours, *(trace(id=one, session_id="long") for one in ids))
    sent = [session_score(ours, "long") for _ in range(20)]
    answers = await asyncio.gather(
        *map(scores.add, sent), *(plane.traces.delete(ours, [one]) for one in ids[1:])
    )
    assert answers == [*sent, 1, 1, 1]
    assert await all_of(scores, ours) == newest_first(sent)


# --- values that cannot be stored ------------------------------------------------------------


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800"], ids=ascii)
@pytest.mark.parametrize("field", ["reason", "name", "value"])
async def test_text_is_stored_or_rejected_by_field(scores, ours, field, text):
    one = session_score(ours, **{field: text}, data_type=DataType.CATEGORICAL)
    [answer] = await asyncio.gather(scores.add(one), return_exceptions=True)
    if answer != one:
        assert isinstance(answer, Invalid)
        assert [error.field for error in answer.errors] == [field]
    assert await all_of(scores, ours) == ([one] if answer == one else [])


@pytest.mark.service
async def test_too_deep_metadata_is_rejected_by_field(pool):
    ours, scores = project(), PostgresSessionScores(pool)
    async with over_postgres(pool) as plane:
        await fill(plane, ours, trace(session_id="s"))
    deep = b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    with pytest.raises(Invalid) as caught:
        await scores.add(session_score(ours, metadata=deep))
    assert [error.field for error in caught.value.errors] == ["metadata"]
    assert await all_of(scores, ours) == []


async def test_latest_of_sessions_are_those_of_each(scores, ours):
    sent = await store_varied(scores, ours)
    found = await scores.latest_of_sessions(ours, [*SESSIONS, "none"])
    expected = {one: latest_by_name(s for s in sent if s.session_id == one) for one in SESSIONS}
    assert {one: list(some) for one, some in found.items()} == {
        one: [ScoreBrief.from_score(score) for score in some[:BRIEF_SCORES_MAX]]
        for one, some in expected.items()
        if some
    }
    assert found
    assert await scores.latest_of_sessions(project(), SESSIONS) == {}


async def test_latest_of_sessions_are_bounded(scores, ours):
    for n in range(BRIEF_SCORES_MAX + 1):
        await scores.add(session_score(ours, "s", name=f"n{n:02}"))
    found = await scores.latest_of_sessions(ours, ["s"])
    assert [score.name for score in found["s"]] == [f"n{n:02}" for n in range(BRIEF_SCORES_MAX)]
