"""Parts of a file: what `Range` and `If-Range` ask for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoints.http.requests.byte_ranges import Part, part_of

ETAG = '"a"'


def asked(size: int, range_: str | None = None, **said: str) -> Part:
    headers = {name.replace("_", "-").encode(): value.encode() for name, value in said.items()}
    if range_ is not None:
        headers[b"range"] = range_.encode()
    return part_of(size, ETAG, headers)


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
def test_a_part(range_, start, end):
    part = asked(10, range_)
    assert part == Part(start, end, 10, is_whole=False)
    assert part.is_satisfiable
    assert part.content_range == f"bytes {start}-{end - 1}/10"


@pytest.mark.parametrize("range_", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_what_the_file_does_not_have(range_):
    part = asked(10, range_)
    assert not part.is_satisfiable
    assert part.content_range == "bytes */10"


@pytest.mark.parametrize(
    "range_",
    [
        *(None, "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=5-3"),
        *("bytes=0-1,3-4", "bytes=١-٢", f"bytes=0-{'9' * 30}", "bytes=0x1-2"),
    ],
)
def test_any_other_form_asks_for_all_of_it(range_):
    assert asked(10, range_) == Part(0, 10, 10, is_whole=True)


def test_a_part_of_another_file_is_all_of_this_one():
    assert asked(10, "bytes=3-", if_range=ETAG).start == 3
    assert asked(10, "bytes=3-", if_range='"b"').is_whole
    assert asked(10, "bytes=3-", if_range="Wed, 25 Nov 2026 00:00:00 GMT").is_whole


@given(size=st.integers(0, 50), first=st.integers(0, 60), last=st.integers(0, 60))
def test_a_part_lies_in_the_file(size, first, last):
    part = asked(size, f"bytes={first}-{last}")
    found = range(50)[:size][part.start : part.end]
    if part.is_whole:
        assert last < first
        assert len(found) == size
    else:
        assert list(found) == [n for n in range(size) if first <= n <= last]
        assert part.is_satisfiable is bool(found)
