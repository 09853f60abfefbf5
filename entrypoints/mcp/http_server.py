"""MCP over streamable HTTP: one process for many callers, each with a key or token of its own.

No session is kept: each request is answered by itself, with JSON. What is checked before the
package sees a request: its `Host` and `Origin`, so that no web page can reach a local server
through a browser (DNS rebinding), then the credential, by asking the service what it may do.
"""

import asyncio
import json
import signal
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from socket import socket
from typing import Any, Final
from urllib.parse import urlsplit

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings

from domain.evaluation.evidence.redaction import RedactionMode
from entrypoints.mcp.server import mcp_server, toolbox
from entrypoints.mcp.service_client import (
    Credential,
    RefusedError,
    ServiceClient,
    ToolError,
    service_client,
)
from entrypoints.mcp.tools import read_access

PATH: Final = "/mcp"
HEALTH_PATH: Final = "/health"
METADATA_PATH: Final = "/.well-known/oauth-protected-resource"
BODY_BYTES_MAX: Final = 256 << 10  # arguments of tools are short
REQUESTS_MAX: Final = 64  # at a time; others get 503. Idle connections don't count
REQUEST_S: Final = 90.0  # with reading the body and sending the answer
HEADER_CHARS_MAX: Final = 8_192  # of a credential
KNOWN_MAX: Final = 1_000  # callers that are remembered
KNOWN_S: Final = 30.0  # as long as the service remembers a key
LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
CREDENTIAL: Final = "pandaprobe.credential"  # the key in the scope of a request
STOP_S: Final = 5

type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Any]]
type Send = Callable[[Any], Awaitable[None]]
type App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """Where the server is, who may reach it from a browser, and who signs people in.

    `public_url` is the address of the tools as clients see it. `project` is that of requests which
    name none, and `organization` that of the project, for tokens. Idle connections end after
    `keep_alive_s`.
    """

    host: str
    port: int
    public_url: str
    keep_alive_s: int
    origins: Sequence[str] = ()
    issuer: str | None = None
    project: str | None = None
    organization: str | None = None

    @property
    def hosts(self) -> frozenset[str]:
        """Values of `Host` that are accepted."""
        port = self.port
        local = {f"{name}:{port}" for name in (*LOOPBACK, self.host)} | set(LOOPBACK)
        return frozenset({urlsplit(self.public_url).netloc, *local})

    @property
    def allowed_origins(self) -> frozenset[str]:
        public = urlsplit(self.public_url)
        local = {f"http://{name}:{self.port}" for name in LOOPBACK}
        ours = {one.rstrip("/").lower() for one in self.origins}
        return frozenset({f"{public.scheme}://{public.netloc}", *local, *ours})

    @property
    def metadata_url(self) -> str:
        """Where RFC 9728 (section 3.1) places the metadata of this resource."""
        public = urlsplit(self.public_url)
        return f"{public.scheme}://{public.netloc}{METADATA_PATH}{public.path}"

    @property
    def metadata(self) -> Mapping[str, object] | None:
        """The metadata by RFC 9728; None without an issuer, since only keys work then."""
        if self.issuer is None:
            return None
        return {
            "resource": self.public_url,
            "authorization_servers": [self.issuer],
            "bearer_methods_supported": ["header"],
            "resource_name": "PandaProbe",
        }


