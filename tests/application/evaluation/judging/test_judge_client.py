"""The judge client: asks nothing twice, spends no more than a budget, and takes several votes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from adapters.memory.evaluation.judge_costs import MemoryLedger, MemoryVerdicts, store_budget
from adapters.memory.evaluation.scripted_judge import (
    DEFAULT_TOKEN_USE,
    ScriptedJudge,
    Told,
    make_judge_call,
)
from application.evaluation.ports.judging import VERDICT_RETENTION, Verdict
from application.jobs import EvaluateTargetJob
from domain.errors import Unavailable
from domain.evaluation.costs.judge_costs import LedgerEntry, Spending
from domain.evaluation.judging.judge import JudgeRefused, JudgeUnavailable
from domain.evaluation.runs.run import EvalRun, RunStatus
from domain.evaluation.scores.outcome import FailCode, Scored, SkipCode, Skipped
from domain.evaluation.scores.score import ScoreOutcome, TraceScore
from domain.ids import ProjectId
from domain.tracing.payload import object_members
from domain.tracing.trace import Trace
from tests.support.builders.evaluated_traces import tool
from tests.support.builders.values import NOON, THEIRS
from tests.support.fixtures.evaluation_harness import ONE_ATTEMPT, Laboratory
from tests.support.fixtures.judge_policies import run_loop

NAME = "task_completion"
GPT = "openai/gpt-4o"  # which has a price: 1,000 tokens in and 50 out are 0.003 USD
COST = Decimal("0.003")


def lab_of(*told: Told) -> Laboratory:
    return Laboratory(judge=ScriptedJudge({NAME: told} if told else {}))


async def judge_traces(
    lab: Laboratory, *traces: Trace, model: str = GPT, **said: object
) -> tuple[EvalRun, list[TraceScore]]:
    run = await lab.run(NAME, *traces, model=model, **said)
    await lab.work()
    scores = await lab.of_run(run)
    return run, [scores[str(one.id), NAME] for one in traces]


def mark(score: TraceScore, key: str) -> object:
    return dict(object_members(score.metadata)).get(key)


# --- the verdict cache ---


async def test_same_content_in_another_trace_is_answered_from_cache():
    lab = lab_of()
    _, [first] = await judge_traces(lab, lab.put())
    lab.forward(days=1)
    _, [again] = await judge_traces(lab, lab.put())
    assert len(lab.judge.asked) == 1
    assert again.trace_id != first.trace_id
    assert (again.value, again.reason) == (first.value, first.reason)
    assert mark(again, "cache") == '"hit"'
    usage = '{"calls":0,"input_tokens":0,"output_tokens":0,"usd":0.0,"saved_usd":0.003}'
    assert mark(again, "usage") == usage
    assert mark(first, "cache") == '"miss"'
    for key in ("fingerprint", "model", "judge_kind", "evidence_hash", "threshold", "success"):
        assert mark(again, key) == mark(first, key)


@pytest.mark.parametrize(
    "changed",
    [{"output": "I booked nothing."}, {"input": "book a flight to Rome"}],
    ids=["output", "input"],
)
async def test_changed_content_is_judged_once(changed: dict[str, str]):
    lab = lab_of()
    trace = lab.put()
    await judge_traces(lab, trace)
    lab.change(trace, **changed)
    await judge_traces(lab, trace)
    assert len(lab.judge.asked) == 2


async def test_new_judge_revision_does_not_use_cache():
    lab = lab_of()
    trace = lab.put()
    await judge_traces(lab, trace)
    lab.judge.revision = "scripted/2"
    await judge_traces(lab, trace)
    assert len(lab.judge.asked) == 2


async def test_each_project_has_its_own_cache():
    lab = lab_of()
    await judge_traces(lab, lab.put())
    other = replace(lab, project=THEIRS)
    await judge_traces(other, other.put())
    assert len(lab.judge.asked) == 2


async def test_cached_verdict_expires():
    lab = lab_of()
    trace = lab.put()
    await judge_traces(lab, trace)
    lab.forward(seconds=VERDICT_RETENTION.total_seconds())
    await judge_traces(lab, trace)
    assert len(lab.judge.asked) == 1
    lab.now += timedelta(microseconds=1)
    await judge_traces(lab, trace)
    assert len(lab.judge.asked) == 2


@pytest.mark.parametrize(
    "first",
    [Skipped(SkipCode.CANNOT_JUDGE), JudgeRefused(FailCode.BAD_VERDICT)],
    ids=["cannot judge", "refused"],
)
async def test_answer_without_score_is_not_cached(first: Told):
    lab = lab_of(first, Scored(1.0, "Yes"))
    trace = lab.put()
    await judge_traces(lab, trace)
    _, [score] = await judge_traces(lab, trace)
    assert score.outcome is ScoreOutcome.SCORED


async def test_rules_and_heuristic_judge_are_neither_in_ledger_nor_cached():
    lab = lab_of()
    run, [score] = await judge_traces(lab, lab.put(input=None))
    assert score.outcome is ScoreOutcome.SKIPPED
    assert lab.judge.asked == []
    assert await lab.ports.judging.ledger.of_run(lab.project, run.id) == Spending()
    run, _ = await judge_traces(lab, lab.put(), model="heuristic/1")
    assert await lab.ports.judging.ledger.of_run(lab.project, run.id) == Spending()
    assert lab.store.verdicts == {}


# --- the ledger ---


async def test_ledger_has_every_request_including_failed_ones():
    calls = (
        make_judge_call(GPT, FailCode.PROVIDER_ERROR),
        make_judge_call(GPT, FailCode.RATE_LIMITED),
    )
    lab = lab_of(JudgeUnavailable(FailCode.RATE_LIMITED, calls=calls), Scored(1.0, "Yes"))
    run = await lab.run(NAME, lab.put(), model=GPT)
    await lab.attempts(2)
    entries = [*lab.store.ledger.values()]
    assert [(one.attempt, one.call.code) for one in entries] == [
        (1, FailCode.PROVIDER_ERROR),
        (2, FailCode.RATE_LIMITED),
        (1, None),
    ]
    assert {one.usd for one in entries} == {COST}
    spent = await lab.ports.judging.ledger.of_run(lab.project, run.id)
    assert (spent.calls, spent.failed, spent.usd) == (3, 2, 3 * COST)


class UnavailableLedger(MemoryLedger):
    async def append(self, entries: Sequence[LedgerEntry]) -> None:
        raise Unavailable("the database is away")


async def test_ledger_entry_is_reported_even_if_it_cannot_be_stored():
    lab, reported = lab_of(), list[LedgerEntry]()
    run = await lab.run(NAME, trace := lab.put(), model=GPT)
    judging = replace(
        lab.ports.judging, ledger=UnavailableLedger(lab.store), on_entry=reported.append
    )
    do = lab.over(replace(lab.ports, judging=judging))
    with pytest.raises(Unavailable):
        await do.evaluate_target(lab.project, run.id, str(trace.id))
    assert [(one.metric, one.usd) for one in reported] == [(NAME, COST)]
    assert lab.store.ledger == {}


async def test_cost_of_unpriced_model_is_null():
    lab = lab_of()
    run, [score] = await judge_traces(lab, lab.put(), model="openai/unpriced")
    spent = await lab.ports.judging.ledger.of_run(lab.project, run.id)
    assert (spent.calls, spent.unpriced, spent.usd) == (1, 1, 0)
    assert mark(score, "usage") == '{"calls":1,"input_tokens":1000,"output_tokens":50,"usd":null}'


# --- budgets ---


async def test_questions_beyond_budget_of_run_are_skipped():
    lab = lab_of()
    traces = [lab.put(output=f"Flight {n}") for n in range(7)]
    probe, _ = await judge_traces(lab, traces[0])
    run, scores = await judge_traces(lab, *traces[1:], max_cost_usd=Decimal("0.04"))
    assert len({one.outcome for one in scores}) == 2
    skipped = [one for one in scores if one.outcome is ScoreOutcome.SKIPPED]
    assert {one.code for one in skipped} == {"budget"}
    progress = await lab.runs.get(lab.project, run.id)
    assert progress.run.status is RunStatus.COMPLETED
    assert progress.tally.skipped == len(skipped)
    spent = await lab.ports.judging.ledger.of_run(lab.project, run.id)
    assert spent.usd <= Decimal("0.04")
    assert probe.max_cost_usd is None


async def test_run_with_budget_of_0_uses_cached_verdicts():
    lab = lab_of()
    trace = lab.put()
    await judge_traces(lab, trace)
    _, [score] = await judge_traces(lab, trace, max_cost_usd=Decimal(0))
    assert score.outcome is ScoreOutcome.SCORED


async def test_monthly_budget_of_0_skips_every_question():
    lab = lab_of()
    store_budget(lab.store, lab.project, Decimal(0), NOON)
    _, [score] = await judge_traces(lab, lab.put())
    assert (score.outcome, score.code) == (ScoreOutcome.SKIPPED, "budget")
    assert lab.judge.asked == []


@pytest.mark.parametrize(
    "first", [Scored(1.0, "Yes"), JudgeRefused(FailCode.BAD_VERDICT, calls=(make_judge_call(GPT),))]
)
async def test_reservation_is_settled_with_actual_cost(first: Told):
    lab = lab_of(first)
    store_budget(lab.store, lab.project, Decimal(10), NOON)
    await judge_traces(lab, lab.put(), max_cost_usd=Decimal(1))
    assert {*lab.store.spending.values()} == {COST}
    assert len(lab.store.spending) == 2


async def test_model_whose_price_was_deleted_is_skipped_under_budget():
    lab = lab_of()
    run, [score] = await judge_traces(
        lab, lab.put(), model="openai/unpriced", max_cost_usd=Decimal(5)
    )
    assert (score.outcome, score.code) == (ScoreOutcome.SKIPPED, "budget")
    assert lab.judge.asked == []
    assert await lab.ports.judging.ledger.of_run(lab.project, run.id) == Spending()


async def test_answer_of_unpriced_model_costs_price_of_requested_model():
    other = JudgeRefused(FailCode.BAD_VERDICT, calls=(make_judge_call("openai/snapshot-of-it"),))
    lab = lab_of(other)
    run, _ = await judge_traces(lab, lab.put(), max_cost_usd=Decimal(1))
    spent = await lab.ports.judging.ledger.of_run(lab.project, run.id)
    assert (spent.usd, spent.unpriced) == (COST, 0)
    assert {*lab.store.spending.values()} == {COST}


# --- prices of the project ---


async def test_project_price_takes_precedence_over_price_book():
    lab = lab_of()
    price = await lab.prices("gpt-4o", 1_000)
    _, [score] = await judge_traces(lab, lab.put(), max_cost_usd=Decimal(100))
    [entry] = lab.store.ledger.values()
    assert entry.usd == Decimal("1.05")
    assert entry.price_version == price.version
    assert {*lab.store.spending.values()} == {entry.usd}
    assert '"usd":1.05' in str(mark(score, "usage"))
    other = replace(lab, project=THEIRS)
    await judge_traces(other, other.put())
    assert [one.price_version for one in lab.store.ledger.values()] == [price.version, "memory"]


async def test_budget_applies_to_model_with_project_price_only():
    lab = lab_of()
    traces = [lab.put(output=f"Flight {n}") for n in range(3)]
    await lab.prices("llama*", 100)
    _, scores = await judge_traces(
        lab, *traces, model="openai_compatible/llama3", max_cost_usd=Decimal("0.6")
    )
    assert [one.code for one in scores] == [None, None, "budget"]


async def test_unpriced_ledger_entry_has_no_price_version():
    lab = lab_of()
    await judge_traces(lab, lab.put(), model="openai/unpriced")
    [entry] = lab.store.ledger.values()
    assert (entry.usd, entry.price_version) == (None, None)


# --- slots ---


def lab_with_one_slot(*told: Told) -> Laboratory:
    """One question at a time, and the first gets no answer before the gate is opened."""
    judge = ScriptedJudge({NAME: told} if told else {}, gate=asyncio.Event())
    # Without a head start of the first question the others wait for the slot at once.
    policy = replace(ONE_ATTEMPT, judge_concurrency=1, head_start_s=0.0)
    return Laboratory(judge=judge, policy=policy)


async def start_targets(lab: Laboratory) -> list[asyncio.Task[None]]:
    """Begins all targets of a run: one of them is being asked about, the others wait."""
    do = lab.over()
    tasks = [
        asyncio.create_task(do.evaluate_target(job.project, job.run, job.target))
        for job in lab.jobs.sent
        if isinstance(job, EvaluateTargetJob)
    ]
    while not lab.judge.asked:
        await asyncio.sleep(0)
    await run_loop(50)
    return tasks


async def answer(lab: Laboratory, tasks: Sequence[asyncio.Task[None]]) -> None:
    assert lab.judge.gate is not None
    lab.judge.gate.set()
    await asyncio.gather(*tasks)


async def test_questions_waiting_for_slot_are_dropped_when_run_is_cancelled():
    lab = lab_with_one_slot()
    run = await lab.run(NAME, *(lab.put(output=f"{n}") for n in range(4)), model=GPT)
    tasks = await start_targets(lab)
    await lab.cancel(run)
    await answer(lab, tasks)
    assert len(lab.judge.asked) == 1
    assert {one.code for one in (await lab.of_run(run)).values()} == {"cancelled"}


async def test_questions_waiting_for_slot_are_dropped_when_circuit_opens():
    lab = lab_with_one_slot(JudgeRefused(FailCode.QUOTA))
    run = await lab.run(NAME, *(lab.put(output=f"{n}") for n in range(4)), model=GPT)
    tasks = await start_targets(lab)
    await answer(lab, tasks)
    assert len(lab.judge.asked) == 1
    codes = sorted(str(one.code) for one in (await lab.of_run(run)).values())
    assert codes == ["circuit_open"] * 3 + ["quota"]


async def test_questions_waiting_for_slot_reserve_no_budget():
    """So a budget that suffices one after the other suffices for all together."""
    lab = lab_with_one_slot()
    traces = [lab.put(output=f"{n}") for n in range(6)]
    await lab.run(NAME, *traces, model=GPT, max_cost_usd=Decimal("0.08"))
    tasks = await start_targets(lab)
    [reserved] = lab.store.spending.values()
    assert reserved < Decimal("0.045"), "for a single question"
    await answer(lab, tasks)
    assert len(lab.judge.asked) == 6
    assert {*lab.store.spending.values()} == {6 * COST}


async def test_each_provider_has_its_own_slots():
    lab = lab_with_one_slot()
    for model in (GPT, "anthropic/claude"):
        await lab.run(NAME, lab.put(output=model), lab.put(output=f"{model}!"), model=model)
    tasks = await start_targets(lab)
    assert sorted(one.model for one in lab.judge.asked) == ["anthropic/claude", GPT]
    await answer(lab, tasks)
    assert len(lab.judge.asked) == 4


# --- the database ---


@dataclass(frozen=True, slots=True)
class BrokenOnce(MemoryVerdicts):
    """The second `find` fails."""

    regex_search: list[bytes] = field(default_factory=list)

    async def find(self, project: ProjectId, key: bytes, since: datetime) -> Verdict | None:
        self.regex_search.append(key)
        if len(self.regex_search) == 2:
            raise Unavailable("the database is away")
        return await MemoryVerdicts.find(self, project, key, since)


async def test_running_question_is_answered_when_database_fails_for_another():
    lab = lab_of()
    trace = lab.put()
    run = await lab.run(f"{NAME} confidence", trace, model=GPT)
    verdicts = BrokenOnce(lab.store)
    ports = replace(lab.ports, judging=replace(lab.ports.judging, verdicts=verdicts))
    lab.judge.gate = asyncio.Event()
    work = asyncio.create_task(lab.over(ports).evaluate_target(lab.project, run.id, str(trace.id)))
    while not (lab.judge.asked and len(verdicts.regex_search) == 2):
        await asyncio.sleep(0)
    lab.judge.gate.set()
    with pytest.raises(Unavailable):
        await work
    assert sorted((await lab.told(run, trace)).values()) == ["0.8", "pending"]
    assert len(lab.judge.asked) == len(lab.store.ledger) == 1


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
    lab = lab_of(*(Scored(value, f"{value}") for value in values))
    _, [score] = await judge_traces(lab, lab.put(), votes=votes)
    assert score.number == pytest.approx(mean, abs=1e-4)
    assert sorted(one.sample for one in lab.judge.asked) == [*range(asked)]
    assert (mark(score, "votes") is None) is (asked == 1)
    assert f'"input_tokens":{asked * DEFAULT_TOKEN_USE.input},' in str(mark(score, "usage"))


async def test_each_vote_is_cached_separately():
    lab = lab_of(Scored(0.6, ""), Scored(1.0, ""), Scored(0.8, ""))
    trace = lab.put()
    _, [first] = await judge_traces(lab, trace, votes=3)
    _, [again] = await judge_traces(lab, trace, votes=3)
    assert len(lab.judge.asked) == 3
    assert again.value == first.value
    _, [alone] = await judge_traces(lab, trace)
    assert alone.number == 0.6


@pytest.mark.parametrize(
    "later",
    [JudgeUnavailable(FailCode.JUDGE_TIMEOUT), Skipped(SkipCode.CANNOT_JUDGE)],
    ids=["no answer", "cannot judge"],
)
async def test_failed_vote_is_left_out(later: Told):
    lab = lab_of(Scored(0.6, "fair"), later)
    _, [score] = await judge_traces(lab, lab.put(), votes=3)
    assert score.number == 0.6
    assert mark(score, "votes_missed") is not None
    assert len(lab.judge.asked) == 3


async def test_skipped_first_vote_is_final():
    lab = lab_of(Skipped(SkipCode.CANNOT_JUDGE))
    _, [score] = await judge_traces(lab, lab.put(), votes=5)
    assert score.outcome is ScoreOutcome.SKIPPED
    assert len(lab.judge.asked) == 1


# --- the order of the policies ---

THREE_ATTEMPTS = replace(ONE_ATTEMPT, judge_attempts=3)
TOO_LONG = JudgeRefused(FailCode.TOO_LONG)
LONG_TEXT = "word " * 300
LONG = [tool(f"t{n}", given=LONG_TEXT, got=LONG_TEXT) for n in range(60)]


async def test_every_vote_gets_halved_evidence_after_too_long():
    lab = lab_of(TOO_LONG, Scored(0.6, ""), Scored(0.8, ""))
    await judge_traces(lab, lab.put(*LONG), votes=3)
    whole, *votes = [one.evidence.tokens for one in lab.judge.asked]
    assert [tokens <= whole // 2 for tokens in votes] == [True] * 3


async def test_further_vote_with_too_long_evidence_is_left_out():
    lab = lab_of(Scored(0.6, ""), TOO_LONG, Scored(0.8, ""))
    _, [score] = await judge_traces(lab, lab.put(*LONG), votes=3)
    assert mark(score, "votes_missed") == "1"
    assert len(lab.judge.asked) == 3


async def test_cached_verdict_is_used_while_circuit_is_open():
    lab = lab_of(Scored(1.0, ""), JudgeRefused(FailCode.AUTH))
    cached = lab.put()
    await judge_traces(lab, cached)
    _, scores = await judge_traces(lab, lab.put(output="Something else"), cached)
    assert [one.value or one.code for one in scores] == ["auth", "1.0"]


async def test_questions_waiting_for_first_of_run_hold_no_slot():
    policy = replace(ONE_ATTEMPT, judge_concurrency=2)
    lab = Laboratory(judge=ScriptedJudge(gate=asyncio.Event()), policy=policy)
    for n in range(2):
        await lab.run(NAME, *(lab.put(output=f"{n}.{m}") for m in range(3)), model=GPT)
    tasks = await start_targets(lab)
    assert len({one.boundary for one in lab.judge.asked}) == 2, "the first of each run"
    await answer(lab, tasks)
    assert len(lab.judge.asked) == 6


async def test_circuit_is_checked_before_budget_is_reserved():
    costly = JudgeRefused(FailCode.QUOTA, calls=(make_judge_call(GPT),) * 10)
    lab = lab_with_one_slot(costly)
    traces = [lab.put(output=f"{n}") for n in range(2)]
    run = await lab.run(NAME, *traces, model=GPT, max_cost_usd=Decimal("0.05"))
    await answer(lab, await start_targets(lab))
    codes = {one.code for one in (await lab.of_run(run)).values()}
    assert codes == {"quota", "circuit_open"}, "and not budget, of which too little is left"


async def test_attempts_of_question_share_one_reservation():
    failed = JudgeUnavailable(
        FailCode.PROVIDER_ERROR, calls=(make_judge_call(GPT, FailCode.PROVIDER_ERROR),)
    )
    lab = replace(lab_of(failed, failed, Scored(1.0, "")), policy=THREE_ATTEMPTS)
    _, [score] = await judge_traces(lab, lab.put(), max_cost_usd=Decimal("0.05"))
    assert score.value == "1.0"
    entries = lab.store.ledger.values()
    assert [(one.attempt, one.call.code) for one in entries] == [
        (1, FailCode.PROVIDER_ERROR),
        (2, FailCode.PROVIDER_ERROR),
        (3, None),
    ]
    assert {*lab.store.spending.values()} == {3 * COST}


async def test_429_followed_by_success_halves_concurrency():
    policy = replace(THREE_ATTEMPTS, judge_concurrency=2)
    lab = replace(lab_of(JudgeUnavailable(FailCode.RATE_LIMITED), Scored(1.0, "")), policy=policy)
    do = lab.over()
    run = await lab.run(NAME, *(lab.put(output=f"{n}") for n in range(5)), model=GPT)
    first, *others = [job for job in lab.jobs.sent if isinstance(job, EvaluateTargetJob)]
    await do.evaluate_target(first.project, first.run, first.target)
    await asyncio.gather(*(do.evaluate_target(job.project, job.run, job.target) for job in others))
    assert {one.value for one in (await lab.of_run(run)).values()} == {"1.0"}
    assert lab.judge.most_at_once == 1
