"""Codings, media types and sizes of requests, and the order of checks."""

import asyncio
import gzip
import json
import logging
import random
import threading
import tracemalloc
import zlib
from typing import Any

import pytest
import zstandard

from entrypoints.http.requests.body_io import (
    DECOMPRESS_STEP_BYTES,
    DECOMPRESSED_AT_ONCE_MAX,
    BodyTooLarge,
    InvalidCoding,
    decompress,
)
from entrypoints.http.requests.errors import FieldErrors
from entrypoints.http.requests.parameters import QUERY_FIELDS_MAX, parse_query
from tests.http.conftest import CONFIG, Site, a_span, a_trace, field_errors
from tests.support.clients.asgi_client import DISCONNECT, chunk, exchange


def gzipped(content: bytes) -> bytes:
    """Without a timestamp: test ids contain the bytes, and have to stay the same."""
    return gzip.compress(content, mtime=0)


GOOD = json.dumps(a_trace(input="x" * 5000)).encode()


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def zstd_streamed(data: bytes) -> bytes:
    """A frame without its content size."""
    stream = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return stream.compress(data) + stream.flush()


EACH_CODING = pytest.mark.parametrize(
    ("coding", "code"),
    [
        ("gzip", gzipped),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("zstd", zstd),
        ("zstd", zstd_streamed),
    ],
    ids=["gzip", "deflate", "bare deflate", "zstd", "streamed zstd"],
)


CODED = [
    ("identity", GOOD),
    ("", GOOD),
    ("gzip", gzipped(GOOD)),
    ("GZIP", gzipped(GOOD)),
    ("gzip", gzipped(GOOD[:9]) + gzipped(GOOD[9:])),
    ("deflate", zlib.compress(GOOD)),
    ("deflate", raw_deflate(GOOD)),
    ("zstd", zstd(GOOD)),
    ("zstd", zstd_streamed(GOOD)),
    ("zstd", zstd(GOOD[:9]) + zstd(GOOD[9:])),
]
BROKEN = [
    ("gzip", GOOD),
    ("gzip", gzipped(GOOD)[:-9]),
    ("gzip", gzipped(GOOD) + b"rest"),
    ("deflate", GOOD),
    ("deflate", zlib.compress(GOOD)[:-5]),
    ("deflate", zlib.compress(GOOD) + b"rest"),
    ("deflate", zlib.compress(GOOD[:9]) + zlib.compress(GOOD[9:])),
    ("zstd", GOOD),
    ("zstd", zstd(GOOD)[:-5]),
    ("zstd", zstd(GOOD) + b"rest"),
    ("zstd", zstd(b"") * 100 + zstd(GOOD)),
    ("gzip", gzipped(b"") * 100 + gzipped(GOOD)),
]
HUGE = b" " * (CONFIG.max_body_bytes + 1)
BOMBS = [
    ("gzip", gzipped(HUGE)),
    ("gzip", gzipped(HUGE[:700_000]) * 2),
    ("deflate", zlib.compress(HUGE)),
    ("zstd", zstd(HUGE)),
    ("zstd", zstd_streamed(HUGE)),
    ("zstd", zstd(HUGE[:700_000]) * 2),
]


async def post(site: Site, content: bytes, **headers: str) -> int:
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    response = await site.http.post("/traces", headers=site.headers() | said, content=content)
    return response.status_code


