"""Asks a judge about one trace: every step between a metric and a provider, in one ordered list.

A metric calls `JudgeClient.grade`. The question passes the policies in the order of
`JudgeClient.__init__`, which is also the order of this file. Each policy takes the request and the
next step: it may change the request, skip the next step, repeat it, or act on its answer. The last
step is the port `Judge`: one request to a provider, and a second one to repair an invalid answer.
"""

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Final, Self

from application.concurrency import gather_limited
from application.evaluation.judging.adaptive_concurrency import AdaptiveLimiter
from application.evaluation.judging.budget_reservations import BudgetReserver
from application.evaluation.judging.circuit_breaker import CircuitBreaker
from application.evaluation.judging.evaluation_policy import EvaluationPolicy
from application.evaluation.judging.trace_context import TraceContext
from application.evaluation.ports.judging import Judge, JudgingPorts, Reservation, Verdict
from application.ports import Clock, NewId
from domain.evaluation.costs.judge_costs import (
    LedgerEntry,
    answer_tokens_max,
    budget_amount,
    reservation_amount,
    usage_of,
    with_possible_use,
)
from domain.evaluation.evidence.redaction import BYTES_PER_TOKEN, estimate_tokens
from domain.evaluation.judging.judge import (
    JudgeCall,
    JudgeRefused,
    JudgeUnavailable,
    Question,
    TokenUse,
)
from domain.evaluation.judging.models import provider_of
from domain.evaluation.judging.prompt import judged_calls, prompt_text, verdict_key
from domain.evaluation.metrics.metric import JudgeKind, Metric
from domain.evaluation.metrics.rubrics import PROTOCOL, AnswerFormat
from domain.evaluation.runs.run import EvalRun
from domain.evaluation.runs.voting import combine_votes, votes_needed
from domain.evaluation.scores.outcome import FailCode, Failed, Outcome, Scored, SkipCode, Skipped
from domain.tracing.usage import Price, Pricing, Usage, exact_sum

JITTER_S: Final = (
    1.0  # upper bound of the wait after the first attempt; doubles with each further one
)
JITTER_MAX_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryTiming:
    """The clock of the waits between attempts. `monotonic` is in seconds, `random` in [0, 1)."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random


class JudgeClient:
    """Asks the judge, through all policies, whose state it holds.

    No verdict is paid for twice, and no request is sent that could cost more than a budget has
    left. Every request to a provider is in the ledger, failed ones included. All clients of a
    process share `limiters`, which are by provider.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        breaker: CircuitBreaker,
        limiters: Mapping[str, AdaptiveLimiter],
        ports: JudgingPorts,
        policy: EvaluationPolicy,
        clock: Clock,
        new_id: NewId,
        timing: RetryTiming,
    ) -> None:
        self._judge = judge
        reserver = BudgetReserver(ports.budgets)
        self._ask_model = chain(
            [
                # If the evidence is too long for the model: asks once more, with half of it.
                EvidenceRetry(),
                # Near the threshold: asks for 1, then 3, then 5 votes.
                Voting(),
                # Answers from the cache if the same content was judged before.
                VerdictCaching(judge, ports, clock),
                # Sends a run's first question alone; stops all others if none can succeed.
                CircuitBreaking(breaker),
                # If the budget has too little left: waits for other questions of the run.
                BudgetTurns(reserver),
                # Waits for one of the provider's slots, without a time limit.
                ConcurrencyLimit(limiters),
                # After that wait: is the circuit open, the run over, the trace deleted?
                RecheckAfterWait(breaker),
                # Reserves the budget; then records what each request cost, and settles.
                CostAccounting(ports, reserver, clock, new_id),
                # If the failure may pass: up to 3 attempts within the question's deadline.
                Retry(policy.judge_attempts, timing),
                # Halves the provider's slots if an attempt gets a 429; successes add slots.
                RateLimitFeedback(limiters),
            ],
            self._ask_judge,
        )
        # The heuristic judge is local: no requests, no costs, nothing to wait for or to cache.
        self._ask_heuristic = chain([Voting(), CircuitBreaking(breaker)], self._ask_judge)

    async def grade(self, metric: Metric, trace: TraceContext) -> Outcome:
        """The verdict, marked with the model that gave it and what it cost.

        SKIPPED `budget` if the budget has too little left, SKIPPED `cancelled` if the run was over
        or the trace gone before the question was sent. FAILED if no request got a verdict, with the
        cost of all. Raises JudgeRefused if none was made, JudgeUnavailable, Unavailable.
        """
        request = JudgeRequest(await trace.compute(lambda it: it.question(metric)), trace)
        is_heuristic = request.provider == JudgeKind.HEURISTIC
        ask = self._ask_heuristic if is_heuristic else self._ask_model
        try:
            return (await ask(request)).outcome
        except JudgeRefused as refused:
            if not request.failed:
                raise
            marks = {"model": request.question.model, **JudgeCost.sum(request.failed).marks()}
            return Failed(refused.code, metadata=marks)

    def fingerprint(self, metric: Metric, model: str) -> str:
        """As `Judge.fingerprint`. Raises JudgeRefused."""
        return self._judge.fingerprint(metric, model)

    async def _ask_judge(self, request: "JudgeRequest") -> "JudgeResponse":
        answer = await self._judge.ask(request.question)
        cost = JudgeCost(use=answer.use)
        return JudgeResponse(answer.outcome, answer.model, answer.calls, cost)


