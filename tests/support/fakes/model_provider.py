"""A model provider on loopback, in three formats, with scripted answers.

`script` has the next replies; the last one repeats. A `Says` is an answer of the model, a `Fails`
an HTTP error; HANGS and HANGS_UP send no answer, TRICKLES sends one that never ends. Without a
script it judges: each question gets GRADE, or a yes for each call, and cites the first step as
evidence.
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
PRICED: Final = {"input": 1_000, "cached": 400, "output": 50}
HANGS: Final = "hangs"
HANGS_UP: Final = "hangs up"
TRICKLES: Final = "trickles"
LISTED: Final = re.compile(r"^Tool calls, one entry each, in this order: (.*)$", re.MULTILINE)
STEP: Final = re.compile(r"^(s\d[\d.]*) [A-Z]+ ", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Says:
    """A text of the model, and why it ended: `stop`, `length` or `filter`."""

    text: str
    ended: str = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fails:
    """An HTTP answer that is not the model's: a status, and a body of any kind."""

    status: int
    body: object = None
    head: Sequence[tuple[str, str]] = ()


type Told = Says | Fails | str


@dataclass(frozen=True, slots=True)
class Got:
    """A request in terms of no provider; `key` is read from where the provider expects it."""

    path: str
    head: Mapping[str, str]
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


def verdict_on(got: Got) -> str:
    """Returns a valid verdict for any question."""
    cited = STEP.findall(got.user)[:1]
    listed = LISTED.search(got.user)
    if listed is None:
        verdict = {"evidence": cited, "reason": "Well done", "cannot_judge": False, "label": GRADE}
    else:
        calls = [{"call": c, "reason": "it fits", "ok": True} for c in listed[1].split(", ")]
        verdict = {"evidence": cited, "verdicts": calls, "cannot_judge": False}
    return json.dumps(verdict)


# --- formats ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Format:
    """How one provider's requests are read and answers written, and its error for long prompts."""

    provider: str
    model: str
    read: Callable[[str, Mapping[str, str], Mapping[str, Any]], Got]
    write: Callable[[str, Says], object]
    too_long: Fails
    root: str = ""

    def endpoint(self, url: str, key: str = "k") -> Endpoint:
        return Endpoint(provider=self.provider, api_key=key, base_url=url + self.root)


def _openai_read(path: str, head: Mapping[str, str], body: Mapping[str, Any]) -> Got:
    form = body.get("response_format", {})
    return Got(
        path,
        head,
        body,
        system="\n".join(m["content"] for m in body["messages"] if m["role"] == "system"),
        turns=[m["content"] for m in body["messages"] if m["role"] != "system"],
        schema=form.get("json_schema", {}).get("schema"),
        max_tokens=body.get("max_completion_tokens", body.get("max_tokens")),
        temperature=body.get("temperature"),
        key=head.get("authorization", "").removeprefix("Bearer "),
    )


def _openai_write(model: str, reply: Says) -> object:
    ended = {"filter": "content_filter"}.get(reply.ended, reply.ended)
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [
            {
                "index": 0,
                "finish_reason": ended,
                "message": {"role": "assistant", "content": reply.text},
            }
        ],
        "usage": {
            "prompt_tokens": PRICED["input"],
            "completion_tokens": PRICED["output"],
            "total_tokens": PRICED["input"] + PRICED["output"],
            "prompt_tokens_details": {"cached_tokens": PRICED["cached"]},
        },
    }


def _anthropic_read(path: str, head: Mapping[str, str], body: Mapping[str, Any]) -> Got:
    system = body.get("system", "")
    return Got(
        path,
        head,
        body,
        system=system if isinstance(system, str) else "\n".join(p["text"] for p in system),
        turns=[_texts(m["content"]) for m in body["messages"]],
        schema=body.get("output_config", {}).get("format", {}).get("schema"),
        max_tokens=body.get("max_tokens"),
        temperature=body.get("temperature"),
        key=head.get("x-api-key") or head.get("authorization", "").removeprefix("Bearer "),
    )


def _texts(content: object) -> str:
    if isinstance(content, str):
        return content
    assert isinstance(content, list)
    return "".join(part.get("text", "") for part in content)


def _anthropic_write(model: str, reply: Says) -> object:
    ended = {"stop": "end_turn", "length": "max_tokens", "filter": "refusal"}
    return {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": reply.text}],
        "stop_reason": ended[reply.ended],
        "stop_sequence": None,
        "usage": {
            "input_tokens": PRICED["input"] - PRICED["cached"],
            "cache_read_input_tokens": PRICED["cached"],
            "cache_creation_input_tokens": 0,
            "output_tokens": PRICED["output"],
        },
    }


