"""Recording scores of traces and spans."""

import uuid

import pytest

from application.evaluation.scores.scores import GivenScore
from domain.evaluation.scores.score import ScoreSource
from domain.ids import ScoreId
from tests.support.builders.values import OURS, span, trace


@pytest.fixture
def record(world):
    return world.do.evaluation.scoring.record_of_trace


def given(source: ScoreSource = ScoreSource.PROGRAMMATIC) -> GivenScore:
    return GivenScore(name="relevance", value="0.5", source=source)


async def test_only_runs_give_automated_scores_and_none_of_spans(world, record):
    step = span()
    one = trace(step)
    await world.ports.tracing.traces.put(OURS, one)
    for of_span in (None, step.id):
        new = ScoreId(uuid.uuid4())
        score = await record(OURS, new, one.id, given(ScoreSource.AUTOMATED), span=of_span)
        assert (score.source, score.run_id) == (ScoreSource.PROGRAMMATIC, None)
