"""A loopback proxy that delays or cuts the connections between two parts."""

import asyncio
import contextlib
from typing import Final

CHUNK_BYTES: Final = 64 << 10


class Proxy:
    """Forwards to `target`; each chunk is delayed by `delay_s`, in both directions.

    A chunk waits while others are read, so that latency grows and bandwidth stays.
    """

    def __init__(self, target: int, delay_s: float = 0.0) -> None:
        self.target, self.delay_s = target, delay_s
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self.port

    async def cut(self) -> None:
        """Resets every connection, as a restarting switch would."""
        for writer in list(self._open):
            writer.transport.abort()

    async def refuse(self) -> None:
        """Refuses new connections; the open ones stay."""
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        await self.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _accept(
        self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        writers = [client_writer]
        try:
            server_reader, onward = await asyncio.open_connection("127.0.0.1", self.target)
            writers.append(onward)
            self._open.update(writers)
            await asyncio.gather(
                self._forward(client_reader, onward), self._forward(server_reader, client_writer)
            )
        except OSError:
            pass
        finally:
            for writer in writers:
                self._open.discard(writer)
                writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clock = asyncio.get_running_loop().time
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def onward() -> None:
            while True:
                due, chunk = await waiting.get()
                await asyncio.sleep(max(0.0, due - clock()))
                if not chunk:
                    with contextlib.suppress(OSError):
                        writer.write_eof()
                    return
                writer.write(chunk)
                await writer.drain()

        sending = asyncio.create_task(onward())
        try:
            while chunk := await reader.read(CHUNK_BYTES):
                waiting.put_nowait((clock() + self.delay_s, chunk))
            waiting.put_nowait((clock() + self.delay_s, b""))
            await sending
        finally:
            sending.cancel()
