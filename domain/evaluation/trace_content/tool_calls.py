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
    is_blank,
)
from domain.tracing.messages.messages import is_failed_tool_message, tool_output
from domain.tracing.messages.printed_value import parse_printed
from domain.tracing.payloads.payload import EMPTY_OBJECT, JsonText
from domain.tracing.span import Span, SpanKind, SpanStatus
from domain.tracing.usage import Usage

DECLARED_MAX: Final = 1_000  # tools of a trace; agents declare up to a few hundred
HTTP_ERROR: Final = 400

_WRAPPERS: Final = frozenset({"arguments", "args", "input", "parameters"})
_PYTHON_CALL: Final = frozenset({"args", "kwargs", "sanitize_inputs_outputs"})
"""Members of the arguments that tracers of Python functions report; the last is smolagents'."""
_LENGTH: Final = frozenset({"length", "max_tokens", "max_output_tokens"})
_STATUS_KEYS: Final = ("status", "status_code", "statusCode")
_FAILURE_WORDS: Final = ('rror"', '"status')  # all of the members that state a failure
_CALL_PREFIX: Final = "function_call:"
_DECLARING: Final = frozenset({SpanKind.LLM, SpanKind.AGENT})
_LIMIT_KEYS: Final = (
    *("max_tokens", "max_completion_tokens", "max_output_tokens"),
    *("maxTokens", "maxOutputTokens"),
)
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
        failed = has_failed(span, returned, output)
        return cls(span, name, arguments, output, failed, asked, (*asked, got))


def tool_name(span: Span) -> str:
    """The name of the called tool: `metadata.tool.name`, else the name of the span.

    PandaProbe's SDK names the spans of OpenAI's Responses `function_call:<name>`.
    """
    if b'"tool"' in span.metadata:
        metadata = decode_json(span.metadata)
        tool = metadata.get("tool") if isinstance(metadata, Mapping) else None
        name = tool.get("name") if isinstance(tool, Mapping) else None
        if isinstance(name, str) and name.strip():
            return name
    return span.name.removeprefix(_CALL_PREFIX) or span.name


def tool_arguments(text: JsonText | None) -> object:
    """The arguments of a call: unwrapped once, and parsed once if they are JSON in a string."""
    value = decode_json(text)
    read = decode_embedded_json(value)
    is_parsed = read is not value
    if isinstance(read, Mapping) and len(read) == 1 and (key := next(iter(read))) in _WRAPPERS:
        read = read[key]
        return read if is_parsed else decode_embedded_json(read)
    return read


def named_arguments(arguments: object) -> object:
    """The arguments of a call as a schema describes them; None if that is unknown.

    Libraries around tools report Python's form of the arguments, or the arguments of the Python
    function. Their names are unknown if these are positional, or if a single one is alone, as
    LangChain's callbacks report it. Text that begins like JSON is what the model said.
    """
    if isinstance(arguments, str):
        if not arguments.lstrip().startswith("{"):
            return None
        arguments = _python_object(arguments)
    if isinstance(arguments, Mapping) and arguments.keys() <= _PYTHON_CALL:
        named = arguments.get("kwargs")
        if isinstance(named, Mapping):
            return None if arguments.get("args") else named
    return arguments


def _python_object(text: str) -> object:
    """The object in a text that Python prints; the text itself if it isn't one."""
    found = parse_printed(text)
    return found if isinstance(found, Mapping) and all(type(key) is str for key in found) else text


def has_failed(span: Span, returned: object, output: object) -> bool:
    """Whether a call failed: by the status of its span, or by what the tool says.

    `output` is what is `returned` without the message of a framework around it.
    """
    if span.status is SpanStatus.ERROR or span.error or is_failed_tool_message(returned):
        return True
    return _states_failure(returned) or (output is not returned and _states_failure(output))


def _states_failure(output: object) -> bool:
    """Whether an output states a failure: as an object, or as a text of JSON."""
    if isinstance(output, str) and not any(word in output for word in _FAILURE_WORDS):
        return False  # texts may be long
    read = decode_embedded_json(output)
    if not isinstance(read, Mapping):
        return False
    if read.get("isError") is True or read.get("is_error") is True:
        return True
    return _is_error(read.get("error")) or any(
        _is_http_error(read.get(key)) for key in _STATUS_KEYS
    )


def _is_error(error: object) -> bool:
    """Whether a member `error` states one: many tools always send it, as false or empty."""
    return bool(error) and not is_blank(error)


def _is_http_error(status: object) -> bool:
    return isinstance(status, int | float) and status >= HTTP_ERROR


@dataclass(frozen=True, slots=True)
class DeclaredTool:
    """A tool that was declared to a model. `schema` is None if its parameters aren't described.

    `is_name_only` if it was declared by a string, so that a later declaration may say more.
    """

    name: str
    description: str = ""
    schema: object = None
    is_name_only: bool = False


