"""Sends messages to webhooks over HTTP: signed, bounded, and never into a private network.

A name is resolved once. The resolved addresses are checked, and the connection goes to one of
them, so that DNS rebinding has no effect. TLS still verifies the name. Connections aren't reused,
because two names may share an address.
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
# A look-up without an answer lasts up to 30 s, three times as long as its delivery. Each has a
# thread, so that names for which no server answers delay no webhook of another project.
RESOLVER_THREADS: Final = 3 * CONCURRENT_DELIVERIES_MAX
USER_AGENT: Final = "pandaprobe-webhooks/1"

type Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a name and a port, IPv4 or IPv6. Raises OSError, UnicodeError."""

_log: Final = logging.getLogger(__name__)
_system_tls: Final = cache(ssl.create_default_context)  # it reads hundreds of certificates


class _RefusedError(Exception):
    """The target is in a network that isn't allowed."""


def _addresses(host: str, port: int) -> Sequence[str]:
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in entries))


class SystemResolver:
    """Resolves names as this host does, in its own threads.

    The few threads of the event loop are shared, so that slow names would delay other work.
    """

    def __init__(self, look_up: Callable[[str, int], Sequence[str]] = _addresses) -> None:
        self._look_up = look_up
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, "webhook-names")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._look_up, host, port)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


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
        import httpx2  # noqa: PLC0415 - slow to import, and only workers need it

        url = validate_url(webhook.url, allow_private=self.allow_private)
        addresses = await self._resolve_allowed(url)
        body = format_body(delivery.body, webhook.format)
        headers = _headers(delivery, webhook, now, body)
        # Not through the environment's proxy, which would resolve the name again.
        async with httpx2.AsyncClient(
            verify=self.tls or _system_tls(),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(self.timeout_s, connect=self.connect_timeout_s),
        ) as client:
            for address in addresses[:-1]:
                with suppress(httpx2.ConnectError, httpx2.ConnectTimeout):
                    return await _post(client, url, address, headers, body)
            return await _post(client, url, addresses[-1], headers, body)

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


async def _post(
    client: "httpx2.AsyncClient", url: str, address: str, headers: Mapping[str, str], body: bytes
) -> DeliveryResult:
    import httpx2  # noqa: PLC0415

    target = httpx2.URL(url)
    async with client.stream(
        "POST",
        target.copy_with(host=address),
        headers={"host": target.netloc.decode("ascii"), **headers},
        content=body,
        extensions={"sni_hostname": target.host},
    ) as response:
        return DeliveryResult(response.status_code)  # the body isn't read


def _headers(delivery: Delivery, webhook: Webhook, now: datetime, body: bytes) -> Mapping[str, str]:
    message, timestamp = str(delivery.id), int(now.timestamp())
    assert webhook.secret is not None, "a webhook that is sent to has its secret"
    return {
        "connection": "close",
        "user-agent": USER_AGENT,
        "content-type": "application/json",
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
        case TimeoutError() | httpx2.TimeoutException():
            return "timeout"
        case httpx2.ConnectError():
            return "tls" if _is_tls_error(error) else "unreachable"
        case httpx2.HTTPError() | httpx2.InvalidURL() | OSError():
            return "broken_connection"
    _log.error(
        "sending a webhook message failed", exc_info=error, extra={"webhook_id": str(webhook.id)}
    )
    return "internal"


def _is_tls_error(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