class TestCoding:
    @pytest.mark.parametrize(("coding", "content"), CODED)
    async def test_coded_body_is_decompressed(
        self, site: Site, coding: str, content: bytes
    ) -> None:
        assert await post(site, content, content_encoding=coding) == 202
        assert site.trace_count() == 1

    @pytest.mark.parametrize(("coding", "content"), BROKEN)
    async def test_invalid_coding_is_400(self, site: Site, coding: str, content: bytes) -> None:
        assert await post(site, content, content_encoding=coding) == 400
        assert site.trace_count() == 0

    @pytest.mark.parametrize(("coding", "content"), BOMBS)
    async def test_decompression_stops_at_the_limit(
        self, site: Site, coding: str, content: bytes
    ) -> None:
        assert len(content) < CONFIG.max_body_bytes
        assert await post(site, content, content_encoding=coding) == 413

    async def test_too_large_zstd_window_is_refused(self, site: Site) -> None:
        parameters = zstandard.ZstdCompressionParameters(
            window_log=27, enable_ldm=True, write_content_size=False
        )
        stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        content = stream.compress(GOOD) + stream.flush()
        assert await post(site, content, content_encoding="zstd") == 400

    @pytest.mark.parametrize("coding", ["br", "compress", "gzip, gzip", "gzip,identity", "x"])
    async def test_unsupported_or_multiple_codings_are_415(self, site: Site, coding: str) -> None:
        assert await post(site, GOOD, content_encoding=coding) == 415

    @pytest.mark.parametrize("second", ["gzip", "identity"])
    async def test_two_content_encoding_headers_are_415(self, site: Site, second: str) -> None:
        twice = [("content-encoding", "gzip"), ("content-encoding", second)]
        headers = [*site.headers().items(), *twice]
        response = await site.http.post("/traces", headers=headers, content=gzipped(GOOD))
        assert response.status_code == 415


class TestMediaType:
    @pytest.mark.parametrize(
        "media_type",
        ["", "application/json", "Application/JSON; charset=utf-8", "application/x+json", None],
    )
    async def test_json_or_missing_content_type_is_accepted(
        self, site: Site, media_type: str | None
    ) -> None:
        said = {} if media_type is None else {"content_type": media_type}
        assert await post(site, GOOD, **said) == 202

    @pytest.mark.parametrize(
        "media_type",
        ["text/plain", "text/json", "application/x-www-form-urlencoded", "json", "text/x+json"],
    )
    async def test_other_content_types_are_415(self, site: Site, media_type: str) -> None:
        assert await post(site, GOOD, content_type=media_type) == 415

    async def test_unexpected_body_is_ignored(self, site: Site) -> None:
        headers = site.headers() | {"content-type": "text/plain", "content-encoding": "br"}
        response = await site.http.request("GET", "/traces", headers=headers, content=b"{")
        assert response.status_code == 200


