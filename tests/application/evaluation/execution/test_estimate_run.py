"""Estimates of runs: how many questions, tokens and USD, by looking at a sample of the traces."""

import uuid
from collections.abc import Sequence
from dataclasses import replace
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
from tests.support.fixtures.evaluation_harness import Laboratory

NAME = "task_completion"
GPT = "openai/gpt-4o"  # 2.50 and 10.00 USD a million tokens
NOTHING = Range()


def ids_of(*traces: Trace) -> Sequence[str]:
    return [str(one.id) for one in traces]


async def estimate(
    lab: Laboratory, about: RunTargets | None = None, of: TargetType = TargetType.TRACE, **said: Any
) -> CostEstimate:
    order = RunRequest(**{"metrics": [NAME], "model": GPT} | said)
    selection = TraceSelection() if of is TargetType.TRACE else SessionSelection()
    return await lab.over().estimate_run(lab.project, of, order, about or selection)


async def asked(lab: Laboratory, *targets: Trace | str, **said: Any) -> int:
    """How many questions the run actually asks."""
    before = len(lab.judge.asked)
    metrics = said.pop("metrics", [NAME])
    await lab.run(metrics, *targets, model=GPT, **said)
    await lab.work()
    return len(lab.judge.asked) - before


def counts(found: Range) -> tuple[int, int]:
    return int(found.low), int(found.high)


def everything(store: MemoryStore) -> list[Any]:
    return [dict(one) for one in (store.runs, store.work_queue, store.ledger, store.trace_scores)]


async def test_estimate_of_few_traces_is_exact():
    lab = Laboratory()
    traces = [lab.put(output=f"Flight {n}") for n in range(3)]
    before = everything(lab.store)
    found = await estimate(lab)
    assert (found.targets, found.looked_at, found.model) == (3, 3, GPT)
    assert counts(found.questions) == (3, 3)
    assert found.input_tokens.low == found.input_tokens.high > 1_000
    assert counts(found.output_tokens) == (3 * ANSWER_TOKENS_MIN, 3 * ANSWER_TOKENS_MAX)
    assert found.usd is not None
    for usd, answer in ((found.usd.low, ANSWER_TOKENS_MIN), (found.usd.high, ANSWER_TOKENS_MAX)):
        exact = found.input_tokens.low * Decimal("0.0000025") + 3 * answer * Decimal("0.00001")
        assert usd == pytest.approx(exact, abs=Decimal("0.000001"))
    assert found.remembered_share == 0
    assert everything(lab.store) == before
    assert lab.judge.asked == []
    assert lab.jobs.sent == []
    assert await asked(lab, *traces) == 3


async def test_estimated_tokens_are_those_of_the_question():
    lab = Laboratory()
    trace = lab.put()
    await asked(lab, trace)
    other = replace(lab, store=MemoryStore(), judge=ScriptedJudge())
    other.store.traces[other.project, trace.id] = trace
    assert (await estimate(other)).input_tokens.low == prompt_tokens(lab.judge.asked[0])


async def test_checklist_answer_has_more_output_tokens():
    lab = Laboratory()
    lab.put()  # with one call
    found = await estimate(lab, metrics=["argument_correctness"])
    assert found.output_tokens.high == ANSWER_TOKENS_MAX + CHECK_TOKENS_MAX


async def test_estimate_of_many_traces_uses_sample():
    lab = Laboratory()
    for n in range(3 * SAMPLED_TRACES_MAX):
        # Which are looked at goes by their ids; a range of 20 holds the whole mostly, not always.
        lab.put(id=TraceId(uuid.UUID(int=n)), output=f"Flight {n} " + "is booked " * (n % 7))
    found = await estimate(lab)
    assert (found.targets, found.looked_at) == (60, SAMPLED_TRACES_MAX)
    assert counts(found.questions) == (60, 60)
    assert found.input_tokens.low < found.input_tokens.high
    whole = sum([one.low for one in await one_by_one(lab)])
    assert found.input_tokens.low <= whole <= found.input_tokens.high


async def one_by_one(lab: Laboratory) -> list[Range]:
    names = [str(of) for _, of in lab.store.traces]
    return [(await estimate(lab, [name])).input_tokens for name in names]


async def test_rules_and_computed_metrics_need_no_question():
    lab = Laboratory()
    lab.put(input=None)  # nothing to complete
    asks = lab.put()
    found = await estimate(lab, metrics=[NAME, "tool_success_rate", "coherence"])
    assert (counts(found.questions), found.looked_at) == ((1, 1), 2)
    assert await asked(lab, asks, metrics=[NAME, "tool_success_rate", "coherence"]) == 1
    found = await estimate(lab, metrics=["tool_success_rate", "coherence"])
    assert (found.questions, found.usd, found.looked_at) == (NOTHING, NOTHING, 0)


async def test_heuristic_judge_costs_nothing():
    lab = Laboratory()
    lab.put()
    found = await estimate(lab, model="heuristic/1", votes=5)
    assert (found.questions, found.usd, found.targets, found.looked_at) == (NOTHING, NOTHING, 1, 0)


async def test_cached_verdicts_need_no_question():
    lab = Laboratory()
    known = lab.put()
    await asked(lab, known)
    lab.put(output="Something else")
    found = await estimate(lab)
    assert (counts(found.questions), found.remembered_share) == ((1, 1), 0.5)
    other = replace(lab, project=THEIRS)
    other.put()
    assert counts((await estimate(other)).questions) == (1, 1)
    lab.forward(days=31)
    assert counts((await estimate(lab)).questions) == (2, 2)


