"""Streamable HTTP: the official client, credentials, addresses, metadata and limits."""

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import msgspec
import pytest
import uvicorn
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from domain.evaluation.evidence.redaction import RedactionMode
from domain.identity.api_key import Scope
from entrypoints.cli.mcp_command import http_options, stdio_credential
from entrypoints.mcp.http_server import (
    BODY_BYTES_MAX,
    KNOWN_MAX,
    KNOWN_S,
    REQUESTS_MAX,
    Gate,
    HttpOptions,
    KnownCallers,
    http_app,
    server_config,
)
from entrypoints.mcp.service_client import Credential, ServiceClient
from entrypoints.server.protocol_limits import BoundedConnection
from entrypoints.settings import Settings
from entrypoints.startup import CommandError
from tests.entrypoints.mcp.conftest import error_of, text_of
from tests.http.conftest import TOKEN, Site, a_trace
from tests.support.fakes.clocks import ManualClock
from tests.support.waiting import in_time, until

OPTIONS = HttpOptions(
    host="127.0.0.1",
    port=8001,
    public_url="https://mcp.example.com/mcp",
    keep_alive_s=65,
    origins=("https://App.example.com/",),  # browsers send it in lower case, without the slash
    issuer="https://login.example.com",
)
LOCAL = "http://127.0.0.1:8001"
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
ACCEPT = {"accept": "application/json, text/event-stream"}


