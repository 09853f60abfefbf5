"""Numbers in several notations, and sums."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation.trace_content.numbers import (
    _EQUATION,
    DERIVED_FROM_MAX,
    Equations,
    asked_result,
    check_equations,
    is_derivable,
    known_values,
    named_months,
    number_values,
    states_number,
)


@pytest.mark.parametrize(
    ("token", "values"),
    [
        ("42", {42}),
        ("007", {7}),
        ("1.250", {1250, 1.25}),
        ("1,250", {1250, 1.25}),
        ("1 250", {1250}),
        ("1’250", {1250}),
        ("1.204,50", {1204.5}),
        ("1,204.50", {1204.5}),
        ("1.204.500", {1_204_500}),
        ("7,5", {7.5}),
        ("12.03.2026", {12, 3, 2026}),
        ("3.1.2", {3, 1, 2}),
    ],
)
def test_number_values(token, values):
    assert number_values(token) == values


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("37 × 46 = 1702", 1, 0),
        ("58 * 27 = 1466", 0, 1),
        ("6 x 14 = 84. 84 - 9 = 73", 1, 1),
        ("3 × 2 × 40 EUR = 240 EUR", 1, 0),
        ("2 + 3 * 4 = 14", 1, 0),
        ("10 / 3 = 3.33", 1, 0),
        ("1 / 0 = 5", 0, 0),
        ("7,50 / 3 = 2,50 Euro", 1, 0),
        ("1.250 + 1.250 = 2.500", 1, 0),
        ("73×12＝866です", 0, 1),
        ("a = 5, from 2026-03-01", 0, 0),
        ("", 0, 0),
    ],
)
def test_check_equations(text, right, wrong):
    assert check_equations(text) == Equations(right, wrong)


@pytest.mark.parametrize(
    ("request_", "result"),
    [
        ("What is 37 * 46?", 1702),
        ("Wie viel sind 15 % von 240?", 36),
        ("1000减去387等于多少？", 613),
        ("Сколько будет 144 разделить на 9?", 16),
        ("Was ist 12 mal 12?", 144),
        ("64×15を計算してください", 960),
        ("Book 2026-05-14, 10-12 people", None),
        ("Call 0351-220441 or 1/2", None),
        ("What is 1 + 1, and what is 2 + 2?", None),
        ("x" * 400 + " 1 + 1", None),
    ],
)
def test_asked_result(request_, result):
    assert asked_result(request_) == (frozenset() if result is None else {result})


def test_derivable_numbers():
    assert is_derivable(frozenset([72.0]), {12, 6})
    assert is_derivable(frozenset([240.0]), {3, 2, 40})
    assert is_derivable(frozenset([57.0]), {14, 18, 25})
    assert not is_derivable(frozenset([73.0]), {12, 6})


def test_of_many_numbers_none_is_read():
    class Many(AbstractSet[float]):
        def __len__(self) -> int:
            return DERIVED_FROM_MAX + 1

        def __contains__(self, _: object) -> bool:
            raise AssertionError

        def __iter__(self) -> Iterator[float]:
            raise AssertionError("each number of an answer would sort them all")

    assert not is_derivable(frozenset([3.0]), Many())


def test_long_groups_of_digits_are_bounded():
    # Each group may begin a sum; following each of them to the end would take hours.
    assert _EQUATION.search("111 " * 250_000) is None


def test_known_values():
    assert known_values("at 19:30 on 4,5") == {19, 30, 7, 4.5}
    assert named_months("le 4 mai 2026, 30. Juni") == {5, 6}
    assert states_number("It is 1,702.", frozenset([1702.0]))
    assert not states_number("It is 1,703.", frozenset([1702.0]))


@given(st.text(alphabet="0123456789.,+-*/=x %:'\u00a0 ", max_size=60))
def test_any_text_can_be_read(text):
    check_equations(text)
    asked_result(text)
    known_values(text)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_any_sum_is_checked(one, other):
    assert check_equations(f"{one} + {other} = {one + other}") == Equations(1, 0)
    assert check_equations(f"{one} + {other} = {one + other + 1}") == Equations(0, 1)
