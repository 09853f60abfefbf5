"""The text of a trace in blocks: what is written is read, and what is damaged is noticed."""

import os
import random
import tracemalloc
import uuid
from collections.abc import Sequence
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from adapters.postgres.database.pool import Unstorable
from adapters.postgres.tracing.payloads.block_compaction import (
    LiveRanges,
    blocks_of_parts,
    groups_of_blocks,
    live_parts,
)
from adapters.postgres.tracing.payloads.frames import JOINED_BYTES_MAX, compressed
from adapters.postgres.tracing.payloads.payload_text import (
    BLOCK_BYTES_MAX,
    VALUE_LEVELS_MAX,
    Block,
    DamagedText,
    NewText,
    StoredText,
    decompressed,
    joined_ranges,
)
from domain.ids import ProjectId, TraceId

TRACE = TraceId(uuid.UUID(int=1))
KEY = (ProjectId(uuid.UUID(int=2)), TRACE)

values = st.lists(st.binary(max_size=40), max_size=12)
sizes = st.integers(1, 30)


def placed(written: Sequence[Sequence[bytes]]) -> list[tuple[int, bytes]]:
    """The values of writes with their places."""
    at, found = 0, []
    for write in written:
        for value in write:
            found.append((at, value))
            at += len(value)
    return found


def blocks_of(written: Sequence[Sequence[bytes]], block_bytes: int) -> list[Block]:
    blocks, at = [], 0
    for write in written:
        text = NewText(at)
        text.add(*write)
        blocks += text.blocks(block_bytes)
        at = text.end
    return blocks


@given(st.lists(values, max_size=5), sizes)
def test_values_of_all_writes_are_read_whatever_the_size_of_blocks(written, block_bytes):
    blocks = blocks_of(written, block_bytes)
    assert all(block.raw_bytes <= block_bytes for block in blocks)
    text = StoredText(TRACE, reversed(blocks))
    for at, value in placed(written):
        assert text.value(at, len(value)) == value


@given(st.lists(values, min_size=1, max_size=5), sizes, sizes, st.randoms(use_true_random=False))
def test_joined_blocks_have_the_live_values_and_no_other(
    written, block_bytes, joined_bytes, chance
):
    blocks = blocks_of(written, block_bytes)
    there = [one for one in placed(written) if one[1]]
    live = [one for one in there if chance.random() < 0.5]
    ranges = LiveRanges(joined_ranges([(at, at + len(value)) for at, value in live]))
    joined: list[Block] = []
    for group in groups_of_blocks([block[:2] for block in blocks], max(joined_bytes, block_bytes)):
        starts = {start for start, _ in group}
        some = [one for one in blocks if one.start in starts]
        joined += blocks_of_parts(live_parts(KEY, some, ranges), {})
    text = StoredText(TRACE, joined)
    for at, value in live:
        assert text.value(at, len(value)) == value
    is_live = {place for at, value in live for place in range(at, at + len(value))}
    for block in joined:
        for n, byte in enumerate(text.value(block.start, block.raw_bytes)):
            assert block.start + n in is_live or byte == 0
    assert [start for start, *_ in joined] == sorted({start for start, *_ in joined})


@given(st.binary(min_size=1, max_size=200), st.data())
def test_damaged_block_is_noticed(value, data):
    [block] = blocks_of([[value]], BLOCK_BYTES_MAX)
    damaged = bytearray(block.data)
    place = data.draw(st.integers(0, len(damaged) - 1))
    damaged[place] ^= data.draw(st.integers(1, 255))
    kept = damaged[: data.draw(st.integers(0, len(damaged)) | st.just(len(damaged)))]
    text = StoredText(TRACE, [Block(0, len(value), bytes(kept))])
    with suppress(DamagedText):  # but for a bit of the frame that says nothing
        assert text.value(0, len(value)) == value


def test_block_is_not_inflated_beyond_its_size():
    bomb = zstandard.ZstdCompressor().compress(bytes(BLOCK_BYTES_MAX + 1))
    unknown = zstandard.ZstdCompressor(write_content_size=False).compress(b"text")
    for block in (
        Block(0, 10, bomb),
        Block(0, BLOCK_BYTES_MAX + 1, bomb),
        Block(0, 5, zstandard.ZstdCompressor().compress(b"text")),
        Block(0, 4, unknown),
        Block(0, 4, b""),
    ):
        with pytest.raises(DamagedText):
            StoredText(TRACE, [block]).value(0, 4)


@pytest.mark.parametrize(("at", "size"), [(0, 5), (2, 3), (4, 1), (9, 1)])
def test_missing_part_is_noticed(at, size):
    with pytest.raises(DamagedText):
        StoredText(TRACE, blocks_of([[b"text"]], 2)).value(at, size)
    with pytest.raises(DamagedText):
        StoredText(TRACE).value(at, size)


def test_values_that_are_nested_too_deeply_are_refused():
    at_most = b"[" * VALUE_LEVELS_MAX + b"]" * VALUE_LEVELS_MAX
    text = NewText()
    text.add(at_most, at_most)
    assert len(text.blocks()) == 1
    text.add(b"[" + at_most + b"]")
    with pytest.raises(Unstorable):
        text.blocks()


def test_large_text_is_cut_into_blocks():
    value = os.urandom(BLOCK_BYTES_MAX).hex().encode()
    text = NewText(7)
    assert text.add(value) == 7
    blocks = text.blocks()
    assert [block.start for block in blocks] == [7, 7 + BLOCK_BYTES_MAX]
    assert StoredText(TRACE, blocks).value(7, len(value)) == value


@pytest.mark.parametrize("size", [0, 1, JOINED_BYTES_MAX, JOINED_BYTES_MAX + 1, BLOCK_BYTES_MAX])
def test_frame_is_that_of_the_parts_whatever_their_size(size):
    text = random.Random(size).randbytes(size)
    parts = [text[at : at + 100_000] for at in range(0, size, 100_000)]
    found = compressed([memoryview(part) for part in parts], size)
    assert decompressed(TRACE, Block(0, size, found)) == text
    assert zstandard.frame_content_size(found) == size


def test_compressing_large_values_takes_little_memory():
    """The values are there already; their blocks are joined nowhere, and keep what they need."""
    text = NewText()
    for _ in range(60):
        text.add(b'"' + b"x" * 100_000 + b'"')
    text.blocks()  # the library's own memory
    tracemalloc.start()
    try:
        blocks = text.blocks()
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(one.raw_bytes for one in blocks) == text.size > 2 * BLOCK_BYTES_MAX
    assert kept < 64 << 10
    assert most < 512 << 10
