"""Chat messages of all known formats, in one canonical shape.

    {"role": "user", "content": "Weather in Paris?"}
    {"role": "assistant", "content": null,
     "tool_calls": [{"id": "call_1", "name": "get_weather", "arguments": {"city": "Paris"}}]}
    {"role": "tool", "content": "sunny, 21", "tool_call_id": "call_1", "name": "get_weather"}

`role` is user, assistant, system or tool; other roles are kept in lower case. `content` is a string
if it is one text, null if it is nothing, else a list of blocks:

    {"type": "text", "text": "…"}
    {"type": "reasoning", "text": "…"}
    {"type": "media", "mime_type"?: "…", "uri"?: "…", "size"?: 1234}   inline data isn't kept
    {"type": "other", "value": …}                                      an unknown block, as sent

A tool result is a message of its own, and its content is always text or null. `tool_calls`, `name`,
`tool_call_id`, and the `id` of a call are left out if unknown; unknown arguments are null.

The formats are tables here and in `message_blocks.py`: a new format is one more row, and one more
test vector. No function raises for any JSON value. All take linear time, and look at most
LEVELS_MAX levels deep. A string is parsed as JSON at most once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from domain.tracing.messages.indexed_attributes import indexed_items
from domain.tracing.messages.json_value import encoded, parsed_once
from domain.tracing.messages.message_blocks import (
    ASSISTANT,
    LEVELS_MAX,
    SYSTEM,
    TOOL,
    USER,
    Message,
    MessageBuilder,
    blocks_or_text,
    is_block,
)

type Attributes = Mapping[str, object]

CHOICE_EVENT: Final = "gen_ai.choice"
MESSAGE_EVENTS: Final[Mapping[str, str]] = {
    f"gen_ai.{role}.message": role for role in (SYSTEM, USER, ASSISTANT, TOOL)
}
"""Names of events and log records that are messages to a model, and the role of each."""

INDEXED_FAMILIES: Final[Mapping[str, str]] = {
    "llm.input_messages": USER,
    "gen_ai.prompt": USER,
    "llm.output_messages": ASSISTANT,
    "gen_ai.completion": ASSISTANT,
}
"""Families of indexed attributes that are messages, and the role of a message that names none."""


# --- entry points ----------------------------------------------------------------------------


def canonical_messages(value: object) -> list[Message] | None:
    """The messages in a value; None if none are recognised.

    For sources that are messages by definition, and for evaluation. Other values next to the
    messages are ignored: of `{"messages": […], "documents": […]}` the messages are returned.
    """
    return _read(_Reader(), value)


def only_messages(value: object) -> list[Message] | None:
    """The same for a value that is nothing but messages; None for any other.

    For sources that may be anything, such as `input.value`: None means that the value is to be
    stored as it was sent. Names of models, usage and the like, which stand next to the messages of
    a provider's answer, don't count.
    """
    return _read(_Reader(is_strict=True), value)


def event_messages(
    events: Iterable[tuple[str, Attributes]],
) -> tuple[list[Message] | None, list[Message] | None]:
    """The messages to a model and its answers, from span events or log records in order of time.

    Each is a name with its attributes; the members of a log record's body are among these. Other
    names are ignored. Both results are None if they would be empty.
    """
    sent = _Reader(reads_json=True, keeps_empty=False)
    answered = _Reader(reads_json=True, keeps_empty=False)
    for name, attributes in events:
        (answered if name == CHOICE_EVENT else sent).read_event(name, attributes)
    return sent.found or None, answered.found or None


def indexed_messages(attributes: Attributes, family: str) -> list[Message] | None:
    """The messages of one of INDEXED_FAMILIES, without those that lack content and calls."""
    items = indexed_items(attributes, [family]).get(family)
    return None if items is None else messages_from_items(items, INDEXED_FAMILIES.get(family))


def messages_from_items(items: Sequence[object], role: str | None) -> list[Message] | None:
    """The same from the result of `indexed_items`. `role` is that of items that name none."""
    reader = _Reader(reads_json=True, keeps_empty=False)
    reader.read(list(items), role)
    return reader.found or None


def answer_message(
    text: object = None, tool_calls: object = None, structured: object = None
) -> list[Message] | None:
    """An answer whose parts are apart: `ai.response.text`, `.toolCalls` and `.object`."""
    reader = _Reader(keeps_empty=False)
    texts = [one if isinstance(one, str) else encoded(one) for one in (text, structured) if one]
    reader.add_message({"content": texts, "tool_calls": tool_calls}, ASSISTANT)
    return reader.found or None


def with_instructions(instructions: object, messages: Sequence[Message]) -> list[Message]:
    """The messages after a system message with the instructions: text, parts, or JSON of parts.

    If the first message says the same, it isn't repeated.
    """
    reader = _Reader(reads_json=True, keeps_empty=False)
    reader.add_system(instructions)
    return list(messages) if reader.found == list(messages[:1]) else [*reader.found, *messages]


def split_answer(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """The messages without the last one of the assistant, and that one alone.

    For attributes that have a whole conversation, such as `pydantic_ai.all_messages`. If that
    message calls tools, their results are left out: they came after the answer.
    """
    for at in range(len(messages) - 1, -1, -1):
        if messages[at]["role"] == ASSISTANT:
            calls = {one.get("id") for one in _calls_of(messages[at])} - {None}
            after = (one for one in messages[at + 1 :] if one.get("tool_call_id") not in calls)
            return [*messages[:at], *after], [messages[at]]
    return list(messages), []


def _calls_of(message: Message) -> Iterable[Mapping[str, object]]:
    calls = message.get("tool_calls")
    return calls if isinstance(calls, list) else ()


def unwrapped(value: object) -> object:
    """X of `{"inputs": X}`, `{"outputs": X}`, `{"output": X}`; any other value unchanged.

    Only if all other members are the settings that LangChain's callbacks add.
    """
    if isinstance(value, dict):
        for key in _WRAPPERS:
            if key in value and value.keys() <= _WRAPPED_WITH | {key}:
                return value[key]
    return value


def tool_output(value: object) -> object:
    """The content of a LangChain tool message, or of one message of the GenAI conventions.

    Any other output of a tool is returned unchanged.
    """
    message = unwrapped(value)
    match message:
        case [{"role": "tool", "parts": [{"type": "tool_call_response", "response": response}]}]:
            return response
    flat = _tool_message(message)
    return value if flat is None else flat["content"]


def is_failed_tool_message(value: object) -> bool:
    """Whether an output is a tool message of LangChain that says that the tool failed.

    Where LangChain handles the error of a tool, the call ends without one.
    """
    message = _tool_message(unwrapped(value))
    return message is not None and message.get("status") == "error"


def _tool_message(message: object) -> Mapping[str, object] | None:
    """The flat form of a LangChain tool message; None for anything else."""
    if not isinstance(message, dict):
        return None
    flat = _langchain_message(message) or message
    role = flat.get("role", flat.get("type"))
    is_tool = isinstance(role, str) and _ROLES.get(role.lower()) == TOOL
    return flat if is_tool and "content" in flat and "tool_call_id" in flat else None


def _read(reader: "_Reader", value: object) -> list[Message] | None:
    return (reader.found or None) if reader.read(value) else None


# --- tables: roles, containers, blocks -------------------------------------------------------

_ROLES: Final[Mapping[str, str]] = {
    spelling: role
    for role, spellings in {
        USER: "user human humanmessage humanmessagechunk",
        ASSISTANT: "assistant ai model aimessage aimessagechunk",
        SYSTEM: "system developer systemmessage systemmessagechunk",
        TOOL: "tool function toolmessage toolmessagechunk functionmessage functionmessagechunk",
    }.items()
    for spelling in spellings.split()
}

_KNOWN_ROLES: Final = frozenset(_ROLES.values())

_WRAPPERS: Final = ("inputs", "outputs", "output")
_WRAPPED_WITH: Final = frozenset({"tags", "metadata", "kwargs", "input_str"})

_SYSTEM_KEYS: Final = ("system", "system_instructions", "system_instruction", "systemInstruction")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Container:
    """A member `key` of an object that has messages in it.

    `role` is that of messages that name none. `system` are the members that become the first
    message. Members in `about` say how the messages came about, and aren't content. With
    `is_closed`, an object with any other member isn't read at all.
    """

    key: str
    role: str | None = None
    system: Sequence[str] = ()
    about: frozenset[str] = frozenset()
    is_closed: bool = False


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ANSWER: Final = _names(
    "id object created created_at model provider system_fingerprint service_tier usage type"
)
_REQUEST: Final = _names(
    "model stream store temperature top_p max_output_tokens tools tool_choice parallel_tool_calls "
    "reasoning text truncation metadata previous_response_id include stream_options user"
)
_CONTAINERS: Final = (
    _Container(key="messages", system=_SYSTEM_KEYS),
    _Container(key="choices", role=ASSISTANT, about=_ANSWER),
    _Container(
        key="candidates",
        role=ASSISTANT,
        about=_names(
            "usageMetadata usage_metadata modelVersion model_version responseId response_id "
            "createTime create_time promptFeedback prompt_feedback sdkHttpResponse "
            "sdk_http_response"
        ),
    ),
    _Container(key="contents", role=USER, system=_SYSTEM_KEYS),
    _Container(key="generations", role=ASSISTANT, about=_names("llm_output run type")),
    _Container(
        key="message",
        about=_names(
            "index finish_reason finishReason text generation_info type event.name "
            "gen_ai.message.index content_filter_results"
        ),
    ),
    _Container(key="prompt", role=USER, system=_SYSTEM_KEYS, is_closed=True),
    _Container(
        key="output",
        about=_ANSWER | _WRAPPED_WITH | _names("stopReason usage metrics ResponseMetadata"),
        is_closed=True,
    ),
    _Container(
        key="input",
        system=("instructions",),
        about=_REQUEST | _WRAPPED_WITH,
        is_closed=True,
    ),
    _Container(key="inputs", about=_WRAPPED_WITH, is_closed=True),
    _Container(key="outputs", about=_WRAPPED_WITH, is_closed=True),
    _Container(key="update", about=_names("graph resume goto"), is_closed=True),
)
_ANSWER_OBJECTS: Final = frozenset({"response", "chat.completion", "text_completion"})
"""Objects that are a provider's answer by their `object`, whatever other members they have."""

