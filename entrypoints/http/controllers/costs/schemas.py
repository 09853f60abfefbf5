"""Wire schemas of judge costs, estimates, votes and budgets. Amounts are numbers, in USD."""

from decimal import Decimal
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import Meta

from application.costs.organization_usage import MonthlyBudget, OrganizationUsage, SpendingLimits
from domain.evaluation.costs.judge_costs import (
    BUDGET_MAX,
    BUDGET_PLACES,
    PERIOD_MAX,
    CostEstimate,
    Range,
    Spending,
    SpendingBy,
    validate_budget,
)
from domain.evaluation.runs.voting import VOTE_COUNTS, validate_votes
from domain.identity.organization import KEY_DAYS_MAX, RETENTION_MAX_DAYS, OrganizationLimits
from entrypoints.http.config import HttpConfig
from entrypoints.http.requests.scalar_types import domain_check
from entrypoints.http.requests.wire_types import QueryEnd, QueryInstant, ResponseInstant, Usd
from entrypoints.http.response_structs import GIVEN, WHOLE, ResponseStruct, Source

DECIMALS: Final = f"at most {BUDGET_PLACES} decimal places"


def _usd_of(number: float) -> Decimal:
    """The amount with the digits that were sent."""
    return Decimal(repr(number))


def optional_usd(number: float | None) -> Decimal | None:
    return None if number is None else _usd_of(number)


def _validate_usd(number: float) -> None:
    validate_budget(_usd_of(number), "")


type Votes = Annotated[
    int,
    Meta(
        description=(
            "How often a model may be called for one score. It is called again only if its "
            "verdicts so far are near the metric's threshold, or on both sides of it"
        ),
        extra={"check": domain_check(validate_votes)},
        extra_json_schema={"enum": list(VOTE_COUNTS)},
    ),
]
type RunBudget = Annotated[
    float,
    Meta(
        ge=0,
        le=float(BUDGET_MAX),
        description=(
            "The budget for its judge calls in USD. A call that might exceed it isn't made, and "
            f"its score is skipped. {DECIMALS.capitalize()}. 422 if the model has no price"
        ),
        extra={"check": domain_check(_validate_usd)},
    ),
]
type MonthlyUsd = Annotated[
    float,
    Meta(
        ge=0,
        le=float(BUDGET_MAX),
        description=f"USD per calendar month in UTC; {DECIMALS}. Null: no limit",
        extra={"check": domain_check(_validate_usd)},
    ),
]


class CountRange(ResponseStruct[Range], frozen=True):
    low: Annotated[int, Source("low", int)]
    high: Annotated[int, Source("high", int)]


class AmountRange(ResponseStruct[Range], frozen=True):
    low: Usd
    high: Usd


class EvalRunEstimate(ResponseStruct[CostEstimate], frozen=True, kw_only=True):
    """An estimate of the judge calls of a run, extrapolated from `looked_at` of its traces.

    `remembered_share` is the share of calls that cached verdicts on the same content replace, null
    if there are none.
    `cost_usd` is null if the model has no price.
    """

    model: str
    targets: int
    looked_at: int
    questions: CountRange
    input_tokens: CountRange
    output_tokens: CountRange
    cost_usd: Annotated[AmountRange | None, Source("usd")]
    remembered_share: float | None
    assumptions: str


class JudgeUsage(ResponseStruct[Spending], frozen=True, kw_only=True):
    """Totals over requests to judges.

    `input_tokens` include cached tokens, `output_tokens` include reasoning tokens. `cost_usd`
    doesn't include unpriced calls. The tokens of `estimated_calls` are estimates, because the
    provider reported none, or more than the call can have had.
    """

    calls: int
    failed_calls: Annotated[int, Source("failed")]
    unpriced_calls: Annotated[int, Source("unpriced")]
    estimated_calls: Annotated[int, Source("estimated")]
    input_tokens: Annotated[int, Source("use.input")]
    cache_read_tokens: Annotated[int, Source("use.cache_read")]
    cache_write_tokens: Annotated[int, Source("use.cache_write")]
    output_tokens: Annotated[int, Source("use.output")]
    reasoning_tokens: Annotated[int, Source("use.reasoning")]
    cost_usd: Annotated[Usd, Source("usd")]