def declared_tools(
    spans: Iterable[Span], trace_metadata: JsonText = EMPTY_OBJECT
) -> Mapping[str, DeclaredTool]:
    """The tools declared to model calls, agents, or the trace, by name, in order of appearance.

    They are in `tools` of the metadata, or of the model parameters: Bedrock's are in `toolConfig`.
    The first declaration of a name wins, except that a name in a string gives way to an object. At
    most DECLARED_MAX tools.
    """
    found: dict[str, DeclaredTool] = {}
    seen: set[JsonText] = set()  # an agent declares the same tools in every turn
    declaring = (one for one in spans if one.kind in _DECLARING)
    sources = [(one.metadata, one.model_parameters) for one in declaring]
    for several in (*sources, (trace_metadata, None)):
        for source in several:
            if source is None or source == EMPTY_OBJECT or b"tool" not in source:
                continue
            if source in seen:
                break
            seen.add(source)
            if tools := _tools_in(decode_json(source)):
                _add(found, tools)
                break  # metadata takes precedence over parameters
    return found


def _add(found: dict[str, DeclaredTool], tools: Iterable[DeclaredTool]) -> None:
    for tool in tools:
        known = found.get(tool.name)
        if known.is_name_only if known else len(found) < DECLARED_MAX:
            found[tool.name] = tool


def _tools_in(holder: object) -> Sequence[DeclaredTool]:
    if not isinstance(holder, Mapping):
        return []
    config = holder.get("toolConfig")  # Bedrock
    own = holder.get("tools", config.get("tools") if isinstance(config, Mapping) else None)
    listed = decode_embedded_json(own)
    if not isinstance(listed, list):
        return []
    return [tool for one in listed for tool in _declarations(decode_embedded_json(one))]


def _declarations(one: object) -> Iterable[DeclaredTool]:
    if isinstance(one, str) and one.strip():  # names alone, as of OpenAI's Agents
        yield DeclaredTool(one, is_name_only=True)
    if not isinstance(one, Mapping):
        return
    several = one.get("functionDeclarations", one.get("function_declarations"))
    if isinstance(several, list):
        for inner in several:
            yield from _declared(inner)
    else:
        yield from _declared(one.get("function", one.get("toolSpec", one)))


def _declared(one: object) -> Iterable[DeclaredTool]:
    if isinstance(one, Mapping) and isinstance(name := one.get("name"), str) and name:
        description = one.get("description")
        schema = one.get("input_schema", one.get("inputSchema", one.get("parameters")))
        if isinstance(schema, Mapping) and schema.keys() == {"json"}:  # Bedrock
            schema = schema["json"]
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
    for holder in (output, first_choice(output) or {}, *_last_message(output)):
        for key in _FINISH_KEYS:
            if reasons := _texts(holder.get(key)):
                return reasons
    return []


def _last_message(output: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    """The last message of `messages`, and what LangChain says of it."""
    messages = output.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    if not isinstance(last, Mapping):
        return []
    about = last.get("response_metadata")
    return [last, about] if isinstance(about, Mapping) else [last]


def _texts(value: object) -> Sequence[str]:
    several = value if isinstance(value, list) else [value]
    return [one for one in several if isinstance(one, str) and one]


def is_length_limited(reasons: Iterable[str]) -> bool:
    """Whether one of the finish reasons is a length limit."""
    return any(reason.lower() in _LENGTH for reason in reasons)


def is_cut_off(span: Span) -> bool | None:
    """Whether a length limit cut the answer of a model call; None if that is unknown.

    By the finish reasons. Without any, an answer that used all the tokens that it might use was
    cut: the wrappers of PandaProbe's SDK send no finish reasons, but the limit and the usage.
    """
    if reasons := finish_reasons(span):
        return is_length_limited(reasons)
    parameters = decode_json(span.model_parameters) if span.model_parameters else None
    if not isinstance(parameters, Mapping):
        return None
    limits = [value for key in _LIMIT_KEYS if type(value := parameters.get(key)) is int]
    used = Usage.from_token_usage(span.token_usage)
    if not limits or not used.is_known or not used.completion_tokens:
        return None
    return used.completion_tokens >= min(limits)


def count_repeated_calls(calls: Sequence[ToolCall]) -> int:
    """The number of calls with the request and the output of an earlier call."""
    return len(calls) - len({call.exchange_key for call in calls})


def longest_identical_run(calls: Sequence[ToolCall]) -> int:
    """The length of the longest run of adjacent calls with the same request and output."""
    return max(
        (len(list(run)) for _, run in groupby(call.exchange_key for call in calls)), default=0
    )
