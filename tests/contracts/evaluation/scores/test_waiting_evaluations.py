"""Contract of WaitingEvaluations, run against every adapter."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from application.evaluation.ports import sent_evaluations
from application.evaluation.ports.sent_evaluations import (
    DUE_MAX,
    WAITING_MAX,
    WaitingEvaluation,
    WaitingEvaluations,
)
from domain.errors import Unavailable
from domain.ids import ProjectId, TraceId
from domain.tracing.otel.evaluations import ReceivedEvaluation, SentEvaluation
from domain.tracing.otel.fragments import otel_span_id
from tests.support.builders.otel import fragments, sent_span
from tests.support.builders.values import trace
from tests.support.fixtures.data_plane import DataPlane, project

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


@pytest.fixture
def waiting(plane: DataPlane) -> WaitingEvaluations:
    return plane.evaluation.waiting_evaluations


def of_trace(id_: uuid.UUID, **said: object) -> ReceivedEvaluation:
    given = {"name": "faithful", "time_ns": 1, "value": "0.5", "is_numeric": True}
    return ReceivedEvaluation(TraceId(id_), SentEvaluation(**given | said))


def of_response(response: str, **said: object) -> ReceivedEvaluation:
    return replace(of_trace(uuid.uuid4(), response_id=response, **said), trace=None)


async def due(waiting: WaitingEvaluations, project_id: ProjectId) -> list[ReceivedEvaluation]:
    """Those of one project: other tests have theirs in the same database."""
    return [one.received for one in await waiting.list_due() if one.project == project_id]


async def test_evaluation_is_due_once_its_trace_is_stored(plane, waiting):
    ours, theirs, one = project(), project(), trace()
    sent = of_trace(one.id, span_id="0" * 15 + "1", reason="no \0 text", metadata={"label": "good"})
    assert await waiting.add(ours, [sent, of_trace(uuid.uuid4())], NOW) == 0
    await plane.traces.put(theirs, one)
    assert await due(waiting, ours) == []
    await plane.traces.put(ours, one)
    [found] = await due(waiting, ours)
    assert (found.trace, found.evaluation.metadata) == (one.id, {"label": "good"})
    assert found.evaluation.span_id == sent.evaluation.span_id


async def test_those_of_some_projects_can_be_left_out(plane, waiting):
    ours, theirs, one, response = project(), project(), trace(), f"resp-{uuid.uuid4()}"
    called = TraceId(uuid.uuid4())
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.response.id": response}
    for project_id in (ours, theirs):
        await plane.traces.put(project_id, one)
        await plane.otlp.put(project_id, called, fragments(called, sent_span(attributes)))
        await waiting.add(project_id, [of_trace(one.id), of_response(response)], NOW)
    found = [each.project for each in await waiting.list_due([theirs, project()])]
    assert (found.count(ours), found.count(theirs)) == (2, 0)


async def test_evaluation_of_response_is_due_with_the_span_that_has_it(plane, waiting):
    ours, response = project(), f"resp-{uuid.uuid4()}"
    await waiting.add(ours, [of_response(response), of_response("another")], NOW)
    assert await due(waiting, ours) == []
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.response.id": response}
    id_ = TraceId(uuid.uuid4())
    await plane.otlp.put(ours, id_, fragments(id_, sent_span(attributes)))
    [found] = await due(waiting, ours)
    assert found.trace == id_
    span = otel_span_id(id_, found.evaluation.span_id)
    assert [one.id for one in (await plane.traces.get(ours, id_)).spans] == [span]


async def test_counted_span_is_preferred_among_those_with_a_response(plane, waiting):
    ours, response, id_ = project(), f"resp-{uuid.uuid4()}", TraceId(uuid.uuid4())
    call = {"gen_ai.operation.name": "chat", "gen_ai.response.id": response}
    counted = call | {"gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 4}
    sent = [
        sent_span(call, span_id="0" * 15 + "1"),
        sent_span(counted, span_id="0" * 15 + "2"),
    ]
    await plane.otlp.put(ours, id_, fragments(id_, *sent))
    await waiting.add(ours, [of_response(response)], NOW)
    [found] = await due(waiting, ours)
    assert found.evaluation.span_id == "0" * 15 + "2"


async def test_repetition_adds_nothing(plane, waiting):
    ours, one = project(), trace()
    await plane.traces.put(ours, one)
    for _ in range(2):
        assert await waiting.add(ours, [of_trace(one.id), of_trace(one.id)], NOW) == 0
    assert len(await due(waiting, ours)) == 1


async def test_oldest_are_due_first_and_deleted_ones_are_gone(plane, waiting):
    ours, one = project(), trace()
    await plane.traces.put(ours, one)
    for n in (2, 0, 1):
        sent = of_trace(one.id, name=f"n{n}")
        await waiting.add(ours, [sent], NOW + timedelta(seconds=n))
    found = [each for each in await waiting.list_due() if each.project == ours]
    assert [each.received.evaluation.name for each in found] == ["n0", "n1", "n2"]
    await waiting.delete(found[:2])
    assert [one.evaluation.name for one in await due(waiting, ours)] == ["n2"]
    await waiting.delete(found)
    assert await due(waiting, ours) == []


async def test_expired_are_deleted_and_returned(waiting):
    ours = project()
    old, new = of_trace(uuid.uuid4(), name="old"), of_response("r", name="new")
    await waiting.add(ours, [old], NOW - timedelta(microseconds=1))
    await waiting.add(ours, [new], NOW)
    gone: list[WaitingEvaluation] = []
    while some := await waiting.delete_expired(NOW):
        assert len(some) <= DUE_MAX
        gone += some
    assert [one.received.evaluation.name for one in gone if one.project == ours] == ["old"]
    while some := await waiting.delete_expired(LATER):
        gone += some
    assert [one.received for one in gone if one.project == ours][1] == new


async def test_due_ones_do_not_expire(plane, waiting):
    ours, theirs, id_ = project(), project(), TraceId(uuid.uuid4())
    sent = [of_trace(id_), of_response(f"resp-{uuid.uuid4()}")]
    call = {"gen_ai.operation.name": "chat", "gen_ai.response.id": sent[1].evaluation.response_id}
    for project_id in (ours, theirs):
        await waiting.add(project_id, sent, NOW)
    await plane.otlp.put(ours, id_, fragments(id_, sent_span(call)))
    gone: list[WaitingEvaluation] = []
    while some := await waiting.delete_expired(LATER):
        gone += some
    expired = [one.received for one in gone if one.project in {ours, theirs}]
    assert sorted(map(str, expired)) == sorted(map(str, sent))  # all of theirs
    assert len(await due(waiting, ours)) == len(sent)


async def test_those_of_a_deleted_trace_are_deleted(plane, waiting):
    ours, one, other = project(), trace(), trace()
    for each in (one, other):
        await plane.traces.put(ours, each)
        await waiting.add(ours, [of_trace(each.id)], NOW)
    await plane.traces.delete(ours, [one.id])
    await plane.traces.put(ours, one)
    assert [found.trace for found in await due(waiting, ours)] == [other.id]


async def test_those_of_a_response_are_deleted_with_the_trace_that_has_it(plane, waiting):
    ours, theirs, kept = project(), project(), f"resp-{uuid.uuid4()}"
    gone, response = TraceId(uuid.uuid4()), f"resp-{uuid.uuid4()}"
    call = {"gen_ai.operation.name": "chat"}
    of_gone = fragments(gone, sent_span(call | {"gen_ai.response.id": response}))
    for project_id in (ours, theirs):
        await plane.otlp.put(project_id, gone, of_gone)
        await waiting.add(project_id, [of_response(response), of_response(kept)], NOW)
    await plane.traces.delete(ours, [gone])
    await plane.otlp.put(ours, gone, of_gone)
    assert await due(waiting, ours) == []
    assert [found.trace for found in await due(waiting, theirs)] == [gone]
    other = TraceId(uuid.uuid4())
    sent = sent_span(call | {"gen_ai.response.id": kept})
    await plane.otlp.put(ours, other, fragments(other, sent))
    assert [found.trace for found in await due(waiting, ours)] == [other]


async def test_removed_project_refuses_evaluations(evaluating):
    ours, waiting = project(), evaluating.plane.evaluation.waiting_evaluations
    await evaluating.plane.traces.put(ours, trace())
    await evaluating.remove(ours)
    with pytest.raises(Unavailable):
        await waiting.add(ours, [of_trace(uuid.uuid4())], NOW)


@pytest.mark.slow
async def test_project_has_a_maximum_of_different_ones(plane, waiting):
    ours, one = project(), trace()
    many = [of_trace(uuid.uuid4(), name=f"n{n}") for n in range(WAITING_MAX - 1)]
    last = of_trace(uuid.uuid4())
    assert await waiting.add(ours, many, NOW) == 0
    assert await waiting.add(ours, [*many[:3], last], NOW) == 0  # repetitions take no room
    assert await waiting.add(ours, [of_trace(one.id)], NOW) == 1
    again = [many[0], of_trace(one.id), last]  # two of them wait already
    assert await waiting.add(ours, again, NOW) == 1
    assert await waiting.add(project(), [of_trace(one.id)], NOW) == 0
    await plane.traces.put(ours, one)
    assert await due(waiting, ours) == []
    gone: list[WaitingEvaluation] = []
    while some := await waiting.delete_expired(LATER):  # leaves the database as it was
        gone += some
    assert last in [one.received for one in gone if one.project == ours]


def test_id_is_that_of_the_content():
    one = of_trace(uuid.UUID(int=1))
    ours = project()
    first = WaitingEvaluation.from_received(ours, one)
    assert first == WaitingEvaluation.from_received(ours, replace(one))
    others = [of_trace(uuid.UUID(int=2)), of_trace(uuid.UUID(int=1), value="0.6")]
    ids = {WaitingEvaluation.from_received(ours, each).id for each in others}
    assert first.id not in ids
    assert sent_evaluations.DUE_MAX < WAITING_MAX
