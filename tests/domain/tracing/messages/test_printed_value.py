"""Values in the form in which Python prints them."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.tracing.messages.printed_value import PRINTED_CHARS_MAX, parse_printed

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.floats(-9, 9)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=9,
)


@given(values)
def test_what_python_prints_is_read(value: object) -> None:
    assert parse_printed(repr(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "hello there", "{'a': open('x')}", "{'a': 1", "\0", "{'a': '\\d'}", "9" * 5_000),
        *("-" * 9_999 + "1", "[" * 9_999, "1+" * 4_999 + "1", "f'{" * 3_000, "1if 1else " * 900),
        f"'{'a' * PRINTED_CHARS_MAX}'",
    ],
)  # fmt: skip
def test_other_text_is_no_value(text: str) -> None:
    assert parse_printed(text) is None


def test_odd_text_writes_nothing_to_the_standard_error() -> None:
    lines = (
        "from domain.tracing.messages.printed_value import parse_printed",
        "print(parse_printed('1if 1else 2' * 100), parse_printed('{1: 0x1for x in 2}'))",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("None None\n", "")