# --- what a policy gets and gives ------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeCost:
    """The cost of answers. `usd` is None if one of their requests has no price.

    `is_estimated` if the tokens of one of their requests are. `saved_usd` is what a cached answer
    cost when it was asked for, None if that is unknown.
    """

    use: TokenUse = TokenUse()  # noqa: RUF009 - frozen
    usd: Decimal | None = Decimal(0)
    is_estimated: bool = False
    is_cached: bool = False
    saved_usd: Decimal | None = None

    @classmethod
    def from_entries(cls, entries: Sequence[LedgerEntry]) -> Self:
        """The cost of the requests of one question."""
        amounts = [one.usd for one in entries]
        return cls(
            use=sum((one.call.use for one in entries), TokenUse()),
            usd=None if None in amounts else exact_sum(filter(None, amounts)),
            is_estimated=any(one.call.is_estimated for one in entries),
        )

    @classmethod
    def sum(cls, costs: Sequence["JudgeCost"]) -> Self:
        """The costs of several answers; cached if all of them are."""
        spent = [one.usd for one in costs]
        saved = [one.saved_usd for one in costs if one.is_cached]
        return cls(
            use=sum((one.use for one in costs), TokenUse()),
            usd=None if None in spent else exact_sum(filter(None, spent)),
            is_estimated=any(one.is_estimated for one in costs),
            is_cached=all(one.is_cached for one in costs),
            saved_usd=None if None in saved or not saved else exact_sum(filter(None, saved)),
        )

    def marks(self) -> dict[str, object]:
        """`usage` and `cache` of a score's metadata; amounts as numbers, null if unknown."""
        usage: dict[str, object] = {
            "calls": self.use.requests,
            "input_tokens": self.use.input,
            "output_tokens": self.use.output,
            "usd": _number(self.usd),
        }
        if self.is_estimated:
            usage["estimated"] = True
        if self.is_cached:
            usage["saved_usd"] = _number(self.saved_usd)
        return {"usage": usage, "cache": "hit" if self.is_cached else "miss"}


def _number(usd: Decimal | None) -> float | None:
    return None if usd is None else float(usd)


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """One question about one trace.

    `failed` gets the costs of requests whose question failed. All requests of a grade share it.
    """

    question: Question
    trace: TraceContext
    failed: list["JudgeCost"] = field(default_factory=list)

    @property
    def run(self) -> EvalRun:
        return self.trace.run

    @property
    def provider(self) -> str:
        return provider_of(self.question.model)

    @property
    def votes(self) -> int:
        """The maximum number of votes. The rules of the heuristic judge give the same each time."""
        return 1 if self.provider == JudgeKind.HEURISTIC else self.run.votes


@dataclass(frozen=True, slots=True)
class JudgeResponse:
    """The outcome, the model that gave it, the requests to the provider in order, and the cost."""

    outcome: Scored | Skipped
    model: str
    calls: tuple[JudgeCall, ...] = ()
    cost: JudgeCost = JudgeCost()

    @classmethod
    def skipped(cls, request: JudgeRequest, code: SkipCode) -> Self:
        """The judge was not asked."""
        return cls(Skipped(code), request.question.model)


type AskNext = Callable[[JudgeRequest], Awaitable[JudgeResponse]]
"""The rest of the way to the judge. Raises JudgeRefused, JudgeUnavailable, Unavailable."""


