"""An HTTP/1.1 connection with minimal overhead, so that measurements show the server's time."""

import json
import socket
from dataclasses import dataclass
from typing import Any, Self

TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """A keep-alive connection; accepts answers with Content-Length, as the server sends them."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = {"Host": f"127.0.0.1:{port}", **headers}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in lines.items())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def get(self, target: str) -> Answer:
        return self._exchange(f"GET {target} HTTP/1.1\r\n{self._headers}\r\n".encode())

    def post(self, target: str, content: bytes) -> Answer:
        head = f"POST {target} HTTP/1.1\r\n{self._headers}Content-Type: application/json\r\n"
        return self._exchange(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)

    def _exchange(self, request: bytes) -> Answer:
        self._socket.sendall(request)
        received = bytearray()
        while (end := received.find(b"\r\n\r\n")) < 0:
            self._receive(received)
        head = bytes(received[:end]).lower()
        at = head.index(b"content-length:") + len(b"content-length:")
        length = int(head[at:].split(b"\r\n", 1)[0])
        while len(received) < end + 4 + length:
            self._receive(received)
        return Answer(int(head[9:12]), bytes(received[end + 4 :]))

    def _receive(self, into: bytearray) -> None:
        some = self._socket.recv(1 << 20)
        assert some, "the server hung up"
        into += some