class HttpError(Exception):
    """A request is refused before any tool."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


@dataclass(slots=True)
class KnownCallers:
    """Credentials that the service has accepted, for KNOWN_S."""

    service: ServiceClient
    clock: Callable[[], float]
    _until: OrderedDict[bytes, float] = field(default_factory=OrderedDict)

    async def check(self, credential: Credential) -> None:
        """Raises ToolError unless the service accepts the credential."""
        now = self.clock()
        if self._until.get(credential.digest, 0) > now:
            return
        await read_access(self.service, credential)
        self._until.pop(credential.digest, None)
        self._until[credential.digest] = now + KNOWN_S
        while len(self._until) > KNOWN_MAX:
            self._until.popitem(last=False)


@dataclass(slots=True)
class Gate:
    """The ASGI layer before the package: paths, addresses, credentials, number, time."""

    app: App
    options: HttpOptions
    known: KnownCallers
    request_s: float = REQUEST_S
    requests_max: int = REQUESTS_MAX
    requests: int = field(default=0, init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["path"].rstrip("/") == HEALTH_PATH:
            # Probes call it by the address of a container, which isn't known here.
            await _respond(send, 200, {"status": "ok"})
        elif self.requests >= self.requests_max:
            detail = f"{self.requests} requests are in progress, as many as this process accepts"
            await _respond(send, 503, {"detail": detail}, {"retry-after": "5"})
        else:
            self.requests += 1
            try:
                await self._answer_in_time(scope, receive, send)
            finally:
                self.requests -= 1

    async def _answer_in_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def sending(message: Any) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            async with asyncio.timeout(self.request_s):
                await self._answer(scope, receive, sending)
        except HttpError as problem:
            await _respond(send, problem.status, {"detail": problem.detail}, problem.headers)
        except TimeoutError:
            if not has_begun:
                detail = f"the request took longer than {self.request_s:.0f} s"
                await _respond(send, 503, {"detail": detail}, {"retry-after": "5"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"].rstrip("/"), scope["method"]
        headers = _headers(scope)
        self._check_addresses(headers)
        if path in {METADATA_PATH, urlsplit(self.options.metadata_url).path.rstrip("/")}:
            if self.options.metadata is None:
                raise HttpError(404, "no issuer is configured: send an API key")
            await _respond(send, 200, self.options.metadata, {"access-control-allow-origin": "*"})
        elif path != PATH:
            raise HttpError(404, f"the tools are at {PATH}")
        elif method != "POST":
            # No session, so nothing to listen to (GET) or to end (DELETE).
            raise HttpError(405, "only POST", {"allow": "POST"})
        else:
            credential = self._credential(headers, scope.get("client"))
            await self._check(credential)
            await self.app({**scope, "path": PATH, CREDENTIAL: credential}, receive, send)

    def _check_addresses(self, headers: Mapping[str, str]) -> None:
        if headers.get("host", "") not in self.options.hosts:
            raise HttpError(421, "this Host isn't served here: see PANDAPROBE_MCP_PUBLIC_URL")
        origin = headers.get("origin")
        if origin is not None and origin not in self.options.allowed_origins:
            raise HttpError(403, "this Origin isn't allowed: see PANDAPROBE_ALLOWED_ORIGINS")

    def _credential(self, headers: Mapping[str, str], client: tuple[str, int] | None) -> Credential:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        secret = headers.get("x-api-key") or (token.strip() if scheme.lower() == "bearer" else "")
        if not secret or len(secret) > HEADER_CHARS_MAX:
            raise self._unauthenticated("send an API key or a token as Authorization: Bearer")
        key = Credential(secret, "")
        name = "x-project-name" if key.is_key else "x-project-id"
        named = headers.get(name)
        project = named or self.options.project
        if not project:
            raise HttpError(400, f"name the project in the header {name}")
        addresses = [headers.get("x-forwarded-for"), None if client is None else client[0]]
        return Credential(
            secret,
            project,
            headers.get("x-organization-id") or (None if named else self.options.organization),
            ", ".join(filter(None, addresses)) or None,
        )

    async def _check(self, credential: Credential) -> None:
        try:
            await self.known.check(credential)
        except RefusedError as refused:
            raise self._unauthenticated(str(refused)) from refused
        except ToolError as problem:
            # Whatever else is wrong is said by the tool: an agent reads that, and not this.
            del problem

    def _unauthenticated(self, detail: str) -> HttpError:
        challenge = "Bearer"
        if self.options.metadata is not None:
            challenge += f' resource_metadata="{self.options.metadata_url}"'
        return HttpError(401, detail, {"www-authenticate": challenge})


def _headers(scope: Scope) -> Mapping[str, str]:
    """The headers of a request. Raises HttpError if one that matters is sent twice."""
    found: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1").lower()
        if name in found and name in {"host", "origin", "authorization", "x-api-key"}:
            raise HttpError(400, f"the header {name} is sent twice")
        found[name] = value.decode(errors="replace")
    return found


async def _respond(
    send: Send, status: int, body: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> None:
    content = json.dumps(body).encode()
    shown = {"content-type": "application/json", "content-length": str(len(content))}
    pairs = [
        (name.encode(), value.encode()) for name, value in {**shown, **(headers or {})}.items()
    ]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": content})


def http_app(
    service: ServiceClient,
    masking: RedactionMode,
    options: HttpOptions,
    version: str,
    clock: Callable[[], float],
) -> App:
    """The ASGI application. Its lifespan has to be run."""
    server = mcp_server(
        toolbox(service, masking), lambda context: context.request.scope[CREDENTIAL], version
    )
    inner = server.streamable_http_app(
        streamable_http_path=PATH,
        json_response=True,
        stateless_http=True,
        max_request_body_size=BODY_BYTES_MAX,
        transport_security=TransportSecuritySettings(
            allowed_hosts=sorted(options.hosts), allowed_origins=sorted(options.allowed_origins)
        ),
    )
    return Gate(inner, options, KnownCallers(service, clock))


async def serve_http(
    url: str, masking: RedactionMode, options: HttpOptions, version: str, listening: socket
) -> None:
    """Serves on a bound socket until SIGTERM or SIGINT."""
    async with service_client(url) as service:
        clock = asyncio.get_running_loop().time
        app = http_app(service, masking, options, version, clock)
        config = server_config(app, options.keep_alive_s)
        # After its shutdown, uvicorn raises the signal that ended it again.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        await uvicorn.Server(config).serve(sockets=[listening])


def server_config(app: App, keep_alive_s: int) -> uvicorn.Config:
    """The limits of `serve` for connections. Those of uvicorn count idle ones as requests."""
    from entrypoints.server.protocol_limits import (  # noqa: PLC0415 - slow to import, for HTTP alone
        BoundedConnection,
        raise_file_limit,
    )

    BoundedConnection.connections_max = raise_file_limit()
    return uvicorn.Config(
        app,
        http=BoundedConnection,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=STOP_S,
        server_header=False,
        lifespan="on",
    )
