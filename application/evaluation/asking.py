"""Asking a judge: not again what it has answered, not more than may be spent, and with votes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Self

from application.concurrency import gather_limited
from application.evaluation.circuits import Circuits
from application.evaluation.judging import JudgingPorts, Reservation, Verdict
from application.evaluation.matter import Matter
from application.evaluation.ports.evaluation import Judge
from application.evaluation.purse import Purse
from application.ports import Clock, NewId
from domain.evaluation.costs.judge_costs import (
    LedgerEntry,
    answer_tokens_max,
    reservation_amount,
    usage_of,
)
from domain.evaluation.evidence.truncation import estimate_tokens
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
from domain.evaluation.runs.voting import combine_votes, votes_needed
from domain.evaluation.scores.outcome import Scored, SkipCode, Skipped
from domain.tracing.usage import Price, Pricing, exact_sum


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """What answers took. `usd` is None where a request of theirs has no price.

    `saved_usd` is what a remembered one took when it was asked for, None where that is unknown.
    """

    use: TokenUse = TokenUse()  # noqa: RUF009 - frozen
    usd: Decimal | None = Decimal(0)
    is_remembered: bool = False
    saved_usd: Decimal | None = None

    @classmethod
    def of(cls, several: Sequence["Paid"]) -> Self:
        """Remembered where all of it is."""
        spent = [one.usd for one in several]
        saved = [one.saved_usd for one in several if one.is_remembered]
        return cls(
            use=sum((one.use for one in several), TokenUse()),
            usd=None if None in spent else exact_sum(filter(None, spent)),
            is_remembered=all(one.is_remembered for one in several),
            saved_usd=None if None in saved or not saved else exact_sum(filter(None, saved)),
        )

    def marks(self) -> dict[str, object]:
        """`usage` and `cache` of a score's metadata; amounts as numbers, null where unknown."""
        usage: dict[str, object] = {
            "calls": self.use.requests,
            "input_tokens": self.use.input,
            "output_tokens": self.use.output,
            "usd": _number(self.usd),
        }
        if self.is_remembered:
            usage["saved_usd"] = _number(self.saved_usd)
        return {"usage": usage, "cache": "hit" if self.is_remembered else "miss"}


def _number(usd: Decimal | None) -> float | None:
    return None if usd is None else float(usd)


