"""Lists and objects that are spread over attributes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.tracing.messages.indexed_attributes import INDEX_MAX, PATH_PARTS_MAX, indexed_items


@pytest.mark.parametrize(
    ("attributes", "items"),
    [
        ({"a.1": "y", "a.0": "x"}, ["x", "y"]),
        ({"a.10.b": 2, "a.9.b": 1}, [{"b": 1}, {"b": 2}]),
        ({"a.0.b.c": 1, "a.0.b.d": 2, "a.0.e.1": 4, "a.0.e.0": 3},
         [{"b": {"c": 1, "d": 2}, "e": [3, 4]}]),
        ({"a.0.1.x": 1, "a.0.x": 2}, [{"1": {"x": 1}, "x": 2}]),
        ({"a.0": {"x": 1}}, [{"x": 1}]),
        ({f"a.{INDEX_MAX}": 1, f"a.{INDEX_MAX + 1}": 2}, [1]),
        ({"a." + "0." * PATH_PARTS_MAX + "b": 1, "a.0": 1}, [1]),
    ],
)  # fmt: skip
def test_items(attributes, items):
    assert indexed_items(attributes, ["a"]) == {"a": items}
    assert indexed_items(dict(reversed(attributes.items())), ["a"]) == {"a": items}


@pytest.mark.parametrize("key", ["a", "a.", "a.b", "a.-1", "a.x.0", "ab.0", "b.0", "a.²", "a.1 .x"])
def test_other_attributes(key):
    assert indexed_items({key: 1}, ["a"]) == {}


def test_families_are_apart():
    attributes = {"a.b.0.c": 1, "a.0": 2, "a.b.0.d": 3}
    assert indexed_items(attributes, ["a.b", "a"]) == {"a.b": [{"c": 1, "d": 3}], "a": [2]}


def test_value_and_members_of_one_item_exclude_each_other():
    for attributes in ({"a.0": 1, "a.0.b": 2}, {"a.0.b": 2, "a.0": 1}):
        assert indexed_items(attributes, ["a"]) == {"a": [{"b": 2}]}


@given(st.dictionaries(st.lists(st.sampled_from("a0129"), min_size=1).map(".".join), st.integers()))
def test_values_are_rebuilt_in_any_order(attributes):
    found = indexed_items(attributes, ["a"])
    assert found == indexed_items(dict(reversed(attributes.items())), ["a"])
