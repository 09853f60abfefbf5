"""The content of a chat message: text, reasoning, media, tool calls and results, of all formats.

`messages.py` finds the messages; this module makes one of them canonical, in the shape that is
described there. A new kind of block is one more row in a table here.
"""

import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from domain.tracing.messages.json_value import encoded, parsed_once

USER: Final = "user"
ASSISTANT: Final = "assistant"
SYSTEM: Final = "system"
TOOL: Final = "tool"

LEVELS_MAX: Final = 12  # of lists and objects around a message or a block; LangChain makes 5

type Message = dict[str, object]
"""One canonical message."""


# --- kinds of blocks -------------------------------------------------------------------------


class _Kind(Enum):
    TEXT = auto()
    REASONING = auto()
    MEDIA = auto()
    CALL = auto()
    RESULT = auto()
    OTHER = auto()


_KIND_BY_TYPE: Final[Mapping[str, _Kind]] = {
    name: kind
    for kind, names in {
        _Kind.TEXT: "text input_text output_text summary_text refusal",
        _Kind.REASONING: "reasoning thinking redacted_thinking reasoning_text",
        _Kind.CALL: (
            "tool_call tool-call tool_use function_call custom_tool_call server_tool_use "
            "server_tool_call mcp_tool_use mcp_call"
        ),
        _Kind.RESULT: (
            "tool_call_response tool-result tool_result function_call_output "
            "custom_tool_call_output server_tool_call_response mcp_tool_result "
            "web_search_tool_result web_fetch_tool_result code_execution_tool_result"
        ),
        _Kind.MEDIA: (
            "media uri blob file image image_url image-url input_image input_audio audio audio_url "
            "audio-url video video_url video-url document document-url input_file binary "
            "image_generation_call"
        ),
        _Kind.OTHER: "other",
    }.items()
    for name in names.split()
}
_KIND_BY_KEY: Final[Mapping[str, _Kind]] = {
    key: kind
    for kind, keys in {
        _Kind.TEXT: "text",
        _Kind.REASONING: "reasoningContent",
        _Kind.CALL: "toolUse functionCall function_call tool_call",
        _Kind.RESULT: "toolResult functionResponse function_response",
        _Kind.MEDIA: "inlineData inline_data fileData file_data image document video audio",
    }.items()
    for key in keys.split()
}
"""Kinds of blocks without a type, by the member that has the content."""

_CONTENT_KEYS: Final = ("contents", "parts", "content")  # the first with something in it
_TEXT_KEYS: Final = ("text", "content", "refusal", "value")
_REASONING_KEYS: Final = frozenset({"reasoning_content", "thinking", "reasoning"})
_REASONING_VALUES: Final = (
    *("thinking", "reasoning", "text", "content", "summary", "reasoningContent", "reasoningText"),
)

_CALLING_KEYS: Final = frozenset(
    {
        *("tool_calls", "invalid_tool_calls", "function_call"),
        *("function_call_name", "additional_kwargs"),
    }
)
_CALL_INSIDE: Final = ("function", "tool_call", "toolUse", "functionCall", "function_call")
_CALL_IDS: Final = ("call_id", "id", "toolCallId", "toolUseId", "tool_call_id", "tool_use_id")
_CALL_NAMES: Final = ("name", "toolName", "tool_name")
_CALL_ARGUMENTS: Final = ("arguments", "args", "input", "parameters")

_RESULT_INSIDE: Final = ("toolResult", "functionResponse", "function_response")
_MESSAGE_RESULT_IDS: Final = (
    *("tool_call_id", "tool_use_id", "toolCallId", "toolUseId", "call_id"),
)
_RESULT_IDS: Final = (*_MESSAGE_RESULT_IDS, "id")  # the `id` of a message is its own
_RESULT_VALUES: Final = ("response", "result", "output", "content")
_RESULT_TYPES: Final = ("text", "json", "error-text", "error-json", "content")
"""Types of Vercel's `{"type": …, "value": …}`."""

