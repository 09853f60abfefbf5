"""Common parts of responses: a request id, one error schema, compression, CORS."""

import gzip
import json
import logging
import re
import uuid
from dataclasses import replace
from typing import Any

import httpx
import pytest
import zstandard

from application.ports import HealthStatus
from domain.errors import Conflict, FieldError, Invalid, LimitExceeded, Unavailable
from tests.http.conftest import CONFIG, ORIGIN, Site, a_trace, field_errors
from tests.support.clients.asgi_client import chunk, exchange

PATHS = [
    ("GET", "/", 200),
    ("GET", "/health", 200),
    ("GET", "/nowhere", 404),
    ("PUT", "/traces", 405),
    ("GET", "/traces", 401),
    ("POST", "/traces", 401),
    ("OPTIONS", "/traces", 204),
]


class Failing:
    """Traces whose methods all raise one exception."""

    def __init__(self, failure: Exception) -> None:
        self.failure = failure

    async def put(self, *_: Any) -> None:
        raise self.failure

    get = delete = summaries = add_spans = put


async def posted(failure: Exception) -> httpx.Response:
    """The response if storing a trace raises `failure`."""
    site = Site(swapped={"traces": Failing(failure)})
    async with site.http:
        head = site.headers() | {"origin": ORIGIN, "x-request-id": "an-id"}
        return await site.http.post("/traces", headers=head, json=a_trace(name="SECRET-NAME"))


class TestRequestIds:
    @pytest.mark.parametrize(("method", "path", "status"), PATHS)
    async def test_request_id_is_on_every_response(
        self, site: Site, method: str, path: str, status: int
    ) -> None:
        answer = await site.http.request(method, path)
        assert answer.status_code == status
        assert uuid.UUID(answer.headers["x-request-id"]).version == 4

    @pytest.mark.parametrize("given", ["a", "~!x" * 66, "a" * 200])
    async def test_request_id_of_the_caller_is_echoed(self, site: Site, given: str) -> None:
        answer = await site.http.get("/nowhere", headers={"x-request-id": given})
        assert answer.headers.get_list("x-request-id") == [given]

    @pytest.mark.parametrize("given", [b"", b"a" * 201, b"a b", b"\xe9", b"a\tb"])
    async def test_malformed_request_id_is_replaced(self, site: Site, given: bytes) -> None:
        answer = await site.http.get("/", headers={b"x-request-id": given})
        assert uuid.UUID(answer.headers["x-request-id"]).version == 4


