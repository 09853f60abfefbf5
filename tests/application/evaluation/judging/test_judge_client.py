"""The judge client: caches verdicts, keeps to budgets, and takes several votes."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters.judges.heuristic import HeuristicJudge
from adapters.memory.evaluation.judge_costs import MemoryLedger, MemoryVerdicts, store_budget
from adapters.memory.evaluation.runs import MemoryTargets
from adapters.memory.evaluation.scripted_judge import (
    DEFAULT_TOKEN_USE,
    ScriptedAnswer,
    ScriptedJudge,
    make_judge_call,
)
from adapters.memory.jobs import RecordedJobs
from adapters.memory.store import MemoryStore
from application.evaluation.judging.adaptive_concurrency import provider_limiters
from application.evaluation.ports.judging import VERDICT_RETENTION, Verdict
from application.jobs import EvaluateTargetJob
from domain.errors import Unavailable
from domain.evaluation.costs.judge_costs import (
    ANSWER_TOKENS_MAX,
    UNLISTED_TARIFF,
    LedgerEntry,
    Spending,
    usage_of,
)
from domain.evaluation.judging.judge import (
    Answer,
    JudgeRefused,
    JudgeUnavailable,
    Question,
    TokenUse,
)
from domain.evaluation.runs.run import EvalRun, RunStatus
from domain.evaluation.scores.outcome import FailCode, Scored, SkipCode, Skipped
from domain.evaluation.scores.score import ScoreOutcome, TraceScore
from domain.ids import ProjectId, TraceId
from domain.tracing.payloads.payload import object_members
from domain.tracing.trace import Trace
from tests.support.builders.evaluated_traces import tool
from tests.support.builders.values import NOON, THEIRS
from tests.support.fixtures.evaluation.evaluation_harness import ONE_ATTEMPT, EvaluationHarness
from tests.support.fixtures.evaluation.judge_policies import run_loop
from tests.support.waiting import until

NAME = "task_completion"
GPT = "openai/gpt-4o"  # priced: 1,000 input tokens and 50 output tokens cost 0.003 USD
COST = Decimal("0.003")


def scripted_harness(*answers: ScriptedAnswer) -> EvaluationHarness:
    return EvaluationHarness(judge=ScriptedJudge({NAME: answers} if answers else {}))


async def judge_traces(
    harness: EvaluationHarness, *traces: Trace, model: str = GPT, **overrides: object
) -> tuple[EvalRun, list[TraceScore]]:
    run = await harness.run(NAME, *traces, model=model, **overrides)
    await harness.work()
    scores = await harness.scores_of_run(run)
    return run, [scores[str(one.id), NAME] for one in traces]


def spent_by_budget(harness: EvaluationHarness) -> list[Decimal]:
    return [count.usd for count in harness.store.spending.values()]


def metadata_value(score: TraceScore, key: str) -> object:
    return dict(object_members(score.metadata)).get(key)


# --- the verdict cache ---


async def test_same_content_in_another_trace_is_answered_from_cache():
    harness = scripted_harness()
    _, [first] = await judge_traces(harness, harness.put())
    harness.forward(days=1)
    _, [again] = await judge_traces(harness, harness.put())
    assert len(harness.judge.asked) == 1
    assert again.trace_id != first.trace_id
    assert (again.value, again.reason) == (first.value, first.reason)
    assert metadata_value(again, "cache") == '"hit"'
    usage = '{"calls":0,"input_tokens":0,"output_tokens":0,"usd":0.0,"saved_usd":0.003}'
    assert metadata_value(again, "usage") == usage
    assert metadata_value(first, "cache") == '"miss"'
    for key in ("fingerprint", "model", "judge_kind", "evidence_hash", "threshold", "success"):
        assert metadata_value(again, key) == metadata_value(first, key)


@pytest.mark.parametrize(
    "changed",
    [{"output": "I booked nothing."}, {"input": "book a flight to Rome"}],
    ids=["output", "input"],
)
async def test_changed_content_is_judged_once(changed: dict[str, str]):
    harness = scripted_harness()
    trace = harness.put()
    await judge_traces(harness, trace)
    harness.change(trace, **changed)
    await judge_traces(harness, trace)
    assert len(harness.judge.asked) == 2


async def test_new_judge_revision_does_not_use_cache():
    harness = scripted_harness()
    trace = harness.put()
    await judge_traces(harness, trace)
    harness.judge.revision = "scripted/2"
    await judge_traces(harness, trace)
    assert len(harness.judge.asked) == 2


async def test_each_project_has_its_own_cache():
    harness = scripted_harness()
    await judge_traces(harness, harness.put())
    other = replace(harness, project=THEIRS)
    await judge_traces(other, other.put())
    assert len(harness.judge.asked) == 2


async def test_cached_verdict_expires():
    harness = scripted_harness()
    trace = harness.put()
    await judge_traces(harness, trace)
    harness.forward(seconds=VERDICT_RETENTION.total_seconds())
    await judge_traces(harness, trace)
    assert len(harness.judge.asked) == 1
    harness.now += timedelta(microseconds=1)
    await judge_traces(harness, trace)
    assert len(harness.judge.asked) == 2


async def test_no_verdict_is_cached_without_retention():
    harness = scripted_harness()
    harness.verdict_retention = timedelta()
    trace = harness.put()
    scores = [(await judge_traces(harness, trace))[1][0] for _ in range(2)]
    assert len(harness.judge.asked) == 2
    assert [metadata_value(one, "cache") for one in scores] == ['"miss"'] * 2
    assert harness.store.verdicts == {}


@pytest.mark.parametrize(
    "first",
    [Skipped(SkipCode.CANNOT_JUDGE), JudgeRefused(FailCode.BAD_VERDICT)],
    ids=["cannot judge", "refused"],
)
async def test_answer_without_score_is_not_cached(first: ScriptedAnswer):
    harness = scripted_harness(first, Scored(1.0, "Yes"))
    trace = harness.put()
    await judge_traces(harness, trace)
    _, [score] = await judge_traces(harness, trace)
    assert score.outcome is ScoreOutcome.SCORED


async def test_rules_and_heuristic_judge_are_neither_in_ledger_nor_cached():
    harness = scripted_harness()
    run, [score] = await judge_traces(harness, harness.put(input=None))
    assert score.outcome is ScoreOutcome.SKIPPED
    assert harness.judge.asked == []
    assert await harness.ports.judging.ledger.run_spending(harness.project, run.id) == Spending()
    run, _ = await judge_traces(harness, harness.put(), model="heuristic/1")
    assert await harness.ports.judging.ledger.run_spending(harness.project, run.id) == Spending()
    assert harness.store.verdicts == {}


async def test_heuristic_judge_gives_one_vote():
    """Its rules would give the same again, as if it were certain."""
    harness = EvaluationHarness(judge=HeuristicJudge())
    calls = [tool("book", {"flight": "AB123"}), tool("pay", {"card": "1234567"})]
    trace = harness.put(*calls, input="book AB123")
    run = await harness.run("argument_correctness", trace, model="heuristic/1", votes=3)
    await harness.work()
    assert await harness.results(run, trace) == {"argument_correctness": "0.5"}
    [score] = await harness.scores_of(trace)
    assert not {"votes", "agreement", "stderr"} & object_members(score.metadata).keys()


# --- the ledger ---


async def test_ledger_has_every_request_including_failed_ones():
    calls = (
        make_judge_call(GPT, FailCode.PROVIDER_ERROR),
        make_judge_call(GPT, FailCode.RATE_LIMITED),
    )
    harness = scripted_harness(
        JudgeUnavailable(FailCode.RATE_LIMITED, calls=calls), Scored(1.0, "Yes")
    )
    run = await harness.run(NAME, harness.put(), model=GPT)
    await harness.attempts(2)
    entries = [*harness.store.ledger.values()]
    assert [(one.attempt, one.call.code) for one in entries] == [
        (1, FailCode.PROVIDER_ERROR),
        (2, FailCode.RATE_LIMITED),
        (1, None),
    ]
    assert {one.usd for one in entries} == {COST}
    spent = await harness.ports.judging.ledger.run_spending(harness.project, run.id)
    assert (spent.calls, spent.failed, spent.usd) == (3, 2, 3 * COST)


class UnavailableLedger(MemoryLedger):
    async def append(self, entries: Sequence[LedgerEntry]) -> None:
        raise Unavailable("the database is unreachable")


async def test_ledger_entry_is_reported_even_if_it_cannot_be_stored():
    harness, reported = scripted_harness(), list[LedgerEntry]()
    run = await harness.run(NAME, trace := harness.put(), model=GPT)
    judging = replace(
        harness.ports.judging, ledger=UnavailableLedger(harness.store), on_entry=reported.append
    )
    worker = harness.use_cases(replace(harness.ports, judging=judging))
    with pytest.raises(Unavailable):
        await worker.evaluate_target(harness.project, run.id, str(trace.id))
    assert [(one.metric, one.usd) for one in reported] == [(NAME, COST)]
    assert harness.store.ledger == {}


async def test_cost_of_unpriced_model_is_null():
    harness = scripted_harness()
    run, [score] = await judge_traces(harness, harness.put(), model="openai/unpriced")
    spent = await harness.ports.judging.ledger.run_spending(harness.project, run.id)
    assert (spent.calls, spent.unpriced, spent.usd) == (1, 1, 0)
    assert (
        metadata_value(score, "usage")
        == '{"calls":1,"input_tokens":1000,"output_tokens":50,"usd":null}'
    )


# --- budgets ---


async def test_questions_beyond_budget_of_run_are_skipped():
    harness = scripted_harness()
    traces = [harness.put(output=f"Flight {n}") for n in range(7)]
    probe, _ = await judge_traces(harness, traces[0])
    run, scores = await judge_traces(harness, *traces[1:], max_cost_usd=Decimal("0.04"))
    assert len({one.outcome for one in scores}) == 2
    skipped = [one for one in scores if one.outcome is ScoreOutcome.SKIPPED]
    assert {one.code for one in skipped} == {"budget"}
    progress = await harness.runs.get(harness.project, run.id)
    assert progress.run.status is RunStatus.COMPLETED
    assert progress.tally.skipped == len(skipped)
    spent = await harness.ports.judging.ledger.run_spending(harness.project, run.id)
    assert spent.usd <= Decimal("0.04")
    assert probe.max_cost_usd is None


async def test_run_with_budget_of_0_uses_cached_verdicts():
    harness = scripted_harness()
    trace = harness.put()
    await judge_traces(harness, trace)
    _, [score] = await judge_traces(harness, trace, max_cost_usd=Decimal(0))
    assert score.outcome is ScoreOutcome.SCORED


async def test_monthly_budget_of_0_skips_every_question():
    harness = scripted_harness()
    store_budget(harness.store, harness.project, Decimal(0), NOON)
    _, [score] = await judge_traces(harness, harness.put())
    assert (score.outcome, score.code) == (ScoreOutcome.SKIPPED, "budget")
    assert harness.judge.asked == []


@pytest.mark.parametrize(
    "first", [Scored(1.0, "Yes"), JudgeRefused(FailCode.BAD_VERDICT, calls=(make_judge_call(GPT),))]
)
async def test_reservation_is_settled_with_actual_cost(first: ScriptedAnswer):
    harness = scripted_harness(first)
    store_budget(harness.store, harness.project, Decimal(10), NOON)
    await judge_traces(harness, harness.put(), max_cost_usd=Decimal(1))
    assert {*spent_by_budget(harness)} == {COST}
    assert len(spent_by_budget(harness)) == 2


async def test_model_whose_price_was_deleted_is_skipped_under_budget():
    harness = scripted_harness()
    run, [score] = await judge_traces(
        harness, harness.put(), model="openai/unpriced", max_cost_usd=Decimal(5)
    )
    assert (score.outcome, score.code) == (ScoreOutcome.SKIPPED, "budget")
    assert harness.judge.asked == []
    assert await harness.ports.judging.ledger.run_spending(harness.project, run.id) == Spending()


async def test_answer_of_unpriced_model_costs_price_of_requested_model():
    other = JudgeRefused(FailCode.BAD_VERDICT, calls=(make_judge_call("openai/snapshot-of-it"),))
    harness = scripted_harness(other)
    run, _ = await judge_traces(harness, harness.put(), max_cost_usd=Decimal(1))
    spent = await harness.ports.judging.ledger.run_spending(harness.project, run.id)
    assert (spent.usd, spent.unpriced) == (COST, 0)
    assert {*spent_by_budget(harness)} == {COST}


# --- prices of the project ---


async def test_project_price_takes_precedence_over_price_book():
    harness = scripted_harness()
    price = await harness.prices("gpt-4o", 1_000)
    _, [score] = await judge_traces(harness, harness.put(), max_cost_usd=Decimal(100))
    [entry] = harness.store.ledger.values()
    assert entry.usd == Decimal("1.05")
    assert entry.price_version == price.version
    assert {*spent_by_budget(harness)} == {entry.usd}
    assert '"usd":1.05' in str(metadata_value(score, "usage"))
    other = replace(harness, project=THEIRS)
    await judge_traces(other, other.put())
    assert [one.price_version for one in harness.store.ledger.values()] == [price.version, "memory"]


async def test_budget_applies_to_model_with_project_price_only():
    harness = scripted_harness()
    traces = [harness.put(output=f"Flight {n}") for n in range(3)]
    await harness.prices("llama*", 100)
    _, scores = await judge_traces(
        harness, *traces, model="openai_compatible/llama3", max_cost_usd=Decimal("0.6")
    )
    assert [one.code for one in scores] == [None, None, "budget"]


@pytest.mark.parametrize(("model", "budget"), [(GPT, "0.05"), ("openai/unpriced", "0.33")])
async def test_price_of_0_lowers_no_budget(model: str, budget: str):
    """Reservations and spending use at least the list price, or the price of unlisted models."""
    harness = scripted_harness()
    await harness.prices("*", 0)
    store_budget(harness.store, harness.project, Decimal(budget), NOON)
    traces = [harness.put(output=f"Flight {n}") for n in range(9)]
    _, scores = await judge_traces(harness, *traces, model=model)
    assert {one.code for one in scores} == {None, "budget"}
    assert {one.usd for one in harness.store.ledger.values()} == {0}  # by the project's price
    counted = COST if model == GPT else UNLISTED_TARIFF.cost(usage_of(DEFAULT_TOKEN_USE))
    assert {*spent_by_budget(harness)} == {len(harness.store.ledger) * counted}


async def test_model_without_a_price_uses_up_a_budget():
    harness = scripted_harness()
    store_budget(harness.store, harness.project, Decimal(10), NOON)
    await judge_traces(harness, harness.put(), model="openai/unpriced")
    counted = UNLISTED_TARIFF.cost(usage_of(DEFAULT_TOKEN_USE))
    assert {*spent_by_budget(harness)} == {counted}


@pytest.mark.parametrize(
    "use",
    [
        TokenUse(requests=1),
        TokenUse(requests=1, input=10**18, output=10),
        TokenUse(requests=1, input=1_000, output=10**18),
        TokenUse(requests=1, input=1_000, output=-1),
        TokenUse(requests=1, input=1_000, cache_read=600, cache_write=401, output=10),
    ],
    ids=["none", "more than the question", "more than the answer", "negative", "more cached"],
)
async def test_impossible_token_counts_are_estimated(use: TokenUse):
    call = replace(make_judge_call(GPT), use=use, code=FailCode.BAD_VERDICT)
    harness = scripted_harness(
        JudgeRefused(FailCode.BAD_VERDICT, calls=(call,)), Scored(1.0, "Yes")
    )
    store_budget(harness.store, harness.project, Decimal(10), NOON)
    run, _ = await judge_traces(harness, harness.put())
    [entry] = harness.store.ledger.values()
    assert entry.call.is_estimated
    assert 0 < entry.call.use.input < 10_000
    assert entry.call.use.output == ANSWER_TOKENS_MAX
    assert {*spent_by_budget(harness)} == {entry.usd}
    assert entry.usd is not None
    assert 0 < entry.usd < 1
    spent = await harness.ports.judging.ledger.run_spending(harness.project, run.id)
    assert (spent.calls, spent.estimated, spent.usd) == (1, 1, entry.usd)


class UnmeteredJudge(ScriptedJudge):
    """A judge whose provider reports no tokens."""

    async def ask(self, question: Question) -> Answer:
        answer = await super().ask(question)
        calls = tuple(replace(one, use=TokenUse(requests=1)) for one in answer.calls)
        return replace(answer, calls=calls)


async def test_score_says_that_its_tokens_are_estimated():
    harness = EvaluationHarness(judge=UnmeteredJudge())
    _, [score] = await judge_traces(harness, harness.put())
    usage = json.loads(str(metadata_value(score, "usage")))
    assert usage["estimated"] is True
    assert usage["output_tokens"] == ANSWER_TOKENS_MAX
    assert usage["usd"] > 0


async def test_unpriced_ledger_entry_has_no_price_version():
    harness = scripted_harness()
    await judge_traces(harness, harness.put(), model="openai/unpriced")
    [entry] = harness.store.ledger.values()
    assert (entry.usd, entry.price_version) == (None, None)


# --- slots ---


def harness_with_one_slot(*answers: ScriptedAnswer) -> EvaluationHarness:
    """One question at a time; the first gets no answer before the gate is opened."""
    judge = ScriptedJudge({NAME: answers} if answers else {}, gate=asyncio.Event())
    # Without a head start of the first question the others wait for the slot at once.
    policy = replace(ONE_ATTEMPT, judge_concurrency=1, head_start_s=0.0)
    return EvaluationHarness(judge=judge, policy=policy)


async def start_targets(harness: EvaluationHarness) -> list[asyncio.Task[None]]:
    """Start all targets of a run: one question is running, the others wait."""
    worker = harness.use_cases()
    tasks = [
        asyncio.create_task(worker.evaluate_target(job.project, job.run, job.target))
        for job in harness.jobs.sent
        if isinstance(job, EvaluateTargetJob)
    ]
    await until(lambda: harness.judge.asked)
    await run_loop(50)
    return tasks


async def open_gate(harness: EvaluationHarness, tasks: Sequence[asyncio.Task[None]]) -> None:
    assert harness.judge.gate is not None
    harness.judge.gate.set()
    await asyncio.gather(*tasks)


async def test_questions_waiting_for_slot_are_dropped_when_run_is_cancelled():
    harness = harness_with_one_slot()
    run = await harness.run(NAME, *(harness.put(output=f"{n}") for n in range(4)), model=GPT)
    tasks = await start_targets(harness)
    await harness.cancel(run)
    await open_gate(harness, tasks)
    assert len(harness.judge.asked) == 1
    assert {one.code for one in (await harness.scores_of_run(run)).values()} == {"cancelled"}


async def test_questions_waiting_for_slot_are_dropped_when_circuit_opens():
    harness = harness_with_one_slot(JudgeRefused(FailCode.QUOTA))
    run = await harness.run(NAME, *(harness.put(output=f"{n}") for n in range(4)), model=GPT)
    tasks = await start_targets(harness)
    await open_gate(harness, tasks)
    assert len(harness.judge.asked) == 1
    codes = sorted(str(one.code) for one in (await harness.scores_of_run(run)).values())
    assert codes == ["circuit_open"] * 3 + ["quota"]


async def test_questions_waiting_for_slot_reserve_no_budget():
    """A budget that is enough for sequential questions is enough for concurrent ones."""
    harness = harness_with_one_slot()
    traces = [harness.put(output=f"{n}") for n in range(6)]
    await harness.run(NAME, *traces, model=GPT, max_cost_usd=Decimal("0.08"))
    tasks = await start_targets(harness)
    [reserved] = spent_by_budget(harness)
    assert reserved < Decimal("0.045"), "the reservation covers a single question"
    await open_gate(harness, tasks)
    assert len(harness.judge.asked) == 6
    assert {*spent_by_budget(harness)} == {6 * COST}


async def test_questions_waiting_for_budget_leave_their_slots_to_other_runs():
    harness = harness_with_one_slot()
    harness.policy = replace(harness.policy, judge_concurrency=2)
    traces = [harness.put(output=f"{n}") for n in range(4)]
    poor = await harness.run(NAME, *traces, model=GPT, max_cost_usd=Decimal("0.05"))
    worker = harness.use_cases()
    tasks = [asyncio.create_task(worker.run_job(job)) for job in harness.jobs.sent]
    await until(lambda: harness.judge.asked)
    await run_loop(50)
    assert len(harness.judge.asked) == 1, "the budget has room for one reservation"
    harness.jobs.sent.clear()
    other = await harness.run(NAME, harness.put(output="other"), model=GPT)
    tasks += [asyncio.create_task(worker.run_job(job)) for job in harness.jobs.sent]
    await run_loop(50)
    assert len(harness.judge.asked) == 2
    await open_gate(harness, tasks)
    for run in (poor, other):
        assert {one.code for one in (await harness.scores_of_run(run)).values()} == {None}


async def test_groups_of_organizations_share_the_slots_of_a_process():
    first = harness_with_one_slot()
    second = replace(first, store=MemoryStore(), jobs=RecordedJobs())
    limiters, tasks = provider_limiters(1), list[asyncio.Task[None]]()
    for group in (first, second):
        await group.run(NAME, group.put(), model=GPT)
        worker = group.use_cases(replace(group.ports, judge_limiters=limiters))
        tasks += [asyncio.create_task(worker.run_job(job)) for job in group.jobs.sent]
    await until(lambda: first.judge.asked)
    await run_loop(50)
    await open_gate(first, tasks)
    assert (len(first.judge.asked), first.judge.most_at_once) == (2, 1)


async def test_each_provider_has_its_own_slots():
    harness = harness_with_one_slot()
    for model in (GPT, "anthropic/claude"):
        await harness.run(
            NAME, harness.put(output=model), harness.put(output=f"{model}!"), model=model
        )
    tasks = await start_targets(harness)
    assert sorted(one.model for one in harness.judge.asked) == ["anthropic/claude", GPT]
    await open_gate(harness, tasks)
    assert len(harness.judge.asked) == 4


# --- the database ---


@dataclass(frozen=True, slots=True)
class FailingVerdicts(MemoryVerdicts):
    """The second `find` fails."""

    keys: list[bytes] = field(default_factory=list)

    async def find(self, project: ProjectId, key: bytes, since: datetime) -> Verdict | None:
        self.keys.append(key)
        if len(self.keys) == 2:
            raise Unavailable("the database is unreachable")
        return await MemoryVerdicts.find(self, project, key, since)


async def test_running_question_is_answered_when_database_fails_for_another():
    harness = scripted_harness()
    trace = harness.put()
    run = await harness.run(f"{NAME} confidence", trace, model=GPT)
    verdicts = FailingVerdicts(harness.store)
    ports = replace(harness.ports, judging=replace(harness.ports.judging, verdicts=verdicts))
    harness.judge.gate = asyncio.Event()
    work = asyncio.create_task(
        harness.use_cases(ports).evaluate_target(harness.project, run.id, str(trace.id))
    )
    await until(lambda: harness.judge.asked and len(verdicts.keys) == 2)
    harness.judge.gate.set()
    with pytest.raises(Unavailable):
        await work
    assert sorted((await harness.results(run, trace)).values()) == ["0.8", "pending"]
    assert len(harness.judge.asked) == len(harness.store.ledger) == 1


# --- votes ---


@pytest.mark.parametrize(
    ("values", "votes", "asked", "mean"),
    [
        ([0.6], 1, 1, 0.6),
        ([1.0], 5, 1, 1.0),
        ([0.6, 1.0, 1.0], 5, 3, 2.6 / 3),
        ([0.6, 0.4, 1.0, 1.0, 0.0], 5, 5, 0.6),
        ([0.6, 0.4, 1.0, 1.0, 0.0], 3, 3, 2.0 / 3),
    ],
)
async def test_score_near_threshold_gets_more_votes(
    values: Sequence[float], votes: int, asked: int, mean: float
):
    harness = scripted_harness(*(Scored(value, f"{value}") for value in values))
    _, [score] = await judge_traces(harness, harness.put(), votes=votes)
    assert score.number == pytest.approx(mean, abs=1e-4)
    assert sorted(one.sample for one in harness.judge.asked) == [*range(asked)]
    assert (metadata_value(score, "votes") is None) is (asked == 1)
    assert f'"input_tokens":{asked * DEFAULT_TOKEN_USE.input},' in str(
        metadata_value(score, "usage")
    )


async def test_each_vote_is_cached_separately():
    harness = scripted_harness(Scored(0.6, ""), Scored(1.0, ""), Scored(0.8, ""))
    trace = harness.put()
    _, [first] = await judge_traces(harness, trace, votes=3)
    _, [again] = await judge_traces(harness, trace, votes=3)
    assert len(harness.judge.asked) == 3
    assert again.value == first.value
    _, [alone] = await judge_traces(harness, trace)
    assert alone.number == 0.6


@pytest.mark.parametrize(
    "later",
    [JudgeUnavailable(FailCode.JUDGE_TIMEOUT), Skipped(SkipCode.CANNOT_JUDGE)],
    ids=["no answer", "cannot judge"],
)
async def test_failed_vote_is_left_out(later: ScriptedAnswer):
    harness = scripted_harness(Scored(0.6, "fair"), later)
    _, [score] = await judge_traces(harness, harness.put(), votes=3)
    assert score.number == 0.6
    assert metadata_value(score, "votes_missed") is not None
    assert len(harness.judge.asked) == 3


@pytest.mark.parametrize(
    "failure",
    [
        JudgeUnavailable(FailCode.JUDGE_TIMEOUT, calls=(make_judge_call(GPT),)),
        JudgeRefused(FailCode.BAD_VERDICT, calls=(make_judge_call(GPT),) * 2),
    ],
    ids=["unavailable", "refused"],
)
async def test_usage_of_a_score_has_failed_votes(failure: JudgeUnavailable | JudgeRefused):
    harness = scripted_harness(Scored(0.6, "fair"), failure)
    _, [score] = await judge_traces(harness, harness.put(), votes=3)
    usage = json.loads(str(metadata_value(score, "usage")))
    entries = harness.store.ledger.values()
    assert len(entries) == 1 + 2 * len(failure.calls)
    assert usage["calls"] == len(entries)
    assert usage["input_tokens"] == sum(one.call.use.input for one in entries)
    assert usage["output_tokens"] == sum(one.call.use.output for one in entries)
    assert usage["usd"] == pytest.approx(float(sum(one.usd for one in entries)))
    assert metadata_value(score, "cache") == '"miss"'


@pytest.mark.parametrize("code", [FailCode.BAD_VERDICT, FailCode.TOO_LONG])
async def test_failed_score_says_what_its_requests_cost(code: FailCode):
    harness = scripted_harness(JudgeRefused(code, calls=(make_judge_call(GPT),) * 2))
    _, [score] = await judge_traces(harness, harness.put())
    assert (score.outcome, score.code) == (ScoreOutcome.FAILED, code)
    entries = harness.store.ledger.values()
    assert len(entries) == 2
    assert json.loads(str(metadata_value(score, "usage"))) == {
        "calls": 2,
        "input_tokens": sum(one.call.use.input for one in entries),
        "output_tokens": sum(one.call.use.output for one in entries),
        "usd": float(2 * COST),
    }
    assert json.loads(str(metadata_value(score, "model"))) == GPT


async def test_failed_score_without_a_request_has_no_usage():
    harness = scripted_harness(JudgeRefused(FailCode.UNKNOWN_MODEL))
    _, [score] = await judge_traces(harness, harness.put())
    assert score.outcome is ScoreOutcome.FAILED
    assert metadata_value(score, "usage") is None


async def test_usage_of_a_score_has_the_attempt_with_all_evidence():
    too_long = JudgeRefused(FailCode.TOO_LONG, calls=(make_judge_call(GPT),))
    harness = scripted_harness(too_long, Scored(1.0, ""))
    _, [score] = await judge_traces(harness, harness.put(*LONG))
    assert len(harness.store.ledger) == 2
    assert json.loads(str(metadata_value(score, "usage")))["calls"] == 2


async def test_votes_after_one_that_failed_are_new_samples():
    harness = scripted_harness(
        Scored(0.6, ""), JudgeUnavailable(FailCode.JUDGE_TIMEOUT), Scored(0.6, "")
    )
    _, [score] = await judge_traces(harness, harness.put(), votes=5)
    assert sorted(one.sample for one in harness.judge.asked) == [*range(5)]
    assert metadata_value(score, "votes_missed") == "1"


async def test_skipped_first_vote_is_final():
    harness = scripted_harness(Skipped(SkipCode.CANNOT_JUDGE))
    _, [score] = await judge_traces(harness, harness.put(), votes=5)
    assert score.outcome is ScoreOutcome.SKIPPED
    assert len(harness.judge.asked) == 1


# --- the order of the policies ---

THREE_ATTEMPTS = replace(ONE_ATTEMPT, judge_attempts=3)
TOO_LONG = JudgeRefused(FailCode.TOO_LONG)
LONG_TEXT = "word " * 300
LONG = [tool(f"t{n}", given=LONG_TEXT, got=LONG_TEXT) for n in range(60)]


async def test_every_vote_gets_halved_evidence_after_too_long():
    harness = scripted_harness(TOO_LONG, Scored(0.6, ""), Scored(0.8, ""))
    await judge_traces(harness, harness.put(*LONG), votes=3)
    whole, *votes = [one.evidence.tokens for one in harness.judge.asked]
    assert [tokens <= whole // 2 for tokens in votes] == [True] * 3


async def test_further_vote_with_too_long_evidence_is_left_out():
    harness = scripted_harness(Scored(0.6, ""), TOO_LONG, Scored(0.8, ""))
    _, [score] = await judge_traces(harness, harness.put(*LONG), votes=3)
    assert metadata_value(score, "votes_missed") == "1"
    assert len(harness.judge.asked) == 3


async def test_cached_verdict_is_used_while_circuit_is_open():
    harness = scripted_harness(Scored(1.0, ""), JudgeRefused(FailCode.AUTH))
    cached = harness.put()
    await judge_traces(harness, cached)
    _, scores = await judge_traces(harness, harness.put(output="Something else"), cached)
    assert [one.value or one.code for one in scores] == ["auth", "1.0"]


async def test_questions_waiting_for_first_of_run_hold_no_slot():
    policy = replace(ONE_ATTEMPT, judge_concurrency=2)
    harness = EvaluationHarness(judge=ScriptedJudge(gate=asyncio.Event()), policy=policy)
    for n in range(2):
        await harness.run(NAME, *(harness.put(output=f"{n}.{m}") for m in range(3)), model=GPT)
    tasks = await start_targets(harness)
    assert len({one.boundary for one in harness.judge.asked}) == 2, (
        "only the first question of each run is asked"
    )
    await open_gate(harness, tasks)
    assert len(harness.judge.asked) == 6


@dataclass(slots=True)
class StuckProvider(ScriptedJudge):
    """No question to `openai` gets an answer before the gate is opened."""

    async def _wait(self, seconds: float) -> None:
        if self.asked[-1].model == GPT:
            await super(StuckProvider, self)._wait(seconds)


@dataclass(frozen=True, slots=True)
class NotedTargets(MemoryTargets):
    """Notes the traces that are read."""

    read: list[TraceId] = field(default_factory=list)

    async def load_trace(self, project: ProjectId, trace: TraceId) -> Any:
        self.read.append(trace)
        return await super(NotedTargets, self).load_trace(project, trace)


async def test_targets_of_a_provider_that_does_not_answer_take_no_place_of_others():
    policy = replace(ONE_ATTEMPT, concurrent_targets=2)
    harness = EvaluationHarness(judge=StuckProvider(gate=asyncio.Event()), policy=policy)
    asked = [harness.put(output=f"{n}") for n in range(5)]
    stuck = await harness.run(NAME, *asked, model=GPT)
    other = harness.put(output="another")
    free = await harness.run(NAME, other, model="anthropic/claude")
    targets = NotedTargets(harness.store)
    worker = harness.use_cases(replace(harness.ports, targets=targets))
    tasks = [asyncio.create_task(worker.run_job(job)) for job in harness.jobs.sent]
    await until(lambda: sum(task.done() for task in tasks) == 1)
    assert (await harness.progress(free)).run.status is RunStatus.COMPLETED
    # What waits for a place holds no trace.
    await until(lambda: len(harness.judge.asked) == 2)
    assert sorted(targets.read) == sorted([asked[0].id, asked[1].id, other.id])
    await open_gate(harness, tasks)
    assert (await harness.progress(stuck)).run.status is RunStatus.COMPLETED


async def test_circuit_is_checked_before_budget_is_reserved():
    costly = JudgeRefused(FailCode.QUOTA, calls=(make_judge_call(GPT),) * 10)
    harness = harness_with_one_slot(costly)
    traces = [harness.put(output=f"{n}") for n in range(2)]
    run = await harness.run(NAME, *traces, model=GPT, max_cost_usd=Decimal("0.05"))
    await open_gate(harness, await start_targets(harness))
    codes = {one.code for one in (await harness.scores_of_run(run)).values()}
    assert codes == {"quota", "circuit_open"}, (
        "no question fails for the budget, although too little is left"
    )


async def test_attempts_of_question_share_one_reservation():
    failed = JudgeUnavailable(
        FailCode.PROVIDER_ERROR, calls=(make_judge_call(GPT, FailCode.PROVIDER_ERROR),)
    )
    harness = replace(scripted_harness(failed, failed, Scored(1.0, "")), policy=THREE_ATTEMPTS)
    _, [score] = await judge_traces(harness, harness.put(), max_cost_usd=Decimal("0.05"))
    assert score.value == "1.0"
    entries = harness.store.ledger.values()
    assert [(one.attempt, one.call.code) for one in entries] == [
        (1, FailCode.PROVIDER_ERROR),
        (2, FailCode.PROVIDER_ERROR),
        (3, None),
    ]
    assert {*spent_by_budget(harness)} == {3 * COST}


async def test_429_followed_by_success_halves_concurrency():
    policy = replace(THREE_ATTEMPTS, judge_concurrency=2)
    harness = replace(
        scripted_harness(JudgeUnavailable(FailCode.RATE_LIMITED), Scored(1.0, "")), policy=policy
    )
    worker = harness.use_cases()
    run = await harness.run(NAME, *(harness.put(output=f"{n}") for n in range(5)), model=GPT)
    first, *others = [job for job in harness.jobs.sent if isinstance(job, EvaluateTargetJob)]
    await worker.evaluate_target(first.project, first.run, first.target)
    await asyncio.gather(
        *(worker.evaluate_target(job.project, job.run, job.target) for job in others)
    )
    assert {one.value for one in (await harness.scores_of_run(run)).values()} == {"1.0"}
    assert harness.judge.most_at_once == 1
