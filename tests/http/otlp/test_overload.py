"""Overload: OTLP requests are refused with 503, in their own wire type, and can be repeated."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
import pytest

from application.use_cases import UseCases
from domain.errors import Unavailable
from domain.ids import ProjectId, TraceId
from domain.tracing.otel.fragments import Fragment
from domain.tracing.otel.requests import Encoding
from entrypoints.composition.memory import replace_ports
from entrypoints.http.config import HttpConfig
from entrypoints.http.middleware.byte_limit import WORK_MAX_BYTES, WORK_WAIT_S
from entrypoints.http.middleware.load_shedding import OVERLOADED, LoadShedding
from entrypoints.http.middleware.otlp_errors import OtlpErrors
from tests.http.conftest import VERSION, Site
from tests.support.builders.otlp_requests import encoded, span, traces_request
from tests.support.clients.otlp_exporter import OtlpExporter, error_of
from tests.support.fakes.otlp_store import RecordedOtlpTraces
from tests.support.waiting import in_time

UNAVAILABLE = 14


@dataclass
class BlockedStore(RecordedOtlpTraces):
    """Stores nothing until `free` is set."""

    inside: int = 0
    free: asyncio.Event = field(default_factory=asyncio.Event)

    async def put(self, project: ProjectId, trace: TraceId, fragments: Sequence[Fragment]) -> None:
        self.inside += 1
        await self.free.wait()
        await super().put(project, trace, fragments)


async def until_inside(store: BlockedStore, count: int) -> None:
    async with in_time():
        while store.inside < count:
            await asyncio.sleep(0.001)


@pytest.mark.slow
async def test_request_waits_for_room_for_three_seconds() -> None:
    store = BlockedStore()
    site = Site(swapped={"otlp": store})
    one_mebibyte = encoded(traces_request(span({"a": "x" * (1 << 20)})), Encoding.PROTOBUF)
    fitting = WORK_MAX_BYTES // (4 * len(one_mebibyte))
    async with site.http:
        exporters = [OtlpExporter(site.http, site.headers()) for _ in range(fitting + 2)]
        tasks = [asyncio.create_task(one.post(one_mebibyte)) for one in exporters[:fitting]]
        await until_inside(store, fitting)
        loop = asyncio.get_running_loop()
        began = loop.time()
        refused = await exporters[-2].post(one_mebibyte)
        assert (error_of(refused).status, error_of(refused).code) == (503, UNAVAILABLE)
        assert 1 <= int(refused.headers["retry-after"]) <= 3
        assert WORK_WAIT_S <= loop.time() - began < 2 * WORK_WAIT_S
        waiting = asyncio.create_task(exporters[-1].post(one_mebibyte))
        await asyncio.sleep(0.01)
        assert store.inside == fitting
        store.free.set()
        async with in_time():
            answers = await asyncio.gather(waiting, *tasks)
        assert {one.status_code for one in answers} == {200}


class Down:
    """Keys in a store that is down."""

    async def by_digest(self, _digest: bytes) -> None:
        raise Unavailable("The database can't be reached", retry_after_s=30)


@pytest.mark.parametrize("encoding", Encoding)
async def test_unreachable_keys_are_503_soon_repeated(encoding: Encoding) -> None:
    site = Site(swapped={"keys": Down()})
    async with site.http:
        answer = await OtlpExporter(site.http, site.headers(), encoding).post(b"")
    assert (error_of(answer).status, error_of(answer).code) == (503, UNAVAILABLE)
    assert answer.headers.get_list("retry-after") == ["3"]


@pytest.mark.parametrize("encoding", Encoding)
async def test_shed_request_is_answered_in_its_type(encoding: Encoding) -> None:
    """Before anything else is known of it."""
    site = Site()
    codec = UseCases(replace_ports(site.ports, **site.swapped)).tracing.otlp_codec
    full = OtlpErrors(LoadShedding(site.app, requests_max=0, refusal_delay_s=0), codec.encode_error)
    transport = httpx.ASGITransport(full)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        answer = await OtlpExporter(http, {}, encoding).post(b"")
        other = await http.post("/traces", json={})
    error = error_of(answer)
    assert (error.status, error.code, error.message) == (503, UNAVAILABLE, OVERLOADED)
    assert answer.headers["content-type"] == encoding
    assert 1 <= int(answer.headers["retry-after"]) <= 3
    assert other.json() == {"detail": OVERLOADED}


async def test_many_concurrent_requests_are_all_stored() -> None:
    site = Site(config=HttpConfig(version=VERSION, environment="test", refusal_delay_s=0))
    async with site.http:
        exporter = OtlpExporter(site.http, site.headers())
        requests = [traces_request(span(trace_id=uuid.uuid4().bytes)) for _ in range(100)]
        answers = await asyncio.gather(*map(exporter.export, requests))
        assert {one.status_code for one in answers} == {200}
        assert site.trace_count() == 100
