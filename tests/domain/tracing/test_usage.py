"""Token usage and cost of a span, by the table of derived values."""

import json
import math
import sys
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.tracing.span import priced_models
from domain.tracing.usage import (
    MAYBE_HUGE,
    TOKENS_MAX,
    UNPRICED,
    CostSource,
    Price,
    SpanCost,
    Usage,
    as_float,
    exact_sum,
    huge_counter,
    span_cost,
)
from tests.support.builders import strategies
from tests.support.builders.values import NOON

NONE = Usage()


@pytest.mark.parametrize(
    ("sent", "is_huge"),
    [
        *((text, True) for text in ("1e400", "-1E+400", "1" + "0" * 400, "1e999999", '"1e400"')),
        *((text, False) for text in ("1e300", "9" * 308, "1e-400", "null", "true", '"Infinity"')),
        *((text, False) for text in ("[1e400]", '{"n":1e400}', '"x1e400"', '""')),
    ],
)
def test_counter_beyond_any_double_is_found(sent, is_huge):
    found = huge_counter(f'{{"total_tokens":1e400,"completion_tokens":{sent}}}'.encode())
    assert found == ("completion_tokens" if is_huge else None)
    blank = " " * (100 << 10)  # more than one window
    text = f'{{"prompt_tokens":1,{blank}"completion_tokens":{blank}{sent}}}'.encode()
    assert huge_counter(text) == found


def test_long_numbers_are_each_read_once():
    """The windows in which a text is searched begin within numbers, too."""
    number = "9" * 309
    for shift in range(0, 700, 50):
        text = f'{{"x":"{"a" * (65_000 + shift)}","prompt_tokens":{number},"y":"{"b" * 70_000}"}}'
        assert huge_counter(text.encode()) == "prompt_tokens"
    assert MAYBE_HUGE.search(b"7" * 308 + b"," + b"7" * 308) is None
    assert MAYBE_HUGE.search(b"7" * 308 + b"e+308") is not None


@pytest.mark.parametrize(
    ("sent", "tokens"),
    [
        ("12", 12),
        ("12.0", 12),
        ("1.2e1", 12),
        ("12E0", 12),
        ("120e-1", 12),
        ('"12"', 12),
        ('"12.0"', 12),
        ("0", 0),
        ("-0", 0),
        ("-0.0", 0),
        ("9007199254740991", TOKENS_MAX - 1),
        ('"9007199254740991.000"', TOKENS_MAX - 1),
    ],
)
def test_integral_counts_are_read(sent, tokens):
    found = Usage.from_token_usage(f'{{"prompt_tokens":{sent}}}'.encode())
    assert found == Usage(tokens, 0, is_known=True)


@pytest.mark.parametrize(
    "sent",
    [
        *("12.5", "0.1", "1e-1", "-1", "-12.0", "9007199254740992", "1e400", "1e99999", "-1e99999"),
        *("null", "true", "false", "[]", "[12]", "{}", '{"n":12}'),
        *('""', '" 12"', '"12 "', '"+12"', '"1_000"', '"0x10"', '"twelve"', '"NaN"', '"Infinity"'),
        *('"\\u0661\\u0662"', '"\\u00b2"', '"12\\n"', '".5"', '"5."', "1." + "0" * 40 + "1"),
    ],
)
def test_other_values_count_as_0(sent):
    assert Usage.from_token_usage(f'{{"completion_tokens":{sent}}}'.encode()) == NONE


@pytest.mark.parametrize(
    "sent",
    [
        None,
        b"{}",
        b'{"total_tokens":12}',
        b'{"input_tokens":12,"cache_read_tokens":3,"reasoning_tokens":4}',
        b'{"prompt_tokens":{"prompt_tokens":12}}',
        b'{"Prompt_Tokens":12}',
        b'{"usage":{"prompt_tokens":12}}',
    ],
)
def test_other_keys_are_ignored(sent):
    assert Usage.from_token_usage(sent) == NONE


def test_prompt_and_completion_counts_are_read_independently():
    found = Usage.from_token_usage(
        b'{"total_tokens":99,"prompt_tokens":12,"completion_tokens":"x"}'
    )
    assert found == Usage(12, 0, is_known=True)
    assert Usage.from_token_usage(b'{"prompt_tokens":3,"completion_tokens":4}') == Usage(
        3, 4, is_known=True
    )


def test_escaped_keys_are_read_and_the_last_duplicate_wins():
    assert Usage.from_token_usage(b'{"prompt\\u005ftokens":12}').prompt_tokens == 12
    assert Usage.from_token_usage(b'{"prompt_tokens":1,"prompt_tokens":2}').prompt_tokens == 2


@given(st.floats() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False))
def test_any_integral_number_in_range_counts(number):
    found = Usage.from_token_usage(f'{{"prompt_tokens":{json.dumps(str(number))}}}'.encode())
    integral = math.isfinite(number) and number == int(number)
    expected = int(number) if integral and 0 <= number < TOKENS_MAX else None
    assert found == (Usage(expected, 0, is_known=True) if expected is not None else NONE)


@given(strategies.token_usages)
def test_counts_are_within_bounds(sent):
    found = Usage.from_token_usage(sent)
    assert 0 <= found.prompt_tokens < TOKENS_MAX
    assert 0 <= found.completion_tokens < TOKENS_MAX
    assert found.is_known or found == NONE


