"""Costs of judges: the ledger of requests, budgets, spending, and estimates before a run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum
from typing import Final, Self
from uuid import UUID

from domain.errors import Invalid
from domain.evaluation.judging.judge import JudgeCall, TokenUse
from domain.evaluation.runs.run import Target
from domain.evaluation.scores.outcome import FailCode
from domain.evaluation.scores.score import CreatedWithin
from domain.ids import OrganizationId, ProjectId, RunId
from domain.pricing.model_price import Rate, Tariff
from domain.tracing.usage import Price, Usage, exact_sum

BUDGET_MAX: Final = Decimal(1_000_000)  # USD, of a run or of a month
BUDGET_PLACES: Final = 6  # decimal places
PERIOD_MAX: Final = timedelta(days=400)  # of one spending report: somewhat more than a year
ANSWER_TOKENS_MAX: Final = 1_500  # stops endless answers; a usual one has 150
CHECK_TOKENS_MAX: Final = 75  # additional, for each call of a checklist
# The token estimate may be too low, or a second request may have to repair the first answer: twice
# the estimate is reserved.
RESERVATION_FACTOR: Final = 2

THOUGHT_TOKENS_MAX: Final = 8_000  # of one answer, in addition, if the model thinks
# Tokens that a request may have beyond one for each byte of the question: the schema of the answer,
# and an answer that has to be repaired.
REQUEST_OVERHEAD_TOKENS: Final = 20_000
# The price in budgets of a model that no list has: that of the most expensive usual judge.
UNLISTED_TARIFF: Final = Tariff(Rate(Decimal(15)), Rate(Decimal(75)))  # USD per million tokens
ANSWER_TOKENS_MIN: Final = 60  # of a verdict in one short sentence
STANDARD_ERRORS: Final = 2  # on each side of an estimate: an interval of about 95 %

_PLACE: Final = Decimal(1).scaleb(-BUDGET_PLACES)
_NOTHING: Final = Decimal(0)
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_MOMENT: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One request that was sent to a provider.

    `attempt` numbers the requests of one question, from 1. `price_version` identifies the price
    behind `usd`; both are None if the model has no price.
    """

    id: UUID
    project_id: ProjectId
    run_id: RunId | None
    target: Target
    metric: str
    attempt: int
    call: JudgeCall
    usd: Decimal | None
    price_version: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """The sum over some requests.

    `unpriced` of them have no price and aren't in `usd`; of `estimated` the tokens are estimates.
    """

    calls: int = 0
    failed: int = 0
    unpriced: int = 0
    estimated: int = 0
    use: TokenUse = field(default_factory=TokenUse)
    usd: Decimal = Decimal(0)

    @classmethod
    def from_entries(cls, entries: Iterable[LedgerEntry]) -> Self:
        known = list(entries)
        return cls(
            calls=len(known),
            failed=sum(one.call.code is not None for one in known),
            unpriced=sum(one.usd is None for one in known),
            estimated=sum(one.call.is_estimated for one in known),
            use=sum((one.call.use for one in known), TokenUse()),
            usd=exact_sum(one.usd for one in known if one.usd is not None),
        )


class SpendingBy(StrEnum):
    """The field that spending is grouped by."""

    PROJECT = "project"
    MODEL = "model"
    METRIC = "metric"
    DAY = "day"

    def key_of(self, entry: LedgerEntry) -> str:
        match self:
            case SpendingBy.PROJECT:
                return str(entry.project_id)
            case SpendingBy.MODEL:
                return f"{entry.call.provider}/{entry.call.model}"
            case SpendingBy.METRIC:
                return entry.metric
            case SpendingBy.DAY:
                return entry.created_at.astimezone(UTC).date().isoformat()


@dataclass(frozen=True, slots=True)
class SpendingGroup:
    """The spending of one project, model, metric or day (`YYYY-MM-DD`, UTC)."""

    key: str
    spending: Spending


def month_start(instant: datetime) -> datetime:
    """The first instant of the month, in UTC."""
    day = instant.astimezone(UTC)
    return datetime(day.year, day.month, 1, tzinfo=UTC)


def resolve_period(after: datetime | None, before: datetime | None, now: datetime) -> CreatedWithin:
    """From `after` up to, but excluding, `before`; by default from the first of the end's month.

    Raises Invalid for more than PERIOD_MAX; without `before`, the period ends now.
    """
    end = now if before is None else before
    if after is None:
        # The end is exclusive: a period that ends at the start of a month is the month before.
        last = end if before is None or before == _FIRST else before - _MOMENT
        return CreatedWithin(month_start(last), before)
    if end - after > PERIOD_MAX:
        raise Invalid.field("query.date_from", f"must be at most {PERIOD_MAX.days} days earlier")
    return CreatedWithin(after, before)


def month_scope(instant: datetime) -> str:
    """The key of a month's spending."""
    return f"month {month_start(instant):%Y-%m}"