_MIME_KEYS: Final = ("mime_type", "mimeType", "media_type", "mediaType")
_URI_KEYS: Final = ("uri", "url", "file_uri", "fileUri", "image_url", "file_id", "fileId")
_DATA_KEYS: Final = ("data", "base64", "bytes", "file_data", "image", "audio")
_DATA_KEY_BY_TYPE: Final[Mapping[str, str]] = {
    "blob": "content",
    "binary": "content",
    "image_generation_call": "result",
}
_MEDIA_INSIDE: Final = (
    *("content", "source", "image_url", "image", "input_audio", "audio", "video", "document"),
    *("file", "inlineData", "inline_data", "fileData", "file_data"),
)
_BASE64: Final = frozenset(f"{string.ascii_letters}{string.digits}+/-_=\r\n")
_BASE64_LOOKED_AT: Final = 100  # characters, as data may be megabytes
_MEDIA_LEVELS_MAX: Final = 3  # Bedrock: image.source.bytes
_FORMATTED: Final = ("image", "audio", "video")  # media whose `format` makes a MIME type


# --- one message -----------------------------------------------------------------------------


@dataclass(slots=True)
class MessageBuilder:
    """Adds the parts of one message to `found`: a tool result ends the message before it.

    `name` and `call_id` are those of the message; a result may state its own.
    """

    found: list[Message]
    role: str
    name: str | None = None
    call_id: str | None = None
    blocks: list[Message] = field(default_factory=list)
    calls: list[Message] = field(default_factory=list)
    calls_by_id: dict[str, Message] = field(default_factory=dict)

    @classmethod
    def from_source(
        cls, found: list[Message], source: Mapping[str, object], role: str
    ) -> "MessageBuilder":
        call_id = _text(source, _MESSAGE_RESULT_IDS) if role == TOOL else None
        return cls(found, role, _text(source, ("name",)), call_id)

    def message(self, content: object) -> Message:
        message: Message = {"role": self.role, "content": content}
        if self.calls:
            message["tool_calls"] = self.calls
        if self.role == TOOL and self.call_id is not None:
            message["tool_call_id"] = self.call_id
        if self.name is not None:
            message["name"] = self.name
        return message

    def flush(self) -> None:
        """Adds what was gathered as a message, if it is anything."""
        if self.blocks or self.calls:
            self.found.append(self.message(self._content()))
            self.blocks, self.calls = [], []

    def _content(self) -> object:
        if self.role == TOOL:
            return _result_text(self.blocks, LEVELS_MAX) if self.blocks else None
        if len(self.blocks) == 1 and self.blocks[0]["type"] == "text":
            return self.blocks[0]["text"]
        return self.blocks or None

    def add_content(self, source: Mapping[str, object], *, reads_json: bool) -> None:
        """Adds the content of a message. With `reads_json`, blocks may be JSON in a string."""
        start = len(self.found)
        for key in _CONTENT_KEYS:
            value = source.get(key)
            if value is None:
                continue
            if reads_json and isinstance(value, str):
                value = blocks_or_text(parsed_once(value), value)
            if self.role == TOOL and not _has_parts(value):
                self.add_text(_result_text(value, LEVELS_MAX))
            else:
                self._add_blocks(value, LEVELS_MAX)
            if self.blocks or len(self.found) > start:
                break
        else:
            audio = source.get("audio")  # OpenAI: the transcript is all there is to read
            said = audio.get("transcript") if isinstance(audio, dict) else None
            self.add_text(source.get("refusal") or said)
        self._add_reasoning(source)

    def _add_reasoning(self, source: Mapping[str, object]) -> None:
        """Adds reasoning that stands next to the content, unless the content has some."""
        more = source.get("additional_kwargs")  # LangChain
        holders = (source, more) if isinstance(more, dict) and more else (source,)
        if self.role != ASSISTANT or all(_REASONING_KEYS.isdisjoint(one) for one in holders):
            return
        texts = (_text(one, sorted(_REASONING_KEYS)) for one in holders)
        if (thought := next(filter(None, texts), None)) and not any(
            one["type"] == "reasoning" for one in self.blocks
        ):
            self.blocks.insert(0, {"type": "reasoning", "text": thought})

    def add_calls(self, source: Mapping[str, object]) -> None:
        """Adds the tool calls that stand next to the content of a message."""
        if _CALLING_KEYS.isdisjoint(source):
            return
        more = source.get("additional_kwargs")
        listed = [source.get("tool_calls"), source.get("invalid_tool_calls")]
        single = source.get("function_call")
        if isinstance(more, dict) and not listed[0]:  # older LangChain
            listed.append(more.get("tool_calls"))
            single = single or more.get("function_call")
        for several in listed:
            calls = parsed_once(several) if several else None
            for call in calls if isinstance(calls, list) else ():
                self._add_call(call)
        if isinstance(single, dict):
            self._add_call(single)
        elif name := source.get("function_call_name"):  # OpenInference
            self._add_call({"name": name, "arguments": source.get("function_call_arguments_json")})
        self._leave_out_repeated_calls()

    def _leave_out_repeated_calls(self) -> None:
        """Leaves out calls without an id that the message also has with one.

        Claude's agent SDK reports a call as a block, and once more without the id next to it.
        """
        if all("id" in one for one in self.calls):
            return
        known = {_name_and_arguments(one) for one in self.calls if "id" in one}
        self.calls = [
            one for one in self.calls if "id" in one or _name_and_arguments(one) not in known
        ]

    def _add_blocks(self, value: object, levels: int) -> None:
        if isinstance(value, str):
            self._add("text", value)
        elif isinstance(value, list) and levels > 0:
            for one in value:
                self._add_blocks(one, levels - 1)
        elif isinstance(value, dict) and isinstance(value.get("parts"), list) and levels > 0:
            self._add_blocks(value["parts"], levels - 1)
        elif value not in ([], {}):
            self.add_block(value, levels)

    def add_block(self, block: object, levels: int = LEVELS_MAX) -> None:
        """Adds a block of any kind; one that isn't known is kept as it is."""
        if block is not None and not (
            isinstance(block, dict) and self._is_added(_content_of(block), levels)
        ):
            self.blocks.append({"type": "other", "value": block})

    def _is_added(self, block: Mapping[str, object], levels: int) -> bool:
        """Adds a block of a known kind. Whether it was known."""
        kind = _kind(block)
        if kind is _Kind.REASONING:
            self._add("reasoning", "\n".join(_reasoning_texts(block, levels)))
        elif kind is _Kind.CALL:
            self._add_call(block)
        elif kind is _Kind.RESULT:
            self.add_result(block, levels)
        elif kind is _Kind.OTHER and block.keys() == {"type", "value"}:
            self.blocks.append({"type": "other", "value": block["value"]})
        elif kind in {_Kind.TEXT, _Kind.MEDIA}:
            text = _block_text(block) if kind is _Kind.TEXT else _document_text(block)
            if text is not None:
                self.add_text(text)
            elif kind is _Kind.MEDIA and (media := _media(block)) is not None:
                self.blocks.append(media)
            else:
                return False
        else:
            return False
        return True

    def add_text(self, text: object) -> None:
        self._add("text", text)

    def _add(self, kind: str, text: object) -> None:
        if isinstance(text, str) and text:
            self.blocks.append({"type": kind, "text": text})

    def _add_call(self, source: object) -> None:
        """Adds a call. One with a known id only adds arguments that were missing."""
        if not isinstance(source, dict):
            return
        name = call_id = arguments = None
        for holder in _inside(source, _CALL_INSIDE):
            name = name or _text(holder, _CALL_NAMES)
            call_id = call_id or _text(holder, _CALL_IDS)
            arguments = _first(holder, _CALL_ARGUMENTS) if arguments is None else arguments
        arguments = parsed_once(arguments)
        known = None if call_id is None else self.calls_by_id.get(call_id)
        if known is not None:
            if not known["arguments"]:
                known["arguments"] = arguments
            return
        call: Message = {} if call_id is None else {"id": call_id}
        call["name"], call["arguments"] = name or "", arguments
        self.calls.append(call)
        if call_id is not None:
            self.calls_by_id[call_id] = call

    def add_result(self, source: Mapping[str, object], levels: int = LEVELS_MAX) -> None:
        """Adds a tool result as a message of its own, after what was gathered before it."""
        self.flush()
        inner = _inside(source, _RESULT_INSIDE)[0]
        content = _result_text(_first(inner, _RESULT_VALUES), levels)
        message: Message = {"role": TOOL, "content": content}
        if call_id := _text(inner, _RESULT_IDS) or self.call_id:
            message["tool_call_id"] = call_id
        if name := _text(inner, _CALL_NAMES) or self.name:
            message["name"] = name
        self.found.append(message)


