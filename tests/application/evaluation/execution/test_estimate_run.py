"""Estimates of runs: number of questions, tokens and USD, from a sample of the traces."""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters.memory.evaluation.scripted_judge import ScriptedJudge
from adapters.memory.store import MemoryStore
from application.evaluation.execution.estimate_run import SAMPLED_TRACES_MAX, RunTargets
from application.evaluation.judging.judge_client import prompt_tokens
from application.evaluation.runs.run_rules import RunRequest
from domain.errors import Invalid
from domain.evaluation.costs.judge_costs import (
    ANSWER_TOKENS_MAX,
    ANSWER_TOKENS_MIN,
    CHECK_TOKENS_MAX,
    CostEstimate,
    Range,
)
from domain.evaluation.runs.run import TargetType
from domain.evaluation.runs.selection import SessionSelection, TraceSelection
from domain.evaluation.scores.outcome import Scored
from domain.evaluation.sessions.signals import SESSION_TRACES_MAX
from domain.ids import TraceId
from domain.tracing.trace import Trace
from tests.support.builders.values import THEIRS
from tests.support.fixtures.evaluation.evaluation_harness import EvaluationHarness

NAME = "task_completion"
GPT = "openai/gpt-4o"  # 2.50 (input) and 10.00 (output) USD per million tokens
ZERO = Range()


def ids_of(*traces: Trace) -> Sequence[str]:
    return [str(one.id) for one in traces]


async def estimate(
    harness: EvaluationHarness,
    targets: RunTargets | None = None,
    target_type: TargetType = TargetType.TRACE,
    **overrides: Any,
) -> CostEstimate:
    request = RunRequest(**{"metrics": [NAME], "model": GPT} | overrides)
    selection = TraceSelection() if target_type is TargetType.TRACE else SessionSelection()
    return await harness.use_cases().estimate_run(
        harness.project, target_type, request, targets or selection
    )


async def count_questions(
    harness: EvaluationHarness, *targets: Trace | str, **overrides: Any
) -> int:
    """Run the evaluation and return how many questions it asks."""
    before = len(harness.judge.asked)
    metrics = overrides.pop("metrics", [NAME])
    await harness.run(metrics, *targets, model=GPT, **overrides)
    await harness.work()
    return len(harness.judge.asked) - before


def bounds(found: Range) -> tuple[int, int]:
    return int(found.low), int(found.high)


def stored_rows(store: MemoryStore) -> list[Any]:
    return [dict(one) for one in (store.runs, store.work_queue, store.ledger, store.trace_scores)]


async def test_estimate_of_few_traces_is_exact():
    harness = EvaluationHarness()
    traces = [harness.put(output=f"Flight {n}") for n in range(3)]
    before = stored_rows(harness.store)
    found = await estimate(harness)
    assert (found.targets, found.looked_at, found.model) == (3, 3, GPT)
    assert bounds(found.questions) == (3, 3)
    assert found.input_tokens.low == found.input_tokens.high > 1_000
    assert bounds(found.output_tokens) == (3 * ANSWER_TOKENS_MIN, 3 * ANSWER_TOKENS_MAX)
    assert found.usd is not None
    for usd, answer in ((found.usd.low, ANSWER_TOKENS_MIN), (found.usd.high, ANSWER_TOKENS_MAX)):
        exact = found.input_tokens.low * Decimal("0.0000025") + 3 * answer * Decimal("0.00001")
        assert usd == pytest.approx(exact, abs=Decimal("0.000001"))
    assert found.remembered_share == 0
    assert stored_rows(harness.store) == before
    assert harness.judge.asked == []
    assert harness.jobs.sent == []
    assert await count_questions(harness, *traces) == 3


async def test_estimated_tokens_are_those_of_the_question():
    harness = EvaluationHarness()
    trace = harness.put()
    await count_questions(harness, trace)
    other = replace(harness, store=MemoryStore(), judge=ScriptedJudge())
    other.store.traces[other.project, trace.id] = trace
    assert (await estimate(other)).input_tokens.low == prompt_tokens(harness.judge.asked[0])


async def test_checklist_answer_has_more_output_tokens():
    harness = EvaluationHarness()
    harness.put()  # with one call
    found = await estimate(harness, metrics=["argument_correctness"])
    assert found.output_tokens.high == ANSWER_TOKENS_MAX + CHECK_TOKENS_MAX


