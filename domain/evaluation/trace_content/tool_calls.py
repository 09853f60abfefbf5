"""Tool calls of a trace, the tools declared to models, and finish reasons of model calls."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from typing import Final

from domain.evaluation.trace_content.messages import (
    canonical_json,
    decode_embedded_json,
    decode_json,
    first_choice,
)
from domain.tracing.messages import tool_output
from domain.tracing.payload import EMPTY_OBJECT, JsonText
from domain.tracing.span import Span, SpanKind, SpanStatus

DECLARED_MAX: Final = 1_000  # tools of a trace; agents declare up to a few hundred
HTTP_ERROR: Final = 400

_WRAPPERS: Final = frozenset({"arguments", "args", "input", "parameters"})
_LENGTH: Final = frozenset({"length", "max_tokens", "max_output_tokens"})
_FINISH_KEYS: Final = ("finish_reason", "stop_reason", "finishReason")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call. `arguments` is None if none were recorded.

    `output` is what the tool returned, without the message of a framework around it: its random ids
    would make each output different.

    Calls with the same `request_key` have the same tool and arguments. Calls with the same
    `exchange_key` also have the same output.
    """

    span: Span
    name: str
    arguments: object
    output: object
    has_failed: bool
    request_key: tuple[str, str]
    exchange_key: tuple[str, str, str]

    @classmethod
    def from_span(cls, span: Span) -> "ToolCall":
        name, arguments = tool_name(span), tool_arguments(span.input)
        returned = decode_json(span.output)
        output = tool_output(returned)
        asked = (name, canonical_json(arguments))
        got = sha256(canonical_json(output).encode()).hexdigest()
        return cls(span, name, arguments, output, has_failed(span, returned), asked, (*asked, got))


def tool_name(span: Span) -> str:
    """The name of the called tool: `metadata.tool.name`, else the name of the span."""
    if b'"tool"' in span.metadata:
        metadata = decode_json(span.metadata)
        tool = metadata.get("tool") if isinstance(metadata, Mapping) else None
        name = tool.get("name") if isinstance(tool, Mapping) else None
        if isinstance(name, str) and name.strip():
            return name
    return span.name


def tool_arguments(text: JsonText | None) -> object:
    """The arguments of a call: unwrapped once, and parsed once if they are JSON in a string."""
    value = decode_json(text)
    read = decode_embedded_json(value)
    is_parsed = read is not value
    if isinstance(read, Mapping) and len(read) == 1 and (key := next(iter(read))) in _WRAPPERS:
        read = read[key]
        return read if is_parsed else decode_embedded_json(read)
    return read


def has_failed(span: Span, output: object) -> bool:
    """Whether a call failed, by the status of its span or by the tool's output."""
    if span.status is SpanStatus.ERROR or span.error:
        return True
    if not isinstance(output, Mapping):
        return False
    if output.get("isError") is True or output.get("is_error") is True:
        return True
    return output.get("error") is not None or any(
        _is_http_error(output.get(key)) for key in ("status", "status_code", "statusCode")
    )


def _is_http_error(status: object) -> bool:
    return isinstance(status, int | float) and status >= HTTP_ERROR


@dataclass(frozen=True, slots=True)
class DeclaredTool:
    """A tool that was declared to a model. `schema` is None if its parameters aren't described."""

    name: str
    description: str = ""
    schema: object = None


def declared_tools(spans: Iterable[Span]) -> Mapping[str, DeclaredTool]:
    """The tools declared to model calls, by name, in order of appearance.

    The first declaration of a name wins. At most DECLARED_MAX tools.
    """
    found: dict[str, DeclaredTool] = {}
    seen: set[JsonText] = set()  # an agent declares the same tools in every turn
    for span in spans:
        if span.kind is not SpanKind.LLM:
            continue
        for source in (span.metadata, span.model_parameters):
            if source is None or source == EMPTY_OBJECT or b"tools" not in source:
                continue
            if source in seen:
                break
            seen.add(source)
            if tools := _tools_in(decode_json(source)):
                for tool in tools:
                    if len(found) < DECLARED_MAX:
                        found.setdefault(tool.name, tool)
                break  # metadata takes precedence over parameters
    return found


def _tools_in(holder: object) -> Sequence[DeclaredTool]:
    listed = decode_embedded_json(holder.get("tools")) if isinstance(holder, Mapping) else None
    if not isinstance(listed, list):
        return []
    return [tool for one in listed for tool in _declarations(decode_embedded_json(one))]


def _declarations(one: object) -> Iterable[DeclaredTool]:
    if not isinstance(one, Mapping):
        return
    several = one.get("functionDeclarations", one.get("function_declarations"))
    if isinstance(several, list):
        for inner in several:
            yield from _declared(inner)
    else:
        yield from _declared(one.get("function", one))


def _declared(one: object) -> Iterable[DeclaredTool]:
    if isinstance(one, Mapping) and isinstance(name := one.get("name"), str) and name:
        description = one.get("description")
        schema = one.get("input_schema", one.get("inputSchema", one.get("parameters")))
        yield DeclaredTool(
            name, description if isinstance(description, str) else "", decode_embedded_json(schema)
        )


def finish_reasons(span: Span) -> Sequence[str]:
    """The finish reasons that the provider reported for a model call; empty if unknown."""
    if b"finish_reasons" in span.metadata:
        metadata = decode_json(span.metadata)
        reported = metadata.get("finish_reasons") if isinstance(metadata, Mapping) else None
        if reasons := _texts(decode_embedded_json(reported)):
            return reasons
    output = decode_embedded_json(decode_json(span.output))
    if not isinstance(output, Mapping):
        return []
    for holder in (output, first_choice(output) or {}):
        for key in _FINISH_KEYS:
            if reasons := _texts(holder.get(key)):
                return reasons
    return []


def _texts(value: object) -> Sequence[str]:
    several = value if isinstance(value, list) else [value]
    return [one for one in several if isinstance(one, str) and one]


def is_length_limited(reasons: Iterable[str]) -> bool:
    """Whether one of the finish reasons is a length limit."""
    return any(reason.lower() in _LENGTH for reason in reasons)


def count_repeated_calls(calls: Sequence[ToolCall]) -> int:
    """The number of calls with the request and the output of an earlier call."""
    return len(calls) - len({call.exchange_key for call in calls})


def longest_identical_run(calls: Sequence[ToolCall]) -> int:
    """The length of the longest run of adjacent calls with the same request and output."""
    return max(
        (len(list(run)) for _, run in groupby(call.exchange_key for call in calls)), default=0
    )
