"""Sends messages to webhooks over HTTP: signed, bounded, and never into a private network.

A name is resolved once. The resolved addresses are checked, and the connection goes to one of
them, so that DNS rebinding has no effect. TLS still verifies the name. Connections aren't reused,
because two names may share an address. Only the status is read, from bytes that are counted: a
client library reads interim responses for as long as they come, and parses headers, for which h11
takes seconds if a receiver wants it to (docs/adr/0028).
"""

import asyncio
import logging
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from threading import Thread
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from application.evaluation.ports.alerts import CONCURRENT_DELIVERIES_MAX, DeliveryResult
from domain.errors import Invalid
from domain.evaluation.alerts.alert_message import format_body
from domain.evaluation.alerts.webhook import (
    PORTS,
    Delivery,
    Webhook,
    is_public,
    signature,
    validate_url,
)

if TYPE_CHECKING:
    import httpx2

TIMEOUT_S: Final = 10.0  # per message: resolving, connecting, sending, and the response
CONNECT_TIMEOUT_S: Final = 3.0  # for one of several addresses
ADDRESSES_MAX: Final = 4  # of a name; they are tried in order
INTERIM_MAX: Final = 10  # responses (1xx) before the final one
HEAD_BYTES_MAX: Final = 32 * 1024  # of a response up to its body, with all interim ones (1xx)
# A look-up without an answer lasts up to 30 s, three times as long as its delivery. Each has a
# thread, so that names for which no server answers delay no webhook of another project.
RESOLVER_THREADS: Final = 3 * CONCURRENT_DELIVERIES_MAX
USER_AGENT: Final = "pandaprobe-webhooks/1"

type Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a name and a port, IPv4 or IPv6. Raises OSError, UnicodeError."""

type Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_log: Final = logging.getLogger(__name__)
# Both take time in proportion to the bytes, whatever these are.
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")
_END_OF_HEAD: Final = re.compile(rb"\n\r?\n")
_END_BYTES: Final = 3
_FINAL: Final = 200  # the first status that isn't of an interim response


@cache  # it reads hundreds of certificates
def _system_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class _RefusedError(Exception):
    """The target is in a network that isn't allowed."""


class _UnreachableError(Exception):
    """No connection to an address; the cause says why."""


def _addresses(host: str, port: int) -> Sequence[str]:
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in entries))


class SystemResolver:
    """Resolves names as this host does, in its own threads.

    The few threads of the event loop are shared, so that slow names would delay other work. The
    exit of a process waits for the threads of an executor, and not for these.
    """

    def __init__(self, look_up: Callable[[str, int], Sequence[str]] = _addresses) -> None:
        self._look_up = look_up
        self._free = asyncio.Semaphore(RESOLVER_THREADS)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[str]] = loop.create_future()

        def end(addresses: Sequence[str], error: Exception | None) -> None:
            self._free.release()
            if answer.done():  # the caller was cancelled
                return
            if error is None:
                answer.set_result(addresses)
            else:
                answer.set_exception(error)

        def look_up() -> None:
            found: Sequence[str] = ()
            failure: Exception | None = None
            try:
                found = self._look_up(host, port)
            except Exception as error:  # noqa: BLE001 - the caller raises it
                failure = error
            with suppress(RuntimeError):  # the event loop is closed
                loop.call_soon_threadsafe(end, found, failure)

        try:
            Thread(target=look_up, name="webhook-names", daemon=True).start()
        except BaseException:
            self._free.release()
            raise
        return await answer


