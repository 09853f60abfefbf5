"""The lower bound of POST /traces: the work that remains without the service's own code.

    python -m tests.benchmarks.support.floor PORT [DATABASE_URL SPANS COUNT]

A bare ASGI handler on the same server (uvicorn, uvloop, httptools) that reads a body, decodes it in
one pass of msgspec with payloads left raw, and answers. With a database it also waits until
prepared rows are committed: batches of COPY on two connections. It has no routing, authentication
or validation, and builds no domain values. `writes/ingest.py` measures COPY alone.
"""

import gc
import sys
from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec
import uvicorn
import uvloop

from adapters.postgres.database.pool import PoolSettings, open_pool
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.tracing.writes.group_commit import GroupCommit
from tests.benchmarks.writes import write_paths


class Span(msgspec.Struct):
    span_id: str
    name: str
    started_at: str
    kind: str | None = None
    status: str | None = None
    parent_span_id: str | None = None
    ended_at: str | None = None
    completion_start_time: str | None = None
    model: str | None = None
    input: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    output: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    metadata: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    token_usage: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    model_parameters: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


class Trace(msgspec.Struct):
    trace_id: str
    name: str
    started_at: str
    spans: list[Span]
    status: str | None = None
    ended_at: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    environment: str | None = None
    release: str | None = None
    tags: list[str] = []
    input: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    output: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    metadata: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


decoder = msgspec.json.Decoder(Trace)
HEAD = {
    "type": "http.response.start",
    "status": 202,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"2")],
}


class BareHandler:
    def __init__(self, rows: list[write_paths.Rows]) -> None:
        self.rows = rows
        self.group_commit: GroupCommit[write_paths.Rows] | None = None

    async def __call__(self, _: Any, receive: Any, send: Any) -> None:
        parts = []
        more = True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        if body := b"".join(parts):
            decoder.decode(body)
            if self.group_commit is not None:
                await self.group_commit.put(self.rows.pop(), len(body))
        await send(HEAD)
        await send({"type": "http.response.body", "body": b"{}"})


async def serve(app: BareHandler, port: int, database_url: str | None) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            app, port=port, lifespan="off", log_level="warning", access_log=False, http="httptools"
        )
    )
    if database_url is None:
        await server.serve()
        return
    async with open_pool(DB, PoolSettings(url=database_url)) as pool:

        async def write(some: Sequence[write_paths.Rows]) -> None:
            traces, payloads, spans = (list(chain(*table)) for table in zip(*some, strict=True))
            async with pool.acquire() as connection, connection.transaction():
                await write_paths.copy(connection, (traces, payloads, spans))

        app.group_commit = GroupCommit(write, lambda _: True)
        app.group_commit.start()
        await server.serve()
        await app.group_commit.close()


def main() -> None:
    port, *rest = sys.argv[1:]
    rows: list[write_paths.Rows] = []
    if rest:
        spans, count = int(rest[1]), int(rest[2])
        made = chain(*write_paths.batches(spans, 0.0, 1 + count // write_paths.BATCH))
        rows = [write_paths.rows([item]) for item in made]
    gc.collect()
    gc.freeze()
    uvloop.run(serve(BareHandler(rows), int(port), rest[0] if rest else None))


if __name__ == "__main__":
    main()