@asynccontextmanager
async def served(
    service: ServiceClient, options: HttpOptions = OPTIONS, clock: Any = None
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the application, whose lifespan runs."""
    app: Any = http_app(service, RedactionMode.SECRETS, options, "1", clock or ManualClock(0.0))
    async with (
        app.app.router.lifespan_context(app.app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=LOCAL) as http,
    ):
        yield http


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", "x-project-name": "shop"}


def test_credential_is_of_its_project_and_organization() -> None:
    some = [("a", "p", "o"), ("b", "p", "o"), ("a", "q", "o"), ("a", "p", None), ("a", "p", "n")]
    assert len({Credential(*one).digest for one in some}) == len(some)


@pytest.mark.parametrize("head", ["bearer", "key"])
async def test_official_client_calls_tools(
    service: ServiceClient, key: str, mode: str, head: str
) -> None:
    async with served(service) as http:
        http.headers.update(
            bearer(key) if head == "bearer" else {"x-api-key": key, "x-project-name": "shop"}
        )
        transport = streamable_http_client(f"{LOCAL}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            assert len((await client.list_tools()).tools) == 11
            assert "0 traces match" in text_of(await client.call_tool("search_traces", {}))
            assert "no such thing" in error_of(
                await client.call_tool("get_trace", {"trace_id": "11111111" * 4})
            )
            assert len((await client.list_prompts()).prompts) == 3


async def test_each_caller_sees_what_its_key_may(
    site: Site, service: ServiceClient, mode: str
) -> None:
    reader, other = site.key(Scope.READ), site.key()
    head = {"x-api-key": other, "x-project-name": "shop"}
    assert (await site.http.post("/traces", headers=head, json=a_trace())).status_code == 202
    async with served(service) as http:
        counts = []
        for secret, project in ((reader, "shop"), (other, "shop"), (other, "empty")):
            headers = bearer(secret) | {"x-project-name": project}
            async with httpx2.AsyncClient(transport=http._transport, headers=headers) as own:
                transport = streamable_http_client(f"{LOCAL}/mcp", http_client=own)
                async with Client(transport, mode=mode) as client:
                    tools = len((await client.list_tools()).tools)
                    found = text_of(await client.call_tool("search_traces", {}))
                    counts.append((tools, found[:1]))
    assert counts == [(9, "1"), (11, "1"), (11, "0")]


async def test_a_token_needs_the_id_of_its_project(site: Site, service: ServiceClient) -> None:
    async with served(service) as http:
        head = {"authorization": f"Bearer {TOKEN}", **ACCEPT}
        missing = await http.post("/mcp", headers=head, json=LIST)
        assert (missing.status_code, "x-project-id" in missing.text) == (400, True)
        assert (await site.http.get("/me", headers=head)).status_code == 200
        mine = (await site.http.get("/organizations", headers=head)).json()[0]["id"]
        projects = await site.http.get(f"/organizations/{mine}/projects", headers=head)
        head |= {"x-project-id": projects.json()[0]["id"], "x-organization-id": mine}
        found = await http.post("/mcp", headers=head, json=LIST)
        assert (found.status_code, "run_evaluation" in found.text) == (200, True)


async def test_token_of_a_person_in_several_organizations_uses_the_one_of_the_options(
    site: Site, service: ServiceClient
) -> None:
    head = {"authorization": f"Bearer {TOKEN}", **ACCEPT}
    assert (await site.http.get("/me", headers=head)).status_code == 200
    first = (await site.http.get("/organizations", headers=head)).json()[0]["id"]
    made = await site.http.post("/organizations", headers=head, json={"name": "Second"})
    second = made.json()["id"]
    projects = await site.http.get(f"/organizations/{second}/projects", headers=head)
    options = replace(OPTIONS, project=projects.json()[0]["id"], organization=second)
    call = {"name": "search_traces", "arguments": {}}
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    async with served(service, options) as http:
        answer = await http.post("/mcp", headers=head, json=request)
        assert "0 traces match" in answer.text
        projects = await site.http.get(f"/organizations/{first}/projects", headers=head)
        named = {**head, "x-project-id": projects.json()[0]["id"]}  # of another organization
        answer = await http.post("/mcp", headers=named, json=request)
        assert "0 traces match" in answer.text
    async with served(service, replace(options, organization=None)) as http:
        answer = await http.post("/mcp", headers=head, json=request)
        assert "not in your organization" in answer.text


async def test_requests_without_a_valid_credential_get_the_sign_in_address(
    service: ServiceClient,
) -> None:
    async with served(service) as http:
        for headers in (
            {},
            {"authorization": "Basic eDp5"},
            {"authorization": "Bearer "},
            bearer("nonsense") | {"x-project-id": "11111111-1111-4111-8111-111111111111"},
            bearer(f"pp_{'0' * 64}"),
            bearer("x" * 9_000),
            [(b"x-api-key", "pp_\N{GREEK SMALL LETTER PI}".encode()), (b"x-project-name", b"\xff")],
        ):
            sent = [*httpx2.Headers(headers).raw, *httpx2.Headers(ACCEPT).raw]
            answer = await http.post("/mcp", headers=sent, json=LIST)
            assert answer.status_code == 401
            challenge = answer.headers["www-authenticate"]
            assert challenge == (
                'Bearer resource_metadata="https://mcp.example.com/.well-known/'
                'oauth-protected-resource/mcp"'
            )


async def test_metadata_names_the_issuer(service: ServiceClient) -> None:
    async with served(service) as http:
        for path in ("", "/mcp"):
            answer = await http.get(f"/.well-known/oauth-protected-resource{path}")
            assert answer.status_code == 200
            assert answer.json() == {
                "resource": "https://mcp.example.com/mcp",
                "authorization_servers": ["https://login.example.com"],
                "bearer_methods_supported": ["header"],
                "resource_name": "PandaProbe",
            }
    async with served(service, replace(OPTIONS, issuer=None)) as http:
        assert (await http.get("/.well-known/oauth-protected-resource/mcp")).status_code == 404
        refused = await http.post("/mcp", headers=ACCEPT, json=LIST)
        assert refused.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:8001"}, 200),
        ({"host": "mcp.example.com", "origin": "https://mcp.example.com"}, 200),
        ({"origin": "https://app.example.com"}, 200),
        ({"host": "evil.example.com"}, 421),
        ({"host": "127.0.0.1:9999"}, 421),
        ({"host": "mcp.example.com.evil.test"}, 421),
        ({"origin": "https://evil.example.com"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://app.example.com.evil.test"}, 403),
        ({"origin": "http://app.example.com"}, 403),
    ],
)
async def test_host_and_origin_are_checked(
    service: ServiceClient, key: str, headers: Mapping[str, str], status: int
) -> None:
    async with served(service) as http:
        answer = await http.post("/mcp", headers={**bearer(key), **ACCEPT, **headers}, json=LIST)
        assert answer.status_code == status, answer.text
        if status != 200:
            metadata = "/.well-known/oauth-protected-resource"
            assert (await http.get(metadata, headers=headers)).status_code == status


async def test_probe_may_name_any_address(service: ServiceClient) -> None:
    async with served(service) as http:
        answer = await http.get("/health", headers={"host": "10.1.2.3:8001"})
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_headers_that_decide_may_not_be_repeated(service: ServiceClient, key: str) -> None:
    async with served(service) as http:
        twice = [*{**bearer(key), **ACCEPT}.items(), ("authorization", "Bearer x")]
        assert (await http.post("/mcp", headers=twice, json=LIST)).status_code == 400


async def test_bodies_methods_and_paths_are_limited(service: ServiceClient, key: str) -> None:
    head = {**bearer(key), **ACCEPT, "content-type": "application/json"}
    async with served(service) as http:
        large = b'{"x":"' + b"x" * BODY_BYTES_MAX + b'"}'
        assert (await http.post("/mcp", headers=head, content=large)).status_code == 413
        for method in ("GET", "DELETE", "PUT"):
            refused = await http.request(method, "/mcp", headers=head)
            assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
        assert (await http.post("/other", headers=head, json=LIST)).status_code == 404
        assert (await http.get("/health")).json() == {"status": "ok"}
        assert (await http.post("/mcp", headers=head, content=b"{")).status_code == 400


async def test_a_request_has_limited_time(service: ServiceClient, key: str) -> None:
    async def never(*_: Any) -> None:
        await asyncio.Event().wait()

    known = KnownCallers(service, ManualClock(0.0))
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(Gate(never, OPTIONS, known, request_s=0.05)), base_url=LOCAL
    ) as http:
        answer = await http.post("/mcp", headers={**bearer(key), **ACCEPT}, json=LIST)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_answer_that_has_begun_is_cut_off_in_time(service: ServiceClient, key: str) -> None:
    sent: list[str] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def begin(_scope: Any, _receive: Any, sending: Any) -> None:
        await sending({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Event().wait()

    head = {**bearer(key), "host": "127.0.0.1:8001"}
    raw = [(name.encode(), value.encode()) for name, value in head.items()]
    scope = {"type": "http", "path": "/mcp", "method": "POST", "headers": raw}
    gate = Gate(begin, OPTIONS, KnownCallers(service, ManualClock(0.0)), request_s=0.05)
    await gate(scope, asyncio.Event().wait, send)
    assert sent == ["http.response.start"]


async def test_requests_beyond_the_maximum_are_refused(service: ServiceClient, key: str) -> None:
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def wait(_scope: Any, _receive: Any, send: Any) -> None:
        has_begun.set()
        await may_end.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    gate = Gate(wait, OPTIONS, KnownCallers(service, ManualClock(0.0)), requests_max=1)
    transport, head = httpx2.ASGITransport(gate), {**bearer(key), **ACCEPT}
    async with httpx2.AsyncClient(transport=transport, base_url=LOCAL, headers=head) as http:
        first = asyncio.create_task(http.post("/mcp", json=LIST))
        await has_begun.wait()
        refused = await http.post("/mcp", json=LIST)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert (await http.get("/health")).status_code == 200
        may_end.set()
        assert (await first).status_code == 200
        assert (await http.post("/mcp", json=LIST)).status_code == 200


@asynccontextmanager
async def listening(service: ServiceClient, keep_alive_s: int) -> AsyncIterator[tuple[str, int]]:
    """Runs the server; enters with its address."""
    app: Any = http_app(service, RedactionMode.SECRETS, OPTIONS, "1", ManualClock(0.0))
    server = uvicorn.Server(server_config(app, keep_alive_s))
    with socket.create_server(("127.0.0.1", 0)) as bound:
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        await until(lambda: server.started)
        try:
            yield bound.getsockname()
        finally:
            server.should_exit = True
            await serving


async def test_idle_connections_take_no_place_of_requests(service: ServiceClient) -> None:
    async with listening(service, 65) as (host, port), AsyncExitStack() as stack:
        for _ in range(REQUESTS_MAX + 1):
            _, idle = await asyncio.open_connection(host, port)
            stack.callback(idle.close)
        async with httpx2.AsyncClient(base_url=f"http://{host}:{port}") as http:
            assert (await http.get("/health")).json() == {"status": "ok"}


async def test_idle_connection_lasts_as_long_as_the_setting_says(service: ServiceClient) -> None:
    async with listening(service, 1) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        async with in_time():
            answer = await reader.read()  # to the end of the connection
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" not in answer.lower()


async def test_the_service_learns_the_address_of_the_client() -> None:
    seen: list[str | None] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers.get("x-forwarded-for"))
        return httpx2.Response(401)

    async with (
        httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http,
        served(ServiceClient(http, "http://service.test")) as mine,
    ):
        for headers in ({}, {"x-forwarded-for": "198.51.100.7"}):
            await mine.post("/mcp", headers={**bearer("pp_x"), **ACCEPT, **headers}, json=LIST)
    assert seen == ["127.0.0.1", "198.51.100.7, 127.0.0.1"]


async def test_callers_that_are_remembered_are_bounded() -> None:
    found = {"project_id": str(uuid.UUID(int=1)), "scopes": []}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json=found))
    async with httpx2.AsyncClient(transport=transport) as http:
        known = KnownCallers(ServiceClient(http, "http://service.test"), ManualClock(0.0))
        for number in range(KNOWN_MAX + 20):
            await known.check(Credential(f"pp_{number}", "shop"))
    assert len(known._until) == KNOWN_MAX


async def test_a_revoked_key_is_refused_soon(site: Site, service: ServiceClient) -> None:
    clock, secret = ManualClock(0.0), site.key()
    head = {**bearer(secret), **ACCEPT}
    async with served(service, clock=clock) as http:
        assert (await http.post("/mcp", headers=head, json=LIST)).status_code == 200
        site.store.keys.clear()
        clock.now += KNOWN_S
        assert (await http.post("/mcp", headers=head, json=LIST)).status_code == 401


async def test_tool_reports_that_the_service_is_down(mode: str) -> None:
    def refuse(_: Any) -> Any:
        raise httpx2.ConnectError("refused")

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(refuse)) as down:
        service = ServiceClient(down, "http://service.test")
        async with served(service) as http:
            http.headers.update(bearer("pp_x"))
            transport = streamable_http_client(f"{LOCAL}/mcp", http_client=http)
            async with Client(transport, mode=mode) as client:
                assert len((await client.list_tools()).tools) == 9
                answer = await client.call_tool("search_traces", {})
    assert "can't be reached" in error_of(answer)


def test_options_come_from_the_settings() -> None:
    settings = Settings(
        auth_issuer="https://login.example.com", auth_audience=("pandaprobe",), mcp_port=9001
    )
    options = http_options(settings, "shop")
    assert options.public_url == "http://127.0.0.1:9001/mcp"
    assert options.metadata is not None
    assert options.metadata["authorization_servers"] == ["https://login.example.com"]
    assert http_options(Settings(), None).metadata is None
    assert (options.keep_alive_s, options.project, options.organization) == (65, "shop", None)
    others = http_options(Settings(keep_alive_seconds=7), " shop\n", " acme\n")
    assert (others.keep_alive_s, others.project, others.organization) == (7, "shop", "acme")
    config = server_config(Gate, others.keep_alive_s)
    assert (config.timeout_keep_alive, config.http) == (7, BoundedConnection)
    public = http_options(
        msgspec.structs.replace(settings, mcp_public_url="https://x.test/a"), None
    )
    assert public.metadata_url == "https://x.test/.well-known/oauth-protected-resource/a"


def test_credential_of_stdio_has_no_blanks_around_it() -> None:
    """Files of secrets end with a line break."""
    found = stdio_credential("pp_x\n", " shop ", "acme\n")
    assert found == Credential("pp_x", "shop", "acme")
    assert stdio_credential("pp_x", "shop") == Credential("pp_x", "shop", None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((None, "shop"), "must be set"),
        (("pp_x", " "), "must be set"),
        (("pp_\nx", "shop"), "API_KEY is invalid"),
        (("pp_x", "sh\nop"), "PROJECT_NAME is invalid"),
        (("pp_x", "shop", "ac\nme"), "--organization is invalid"),
    ],
)
def test_invalid_credential_of_stdio_is_refused(given: tuple[str, ...], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        stdio_credential(*given)
