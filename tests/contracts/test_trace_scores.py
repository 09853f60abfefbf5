"""Contract of TraceScores."""

import uuid
from dataclasses import replace

import pytest

from domain.errors import NotFound
from domain.evaluation.run import TargetType
from domain.evaluation.score import ScoreChange, ScoreOutcome, ScoreSource, SessionScore, TraceScore
from domain.evaluation.score_query import CreatedWithin, ScoreFilter
from domain.page import SortOrder, Window
from domain.tracing.analytics import Granularity
from tests.builders import NOON, at, trace
from tests.contracts.data_plane import fill, project


def new(of, target, **said):
    known = {
        "id": uuid.uuid4(),
        "project_id": of,
        "name": "n",
        "outcome": ScoreOutcome.SCORED,
        "value": "0.5",
        "source": ScoreSource.ANNOTATION,
        "created_at": NOON,
        "updated_at": NOON,
    }
    kind = {"session_id": target} if isinstance(target, str) else {"trace_id": target}
    return (SessionScore if isinstance(target, str) else TraceScore)(**known | kind | said)


async def test_what_is_added_is_read(plane):
    ours, one = project(), trace(session_id="s")
    await fill(plane, ours, one)
    scores, of = plane.evaluation.trace_scores, plane.evaluation.score_analytics
    score = new(ours, one.id, created_at=at(1))
    assert await scores.add(score) == score
    assert await scores.add(replace(score, name="other")) == score
    assert await scores.add(b := new(ours, one.id, value="1.0")) == b
    page = await scores.page(ours, ScoreFilter(trace_id=one.id), Window(limit=1))
    assert (list(page.items), page.total) == ([score], 2)
    page = await scores.page(ours, ScoreFilter(), Window(limit=1, after=page.end))
    assert (list(page.items), page.total, page.end) == ([b], 2, None)
    assert await scores.latest(ours, one.id) == [score]
    changed = await scores.change(ours, score.id, ScoreChange(value="0.75"), at(2), None)
    assert changed.value == "0.75"
    with pytest.raises(NotFound):
        await scores.add(new(ours, uuid.uuid4()))
    for kind in TargetType:
        print(await of.summaries(ours, kind, CreatedWithin()))
        print(await of.trend(ours, kind, "n", Granularity.DAY, CreatedWithin(NOON, at(9))))
        print(await of.distribution(ours, kind, "n", 10, CreatedWithin(NOON)))
    sessions = plane.evaluation.session_scores
    a, b = new(ours, "s"), new(ours, "s", value="0.25", created_at=at(5))
    assert await sessions.add(a) == a
    assert await sessions.add(b) == b
    assert await sessions.of_session(ours, "s") == [b, a]
    with pytest.raises(NotFound):
        await sessions.add(new(ours, "t"))
    assert [one.number for one in await of.history(ours, "s", None, 5)] == [0.5, 0.25]
    page = await of.comparison(ours, "n", SortOrder.ASC, Window())
    assert (page.total, page.items[0].number) == (1, 0.25)
    assert await scores.delete(ours, score.id)
    assert not await scores.delete(ours, score.id)
