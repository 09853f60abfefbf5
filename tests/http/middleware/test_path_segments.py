"""Session ids in paths: one segment is one id, with any characters."""

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoints.http.middleware.path_segments import PathSegments, decode_path, decode_segment
from tests.http.conftest import Site, a_trace, field_errors
from tests.support.clients.asgi_client import chunk, exchange

IDS = [
    *("a/b", "/", "//", "a/", "/a", "a%2Fb", "%", "%%", "%2F", "%252F", "100%", ".", "..", "../x"),
    *(" ", "a b", "a+b", "?", "#", "a?b=c#d", "🐼", "é", "e\u0301", "~", "'\"<>\\", "{}", ":", ";"),
    *("x" * 255, "🐼" * 255, "/" * 255, "\x7f\x01\n", "users", "traces", "null"),
]

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255)


async def asked(site: Site, method: str, raw: str, headers: dict[str, str]) -> tuple[int, Any]:
    """Status and headers of the response, with `raw` as the raw path of the request."""
    sent, _ = await exchange(site.app, method, raw, headers, [chunk(b"", more=False)])
    headers_sent = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers_sent


@pytest.mark.parametrize("session", IDS)
async def test_session_is_read_and_deleted_by_any_id(
    site: Site, head: dict[str, str], session: str
) -> None:
    for one in (session, "another"):
        body = a_trace(session_id=one)
        assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202
    path = f"/sessions/{quote(session, safe='').replace('.', '%2E')}"
    both = (path, f"{path}/")
    for one in both:
        shown = await site.http.get(one, headers=head)
        assert shown.status_code == 200
        assert (shown.json()["session_id"], shown.json()["trace_count"]) == (session, 1)
    deleted = await site.http.delete(both[IDS.index(session) % 2], headers=head)
    assert deleted.json() == {"deleted": 1}
    for one in both:
        assert (await site.http.get(one, headers=head)).status_code == 404
    assert site.trace_count() == 1


@given(texts)
def test_any_text_is_one_segment(text: str) -> None:
    for word in (quote(text, safe=""), "".join(f"%{byte:02x}" for byte in text.encode())):
        path = decode_path(f"/sessions/{word}/x".encode())
        first, sessions, one, last = path.split("/")
        assert (first, sessions, last) == ("", "sessions", "x")
        assert decode_segment(one) == text


@given(st.text(st.characters(codec="ascii", exclude_characters="%/?#"), max_size=30))
def test_unencoded_text_is_unchanged(text: str) -> None:
    assert decode_path(f"/{text}/%41".encode()) == f"/{text}/A"
    assert decode_segment(text) == text


@given(st.binary(min_size=1, max_size=20))
def test_bytes_are_decoded_once(data: bytes) -> None:
    path = decode_path(b"/" + b"".join(b"%%%02X" % byte for byte in data))
    assert decode_segment(path[1:]).encode(errors="surrogateescape") == data


async def test_scope_of_the_server_is_not_modified() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["path"], scope["headers"]))

    scope: Any = {"type": "http", "raw_path": b"/a%2F%FF", "path": "/a/\ufffd", "headers": []}
    await PathSegments(app)(scope, chunk, chunk)  # neither is called
    assert seen == [("/a%2F\udcff", [])]
    assert scope["path"] == "/a/\ufffd"
    quote(scope["path"])  # as servers do for their logs


async def test_empty_and_dot_segments_reach_no_session(site: Site, head: dict[str, str]) -> None:
    for session in ("analytics", ""):
        await site.http.post("/traces", headers=head, json=a_trace(session_id=session))
    for raw in ("/sessions/analytics", "/sessions/%61nalytics", "/sessions/analytics/"):
        refused = await site.http.get(raw, headers=head)
        assert set(field_errors(refused)) == {"query.started_after", "query.started_before"}
    assert (await site.http.get("/sessions/", headers=head)).json()["total"] == 2
    assert (await site.http.get("/sessions//", headers=head)).status_code == 404
    status, headers = await asked(site, "DELETE", "/sessions/analytics", head)
    assert (status, set(headers["allow"].split(", "))) == (405, {"GET", "OPTIONS"})
    assert site.trace_count() == 2


@pytest.mark.parametrize("word", ["%00", "a%00b", "%FF", "%ED%A0%80", "a%2F%C3"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_invalid_ids_are_named(
    site: Site, head: dict[str, str], method: str, word: str
) -> None:
    refused = await site.http.request(method, f"/sessions/{word}", headers=head)
    assert set(field_errors(refused)) == {"path.session_id"}


async def test_percent_sign_without_encoding_is_literal(site: Site, head: dict[str, str]) -> None:
    await site.http.post("/traces", headers=head, json=a_trace(session_id="50%"))
    for raw in ("/sessions/50%25", "/sessions/50%"):
        assert (await asked(site, "GET", raw, head))[0] == 200
    assert (await asked(site, "GET", "/sessions/50%2525", head))[0] == 404


@pytest.mark.parametrize(
    ("method", "raw", "status"),
    [
        ("GET", "/traces/a%2Fb", 422),
        ("GET", "/traces/a%2fb%2Fc%2Fd", 422),
        ("PATCH", "/traces/users", 405),
        ("GET", "/sessions/a/b", 404),
        ("GET", "/sessions/a%2Fb/c", 404),
        ("GET", "/traces%2Fusers", 404),
        ("GET", "/%74races/%75sers", 200),
        ("GET", "/%2Ftraces", 404),
        ("GET", "/traces/%7B5b0e6f0a-8f1e-4c55-9a53-2f6f3a6f7d10%7D", 404),
    ],
)
async def test_routes_are_matched_by_segments(
    site: Site, head: dict[str, str], method: str, raw: str, status: int
) -> None:
    assert (await asked(site, method, raw, head))[0] == status


@pytest.mark.parametrize(
    ("raw", "allowed"),
    [
        ("/sessions/a%2Fb", {"GET", "DELETE"}),
        ("/sessions", {"GET"}),
        ("/traces/x%2F", {"GET", "PATCH", "DELETE"}),
        ("/traces/x/spans/y", {"GET", "PATCH"}),
        ("/traces", {"GET", "POST"}),
        ("/traces/users", {"GET"}),
        ("/traces/analytics", {"GET"}),
        ("/traces/batch/tags", {"POST"}),
        ("/traces/batch", {"POST"}),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "HEAD"])
async def test_405_lists_all_methods(site: Site, raw: str, allowed: set[str], method: str) -> None:
    status, headers = await asked(site, method, raw, {})
    assert (status, set(headers["allow"].split(", "))) == (405, {*allowed, "OPTIONS"})
