"""Evaluations that instrumentations send become scores, now or once their target is known."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.memory.evaluation.scores import MemoryTraceScores
from application.evaluation.ports.sent_evaluations import DUE_MAX
from application.evaluation.scores.sent_evaluations import (
    CONCURRENT_WRITES_MAX,
    EVALUATION_WAIT,
    UNAVAILABLE_MAX,
    UNAVAILABLE_OF_PROJECT_MAX,
)
from application.evaluation.use_cases import SentEvaluationUseCases
from domain.errors import Failure, Invalid, Unavailable
from domain.evaluation.scores.score import (
    DataType,
    ScoreFilter,
    ScoreOutcome,
    ScoreSource,
    TraceScore,
)
from domain.ids import ProjectId, TraceId
from domain.page import PageRequest
from domain.tracing.otel.evaluations import ReceivedEvaluation, SentEvaluation
from domain.tracing.otel.fragments import otel_span_id
from domain.tracing.otel.requests import RejectionReason
from tests.support.builders.otel import HEX_ID, fragments, sent_span
from tests.support.builders.values import OURS, THEIRS, trace

EVENT_NS = 1_700_000_000_123_456_789
HAPPENED_AT = datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)


@pytest.fixture
def sent(world):
    return world.do.evaluation.sent_evaluations


def evaluation(trace_id: TraceId | None, **said: Any) -> ReceivedEvaluation:
    given = {"name": "faithful", "time_ns": EVENT_NS, "value": "0.5", "is_numeric": True}
    return ReceivedEvaluation(trace_id, SentEvaluation(**given | said))


async def stored_scores(world, *, of_spans: bool = False):
    scores = world.ports.evaluation.trace_scores
    page = await scores.page(OURS, ScoreFilter(of_spans=of_spans), PageRequest())
    return list(page.items)


async def put(world, *spans, of=OURS):
    id_ = TraceId(uuid.uuid4())
    await world.ports.tracing.otlp.put(of, id_, fragments(id_, *(spans or [sent_span()])))
    return id_


async def rejections(world):
    page = await world.ports.tracing.rejections.page(OURS, None, PageRequest())
    return [(one.rejection.reason, one.rejection.count) for one in page.items]


async def test_score_has_the_time_of_the_evaluation(world, sent):
    id_ = await put(world)
    assert await sent.record(OURS, [evaluation(id_, span_id=HEX_ID)]) == []
    [score] = await stored_scores(world, of_spans=True)
    assert (score.value, score.data_type, score.outcome) == (
        "0.5", DataType.NUMERIC, ScoreOutcome.SCORED,
    )  # fmt: skip
    assert (score.source, score.run_id) == (ScoreSource.PROGRAMMATIC, None)
    assert score.span_id == otel_span_id(id_, HEX_ID)
    assert score.created_at == score.updated_at == HAPPENED_AT


@pytest.mark.parametrize("time_ns", [0, 2**62])
async def test_without_a_past_time_it_is_the_present_one(world, sent, time_ns):
    id_ = await put(world)
    await sent.record(OURS, [evaluation(id_, time_ns=time_ns)])
    [score] = await stored_scores(world)
    assert score.created_at == world.now


@pytest.mark.parametrize(
    ("said", "outcome", "reason"),
    [
        ({"error": "timeout"}, ScoreOutcome.FAILED, "The evaluation failed: timeout"),
        ({"error": "timeout", "reason": "slow"}, ScoreOutcome.FAILED, "slow"),
        ({"reason": "no tool"}, ScoreOutcome.SKIPPED, "Skipped: no tool"),
    ],
)
async def test_evaluation_without_value_is_failed_or_skipped(world, sent, said, outcome, reason):
    id_ = await put(world)
    await sent.record(OURS, [evaluation(id_, value=None, is_numeric=False, **said)])
    [score] = await stored_scores(world)
    assert (score.value, score.number, score.outcome, score.reason) == (None, None, outcome, reason)


async def test_repetition_leaves_what_a_person_changed(world, sent):
    id_ = await put(world)
    one = evaluation(id_)
    await sent.record(OURS, [one])
    [score] = await stored_scores(world)
    await world.ports.evaluation.trace_scores.delete(OURS, score.id)
    assert await stored_scores(world) == []
    await sent.record(OURS, [one, one])
    assert await stored_scores(world) == [score]


async def test_evaluation_of_an_unknown_trace_waits(world, sent):
    id_ = TraceId(uuid.uuid4())
    await sent.record(OURS, [evaluation(id_, span_id=HEX_ID)])
    assert await sent.record_waiting() == 0
    world.now += EVALUATION_WAIT - timedelta(seconds=1)
    assert await sent.delete_expired() == 0
    await world.ports.tracing.otlp.put(OURS, id_, fragments(id_, sent_span()))
    assert await sent.record_waiting() == 1
    [score] = await stored_scores(world, of_spans=True)
    assert score.created_at == HAPPENED_AT
    assert await sent.record_waiting() == 0


async def test_evaluation_of_a_later_span_of_a_known_trace_is_recorded_at_once(world, sent):
    id_ = await put(world, sent_span(span_id="0" * 15 + "1"))
    await sent.record(OURS, [evaluation(id_, span_id=HEX_ID)])
    [score] = await stored_scores(world, of_spans=True)
    assert score.span_id == otel_span_id(id_, HEX_ID)


async def test_evaluation_of_an_unknown_session_is_rejected_once_its_trace_is_known(world, sent):
    id_ = TraceId(uuid.uuid4())
    await sent.record(OURS, [evaluation(id_, session_id="s")])
    await world.ports.tracing.otlp.put(OURS, id_, fragments(id_, sent_span()))
    assert await sent.record_waiting() == 1
    assert await rejections(world) == [(RejectionReason.NOT_STORABLE, 1)]


async def test_response_id_finds_the_span_in_its_project_only(world, sent):
    call = {"gen_ai.operation.name": "chat", "gen_ai.response.id": "resp-1"}
    await put(world, sent_span(call), of=THEIRS)
    await sent.record(OURS, [evaluation(None, response_id="resp-1")])
    assert await sent.record_waiting() == 0
    id_ = await put(world, sent_span(call))
    assert await sent.record_waiting() == 1
    [score] = await stored_scores(world, of_spans=True)
    assert (score.trace_id, score.span_id) == (id_, otel_span_id(id_, HEX_ID))


async def test_response_that_does_not_come_within_a_day_is_rejected(world, sent):
    await world.ports.tracing.traces.put(OURS, trace())
    unknown = [evaluation(None, response_id=f"resp-{number}") for number in range(3)]
    await sent.record(OURS, unknown)
    world.now += EVALUATION_WAIT
    assert await sent.delete_expired() == 0
    world.now += timedelta(microseconds=1)
    assert await sent.delete_expired() == 3
    assert await rejections(world) == [(RejectionReason.UNKNOWN_RESPONSE_ID, 3)]
    assert await stored_scores(world, of_spans=True) == []


async def test_target_that_came_while_no_worker_ran_is_recorded(world, sent):
    id_, call = TraceId(uuid.uuid4()), {"gen_ai.response.id": "resp-1"}
    early = [evaluation(id_), evaluation(None, response_id="resp-1")]
    await sent.record(OURS, early)
    await world.ports.tracing.otlp.put(OURS, id_, fragments(id_, sent_span(call)))
    world.now += 3 * EVALUATION_WAIT
    assert await sent.delete_expired() == 0
    assert await sent.record_waiting() == len(early)
    assert len(await stored_scores(world)) == len(await stored_scores(world, of_spans=True)) == 1


@dataclass(frozen=True, slots=True)
class StuckScores(MemoryTraceScores):
    """Can't write the scores of some traces, and counts the attempts."""

    stuck: set[TraceId] = field(default_factory=set)
    failure: Failure = field(default_factory=lambda: Unavailable("The row is locked"))
    attempts: list[TraceId] = field(default_factory=list)

    async def add(self, score: TraceScore, *, checks_span: bool = True) -> TraceScore:
        if score.trace_id in self.stuck:
            self.attempts.append(score.trace_id)
            raise self.failure
        return await super(StuckScores, self).add(score, checks_span=checks_span)


