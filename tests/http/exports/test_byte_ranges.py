"""Byte ranges: `Range` and `If-Range`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoints.http.requests.byte_ranges import ByteRange, requested_range

ETAG = '"a"'


def parse(size: int, range_: str | None = None, **extra: str) -> ByteRange:
    headers = {name.replace("_", "-").encode(): value.encode() for name, value in extra.items()}
    if range_ is not None:
        headers[b"range"] = range_.encode()
    return requested_range(size, ETAG, headers)


@pytest.mark.parametrize(
    ("range_", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=3-", 3, 10),
        ("bytes=3-5", 3, 6),
        ("bytes=0-99", 0, 10),
        ("bytes=-4", 6, 10),
        ("bytes=-99", 0, 10),
    ],
)
def test_range_is_parsed(range_, start, end):
    part = parse(10, range_)
    assert part == ByteRange(start, end, 10, is_whole=False)
    assert part.is_satisfiable
    assert part.content_range == f"bytes {start}-{end - 1}/10"


@pytest.mark.parametrize("range_", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_range_beyond_the_end_is_not_satisfiable(range_):
    part = parse(10, range_)
    assert not part.is_satisfiable
    assert part.content_range == "bytes */10"


@pytest.mark.parametrize(
    "range_",
    [
        *(None, "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=5-3"),
        *("bytes=0-1,3-4", "bytes=١-٢", f"bytes=0-{'9' * 30}", "bytes=0x1-2"),
    ],
)
def test_unsupported_form_means_the_whole_file(range_):
    assert parse(10, range_) == ByteRange(0, 10, 10, is_whole=True)


def test_if_range_of_another_file_means_the_whole_file():
    assert parse(10, "bytes=3-", if_range=ETAG).start == 3
    assert parse(10, "bytes=3-", if_range='"b"').is_whole
    assert parse(10, "bytes=3-", if_range="Wed, 25 Nov 2026 00:00:00 GMT").is_whole


@given(size=st.integers(0, 50), first=st.integers(0, 60), last=st.integers(0, 60))
def test_range_is_within_the_file(size, first, last):
    part = parse(size, f"bytes={first}-{last}")
    found = range(50)[:size][part.start : part.end]
    if part.is_whole:
        assert last < first
        assert len(found) == size
    else:
        assert list(found) == [n for n in range(size) if first <= n <= last]
        assert part.is_satisfiable is bool(found)