_MESSAGE_KEYS: Final = frozenset(
    {"content", "parts", "contents", "tool_calls", "function_call", "refusal", "audio"}
)
"""An object with a role and one of these is a message."""
_CANONICAL_KEYS: Final = frozenset(
    {"role", "content", "parts", "tool_calls", "tool_call_id", "name"}
)

_BLOCK_ITEMS: Final = _names(
    "function_call custom_tool_call mcp_call function_call_output custom_tool_call_output "
    "reasoning image_generation_call"
)
"""Items of OpenAI's Responses that are blocks of the assistant without a message around them."""
_HOSTED_CALLS: Final = _names(
    "web_search_call file_search_call code_interpreter_call computer_call computer_call_output "
    "local_shell_call local_shell_call_output mcp_list_tools mcp_approval_request "
    "mcp_approval_response"
)
"""Items of OpenAI's Responses that are kept as they are."""

# --- the reader ------------------------------------------------------------------------------


@dataclass(slots=True)
class _Reader:
    """Adds the messages of values to `found`.

    `is_strict`: a value is recognised only if it is nothing but messages. `reads_json`: content may
    be JSON in a string, as in events. `keeps_empty`: a message without content and calls is kept.
    """

    is_strict: bool = False
    reads_json: bool = False
    keeps_empty: bool = True
    found: list[Message] = field(default_factory=list)

    def read(self, value: object, role: str | None = None, levels: int = LEVELS_MAX) -> bool:
        """Whether a value is recognised. `role` is that of messages that name none.

        A value that isn't recognised adds nothing; in strict mode, `found` is of no use then.
        """
        if isinstance(value, dict):
            return levels > 0 and self._read_object(value, role, levels)
        if isinstance(value, list):
            return levels > 0 and self._read_list(value, role, levels)
        if not isinstance(value, str):
            return False
        inner = parsed_once(value)
        if levels > 0 and isinstance(inner, dict | list):
            if self.read(inner, role, levels - 1):
                return True
            # It has messages, but not only these: so the text isn't the content of a message.
            if self.is_strict and _Reader().read(inner, role, levels - 1):
                return False
        if role is not None and value:
            self.add_message({"content": value}, role)
        return role is not None

    def _read_list(self, items: list[object], role: str | None, levels: int) -> bool:
        are_known = [self._read_item(one, role, levels - 1) for one in items]
        return all(are_known) if self.is_strict else any(are_known)

    def _read_item(self, one: object, role: str | None, levels: int) -> bool:
        match one:
            case [str(speaker), str(text)] if speaker.lower() in _ROLES:  # LangChain's short form
                self.add_message({"content": text}, _role_named(speaker))
                return True
        return self.read(one, role, levels)

    def _read_object(self, one: Mapping[str, object], role: str | None, levels: int) -> bool:
        if "messages" in one:
            if self._read_container(_CONTAINERS[0], one, role, levels):
                return True
            if self.is_strict and not _is_nothing(one["messages"]):
                return False
        if self._read_message(one, role):
            return True
        return any(
            self._read_container(container, one, role, levels)
            for container in _CONTAINERS[1:]
            if container.key in one
        )

    def _read_message(self, one: Mapping[str, object], role: str | None) -> bool:
        named, kind = one.get("role"), one.get("type")
        if isinstance(name := one.get("event.name"), str) and self.read_event(name, one):
            return True
        if not isinstance(named, str):
            if ("lc" in one or "data" in one) and (inner := _langchain_message(one)) is not None:
                one, kind = inner, inner["type"]
            if isinstance(kind, str) and kind.lower() in _ROLES:
                role = _role_named(kind)
            elif isinstance(kind, str) and self._read_response_item(one, kind):
                return True
            elif role is not None and _is_completion(one):
                self.add_message({"content": one["text"]}, role)
                return True
        elif named:
            role = _role_named(named)
        if role is None or one.keys().isdisjoint(_MESSAGE_KEYS):
            return False
        self.add_message(one, role)
        is_message = not isinstance(named, str) or role in _KNOWN_ROLES
        return is_message or not self.is_strict or one.keys() <= _CANONICAL_KEYS

    def _read_response_item(self, one: Mapping[str, object], kind: str) -> bool:
        """Adds an item of OpenAI's Responses that isn't a message."""
        if kind in _HOSTED_CALLS:
            content = [{"type": "other", "value": one}]
            self.found.append({"role": ASSISTANT, "content": content})
        elif kind in _BLOCK_ITEMS:
            builder = MessageBuilder(self.found, ASSISTANT)
            builder.add_block(one)
            if kind == "mcp_call" and one.get("output") is not None:
                builder.add_result(one)
            builder.flush()
        return kind in _HOSTED_CALLS or kind in _BLOCK_ITEMS

    def _read_container(
        self, box: _Container, one: Mapping[str, object], role: str | None, levels: int
    ) -> bool:
        if (box.is_closed or self.is_strict) and not _is_only(box, one):
            return False
        if self.is_strict and box.key == "prompt" and one.keys().isdisjoint(box.system):
            return False  # a prompt alone may be one for images
        start = len(self.found)
        is_read = self.read(one[box.key], role or box.role, levels - 1)
        later = self.found[start:]
        del self.found[start:]
        if not is_read:
            return False
        for key in box.system:
            self.add_system(one.get(key))
        config = one.get("config") if box.key == "contents" else None  # Google's request
        if isinstance(config, dict):
            self.add_system(config.get("system_instruction"))
        self.found += later
        return True

    def read_event(self, name: str, attributes: Attributes) -> bool:
        """Adds the message of an event. Whether its name is that of a message."""
        if name == CHOICE_EVENT:
            self._add_choice(attributes)
        elif (role := MESSAGE_EVENTS.get(name)) is not None:
            own = attributes.get("role")
            spoken = _role_named(own) if isinstance(own, str) and own else role
            self.add_message({"call_id": attributes.get("id"), **attributes}, spoken)
        else:
            return False
        return True

    def _add_choice(self, attributes: Attributes) -> None:
        """Adds an answer: text, blocks or a message, maybe as JSON in a string."""
        given = attributes.get("message", attributes.get("content"))
        message = parsed_once(given)
        source: dict[str, object] = {"tool_calls": attributes.get("tool_calls")}
        is_message = isinstance(message, dict) and _is_message(message)
        if isinstance(message, dict) and is_message:
            source |= message
        else:
            source["content"] = blocks_or_text(message, given) if isinstance(given, str) else given
        named = source.get("role")
        role = _role_named(named) if isinstance(named, str) and named else ASSISTANT
        self.add_message(source, role, reads_json=is_message)
        if (results := attributes.get("tool.result")) is not None:  # Strands, at the end of a cycle
            self.add_message({"content": results}, TOOL)

    def add_system(self, value: object) -> None:
        """Adds a system message; nothing if the value is empty."""
        inner = parsed_once(value)
        if isinstance(inner, dict) and _is_message(inner):
            source = inner  # a whole message, as Gemini sends it
        else:
            source = {"content": blocks_or_text(inner, value) if isinstance(value, str) else value}
        reader = _Reader(keeps_empty=False)
        reader.add_message(source, SYSTEM)
        self.found += reader.found

    def add_message(
        self, one: Mapping[str, object], role: str, *, reads_json: bool | None = None
    ) -> None:
        """Adds a message; several if there are tool results in it."""
        reads_json = self.reads_json if reads_json is None else reads_json
        content = one.get("content")
        if len(one) == 2 and type(content) is str and content and "role" in one and not reads_json:  # noqa: PLR2004 - role and content: most messages
            self.found.append({"role": role, "content": content})
            return
        start = len(self.found)
        builder = MessageBuilder.from_source(self.found, one, role)
        builder.add_content(one, reads_json=reads_json)
        builder.add_calls(one)
        builder.flush()
        if len(self.found) == start and self.keeps_empty and not self._replaces_tool_result(role):
            self.found.append(builder.message(None))

    def _replaces_tool_result(self, role: str) -> bool:
        """Whether an empty message is where the result of a tool was.

        PandaProbe's SDK takes the results out of the messages of Claude's agent SDK.
        """
        return role == USER and bool(self.found) and "tool_calls" in self.found[-1]