def with_stuck(
    world, *stuck: TraceId, **said: Failure
) -> tuple[StuckScores, SentEvaluationUseCases]:
    scores = StuckScores(world.ports.evaluation.trace_scores.store, stuck=set(stuck), **said)
    return scores, world.with_ports(trace_scores=scores).evaluation.sent_evaluations


async def wait_for_new_traces(world, sent, count: int, of=OURS) -> list[TraceId]:
    """Traces that come after their evaluations; each later than those before."""
    ids = [TraceId(uuid.uuid4()) for _ in range(count)]
    for id_ in ids:
        world.forward(seconds=1)
        await sent.record(of, [evaluation(id_)])
    for id_ in ids:
        await world.ports.tracing.otlp.put(of, id_, fragments(id_, sent_span()))
    return ids


async def written(scores: StuckScores, ids: Sequence[TraceId], of=OURS) -> list[TraceId]:
    """Those of the traces that have a score."""
    with_score = {one.trace_id for one in scores.store.trace_scores.in_project(of)}
    return [id_ for id_ in ids if id_ in with_score]


async def test_one_that_cannot_be_written_delays_no_other(world, sent):
    ids = await wait_for_new_traces(world, sent, DUE_MAX + 2)
    scores, those = with_stuck(world, ids[0])
    for attempts in (1, 2):
        with pytest.raises(Unavailable, match="locked"):
            await those.record_waiting()
        assert scores.attempts == [ids[0]] * attempts
    assert await written(scores, ids) == ids[1:]
    scores.stuck.clear()
    assert await those.record_waiting() == 1
    assert await written(scores, ids) == ids
    assert await those.record_waiting() == 0