class JudgeUsagePart(JudgeUsage, frozen=True, kw_only=True):
    """The totals of one project (by its id), model, metric or day (in UTC)."""

    key: Annotated[str, GIVEN]


def _usage_parts(usage: OrganizationUsage) -> list[JudgeUsagePart]:
    return [JudgeUsagePart.from_domain(part.spending, key=part.key) for part in usage.parts]


_DATE_FROM: Final = (
    "Called then or later; by default since the beginning of the month in UTC. At most "
    f"{PERIOD_MAX.days} days before the end"
)


class UsageQuery(msgspec.Struct, frozen=True, kw_only=True):
    date_from: Annotated[QueryInstant, Meta(description=_DATE_FROM)] | None = None
    date_to: Annotated[QueryEnd, Meta(description="Called earlier")] | None = None
    by: Annotated[SpendingBy, Meta(description="How to group the totals")] = SpendingBy.PROJECT


class OrganizationUsageResponse(ResponseStruct[OrganizationUsage], frozen=True, kw_only=True):
    """The cost of judges in a period: the total, and the totals of each group.

    The most expensive group comes first; days are in order. `total` covers all groups, also those
    beyond the number of groups that are returned.
    """

    date_from: Annotated[ResponseInstant | None, Source("within.after")]
    date_to: Annotated[ResponseInstant | None, Source("within.before")]
    by: Annotated[SpendingBy, GIVEN]
    total: JudgeUsage
    parts: Annotated[list[JudgeUsagePart], Source(WHOLE, _usage_parts)]


type KeyDays = Annotated[int, Meta(ge=1, le=KEY_DAYS_MAX)]
type RetentionDays = Annotated[int, Meta(ge=1, le=RETENTION_MAX_DAYS)]


class LimitsRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Each of them is set; null: no limit."""

    monthly_usd: MonthlyUsd | None
    project_monthly_usd: MonthlyUsd | None
    project_retention_days: RetentionDays | None
    key_days: KeyDays | None

    def to_domain(self, _: HttpConfig) -> OrganizationLimits:
        return OrganizationLimits(
            monthly_usd=optional_usd(self.monthly_usd),
            project_monthly_usd=optional_usd(self.project_monthly_usd),
            project_retention_days=self.project_retention_days,
            key_days=self.key_days,
        )


class LimitsResponse(ResponseStruct[SpendingLimits], frozen=True, kw_only=True):
    """The limits of an organization; null: no limit.

    `monthly_usd` is the budget for the judges of all its projects together, `spent_usd` what they
    cost in `month`, without unpriced calls; with a budget also what it counts of deleted projects
    and of calls under way. A new project starts with `project_monthly_usd` and
    `project_retention_days`. An API key that is created without `expiration` expires after
    `key_days`.
    """

    org_id: Annotated[UUID, GIVEN]
    month: Annotated[str, Source("month", "{:%Y-%m}".format)]
    monthly_usd: Annotated[Usd | None, Source("limits.monthly_usd")]
    spent_usd: Annotated[Usd, Source("spent.usd")]
    unpriced_calls: Annotated[int, Source("spent.unpriced")]
    project_monthly_usd: Annotated[Usd | None, Source("limits.project_monthly_usd")]
    project_retention_days: Annotated[int | None, Source("limits.project_retention_days")]
    key_days: Annotated[int | None, Source("limits.key_days")]


class BudgetRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    monthly_usd: MonthlyUsd | None

    def to_domain(self, _: HttpConfig) -> Decimal | None:
        return optional_usd(self.monthly_usd)


class BudgetResponse(ResponseStruct[MonthlyBudget], frozen=True, kw_only=True):
    """The monthly budget for the judges of a project; null for no limit.

    `spent_usd` is their cost in `month`, without unpriced calls.
    """

    project_id: Annotated[UUID, GIVEN]
    month: Annotated[str, Source("month", "{:%Y-%m}".format)]
    monthly_usd: Annotated[Usd | None, Source("usd")]
    spent_usd: Annotated[Usd, Source("spent.usd")]
    unpriced_calls: Annotated[int, Source("spent.unpriced")]