class TestSize:
    async def test_body_of_maximum_size_is_accepted(self, site: Site) -> None:
        content = GOOD + b" " * (CONFIG.max_body_bytes - len(GOOD))
        assert await post(site, content) == 202

    async def test_too_large_content_length_is_refused_unread(self, site: Site) -> None:
        headers = {"content-length": str(CONFIG.max_body_bytes + 1)}
        sent, taken = await exchange(site.app, "POST", "/traces", headers)
        assert (sent[0]["status"], taken) == (413, 0)

    async def test_undeclared_size_is_refused_at_the_limit(self, site: Site) -> None:
        part = chunk(b" " * (CONFIG.max_body_bytes // 4))
        sent, taken = await exchange(site.app, "POST", "/traces", site.headers(), [part] * 100)
        assert (sent[0]["status"], taken) == (413, 5)
        assert site.trace_count() == 0

    @EACH_CODING
    async def test_decompression_stops_at_the_limit(self, coding: str, code: Any) -> None:
        """Memory is bounded too: these few bytes decompress to 64 MB."""
        bomb = code(bytes(64 << 20))
        tracemalloc.start()
        with pytest.raises(BodyTooLarge):
            await decompress(bomb, coding, 1 << 20)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 16 << 20

    @EACH_CODING
    async def test_large_body_takes_its_memory_once(self, coding: str, code: Any) -> None:
        """A body of many steps, the last of them full or not, or none at all."""
        for size in (0, 1, DECOMPRESS_STEP_BYTES, 40 * DECOMPRESS_STEP_BYTES + 1):
            body = random.Random(size).randbytes(size // 2) + bytes(size - size // 2)
            encoded = code(body)
            tracemalloc.start()
            decoded = await decompress(encoded, coding, size)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert decoded == body
            assert peak < 1.3 * size + (4 << 20)
            if size:
                with pytest.raises(BodyTooLarge):
                    await decompress(encoded, coding, size - 1)
            with pytest.raises(InvalidCoding):
                await decompress(encoded[:-1], coding, size)

    async def test_few_bodies_are_decompressed_at_once(self) -> None:
        """Their memory is reserved afterwards, when their size is known."""
        body = random.Random(1).randbytes(1 << 20)
        encoded = zstd(body)
        many = [decompress(encoded, "zstd", len(body)) for _ in range(64)]
        assert await asyncio.gather(*many) == [body] * 64
        names = [one.name for one in threading.enumerate()]
        threads = sum(name.startswith("decompression") for name in names)
        assert 1 <= threads <= DECOMPRESSED_AT_ONCE_MAX

    async def test_body_in_chunks_is_read(self, site: Site) -> None:
        pieces = [chunk(GOOD[:100]), chunk(b""), chunk(GOOD[100:]), chunk(b"", more=False)]
        sent, _ = await exchange(site.app, "POST", "/traces", site.headers(), pieces)
        assert sent[0]["status"] == 202


async def test_disconnected_client_stores_nothing(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await exchange(site.app, "POST", "/traces", site.headers(), [chunk(GOOD[:100]), DISCONNECT])
    assert site.trace_count() == 0
    assert "Traceback" not in caplog.text
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


class TestOrder:
    """First the declared headers, then the credentials, then the content."""

    async def test_unknown_route_is_checked_before_credentials(self, site: Site) -> None:
        assert (await site.http.post("/nothing", content=b"{")).status_code == 404
        assert (await site.http.patch("/traces", content=b"{")).status_code == 405

    async def test_content_headers_are_checked_before_credentials(self, site: Site) -> None:
        huge = await site.http.post("/traces", content=HUGE)
        plain = await site.http.post("/traces", content=b"{", headers={"content-type": "a/b"})
        coded = await site.http.post("/traces", content=b"{", headers={"content-encoding": "br"})
        assert [one.status_code for one in (huge, plain, coded)] == [413, 415, 415]

    async def test_credentials_are_checked_before_the_body(self, site: Site) -> None:
        for content in (b"garbage", b"", b'{"name":1}'):
            assert (await site.http.post("/traces", content=content)).status_code == 401
        assert (await site.http.get("/traces?limit=0")).status_code == 401
        assert (await site.http.get("/traces/no-uuid")).status_code == 401

    async def test_body_of_a_refused_caller_is_not_read(self, site: Site) -> None:
        sent, taken = await exchange(site.app, "POST", "/traces", {}, [chunk(GOOD, more=False)])
        assert (sent[0]["status"], taken) == (401, 0)

    async def test_syntax_is_checked_before_the_path(self, site: Site) -> None:
        response = await site.http.post("/traces/x/spans", headers=site.headers(), content=b"{")
        assert response.status_code == 400

    async def test_validation_runs_before_the_store(self, site: Site) -> None:
        path = "/traces/5b0e6f0a-8f1e-4c55-9a53-2f6f3a6f7d10/spans"
        response = await site.http.post(path, headers=site.headers(), json=[{}])
        assert response.status_code == 422


class TestSpellings:
    @pytest.mark.parametrize(
        "text",
        [
            "5B0E6F0A-8F1E-4C55-9A53-2F6F3A6F7D10",
            "5b0e6f0a8f1e4c559a532f6f3a6f7d10",
            "{5b0e6f0a-8f1e-4c55-9a53-2f6f3a6f7d10}",
            "urn:uuid:5b0e6f0a-8f1e-4c55-9a53-2f6f3a6f7d10",
            "URN:UUID:5B0E6F0A-8F1E-4C55-9A53-2F6F3A6F7D10",
        ],
    )
    async def test_valid_uuids_are_accepted(
        self, site: Site, head: dict[str, str], text: str
    ) -> None:
        plain = "5b0e6f0a-8f1e-4c55-9a53-2f6f3a6f7d10"
        body = a_trace(trace_id=text, spans=[a_span(span_id=text, parent_span_id=text)])
        posted = await site.http.post("/traces", headers=head, json=body)
        assert posted.json()["trace_id"] == plain
        read = await site.http.get(f"/traces/{text}", headers=head)
        assert read.json()["spans"][0]["parent_span_id"] == plain

    @pytest.mark.parametrize(
        "text",
        ["5b0e6f0a", "{5b0e6f0a-8f1e-4c55-9a53-2f6f3a6f7d10", "5b0e-6f0a8f1e4c559a532f6f3a6f7d10"],
    )
    async def test_invalid_uuids_are_refused(
        self, site: Site, head: dict[str, str], text: str
    ) -> None:
        refused = await site.http.post("/traces", headers=head, json=a_trace(trace_id=text))
        assert set(field_errors(refused)) == {"trace_id"}

    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            ("2026-03-01T09:00:00Z", "2026-03-01T09:00:00+00:00"),
            ("2026-03-01T11:30:00.5+02:30", "2026-03-01T09:00:00.500000+00:00"),
            ("2026-03-01 09:00:00", "2026-03-01T09:00:00+00:00"),
            ("2026-03-01", "2026-03-01T00:00:00+00:00"),
            (1772355600, "2026-03-01T09:00:00+00:00"),
            ("1772355600.25", "2026-03-01T09:00:00.250000+00:00"),
            (1772355600123, "2026-03-01T09:00:00.123000+00:00"),
            ("2026-03-01T09:00:00.1234569Z", "2026-03-01T09:00:00.123456+00:00"),
        ],
    )
    async def test_valid_instants_are_accepted(
        self, site: Site, head: dict[str, str], value: Any, shown: str
    ) -> None:
        body = a_trace(started_at=value, spans=[a_span(started_at=value)])
        posted = await site.http.post("/traces", headers=head, json=body)
        read = (await site.http.get(f"/traces/{posted.json()['trace_id']}", headers=head)).json()
        assert [read["started_at"], read["spans"][0]["started_at"]] == [shown, shown]

    async def test_valid_numbers_are_accepted(self, site: Site, head: dict[str, str]) -> None:
        span = a_span(cost={"total": "0.1", "part": 1})
        posted = await site.http.post("/traces", headers=head, json=a_trace(spans=[span]))
        read = (await site.http.get(f"/traces/{posted.json()['trace_id']}", headers=head)).json()
        assert read["spans"][0]["cost"] == {"total": 0.1, "part": 1.0}
        assert read["total_cost"] == 0.1

    async def test_last_duplicate_key_wins(self, site: Site, head: dict[str, str]) -> None:
        content = '{"name":1,"started_at":"x","name":"last","started_at":0}'
        posted = await site.http.post("/traces", headers=head, content=content)
        read = await site.http.get(f"/traces/{posted.json()['trace_id']}", headers=head)
        assert read.json()["name"] == "last"


def test_number_of_parameters_is_bounded() -> None:
    errors = FieldErrors()
    most = ["a=1"] * QUERY_FIELDS_MAX
    assert parse_query("&".join(most).encode(), errors) == {"a": ["1"] * QUERY_FIELDS_MAX}
    assert errors.found == []
    parse_query("&".join([*most, "b=1"]).encode(), errors)
    assert [one.field for one in errors.found] == ["query"]


async def test_trailing_slash_is_ignored(site: Site, head: dict[str, str]) -> None:
    posted = await site.http.post("/traces/", headers=head, content=GOOD)
    path = f"/traces/{posted.json()['trace_id']}/"
    answers = [
        posted,
        await site.http.get("/traces/?limit=1", headers=head),
        await site.http.get(path, headers=head),
        await site.http.post(f"{path}spans/", headers=head, json=[a_span()]),
        await site.http.get("/health/"),
        await site.http.get("/health/ready/"),
        await site.http.delete(path, headers=head),
    ]
    assert [one.status_code for one in answers] == [202, 200, 200, 201, 200, 200, 204]