class TestErrors:
    async def test_at_most_100_errors_are_reported(self) -> None:
        found = [FieldError(f"f{number}", "is odd") for number in range(150)]
        answer = await posted(Invalid.fields(found))
        assert [one["field"] for one in answer.json()["errors"]] == [f"f{n}" for n in range(100)]

    async def test_unexpected_fault_is_logged_and_hidden(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        answer = await posted(RuntimeError("internal words"))
        assert answer.status_code == 500
        assert answer.json() == {"detail": "Internal server error"}
        assert answer.headers["x-request-id"] == "an-id"
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        [record] = [one for one in caplog.records if one.levelno == logging.ERROR]
        assert "an-id" in record.getMessage()
        assert record.exc_info is not None
        assert "internal words" in caplog.text
        assert "SECRET-NAME" not in caplog.text
        assert "pp_" not in caplog.text

    async def test_unavailable_store_is_503(self) -> None:
        answer = await posted(Unavailable("Too many writes wait", retry_after_s=3))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
        assert answer.json() == {"detail": "Too many writes wait"}

    async def test_exceeded_limit_is_429(self) -> None:
        answer = await posted(LimitExceeded("Slowly", retry_after_s=2))
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
        assert answer.json() == {"detail": "Slowly", "error": "Slowly"}

    async def test_conflict_is_409(self) -> None:
        answer = await posted(Conflict("Not now"))
        assert (answer.status_code, answer.json()) == (409, {"detail": "Not now"})

    async def test_unstorable_value_names_the_field(self) -> None:
        answer = await posted(Invalid.fields([FieldError("input", "too deep")]))
        assert field_errors(answer) == {"input": "too deep"}

    async def test_error_without_a_field_has_an_empty_path(self) -> None:
        answer = await posted(Invalid("That can't be"))
        assert answer.status_code == 422
        assert answer.json()["errors"] == [{"field": "", "message": "That can't be"}]

    async def test_store_refusal_rejects_one_item_of_a_batch(self) -> None:
        site = Site(swapped={"traces": Failing(Invalid.field("input", "no"))})
        async with site.http:
            body = {"traces": [a_trace()]}
            answer = await site.http.post("/traces/batch", headers=site.headers(), json=body)
        assert field_errors(answer) == {"traces.0.input": "no"}

    @pytest.mark.parametrize("method", ["HEAD", "PUT", "PATCH", "DELETE", "TRACE", "FOO"])
    async def test_405_lists_allowed_methods(self, site: Site, method: str) -> None:
        sent, _ = await exchange(site.app, method, "/traces", {}, [chunk(b"", more=False)])
        assert sent[0]["status"] == 405
        headers = dict(sent[0]["headers"])
        assert set(headers[b"allow"].decode().split(", ")) == {"GET", "POST", "OPTIONS"}
        assert list(json.loads(sent[1]["body"])) == ["detail"]

    async def test_options_name_the_methods_of_each_path(self, site: Site) -> None:
        document = (await site.http.get("/openapi.json")).json()
        for template, operations in document["paths"].items():
            path = re.sub("{.*?}", "x", template)
            answer = await site.http.request("OPTIONS", path)
            assert (answer.status_code, answer.content) == (204, b"")
            methods = {name.upper() for name in operations} - {"PARAMETERS"}
            assert {*answer.headers["allow"].split(", ")} >= {*methods, "OPTIONS"}, template
            refused = await site.http.request("TRACE", path)
            assert refused.headers["allow"] == answer.headers["allow"]
        assert (await site.http.request("OPTIONS", "/nowhere")).status_code == 404

    @pytest.mark.parametrize(
        "path", ["/nowhere", "/traces/a/b/c", "/traces/x/spans/y/z", "/schema"]
    )
    async def test_unknown_route_is_404(self, site: Site, path: str) -> None:
        answer = await site.http.get(path)
        assert answer.status_code == 404
        assert list(answer.json()) == ["detail"]
        assert answer.headers["content-type"] == "application/json"

    async def test_fixed_segment_is_not_an_id(self, site: Site, head: dict[str, str]) -> None:
        assert (await site.http.get("/traces/batch", headers=head)).status_code == 405


class TestCompression:
    @pytest.fixture
    async def path(self, site: Site, head: dict[str, str]) -> str:
        body = a_trace(input="word " * 1000)
        done = await site.http.post("/traces", headers=head, json=body)
        return f"/traces/{done.json()['trace_id']}"

    @pytest.mark.parametrize(
        ("asked", "coding"),
        [
            ("gzip", "gzip"),
            ("zstd", "zstd"),
            ("gzip, deflate, br, zstd", "zstd"),
            ("gzip;q=1.0, zstd;q=0.5", "gzip"),
            ("gzip;q=0, zstd;q=0", None),
            ("GZIP", "gzip"),
            ("br", None),
            ("gzip;q=x", None),
            ("", None),
        ],
    )
    async def test_response_coding_follows_accept_encoding(
        self, site: Site, head: dict[str, str], path: str, asked: str, coding: str | None
    ) -> None:
        headers = head | {"accept-encoding": asked}
        sent, _ = await exchange(site.app, "GET", path, headers)
        got = dict(sent[0]["headers"])
        assert got.get(b"content-encoding", b"").decode() == (coding or "")
        assert got[b"vary"] == b"Accept-Encoding"
        body = sent[1]["body"]
        assert got[b"content-length"] == str(len(body)).encode()
        plain = {
            "gzip": gzip.decompress,
            "zstd": lambda data: zstandard.ZstdDecompressor().decompress(data),
            None: bytes,
        }[coding](body)
        assert json.loads(plain)["input"] == "word " * 1000

    async def test_large_and_error_bodies_are_compressed(
        self, site: Site, head: dict[str, str]
    ) -> None:
        large = a_trace(input="x" * 300_000)
        done = await site.http.post("/traces", headers=head, json=large)
        head = head | {"accept-encoding": "gzip"}
        read = await site.http.get(f"/traces/{done.json()['trace_id']}", headers=head)
        assert read.headers["content-encoding"] == "gzip"
        assert read.json()["input"] == large["input"]
        refused = await site.http.post("/traces", headers=head, json=a_trace(spans=[{}] * 60))
        assert refused.headers["content-encoding"] == "gzip"
        assert len(field_errors(refused)) == 100

    async def test_small_bodies_are_not_compressed(self, site: Site) -> None:
        answer = await site.http.get("/", headers={"accept-encoding": "gzip"})
        assert "content-encoding" not in answer.headers


PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "x"}


