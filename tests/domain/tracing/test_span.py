"""Spans: merging, cost, and totals."""

from dataclasses import fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.tracing.span import Span, SpanChange, SpanKind, SpanStatus, Totals, elapsed_ms
from domain.tracing.usage import UNPRICED, CostSource, Price, SpanCost, Usage, UsageRole
from tests.support.builders import strategies
from tests.support.builders.values import NOON, at, prices, span, span_id, table_cost

PRICE = prices().price
USED = {"model": "gpt-4o", "token_usage": b'{"prompt_tokens":1000000,"completion_tokens":0}'}
MUCH = Price(Decimal(99), "v")
FULL = span(
    parent_id=span_id(),
    kind=SpanKind.LLM,
    status=SpanStatus.OK,
    ended_at=at(1),
    completion_started_at=at(0.5),
    error="e",
    model="gpt-4o",
    input=b'"i"',
    output=b'"o"',
    metadata=b'{"m":1}',
    token_usage=b'{"prompt_tokens":1}',
    model_parameters=b'{"t":0}',
    cost={"total": 1.0},
)
ALWAYS_SAID = {"id", "name", "started_at", "usage", "charge"}
OPTIONAL = [field.name for field in fields(Span) if field.name not in ALWAYS_SAID]


def same(name: str) -> Span:
    return replace(span(id=FULL.id, name=name))


# --- merging -------------------------------------------------------------------------------


@pytest.mark.parametrize("field", OPTIONAL)
def test_merge_keeps_known_and_adds_new_fields(field):
    assert getattr(FULL.merged(same("late")), field) == getattr(FULL, field)
    assert getattr(same("early").merged(FULL), field) == getattr(FULL, field)


@pytest.mark.parametrize(
    ("first_status", "second_status"), list(product(SpanStatus, [*SpanStatus, None]))
)
def test_final_status_is_only_replaced_by_a_final_one(first_status, second_status):
    is_kept = second_status is None or (
        first_status is not SpanStatus.UNSET and second_status is SpanStatus.UNSET
    )
    found = span(id=FULL.id, status=first_status).merged(span(id=FULL.id, status=second_status))
    assert found.status is (first_status if is_kept else second_status)
    assert SpanChange(status=second_status).applied(found.settled(PRICE), PRICE).status is (
        second_status or found.status
    )


def test_name_and_start_are_always_replaced():
    merged = FULL.merged(span(id=FULL.id, name="renamed", started_at=at(-1)))
    assert (merged.name, merged.started_at) == ("renamed", at(-1))


@pytest.mark.parametrize(
    ("field", "falsy"),
    [
        *(("error", ""), ("model", ""), ("cost", {})),
        *(
            (name, value)
            for name in ("input", "output")
            for value in (b"0", b"false", b'""', b"{}")
        ),
        *((name, b"{}") for name in ("token_usage", "model_parameters")),
        ("kind", SpanKind.OTHER),
    ],
)
def test_falsy_value_replaces_on_merge(field, falsy):
    assert getattr(FULL.merged(span(id=FULL.id, **{field: falsy})), field) == falsy


@given(strategies.spans())
def test_settling_keeps_all_sent_fields(one):
    settled = one.settled(PRICE)
    for field in fields(Span):
        if (sent := getattr(one, field.name)) is not None:
            assert getattr(settled, field.name) == sent


@given(strategies.spans())
def test_resent_span_changes_nothing(one):
    assert one.merged(one) == one
    stored = one.settled(PRICE)
    assert stored.merged(one).settled(PRICE) == stored


@given(strategies.spans(st.just(FULL.id)), strategies.spans(st.just(FULL.id)))
def test_settling_before_or_after_a_merge_is_the_same(one, two):
    assert one.settled(PRICE).merged(two).settled(PRICE) == one.merged(two).settled(PRICE)


# --- stored form --------------------------------------------------------------------------


def test_settling_sets_defaults():
    stored = span().settled(PRICE)
    assert (stored.kind, stored.status) == (SpanKind.OTHER, SpanStatus.UNSET)
    assert stored.charge == UNPRICED


def test_charge_is_kept_if_its_inputs_are_unchanged():
    stored = span(**USED).settled(PRICE)
    assert stored.charge == table_cost("2.5")
    again = stored.merged(replace(FULL, cost=None, token_usage=None, model="gpt-4o"))
    assert again.settled(lambda *_: MUCH).charge == stored.charge


@pytest.mark.parametrize(
    "changes",
    [
        {"cost": {}},
        {"cost": {"total": 0.0}},
        {"model": "tiny"},
        {"provider": "openai"},
        {"request_model": "tiny"},
        {"token_usage": b'{"prompt_tokens":2}'},
        {"started_at": at(1)},
    ],
)
def test_charge_is_recomputed_if_its_inputs_change(changes):
    stored = span(**USED).settled(PRICE)
    changed = stored.merged(replace(stored, charge=None, **changes)).settled(lambda *_: MUCH)
    expected = SpanCost(MUCH.amount, CostSource.TABLE, MUCH)
    if changes.get("cost"):
        expected = SpanCost(Decimal(0), CostSource.CLIENT, MUCH)
    assert changed.charge == expected


CACHED = Usage(1_000_000, 0, is_known=True, cache_read_tokens=500_000)
READ = USED | {"usage": CACHED}


