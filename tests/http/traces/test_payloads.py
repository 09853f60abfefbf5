"""Payloads one by one: the bytes that were sent, parts of them, and downloads."""

import json
import uuid

import pytest

from tests.http.conftest import Site

TRACE, SPAN, UNKNOWN = (str(uuid.UUID(int=n)) for n in (1, 2, 3))
# What a parser would change: digits, escapes, blanks, duplicate keys.
SENT = '{ "n": 1.0, "big": 107505301260286111, "s": "\\u00e4\\/", "k": 1e2, "k": "é𝄞" }'
LONG = json.dumps(["word"] * 2_000)


@pytest.fixture
async def stored(site: Site, head: dict[str, str]) -> dict[str, str]:
    """The headers of the project that has the trace."""
    span = (
        f'{{"span_id": "{SPAN}", "name": "s", "started_at": "2026-03-01", "input": {LONG},'
        f' "metadata": {SENT}}}'
    )
    body = (
        f'{{"trace_id": "{TRACE}", "name": "t", "started_at": "2026-03-01", "input": {SENT},'
        f' "output": "text", "spans": [{span}]}}'
    )
    sent = await site.http.post(
        "/traces", headers=head | {"content-type": "application/json"}, content=body.encode()
    )
    assert sent.status_code == 202
    return head


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("input", SENT),
        ("output", '"text"'),
        ("metadata", "{}"),
        (f"spans/{SPAN}/input", LONG),
        (f"spans/{SPAN}/output", "null"),
        (f"spans/{SPAN}/metadata", SENT),
    ],
)
async def test_payload_is_the_text_that_was_sent(
    site: Site, stored: dict[str, str], path: str, text: str
) -> None:
    head = stored | {"accept-encoding": "identity"}
    answer = await site.http.get(f"/traces/{TRACE}/{path}", headers=head)
    assert (answer.status_code, answer.text) == (200, text)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["accept-ranges"] == "bytes"
    assert "content-disposition" not in answer.headers


async def test_parts_make_the_whole(site: Site, stored: dict[str, str]) -> None:
    whole, found = SENT.encode(), b""
    path = f"/traces/{TRACE}/input"
    etag = (await site.http.get(path, headers=stored)).headers["etag"]
    while len(found) < len(whole):
        asked = {"range": f"bytes={len(found)}-{len(found) + 9}", "if-range": etag}
        answer = await site.http.get(path, headers=stored | asked)
        assert (answer.status_code, answer.headers["etag"]) == (206, etag)
        end = len(found) + len(answer.content)
        assert answer.headers["content-range"] == f"bytes {len(found)}-{end - 1}/{len(whole)}"
        found += answer.content
    assert found == whole


async def test_part_of_another_payload_is_the_whole(site: Site, stored: dict[str, str]) -> None:
    asked = {"range": "bytes=0-1", "if-range": '"other"'}
    answer = await site.http.get(f"/traces/{TRACE}/input", headers=stored | asked)
    assert (answer.status_code, answer.text) == (200, SENT)


async def test_range_beyond_the_end_is_refused(site: Site, stored: dict[str, str]) -> None:
    path = f"/traces/{TRACE}/output"
    answer = await site.http.get(path, headers=stored | {"range": "bytes=6-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == "bytes */6"


async def test_compressed_payload_has_a_weak_etag(site: Site, stored: dict[str, str]) -> None:
    path = f"/traces/{TRACE}/spans/{SPAN}/input"
    plain = await site.http.get(path, headers=stored | {"accept-encoding": "identity"})
    packed = await site.http.get(path, headers=stored | {"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.text == LONG
    assert packed.headers["etag"] == f"W/{plain.headers['etag']}"
    part = await site.http.get(
        path, headers=stored | {"accept-encoding": "gzip", "range": "bytes=0-3"}
    )
    assert (part.content, part.headers.get("content-encoding")) == (LONG[:4].encode(), None)
    for etag in (plain.headers["etag"], packed.headers["etag"]):
        known = await site.http.get(path, headers=stored | {"if-none-match": etag})
        assert (known.status_code, known.content) == (304, b"")


async def test_download_is_a_file(site: Site, stored: dict[str, str]) -> None:
    for path, name in ((f"spans/{SPAN}/input", SPAN), ("input", TRACE)):
        answer = await site.http.get(f"/traces/{TRACE}/{path}?download=1", headers=stored)
        expected = f'attachment; filename="{name}-input.json"'
        assert answer.headers["content-disposition"] == expected


@pytest.mark.parametrize("path", [f"{UNKNOWN}/input", f"{TRACE}/spans/{UNKNOWN}/input"])
async def test_unknown_owner_is_not_found(site: Site, stored: dict[str, str], path: str) -> None:
    assert (await site.http.get(f"/traces/{path}", headers=stored)).status_code == 404
