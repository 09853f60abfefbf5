"""Values that are nested too deeply are cut out of JSON, and nothing else changes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoints.http.requests.json_depth import (
    KEPT_LEVELS,
    WINDOW_BYTES,
    without_deep_values,
)

CUT = b'"cut"'
LEVELS_MAX = 6_000
texts = st.text('"\\[]{},:aé\n', max_size=5)
values = st.recursive(
    st.integers() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def height(value: Any) -> int:
    if not isinstance(value, list | dict):
        return 0
    inner = value if isinstance(value, list) else value.values()
    return 1 + max(map(height, inner), default=0)


def cut(value: Any, kept: int, most: int) -> Any:
    if height(value) <= most:
        return value
    if kept == 0:
        return "cut"
    if isinstance(value, list):
        return [cut(item, kept - 1, most - 1) for item in value]
    return {key: cut(member, kept - 1, most - 1) for key, member in value.items()}


@given(values, st.integers(0, 3), st.integers(0, 2), st.booleans(), st.integers(0, 3))
def test_only_deep_values_are_cut(
    value: Any, kept: int, more: int, is_ascii: bool, blanks: int
) -> None:
    text = b" " * blanks + json.dumps(value, ensure_ascii=is_ascii).encode()
    most = kept + 3 + more  # the least that windows of one byte, or of an escape, allow
    shallow = without_deep_values(text, most, CUT, kept, window_bytes=1)
    assert shallow is not None
    assert json.loads(shallow) == cut(value, kept, most)


@pytest.mark.parametrize("fill", [b"", b'"]",', b'"[[\\"",', b'"\\\\",', b"[],", b"[[]],"])
@pytest.mark.parametrize("levels", [KEPT_LEVELS, 3_000, LEVELS_MAX])
def test_values_of_many_windows_are_cut(levels: int, fill: bytes) -> None:
    kept, rest = KEPT_LEVELS, levels - KEPT_LEVELS
    many = fill * (5 * WINDOW_BYTES)
    deep = b"[" * rest + b"[" + many + b"[" * 20_000 + b"]" * 20_000 + b"]" + b"]" * rest
    shallow = b"[" * (rest - 1) + many + b'""' + b"]" * (rest - 1)
    text = b"[" * kept + shallow + b"," + deep + b"," + shallow + b"," + deep + b"]" * kept
    expected = text.replace(deep, CUT)
    assert without_deep_values(text, LEVELS_MAX + 3, CUT) == expected


@pytest.mark.parametrize("shift", range(4))
def test_windows_split_no_escape(shift: int) -> None:
    string = b'"' + b"a" * shift + rb"\\\"[" * WINDOW_BYTES + b'"'
    deep = b"[" * 20_000 + b"]" * 20_000
    text = b"[" + string + b"," + deep + b"]"
    expected = text.replace(deep, b"[" * (KEPT_LEVELS - 1) + CUT + b"]" * (KEPT_LEVELS - 1))
    assert without_deep_values(text, LEVELS_MAX, CUT) == expected


@pytest.mark.parametrize("text", [b"[", b'["', b"[[[]", b'["]', b"]"])
def test_unclosed_text_is_left_alone(text: bytes) -> None:
    assert without_deep_values(text, LEVELS_MAX, CUT) is None


@pytest.mark.parametrize("at", [KEPT_LEVELS, LEVELS_MAX])
def test_many_brackets_near_the_limits_hide_no_deep_value(at: int) -> None:
    """They have more windows than any other search could look through."""
    hovering = b"[" * at + b"[[]]," * (5 << 20 >> 3) + b"1" + b"]" * at
    deep = b"[" * 20_000 + b"]" * 20_000
    text = b"[" + hovering + b"," + deep + b"," + hovering + b"]"
    shallow = without_deep_values(text, LEVELS_MAX + 10, CUT)
    assert shallow is not None
    whole = b"[" * (KEPT_LEVELS - 1) + CUT + b"]" * (KEPT_LEVELS - 1)
    assert shallow == text.replace(deep, whole)


def test_replacements_are_few_however_often_it_becomes_too_deep() -> None:
    turn = 4 * LEVELS_MAX
    deep = b"[" + (b"[" * turn + b"]" * turn + b",") * 50 + b"1]"
    text = b"[" * KEPT_LEVELS + deep + b"]" * KEPT_LEVELS
    assert without_deep_values(text, LEVELS_MAX, CUT) == text.replace(deep, CUT)
