"""A load generator: prepared requests, a few connections, and the latency of each answer.

    python -m tests.benchmarks.support.load URL SPANS COUNT CONNECTIONS [RATE] < headers.json

Without RATE a closed loop: each connection sends its next request after the last answer. With RATE
(requests per second) an open loop: send times are fixed in advance and latency counts from the
intended time, so that a stalled server cannot hide its delay. Prints one JSON object.
"""

import asyncio
import gc
import json
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from urllib.parse import urlsplit

from tests.benchmarks.support.bodies import body

WARM_UP_SHARE = 0.1  # of the requests: sent first, not counted


def requests(url: str, headers: dict[str, str], spans: int, count: int, seed: int) -> list[bytes]:
    parts, random_ = urlsplit(url), random.Random(seed)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head += "Content-Type: application/json\r\nContent-Length: "
    made = []
    for _ in range(count):
        content = body(random_, spans)
        made.append(f"{head}{len(content)}\r\n\r\n".encode() + content)
    return made


async def answer(reader: asyncio.StreamReader) -> int:
    """Reads the next answer, and returns its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    lowered = head.lower()
    at = lowered.find(b"content-length:")
    if at >= 0:
        await reader.readexactly(int(head[at + 15 : head.index(b"\r\n", at)]))
    elif b"transfer-encoding: chunked" in lowered:
        while await reader.readexactly(int(await reader.readuntil(b"\r\n"), 16) + 2) != b"\r\n":
            pass
    return int(head[9:12])


async def run(
    url: str, waiting: deque[bytes], connections: int, rate: float | None
) -> tuple[list[float], Counter[int], float]:
    """Returns the latencies in seconds, the number of answers by status, and the time of all."""
    parts = urlsplit(url)
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    begin = time.perf_counter()
    sent = 0

    async def one() -> None:
        nonlocal sent
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while waiting:
            request, intended = waiting.popleft(), time.perf_counter()
            if rate is not None:
                intended = begin + sent / rate
                sent += 1
                await asyncio.sleep(max(0.0, intended - time.perf_counter()))
            writer.write(request)
            statuses[await answer(reader)] += 1
            latencies.append(time.perf_counter() - intended)
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return latencies, statuses, time.perf_counter() - begin


def quantile(values: Sequence[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


async def main() -> None:
    url, spans, count, connections, *rest = sys.argv[1:]
    rate = float(rest[0]) if rest else None
    made = requests(url, json.load(sys.stdin), int(spans), int(count), time.time_ns())
    size = sum(map(len, made)) // len(made)
    gc.collect()
    gc.disable()  # so that no pause of this program looks like one of the server
    warm = int(len(made) * WARM_UP_SHARE)
    await run(url, deque(made[:warm]), int(connections), None)
    latencies, statuses, took = await run(url, deque(made[warm:]), int(connections), rate)
    print(
        json.dumps(
            {
                "per_s": len(latencies) / took,
                "p50_ms": quantile(latencies, 0.5) * 1e3,
                "p99_ms": quantile(latencies, 0.99) * 1e3,
                "statuses": statuses,
                "bytes": size,
            }
        )
    )


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
