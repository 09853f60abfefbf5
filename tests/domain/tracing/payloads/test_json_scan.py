"""Depth and number of values of JSON, found by scanning."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.tracing.payloads.json_scan import (
    WINDOW_BYTES,
    TooDeep,
    TooManyValues,
    check_size,
    has_more_arrays,
)

MANY = 10**9

keys = st.text(st.sampled_from('ab[]{}",\\ é'), max_size=4)
documents = st.recursive(
    st.none() | st.integers() | keys,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=30,
)
indents = st.sampled_from([None, 0, 3])


def depth(value: Any) -> int:
    match value:
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
        case list():
            return 1 + max(map(depth, value), default=0)
    return 0


def count(value: Any) -> int:
    match value:
        case dict():
            return len(value) + sum(map(count, value.values()))
        case list():
            return len(value) + sum(map(count, value))
    return 0


def fits(text: bytes, levels: int, values: int) -> bool:
    try:
        check_size(text, levels, values)
    except (TooDeep, TooManyValues):
        return False
    return True


@given(documents, indents, st.integers(0, 6), st.integers(0, 40))
@example({"a": [[], {}, [[]]]}, 3, 3, 5)
def test_depth_and_number_of_values_are_exact(document, indent, levels, values):
    text = json.dumps(document, indent=indent, ensure_ascii=False).encode()
    # A text that is no longer than the levels can't exceed either limit of real requests.
    expected = depth(document) <= levels and count(document) <= values
    assert fits(text.ljust(levels + 1), levels, values) is expected
    assert fits(text.ljust(2 * WINDOW_BYTES), levels, values) is expected


@pytest.mark.parametrize("blanks", range(WINDOW_BYTES - 3, WINDOW_BYTES + 3))
def test_empty_brackets_across_two_windows_have_no_value(blanks):
    text = b"[1," + b" " * blanks + b"[ ],{\t}]"
    assert fits(text, 2, 3)
    assert not fits(text, 2, 2)


@pytest.mark.parametrize(
    "content",
    [
        b"\\\\" * WINDOW_BYTES,
        b'\\"' * WINDOW_BYTES,
        b"," * 3 * WINDOW_BYTES + b'\\"',
        b"\\" * (2 * WINDOW_BYTES) + b'\\"[[[',
        b"x" + b"\\\\" * WINDOW_BYTES,
    ],
)
def test_content_of_long_strings_does_not_count(content):
    text = b'{"' + content + b'":["' + content + b'"],"k":[]}'
    assert fits(text, 2, 3)
    assert not fits(text, 2, 2)
    assert not fits(text, 1, 3)


def test_first_limit_that_is_exceeded_is_named():
    with pytest.raises(TooDeep):
        check_size(b"[" * 1_000 + b"]" * 1_000, 500, 10_000)
    with pytest.raises(TooManyValues):
        check_size(b"[" + b"1," * 10_000 + b"1]", 500, 10_000)
    check_size(b"[" + b"1," * 9_999 + b"1]", 500, 10_000)
    check_size(b"[" + b"1," * MANY.bit_length() + b"1]", 0 + 1, MANY)


@pytest.mark.parametrize(
    ("text", "arrays"),
    [
        (b"[]", 1),
        (b"[[],[[1]]]", 4),
        (b'{"a":[1,{"b":[]}]}', 2),
        (b'["[[[","]\\"[",[]]', 2),
        (b'"[[["', 0),
    ],
)
def test_arrays_are_counted_outside_of_strings(text, arrays):
    assert not has_more_arrays(text, arrays)
    assert arrays == 0 or has_more_arrays(text, arrays - 1)
