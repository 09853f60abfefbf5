"""Webhook receivers on loopback addresses, scripted byte by byte."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

type Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def with_status(line: str, *head: str, body: bytes = b"") -> Answer:
    """Answers with this status and these headers, then closes."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {line}", f"content-length: {len(body)}", *head]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()

    return answer


async def silence(writer: asyncio.StreamWriter) -> None:
    """Never answers."""
    await asyncio.Event().wait()


async def endless_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        await writer.drain()


async def endless_head(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x-more: " + b"x" * 0x1000 + b"\r\n")
        await writer.drain()


async def trickle(writer: asyncio.StreamWriter) -> None:
    """Sends interim responses endlessly."""
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)


async def byte_by_byte(writer: asyncio.StreamWriter) -> None:
    for byte in b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n":
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)


async def garbage(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
    await writer.drain()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Closes without an answer."""


OK = with_status("204 No Content")


@dataclass(slots=True)
class Receiver:
    """Received requests as (request line, head, body); `answer` may be replaced."""

    port: int = 0
    answer: Answer = OK
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def url(self, path: str = "/hook", host: str = "hooks.example", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    @property
    def messages(self) -> list[Any]:
        return [json.loads(body) for _, _, body in self.got]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            head = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
            # Signatures are case-sensitive.
            for line in lines[1:]:
                if line.lower().startswith("webhook-"):
                    name, value = line.split(": ", 1)
                    head[name.lower()] = value
            body = await reader.readexactly(int(head.get("content-length", "0")))
            self.got.append((lines[0], head, body))
            await self.answer(writer)
        with suppress(ConnectionError):
            writer.close()


@asynccontextmanager
async def receiver(
    host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None, answer: Answer = OK
) -> AsyncIterator[Receiver]:
    made = Receiver(answer=answer)
    served = set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.add(task)
        await made._serve(reader, writer)

    server = await asyncio.start_server(serve, host, port, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in served:
            task.cancel()
        await asyncio.gather(*served, return_exceptions=True)