def organization_scope(organization: OrganizationId, instant: datetime) -> str:
    """The key of what all projects of an organization spend in a month."""
    return f"organization {organization} {month_scope(instant)}"


def server_scope(instant: datetime) -> str:
    """The key of what all projects of the server spend in a month."""
    return f"server {month_scope(instant)}"


def is_shared(scope: str) -> bool:
    """Whether the spending is of more than one project, and stays when a project is deleted."""
    return scope.startswith(("organization ", "server "))


def run_scope(run: RunId) -> str:
    return f"run {run}"


def validate_budget(usd: Decimal, named: str) -> Decimal:
    """A budget in USD, possibly 0, with at most BUDGET_PLACES places.

    Raises Invalid, naming `named`.
    """
    if not usd.is_finite() or not 0 <= usd <= BUDGET_MAX:
        raise Invalid.field(named, f"must be from 0 to {BUDGET_MAX} USD")
    rounded = round(usd, BUDGET_PLACES)
    if rounded != usd:
        raise Invalid.field(named, f"must have at most {BUDGET_PLACES} decimal places")
    return rounded


def usage_of(use: TokenUse) -> Usage:
    """The tokens in the form that price tables take."""
    return Usage(
        use.input,
        use.output,
        is_known=True,
        cache_read_tokens=use.cache_read,
        cache_write_tokens=use.cache_write,
    )


def answer_tokens_max(checks: int) -> int:
    """The maximum answer tokens of one request, without reasoning; `checks` for a checklist."""
    return ANSWER_TOKENS_MAX + CHECK_TOKENS_MAX * checks


def reservation_amount(question_tokens: int, answer_tokens: int) -> TokenUse:
    """The tokens to reserve before a question with these estimates."""
    return TokenUse(
        requests=RESERVATION_FACTOR,
        input=RESERVATION_FACTOR * question_tokens,
        output=RESERVATION_FACTOR * answer_tokens,
    )


def with_possible_use(call: JudgeCall, question_bytes: int, estimate: TokenUse) -> JudgeCall:
    """The call; with the estimate, and marked, if the reported tokens can't be those of an answer.

    An answer takes tokens in both directions: of the question at most one for each byte and
    REQUEST_OVERHEAD_TOKENS, of the answer at most twice the estimate, which is the longest one,
    and THOUGHT_TOKENS_MAX. A request without an answer may have taken none.
    """
    use = call.use
    input_max = question_bytes + REQUEST_OVERHEAD_TOKENS
    output_max = 2 * estimate.output + THOUGHT_TOKENS_MAX
    is_answer = call.code in {None, FailCode.BAD_VERDICT}
    least = 1 if is_answer else 0
    is_possible = (
        least <= use.input <= input_max
        and least <= use.output <= output_max
        and 0 <= use.reasoning <= use.output
        and min(use.cache_read, use.cache_write) >= 0
        and use.cache_read + use.cache_write <= use.input
    )
    return call if is_possible else replace(call, use=estimate, is_estimated=True)


def budget_amount(use: TokenUse, own: Price | None, listed: Price | None) -> Decimal:
    """The cost of these tokens in budgets: by the project's price, but no less than the list's.

    For a model that isn't listed, no less than UNLISTED_TARIFF. So no price that a project sets
    lets its judges spend more than a budget.
    """
    least = UNLISTED_TARIFF.cost(usage_of(use)) if listed is None else listed.amount
    return least if own is None else max(own.amount, least)


def group_spending(entries: Sequence[LedgerEntry], by: SpendingBy) -> list[SpendingGroup]:
    """Sorted by cost, then calls, both descending, then by key; days in their order."""
    parts: dict[str, list[LedgerEntry]] = {}
    for one in entries:
        parts.setdefault(by.key_of(one), []).append(one)
    found = [SpendingGroup(key, Spending.from_entries(of)) for key, of in parts.items()]
    if by is SpendingBy.DAY:
        return sorted(found, key=lambda one: one.key)
    return sorted(found, key=lambda one: (-one.spending.usd, -one.spending.calls, one.key))


# --- estimates -------------------------------------------------------------------------------
# The cost of a run is extrapolated from a sample of its traces. All arithmetic uses exact decimals.
# The length of an answer isn't known, only its maximum.