async def test_one_that_the_storage_refuses_is_rejected_and_delays_no_other(world, sent):
    ids = await wait_for_new_traces(world, sent, 2)
    scores, those = with_stuck(world, ids[0], failure=Invalid("no such score"))
    assert await those.record_waiting() == len(ids)
    assert await written(scores, ids) == ids[1:]
    assert await rejections(world) == [(RejectionReason.NOT_STORABLE, 1)]
    assert await those.record_waiting() == 0
    assert scores.attempts == ids[:1]


async def test_project_without_any_success_delays_no_other(world, sent):
    stuck = await wait_for_new_traces(world, sent, DUE_MAX + 1)
    [theirs] = await wait_for_new_traces(world, sent, 1, of=THEIRS)
    scores, those = with_stuck(world, *stuck)
    with pytest.raises(Unavailable, match="locked"):
        await those.record_waiting()
    assert 0 <= len(scores.attempts) - UNAVAILABLE_OF_PROJECT_MAX < CONCURRENT_WRITES_MAX
    assert await written(scores, [theirs], of=THEIRS) == [theirs]


async def test_round_in_which_many_fail_ends(world, sent):
    projects = [ProjectId(uuid.uuid4()) for _ in range(2 * UNAVAILABLE_MAX)]
    stuck = [id_ for of in projects for id_ in await wait_for_new_traces(world, sent, 1, of)]
    scores, those = with_stuck(world, *stuck)
    with pytest.raises(Unavailable, match="locked"):
        await those.record_waiting()
    assert scores.attempts[:UNAVAILABLE_MAX] == stuck[:UNAVAILABLE_MAX]
    assert len(scores.attempts) < UNAVAILABLE_MAX + CONCURRENT_WRITES_MAX
