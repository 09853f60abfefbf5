"""Messages to webhooks, over HTTP: signed, bounded, and never into a network that isn't theirs.

A name is resolved here and once. What it resolved to is checked, and that very address is
connected to, so that a name that means another thing a moment later gains nothing by it. TLS still
verifies the name. No connection is used twice: two names may share an address.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from application.evaluation.ports.alerts import DeliveryResult
from domain.errors import Invalid
from domain.evaluation.monitors.webhook import (
    PORTS,
    Delivery,
    Webhook,
    is_public,
    signature,
    validate_url,
)

if TYPE_CHECKING:
    import httpx2

TIMEOUT_S: Final = 10.0  # for a message in all: resolving, connecting, sending, being answered
CONNECT_TIMEOUT_S: Final = 3.0  # for one of several addresses
ADDRESSES_MAX: Final = 4  # of a name, that are tried one after the other
RESOLVERS: Final = 16  # names that are looked up at once
AGENT: Final = "pandaprobe-webhooks/1"

type Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a name and a port, IPv4 or IPv6, as text. Raises OSError, UnicodeError."""

_log: Final = logging.getLogger(__name__)


class _RefusedError(Exception):
    """Where it would go is inside a network."""


class SystemResolver:
    """As this host resolves names; in threads of its own, so that slow names keep nobody waiting.

    uvloop and asyncio share a few threads with everything else.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVERS, "webhook-names")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _addresses, host, port)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _addresses(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True, slots=True)
class HttpWebhookSender:
    """`admits` says which addresses may be connected to; `allow_private` takes plain http too."""

    resolve: Resolve
    admits: Callable[[str], bool] = is_public
    allow_private: bool = False
    tls: ssl.SSLContext | None = None  # who is trusted; None: whom this host trusts
    timeout_s: float = TIMEOUT_S
    connect_timeout_s: float = CONNECT_TIMEOUT_S

    async def send(self, delivery: Delivery, webhook: Webhook, now: datetime) -> DeliveryResult:
        try:
            async with asyncio.timeout(self.timeout_s):
                return await self._sent(delivery, webhook, now)
        except Exception as error:  # noqa: BLE001 - of one message, whatever it is; the others go on
            return DeliveryResult(None, _why(error, webhook))

    async def _sent(self, delivery: Delivery, webhook: Webhook, now: datetime) -> DeliveryResult:
        import httpx2  # noqa: PLC0415 - slow to import, and only workers need it

        url = validate_url(webhook.url, allow_private=self.allow_private)
        addresses, head = await self._checked(url), _head(delivery, webhook, now)
        # No proxy of the environment: it would resolve the name anew.
        async with httpx2.AsyncClient(
            verify=self.tls or _system_tls(),
            trust_env=False,
            follow_redirects=False,
            timeout=self._timeout(),
        ) as client:
            for address in addresses[:-1]:
                with suppress(httpx2.ConnectError, httpx2.ConnectTimeout):
                    return await _posted(client, url, address, head, delivery.body)
            return await _posted(client, url, addresses[-1], head, delivery.body)

    async def _checked(self, url: str) -> Sequence[str]:
        """Where a URL leads to; all of it has to be admitted, since any could be connected to."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        found = await self.resolve(host, parts.port or PORTS[parts.scheme])
        if not found:
            raise socket.gaierror(f"{host} has no address")
        if not all(self.admits(address) for address in found):
            raise _RefusedError
        return found[:ADDRESSES_MAX]

    def _timeout(self) -> "httpx2.Timeout":
        import httpx2  # noqa: PLC0415

        return httpx2.Timeout(self.timeout_s, connect=self.connect_timeout_s)


@cache
def _system_tls() -> ssl.SSLContext:
    return ssl.create_default_context()  # made once: it reads hundreds of certificates


async def _posted(
    client: "httpx2.AsyncClient", url: str, address: str, head: Mapping[str, str], body: bytes
) -> DeliveryResult:
    import httpx2  # noqa: PLC0415

    meant = httpx2.URL(url)
    async with client.stream(
        "POST",
        meant.copy_with(host=address),
        headers={"host": meant.netloc.decode("ascii"), **head},
        content=body,
        extensions={"sni_hostname": meant.host},
    ) as answer:
        return DeliveryResult(answer.status_code)  # nothing of its body is read


def _head(delivery: Delivery, webhook: Webhook, now: datetime) -> Mapping[str, str]:
    message, timestamp = str(delivery.id), int(now.timestamp())
    return {
        "connection": "close",
        "user-agent": AGENT,
        "content-type": "application/json",
        "webhook-id": message,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(webhook.secret, message, timestamp, delivery.body),
    }


def _why(error: Exception, webhook: Webhook) -> str:
    """Why there was no answer, in a word."""
    import httpx2  # noqa: PLC0415

    match error:
        case _RefusedError() | Invalid():
            return "refused_target"
        case TimeoutError() | httpx2.TimeoutException():
            return "timeout"
        case socket.gaierror() | UnicodeError():
            return "unknown_host"
        case httpx2.ConnectError():
            return "tls" if _is_of_tls(error) else "unreachable"
        case httpx2.HTTPError() | httpx2.InvalidURL() | OSError():
            return "broken_connection"
    _log.error("a message was not sent", exc_info=error, extra={"webhook_id": str(webhook.id)})
    return "internal"


def _is_of_tls(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
