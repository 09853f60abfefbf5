"""Wire types of amounts in USD and of votes, which several requests share."""

from decimal import Decimal
from typing import Annotated, Final

from msgspec import Meta

from domain.evaluation.costs.judge_costs import BUDGET_MAX, BUDGET_PLACES, validate_budget
from domain.evaluation.runs.voting import VOTE_COUNTS, validate_votes
from domain.tracing.usage import as_float
from entrypoints.http.requests.scalar_types import domain_check

DECIMALS: Final = f"at most {BUDGET_PLACES} decimal places"


def usd_of(number: float) -> Decimal:
    """The amount with the digits that were sent."""
    return Decimal(repr(number))


def optional_usd(number: float | None) -> Decimal | None:
    return None if number is None else usd_of(number)


def _validate_usd(number: float) -> None:
    validate_budget(usd_of(number), "")


def usd_to_float(usd: Decimal | None) -> float | None:
    return None if usd is None else as_float(usd)


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
