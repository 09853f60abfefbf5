"""Asking judges: nothing twice, nothing beyond a budget, and votes where one isn't enough."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from adapters.judges.policy import PatientJudge
from adapters.memory.evaluation.judge_costs import MemoryVerdicts, put_budget
from adapters.memory.evaluation.scripted_judge import USED, ScriptedJudge, Told, a_call
from application.evaluation.judging import KEPT_FOR, Verdict
from application.evaluation.matter import USUAL
from application.jobs import EvaluateTargetJob
from domain.errors import Unavailable
from domain.evaluation.costs.judge_costs import Spending
from domain.evaluation.judging.judge import JudgeRefused, JudgeUnavailable
from domain.evaluation.runs.run import EvalRun, RunStatus
from domain.evaluation.scores.outcome import FailCode, Scored, SkipCode, Skipped
from domain.evaluation.scores.score import ScoreOutcome, TraceScore
from domain.ids import ProjectId
from domain.tracing.payload import object_members
from domain.tracing.trace import Trace
from tests.support.builders.values import NOON, THEIRS
from tests.support.fixtures.evaluation_harness import Laboratory

NAME = "task_completion"
GPT = "openai/gpt-4o"  # which has a price: 1,000 tokens in and 50 out are 0.003 USD
COST = Decimal("0.003")


def lab_of(*told: Told) -> Laboratory:
    return Laboratory(judge=ScriptedJudge({NAME: told} if told else {}))


async def judged(
    lab: Laboratory, *traces: Trace, model: str = GPT, **said: object
) -> tuple[EvalRun, list[TraceScore]]:
    run = await lab.run(NAME, *traces, model=model, **said)
    await lab.work()
    scores = await lab.of_run(run)
    return run, [scores[str(one.id), NAME] for one in traces]


def told(score: TraceScore, key: str) -> object:
    return dict(object_members(score.metadata)).get(key)


# --- what is remembered ---


async def test_the_same_trace_ingested_again_asks_nobody():
    lab = lab_of()
    _, [first] = await judged(lab, lab.put())
    lab.forward(days=1)
    _, [again] = await judged(lab, lab.put())
    assert len(lab.judge.asked) == 1
    assert again.trace_id != first.trace_id
    assert (again.value, again.reason) == (first.value, first.reason)
    assert told(again, "cache") == '"hit"'
    usage = '{"calls":0,"input_tokens":0,"output_tokens":0,"usd":0.0,"saved_usd":0.003}'
    assert told(again, "usage") == usage
    assert told(first, "cache") == '"miss"'
    for mark in ("fingerprint", "model", "judge_kind", "evidence_hash", "threshold", "success"):
        assert told(again, mark) == told(first, mark)


@pytest.mark.parametrize(
    "changed",
    [{"output": "I booked nothing."}, {"input": "book a flight to Rome"}],
    ids=["output", "input"],
)
async def test_changed_content_is_asked_about_once(changed: dict[str, str]):
    lab = lab_of()
    trace = lab.put()
    await judged(lab, trace)
    lab.change(trace, **changed)
    await judged(lab, trace)
    assert len(lab.judge.asked) == 2


async def test_another_model_or_another_judge_is_asked_anew():
    lab = lab_of()
    trace = lab.put()
    await judged(lab, trace)
    lab.judge.revision = "scripted/2"
    await judged(lab, trace)
    assert len(lab.judge.asked) == 2


async def test_another_project_is_told_nothing():
    lab = lab_of()
    await judged(lab, lab.put())
    other = replace(lab, project=THEIRS)
    await judged(other, other.put())
    assert len(lab.judge.asked) == 2


async def test_a_verdict_is_remembered_for_so_long():
    lab = lab_of()
    trace = lab.put()
    await judged(lab, trace)
    lab.forward(seconds=KEPT_FOR.total_seconds())
    await judged(lab, trace)
    assert len(lab.judge.asked) == 1
    lab.now += timedelta(microseconds=1)
    await judged(lab, trace)
    assert len(lab.judge.asked) == 2


@pytest.mark.parametrize(
    "first",
    [Skipped(SkipCode.CANNOT_JUDGE), JudgeRefused(FailCode.BAD_VERDICT)],
    ids=["cannot judge", "refused"],
)
async def test_what_is_no_verdict_is_not_remembered(first: Told):
    lab = lab_of(first, Scored(1.0, "Yes"))
    trace = lab.put()
    await judged(lab, trace)
    _, [score] = await judged(lab, trace)
    assert score.outcome is ScoreOutcome.SCORED


async def test_a_rule_and_the_keyless_judge_cost_nothing_and_are_not_entered():
    lab = lab_of()
    run, [score] = await judged(lab, lab.put(input=None))
    assert score.outcome is ScoreOutcome.SKIPPED
    assert lab.judge.asked == []
    assert await lab.ports.judging.ledger.of_run(lab.project, run.id) == Spending()
    run, _ = await judged(lab, lab.put(), model="heuristic/1")
    assert await lab.ports.judging.ledger.of_run(lab.project, run.id) == Spending()
    assert lab.store.verdicts == {}


# --- what is entered ---


async def test_every_request_is_entered_those_in_vain_too():
    calls = (a_call(GPT, FailCode.PROVIDER_ERROR), a_call(GPT, FailCode.RATE_LIMITED))
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


async def test_a_model_without_a_price_is_unpriced_and_never_free():
    lab = lab_of()
    run, [score] = await judged(lab, lab.put(), model="openai/nobody-knows")
    spent = await lab.ports.judging.ledger.of_run(lab.project, run.id)
    assert (spent.calls, spent.unpriced, spent.usd) == (1, 1, 0)
    assert told(score, "usage") == '{"calls":1,"input_tokens":1000,"output_tokens":50,"usd":null}'


# --- what may be spent ---


async def test_what_a_run_has_no_money_for_is_skipped():
    lab = lab_of()
    traces = [lab.put(output=f"Flight {n}") for n in range(7)]
    probe, _ = await judged(lab, traces[0])
    run, scores = await judged(lab, *traces[1:], max_cost_usd=Decimal("0.04"))
    assert len({one.outcome for one in scores}) == 2
    skipped = [one for one in scores if one.outcome is ScoreOutcome.SKIPPED]
    assert {one.code for one in skipped} == {"budget"}
    progress = await lab.runs.get(lab.project, run.id)
    assert progress.run.status is RunStatus.COMPLETED
    assert progress.tally.skipped == len(skipped)
    spent = await lab.ports.judging.ledger.of_run(lab.project, run.id)
    assert spent.usd <= Decimal("0.04")
    assert probe.max_cost_usd is None


async def test_a_run_without_money_takes_what_is_remembered():
    lab = lab_of()
    trace = lab.put()
    await judged(lab, trace)
    _, [score] = await judged(lab, trace, max_cost_usd=Decimal(0))
    assert score.outcome is ScoreOutcome.SCORED


async def test_a_month_without_money_asks_nobody():
    lab = lab_of()
    put_budget(lab.store, lab.project, Decimal(0), NOON)
    _, [score] = await judged(lab, lab.put())
    assert (score.outcome, score.code) == (ScoreOutcome.SKIPPED, "budget")
    assert lab.judge.asked == []


@pytest.mark.parametrize(
    "first", [Scored(1.0, "Yes"), JudgeRefused(FailCode.BAD_VERDICT, calls=(a_call(GPT),))]
)
async def test_what_was_set_aside_and_not_spent_is_there_again(first: Told):
    lab = lab_of(first)
    put_budget(lab.store, lab.project, Decimal(10), NOON)
    await judged(lab, lab.put(), max_cost_usd=Decimal(1))
    assert {*lab.store.spending.values()} == {COST}
    assert len(lab.store.spending) == 2


async def test_a_run_with_a_bound_asks_nobody_whose_price_has_gone():
    lab = lab_of()
    run, [score] = await judged(
        lab, lab.put(), model="openai/nobody-knows", max_cost_usd=Decimal(5)
    )
    assert (score.outcome, score.code) == (ScoreOutcome.SKIPPED, "budget")
    assert lab.judge.asked == []
    assert await lab.ports.judging.ledger.of_run(lab.project, run.id) == Spending()


async def test_an_answer_of_a_model_without_a_price_is_charged_as_the_one_that_was_asked():
    other = JudgeRefused(FailCode.BAD_VERDICT, calls=(a_call("openai/snapshot-of-it"),))
    lab = lab_of(other)
    run, _ = await judged(lab, lab.put(), max_cost_usd=Decimal(1))
    spent = await lab.ports.judging.ledger.of_run(lab.project, run.id)
    assert (spent.usd, spent.unpriced) == (COST, 0)
    assert {*lab.store.spending.values()} == {COST}


# --- prices of the project's own ---


async def test_a_price_of_the_projects_own_comes_before_the_book():
    lab = lab_of()
    price = await lab.prices("gpt-4o", 1_000)
    _, [score] = await judged(lab, lab.put(), max_cost_usd=Decimal(100))
    [entry] = lab.store.ledger.values()
    assert entry.usd == Decimal("1.05")
    assert entry.price_version == price.version
    assert {*lab.store.spending.values()} == {entry.usd}
    assert '"usd":1.05' in str(told(score, "usage"))
    other = replace(lab, project=THEIRS)
    await judged(other, other.put())
    assert [one.price_version for one in lab.store.ledger.values()] == [price.version, "memory"]


async def test_a_model_that_only_the_project_prices_is_held_to_a_bound():
    lab = lab_of()
    traces = [lab.put(output=f"Flight {n}") for n in range(3)]
    await lab.prices("llama*", 100)
    _, scores = await judged(
        lab, *traces, model="openai_compatible/llama3", max_cost_usd=Decimal("0.6")
    )
    assert [one.code for one in scores] == [None, None, "budget"]


async def test_what_has_no_price_has_no_version_of_one():
    lab = lab_of()
    await judged(lab, lab.put(), model="openai/nobody-knows")
    [entry] = lab.store.ledger.values()
    assert (entry.usd, entry.price_version) == (None, None)


# --- turns ---


def queued(judge: ScriptedJudge) -> PatientJudge:
    """One at a time, of whom the first gets no answer before the gate is opened."""
    judge.gate = asyncio.Event()
    return PatientJudge(judge, at_once=1)


async def waiting(lab: Laboratory, judge: ScriptedJudge, run: EvalRun) -> list[asyncio.Task[None]]:
    """The targets of a run at work, one of them being asked about and the others in line."""
    do = lab.over()
    tasks = [
        asyncio.create_task(do.evaluate_target(job.project, job.run, job.target))
        for job in lab.jobs.sent
        if isinstance(job, EvaluateTargetJob)
    ]
    while not judge.asked:
        await asyncio.sleep(0)
    for _ in range(50):
        await asyncio.sleep(0)
    return tasks


def crowd(*told: Told) -> tuple[Laboratory, ScriptedJudge]:
    judge = ScriptedJudge({NAME: told} if told else {})
    # The first question has no head start: the others are in line behind it at once.
    policy = replace(USUAL, head_start_s=0.0)
    return Laboratory(judge=queued(judge), policy=policy), judge


async def test_of_a_run_that_is_cancelled_nobody_is_asked_whose_turn_comes_later():
    lab, judge = crowd()
    run = await lab.run(NAME, *(lab.put(output=f"{n}") for n in range(4)), model=GPT)
    tasks = await waiting(lab, judge, run)
    await lab.cancel(run)
    judge.gate.set()
    await asyncio.gather(*tasks)
    assert len(judge.asked) == 1
    assert {one.code for one in (await lab.of_run(run)).values()} == {"cancelled"}


async def test_who_waits_for_a_turn_is_not_asked_where_nobody_can_succeed():
    lab, judge = crowd(JudgeRefused(FailCode.QUOTA))
    run = await lab.run(NAME, *(lab.put(output=f"{n}") for n in range(4)), model=GPT)
    tasks = await waiting(lab, judge, run)
    judge.gate.set()
    await asyncio.gather(*tasks)
    assert len(judge.asked) == 1
    codes = sorted(str(one.code) for one in (await lab.of_run(run)).values())
    assert codes == ["circuit_open"] * 3 + ["quota"]


async def test_nothing_is_set_aside_for_who_waits_for_a_turn():
    """So a bound that holds for them one after the other holds for all at once."""
    lab, judge = crowd()
    traces = [lab.put(output=f"{n}") for n in range(6)]
    run = await lab.run(NAME, *traces, model=GPT, max_cost_usd=Decimal("0.08"))
    tasks = await waiting(lab, judge, run)
    [reservation_amount] = lab.store.spending.values()
    assert reservation_amount < Decimal("0.045"), "of a single question"
    judge.gate.set()
    await asyncio.gather(*tasks)
    assert len(judge.asked) == 6
    assert {*lab.store.spending.values()} == {6 * COST}


# --- faults of others ---


@dataclass(frozen=True, slots=True)
class BrokenOnce(MemoryVerdicts):
    """The second look fails."""

    looks: list[bytes] = field(default_factory=list)

    async def find(self, project: ProjectId, key: bytes, since: datetime) -> Verdict | None:
        self.looks.append(key)
        if len(self.looks) == 2:
            raise Unavailable("the database is away")
        return await MemoryVerdicts.find(self, project, key, since)


async def test_what_is_being_asked_gets_its_answer_though_the_database_fails_beside_it():
    lab = lab_of()
    trace = lab.put()
    run = await lab.run(f"{NAME} confidence", trace, model=GPT)
    verdicts = BrokenOnce(lab.store)
    ports = replace(lab.ports, judging=replace(lab.ports.judging, verdicts=verdicts))
    lab.judge.gate = asyncio.Event()
    work = asyncio.create_task(lab.over(ports).evaluate_target(lab.project, run.id, str(trace.id)))
    while not (lab.judge.asked and len(verdicts.looks) == 2):
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
async def test_near_the_threshold_more_votes_are_asked_for(
    values: Sequence[float], votes: int, asked: int, mean: float
):
    lab = lab_of(*(Scored(value, f"{value}") for value in values))
    _, [score] = await judged(lab, lab.put(), votes=votes)
    assert score.number == pytest.approx(mean, abs=1e-4)
    assert sorted(one.sample for one in lab.judge.asked) == [*range(asked)]
    assert (told(score, "votes") is None) is (asked == 1)
    assert f'"input_tokens":{asked * USED.input},' in str(told(score, "usage"))


async def test_votes_are_remembered_one_by_one():
    lab = lab_of(Scored(0.6, ""), Scored(1.0, ""), Scored(0.8, ""))
    trace = lab.put()
    _, [first] = await judged(lab, trace, votes=3)
    _, [again] = await judged(lab, trace, votes=3)
    assert len(lab.judge.asked) == 3
    assert again.value == first.value
    _, [alone] = await judged(lab, trace)
    assert alone.number == 0.6


@pytest.mark.parametrize(
    "later",
    [JudgeUnavailable(FailCode.JUDGE_TIMEOUT), Skipped(SkipCode.CANNOT_JUDGE)],
    ids=["no answer", "cannot judge"],
)
async def test_votes_that_can_not_be_had_are_done_without(later: Told):
    lab = lab_of(Scored(0.6, "fair"), later)
    _, [score] = await judged(lab, lab.put(), votes=3)
    assert score.number == 0.6
    assert told(score, "votes_missed") is not None
    assert len(lab.judge.asked) == 3


async def test_a_skipped_first_vote_needs_no_others():
    lab = lab_of(Skipped(SkipCode.CANNOT_JUDGE))
    _, [score] = await judged(lab, lab.put(), votes=5)
    assert score.outcome is ScoreOutcome.SKIPPED
    assert len(lab.judge.asked) == 1
