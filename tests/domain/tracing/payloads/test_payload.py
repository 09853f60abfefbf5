"""JSON payloads: stored text, and merging of objects."""

import json
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.tracing.payloads.payload import (
    EMPTY_OBJECT,
    MERGED_BYTES_MAX,
    OBJECT_VALUES_MAX,
    merged_objects,
    object_members,
    scalar_members,
    without_key,
)
from tests.support.builders import strategies


def read(text: bytes | str) -> object:
    """Parse JSON, with numbers as text."""
    return json.loads(text, parse_int=lambda digits: ("number", digits), parse_float=_float)


def _float(digits: str) -> tuple[str, str]:
    return ("number", digits)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"{}", {}),
        (b" {\t\r\n } ", {}),
        (b'{"a":1}', {"a": "1"}),
        (b'\n{ "a" : 1 , "b"\t:\r\n[1, 2] }\n', {"a": "1", "b": "[1, 2]"}),
        (b'{"a":{"b":{}},"c":"}"}', {"a": '{"b":{}}', "c": '"}"'}),
        (b'{"a":1,"a":2}', {"a": "2"}),
        (b'{"a":1,"\\u0061":2}', {"a": "2"}),
        (b'{"":null}', {"": "null"}),
        (b'{"a\\"b":"\\""}', {'a"b': '"\\""'}),
        ('{"ü🐼":"é"}'.encode(), {"ü🐼": '"é"'}),
        (b'{"\\ud83d\\udc3c":1}', {"🐼": "1"}),
        (
            b'{"a":1.0,"b":1e2,"c":12345678901234567890}',
            {"a": "1.0", "b": "1e2", "c": "12345678901234567890"},
        ),
        (b'{"a":"\\u0000","\\ud800":"\\udc00"}', {"a": '"\\u0000"', "\ud800": '"\\udc00"'}),
    ],
)
def test_members_are_the_texts_of_top_level_values(text, found):
    assert object_members(text) == found


some_objects = strategies.objects | strategies.hard_objects | st.just(b" { }")


@given(st.lists(some_objects, min_size=1, max_size=5))
def test_merging_all_at_once_is_merging_one_by_one(texts):
    assert merged_objects(*texts) == reduce(merged_objects, texts)


def test_scalar_members_stop_at_the_number_asked_for():
    text = b'{"a":[],"b":1,"c":2,"b":3,"d":4}'
    assert scalar_members(text, 2) == {"b": "1", "c": "2"}
    assert scalar_members(text) == {"b": "3", "c": "2", "d": "4"}
    assert scalar_members(b'{"a":1,"a":[]}') == {}


def many(prefix: str, count: int) -> bytes:
    return json.dumps({f"{prefix}{n}": n for n in range(count)}).encode()


def test_merged_object_has_no_more_values_than_one_that_is_sent():
    half = OBJECT_VALUES_MAX // 2
    full = merged_objects(many("a", half), many("b", half))
    assert merged_objects(full, b'{"a0":"new"}') == full.replace(b'"a0":0', b'"a0":"new"')
    with pytest.raises(Invalid) as refused:
        merged_objects(full, b'{"c":1}')
    assert [error.field for error in refused.value.errors] == ["metadata"]


def test_merged_object_has_no_more_bytes_than_one_that_is_sent():
    large = b'{"a":"' + b"x" * (MERGED_BYTES_MAX - 20) + b'"}'
    assert len(merged_objects(large, b'{"b":1}')) <= MERGED_BYTES_MAX
    with pytest.raises(Invalid, match="Validation"):
        merged_objects(large, b'{"b":"0123456789012345"}')


@given(strategies.objects | strategies.hard_objects)
def test_members_are_what_a_json_reader_sees(text):
    assert {key: read(value) for key, value in object_members(text).items()} == read(text)


@given(strategies.objects | strategies.hard_objects, strategies.objects | strategies.hard_objects)
def test_merge_equals_dict_update(old, new):
    assert read(merged_objects(old, new)) == read(old) | read(new)


@given(*[strategies.objects | strategies.hard_objects] * 3)
def test_merging_is_associative_and_idempotent(one, two, three):
    merged_left = merged_objects(merged_objects(one, two), three)
    assert merged_left == merged_objects(one, merged_objects(two, three))
    assert read(merged_objects(merged_left, three)) == read(merged_left)


@given(strategies.objects)
def test_merging_nothing_keeps_the_text(text):
    assert merged_objects(text, EMPTY_OBJECT) == text
    assert merged_objects(text, text) == text
    assert merged_objects(EMPTY_OBJECT, text) == text


def test_values_keep_their_text():
    old = b'{"a": 1.0, "deep": {"x" : [ 1e2 ]}}'
    assert merged_objects(old, b'{"b": -0.0}') == b'{"a":1.0,"deep":{"x" : [ 1e2 ]},"b":-0.0}'


@pytest.mark.parametrize("falsy", ["0", "false", "null", '""', "[]", "{}"])
def test_falsy_value_replaces(falsy):
    merged = merged_objects(b'{"a":1}', f'{{"a":{falsy}}}'.encode())
    assert object_members(merged) == {"a": falsy}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"{}", {}),
        (b' { "a" : 1 , "b": "x" } ', {"a": "1", "b": "x"}),
        (
            b'{"a":1.0,"b":1E+2,"c":12345678901234567890,"d":-0}',
            {"a": "1.0", "b": "1E+2", "c": "12345678901234567890", "d": "-0"},
        ),
        (b'{"a":true,"b":false,"c":null}', {"a": "true", "b": "false", "c": "null"}),
        (b'{"a":{"b":1},"c":[1],"d":{},"e":[]}', {}),
        (b'{"a.b":1,"":2}', {"a.b": "1", "": "2"}),
        (b'{"a":1,"a":{"b":2}}', {}),
        (b'{"a":[1],"\\u0061":"\\n\\"\\u00e9"}', {"a": '\n"é'}),
        (b'{"a":"\\u0000","\\u0000":1}', {"a": "\0", "\0": "1"}),
    ],
)
def test_scalar_members_exclude_objects_and_arrays(text, found):
    assert scalar_members(text) == found


@given(strategies.objects | strategies.hard_objects)
def test_scalars_are_what_a_json_reader_sees(text):
    values = json.loads(text, parse_int=str, parse_float=str)
    words = {True: "true", False: "false", None: "null"}
    assert scalar_members(text) == {
        key: value if isinstance(value, str) else words[value]
        for key, value in values.items()
        if not isinstance(value, dict | list)
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"a": 1, "k":"\\u0000"}', b'{"a":1}'),
        (b'{"k":{"k":1}}', b"{}"),
        (b'{"a":{"k":1}}', b'{"a":{"k":1}}'),
        (b'{ "a" : 1.0 }', b'{ "a" : 1.0 }'),
        (b"{}", b"{}"),
    ],
)
def test_without_key(text, expected):
    assert without_key(text, "k") == expected