@given(*[st.integers(-10, 50)] * 2, st.integers(0, 20))
def test_cache_tokens_are_limited_to_the_prompt(read, written, prompt):
    found = Usage(prompt, 7, cache_read_tokens=read, cache_write_tokens=written)
    cached = (found.cache_read_tokens, found.cache_write_tokens)
    assert min(cached) >= 0
    assert sum(cached) <= prompt == found.prompt_tokens
    if read >= 0 and written >= 0 and read + written <= prompt:
        assert cached == (read, written)


# --- cost ----------------------------------------------------------------------------------

KNOWN = Usage(1_000, 100, is_known=True)


CENT = Price(Decimal("0.01"), "v", NOON)


def client(amount: str) -> SpanCost:
    """The client's cost, with the table price in addition."""
    return SpanCost(Decimal(amount), CostSource.CLIENT, CENT)


def a_cent(*_: object) -> Price:
    return CENT


def unlisted(*_: object) -> None:
    return None


@pytest.mark.parametrize(
    ("cost", "charge"),
    [
        ({"total": 1.5, "total_cost": 9.0, "prompt": 7.0}, client("1.5")),
        ({"total_cost": 9.0, "prompt": 7.0}, client("9.0")),
        ({"prompt": 0.1, "completion": 0.2}, client("0.3")),
        ({"total": 0.0, "total_cost": 9.0}, client("0")),
        ({"total": 0.0}, client("0")),
        ({"total": -1.0}, client("-1")),
        ({"total": 0.1}, client("0.1")),
        ({"prompt": 1e308, "completion": 1e308}, client("2e308")),
        ({"prompt": 5e-324, "completion": 1e16}, client("10000000000000000." + "0" * 323 + "5")),
        ({"prompt": 1e16, "completion": -1e16, "image": 0.1}, client("0.1")),
    ],
)
def test_client_cost_precedence(cost, charge):
    assert span_cost(cost, ["gpt-4o"], KNOWN, NOON, a_cent) == charge


@pytest.mark.parametrize("cost", [None, {}])
def test_price_table_is_used_without_client_cost(cost):
    charge = span_cost(cost, ["gpt-4o"], KNOWN, NOON, a_cent)
    assert charge == SpanCost(Decimal("0.01"), CostSource.TABLE, CENT)


def test_zero_price_is_a_price():
    nothing = Price(Decimal(0), "v")
    charge = span_cost(None, ["free"], KNOWN, NOON, lambda *_: nothing)
    assert charge == SpanCost(Decimal(0), CostSource.TABLE, nothing)


def test_client_cost_without_table_price():
    charge = span_cost({"total": 2.0}, ["gpt-4o"], KNOWN, NOON, unlisted)
    assert charge == SpanCost(Decimal(2), CostSource.CLIENT)


@pytest.mark.parametrize(
    ("model", "usage", "pricing"),
    [(None, KNOWN, a_cent), ("", KNOWN, a_cent), ("gpt-4o", NONE, a_cent), ("x", KNOWN, unlisted)],
)
def test_unknown_cost_is_unpriced(model, usage, pricing):
    assert span_cost(None, priced_models(model, None, None), usage, NOON, pricing) == UNPRICED
    assert UNPRICED.amount == 0


@pytest.mark.parametrize(
    ("model", "provider", "request_model", "names"),
    [
        ("m", None, None, ["m"]),
        ("m", None, "r", ["m", "r"]),
        ("m", "p", None, ["p/m"]),
        ("m", "p", "r", ["p/m", "p/r"]),
        ("p/m", "P", "q/r", ["p/m", "P/q/r"]),
        ("p", "p", None, ["p/p"]),
        ("m", "LangChain", "r", ["LangChain/m", "m", "LangChain/r", "r"]),
        (None, "p", "r", []),
        ("m", "Ollama", "r", ["Ollama/m", "Ollama/r"]),
        ("a/m", "vllm", None, ["vllm/a/m"]),
        ("ollama/m", "ollama", "Ollama_chat/r", ["ollama/m", "Ollama_chat/r"]),
    ],
)
def test_names_under_which_a_model_is_priced(model, provider, request_model, names):
    assert list(priced_models(model, provider, request_model)) == names


def test_first_listed_name_gives_the_price():
    def pricing(model, *_):
        return a_cent(model) if model == "m" else None

    assert span_cost(None, ["p/m", "m", "r"], KNOWN, NOON, pricing).price == a_cent("m")


def test_price_is_looked_up_at_the_span_start():
    lookups = []
    span_cost(None, ["gpt-4o"], KNOWN, NOON, lambda *what: lookups.append(what))
    assert lookups == [("gpt-4o", KNOWN, NOON)]


@given(st.lists(strategies.amounts, max_size=20), st.randoms(use_true_random=False))
def test_exact_sum_is_exact_in_any_order(amounts, random):
    exact = [Decimal(repr(one)) for one in amounts]
    total = exact_sum(exact)
    assert Fraction(total) == sum(map(Fraction, exact), Fraction(0))
    random.shuffle(exact)
    assert exact_sum(exact) == total


@pytest.mark.parametrize(
    ("amount", "double"),
    [
        ("0.1", 0.1),
        ("0", 0.0),
        ("-0.3", -0.3),
        ("1e400", sys.float_info.max),
        ("-1e400", -sys.float_info.max),
        ("2e308", sys.float_info.max),
        ("1e-400", 0.0),
        ("0.1000000000000000055511151231257827", 0.1),
    ],
)
def test_as_float_gives_the_nearest_finite_double(amount, double):
    assert as_float(Decimal(amount)) == double


@given(strategies.amounts)
def test_doubles_round_trip(amount):
    assert as_float(Decimal(repr(amount))) == amount