@dataclass(frozen=True, slots=True)
class Vote:
    """One answer, and what it took."""

    outcome: Scored | Skipped
    model: str
    paid: Paid


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Has a judge's questions answered; what runs without a provider is asked without more ado.

    An answer that is remembered costs nothing, and no request is sent that might cost more than
    a budget has left: it is SKIPPED `budget` then. Nothing is set aside before a question has its
    turn, and then the run may be over: SKIPPED `cancelled`. Every request is entered in the ledger,
    whatever came of it.
    """

    judge: Judge
    circuits: Circuits
    purse: Purse
    books: JudgingPorts
    clock: Clock
    new_id: NewId

    @classmethod
    def over(
        cls, judge: Judge, circuits: Circuits, books: JudgingPorts, clock: Clock, new_id: NewId
    ) -> Self:
        """With a purse of its own: one a process."""
        return cls(
            judge=judge,
            circuits=circuits,
            purse=Purse(books.budgets),
            books=books,
            clock=clock,
            new_id=new_id,
        )

    async def answer(self, metric: Metric, matter: Matter) -> Scored | Skipped:
        """The verdict, marked with what it took and who gave it; of several votes what they say.

        Further votes that can't be had are done without. Raises JudgeRefused, JudgeUnavailable,
        Unavailable.
        """
        question = await matter.seen(lambda it: it.question(metric))
        first = await self._vote(question, matter)
        answers, missed = [first], 0
        while isinstance(first.outcome, Scored):
            values = [one.outcome.value for one in answers if isinstance(one.outcome, Scored)]
            due = votes_needed(values, metric.threshold, matter.run.votes - missed)
            if not due:
                break
            asked = len(values) + missed
            steps = [
                partial(self._further, replace(question, sample=asked + n), matter)
                for n in range(due)
            ]
            further = [one for one in await gather_limited(due, steps) if one is not None]
            missed += due - sum(isinstance(one.outcome, Scored) for one in further)
            answers += further
        return _told(metric, answers, missed)

    async def _further(self, question: Question, matter: Matter) -> Vote | None:
        try:
            return await self._vote(question, matter)
        except (JudgeRefused, JudgeUnavailable):
            return None

    async def _vote(self, question: Question, matter: Matter) -> Vote:
        run, provider = matter.run, provider_of(question.model)
        if provider == JudgeKind.HEURISTIC:
            answer = await self.circuits.ask(run.id, provider, lambda: self.judge.ask(question))
            return Vote(answer.outcome, answer.model, Paid(use=answer.use))
        key = key_of(question, self.judge, matter.evidence_hash)
        since = self.clock() - self.books.kept_for
        known = await self.books.verdicts.find(run.project_id, key, since)
        if known is not None:
            paid = Paid(is_remembered=True, saved_usd=known.usd)
            return Vote(known.outcome, known.model, paid)
        vote = await self.circuits.ask(run.id, provider, lambda: self._in_turn(question, matter))
        if isinstance(vote.outcome, Scored):
            verdict = Verdict(
                outcome=vote.outcome, model=vote.model, use=vote.paid.use, usd=vote.paid.usd
            )
            trace = matter.subject.trace.id
            await self.books.verdicts.keep(run.project_id, key, trace, verdict, self.clock())
        return vote

    async def _in_turn(self, question: Question, matter: Matter) -> Vote:
        run = matter.run
        async with self.judge.turn(question.model):
            # That may have taken long: meanwhile the run can be over, or nobody more to be asked.
            self.circuits.check(run.id, provider_of(question.model))
            if not await matter.is_wanted():
                return Vote(Skipped(SkipCode.CANCELLED), question.model, Paid())
            pricing = await self.books.prices.of(run.project_id)
            return await self._paid_for(question, matter, pricing)

    async def _paid_for(self, question: Question, matter: Matter, pricing: Pricing) -> Vote:
        """An answer for which there's money."""
        run, most = matter.run, reservation_amount(tokens_asked(question), answer_tokens(question))
        price = pricing(question.model, usage_of(most), self.clock())
        usd = None if price is None else price.amount
        if usd is None and run.max_cost_usd is not None:  # it had a price when the run was made
            return Vote(Skipped(SkipCode.BUDGET), question.model, Paid())
        async with self.purse.opened(run, usd or Decimal(0), self.clock()) as reserved:
            if reserved is None:
                return Vote(Skipped(SkipCode.BUDGET), question.model, Paid())
            try:
                answer = await self.judge.ask(question)
            except (JudgeRefused, JudgeUnavailable) as failure:
                await self._entered(question, matter, failure.calls, reserved, pricing)
                raise
            entries = await self._entered(question, matter, answer.calls, reserved, pricing)
        amounts = [one.usd for one in entries]
        spent = None if None in amounts else exact_sum(filter(None, amounts))
        return Vote(answer.outcome, answer.model, Paid(use=answer.use, usd=spent))

    async def _entered(
        self,
        question: Question,
        matter: Matter,
        calls: Sequence[JudgeCall],
        reserved: Reservation,
        pricing: Pricing,
    ) -> Sequence[LedgerEntry]:
        run, now = matter.run, self.clock()
        prices = [_price_of(call, question, pricing, now) for call in calls]
        entries = [
            LedgerEntry(
                id=self.new_id(),
                project_id=run.project_id,
                run_id=run.id,
                target=str(matter.subject.trace.id),
                metric=question.metric.name,
                attempt=attempt,
                call=call,
                usd=None if price is None else price.amount,
                price_version=None if price is None else price.version,
                created_at=now,
            )
            for attempt, (call, price) in enumerate(zip(calls, prices, strict=True), start=1)
        ]
        await self.books.ledger.enter(entries)
        known = exact_sum(one.usd for one in entries if one.usd is not None)
        await self.books.budgets.settle(run.project_id, reserved, known)
        return entries


def _price_of(call: JudgeCall, question: Question, pricing: Pricing, at: datetime) -> Price | None:
    """By the model that answered; where that has no price, by the one that was asked."""
    usage = usage_of(call.use)
    price = pricing(f"{call.provider}/{call.model}", usage, at)
    return pricing(question.model, usage, at) if price is None else price


def key_of(question: Question, judge: Judge, evidence_hash: str) -> bytes:
    """Under what its verdict is remembered. Raises JudgeRefused."""
    return verdict_key(
        judge.fingerprint(question.metric, question.model),
        evidence_hash,
        is_output_shown=question.is_output_shown,
        sample=question.sample,
    )


def tokens_asked(question: Question) -> int:
    """An estimate of what a judge has to read, by `estimate_tokens`."""
    evidence, rubric = question.evidence, question.metric.rubric
    if rubric is None:
        raise ValueError(f"{question.metric.name} is not judged")
    calls = [step.label for step in evidence.calls]
    text = evidence.text(reasoning=question.metric.sees_reasoning, output=question.is_output_shown)
    return estimate_tokens(PROTOCOL) + estimate_tokens(prompt_text(rubric, text, calls))


def answer_tokens(question: Question) -> int:
    """How many its answer may have, but for a model's thoughts."""
    rubric = question.metric.rubric
    if rubric is None or rubric.answer_format is not AnswerFormat.CHECKLIST:
        return answer_tokens_max(0)
    calls, _ = judged_calls([step.label for step in question.evidence.calls])
    return answer_tokens_max(len(calls))


def _told(metric: Metric, answers: Sequence[Vote], missed: int) -> Scored | Skipped:
    scored = [one.outcome for one in answers if isinstance(one.outcome, Scored)]
    outcome = combine_votes(scored, metric.threshold) if scored else answers[0].outcome
    marks = {"model": answers[0].model, **Paid.of([one.paid for one in answers]).marks()}
    if missed:
        marks["votes_missed"] = missed
    return replace(outcome, metadata={**outcome.metadata, **marks})
