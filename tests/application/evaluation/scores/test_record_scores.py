"""Recording scores of traces and spans."""

import uuid
from datetime import timedelta

import pytest

from application.evaluation.scores.scores import GivenScore
from domain.errors import NotFound
from domain.evaluation.scores.score import ScoreFilter, ScoreSource
from domain.ids import ScoreId
from domain.page import PageRequest
from tests.support.builders.values import OURS, span, trace


@pytest.fixture
def record(world):
    return world.do.evaluation.scoring.record_of_trace


def given(source: ScoreSource = ScoreSource.PROGRAMMATIC) -> GivenScore:
    return GivenScore(name="relevance", value="0.5", source=source)


async def test_evaluation_event_may_come_before_its_span_and_again(world, record):
    """As ingestion records them: with an id derived from the event, whatever comes first."""
    one, later = trace(), span()
    new = ScoreId(uuid.uuid5(one.id, f"{later.id}, relevance, 1"))
    with pytest.raises(NotFound):
        await record(OURS, new, one.id, given(), span=later.id, checks_span=False)
    await world.ports.tracing.traces.put(OURS, one)
    with pytest.raises(NotFound):
        await record(OURS, new, one.id, given(), span=later.id)
    first = await record(OURS, new, one.id, given(), span=later.id, checks_span=False)
    world.now += timedelta(minutes=1)
    await world.ports.tracing.traces.add_spans(OURS, one.id, [later])
    again = await record(OURS, new, one.id, given(), span=later.id, checks_span=False)
    assert (first.span_id, first.source, again) == (later.id, ScoreSource.PROGRAMMATIC, first)
    scores = world.ports.evaluation.trace_scores
    page = await scores.page(OURS, ScoreFilter(of_spans=True), PageRequest())
    assert list(page.items) == [first]


async def test_only_runs_give_automated_scores_and_none_of_spans(world, record):
    step = span()
    one = trace(step)
    await world.ports.tracing.traces.put(OURS, one)
    for of_span in (None, step.id):
        new = ScoreId(uuid.uuid4())
        score = await record(OURS, new, one.id, given(ScoreSource.AUTOMATED), span=of_span)
        assert (score.source, score.run_id) == (ScoreSource.PROGRAMMATIC, None)
