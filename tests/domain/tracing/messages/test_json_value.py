"""JSON text to values and back: digits, depth, JSON in strings."""

import json
import pickle

import pytest
from hypothesis import given

from domain.tracing.messages.json_value import DEPTH_MAX, ExactFloat, encoded, parsed, parsed_once
from tests.support.builders import strategies


@pytest.mark.parametrize("digits", ["1.10", "1e5", "1E+2", "-0.0", "3.141592653589793238462643"])
def test_digits_are_kept(digits):
    text = f'{{"a":[{digits}]}}'
    value = parsed(text)
    assert value == {"a": [float(digits)]}
    assert encoded(value) == text
    assert encoded(pickle.loads(pickle.dumps(value))) == text
    assert json.loads(json.dumps(value)) == value


def test_only_numbers_that_need_it_keep_digits():
    assert type(parsed("1.5")) is float
    assert type(parsed("1.50")) is ExactFloat
    assert type(parsed("1.50", keeps_digits=False)) is float


@pytest.mark.parametrize("digits", ["1" * 5_000, "1e999", "-1e999", "NaN", "Infinity"])
def test_numbers_that_python_cannot_represent_are_text(digits):
    assert parsed(f"[{digits}]") == [digits]


@pytest.mark.parametrize("levels", [DEPTH_MAX + 1, 100_000])
def test_too_deep_text_is_not_parsed(levels):
    text = "[" * levels + "]" * levels
    with pytest.raises(ValueError, match="too deep"):
        parsed(text)
    assert parsed_once(text) == text
    assert parsed("[" * DEPTH_MAX + "]" * DEPTH_MAX)


def test_values_of_any_depth_are_encoded():
    value: object = {"b": None, "a": [True, "é"]}
    for _ in range(50_000):
        value = [{"x": value}, 1]
    text = encoded(value)
    assert text.startswith('[{"x":[{"x":')
    assert '{"b":null,"a":[true,"é"]}' in text


@given(strategies.payloads)
def test_encoding_returns_what_was_parsed(text):
    value = parsed(text.decode())
    assert parsed(encoded(value)) == value


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ('{"a":1}', {"a": 1}),
        (" [1]", [1]),
        ('"a"', "a"),
        *((value, value) for value in ("2024", "true", "null", "{broken", '"', "", 3, None, [1])),
        *((value, value) for value in ('"[1]"', r'"\"a\""')),
    ],
)
def test_json_in_a_string_is_parsed_once(value, read):
    assert parsed_once(value) == read
    assert parsed_once(parsed_once(value)) == read