def _role_named(name: str) -> str:
    lower = name.lower()
    return _ROLES.get(lower, lower)


def _is_message(one: Mapping[str, object]) -> bool:
    """Whether an object is a message rather than a block of one."""
    return "role" in one or not (is_block(one) or one.keys().isdisjoint(_MESSAGE_KEYS))


def _is_completion(one: Mapping[str, object]) -> bool:
    """Whether an object is the answer of a model that doesn't chat."""
    return "text" in one and "message" not in one and one.keys().isdisjoint(_MESSAGE_KEYS)


def _is_only(box: _Container, one: Mapping[str, object]) -> bool:
    """Whether the object has nothing else than the messages and what is about them."""
    if str(one.get("object")) in _ANSWER_OBJECTS and box.key in {"choices", "output"}:
        return True
    return all(
        key == box.key or key in box.about or key in box.system or _is_nothing(value)
        for key, value in one.items()
    )


def _is_nothing(value: object) -> bool:
    return value is None or (isinstance(value, str | list | dict) and not value)


def _langchain_message(one: Mapping[str, object]) -> Mapping[str, object] | None:
    """The flat form of `{"lc": …, "id": […], "kwargs": {…}}` and `{"type": …, "data": {…}}`."""
    inner, kind = one.get("kwargs"), one.get("type")
    if "lc" in one and isinstance(inner, dict):
        path = one.get("id")
        kind = inner.get("type") or (path[-1] if isinstance(path, list) and path else None)
    else:
        inner = one.get("data")
    if not isinstance(inner, dict) or not isinstance(kind, str) or kind.lower() not in _ROLES:
        return None
    return {"type": kind, **inner}
