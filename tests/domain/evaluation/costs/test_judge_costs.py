"""Costs of judges: months, budgets, and reservations."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.evaluation.costs.judge_costs import (
    ANSWER_TOKENS_MAX,
    BUDGET_MAX,
    CHECK_TOKENS_MAX,
    PERIOD_MAX,
    answer_tokens_max,
    month_scope,
    month_start,
    reservation_amount,
    resolve_period,
    validate_budget,
)
from domain.evaluation.judging.judge import TokenUse
from domain.evaluation.scores.score import CreatedWithin


def test_month_starts_in_utc():
    new_year_in_tokyo = datetime(2026, 1, 1, 8, tzinfo=timezone(timedelta(hours=9)))
    assert month_start(new_year_in_tokyo) == datetime(2025, 12, 1, tzinfo=UTC)
    assert month_scope(new_year_in_tokyo) == "month 2025-12"


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_instant_lies_in_its_month(instant):
    first = month_start(instant)
    assert first <= instant
    assert (first.year, first.month, first.day) == (instant.year, instant.month, 1)
    assert month_scope(first) == month_scope(instant)


@pytest.mark.parametrize("usd", ["0", "0.000001", "12.5", str(BUDGET_MAX)])
def test_valid_budget_is_unchanged(usd):
    assert validate_budget(Decimal(usd), "max_cost_usd") == Decimal(usd)


@pytest.mark.parametrize("usd", ["-0.01", "NaN", "Infinity", "1000000.01", "0.0000001"])
def test_invalid_budget_names_its_field(usd):
    with pytest.raises(Invalid) as refused:
        validate_budget(Decimal(usd), "max_cost_usd")
    assert refused.value.errors[0].field == "max_cost_usd"


def test_reservation_is_twice_the_estimate():
    assert reservation_amount(1_000, 70) == TokenUse(requests=2, input=2_000, output=140)


def test_answer_token_limit_grows_with_checks():
    assert answer_tokens_max(0) == ANSWER_TOKENS_MAX
    assert answer_tokens_max(2) - answer_tokens_max(0) == 2 * CHECK_TOKENS_MAX


MARCH, NOW = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 15, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("after", "before", "begins"),
    [
        (None, None, MARCH),
        (None, MARCH + timedelta(microseconds=1), MARCH),
        (None, MARCH, datetime(2026, 2, 1, tzinfo=UTC)),  # a period that ends when March begins
        (None, datetime(2026, 1, 20, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
        (None, datetime.min.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)),
        (NOW - PERIOD_MAX, None, NOW - PERIOD_MAX),
        (MARCH - PERIOD_MAX, MARCH, MARCH - PERIOD_MAX),
        (NOW, MARCH, NOW),  # reversed bounds: empty
        (NOW + PERIOD_MAX, None, NOW + PERIOD_MAX),
    ],
)
def test_period_defaults_to_the_month_of_its_end(after, before, begins):
    assert resolve_period(after, before, NOW) == CreatedWithin(begins, before)


@pytest.mark.parametrize("before", [None, NOW])
def test_period_longer_than_the_maximum_is_rejected(before):
    with pytest.raises(Invalid) as refused:
        resolve_period(NOW - PERIOD_MAX - timedelta(microseconds=1), before, NOW)
    assert refused.value.errors[0].field == "query.date_from"
