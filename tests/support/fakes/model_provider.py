"""A model provider on loopback, in three formats, with scripted answers.

`script` has the next replies; the last one repeats. A `ModelReply` is a text of the model, an
`HttpReply` any other HTTP response. NO_REPLY and CLOSE_CONNECTION send no response, SLOW_BODY sends
one that never ends. Without a script the server judges: each question gets GRADE, or a yes for each
call, and cites the first step as evidence.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from adapters.judges.wire import Endpoint

GRADE: Final = 4
TOKEN_COUNTS: Final = {"input": 1_000, "cached": 400, "output": 50}
NO_REPLY: Final = "no reply"
CLOSE_CONNECTION: Final = "close connection"
SLOW_BODY: Final = "slow body"
LISTED: Final = re.compile(r"^Tool calls, one entry each, in this order: (.*)$", re.MULTILINE)
STEP: Final = re.compile(r"^(s\d[\d.]*) [A-Z]+ ", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReply:
    """A text of the model. `finish_reason` is `stop`, `length` or `filter`."""

    text: str
    finish_reason: str = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """An HTTP response that holds no text of the model: a status, and a body of any kind."""

    status: int
    body: object = None
    headers: Sequence[tuple[str, str]] = ()


type Reply = ModelReply | HttpReply | str


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """A request, independent of the provider's format."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    system: str
    turns: Sequence[str]
    schema: Mapping[str, Any] | None
    max_tokens: int | None
    temperature: float | None
    key: str

    @property
    def user(self) -> str:
        return self.turns[0]


def verdict_on(request: ProviderRequest) -> str:
    """Returns a valid verdict for any question."""
    cited = STEP.findall(request.user)[:1]
    listed = LISTED.search(request.user)
    if listed is None:
        verdict = {"evidence": cited, "reason": "Well done", "cannot_judge": False, "label": GRADE}
    else:
        calls = [{"call": c, "reason": "it fits", "ok": True} for c in listed[1].split(", ")]
        verdict = {"evidence": cited, "verdicts": calls, "cannot_judge": False}
    return json.dumps(verdict)


# --- formats ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Format:
    """Reads requests and writes responses of one provider. `too_long` is its error for that."""

    provider: str
    model: str
    read: Callable[[str, Mapping[str, str], Mapping[str, Any]], ProviderRequest]
    write: Callable[[str, ModelReply], object]
    too_long: HttpReply
    root: str = ""

    def endpoint(self, url: str, key: str = "k") -> Endpoint:
        return Endpoint(provider=self.provider, api_key=key, base_url=url + self.root)


def _openai_read(path: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> ProviderRequest:
    form = body.get("response_format", {})
    return ProviderRequest(
        path,
        headers,
        body,
        system="\n".join(m["content"] for m in body["messages"] if m["role"] == "system"),
        turns=[m["content"] for m in body["messages"] if m["role"] != "system"],
        schema=form.get("json_schema", {}).get("schema"),
        max_tokens=body.get("max_completion_tokens", body.get("max_tokens")),
        temperature=body.get("temperature"),
        key=headers.get("authorization", "").removeprefix("Bearer "),
    )


def _openai_write(model: str, reply: ModelReply) -> object:
    finish_reason = {"filter": "content_filter"}.get(reply.finish_reason, reply.finish_reason)
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": reply.text},
            }
        ],
        "usage": {
            "prompt_tokens": TOKEN_COUNTS["input"],
            "completion_tokens": TOKEN_COUNTS["output"],
            "total_tokens": TOKEN_COUNTS["input"] + TOKEN_COUNTS["output"],
            "prompt_tokens_details": {"cached_tokens": TOKEN_COUNTS["cached"]},
        },
    }


def _anthropic_read(
    path: str, headers: Mapping[str, str], body: Mapping[str, Any]
) -> ProviderRequest:
    system = body.get("system", "")
    return ProviderRequest(
        path,
        headers,
        body,
        system=system if isinstance(system, str) else "\n".join(p["text"] for p in system),
        turns=[_texts(m["content"]) for m in body["messages"]],
        schema=body.get("output_config", {}).get("format", {}).get("schema"),
        max_tokens=body.get("max_tokens"),
        temperature=body.get("temperature"),
        key=headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer "),
    )


def _texts(content: object) -> str:
    if isinstance(content, str):
        return content
    assert isinstance(content, list)
    return "".join(part.get("text", "") for part in content)


def _anthropic_write(model: str, reply: ModelReply) -> object:
    finish_reason = {"stop": "end_turn", "length": "max_tokens", "filter": "refusal"}
    return {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": reply.text}],
        "stop_reason": finish_reason[reply.finish_reason],
        "stop_sequence": None,
        "usage": {
            "input_tokens": TOKEN_COUNTS["input"] - TOKEN_COUNTS["cached"],
            "cache_read_input_tokens": TOKEN_COUNTS["cached"],
            "cache_creation_input_tokens": 0,
            "output_tokens": TOKEN_COUNTS["output"],
        },
    }


