"""Values that are nested too deeply are cut out of JSON, and nothing else changes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoints.http.requests.json_depth import (
    SEARCHED_WINDOWS_MAX,
    WINDOW_BYTES,
    without_deep_values,
)

CUT = b'"cut"'
texts = st.text('"\\[]{},:aé\n', max_size=5)
values = st.recursive(
    st.integers() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def cut(value: Any, levels: int) -> Any:
    if not isinstance(value, list | dict):
        return value
    if levels == 0:
        return "cut"
    if isinstance(value, list):
        return [cut(item, levels - 1) for item in value]
    return {key: cut(member, levels - 1) for key, member in value.items()}


@given(values, st.integers(0, 4), st.booleans(), st.integers(0, 2 * WINDOW_BYTES))
def test_only_deep_values_are_cut(value: Any, levels: int, is_ascii: bool, blanks: int) -> None:
    text = b" " * blanks + json.dumps(value, ensure_ascii=is_ascii).encode()
    shallow = without_deep_values(text, levels, CUT)
    assert shallow is not None
    assert json.loads(shallow) == cut(value, levels)


@pytest.mark.parametrize("fill", [b"", b'"]",', b'"[[\\"",', b'"\\\\",', b"[],"])
@pytest.mark.parametrize("levels", [1, 3_000, 6_000])
def test_values_of_many_windows_are_cut(levels: int, fill: bytes) -> None:
    around = b"[" * (levels - 1), b"]" * (levels - 1)
    deep = b"[" + fill * (5 * WINDOW_BYTES) + b"[" * 20_000 + b"]" * 20_000 + b"]"
    text = around[0] + deep + around[1]
    expected = text.replace(b"[" * 20_000 + b"]" * 20_000, CUT)
    if fill == b"[],":
        expected = expected.replace(fill, CUT + b",")
    assert without_deep_values(text, levels, CUT) == expected


@pytest.mark.parametrize("shift", range(4))
def test_windows_split_no_escape(shift: int) -> None:
    string = b'"' + b"a" * shift + rb"\\\"[" * WINDOW_BYTES + b'"'
    text = b"[" + string + b",[1]]"
    assert without_deep_values(text, 1, CUT) == b"[" + string + b"," + CUT + b"]"


@pytest.mark.parametrize("text", [b"[", b'["', b"[[[]", b'["]', b"]"])
def test_unclosed_text_is_left_alone(text: bytes) -> None:
    assert without_deep_values(text, 1, CUT) is None


def test_search_ends_after_so_many_windows() -> None:
    text = b"[%b1]" % (b"[[]]," * (SEARCHED_WINDOWS_MAX * WINDOW_BYTES // 5 + WINDOW_BYTES))
    assert without_deep_values(text, 2, CUT) is None
