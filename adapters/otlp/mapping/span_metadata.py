"""Metadata of a span: the members that the sender gave, and the reserved ones."""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from adapters.otlp.mapping.flags import Flag
from adapters.otlp.mapping.json_values import LEVELS_MAX, in_order, to_json, without_nul
from adapters.otlp.mapping.merging import DETAILS, MESSAGE_EVENTS
from adapters.otlp.mapping.reading import Reading, Target
from adapters.otlp.mapping.transforms import object_text
from domain.tracing.otel.fragments import SentEvent, SentLink
from domain.tracing.payloads.json_scan import TooDeep, TooManyValues, check_size
from domain.tracing.payloads.payload import MERGED_BYTES_MAX, OBJECT_VALUES_MAX, JsonText
from domain.tracing.span import SpanKind

RESERVED: Final = frozenset({"otel", "tool", "tools", "agent", "prompt", "finish_reasons"})
# At most so many other events and links are shown in metadata; `attributes` keeps all.
SHOWN_EVENTS_MAX: Final = 128
SHOWN_BYTES_MAX: Final = 256 << 10
STACKTRACE_CHARS_MAX: Final = 64 << 10
_UNCHECKED_BYTES: Final = 2 * OBJECT_VALUES_MAX  # a value takes two bytes at least

# The events that have a place of their own in the span.
_MAPPED_EVENTS: Final = frozenset(
    {
        *MESSAGE_EVENTS,
        DETAILS,
        "exception",
        "tool.output",
        "First Token Stream Event",
        "gen_ai.evaluation.result",
    }
)
_KINDS: Final = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")


def sender_metadata(reading: Reading) -> dict[str, str]:
    """The members of all the sender's sources, each as JSON text; of one name, the first source's.

    A member with a reserved name is left out: it stays in `attributes`.
    """
    found = merged_members(reading, Target.METADATA)
    return {key: value for key, value in found.items() if key not in RESERVED}


def merged_members(reading: Reading, target: Target) -> dict[str, str]:
    """The members of all sources of a target; of one name, that of the first source."""
    found: dict[str, str] = {}
    if target in reading.hits:
        for texts in reversed(reading.every(target)):
            if isinstance(texts, Mapping):
                found |= texts
    return dict(sorted(found.items()))


def span_metadata(
    reading: Reading, sender: Mapping[str, str], request_model: str | None, response_id: str | None
) -> JsonText:
    """The metadata as it is stored: bounded, so that it can be merged, and searchable."""
    known = dict(sender)
    if reading.kind is SpanKind.TOOL:
        known["tool"] = to_json(_tool(reading)).decode()
    if isinstance(tools := reading.first(Target.TOOLS), str):
        known["tools"] = tools
    if agent := merged_members(reading, Target.AGENT):
        known["agent"] = object_text(agent)
    if prompt := merged_members(reading, Target.PROMPT):
        known["prompt"] = object_text(prompt)
    if reasons := reading.first(Target.FINISH_REASONS):
        known["finish_reasons"] = to_json(reasons).decode()
    otel = _otel(reading, request_model, response_id)
    text = _with_otel(known, otel)
    if len(text) <= _UNCHECKED_BYTES:
        return text
    return _bounded(text, known, otel)


def _with_otel(known: Mapping[str, str], otel: Mapping[str, object]) -> JsonText:
    return without_nul(object_text({**known, "otel": to_json(otel).decode()}).encode())


def _bounded(text: JsonText, known: Mapping[str, str], otel: dict[str, object]) -> JsonText:
    """The metadata without what is too much of it, as `attributes` has everything."""
    flags = otel.get("flags")
    cut = {
        **{key: value for key, value in otel.items() if key not in {"events", "links"}},
        "flags": sorted({*(flags if isinstance(flags, list) else ()), Flag.TRUNCATED}),
    }
    tool = {key: known[key] for key in ("tool", "finish_reasons") if key in known}
    for smaller in (_with_otel(known, cut), _with_otel(tool, cut), _with_otel({}, cut)):
        if not _is_too_large(text):
            break
        text = smaller
    return text


