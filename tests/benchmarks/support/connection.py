"""An HTTP/1.1 connection with minimal overhead, so that measurements show the server's time."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

TIMEOUT_S = 120
READ_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """A keep-alive connection; accepts answers with Content-Length and in chunks."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = self._socket.makefile("rb", READ_BYTES)
        lines = {"Host": f"127.0.0.1:{port}", **headers}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in lines.items())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._received.close()
        self._socket.close()

    def get(self, target: str) -> Answer:
        return self._exchange(f"GET {target} HTTP/1.1\r\n{self._headers}\r\n".encode())

    def post(self, target: str, content: bytes) -> Answer:
        head = f"POST {target} HTTP/1.1\r\n{self._headers}Content-Type: application/json\r\n"
        return self._exchange(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)

    def _exchange(self, request: bytes) -> Answer:
        self._socket.sendall(request)
        status, headers = int(self._line().split(b" ", 2)[1]), {}
        while line := self._line().lower():
            name, _, value = line.partition(b": ")
            headers[name] = value
        if b"transfer-encoding" in headers:
            return Answer(status, b"".join(self._chunks()))
        return Answer(status, self._read(int(headers[b"content-length"])))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._line(), 16):
            yield self._read(size)
            self._line()
        self._line()

    def _line(self) -> bytes:
        line: bytes = self._received.readline()
        assert line.endswith(b"\r\n"), "the server hung up"
        return line[:-2]

    def _read(self, size: int) -> bytes:
        some: bytes = self._received.read(size)
        assert len(some) == size, "the server hung up"
        return some