def _name_and_arguments(call: Message) -> tuple[object, str]:
    return call["name"], encoded(call["arguments"])


def _first(one: Mapping[str, object], keys: Iterable[str]) -> object:
    for key in keys:
        if (value := one.get(key)) is not None:
            return value
    return None


def _text(one: Mapping[str, object], keys: Iterable[str]) -> str | None:
    """The first text or whole number under one of the keys, as text."""
    for key in keys:
        value = one.get(key)
        if isinstance(value, str) and value:
            return value
        if type(value) is int:
            return str(value)
    return None


def _inside(one: Mapping[str, object], keys: Iterable[str]) -> Sequence[Mapping[str, object]]:
    """The object and those inside it under the keys, two levels deep, the innermost first."""
    found = [one]
    for _ in range(2):
        for key in keys:
            if isinstance(inner := one.get(key), dict):
                one = inner
                found.insert(0, one)
                break
        else:
            break
    return found


# --- blocks ----------------------------------------------------------------------------------


def is_block(value: object) -> bool:
    """Whether a value is a block of a known kind."""
    return isinstance(value, dict) and _kind(_content_of(value)) is not None


def blocks_or_text(value: object, text: str) -> object:
    """The value of JSON in a string if it is text or nothing but blocks; else the string."""
    several = value if isinstance(value, list) else [value]
    is_read = isinstance(value, str) or (bool(several) and all(map(is_block, several)))
    return value if is_read else text


