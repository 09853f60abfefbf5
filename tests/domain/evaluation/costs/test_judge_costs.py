"""What judges cost: months, budgets, and what is set aside."""

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
from domain.evaluation.scores.query import CreatedWithin


def test_a_month_begins_in_utc():
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
def test_a_budget_is_kept_as_it_is_said(usd):
    assert validate_budget(Decimal(usd), "max_cost_usd") == Decimal(usd)


@pytest.mark.parametrize("usd", ["-0.01", "NaN", "Infinity", "1000000.01", "0.0000001"])
def test_what_is_no_budget_is_refused_by_its_name(usd):
    with pytest.raises(Invalid) as refused:
        validate_budget(Decimal(usd), "max_cost_usd")
    assert refused.value.errors[0].field == "max_cost_usd"


def test_twice_what_one_request_takes_is_set_aside():
    assert reservation_amount(1_000, 70) == TokenUse(requests=2, input=2_000, output=140)


def test_an_answer_has_a_bound_and_a_checklist_more_for_each_call():
    assert answer_tokens_max(0) == ANSWER_TOKENS_MAX
    assert answer_tokens_max(2) - answer_tokens_max(0) == 2 * CHECK_TOKENS_MAX


MARCH, NOW = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 15, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("after", "before", "begins"),
    [
        (None, None, MARCH),
        (None, MARCH + timedelta(microseconds=1), MARCH),
        (None, MARCH, datetime(2026, 2, 1, tzinfo=UTC)),  # what ends as March begins
        (None, datetime(2026, 1, 20, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
        (None, datetime.min.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)),
        (NOW - PERIOD_MAX, None, NOW - PERIOD_MAX),
        (MARCH - PERIOD_MAX, MARCH, MARCH - PERIOD_MAX),
        (NOW, MARCH, NOW),  # crossed: nothing lies in it
        (NOW + PERIOD_MAX, None, NOW + PERIOD_MAX),
    ],
)
def test_a_period_is_a_month_where_nothing_is_said(after, before, begins):
    assert resolve_period(after, before, NOW) == CreatedWithin(begins, before)


@pytest.mark.parametrize("before", [None, NOW])
def test_a_period_has_a_bound(before):
    with pytest.raises(Invalid) as refused:
        resolve_period(NOW - PERIOD_MAX - timedelta(microseconds=1), before, NOW)
    assert refused.value.errors[0].field == "query.date_from"
