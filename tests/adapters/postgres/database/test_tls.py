"""Connections by TLS, as docs/operation/tls.md describes them."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

import pytest

from adapters.postgres.database.connections.connection_failures import ConnectionFailed
from adapters.postgres.database.pool import Engine, PoolSettings, open_pool
from tests.support.certificates import write_certificate

pytestmark = pytest.mark.service

SSL_REQUEST: Final = bytes.fromhex("0000000804d2162f")  # the first message of a client with TLS


class TlsServer:
    """A PostgreSQL with TLS: the embedded one has none, so this forwards to it."""

    def __init__(self, postgres_url: str, certificate: Path, key: Path) -> None:
        self.certificate = certificate
        self.encrypted = 0  # connections
        self._behind = urlsplit(postgres_url)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate, key)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        account = self._behind.netloc.rpartition("@")[0]
        self.url = self._behind._replace(netloc=f"{account}@127.0.0.1:{port}").geturl()
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError), closing(writer):
            first = await reader.readexactly(8)
            if first == SSL_REQUEST:
                writer.write(b"S")
                await writer.start_tls(self._context)
                self.encrypted, first = self.encrypted + 1, b""
            place = self._behind.hostname, self._behind.port
            inner_reader, inner_writer = await asyncio.open_connection(*place)
            with closing(inner_writer):
                inner_writer.write(first)
                await asyncio.gather(_relay(reader, inner_writer), _relay(inner_reader, writer))


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.fixture
async def server(postgres_url: str, tmp_path: Path) -> AsyncIterator[TlsServer]:
    async with TlsServer(postgres_url, *write_certificate(tmp_path)).listening() as listening:
        yield listening


async def connect(url: str) -> None:
    async with open_pool(Engine(config={}), PoolSettings(url=url)) as pool:
        assert await pool.fetchval("SELECT 1") == 1


async def test_encryption_is_as_the_url_says(server):
    verified = f"?sslmode=verify-full&sslrootcert={server.certificate}"
    for number, query in enumerate(("", "?sslmode=require", verified), 1):
        await connect(server.url + query)
        assert server.encrypted == number
    await connect(f"{server.url}?sslmode=disable")
    assert server.encrypted == 3


async def test_unknown_authority_is_refused(server):
    with pytest.raises(
        ConnectionFailed, match=r"TLS certificate isn't trusted.*docs/operation/tls\.md"
    ):
        await connect(f"{server.url}?sslmode=verify-full&sslrootcert=system")


async def test_certificate_of_another_host_is_refused(server):
    url = server.url.replace("127.0.0.1", "localhost")
    with pytest.raises(ConnectionFailed, match="TLS certificate isn't trusted"):
        await connect(f"{url}?sslmode=verify-full&sslrootcert={server.certificate}")