async def test_estimate_of_many_traces_uses_sample():
    harness = EvaluationHarness()
    for n in range(3 * SAMPLED_TRACES_MAX):
        # Fixed ids make the sample the same each time: a range from 20 traces can miss the total.
        harness.put(id=TraceId(uuid.UUID(int=n)), output=f"Flight {n} " + "is booked " * (n % 7))
    found = await estimate(harness)
    assert (found.targets, found.looked_at) == (60, SAMPLED_TRACES_MAX)
    assert bounds(found.questions) == (60, 60)
    assert found.input_tokens.low < found.input_tokens.high
    total = sum([one.low for one in await estimate_each(harness)])
    assert found.input_tokens.low <= total <= found.input_tokens.high


async def estimate_each(harness: EvaluationHarness) -> list[Range]:
    ids = [str(trace) for _, trace in harness.store.traces]
    return [(await estimate(harness, [one])).input_tokens for one in ids]


async def test_rules_and_computed_metrics_need_no_question():
    harness = EvaluationHarness()
    harness.put(input=None)  # without a task
    judged = harness.put()
    found = await estimate(harness, metrics=[NAME, "tool_success_rate", "coherence"])
    assert (bounds(found.questions), found.looked_at) == ((1, 1), 2)
    assert (
        await count_questions(harness, judged, metrics=[NAME, "tool_success_rate", "coherence"])
        == 1
    )
    found = await estimate(harness, metrics=["tool_success_rate", "coherence"])
    assert (found.questions, found.usd, found.looked_at) == (ZERO, ZERO, 0)


async def test_heuristic_judge_costs_nothing():
    harness = EvaluationHarness()
    harness.put()
    found = await estimate(harness, model="heuristic/1", votes=5)
    assert (found.questions, found.usd, found.targets, found.looked_at) == (ZERO, ZERO, 1, 0)


async def test_cached_verdicts_need_no_question():
    harness = EvaluationHarness()
    known = harness.put()
    await count_questions(harness, known)
    harness.put(output="Something else")
    found = await estimate(harness)
    assert (bounds(found.questions), found.remembered_share) == ((1, 1), 0.5)
    other = replace(harness, project=THEIRS)
    other.put()
    assert bounds((await estimate(other)).questions) == (1, 1)
    harness.forward(days=31)
    assert bounds((await estimate(harness)).questions) == (2, 2)


async def test_verdicts_from_before_the_cache_was_turned_off_are_asked_again():
    harness = EvaluationHarness()
    await count_questions(harness, harness.put())
    assert bounds((await estimate(harness)).questions) == (0, 0)
    harness.verdict_retention = timedelta()
    assert bounds((await estimate(harness)).questions) == (1, 1)


async def test_new_judge_revision_or_unknown_model_has_no_cached_verdicts():
    harness = EvaluationHarness()
    trace = harness.put()
    await count_questions(harness, trace)
    harness.judge = ScriptedJudge(revision="scripted/2")
    assert bounds((await estimate(harness)).questions) == (1, 1)
    harness.judge = ScriptedJudge(unknown=frozenset({GPT}))
    assert bounds((await estimate(harness)).questions) == (1, 1)


@pytest.mark.parametrize(
    ("first", "votes", "expected"),
    [(0.6, 1, (0, 0)), (0.6, 3, (2, 2)), (0.6, 5, (2, 4)), (1.0, 5, (0, 0)), (None, 5, (1, 5))],
)
async def test_further_votes_count_in_upper_bound(
    first: float | None, votes: int, expected: tuple[int, int]
):
    harness = EvaluationHarness(judge=ScriptedJudge({NAME: [Scored(first or 1.0, "")]}))
    trace = harness.put()
    if first is not None:
        await count_questions(harness, trace)
    found = await estimate(harness, votes=votes)
    assert bounds(found.questions) == expected
    low, high = expected
    assert low <= await count_questions(harness, trace, votes=votes) <= high


async def test_cost_of_unpriced_model_is_unknown():
    harness = EvaluationHarness()
    harness.put()
    found = await estimate(harness, model="openai/unpriced")
    assert (bounds(found.questions), found.usd) == ((1, 1), None)


