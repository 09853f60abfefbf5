"""What judges cost: months, budgets, and what is set aside."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.evaluation.answer import TokenUse
from domain.evaluation.spending import (
    ANSWER_TOKENS_MAX,
    BUDGET_MAX,
    checked_budget,
    month_of,
    month_scope,
    set_aside,
)


def test_a_month_begins_in_utc():
    new_year_in_tokyo = datetime(2026, 1, 1, 8, tzinfo=timezone(timedelta(hours=9)))
    assert month_of(new_year_in_tokyo) == datetime(2025, 12, 1, tzinfo=UTC)
    assert month_scope(new_year_in_tokyo) == "month 2025-12"


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_instant_lies_in_its_month(instant):
    first = month_of(instant)
    assert first <= instant
    assert (first.year, first.month, first.day) == (instant.year, instant.month, 1)
    assert month_scope(first) == month_scope(instant)


@pytest.mark.parametrize("usd", ["0", "0.000001", "12.5", str(BUDGET_MAX)])
def test_a_budget_is_kept_as_it_is_said(usd):
    assert checked_budget(Decimal(usd), "max_cost_usd") == Decimal(usd)


@pytest.mark.parametrize("usd", ["-0.01", "NaN", "Infinity", "1000000.01", "0.0000001"])
def test_what_is_no_budget_is_refused_by_its_name(usd):
    with pytest.raises(Invalid) as refused:
        checked_budget(Decimal(usd), "max_cost_usd")
    assert refused.value.errors[0].field == "max_cost_usd"


def test_twice_what_one_request_takes_is_set_aside():
    assert set_aside(1_000) == TokenUse(requests=2, input=2_000, output=2 * ANSWER_TOKENS_MAX)