def _google_read(path: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> ProviderRequest:
    config = body.get("generationConfig", {})
    return ProviderRequest(
        path,
        headers,
        body,
        system=_texts(body.get("systemInstruction", {}).get("parts", [])),
        turns=[_texts(turn["parts"]) for turn in body["contents"]],
        schema=config.get("responseJsonSchema"),
        max_tokens=config.get("maxOutputTokens"),
        temperature=config.get("temperature"),
        key=headers.get("x-goog-api-key", ""),
    )


def _google_write(model: str, reply: ModelReply) -> object:
    finish_reason = {"stop": "STOP", "length": "MAX_TOKENS", "filter": "SAFETY"}
    return {
        "candidates": [
            {
                "index": 0,
                "content": {"role": "model", "parts": [{"text": reply.text}]},
                "finishReason": finish_reason[reply.finish_reason],
            }
        ],
        "usageMetadata": {
            "promptTokenCount": TOKEN_COUNTS["input"],
            "cachedContentTokenCount": TOKEN_COUNTS["cached"],
            "candidatesTokenCount": TOKEN_COUNTS["output"],
            "totalTokenCount": TOKEN_COUNTS["input"] + TOKEN_COUNTS["output"],
        },
        "modelVersion": model,
        "responseId": "r1",
    }


def _openai_error(code: str, message: str, kind: str = "invalid_request_error") -> object:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


OPENAI: Final = Format(
    "openai",
    "gpt-4.1-mini",
    _openai_read,
    _openai_write,
    HttpReply(status=400, body=_openai_error("context_length_exceeded", "This is too long")),
    "/v1",
)
COMPATIBLE: Final = Format(
    "openai_compatible",
    "llama3.2",
    _openai_read,
    _openai_write,
    HttpReply(
        status=400, body=_openai_error("", "This model's maximum context length is 4096 tokens")
    ),
    "/v1",
)
ANTHROPIC: Final = Format(
    "anthropic",
    "claude-haiku-4-5",
    _anthropic_read,
    _anthropic_write,
    HttpReply(
        status=400,
        body={
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "prompt is too long: 250000 tokens > 200000 maximum",
            },
        },
    ),
)
GEMINI: Final = Format(
    "gemini",
    "gemini-2.0-flash",
    _google_read,
    _google_write,
    HttpReply(
        status=400,
        body={
            "error": {
                "code": 400,
                "status": "INVALID_ARGUMENT",
                "message": "The input token count (9) exceeds the maximum number of tokens allowed",
            }
        },
    ),
)
FORMATS: Final = (OPENAI, COMPATIBLE, ANTHROPIC, GEMINI)
QUOTA: Final = HttpReply(
    status=429, body=_openai_error("insufficient_quota", "You exceeded it", "insufficient_quota")
)


# --- the server ------------------------------------------------------------------------------


@dataclass(slots=True)
class Provider:
    """Records requests, and how many were concurrent. A response takes `answer_s`.

    `all_disconnected` is set whenever the last client has disconnected.
    """

    format: Format
    url: str = ""
    script: Sequence[Reply] = ()
    answer_s: float = 0.0
    requests: list[ProviderRequest] = field(default_factory=list)
    most_at_once: int = 0
    connections: int = 0
    all_disconnected: asyncio.Event = field(default_factory=asyncio.Event)
    _at_once: int = 0

    @property
    def model(self) -> str:
        return f"{self.format.provider}/{self.format.model}"

    def endpoint(self, key: str = "k") -> Endpoint:
        return self.format.endpoint(self.url, key)

    def reply_with(self, *script: Reply) -> None:
        self.script = script
        self.requests.clear()

    def reset(self, api_format: Format) -> None:
        """Forgets what an earlier test did, so that tests can share the server."""
        self.format, self.answer_s = api_format, 0.0
        self.reply_with()

    async def _handle_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        self.all_disconnected.clear()
        try:
            await self._serve(reader, writer)
        finally:
            self.connections -= 1
            if not self.connections:
                self.all_disconnected.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Python 3.12.1 leaves the connection of a cancelled task open.
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                pairs = (line.split(": ", 1) for line in lines[1:] if line)
                headers = {name.lower(): value for name, value in pairs}
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                request = self.format.read(lines[0].split()[1], headers, body)
                if not await self._answer(request, writer):
                    break
        with suppress(ConnectionError):
            writer.close()

    async def _answer(self, request: ProviderRequest, writer: asyncio.StreamWriter) -> bool:
        reply = self._next(request)
        self.requests.append(request)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if reply == NO_REPLY:
                await asyncio.Event().wait()
            if self.answer_s:
                done = asyncio.Event()
                asyncio.get_running_loop().call_later(self.answer_s, done.set)
                await done.wait()
        finally:
            self._at_once -= 1
        if reply == SLOW_BODY:
            await self._send_slow_body(writer)
        if isinstance(reply, str):
            return False
        if isinstance(reply, ModelReply):
            reply = HttpReply(status=200, body=self.format.write(self.format.model, reply))
        text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
        headers = [
            f"HTTP/1.1 {reply.status} Scripted",
            "content-type: application/json",
            f"content-length: {len(text.encode())}",
            *(f"{name}: {value}" for name, value in reply.headers),
        ]
        writer.write("\r\n".join([*headers, "", text]).encode())
        await writer.drain()
        return True

    async def _send_slow_body(self, writer: asyncio.StreamWriter) -> None:
        headers = (
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n"
        )
        writer.write(headers.encode())
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    def _next(self, request: ProviderRequest) -> Reply:
        if not self.script:
            return ModelReply(text=verdict_on(request))
        return self.script[min(len(self.requests), len(self.script) - 1)]


@asynccontextmanager
async def provider(format: Format = OPENAI, *script: Reply) -> AsyncIterator[Provider]:  # noqa: A002 - its name
    fake = Provider(format, script=script)
    served = set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.add(task)
        await fake._handle_connection(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20)
    fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield fake
    finally:
        server.close()
        for task in served:
            task.cancel()
        await asyncio.gather(*served, return_exceptions=True)