@dataclass(frozen=True, slots=True)
class Range:
    """A minimum and a maximum, both inclusive."""

    low: Decimal = _NOTHING
    high: Decimal = _NOTHING

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.high + other.high)

    def times(self, factor: Decimal) -> "Range":
        return Range(self.low * factor, self.high * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeWorkload:
    """The judge work for one pair, for a trace, or for a run.

    `remembered` of `pairs` have a cached verdict. `usd` is None if the judge has no price. Pairs
    without a judge aren't counted.
    """

    pairs: int = 0
    remembered: int = 0
    questions: Range = Range()
    input_tokens: Range = Range()
    output_tokens: Range = Range()
    usd: Range | None = Range()

    @classmethod
    def for_question(
        cls, questions: tuple[int, int], tokens: int, answer: int, prices: Range | None
    ) -> Self:
        """The work of one pair. A question has `tokens` tokens, its longest answer `answer`.

        `prices` are those of a question with the shortest and with the longest answer.
        """
        low, high = map(Decimal, questions)
        return cls(
            pairs=1,
            remembered=int(low == 0),
            questions=Range(low, high),
            input_tokens=Range(low, high).times(Decimal(tokens)),
            output_tokens=Range(low * ANSWER_TOKENS_MIN, high * answer),
            usd=None if prices is None else Range(low * prices.low, high * prices.high),
        )

    def __add__(self, other: "JudgeWorkload") -> "JudgeWorkload":
        usd = None if self.usd is None or other.usd is None else self.usd + other.usd
        return JudgeWorkload(
            pairs=self.pairs + other.pairs,
            remembered=self.remembered + other.remembered,
            questions=self.questions + other.questions,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            usd=usd,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CostEstimate:
    """The estimate for a run over `targets`, from a sample of `looked_at` traces.

    Counts are whole numbers and USD has BUDGET_PLACES places; low ends are rounded down, high ends
    up. `remembered_share` is None if the sample has no judge call.
    """

    model: str
    votes: int
    targets: int
    looked_at: int
    questions: Range
    input_tokens: Range
    output_tokens: Range
    usd: Range | None
    remembered_share: float | None

    @classmethod
    def from_sample(
        cls, model: str, votes: int, targets: int, looked_at: Sequence[JudgeWorkload], traces: Range
    ) -> Self:
        """Extrapolates from the workload of each sampled trace to `traces`, the total number."""
        pairs = sum(one.pairs for one in looked_at)
        remembered = sum(one.remembered for one in looked_at)
        priced = [one.usd for one in looked_at if one.usd is not None]
        return cls(
            model=model,
            votes=votes,
            targets=targets,
            looked_at=len(looked_at),
            questions=_whole(extrapolate([one.questions for one in looked_at], traces)),
            input_tokens=_whole(extrapolate([one.input_tokens for one in looked_at], traces)),
            output_tokens=_whole(extrapolate([one.output_tokens for one in looked_at], traces)),
            usd=_rounded(extrapolate(priced, traces), _PLACE)
            if len(priced) == len(looked_at)
            else None,
            remembered_share=remembered / pairs if pairs else None,
        )

    @property
    def assumptions(self) -> str:
        """A text that explains what the low and high ends are based on."""
        return (
            f"Sampled traces: {self.looked_at}. The others are assumed to be similar, within "
            f"{STANDARD_ERRORS} standard errors on each side. At the low end each question is "
            f"asked once and answered in {ANSWER_TOKENS_MIN} tokens; at the high end up to "
            f"{self.votes} times, with {ANSWER_TOKENS_MAX} tokens per answer, and more for a "
            "checklist. A token is assumed to have four bytes. Not included: reasoning tokens of "
            "models, repaired answers, and retries of failed questions, which cost more; and "
            "savings by a provider's prompt cache."
        )


def extrapolate(seen: Sequence[Range], items: Range) -> Range:
    """The total for `items`, from an evenly picked sample.

    Exact if all items were seen. Otherwise the mean, with STANDARD_ERRORS standard errors of a
    sample without replacement on each side, and never less than the sample itself. For a single
    item the spread is unknown; it is assumed to be as large as the value.
    """
    if not seen:
        return Range()
    lows, highs = [one.low for one in seen], [one.high for one in seen]
    low, high = Decimal(sum(lows)), Decimal(sum(highs))
    if items.low > len(seen):
        low = max(low, items.low * _mean(lows, items.low, -STANDARD_ERRORS))
    if items.high > len(seen):
        high = max(high, items.high * _mean(highs, items.high, STANDARD_ERRORS))
    return Range(low, high)


def _mean(values: Sequence[Decimal], population: Decimal, errors: int) -> Decimal:
    """The mean of the population, `errors` standard errors above the mean of the sample."""
    count = Decimal(len(values))
    mean = sum(values, _NOTHING) / count
    if count == 1:
        variance = mean * mean
    else:
        variance = sum(((one - mean) ** 2 for one in values), _NOTHING) / (count - 1)
    unseen = (population - count) / (population - 1)
    return mean + errors * (variance / count * unseen).sqrt()


def _whole(found: Range) -> Range:
    return _rounded(found, Decimal(1))


def _rounded(found: Range, place: Decimal) -> Range:
    return Range(found.low.quantize(place, ROUND_FLOOR), found.high.quantize(place, ROUND_CEILING))


def evenly_spaced[T](everything: Sequence[T], most: int) -> Sequence[T]:
    """At most `most` items, in order, at even distances."""
    count = min(len(everything), most)
    return [everything[place * len(everything) // count] for place in range(count)]
