"""The trace context: computes shared data once, in a thread if the trace is large."""

import asyncio
import threading
from dataclasses import replace

import pytest

from application.evaluation.judging.trace_context import LARGE_TRACE_STEPS, TraceContext
from domain.evaluation.metrics.metric import DefinitionKind
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from tests.support.builders.custom_metrics import JUDGE, definition
from tests.support.builders.evaluated_traces import tool
from tests.support.fixtures.evaluation.judge_policies import trace_context

TEXT = "word " * 200  # a kilobyte


def thread_of(_: TraceContext) -> int:
    return threading.get_ident()


def large_context() -> TraceContext:
    return trace_context(*[tool(given=n) for n in range(LARGE_TRACE_STEPS)])


@pytest.mark.parametrize(
    ("trace", "is_large"),
    [
        (trace_context(), False),
        (trace_context(tool(), input=TEXT), False),
        (trace_context(*[tool()] * (LARGE_TRACE_STEPS // 2)), False),
        (large_context(), True),
        (trace_context(output=TEXT * LARGE_TRACE_STEPS), True),
        (trace_context(tool(got=TEXT * LARGE_TRACE_STEPS)), True),
        (trace_context(earlier=(TEXT * LARGE_TRACE_STEPS,)), True),
        (trace_context(metadata={"text": TEXT * LARGE_TRACE_STEPS}), True),
        (trace_context(tool(error=TEXT * LARGE_TRACE_STEPS)), True),
    ],
    ids=[
        *("empty", "small", "some steps", "many steps", "answer", "payload", "window"),
        *("metadata", "error"),
    ],
)
async def test_only_large_trace_is_computed_in_thread(trace, is_large):
    assert (await trace.compute(thread_of) != threading.get_ident()) is is_large


@pytest.mark.parametrize(
    ("kind", "body", "runs_in_thread"),
    [
        (DefinitionKind.RULE, {"path": "answer", "op": "matches", "value": "x"}, True),
        (DefinitionKind.JUDGE, JUDGE, False),
    ],
)
async def test_small_trace_is_searched_for_patterns_in_thread(kind, body, runs_in_thread):
    small = trace_context()
    run = replace(small.run, definitions=(definition(kind, body),))
    thread = await replace(small, run=run).compute(thread_of)
    assert (thread != threading.get_ident()) is runs_in_thread


async def test_concurrent_computations_share_one_result():
    large = large_context()
    computations = [large.compute(lambda it: it.evidence) for _ in range(5)]
    assert len({id(evidence) for evidence in await asyncio.gather(*computations)}) == 1


async def test_exception_does_not_affect_next_computation():
    large = large_context()

    def fail(_: TraceContext) -> None:
        raise ValueError

    with pytest.raises(ValueError):
        await large.compute(fail)
    assert isinstance(await large.compute(lambda it: it.subject), EvaluatedTrace)
