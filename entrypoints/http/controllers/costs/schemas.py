"""What judges cost, and would, on the wire. Amounts are numbers, in USD."""

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
from entrypoints.http.controllers.costs.money import MonthlyUsd, check_usd, optional_usd, shown_usd
from entrypoints.http.requests.wire_types import (
    QueryEnd,
    QueryInstant,
    ShownInstant,
    optional_instant,
)


class CountRange(msgspec.Struct, frozen=True):
    low: int
    high: int

    @classmethod
    def of(cls, found: estimate.Range) -> Self:
        return cls(int(found.low), int(found.high))


class AmountRange(msgspec.Struct, frozen=True):
    low: float
    high: float

    @classmethod
    def of(cls, found: estimate.Range) -> Self:
        return cls(as_float(found.low), as_float(found.high))


class EvalRunEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a run would take, by what was found in `looked_at` of its traces.

    `remembered_share` of what a model would be asked is answered already, by verdicts on the same
    content. `cost_usd` is null where the model has no price.
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
    def of(cls, found: estimate.CostEstimate) -> Self:
        return cls(
            model=found.model,
            targets=found.targets,
            looked_at=found.looked_at,
            questions=CountRange.of(found.questions),
            input_tokens=CountRange.of(found.input_tokens),
            output_tokens=CountRange.of(found.output_tokens),
            cost_usd=None if found.usd is None else AmountRange.of(found.usd),
            remembered_share=found.remembered_share,
            assumptions=found.assumptions,
        )


class JudgeUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What some requests to judges came to.

    `input_tokens` include those of a provider's cache, `output_tokens` those of reasoning. Calls
    that are unpriced have no part in `cost_usd`.
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
    def of(cls, spent: Spending) -> Self:
        return cls(**fields_of(spent))


class JudgeUsagePart(JudgeUsage, frozen=True, kw_only=True):
    """The part of one project (by its id), model, metric or day (in UTC)."""

    key: str

    @classmethod
    def of_part(cls, part: SpendingGroup) -> Self:
        return cls(key=part.key, **fields_of(part.spending))


def fields_of(spent: Spending) -> dict[str, Any]:
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


_FROM: Final = (
    "Asked then or later; at first the beginning of the month in UTC. At most "
    f"{PERIOD_MAX.days} days before the end"
)


class UsageQuery(msgspec.Struct, frozen=True, kw_only=True):
    date_from: Annotated[QueryInstant, Meta(description=_FROM)] | None = None
    date_to: Annotated[QueryEnd, Meta(description="Asked earlier")] | None = None
    by: Annotated[SpendingBy, Meta(description="Into which parts")] = SpendingBy.PROJECT


class OrganizationUsageResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What judges cost in a period, in all and part by part.

    The dearest part comes first, days in their order; the total is that of all of them, also
    where there are more than are shown.
    """

    date_from: ShownInstant | None
    date_to: ShownInstant | None
    by: SpendingBy
    total: JudgeUsage
    parts: list[JudgeUsagePart]

    @classmethod
    def of(cls, by: SpendingBy, found: OrganizationUsage) -> Self:
        return cls(
            date_from=optional_instant(found.within.after),
            date_to=optional_instant(found.within.before),
            by=by,
            total=JudgeUsage.of(found.total),
            parts=[JudgeUsagePart.of_part(one) for one in found.parts],
        )


class BudgetRequest(msgspec.Struct, frozen=True, kw_only=True):
    monthly_usd: MonthlyUsd | None

    def __post_init__(self) -> None:
        check_usd(self.monthly_usd)

    def to_domain(self, _: HttpConfig) -> Decimal | None:
        return optional_usd(self.monthly_usd)


class BudgetResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What the judges of a project may cost in each month, null for any amount.

    `spent_usd` is what they did in `month`, in which calls that are unpriced have no part.
    """

    project_id: UUID
    month: str
    monthly_usd: float | None
    spent_usd: float
    unpriced_calls: int

    @classmethod
    def of(cls, project: ProjectId, budget: MonthlyBudget) -> Self:
        return cls(
            project_id=project,
            month=f"{budget.month:%Y-%m}",
            monthly_usd=shown_usd(budget.usd),
            spent_usd=as_float(budget.spent.usd),
            unpriced_calls=budget.spent.unpriced,
        )
