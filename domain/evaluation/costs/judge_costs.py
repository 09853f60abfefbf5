"""Costs of judges: the ledger of requests, budgets, and spending."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final, Self
from uuid import UUID

from domain.errors import Invalid
from domain.evaluation.judging.judge import JudgeCall, TokenUse
from domain.evaluation.runs.run import Target
from domain.evaluation.scores.score import CreatedWithin
from domain.ids import ProjectId, RunId
from domain.tracing.usage import Usage, exact_sum

BUDGET_MAX: Final = Decimal(1_000_000)  # USD, of a run or of a month
BUDGET_PLACES: Final = 6  # decimal places
PERIOD_MAX: Final = timedelta(days=400)  # of one spending report: somewhat more than a year
ANSWER_TOKENS_MAX: Final = 1_500  # stops endless answers; a usual one has 150
CHECK_TOKENS_MAX: Final = 75  # additional, for each call of a checklist
# The token estimate may be too low, or a second request may have to repair the first answer: twice
# the estimate is reserved.
RESERVATION_FACTOR: Final = 2

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
    """The sum over some requests. `unpriced` of them have no price and aren't in `usd`."""

    calls: int = 0
    failed: int = 0
    unpriced: int = 0
    use: TokenUse = field(default_factory=TokenUse)
    usd: Decimal = Decimal(0)

    @classmethod
    def from_entries(cls, entries: Iterable[LedgerEntry]) -> Self:
        known = list(entries)
        return cls(
            calls=len(known),
            failed=sum(one.call.code is not None for one in known),
            unpriced=sum(one.usd is None for one in known),
            use=sum((one.call.use for one in known), TokenUse()),
            usd=exact_sum(one.usd for one in known if one.usd is not None),
        )


class SpendingBy(StrEnum):
    """What spending is grouped by."""

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


def group_spending(entries: Sequence[LedgerEntry], by: SpendingBy) -> list[SpendingGroup]:
    """Sorted by cost, then calls, both descending, then by key; days in their order."""
    parts: dict[str, list[LedgerEntry]] = {}
    for one in entries:
        parts.setdefault(by.key_of(one), []).append(one)
    found = [SpendingGroup(key, Spending.from_entries(of)) for key, of in parts.items()]
    if by is SpendingBy.DAY:
        return sorted(found, key=lambda one: one.key)
    return sorted(found, key=lambda one: (-one.spending.usd, -one.spending.calls, one.key))
