"""A trace before its metrics: looked into once, and beside the loop where it is large."""

import asyncio
import threading
import uuid
from datetime import timedelta

import pytest

from application.evaluation.matter import LARGE, USUAL, Matter, MeasuringPolicy
from application.evaluation.ports.work_queue import LEASE
from domain.evaluation.runs.run import EvalRun, TargetType
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.ids import RunId
from domain.tracing.span import Span
from tests.support.builders.evaluated_traces import subject, tool
from tests.support.builders.values import NOON, OURS

RUN = EvalRun(
    id=RunId(uuid.UUID(int=1)),
    project_id=OURS,
    target_type=TargetType.TRACE,
    metrics=("confidence",),
    targets=1,
    model="heuristic/1",
    created_at=NOON,
)
TEXT = "word " * 200  # a kilobyte


def matter(*spans: Span, **said: object) -> Matter:
    return Matter(subject(*spans, **said), RUN, USUAL, "0" * 16)


def where(_: Matter) -> int:
    return threading.get_ident()


@pytest.mark.parametrize(
    ("one", "is_large"),
    [
        (matter(), False),
        (matter(tool(), input=TEXT), False),
        (matter(*[tool()] * (LARGE // 2)), False),
        (matter(*[tool(given=n) for n in range(LARGE)]), True),
        (matter(output=TEXT * LARGE), True),
        (matter(tool(got=TEXT * LARGE)), True),
        (matter(earlier=(TEXT * LARGE,)), True),
    ],
    ids=["empty", "small", "some steps", "many steps", "answer", "payload", "window"],
)
async def test_a_large_one_is_looked_into_beside_the_loop(one, is_large):
    assert (await one.seen(where) != threading.get_ident()) is is_large


async def test_what_one_has_looked_into_the_next_finds_ready():
    large = matter(*[tool(given=n) for n in range(LARGE)])
    looks = [large.seen(lambda it: it.evidence) for _ in range(5)]
    assert len({id(evidence) for evidence in await asyncio.gather(*looks)}) == 1


async def test_what_breaks_is_raised_and_the_next_goes_on():
    large = matter(*[tool(given=n) for n in range(LARGE)])

    def broken(_: Matter) -> None:
        raise ValueError

    with pytest.raises(ValueError):
        await large.seen(broken)
    assert isinstance(await large.seen(lambda it: it.subject), EvaluatedTrace)


@pytest.mark.parametrize("seconds", [LEASE / timedelta(seconds=1), 600])
def test_a_question_has_to_fit_into_a_lease(seconds):
    with pytest.raises(ValueError):
        MeasuringPolicy(deadline_s=seconds - USUAL.head_start_s)
    assert MeasuringPolicy(deadline_s=94.0).deadline_s == 94.0
