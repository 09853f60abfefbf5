"""Members of a large object: found one by one as a decoder finds them together."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from domain.tracing.payloads.json_scan import WINDOW_BYTES
from domain.tracing.payloads.payload import OBJECT_VALUES_MAX
from entrypoints.http.requests.json_members import members_one_by_one
from entrypoints.http.requests.scalar_types import InvalidValue

blanks = st.text(" \t\r\n", max_size=3)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """Objects as text, with blanks between the tokens and repeated keys."""
    keys = st.sampled_from(["", "a", "é", '"', "\\", "\0"]) | st.text(max_size=3)

    def spaced(text: str) -> str:
        return draw(blanks) + text + draw(blanks)

    def dumped(value: Any) -> str:
        return spaced(json.dumps(value, ensure_ascii=draw(st.booleans())))

    parts = [f"{dumped(draw(keys))}:{dumped(draw(values))}" for _ in range(draw(st.integers(0, 5)))]
    inner = ",".join(parts) or draw(blanks)
    return ("{" + inner + "}").encode(errors="surrogatepass")


@given(objects())
def test_members_are_those_that_a_decoder_finds(text: bytes) -> None:
    try:
        expected = msgspec.json.decode(text, type=dict[str, Raw])
    except msgspec.DecodeError:
        return  # a lone surrogate
    found = members_one_by_one(memoryview(text))
    assert {key: bytes(raw) for key, raw in found.items()} == {
        key: bytes(raw) for key, raw in expected.items()
    }


def test_values_with_many_blanks_behind_them_are_found() -> None:
    gap = b" " * (3 * WINDOW_BYTES)
    text = b"{" + gap + b'"a"' + gap + b":" + gap + b"[1]" + gap + b"," + b'"b":2' + gap + b"}"
    found = members_one_by_one(memoryview(text))
    assert {key: bytes(raw) for key, raw in found.items()} == {"a": b"[1]", "b": b"2"}


@pytest.mark.parametrize("key", ["same", "{n}"])
def test_number_of_members_is_bounded(key: str) -> None:
    def text(count: int) -> memoryview:
        members = [f'"{key.format(n=n)}":1' for n in range(count)]
        return memoryview(f"{{{','.join(members)}}}".encode())

    assert members_one_by_one(text(OBJECT_VALUES_MAX))
    with pytest.raises(InvalidValue, match="10,000"):
        members_one_by_one(text(OBJECT_VALUES_MAX + 1))
