"""Kinds of spans, by the values that senders have for them."""

from collections.abc import Mapping
from typing import Final

from adapters.otlp.mapping.flags import Flag
from adapters.otlp.mapping.json_values import json_text, plain_text
from adapters.otlp.mapping.reading import Reading, Target
from adapters.otlp.mapping.transforms import ID_CHARS_MAX
from domain.tracing.span import SpanKind

SETUP: Final = "create_agent"

# Whichever attribute has them. In lower case.
KIND_VALUES: Final[Mapping[SpanKind, str]] = {
    SpanKind.LLM: (
        "llm generation chat chat_model completion text_completion generate_content "
        "ai.generatetext.dogenerate ai.generateobject.dogenerate "
        "ai.streamtext.dostream ai.streamobject.dostream"
    ),
    SpanKind.EMBEDDING: "embedding embeddings ai.embed.doembed ai.embedmany.doembed",
    SpanKind.TOOL: "tool execute_tool ai.toolcall",
    SpanKind.AGENT: "agent invoke_agent",
    SpanKind.RETRIEVER: "retriever retrieval reranker rerank",
    SpanKind.CHAIN: (
        "chain workflow task invoke_workflow plan agent_step execute_task "
        "execute_event_loop_cycle ai.generatetext ai.streamtext ai.generateobject "
        "ai.streamobject ai.embed ai.embedmany"
    ),
    SpanKind.OTHER: (
        "span event evaluator guardrail prompt parser memory apply_guardrail fetch_response "
        f"{SETUP}"
    ),
}
_KINDS: Final = {value: kind for kind, values in KIND_VALUES.items() for value in values.split()}
_OTHER_ENDINGS: Final = ("_memory", "_memory_store")

_CLAUDE_CODE_KINDS: Final[Mapping[str, SpanKind]] = {
    "interaction": SpanKind.AGENT,
    "llm_request": SpanKind.LLM,
    "tool": SpanKind.TOOL,
}


def kind(value: object, reading: Reading) -> object:
    """A kind in any case and with or without JSON's quotes; None if it isn't known."""
    if not isinstance(value, str):
        _note_unknown(json_text(value), reading)
        return None
    word = value.strip().strip('"').lower()
    found = _KINDS.get(word)
    if found is None and word.endswith(_OTHER_ENDINGS):
        found = SpanKind.OTHER
    if found is None:
        _note_unknown(value, reading)
    if word == SETUP and found is not None:
        reading.flags.add(Flag.SETUP)
    return found


def _note_unknown(value: str, reading: Reading) -> None:
    reading.kind_raw = reading.kind_raw or plain_text(value)[:ID_CHARS_MAX]


def claude_code_kind(value: object, _reading: Reading) -> object:
    return _CLAUDE_CODE_KINDS.get(str(value).lower(), SpanKind.OTHER)


_MESSAGES_OF_MODELS: Final = (Target.MESSAGES_IN, Target.MESSAGES_OUT)


def kind_of(reading: Reading, *, has_usage: bool) -> SpanKind:
    """The kind that an attribute says, else what the content of the span speaks for."""
    found = reading.first(Target.KIND)
    if isinstance(found, SpanKind):
        return found
    if reading.has(Target.MODEL) and (has_usage or reading.has(*_MESSAGES_OF_MODELS)):
        return SpanKind.LLM
    if reading.kind_raw is not None:
        reading.flags.add(Flag.KIND_UNKNOWN)
    return SpanKind.OTHER
