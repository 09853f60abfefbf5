"""JSON in attributes: what is parsed, and how deep."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.otlp.mapping.json_values import is_deeper, json_of, json_text
from domain.tracing.payloads.json_scan import TooDeep, check_size

BRACKETS_IN_TEXT = st.text(st.sampled_from('[]{}"\\a'))
JSON = st.recursive(
    BRACKETS_IN_TEXT | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(BRACKETS_IN_TEXT, inner, max_size=3)
    ),
    max_leaves=30,
)


def nested(value, levels):
    for level in range(levels):
        value = [value] if level % 2 else {"k": value}
    return value


@given(JSON, st.integers(0, 30), st.integers(0, 40))
def test_depth_is_that_of_the_brackets_outside_of_strings(inner, more, levels):
    text = json.dumps([nested(inner, more), [], {}])
    try:
        check_size(text.encode() + b" " * levels, levels, 1 << 30)
        expected = False
    except TooDeep:
        expected = True
    assert is_deeper(text + " " * levels, levels) == expected


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ('{"a": 1.10}', '{"a": 1.10}'),
        ('"text"', '"text"'),
        ("[1,\n 2]", "[1,\n 2]"),
        ("text", '"text"'),
        ("1.10", '"1.10"'),
        ("{broken", '"{broken"'),
        ('["\\ud83c"]', '["\\ufffd"]'),
        ('["\\\\ud83c", "\\ud83c\\udf24"]', '["\\\\ud83c", "\\ud83c\\udf24"]'),
        ({"a": [1, 2.5, None, True]}, '{"a":[1,2.5,null,true]}'),
        (1.0, "1.0"),
        (12345678901234567890, "12345678901234567890"),
    ],
)
def test_text_as_stored(sent, stored):
    assert json_text(sent) == stored


@pytest.mark.parametrize("sent", ["[1e400]", '["a" "b"]', "[NaN]", "{'a': 1}", "[1] x", '"', "["])
def test_text_that_is_not_json_stays_text(sent):
    found = json_of(sent)
    assert found is None or json.loads(found[1])
    json.loads(json_text(sent))