class Policy(ABC):
    """One step of the way to the judge. It is shared by all questions of the process."""

    __slots__ = ()

    @abstractmethod
    async def apply(self, request: JudgeRequest, ask: AskNext) -> JudgeResponse:
        """The answer to the request, from `ask` or without it. Raises what `ask` raises."""


def chain(policies: Sequence[Policy], ask: AskNext) -> AskNext:
    """One step out of all: the first policy is the outermost, `ask` the innermost step."""
    for policy in reversed(policies):
        ask = partial(_apply, policy, ask)
    return ask


def _apply(policy: Policy, ask: AskNext, request: JudgeRequest) -> Awaitable[JudgeResponse]:
    return policy.apply(request, ask)


# --- the policies, from the outermost to the innermost ---------------------------------------


class EvidenceRetry(Policy):
    """Asks once more with half of the evidence, if the evidence is too long for the model."""

    async def apply(self, request: JudgeRequest, ask: AskNext) -> JudgeResponse:
        try:
            return await ask(request)
        except JudgeRefused as refused:
            if refused.code is not FailCode.TOO_LONG:
                raise
            shorter = await request.trace.compute(TraceContext.halved)
            if shorter is None:
                raise
        metric = request.question.metric
        question = await shorter.compute(lambda it: it.question(metric))
        return await ask(replace(request, question=question, trace=shorter))


class Voting(Policy):
    """Asks a question several times, as `votes_needed` says. Marks the outcome with their costs.

    A further vote that fails is left out, but not its cost. An answer without a score needs no
    further votes.
    """

    async def apply(self, request: JudgeRequest, ask: AskNext) -> JudgeResponse:
        metric = request.question.metric
        first = await ask(request)
        responses, missed = [first], 0
        while isinstance(first.outcome, Scored):
            values = [one.outcome.value for one in responses if isinstance(one.outcome, Scored)]
            due = votes_needed(values, metric.threshold, request.votes - missed)
            if not due:
                break
            asked = len(values) + missed
            steps = [partial(self._further_vote, request, asked + n, ask) for n in range(due)]
            further = [one for one in await gather_limited(due, steps) if one is not None]
            missed += due - sum(isinstance(one.outcome, Scored) for one in further)
            responses += further
        scored = [one.outcome for one in responses if isinstance(one.outcome, Scored)]
        outcome = combine_votes(scored, metric.threshold) if scored else first.outcome
        cost = JudgeCost.sum([*(one.cost for one in responses), *request.failed])
        marks = {"model": first.model, **cost.marks()}
        if missed:
            marks["votes_missed"] = missed
        marked = replace(outcome, metadata={**outcome.metadata, **marks})
        return JudgeResponse(marked, first.model, cost=cost)

    async def _further_vote(
        self, request: JudgeRequest, sample: int, ask: AskNext
    ) -> JudgeResponse | None:
        try:
            return await ask(replace(request, question=replace(request.question, sample=sample)))
        except (JudgeRefused, JudgeUnavailable):
            return None


@dataclass(frozen=True, slots=True)
class VerdictCaching(Policy):
    """Answers from the verdict cache. Stores a new verdict there, if it is a score."""

    judge: Judge
    ports: JudgingPorts
    clock: Clock

    async def apply(self, request: JudgeRequest, ask: AskNext) -> JudgeResponse:
        if not self.ports.caches_verdicts:
            return await ask(request)
        project, cache = request.run.project_id, self.ports.verdicts
        key = verdict_cache_key(request.question, self.judge, request.trace.evidence_hash)
        cached = await cache.find(project, key, self.clock() - self.ports.verdict_retention)
        if cached is not None:
            cost = JudgeCost(is_cached=True, saved_usd=cached.usd)
            return JudgeResponse(cached.outcome, cached.model, cost=cost)
        response = await ask(request)
        if isinstance(response.outcome, Scored):
            verdict = Verdict(
                outcome=response.outcome,
                model=response.model,
                use=response.cost.use,
                usd=response.cost.usd,
            )
            trace = request.trace.subject.trace.id
            await cache.save(project, key, trace, verdict, self.clock())
        return response


@dataclass(frozen=True, slots=True)
class CircuitBreaking(Policy):
    """Sends the first question of a run alone, and none after one that no question can get past."""

    breaker: CircuitBreaker

    async def apply(self, request: JudgeRequest, ask: AskNext) -> JudgeResponse:
        run, model = request.run.id, request.question.model
        return await self.breaker.call(run, request.provider, model, lambda: ask(request))