async def test_new_judge_revision_or_unknown_model_has_no_cached_verdicts():
    lab = Laboratory()
    trace = lab.put()
    await asked(lab, trace)
    lab.judge = ScriptedJudge(revision="scripted/2")
    assert counts((await estimate(lab)).questions) == (1, 1)
    lab.judge = ScriptedJudge(unknown=frozenset({GPT}))
    assert counts((await estimate(lab)).questions) == (1, 1)


@pytest.mark.parametrize(
    ("first", "votes", "due"),
    [(0.6, 1, (0, 0)), (0.6, 3, (2, 2)), (0.6, 5, (2, 4)), (1.0, 5, (0, 0)), (None, 5, (1, 5))],
)
async def test_further_votes_count_in_upper_bound(
    first: float | None, votes: int, due: tuple[int, int]
):
    lab = Laboratory(judge=ScriptedJudge({NAME: [Scored(first or 1.0, "")]}))
    trace = lab.put()
    if first is not None:
        await asked(lab, trace)
    found = await estimate(lab, votes=votes)
    assert counts(found.questions) == due
    low, high = due
    assert low <= await asked(lab, trace, votes=votes) <= high


async def test_cost_of_unpriced_model_is_unknown():
    lab = Laboratory()
    lab.put()
    found = await estimate(lab, model="openai/nobody-knows")
    assert (counts(found.questions), found.usd) == ((1, 1), None)


async def test_project_price_takes_precedence_over_price_book():
    lab = Laboratory()
    lab.put()
    before = await estimate(lab)
    await lab.prices("gpt-4o", 0)
    assert before.usd is not None
    assert before.usd.low > 0
    assert (await estimate(lab)).usd == NOTHING


async def test_model_with_project_price_only_may_have_budget():
    lab = Laboratory()
    lab.put()
    said = {"model": "openai_compatible/our-llama", "max_cost_usd": Decimal(1)}
    with pytest.raises(Invalid):
        await estimate(lab, **said)
    await lab.prices("our-llama*", 10)
    found = await estimate(lab, **said)
    assert found.usd is not None
    assert found.usd.low > 0
    with pytest.raises(Invalid):
        await estimate(replace(lab, project=THEIRS), **said)


async def test_unknown_trace_needs_no_question():
    lab = Laboratory()
    trace = lab.put()
    found = await estimate(lab, [str(uuid.uuid4()), *ids_of(trace, trace)])
    assert (found.targets, counts(found.questions)) == (2, (1, 1))


@pytest.mark.parametrize("rate", [0.0, 0.5])
async def test_estimate_covers_sample_of_run(rate: float):
    lab = Laboratory()
    for n in range(10):
        lab.put(output=f"Flight {n}")
    found = await estimate(lab, sampling_rate=rate)
    assert found.targets == int(10 * rate)
    assert counts(found.questions) == (found.targets, found.targets)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"metrics": ["agent_reliability"]}, "metrics.0"),
        ({"votes": 2}, "votes"),
        ({"max_cost_usd": Decimal(-1)}, "max_cost_usd"),
        ({"max_cost_usd": Decimal(1), "model": "openai/nobody-knows"}, "max_cost_usd"),
        ({"signal_weights": {"confidence": -1.0}}, "signal_weights.confidence"),
    ],
)
async def test_invalid_run_is_refused_with_field(said: dict[str, Any], field: str):
    lab = Laboratory()
    lab.put()
    with pytest.raises(Invalid) as refused:
        await estimate(lab, **said)
    assert refused.value.errors[0].field == field


async def test_selection_without_traces_is_refused():
    with pytest.raises(Invalid):
        await estimate(Laboratory())


# --- sessions ---

SESSION = TargetType.SESSION
RELIABILITY = ["agent_reliability"]


async def test_session_estimate_adds_up_its_traces():
    lab = Laboratory()
    lab.session(3)
    found = await estimate(lab, of=SESSION, metrics=RELIABILITY)
    assert (found.targets, found.looked_at) == (1, 3)
    assert counts(found.questions) == (6, 6)
    assert await asked(lab, "chat", metrics=RELIABILITY) == 6
    again = await estimate(lab, of=SESSION, metrics=RELIABILITY)
    assert (counts(again.questions), again.remembered_share) == ((0, 0), 1.0)


async def test_stored_signal_needs_no_question_even_without_cached_verdict():
    lab = Laboratory()
    lab.session(2)
    await asked(lab, "chat", metrics=RELIABILITY)
    lab.store.verdicts.clear()
    found = await estimate(lab, of=SESSION, metrics=RELIABILITY, votes=5)
    assert counts(found.questions) == (0, 0)


async def test_estimate_of_many_sessions_uses_sample_of_traces():
    lab = Laboratory()
    for n in range(40):
        lab.session(1 + n % 3, name=f"chat-{n}")
    found = await estimate(lab, of=SESSION, metrics=RELIABILITY)
    assert (found.targets, found.looked_at) == (40, SAMPLED_TRACES_MAX)
    low, high = counts(found.questions)
    assert low <= 2 * len(lab.store.traces) <= high
    assert high < 2 * low


async def test_too_large_session_needs_no_question():
    lab = Laboratory()
    lab.session(SESSION_TRACES_MAX + 1)
    found = await estimate(lab, of=SESSION, metrics=RELIABILITY)
    assert (found.targets, found.looked_at, found.questions) == (1, 0, NOTHING)


async def test_sessions_may_be_given_by_id():
    lab = Laboratory()
    lab.session(2)
    found = await estimate(lab, ["chat", "nobody's"], SESSION, metrics=RELIABILITY)
    assert (found.targets, counts(found.questions)) == (2, (4, 4))