def test_sent_usage_takes_precedence():
    stored = span(**READ).settled(PRICE)
    assert stored.usage == CACHED
    assert stored.charge == table_cost("1.875")
    moved = stored.merged(span(id=stored.id, model="openai/gpt-4o")).settled(PRICE)
    assert (moved.usage, moved.charge) == (CACHED, stored.charge)


def test_sent_usage_is_replaced_with_its_token_usage():
    early = span(model="gpt-4o").settled(PRICE)
    updated = early.merged(span(id=early.id, **READ)).settled(PRICE)
    assert updated.usage == CACHED
    correction = span(id=early.id, token_usage=b'{"prompt_tokens":2}')
    assert updated.merged(correction).settled(PRICE).usage == Usage(2, 0)


def test_cache_tokens_in_token_usage_are_ignored():
    usage = b'{"prompt_tokens":1000000,"completion_tokens":0,"cache_read_tokens":500000}'
    assert span(model="gpt-4o", token_usage=usage).settled(PRICE).charge == table_cost("2.5")


def test_client_cost_takes_precedence_in_any_order():
    priced, paid = span(**USED), span(cost={"total": 0.5})
    paid_last = priced.settled(PRICE).merged(replace(paid, id=priced.id)).settled(PRICE)
    paid_first = paid.settled(PRICE).merged(replace(priced, id=paid.id)).settled(PRICE)
    expected = SpanCost(Decimal("0.5"), CostSource.CLIENT, table_cost("2.5").price)
    assert paid_last.charge == paid_first.charge == expected


# --- durations -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "ms"), [(1.25, 1250.0), (0, 0.0), (-2, None), (0.000001, 0.001)]
)
def test_durations_are_in_milliseconds_and_never_negative(seconds, ms):
    found = span(ended_at=at(seconds), completion_started_at=at(seconds))
    assert found.latency_ms == found.time_to_first_token_ms == ms
    assert found.clock_skew is (ms is None)


def test_each_duration_is_judged_by_itself():
    early_answer = span(ended_at=at(1), completion_started_at=at(-1))
    assert (early_answer.latency_ms, early_answer.time_to_first_token_ms) == (1000.0, None)
    assert early_answer.clock_skew
    assert not span(ended_at=at(1)).clock_skew


def test_latency_is_none_without_an_end():
    assert span().latency_ms is None
    assert span().time_to_first_token_ms is None


def test_latency_may_span_all_time():
    first, last = datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert elapsed_ms(first, last) == pytest.approx(9999 * 365.2425 * 86_400_000, rel=1e-6)
    assert elapsed_ms(NOON, None) is None


# --- totals --------------------------------------------------------------------------------


def test_totals_add_up_tokens_money_and_errors():
    spans = [
        span(cost={"prompt": 0.1, "completion": 0.2}, status=SpanStatus.ERROR),
        span(**USED),
        span(token_usage=b'{"prompt_tokens":3,"completion_tokens":4}'),
    ]
    totals = Totals.from_spans(one.settled(PRICE) for one in spans)
    assert totals == Totals(3, 1_000_003, 4, Decimal("2.8"), 1, unpriced=1)
    assert totals.tokens == 1_000_007


@pytest.mark.parametrize(
    ("fields", "is_unpriced"),
    [
        ({"kind": SpanKind.LLM}, True),
        ({"kind": SpanKind.EMBEDDING, "model": "unlisted"}, True),
        ({"token_usage": b'{"prompt_tokens":3}'}, True),
        ({"kind": SpanKind.LLM, **USED}, False),
        ({"kind": SpanKind.LLM, "cost": {"total": 0.0}}, False),
        ({"kind": SpanKind.TOOL}, False),
        ({"token_usage": b'{"prompt_tokens":0}'}, False),
        ({"kind": SpanKind.LLM, "usage_role": UsageRole.ROLLUP}, False),
    ],
)
def test_unpriced_are_calls_and_tokens_without_a_cost(fields, is_unpriced):
    one = span(**fields).settled(PRICE)
    assert one.is_unpriced is is_unpriced
    assert Totals.from_spans([one, one]).unpriced == 2 * is_unpriced


@pytest.mark.parametrize("role", UsageRole)
def test_usage_with_a_role_is_left_out_of_totals(role):
    one = span(
        usage=Usage(7, 5, is_known=True), cost={"total": 2.0}, status=SpanStatus.ERROR
    ).settled(PRICE)
    assert Totals.from_spans([one]) == Totals(1, 7, 5, Decimal(2), 1)
    assert Totals.from_spans([replace(one, usage_role=role)]) == Totals(1, errors=1)


some_spans = st.lists(strategies.spans().map(lambda one: one.settled(PRICE)), max_size=5)


@given(some_spans, some_spans)
def test_totals_subtract_exactly(some, more):
    both = Totals.from_spans(some) + Totals.from_spans(more)
    assert both == Totals.from_spans([*some, *more]) == Totals.from_spans([*more, *some])
    assert both - Totals.from_spans(more) == Totals.from_spans(some)
    assert both - both == Totals()


@given(some_spans)
def test_totals_of_no_spans_are_zero(some):
    assert Totals.from_spans(some) + Totals.from_spans([]) == Totals.from_spans(some)
