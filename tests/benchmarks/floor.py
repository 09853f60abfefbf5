"""The floor under POST /traces: what is left when everything of ours is taken away.

    python -m tests.benchmarks.floor PORT

A bare ASGI handler on the same server (uvicorn, uvloop, httptools) that reads a body, decodes it
in one pass of msgspec with payloads left raw, and answers. COPY alone is in `ingest.py`.
"""

import sys

import msgspec
import uvicorn


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


async def app(scope, receive, send):
    parts = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    decoder.decode(b"".join(parts))
    await send(HEAD)
    await send({"type": "http.response.body", "body": b"{}"})


if __name__ == "__main__":
    uvicorn.run(
        app, port=int(sys.argv[1]), loop="uvloop", http="httptools", lifespan="off",
        log_level="warning", access_log=False,
    )  # fmt: skip