def _google_read(path: str, head: Mapping[str, str], body: Mapping[str, Any]) -> Got:
    config = body.get("generationConfig", {})
    return Got(
        path,
        head,
        body,
        system=_texts(body.get("systemInstruction", {}).get("parts", [])),
        turns=[_texts(turn["parts"]) for turn in body["contents"]],
        schema=config.get("responseJsonSchema"),
        max_tokens=config.get("maxOutputTokens"),
        temperature=config.get("temperature"),
        key=head.get("x-goog-api-key", ""),
    )


def _google_write(model: str, reply: Says) -> object:
    ended = {"stop": "STOP", "length": "MAX_TOKENS", "filter": "SAFETY"}
    return {
        "candidates": [
            {
                "index": 0,
                "content": {"role": "model", "parts": [{"text": reply.text}]},
                "finishReason": ended[reply.ended],
            }
        ],
        "usageMetadata": {
            "promptTokenCount": PRICED["input"],
            "cachedContentTokenCount": PRICED["cached"],
            "candidatesTokenCount": PRICED["output"],
            "totalTokenCount": PRICED["input"] + PRICED["output"],
        },
        "modelVersion": model,
        "responseId": "r1",
    }


def _of_openai(code: str, message: str, kind: str = "invalid_request_error") -> object:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


OPENAI: Final = Format(
    "openai",
    "gpt-4.1-mini",
    _openai_read,
    _openai_write,
    Fails(status=400, body=_of_openai("context_length_exceeded", "This is too long")),
    "/v1",
)
COMPATIBLE: Final = Format(
    "openai_compatible",
    "llama3.2",
    _openai_read,
    _openai_write,
    Fails(status=400, body=_of_openai("", "This model's maximum context length is 4096 tokens")),
    "/v1",
)
ANTHROPIC: Final = Format(
    "anthropic",
    "claude-haiku-4-5",
    _anthropic_read,
    _anthropic_write,
    Fails(
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
    Fails(
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
QUOTA: Final = Fails(
    status=429, body=_of_openai("insufficient_quota", "You exceeded it", "insufficient_quota")
)


# --- the server ------------------------------------------------------------------------------


@dataclass(slots=True)
class Provider:
    """Requests received, and how many were concurrent. An answer takes `answer_s`.

    `left` is set whenever the last client has disconnected.
    """

    format: Format
    url: str = ""
    script: Sequence[Told] = ()
    answer_s: float = 0.0
    got: list[Got] = field(default_factory=list)
    most_at_once: int = 0
    connections: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)
    _at_once: int = 0

    @property
    def model(self) -> str:
        return f"{self.format.provider}/{self.format.model}"

    def endpoint(self, key: str = "k") -> Endpoint:
        return self.format.endpoint(self.url, key)

    def says(self, *script: Told) -> None:
        self.script = script
        self.got.clear()

    async def _handle_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        self.left.clear()
        try:
            await self._serve(reader, writer)
        finally:
            self.connections -= 1
            if not self.connections:
                self.left.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                pairs = (line.split(": ", 1) for line in lines[1:] if line)
                head = {name.lower(): value for name, value in pairs}
                body = json.loads(await reader.readexactly(int(head["content-length"])))
                got = self.format.read(lines[0].split()[1], head, body)
                if not await self._answer(got, writer):
                    break
        with suppress(ConnectionError):
            writer.close()

    async def _answer(self, got: Got, writer: asyncio.StreamWriter) -> bool:
        reply = self._next(got)
        self.got.append(got)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if reply == HANGS:
                await asyncio.Event().wait()
            if self.answer_s:
                done = asyncio.Event()
                asyncio.get_running_loop().call_later(self.answer_s, done.set)
                await done.wait()
        finally:
            self._at_once -= 1
        if reply == TRICKLES:
            await self._trickle(writer)
        if isinstance(reply, str):
            return False
        if isinstance(reply, Says):
            reply = Fails(status=200, body=self.format.write(self.format.model, reply))
        text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
        head = [
            f"HTTP/1.1 {reply.status} Scripted",
            "content-type: application/json",
            f"content-length: {len(text.encode())}",
            *(f"{name}: {value}" for name, value in reply.head),
        ]
        writer.write("\r\n".join([*head, "", text]).encode())
        await writer.drain()
        return True

    async def _trickle(self, writer: asyncio.StreamWriter) -> None:
        head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n"
        writer.write(head.encode())
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    def _next(self, got: Got) -> Told:
        if not self.script:
            return Says(text=verdict_on(got))
        return self.script[min(len(self.got), len(self.script) - 1)]


@asynccontextmanager
async def provider(format: Format = OPENAI, *script: Told) -> AsyncIterator[Provider]:  # noqa: A002 - its name
    made = Provider(format, script=script)
    served = set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.add(task)
        await made._handle_connection(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        for task in served:
            task.cancel()
        await asyncio.gather(*served, return_exceptions=True)
