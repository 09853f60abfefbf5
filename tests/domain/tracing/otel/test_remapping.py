"""What counts as a change when a span is mapped again."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from domain.tracing.otel.remapping import CHANGE_TEXT_CHARS_MAX, field_changes
from domain.tracing.otel.stored_spans import with_role
from domain.tracing.usage import CostSource, SpanCost, UsageRole
from tests.support.builders.otel_nodes import TRACE, node
from tests.support.builders.values import NOON, OURS, prices

NODE = node(1, None, tokens=5, metadata=b'{"k":1,"otel":{"kind":1,"flags":[]}}')
SPAN, FACTS = NODE.span.settled(prices().price), NODE.facts


def changes(span: Any = None, facts: Any = None, before: Any = SPAN) -> list[tuple[str, str, str]]:
    after = (replace(SPAN, **(span or {})), replace(FACTS, **(facts or {})))
    found = field_changes(OURS, TRACE, (before, FACTS), after)
    assert {(one.project, one.trace, one.span_id) for one in found} <= {(OURS, TRACE, FACTS.hex_id)}
    return [(one.field, one.before, one.after) for one in found]


@pytest.mark.parametrize(
    ("span", "facts", "expected"),
    [
        ({"name": "new"}, {}, ("name", "span 1", "new")),
        ({"ended_at": NOON}, {}, ("ended_at", f"{SPAN.ended_at}", f"{NOON}")),
        ({"output": b'"o"'}, {}, ("output", "null", '"o"')),
        ({}, {"session_id": "s"}, ("session_id", "null", "s")),
        ({}, {"tags": ("a",)}, ("tags", "()", "('a',)")),
    ],
)
def test_changed_field_is_shown(span, facts, expected):
    assert changes(span, facts) == [expected]


def test_several_changes_are_in_the_order_of_their_names():
    assert [one[0] for one in changes({"name": "n", "error": "e"}, {"user_id": "u"})] == [
        "error", "name", "user_id",
    ]  # fmt: skip


def test_same_versions_roles_and_prices_are_not_reported():
    facts = {"mapping_version": 9, "won_keys": {"name": "x"}, "native_names": ("name",)}
    assert changes({}, facts, with_role(SPAN, UsageRole.ROLLUP)) == []
    assert changes({"usage_role": UsageRole.DUPLICATE}) == []


def test_another_amount_is_a_change():
    cost = SpanCost(Decimal("0.5"), CostSource.CLIENT, None)
    assert changes({"charge": cost}) == [("cost_amount", f"{SPAN.charge.amount}", "0.5")]


def test_order_of_metadata_is_not_reported():
    assert changes({"metadata": b'{"otel":{"flags":[],"kind":1}, "k":1}'}) == []
    assert [one[0] for one in changes({"metadata": b'{"k":2,"otel":{"kind":1,"flags":[]}}'})] == [
        "metadata"
    ]
    assert changes({"metadata": b'{"k":1,"otel":5}'}) != []


def test_long_values_are_cut():
    [(_, _, after)] = changes({"error": "x" * 10_000})
    assert after == "x" * CHANGE_TEXT_CHARS_MAX
