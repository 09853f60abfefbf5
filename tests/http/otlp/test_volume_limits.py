"""Rate limits of OTLP requests: bytes and spans, which refill within seconds."""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from adapters.memory.rate_limiter import MemoryRateLimiter
from adapters.memory.token_buckets import MemoryTokenBuckets
from domain.limits import Limit
from domain.tracing.otel.requests import Encoding
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.middleware.volume_limits import VolumeLimits
from tests.http.conftest import Site
from tests.support.builders.otlp_requests import encoded, logs_request, record, span, traces_request
from tests.support.clients.otlp_exporter import OtlpExporter, error_of
from tests.support.fakes.clocks import MicrosecondClock

BYTES_PER_S, SPANS_PER_S = 10_000, 10
RESOURCE_EXHAUSTED = 8
type OpenExporter = Callable[..., OtlpExporter]


@pytest.fixture
def clock() -> MicrosecondClock:
    return MicrosecondClock()


@pytest.fixture(params=Encoding)
async def limited(
    request: pytest.FixtureRequest, clock: MicrosecondClock
) -> AsyncIterator[OpenExporter]:
    """Opens exporters with keys of their own, or with the given headers."""
    volumes = VolumeLimits(MemoryTokenBuckets(clock), BYTES_PER_S, SPANS_PER_S)
    windows = {RouteClass.INGEST: Limit(1, "day"), RouteClass.DEFAULT: Limit(2, "minute")}
    site = Site(limits=windows, limiter=MemoryRateLimiter(clock), volumes=volumes)
    async with site.http:
        yield lambda **headers: OtlpExporter(site.http, headers or site.headers(), request.param)


def spans_request(count: int, encoding: Encoding) -> bytes:
    spans = [span(span_id=(number + 1).to_bytes(8)) for number in range(count)]
    return encoded(traces_request(*spans), encoding)


def padded(size: int, encoding: Encoding) -> bytes:
    """An empty request of so many bytes."""
    if encoding is Encoding.JSON:
        return b"{}".ljust(size)
    unknown_field = b"\x7a\x7e" + b"x" * 126  # number 15, with 126 bytes
    return unknown_field * (size // 128)


async def statuses(sender: OtlpExporter, body: bytes, times: int) -> list[int]:
    return [(await sender.post(body)).status_code for _ in range(times)]


async def test_requests_are_not_counted(limited: OpenExporter) -> None:
    exporter = limited()
    assert await statuses(exporter, padded(128, exporter.encoding), 100) == [200] * 100


async def test_spans_of_two_seconds_are_admitted_at_once(
    limited: OpenExporter, clock: MicrosecondClock
) -> None:
    exporter = limited()
    assert await statuses(exporter, spans_request(5, exporter.encoding), 6) == [200] * 4 + [429] * 2
    clock.forward(0.1)
    assert await statuses(exporter, spans_request(5, exporter.encoding), 2) == [200, 429]


async def test_bytes_of_two_seconds_are_admitted_at_once(
    limited: OpenExporter, clock: MicrosecondClock
) -> None:
    exporter = limited()
    body = padded(6_400, exporter.encoding)
    assert await statuses(exporter, body, 6) == [200] * 4 + [429] * 2
    clock.forward(0.65)  # 25,600 bytes were taken of 20,000
    assert await statuses(exporter, body, 2) == [200, 429]


async def test_request_that_is_larger_than_the_bucket_is_admitted(
    limited: OpenExporter, clock: MicrosecondClock
) -> None:
    """It is subtracted once it is decoded: the bucket is below zero then."""
    exporter = limited()
    body = spans_request(100, exporter.encoding)
    assert await statuses(exporter, body, 2) == [200, 429]
    clock.forward(7.9)
    assert await statuses(exporter, body, 1) == [429]
    clock.forward(0.2)
    assert await statuses(exporter, body, 1) == [200]


async def test_refusal_names_the_time_until_both_have_something(
    limited: OpenExporter, clock: MicrosecondClock
) -> None:
    exporter = limited()
    await exporter.post(spans_request(50, exporter.encoding))
    for wait, forward in (("3", 1.5), ("2", 0.9), ("1", 0.5)):
        answer = await exporter.post(b"")
        error = error_of(answer)
        assert (error.status, error.code) == (429, RESOURCE_EXHAUSTED)
        assert "10 spans" in error.message
        assert answer.headers.get_list("retry-after") == [wait]
        assert "ratelimit-limit" not in answer.headers
        clock.forward(forward)
    clock.forward(0.2)
    assert (await exporter.post(padded(128, exporter.encoding))).status_code == 200


async def test_records_and_metrics_take_from_the_same_buckets(limited: OpenExporter) -> None:
    exporter = limited()
    records = logs_request(*(record() for _ in range(20)))
    assert (await exporter.export(records, "logs")).status_code == 200
    assert (await exporter.post(padded(128, exporter.encoding), "metrics")).status_code == 429
    exporter = limited()
    big = padded(21_000, exporter.encoding)
    assert [(await exporter.post(big, "metrics")).status_code for _ in range(2)] == [200, 429]


async def test_refused_bodies_are_charged(limited: OpenExporter) -> None:
    exporter = limited()
    garbage = b"[" * 21_000
    assert await statuses(exporter, garbage, 2) == [400, 429]


async def test_rejected_spans_are_charged(limited: OpenExporter) -> None:
    exporter = limited()
    bad = [span(span_id=(n + 1).to_bytes(8), start_time_unix_nano=0) for n in range(20)]
    body = encoded(traces_request(span(), *bad), exporter.encoding)
    assert await statuses(exporter, body, 2) == [200, 429]


async def test_each_key_has_its_own_buckets(limited: OpenExporter) -> None:
    for _ in range(2):
        exporter = limited()
        assert await statuses(exporter, spans_request(20, exporter.encoding), 2) == [200, 429]


async def test_key_has_one_pair_of_buckets_over_projects(limited: OpenExporter) -> None:
    exporter = limited()
    other = limited(**dict(exporter.headers) | {"x-project-name": "other"})
    assert await statuses(exporter, spans_request(20, exporter.encoding), 1) == [200]
    assert await statuses(other, spans_request(20, exporter.encoding), 1) == [429]


async def test_concurrent_requests_are_admitted_together(limited: OpenExporter) -> None:
    exporter = limited()
    body = spans_request(5, exporter.encoding)
    answers: list[httpx.Response] = await asyncio.gather(*(exporter.post(body) for _ in range(20)))
    assert sum(one.status_code == 200 for one in answers) >= 4
    assert (await exporter.post(body)).status_code == 429


async def test_invalid_credentials_count_by_address(limited: OpenExporter) -> None:
    exporter = limited(authorization="Basic eDp5")
    answers = [await exporter.post(b"") for _ in range(3)]
    assert [one.status_code for one in answers] == [401, 401, 429]
    assert 1 <= int(answers[2].headers["retry-after"]) <= 3