def _content_of(block: Mapping[str, object]) -> Mapping[str, object]:
    """The block without OpenInference's `message_content` around it."""
    inner = block.get("message_content")
    if not isinstance(inner, dict):
        return block
    return {**inner, "tool_call": block["tool_call"]} if "tool_call" in block else inner


def _kind(block: Mapping[str, object]) -> _Kind | None:
    """The kind of a block; None if it is unknown."""
    name = block.get("type")
    if isinstance(name, str):
        kind = _KIND_BY_TYPE.get(name)
    else:
        # Gemini's library writes all members of a part, with null for those that it hasn't.
        given = [key for key, value in block.items() if value is not None]
        kind = next(filter(None, map(_KIND_BY_KEY.get, given or block)), None)
    if kind is _Kind.TEXT and block.get("thought") is True:  # Gemini
        return _Kind.REASONING
    return kind


def _has_parts(value: object) -> bool:
    """Whether the content of a tool message has results or calls in it, each with its own id."""
    several = value if isinstance(value, list) else [value]
    return any(
        isinstance(one, dict) and _kind(_content_of(one)) in {_Kind.RESULT, _Kind.CALL}
        for one in several
    )


def _block_text(block: Mapping[str, object]) -> str | None:
    """The text of a block. Empty if it has only a type: OpenInference leaves out empty text."""
    if all(value is None for key, value in block.items() if key != "type"):
        return ""
    value = _first(block, _TEXT_KEYS)
    if isinstance(value, dict):  # OpenAI's Assistants
        value = value.get("value")
    return value if isinstance(value, str) else None