@dataclass(frozen=True, slots=True)
class BudgetTurns(Policy):
    """Repeats the next steps if other questions of the run hold the budget, once one has ended.

    It waits without a slot, so that a run with a small budget delays no other one.
    """

    reserver: BudgetReserver

    async def apply(self, request: JudgeRequest, ask: AskNext) -> JudgeResponse:
        return await self.reserver.with_turns(request.run, lambda: ask(request))


@dataclass(frozen=True, slots=True)
class ConcurrencyLimit(Policy):
    """Holds a slot of the provider for the whole question, waits between attempts included."""

    limiters: Mapping[str, AdaptiveLimiter]  # by provider

    async def apply(self, request: JudgeRequest, ask: AskNext) -> JudgeResponse:
        async with self.limiters[request.provider].slot(request.run.project_id):
            return await ask(request)


@dataclass(frozen=True, slots=True)
class RecheckAfterWait(Policy):
    """Doesn't ask if meanwhile the circuit was opened, the run ended, or the trace was deleted."""

    breaker: CircuitBreaker

    async def apply(self, request: JudgeRequest, ask: AskNext) -> JudgeResponse:
        self.breaker.check(request.run.id, request.provider, request.question.model)
        if not await request.trace.is_live():
            return JudgeResponse.skipped(request, SkipCode.CANCELLED)
        return await ask(request)


@dataclass(frozen=True, slots=True)
class CostAccounting(Policy):
    """Reserves what the question may cost; then enters each request in the ledger and settles.

    Skips the question if a budget has too little left, unless `BudgetTurns` may ask it once more.
    Budgets count `budget_amount`; the ledger has the price of the project. The budget is reserved
    only now that the question has a slot: questions that wait hold back no other, and a worker that
    stops loses nothing for them. A reservation that is never settled counts as spent.
    """

    ports: JudgingPorts
    reserver: BudgetReserver
    clock: Clock
    new_id: NewId

    async def apply(self, request: JudgeRequest, ask: AskNext) -> JudgeResponse:
        run = request.run
        pricing = await self.ports.prices.for_project(run.project_id)
        question, now = request.question, self.clock()
        most = reservation_amount(prompt_tokens(question), answer_tokens(question))
        price = pricing(question.model, usage_of(most), now)
        if price is None and run.max_cost_usd is not None:  # it was deleted during the run
            return JudgeResponse.skipped(request, SkipCode.BUDGET)
        usd = budget_amount(most, price, self._list_price(question.model, usage_of(most), now))
        async with self.reserver.reserve(run, usd, now) as reservation:
            if reservation is None:
                return JudgeResponse.skipped(request, SkipCode.BUDGET)
            try:
                response = await ask(request)
            except (JudgeRefused, JudgeUnavailable) as failure:
                entries = await self._record(request, failure.calls, reservation, pricing)
                if entries:
                    request.failed.append(JudgeCost.from_entries(entries))
                raise
            entries = await self._record(request, response.calls, reservation, pricing)
        calls = tuple(one.call for one in entries)
        return replace(response, calls=calls, cost=JudgeCost.from_entries(entries))

    def _list_price(self, model: str, usage: Usage, at: datetime) -> Price | None:
        return self.ports.prices.book.price(model, usage, at)

    async def _record(
        self,
        request: JudgeRequest,
        calls: Sequence[JudgeCall],
        reservation: Reservation,
        pricing: Pricing,
    ) -> Sequence[LedgerEntry]:
        """Enters all calls before it settles: what is interrupted in between counts as spent."""
        run, question, now = request.run, request.question, self.clock()
        calls = [_with_possible_use(call, question) for call in calls]
        prices = [_price_of_call(call, question, pricing, now) for call in calls]
        entries = [
            LedgerEntry(
                id=self.new_id(),
                project_id=run.project_id,
                run_id=run.id,
                target=str(request.trace.subject.trace.id),
                metric=question.metric.name,
                attempt=attempt,
                call=call,
                usd=None if price is None else price.amount,
                price_version=None if price is None else price.version,
                created_at=now,
            )
            for attempt, (call, price) in enumerate(zip(calls, prices, strict=True), start=1)
        ]
        for entry in entries:
            self.ports.on_entry(entry)
        await self.ports.ledger.append(entries)
        counted = exact_sum(
            budget_amount(call.use, price, _price_of_call(call, question, self._list_price, now))
            for call, price in zip(calls, prices, strict=True)
        )
        await self.ports.budgets.settle(run.project_id, reservation, counted)
        return entries


