"""Sends more traces than the service can handle, from a separate process; reports each outcome.

    python -m tests.faults.support.load_generator URL SECONDS RATE CONNECTIONS PAYLOAD FILE

Reads the headers as a JSON object from standard input.
Sends RATE requests a second at times that are fixed in advance, whatever the answers are, since
real clients don't wait for each other. With RATE 0 each connection sends its next request after the
last answer, which measures the sustained rate. Nothing is retried. Each trace has a span with
PAYLOAD bytes in it. Prints one JSON object; writes the ids of all accepted traces to FILE, one per
line.
"""

import asyncio
import json
import math
import sys
import time
import uuid
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

from entrypoints.server.protocol_limits import raise_file_limit

LAST_S: Final = 40.0  # for the last answers
TICK_S: Final = 0.005  # between two checks of how many are due
STARTED_AT: Final = "2026-03-01T09:00:00Z"


@dataclass
class Flood:
    url: str
    seconds: float
    rate: float
    connections: int
    payload: int
    headers: dict[str, str]
    statuses: Counter[str] = field(default_factory=Counter)
    accepted: list[str] = field(default_factory=list)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    without_retry_after: int = 0
    unsent: int = 0  # since no connection was free
    lost: int = 0  # connections
    took_s: float = 0.0  # until the last answer
    _free: "deque[Client]" = field(default_factory=deque)
    _busy: int = 0
    _end: float = math.inf

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        lines = {"Host": parts.netloc, **self.headers, "Content-Type": "application/json"}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        usage = {"prompt_tokens": 1}
        step = {"name": "step", "started_at": STARTED_AT, "input": "x" * self.payload}
        body = json.dumps(
            {"trace_id": "%s", "name": "t", "started_at": STARTED_AT,
             "spans": [{"span_id": "%s", **step, "token_usage": usage}]}
        )  # fmt: skip
        length = len(body % (uuid.uuid4(), uuid.uuid4()))
        self._request = f"POST /traces HTTP/1.1\r\n{head}Content-Length: {length}\r\n\r\n{body}"

    async def run(self) -> None:
        first = [] if self.rate else [await self._connect() for _ in range(self.connections)]
        begin = time.monotonic()
        self._end = begin + self.seconds
        if self.rate:
            await self._send_at_rate(begin)
        else:
            for client in first:
                self.send(client)
            await asyncio.sleep(self.seconds)
        deadline = time.monotonic() + LAST_S
        while self._busy and time.monotonic() < deadline:
            await asyncio.sleep(TICK_S)
        self.took_s = time.monotonic() - begin

    async def _connect(self) -> "Client":
        parts = urlsplit(self.url)
        _, client = await asyncio.get_running_loop().create_connection(
            lambda: Client(self), str(parts.hostname), parts.port or 80
        )
        return client

    async def _send_at_rate(self, begin: float) -> None:
        """Connects when it needs to: the service closes connections that don't send a request."""
        due = sent = 0
        connecting: list[asyncio.Task[None]] = []
        while (now := time.monotonic()) < self._end:
            due = int((now - begin) * self.rate)
            for _ in range(due - sent):
                if self._free:
                    self.send(self._free.popleft())
                elif len(connecting) < self.connections:
                    connecting.append(asyncio.create_task(self._connect_and_send()))
                else:
                    self.unsent += 1
            sent = due
            await asyncio.sleep(TICK_S)
        await asyncio.gather(*connecting)

    async def _connect_and_send(self) -> None:
        self.send(await self._connect())

    def send(self, client: "Client") -> None:
        self._busy += 1
        trace = str(uuid.uuid4())
        client.send(trace, (self._request % (trace, uuid.uuid4())).encode())

    def answered(
        self, client: "Client", trace: str, status: str, took_s: float, has_retry_after: bool
    ) -> None:
        self._busy -= 1
        self.statuses[status] += 1
        self.latencies.setdefault(status, []).append(took_s)
        if status == "202":
            self.accepted.append(trace)
        elif not has_retry_after:
            self.without_retry_after += 1
        if not self.rate and time.monotonic() < self._end:
            self.send(client)
        else:
            self._free.append(client)

    def dropped(self, client: "Client") -> None:
        self.lost += 1
        if client.trace:
            self._busy -= 1
            self.statuses["dropped"] += 1
        elif client in self._free:
            self._free.remove(client)

    def report(self) -> dict[str, object]:
        return {
            "statuses": self.statuses,
            "without_retry_after": self.without_retry_after,
            "unsent": self.unsent,
            "unanswered": self._busy,
            "lost": self.lost,
            "took_s": self.took_s,
            "accepted_per_s": len(self.accepted) / self.took_s,
            "answer_s": {
                status: {"p50": quantile(took, 0.5), "p99": quantile(took, 0.99), "max": max(took)}
                for status, took in self.latencies.items()
            },
        }


class Client(asyncio.Protocol):
    """One connection with at most one request under way; accepts answers with Content-Length."""

    def __init__(self, flood: Flood) -> None:
        self.flood = flood
        self.trace = ""
        self._received = b""
        self._since = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport isn't a subclass of it
        self._transport = cast("asyncio.Transport", transport)

    def send(self, trace: str, request: bytes) -> None:
        assert self._transport is not None
        self.trace, self._since = trace, time.monotonic()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        lowered = head.lower()
        length = int(lowered.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self._received = b""
        took_s = time.monotonic() - self._since
        trace, self.trace = self.trace, ""
        self.flood.answered(self, trace, head[9:12].decode(), took_s, b"retry-after:" in lowered)

    def connection_lost(self, exc: Exception | None) -> None:
        self.flood.dropped(self)


def quantile(values: list[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


async def main() -> None:
    url, seconds, rate, connections, payload, file = sys.argv[1:]
    raise_file_limit()
    flood = Flood(
        url, float(seconds), float(rate), int(connections), int(payload), json.load(sys.stdin)
    )
    await flood.run()
    await asyncio.to_thread(Path(file).write_text, "\n".join(flood.accepted))
    print(json.dumps(flood.report()))


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