def _reasoning_texts(value: object, levels: int) -> Iterable[str]:
    if isinstance(value, str):
        if value:
            yield value
    elif isinstance(value, list) and levels > 0:
        for one in value:
            yield from _reasoning_texts(one, levels - 1)
    elif isinstance(value, dict) and levels > 0:
        held = next((value[key] for key in _REASONING_VALUES if value.get(key)), None)
        yield from _reasoning_texts(held, levels - 1)


def _document_text(block: Mapping[str, object]) -> str | None:
    """The text of Anthropic's documents that are plain text."""
    source = block.get("source")
    if not isinstance(source, dict) or source.get("type") != "text":
        return None
    data = source.get("data")
    return data if isinstance(data, str) else None


def _media(block: Mapping[str, object]) -> Message | None:
    """A canonical media block; None if nothing is known about the medium."""
    mime = uri = size = None
    own_data = _DATA_KEY_BY_TYPE.get(str(block.get("type")), "data")
    holders = [("", block)]
    for _ in range(_MEDIA_LEVELS_MAX):
        for name, holder in holders:
            mime = mime or _text(holder, _MIME_KEYS) or _mime_of_format(name, holder)
            for key in (*_URI_KEYS, *_DATA_KEYS, own_data):
                value = holder.get(key)
                if not isinstance(value, str) or not value:
                    continue
                if value.startswith("data:"):
                    about, _, data = value[5:].partition(",")
                    mime, size = mime or about.partition(";")[0] or None, _size(data)
                elif key in _URI_KEYS or "://" in value[:16]:
                    uri = uri or value
                elif size is None:
                    size = _size(value)
        holders = [
            (_text(block, ("type",)) or key if key == "content" else key, inner)
            for _, holder in holders
            for key in _MEDIA_INSIDE
            if isinstance(inner := holder.get(key), dict)
        ]
    stated = block.get("size")
    if size is None and type(stated) is int:
        size = stated
    known = {"mime_type": mime, "uri": uri, "size": size}
    media: Message = {key: value for key, value in known.items() if value is not None}
    return {"type": "media", **media} if media else None


def _mime_of_format(name: str, holder: Mapping[str, object]) -> str | None:
    form = holder.get("format")
    kind = next((one for one in _FORMATTED if one in name), None)
    return f"{kind}/{form}" if kind and isinstance(form, str) and form else None


def _size(base64: str) -> int | None:
    """The size of the data in bytes; None for a text that stands for data that was left out."""
    if not _BASE64.issuperset(base64[:_BASE64_LOOKED_AT]):
        return None
    return len(base64.rstrip("=")) * 3 // 4


# --- tool results ----------------------------------------------------------------------------


def _result_text(value: object, levels: int) -> str | None:
    """A tool's result as text: text blocks joined by line breaks, other values as compact JSON."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, list) and any(map(_is_result_block, value)):
        return "\n".join(filter(None, (_item_text(one, levels) for one in value))) or None
    if isinstance(value, dict) and "type" in value:
        return _item_text(value, levels) or None
    return encoded(value)


def _is_result_block(one: object) -> bool:
    """Whether a value is a block. Without a type it has one member: others are a tool's data."""
    if not isinstance(one, dict):
        return False
    if "type" not in one and "message_content" not in one and len(one) > 1:
        return False
    return "json" in one or _kind(_content_of(one)) in {_Kind.TEXT, _Kind.MEDIA}


def _item_text(one: object, levels: int) -> str | None:
    if isinstance(one, str):
        return one
    if not isinstance(one, dict):
        return encoded(one)
    if one.keys() == {"json"}:  # Bedrock
        return encoded(one["json"])
    if one.keys() == {"type", "value"} and levels > 0 and one["type"] in _RESULT_TYPES:
        return _result_text(one["value"], levels - 1)
    return _block_as_text(_content_of(one)) if _is_result_block(one) else encoded(one)


def _block_as_text(block: Mapping[str, object]) -> str:
    is_text = _kind(block) is _Kind.TEXT
    text = _block_text(block) if is_text else _document_text(block)
    if text is not None:
        return text
    media = None if is_text else _media(block)
    return encoded(block if media is None or "size" not in media else media)  # no inline data