@dataclass(frozen=True, slots=True)
class Retry(Policy):
    """Asks up to `attempts` times, if the failure may pass. Reports the calls of all attempts.

    Between attempts it waits for a random time up to a bound that doubles (full jitter), and never
    less than the provider asks for. It gives up if that goes beyond the deadline of the question,
    which begins here: a question loses no time by waiting for a slot.
    """

    attempts: int
    timing: RetryTiming

    async def apply(self, request: JudgeRequest, ask: AskNext) -> JudgeResponse:
        monotonic, question = self.timing.monotonic, request.question
        until = monotonic() + question.deadline_s
        calls: tuple[JudgeCall, ...] = ()
        attempt = 0
        while True:
            attempt += 1
            left = replace(question, deadline_s=until - monotonic())
            try:
                response = await ask(replace(request, question=left))
            except JudgeRefused as refused:
                raise JudgeRefused(refused.code, calls=calls + refused.calls) from refused
            except JudgeUnavailable as failure:
                calls += failure.calls
                wait_s = max(self._jitter_s(attempt), failure.retry_after_s)
                if attempt == self.attempts or monotonic() + wait_s >= until:
                    raise JudgeUnavailable(
                        failure.code, retry_after_s=failure.retry_after_s, calls=calls
                    ) from failure
            else:
                return replace(response, calls=calls + response.calls)
            await self.timing.sleep(wait_s)

    def _jitter_s(self, attempt: int) -> float:
        return self.timing.random() * min(JITTER_MAX_S, JITTER_S * (1 << attempt - 1))


@dataclass(frozen=True, slots=True)
class RateLimitFeedback(Policy):
    """Tells the provider's limiter how each attempt ended: 429, or an answer."""

    limiters: Mapping[str, AdaptiveLimiter]  # by provider

    async def apply(self, request: JudgeRequest, ask: AskNext) -> JudgeResponse:
        limiter = self.limiters[request.provider]
        epoch = limiter.epoch
        try:
            response = await ask(request)
        except JudgeUnavailable as failure:
            if failure.code is FailCode.RATE_LIMITED:
                limiter.record_rate_limit(epoch)
            raise
        limiter.record_success()
        return response


# --- sizes, keys and prices of a question ----------------------------------------------------


def verdict_cache_key(question: Question, judge: Judge, evidence_hash: str) -> bytes:
    """The key of its verdict in the cache. Raises JudgeRefused."""
    return verdict_key(
        judge.fingerprint(question.metric, question.model),
        evidence_hash,
        is_output_shown=question.is_output_shown,
        sample=question.sample,
    )


def prompt_tokens(question: Question) -> int:
    """How many tokens a judge has to read: an estimate, by `estimate_tokens`."""
    evidence, rubric = question.evidence, question.metric.rubric
    if rubric is None:
        raise ValueError(f"{question.metric.name} is not judged")
    calls = [step.label for step in evidence.calls]
    text = evidence.text(reasoning=question.metric.sees_reasoning, output=question.is_output_shown)
    return estimate_tokens(PROTOCOL) + estimate_tokens(prompt_text(rubric, text, calls))


def answer_tokens(question: Question) -> int:
    """How many tokens the answer may have, without a model's thoughts."""
    rubric = question.metric.rubric
    if rubric is None or rubric.answer_format is not AnswerFormat.CHECKLIST:
        return answer_tokens_max(0)
    calls, _ = judged_calls([step.label for step in question.evidence.calls])
    return answer_tokens_max(len(calls))


def _with_possible_use(call: JudgeCall, question: Question) -> JudgeCall:
    tokens = prompt_tokens(question)
    estimate = TokenUse(requests=1, input=tokens, output=answer_tokens(question))
    return with_possible_use(call, tokens * BYTES_PER_TOKEN, estimate)


def _price_of_call(
    call: JudgeCall, question: Question, pricing: Pricing, at: datetime
) -> Price | None:
    """The price of the model that answered; without one, that of the model that was asked."""
    usage = usage_of(call.use)
    price = pricing(f"{call.provider}/{call.model}", usage, at)
    return pricing(question.model, usage, at) if price is None else price
