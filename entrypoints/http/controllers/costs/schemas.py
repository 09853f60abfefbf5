"""Wire schemas of judge costs, estimates and budgets. Amounts are numbers, in USD."""

from decimal import Decimal
from typing import Annotated, Any, Final, Self
from uuid import UUID

import msgspec
from msgspec import Meta

from application.costs.organization_usage import MonthlyBudget, OrganizationUsage
from domain.evaluation.costs import estimate
from domain.evaluation.costs.judge_costs import (
    PERIOD_MAX,
    Spending,
    SpendingBy,
    SpendingGroup,
)
from domain.ids import ProjectId
from domain.tracing.usage import as_float
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.costs.money import (
    MonthlyUsd,
    check_usd,
    optional_usd,
    usd_to_float,
)
from entrypoints.http.requests.wire_types import (
    QueryEnd,
    QueryInstant,
    ResponseInstant,
    format_optional_instant,
)


class CountRange(msgspec.Struct, frozen=True):
    low: int
    high: int

    @classmethod
    def from_domain(cls, bounds: estimate.Range) -> Self:
        return cls(int(bounds.low), int(bounds.high))


class AmountRange(msgspec.Struct, frozen=True):
    low: float
    high: float

    @classmethod
    def from_domain(cls, bounds: estimate.Range) -> Self:
        return cls(as_float(bounds.low), as_float(bounds.high))


class EvalRunEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate of the judge calls of a run, extrapolated from `looked_at` of its traces.

    `remembered_share` is the share of calls that cached verdicts on the same content replace.
    `cost_usd` is null if the model has no price.
    """

    model: str
    targets: int
    looked_at: int
    questions: CountRange
    input_tokens: CountRange
    output_tokens: CountRange
    cost_usd: AmountRange | None
    remembered_share: float
    assumptions: str

    @classmethod
    def from_domain(cls, cost: estimate.CostEstimate) -> Self:
        return cls(
            model=cost.model,
            targets=cost.targets,
            looked_at=cost.looked_at,
            questions=CountRange.from_domain(cost.questions),
            input_tokens=CountRange.from_domain(cost.input_tokens),
            output_tokens=CountRange.from_domain(cost.output_tokens),
            cost_usd=None if cost.usd is None else AmountRange.from_domain(cost.usd),
            remembered_share=cost.remembered_share,
            assumptions=cost.assumptions,
        )


class JudgeUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Totals over requests to judges.

    `input_tokens` include cached tokens, `output_tokens` include reasoning tokens. `cost_usd`
    doesn't include unpriced calls.
    """

    calls: int
    failed_calls: int
    unpriced_calls: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_usd: float

    @classmethod
    def from_domain(cls, spent: Spending) -> Self:
        return cls(**_usage_fields(spent))


class JudgeUsagePart(JudgeUsage, frozen=True, kw_only=True):
    """The totals of one project (by its id), model, metric or day (in UTC)."""

    key: str

    @classmethod
    def from_group(cls, part: SpendingGroup) -> Self:
        return cls(key=part.key, **_usage_fields(part.spending))


def _usage_fields(spent: Spending) -> dict[str, Any]:
    use = spent.use
    return {
        "calls": spent.calls,
        "failed_calls": spent.failed,
        "unpriced_calls": spent.unpriced,
        "input_tokens": use.input,
        "cache_read_tokens": use.cache_read,
        "cache_write_tokens": use.cache_write,
        "output_tokens": use.output,
        "reasoning_tokens": use.reasoning,
        "cost_usd": as_float(spent.usd),
    }


_DATE_FROM: Final = (
    "Called then or later; by default since the beginning of the month in UTC. At most "
    f"{PERIOD_MAX.days} days before the end"
)


class UsageQuery(msgspec.Struct, frozen=True, kw_only=True):
    date_from: Annotated[QueryInstant, Meta(description=_DATE_FROM)] | None = None
    date_to: Annotated[QueryEnd, Meta(description="Called earlier")] | None = None
    by: Annotated[SpendingBy, Meta(description="How to group the totals")] = SpendingBy.PROJECT


class OrganizationUsageResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of judges in a period: the total, and the totals of each group.

    The most expensive group comes first; days are in order. `total` covers all groups, also those
    beyond the number of groups that are returned.
    """

    date_from: ResponseInstant | None
    date_to: ResponseInstant | None
    by: SpendingBy
    total: JudgeUsage
    parts: list[JudgeUsagePart]

    @classmethod
    def from_domain(cls, by: SpendingBy, usage: OrganizationUsage) -> Self:
        return cls(
            date_from=format_optional_instant(usage.within.after),
            date_to=format_optional_instant(usage.within.before),
            by=by,
            total=JudgeUsage.from_domain(usage.total),
            parts=[JudgeUsagePart.from_group(part) for part in usage.parts],
        )


class BudgetRequest(msgspec.Struct, frozen=True, kw_only=True):
    monthly_usd: MonthlyUsd | None

    def __post_init__(self) -> None:
        check_usd(self.monthly_usd)

    def to_domain(self, _: HttpConfig) -> Decimal | None:
        return optional_usd(self.monthly_usd)


class BudgetResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The monthly budget for the judges of a project; null for no limit.

    `spent_usd` is their cost in `month`, without unpriced calls.
    """

    project_id: UUID
    month: str
    monthly_usd: float | None
    spent_usd: float
    unpriced_calls: int

    @classmethod
    def from_domain(cls, project: ProjectId, budget: MonthlyBudget) -> Self:
        return cls(
            project_id=project,
            month=f"{budget.month:%Y-%m}",
            monthly_usd=usd_to_float(budget.usd),
            spent_usd=as_float(budget.spent.usd),
            unpriced_calls=budget.spent.unpriced,
        )