class TestCors:
    @pytest.mark.parametrize("path", ["/traces", "/traces/x/spans", "/health"])
    async def test_preflight_of_an_allowed_origin(self, site: Site, path: str) -> None:
        answer = await site.http.options(path, headers=PREFLIGHT | {"origin": ORIGIN})
        assert (answer.status_code, answer.content) == (204, b"")
        got = answer.headers
        assert got["access-control-allow-origin"] == ORIGIN
        assert got["access-control-allow-credentials"] == "true"
        assert got["access-control-max-age"] == "600"
        assert got["access-control-allow-methods"] == "GET, POST, PUT, PATCH, DELETE, OPTIONS"
        allowed = set(got["access-control-allow-headers"].lower().split(", "))
        assert allowed >= {"authorization", "x-api-key", "x-project-name", "x-project-id"}
        assert allowed >= {"x-organization-id", "x-request-id", "idempotency-key", "accept"}
        assert allowed >= {"content-type", "content-encoding", "accept-encoding"}
        assert "x-request-id" in got

    async def test_preflight_of_another_origin_is_400(self, site: Site) -> None:
        headers = PREFLIGHT | {"origin": "https://evil.example"}
        answer = await site.http.options("/traces", headers=headers)
        assert answer.status_code == 400
        assert list(answer.json()) == ["detail"]
        assert "access-control-allow-origin" not in answer.headers
        assert "x-request-id" in answer.headers

    @pytest.mark.parametrize(("path", "status"), [("/", 200), ("/x", 404), ("/traces", 401)])
    async def test_responses_have_cors_headers_for_allowed_origins(
        self, site: Site, path: str, status: int
    ) -> None:
        answer = await site.http.get(path, headers={"origin": ORIGIN})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        exposed = set(answer.headers["access-control-expose-headers"].split(", "))
        assert exposed >= {"X-Request-ID", "Retry-After", "RateLimit-Limit"}
        assert answer.headers["vary"] == "Origin"
        other = await site.http.get(path, headers={"origin": "https://evil.example"})
        assert other.status_code == status
        assert "access-control-allow-origin" not in other.headers

    async def test_origin_of_the_settings_may_have_capitals_and_a_slash(self) -> None:
        site = Site(config=replace(CONFIG, allowed_origins=("https://App.Example.com/",)))
        async with site.http:
            answer = await site.http.get("/", headers={"origin": "https://app.example.com"})
        assert answer.headers["access-control-allow-origin"] == "https://app.example.com"

    async def test_vary_headers_are_combined(self, site: Site, head: dict[str, str]) -> None:
        answer = await site.http.get("/openapi.json", headers={"origin": ORIGIN})
        assert answer.headers["vary"] == "Accept-Encoding, Origin"


class TestHealth:
    async def test_welcome_and_health(self, site: Site) -> None:
        assert (await site.http.get("/")).json() == {
            "name": "pandaprobe-server",
            "version": "9.9.9",
            "status": "healthy",
            "docs": "/docs",
            "openapi": "/openapi.json",
        }
        health = (await site.http.get("/health")).json()
        stamp = health.pop("timestamp")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?\+00:00", stamp)
        assert health == {"status": "healthy", "version": "9.9.9", "environment": "test"}

    async def test_ready_and_not_ready(self) -> None:
        for ok in (True, False):
            parts = {"postgres": HealthStatus(ok=ok, detail="d"), "redis": HealthStatus(ok=True)}
            site = Site(parts=parts)
            async with site.http:
                answer = await site.http.get("/health/ready")
                alive = await site.http.get("/health")
            checks = {
                "postgres": {"ok": ok, "detail": "d"},
                "redis": {"ok": True, "detail": None},
                "load": {"ok": True, "detail": None},
            }
            assert answer.json()["checks"] == checks
            assert alive.status_code == 200
            if ok:
                assert (answer.status_code, answer.json()["status"]) == (200, "ready")
            else:
                assert (answer.status_code, answer.json()["status"]) == (503, "not_ready")
                assert "postgres" in answer.json()["detail"]
                assert int(answer.headers["retry-after"]) >= 1