def _is_too_large(text: JsonText) -> bool:
    """Whether a native report of the span couldn't be merged into it."""
    if len(text) > MERGED_BYTES_MAX // 2:
        return True
    try:
        check_size(text, LEVELS_MAX, OBJECT_VALUES_MAX)
    except (TooDeep, TooManyValues):
        return True
    return False


def _tool(reading: Reading) -> Mapping[str, object]:
    """The tool of a TOOL span. Without another name it has that of the span."""
    schema = reading.first(Target.TOOL_SCHEMA)
    found = {
        "name": reading.text(Target.TOOL_NAME) or reading.span.name,
        "call_id": reading.text(Target.TOOL_CALL_ID),
        "type": reading.text(Target.TOOL_TYPE),
        "description": reading.text(Target.TOOL_DESCRIPTION),
        "json_schema": msgspec.Raw(schema.encode()) if isinstance(schema, str) else None,
    }
    return {key: value for key, value in found.items() if value is not None}


def _otel(
    reading: Reading, request_model: str | None, response_id: str | None
) -> dict[str, object]:
    """The envelope as it was sent. Members without a value are left out."""
    merged, sent = reading.span, reading.span.best
    scope = sent.scope
    found: dict[str, object] = {
        "span_id": sent.span_id,
        "parent_span_id": sent.parent_span_id,
        "start_time_unix_nano": str(sent.start_ns),
        "end_time_unix_nano": str(sent.end_ns) if sent.end_ns else None,
        "kind": _KINDS[sent.kind] if 0 <= sent.kind < len(_KINDS) else sent.kind,
        "kind_raw": reading.kind_raw,
        "scope": {
            key: value
            for key, value in (
                ("name", scope.name),
                ("version", scope.version),
                ("schema_url", scope.schema_url),
            )
            if value
        },
        "resource": in_order(merged.resource),
        "trace_state": sent.trace_state,
        "links": _shown(map(_link, sent.links), reading),
        "events": _shown(map(_event, _rest(reading)), reading),
        "stacktrace": _stacktrace(reading),
        "dropped": in_order(sent.dropped),
        "request_model": request_model,
        "response_id": response_id,
        "flags": sorted(reading.flags),
    }
    return {key: value for key, value in found.items() if value not in (None, "", [], {})}


def _rest(reading: Reading) -> Iterator[SentEvent]:
    return (one for one in reading.span.events if one.name not in _MAPPED_EVENTS)


def _shown(values: Iterator[object], reading: Reading) -> list[msgspec.Raw]:
    """The first values as JSON, as many as are shown."""
    shown: list[msgspec.Raw] = []
    size = 0
    for one in values:
        text = to_json(one)
        size += len(text)
        if len(shown) == SHOWN_EVENTS_MAX or size > SHOWN_BYTES_MAX:
            reading.flags.add(Flag.TRUNCATED)
            break
        shown.append(msgspec.Raw(text))
    return shown


def _event(event: SentEvent) -> Mapping[str, object]:
    return {
        "name": event.name,
        "time_unix_nano": str(event.time_ns),
        "attributes": in_order(event.attributes),
    }


def _link(link: SentLink) -> Mapping[str, object]:
    found = {"trace_id": link.trace_id, "span_id": link.span_id}
    if link.trace_state:
        found["trace_state"] = link.trace_state
    return {**found, "attributes": in_order(link.attributes)} if link.attributes else found


def _stacktrace(reading: Reading) -> str | None:
    """The stack trace of the last exception."""
    for event in reversed(reading.span.events):
        if event.name == "exception":
            found = event.attributes.get("exception.stacktrace")
            return found[:STACKTRACE_CHARS_MAX] if isinstance(found, str) else None
    return None