@dataclass(frozen=True, slots=True)
class HttpWebhookSender:
    """`is_allowed` decides which addresses to connect to; `allow_private` permits plain http."""

    resolve: Resolve
    is_allowed: Callable[[str], bool] = is_public
    allow_private: bool = False
    tls: ssl.SSLContext | None = None  # the trusted authorities; None: those of this host
    timeout_s: float = TIMEOUT_S
    connect_timeout_s: float = CONNECT_TIMEOUT_S

    async def send(self, delivery: Delivery, webhook: Webhook, now: datetime) -> DeliveryResult:
        try:
            async with asyncio.timeout(self.timeout_s):
                return await self._deliver(delivery, webhook, now)
        except Exception as error:  # noqa: BLE001 - one failed message must not stop the others
            return DeliveryResult(None, _failure_code(error, webhook))

    async def _deliver(self, delivery: Delivery, webhook: Webhook, now: datetime) -> DeliveryResult:
        import h11  # noqa: PLC0415 - only workers need both
        import httpx2  # noqa: PLC0415 - slow to import

        validate_url(webhook.url, allow_private=self.allow_private)
        addresses = await self._resolve_allowed(webhook.url)
        url, body = httpx2.URL(webhook.url), format_body(delivery.body, webhook.format)
        headers = {"host": url.netloc.decode("ascii"), **_headers(delivery, webhook, now, body)}
        http = h11.Connection(h11.CLIENT)
        request = h11.Request(method="POST", target=url.raw_path, headers=[*headers.items()])
        parts = [http.send(one) for one in (request, h11.Data(body), h11.EndOfMessage())]
        reader, writer = await self._connect(addresses, url)
        try:
            writer.writelines(part for part in parts if part)
            await writer.drain()
            return DeliveryResult(await _read_status(reader))  # the body isn't read
        finally:
            writer.transport.abort()

    async def _connect(self, addresses: Sequence[str], url: "httpx2.URL") -> Streams:
        """Connects to the first address that can be reached. Raises _UnreachableError.

        Not through the environment's proxy, which would resolve the name again.
        """
        for address in addresses[:-1]:
            with suppress(_UnreachableError):
                return await self._open(address, url)
        return await self._open(addresses[-1], url)

    async def _open(self, address: str, url: "httpx2.URL") -> Streams:
        is_tls = url.scheme == "https"
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                return await asyncio.open_connection(
                    address,
                    url.port or PORTS[url.scheme],
                    ssl=(self.tls or _system_tls()) if is_tls else None,
                    server_hostname=url.raw_host.decode("ascii") if is_tls else None,
                )
        except OSError as error:  # also of TLS, and a TimeoutError
            raise _UnreachableError from error

    async def _resolve_allowed(self, url: str) -> Sequence[str]:
        """The addresses of a URL's host. All must be allowed, since any may be connected to."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        addresses = await self.resolve(host, parts.port or PORTS[parts.scheme])
        if not addresses:
            raise socket.gaierror(f"{host} has no address")
        if not all(map(self.is_allowed, addresses)):
            raise _RefusedError
        return addresses[:ADDRESSES_MAX]


async def _read_status(reader: asyncio.StreamReader) -> int:
    """The status of the response after the interim ones, once its head is complete.

    Raises OSError, also for a head that is longer than HEAD_BYTES_MAX.
    """
    head, left = bytearray(), HEAD_BYTES_MAX
    for _ in range(INTERIM_MAX + 1):
        searched = 0
        while (end := _END_OF_HEAD.search(head, searched)) is None:
            searched = max(0, len(head) - _END_BYTES)
            data = await reader.read(left)
            if not data:
                raise ConnectionError("the response ends in its head, or its head is too long")
            head += data
            left -= len(data)
        found = _STATUS_LINE.match(head)
        if found is None:
            raise ConnectionError("this isn't a response")
        if (status := int(found[1])) >= _FINAL:
            return status
        del head[: end.end()]
    raise ConnectionError("too many interim responses")


def _headers(delivery: Delivery, webhook: Webhook, now: datetime, body: bytes) -> Mapping[str, str]:
    message, timestamp = str(delivery.id), int(now.timestamp())
    assert webhook.secret is not None, "a webhook that is sent to has its secret"
    return {
        "connection": "close",
        "accept": "*/*",
        "user-agent": USER_AGENT,
        "content-type": "application/json",
        "content-length": str(len(body)),
        "webhook-id": message,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(webhook.secret, message, timestamp, body),
    }


def _failure_code(error: Exception, webhook: Webhook) -> str:
    """Why the webhook did not answer, as a code that callers see."""
    import httpx2  # noqa: PLC0415

    match error:
        case _RefusedError() | Invalid() | socket.gaierror() | UnicodeError():
            # One code: it must not tell which names exist in the network of the workers.
            reason = "no such name" if isinstance(error, (OSError, UnicodeError)) else "not allowed"
            _log.info(
                "a webhook has no usable target: %s", reason, extra={"webhook_id": str(webhook.id)}
            )
            return "no_usable_target"
        case TimeoutError() | _UnreachableError(__cause__=TimeoutError()):
            return "timeout"
        case _UnreachableError():
            return "tls" if isinstance(error.__cause__, ssl.SSLError) else "unreachable"
        case httpx2.InvalidURL() | OSError():
            return "broken_connection"
    _log.error(
        "sending a webhook message failed", exc_info=error, extra={"webhook_id": str(webhook.id)}
    )
    return "internal"
