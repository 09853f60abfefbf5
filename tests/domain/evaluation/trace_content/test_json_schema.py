"""The supported subset of JSON Schema."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation.trace_content.json_schema import (
    LEVELS_MAX,
    is_supported_schema,
    json_equal,
    matches_schema,
)

OBJECT = {
    "type": "object",
    "description": "ignored",
    "properties": {"q": {"type": "string", "minLength": 2}, "n": {"type": "integer"}},
    "required": ["q"],
}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({}, [None, 1, "x", {}], []),
        (True, [1], []),
        (False, [], [1]),
        ({"type": "string"}, ["", "x"], [1, None, ["x"]]),
        ({"type": "integer"}, [1, -1, 1.0], [1.5, "1", True]),
        ({"type": "number"}, [1, 1.5], ["1", False]),
        ({"type": "boolean"}, [True, False], [0, 1]),
        ({"type": "null"}, [None], [0, "", False]),
        ({"type": ["string", "null"]}, ["x", None], [1]),
        ({"enum": ["a", 1]}, ["a", 1, 1.0], ["b", True, "1"]),
        ({"enum": []}, [], [1, None]),
        ({"const": {"a": [1]}}, [{"a": [1]}], [{"a": [True]}, {"a": 1}, None]),
        ({"const": None}, [None], [0]),
        ({"minLength": 2, "maxLength": 3}, ["ab", "abc", 1], ["a", "abcd"]),
        ({"minimum": 0, "maximum": 1.5}, [0, 1.5, "9"], [-0.1, 2]),
        ({"type": "array", "items": {"type": "integer"}}, [[], [1]], [["x"], [1, None]]),
        (OBJECT, [{"q": "ab"}, {"q": "ab", "n": 1}], [{}, {"q": "a"}, {"q": "ab", "x": 1}, "ab"]),
        ({**OBJECT, "additionalProperties": True}, [{"q": "ab", "x": 1}], [{"x": 1}]),
        ({"properties": {}, "additionalProperties": {"type": "null"}}, [{"x": None}], [{"x": 1}]),
        ({"type": "object"}, [{}, {"x": 1}], [[]]),
        ({"type": "object", "additionalProperties": False}, [{}], [{"x": 1}]),
        ({"required": ["a"]}, [{"a": None}, "no object"], [{}]),
        ({"items": {"properties": {"a": {"type": "null"}}}}, [[{"a": None}]], [[{"a": 1}]]),
    ],
)
def test_matching_values(schema, good, bad):
    assert is_supported_schema(schema)
    assert [value for value in good if not matches_schema(value, schema)] == []
    assert [value for value in bad if matches_schema(value, schema)] == []


@pytest.mark.parametrize(
    "schema",
    [
        *({key: {}} for key in ("anyOf", "$ref", "pattern", "format", "not", "patternProperties")),
        {"properties": {"a": {"oneOf": []}}},
        {"items": {"uniqueItems": True}},
        {"additionalProperties": {"pattern": "x"}},
        *({"type": kind} for kind in ("date", ["string", "x"], 3)),
        *({"properties": value} for value in ([], None, {"a": 3})),
        *({"required": value} for value in ("a", [1])),
        *({"enum": "a"}, {"minimum": "0"}, {"maxLength": None}, {"items": [{}]}),
        *(None, "x", 3, []),
    ],
)
def test_unsupported_schemas(schema):
    assert not is_supported_schema(schema)


def test_too_deep_schema_is_unsupported():
    deep: dict[str, object] = {}
    for _ in range(LEVELS_MAX):
        deep = {"items": deep}
    assert not is_supported_schema(deep)
    assert is_supported_schema(deep["items"])


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)
keys = ["type", "enum", "const", "required", "properties", "items", "minimum", "maxLength"]


@given(values, st.dictionaries(st.sampled_from([*keys, "additionalProperties"]), values))
def test_supported_schemas_can_be_checked(value, schema):
    if is_supported_schema(schema):
        assert matches_schema(value, schema) in {True, False}
    assert matches_schema(value, {"const": value})
    assert matches_schema(value, {"enum": [value]})


class CountedList(list):
    """Counts how often all its items are read."""

    reads = 0

    def __iter__(self):
        self.reads += 1
        return super().__iter__()

    def __contains__(self, item):
        self.reads += 1
        return super().__contains__(item)


@pytest.mark.parametrize(
    ("keyword", "listed", "item"),
    [
        ("enum", [*range(10)], 9),
        ("enum", [[one] for one in range(10)], [9]),
        ("type", ["object", "integer"], 1),
        ("required", ["a", "b"], {"a": 1, "b": 2}),
    ],
)
def test_lists_of_a_schema_are_not_read_for_each_item(keyword, listed, item):
    counted = CountedList(listed)
    schema = {"items": {"type": ["integer", "array", "object"], keyword: counted}}
    assert matches_schema([item] * 100, schema)
    assert counted.reads == 1
    assert not matches_schema([*[item] * 100, "x"], schema)
    assert counted.reads == 2


def test_numbers_with_equal_hashes_are_not_compared_with_each_other():
    same = [n * (2**61 - 1) for n in range(100_000)]
    assert len({*map(hash, same)}) == 1
    assert matches_schema(same[-1], {"enum": same})  # comparing them would take hours


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from([2.0**53, 2**53, 1e300, 10**300, int(1e300), "1", "null", '"'])
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=5,
)


@given(json_values, json_values)
def test_const_and_enum_accept_the_values_that_are_equal_in_json(one, other):
    assert matches_schema(one, {"const": one})
    assert matches_schema(one, {"const": other}) is json_equal(one, other)
    assert matches_schema(one, {"enum": [None, other]}) is (one is None or json_equal(one, other))
