"""An issuer's web server on loopback with scripted answers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

JWKS = "/jwks.json"
DISCOVERY = "/.well-known/openid-configuration"


@dataclass
class Page:
    """One answer, sent once its `release` is set, if it has one."""

    body: bytes = b"{}"
    status: int = 200
    headers: tuple[str, ...] = ()
    release: asyncio.Event | None = None
    drips: bool = False  # sends a byte at a time, endlessly


@dataclass
class Publisher:
    """Pages by path; others are 404. `asked` has the paths of the requests, in order."""

    url: str = ""
    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    open: set[asyncio.StreamWriter] = field(default_factory=set)

    def says(self, path: str, document: object, **overrides: object) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.pages[path] = Page(body, **overrides)

    def describes_itself(self, **overrides: object) -> None:
        self.says(DISCOVERY, {"issuer": self.url, "jwks_uri": self.url + JWKS} | overrides)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path = head.split(" ", 2)[1]
            self.asked.append(path)
            self.heads.append(head)
            page = self.pages.get(path, Page(status=404))
            if page.release is not None:
                await page.release.wait()
            fields = "".join(f"{one}\r\n" for one in (*page.headers, "connection: close"))
            writer.write(f"HTTP/1.1 {page.status} -\r\n{fields}\r\n".encode())
            while page.drips:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
            writer.write(page.body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has closed the connection
        finally:
            self.open.discard(writer)
            writer.close()


@asynccontextmanager
async def publishing() -> AsyncIterator[Publisher]:
    publisher = Publisher()
    server = await asyncio.start_server(publisher.answer, "127.0.0.1", 0)
    publisher.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield publisher
    finally:
        server.close()
        for writer in publisher.open:
            writer.close()