async def test_project_price_takes_precedence_over_price_book():
    harness = EvaluationHarness()
    harness.put()
    before = await estimate(harness)
    await harness.prices("gpt-4o", 0)
    assert before.usd is not None
    assert before.usd.low > 0
    assert (await estimate(harness)).usd == ZERO


async def test_model_with_project_price_only_may_have_budget():
    harness = EvaluationHarness()
    harness.put()
    overrides = {"model": "openai_compatible/our-llama", "max_cost_usd": Decimal(1)}
    with pytest.raises(Invalid):
        await estimate(harness, **overrides)
    await harness.prices("our-llama*", 10)
    found = await estimate(harness, **overrides)
    assert found.usd is not None
    assert found.usd.low > 0
    with pytest.raises(Invalid):
        await estimate(replace(harness, project=THEIRS), **overrides)


async def test_unknown_trace_needs_no_question():
    harness = EvaluationHarness()
    trace = harness.put()
    found = await estimate(harness, [str(uuid.uuid4()), *ids_of(trace, trace)])
    assert (found.targets, bounds(found.questions)) == (2, (1, 1))


@pytest.mark.parametrize("rate", [0.0, 0.5])
async def test_estimate_covers_sample_of_run(rate: float):
    harness = EvaluationHarness()
    for n in range(10):
        harness.put(output=f"Flight {n}")
    found = await estimate(harness, sampling_rate=rate)
    assert found.targets == int(10 * rate)
    assert bounds(found.questions) == (found.targets, found.targets)


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"metrics": ["agent_reliability"]}, "metrics.0"),
        ({"votes": 2}, "votes"),
        ({"max_cost_usd": Decimal(-1)}, "max_cost_usd"),
        ({"max_cost_usd": Decimal(1), "model": "openai/unpriced"}, "max_cost_usd"),
        ({"signal_weights": {"confidence": -1.0}}, "signal_weights.confidence"),
    ],
)
async def test_invalid_run_is_refused_with_field(overrides: dict[str, Any], field: str):
    harness = EvaluationHarness()
    harness.put()
    with pytest.raises(Invalid) as refused:
        await estimate(harness, **overrides)
    assert refused.value.errors[0].field == field


async def test_selection_without_traces_is_refused():
    with pytest.raises(Invalid):
        await estimate(EvaluationHarness())


# --- sessions ---

SESSION = TargetType.SESSION
RELIABILITY = ["agent_reliability"]


async def test_session_estimate_adds_up_its_traces():
    harness = EvaluationHarness()
    harness.session(3)
    found = await estimate(harness, target_type=SESSION, metrics=RELIABILITY)
    assert (found.targets, found.looked_at) == (1, 3)
    assert bounds(found.questions) == (6, 6)
    assert await count_questions(harness, "chat", metrics=RELIABILITY) == 6
    again = await estimate(harness, target_type=SESSION, metrics=RELIABILITY)
    assert (bounds(again.questions), again.remembered_share) == ((0, 0), 1.0)


async def test_stored_signal_needs_no_question_even_without_cached_verdict():
    harness = EvaluationHarness()
    harness.session(2)
    await count_questions(harness, "chat", metrics=RELIABILITY)
    harness.store.verdicts.clear()
    found = await estimate(harness, target_type=SESSION, metrics=RELIABILITY, votes=5)
    assert bounds(found.questions) == (0, 0)


async def test_estimate_of_many_sessions_uses_sample_of_traces():
    harness = EvaluationHarness()
    for n in range(40):
        harness.session(1 + n % 3, name=f"chat-{n}")
    found = await estimate(harness, target_type=SESSION, metrics=RELIABILITY)
    assert (found.targets, found.looked_at) == (40, SAMPLED_TRACES_MAX)
    low, high = bounds(found.questions)
    assert low <= 2 * len(harness.store.traces) <= high
    assert high < 2 * low


async def test_too_large_session_needs_no_question():
    harness = EvaluationHarness()
    harness.session(SESSION_TRACES_MAX + 1)
    found = await estimate(harness, target_type=SESSION, metrics=RELIABILITY)
    assert (found.targets, found.looked_at, found.questions) == (1, 0, ZERO)


async def test_sessions_may_be_given_by_id():
    harness = EvaluationHarness()
    harness.session(2)
    found = await estimate(harness, ["chat", "unknown"], SESSION, metrics=RELIABILITY)
    assert (found.targets, bounds(found.questions)) == (2, (4, 4))
