"""Votes and amounts of money on the wire, where several bodies have them."""

from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Final

from msgspec import Meta

from domain.errors import Invalid
from domain.evaluation.costs.judge_costs import BUDGET_MAX, BUDGET_PLACES, validate_budget
from domain.evaluation.runs.voting import VOTE_COUNTS, validate_votes
from domain.tracing.usage import as_float
from entrypoints.http.requests.scalar_types import Refused

PLACES: Final = f"at most {BUDGET_PLACES} places behind the point"


def check_vote_count(votes: int) -> None:
    """Raises Refused."""
    _refused(lambda: validate_votes(votes))


def check_usd(usd: float | None) -> None:
    """Raises Refused."""
    _refused(lambda: None if usd is None else validate_budget(usd_of(usd), ""))


def _refused(check: Callable[[], object]) -> None:
    try:
        check()
    except Invalid as invalid:
        raise Refused(invalid.errors[0].message) from invalid


def usd_of(number: float) -> Decimal:
    """An amount as it was written."""
    return Decimal(repr(number))


def optional_usd(number: float | None) -> Decimal | None:
    return None if number is None else usd_of(number)


def shown_usd(usd: Decimal | None) -> float | None:
    return None if usd is None else as_float(usd)


type Votes = Annotated[
    int,
    Meta(
        description=(
            "How often a model may be asked one question: again only where its answers so far lie "
            "near the metric's threshold, or on both sides of it"
        ),
        extra={"check": check_vote_count},
        extra_json_schema={"enum": list(VOTE_COUNTS)},
    ),
]
type RunBudget = Annotated[
    float,
    Meta(
        ge=0,
        le=float(BUDGET_MAX),
        description=(
            "What its judges may cost in USD: a question that might exceed it isn't asked, and "
            f"its score is skipped. {PLACES.capitalize()}. 422 where the model has no price"
        ),
        extra={"check": check_usd},
    ),
]
type MonthlyUsd = Annotated[
    float,
    Meta(
        ge=0,
        le=float(BUDGET_MAX),
        description=f"USD of each calendar month in UTC; {PLACES}. Null: any amount",
        extra={"check": check_usd},
    ),
]
