"""Requests to the REST API of the service, with the credential of a caller."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlencode

import httpx2
import msgspec

from entrypoints.mcp.responses import ProblemRow
from entrypoints.startup import is_on_loopback

ANSWER_BYTES_MAX: Final = 64 << 20  # of one response, decompressed
CONNECT_S: Final = 5.0
REQUEST_S: Final = 30.0  # without a byte
CONNECTIONS_MAX: Final = 20
DETAIL_CHARS_MAX: Final = 400  # of an error of the service
ERROR_FIELDS_MAX: Final = 5
KEY_PREFIX: Final = "pp_"
BAD_STATUS: Final = 400
SERVER_ERROR: Final = 500

type Query = Mapping[str, str | int | float | bool | None]


class ToolError(Exception):
    """A tool can't answer. The message tells the agent what to change."""


class TooLargeError(ToolError):
    """A response has more than ANSWER_BYTES_MAX bytes."""


class RefusedError(ToolError):
    """The service refused the credential: a client may sign in again."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A key or token of the service, and the project. Headers of a request carry it.

    `project` is a name for a key, and an id for a token. `forwarded_for` are the addresses of the
    client and of proxies before this process; the service believes them if it trusts this process.
    """

    secret: str = field(repr=False)
    project: str
    organization: str | None = None
    forwarded_for: str | None = field(default=None, compare=False)

    @property
    def is_key(self) -> bool:
        return self.secret.startswith(KEY_PREFIX)

    @property
    def headers(self) -> dict[str, str]:
        headers = {} if self.forwarded_for is None else {"x-forwarded-for": self.forwarded_for}
        if self.is_key:
            return headers | {"x-api-key": self.secret, "x-project-name": self.project}
        if self.organization:
            headers["x-organization-id"] = self.organization
        return headers | {
            "authorization": f"Bearer {self.secret}",
            "x-project-id": self.project,
        }

    @property
    def digest(self) -> bytes:
        """Identifies the credential without containing it."""
        parts = (self.secret, self.project, self.organization or "")
        return sha256("\0".join(parts).encode()).digest()


def _segment(text: str) -> str:
    # Else the client would take a session with the id `..` for a step up.
    return text.replace(".", "%2E") if text in {".", ".."} else quote(text, safe="")


def path_of(*segments: object, **query: Any) -> str:
    """A path with its query: each segment is encoded, and a value that is None is left out."""
    path = "".join(f"/{_segment(str(one))}" for one in segments)
    pairs = [
        (name, _text(item))
        for name, value in query.items()
        if value is not None
        for item in (value if isinstance(value, list | tuple) else [value])
    ]
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class ServiceClient:
    """Asks the service at `url`. All methods raise ToolError."""

    http: httpx2.AsyncClient
    url: str

    async def get[T](self, credential: Credential, path: str, kind: type[T]) -> T:
        return await self._ask(credential, "GET", path, kind)

    async def post[T](
        self,
        credential: Credential,
        path: str,
        kind: type[T],
        body: Mapping[str, object],
        *,
        idempotency_key: str | None = None,
    ) -> T:
        return await self._ask(
            credential, "POST", path, kind, body=body, idempotency_key=idempotency_key
        )

    async def _ask[T](
        self,
        credential: Credential,
        method: str,
        path: str,
        kind: type[T],
        *,
        body: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
    ) -> T:
        headers = {**credential.headers, "accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/json"
        if idempotency_key is not None:
            headers["idempotency-key"] = idempotency_key
        content = None if body is None else msgspec.json.encode(body)
        request = self.http.build_request(
            method,
            f"{self.url}{path}",
            # As bytes: the library takes texts in ASCII only.
            headers={name.encode(): value.encode() for name, value in headers.items()},
            content=content,
        )
        try:
            response = await self.http.send(request, stream=True)
            try:
                received = await _read(response)
            finally:
                await response.aclose()
        except httpx2.TimeoutException as error:
            raise ToolError(
                f"the service at {self.url} did not answer in time: try again, with a shorter "
                "period or a smaller limit"
            ) from error
        except httpx2.HTTPError as error:
            raise ToolError(
                f"the service at {self.url} can't be reached: check that it runs, and the address"
            ) from error
        if response.status_code >= BAD_STATUS:
            raise _problem(response.status_code, dict(response.headers), received)
        try:
            return await asyncio.to_thread(decoded, received, kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ToolError(
                f"the answer of {self.url} is not that of a PandaProbe service of this version: "
                "check the address, and update both"
            ) from error


def decoded[T](body: bytes, kind: type[T]) -> T:
    """The value of a response. Raises MsgspecError, UnicodeDecodeError.

    Payloads come as they were sent, also with half of a surrogate pair, which msgspec refuses.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError:
        return msgspec.json.decode(_ESCAPES.sub(_whole_escape, body), type=kind)


_ESCAPES: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F]..)|.)"
)


def _whole_escape(found: re.Match[bytes]) -> bytes:
    return b"\\ufffd" if found[1] else found[0]


async def _read(response: httpx2.Response) -> bytes:
    received = bytearray()
    async for chunk in response.aiter_bytes():
        received += chunk
        if len(received) > ANSWER_BYTES_MAX:
            raise TooLargeError(
                f"the answer has more than {ANSWER_BYTES_MAX >> 20} MiB: ask for less of it"
            )
    return bytes(received)


def _problem(status: int, headers: Mapping[str, str], body: bytes) -> ToolError:
    try:
        problem = msgspec.json.decode(body, type=ProblemRow)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        problem = ProblemRow()
    errors = [f"{one.field} {one.message}" for one in problem.errors[:ERROR_FIELDS_MAX]]
    detail = " ".join("; ".join([problem.detail, *errors]).split())[:DETAIL_CHARS_MAX]
    said = f" It says: {json.dumps(detail, ensure_ascii=False)}" if detail else ""
    wait = headers.get("retry-after", "a few")
    if status == HTTPStatus.UNAUTHORIZED:
        return RefusedError(
            "the service refused the key or token (401): it is unknown, expired or revoked. "
            f"Ask the person for a valid one.{said}"
        )
    if status >= SERVER_ERROR:
        return ToolError(
            f"the service can't answer now ({status}): wait {wait} seconds, then try again"
        )
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return ToolError(f"too many requests (429): wait {wait} seconds, then try again")
    about = _ADVICE.get(status, "the service refused the request")
    return ToolError(f"{about} ({status}).{said}")


_ADVICE: Final[Mapping[int, str]] = {
    400: "the service can't read these arguments",
    403: "the key or token may not do this",
    404: "this project has no such thing: check the id, and find it with search_traces",
    409: "this conflicts with what is stored",
    422: "the service can't take these arguments",
}


@asynccontextmanager
async def service_client(url: str) -> AsyncIterator[ServiceClient]:
    timeout = httpx2.Timeout(REQUEST_S, connect=CONNECT_S)
    limits = httpx2.Limits(max_connections=CONNECTIONS_MAX)
    uses_proxy = not is_on_loopback(url)
    verify = httpx2.create_ssl_context()  # with SSL_CERT_FILE, whatever the address
    async with httpx2.AsyncClient(
        timeout=timeout, limits=limits, trust_env=uses_proxy, verify=verify
    ) as http:
        yield ServiceClient(http, url.rstrip("/"))
