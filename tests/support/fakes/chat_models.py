"""A server on loopback that answers like the APIs of OpenAI and Anthropic, for programs with tools.

A model that gets tools calls the first one, with PLACE for each text argument. After the tool's
result, or without tools, it says ANSWER. Each call reports the same tokens: OPENAI_USAGE or
ANTHROPIC_USAGE. Ids of answers are unique, as those of providers are.
"""

import itertools
import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

PLACE: Final = "Lisbon"
ANSWER: Final = "Rain is expected in Lisbon."
CREATED_AT: Final = 1_772_355_600


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one call. `input` contains what was cached, `output` the reasoning."""

    input: int
    output: int
    cache_read: int
    cache_write: int = 0
    reasoning: int = 0


OPENAI_USAGE: Final = Usage(input=900, output=80, cache_read=300, reasoning=20)
ANTHROPIC_USAGE: Final = Usage(input=500, output=60, cache_read=400, cache_write=90)

type Json = dict[str, Any]
type Event = tuple[str | None, Json | None]  # name and data of a server-sent event

_numbers = itertools.count(1)


def _new_id(prefix: str) -> str:
    return f"{prefix}_{next(_numbers):06d}"


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    schema: Mapping[str, Any]

    @property
    def arguments(self) -> Json:
        """Arguments that fit the schema."""
        kinds = {name: one.get("type") for name, one in self.schema.get("properties", {}).items()}
        return {name: PLACE if kind == "string" else 1 for name, kind in kinds.items()}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as one object, and as the events of a stream."""

    body: Json
    events: Sequence[Event]


# --- OpenAI: chat completions ----------------------------------------------------------------


def _chat_completion(asked: Json) -> Reply:
    tools = [Tool(one["function"]["name"], one["function"].get("parameters") or {})
             for one in asked.get("tools") or []]  # fmt: skip
    has_result = any(message["role"] == "tool" for message in asked["messages"])
    message: Json = {"role": "assistant", "content": ANSWER}
    if tools and not has_result:
        function = {"name": tools[0].name, "arguments": json.dumps(tools[0].arguments)}
        call = {"id": _new_id("call"), "type": "function", "function": function}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
    finish_reason = "tool_calls" if "tool_calls" in message else "stop"
    common = {"id": _new_id("chatcmpl"), "created": CREATED_AT, "model": asked["model"]}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}
    body = {**common, "object": "chat.completion", "choices": [choice], "usage": _chat_usage()}
    return Reply(body, [*_chat_chunks(common, message, finish_reason), (None, None)])


def _chat_chunks(common: Json, message: Json, finish_reason: str) -> Iterator[Event]:
    chunk = {**common, "object": "chat.completion.chunk"}
    calls = [{"index": n, **call} for n, call in enumerate(message.get("tool_calls", []))]
    delta = {**message, "tool_calls": calls} if calls else message
    for content, reason in ((delta, None), ({}, finish_reason)):
        choice = {"index": 0, "delta": content, "finish_reason": reason}
        yield None, {**chunk, "choices": [choice]}
    yield None, {**chunk, "choices": [], "usage": _chat_usage()}


def _chat_usage() -> Json:
    usage = OPENAI_USAGE
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


# --- OpenAI: responses and embeddings --------------------------------------------------------


def _response(asked: Json) -> Reply:
    tools = [Tool(one["name"], one.get("parameters") or {})
             for one in asked.get("tools") or [] if one["type"] == "function"]  # fmt: skip
    items = asked["input"] if isinstance(asked["input"], list) else []
    has_result = any(item.get("type") == "function_call_output" for item in items)
    if tools and not has_result:
        item = {
            "type": "function_call",
            "id": _new_id("fc"),
            "call_id": _new_id("call"),
            "name": tools[0].name,
            "arguments": json.dumps(tools[0].arguments),
            "status": "completed",
        }
    else:
        text = {"type": "output_text", "text": ANSWER, "annotations": []}
        item = {"type": "message", "id": _new_id("msg"), "role": "assistant", "content": [text]}
        item["status"] = "completed"
    body = {
        "id": _new_id("resp"),
        "object": "response",
        "created_at": CREATED_AT,
        "status": "completed",
        "model": asked["model"],
        "output": [item],
        "usage": _response_usage(),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": asked.get("tools") or [],
        "instructions": asked.get("instructions"),
    }
    begun = {**body, "status": "in_progress", "output": [], "usage": None}
    steps: list[tuple[str, Json]] = [
        ("response.created", {"response": begun}),
        ("response.output_item.added", {"output_index": 0, "item": item}),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        ("response.completed", {"response": body}),
    ]
    return Reply(
        body,
        [
            (name, {"type": name, "sequence_number": n, **more})
            for n, (name, more) in enumerate(steps)
        ],
    )


def _response_usage() -> Json:
    usage = OPENAI_USAGE
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cache_read},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }


def _embeddings(asked: Json) -> Reply:
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
    usage = {"prompt_tokens": 3, "total_tokens": 3}
    body = {"object": "list", "model": asked["model"], "data": data, "usage": usage}
    return Reply(body, [])


# --- Anthropic -------------------------------------------------------------------------------


def _anthropic_message(asked: Json) -> Reply:
    tools = [Tool(one["name"], one["input_schema"]) for one in asked.get("tools") or []]
    has_result = any(
        block.get("type") == "tool_result"
        for message in asked["messages"]
        if isinstance(message["content"], list)
        for block in message["content"]
    )
    block: Json = {"type": "text", "text": ANSWER}
    stop_reason = "end_turn"
    if tools and not has_result:
        block = {"type": "tool_use", "id": _new_id("toolu"), "name": tools[0].name}
        block["input"], stop_reason = tools[0].arguments, "tool_use"
    usage = {
        "input_tokens": ANTHROPIC_USAGE.input
        - ANTHROPIC_USAGE.cache_read
        - ANTHROPIC_USAGE.cache_write,
        "cache_read_input_tokens": ANTHROPIC_USAGE.cache_read,
        "cache_creation_input_tokens": ANTHROPIC_USAGE.cache_write,
        "output_tokens": ANTHROPIC_USAGE.output,
    }
    body = {
        "id": _new_id("msg"),
        "type": "message",
        "role": "assistant",
        "model": asked["model"],
        "content": [block],
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }
    return Reply(body, [])


# --- the server ------------------------------------------------------------------------------

ANSWERS: Final = {
    "/v1/chat/completions": _chat_completion,
    "/v1/responses": _response,
    "/v1/embeddings": _embeddings,
    "/v1/messages": _anthropic_message,
}


def _as_stream(events: Iterable[Event]) -> bytes:
    lines = []
    for name, data in events:
        lines += [f"event: {name}"] if name else []
        lines += [f"data: {'[DONE]' if data is None else json.dumps(data)}", ""]
    return "\n".join([*lines, ""]).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Logs nothing."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = ANSWERS.get(self.path.partition("?")[0])
        if answer is None:
            self._send(404, "application/json", b"{}")
            return
        reply = answer(asked)
        if asked.get("stream"):
            self._send(200, "text/event-stream", _as_stream(reply.events))
        else:
            self._send(200, "application/json", json.dumps(reply.body).encode())

    def _send(self, status: int, media_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def chat_models() -> Iterator[str]:
    """Serves during the block; gives the URL without path."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
