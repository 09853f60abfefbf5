"""Files of items: what is read of a body with more than a request may have."""

import tracemalloc
from collections.abc import Callable

import pytest

from domain.errors import Invalid
from domain.evaluation.datasets.dataset import ITEM_BYTES_MAX
from entrypoints.http.controllers.datasets.item_files import _split_csv, _split_lines


@pytest.mark.parametrize(
    ("split", "body"),
    [
        (_split_lines, b"x\n" * 2_000_000),
        (_split_lines, b"[]\n" * 2_000_000),
        (_split_csv, b"id,input\n" + b"x\n" * 2_000_000),
        (_split_csv, b"id,input\n" + b"1,2\n" * 2_000_000),
    ],
)
def test_too_many_items_are_not_all_read(split: Callable[[bytes], object], body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Invalid) as raised:
            split(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "another request" in raised.value.errors[0].message
    assert peak < 64 << 20  # all of them would take up to a gigabyte


def test_line_that_is_longer_than_any_item_is_not_parsed() -> None:
    [refused, item] = _split_lines(b"[" + b"1," * (2 * ITEM_BYTES_MAX) + b"1]\n{}\n")
    assert isinstance(refused, Invalid)
    assert "must not have more than" in refused.errors[0].message
    assert item == b"{}"
    with pytest.raises(Invalid) as raised:
        _split_csv(b"id,input\n1,2" + b"," * (4 * ITEM_BYTES_MAX))
    assert raised.value.errors[0].message.startswith("line 2: has more than")
