"""Merges the fragments of a span: each attribute comes from the highest rank that has it."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from operator import attrgetter, itemgetter
from typing import Final

from adapters.otlp.mapping.json_values import parsed, sorted_bytes
from domain.frozen_by_types import frozen_by_types
from domain.tracing.otel.fragments import (
    Attributes,
    AttributeValue,
    Rank,
    Sent,
    SentEvent,
    SentRecord,
    SentSpan,
)

# Log records and events whose attributes are a fragment of their span.
DETAILS: Final = "gen_ai.client.inference.operation.details"
# Log records that are events of their span. Order of events at one time: as in a conversation.
MESSAGE_EVENTS: Final = (
    "gen_ai.system.message",
    "gen_ai.user.message",
    "gen_ai.assistant.message",
    "gen_ai.tool.message",
    "gen_ai.choice",
)
# Attributes of log records that become attributes of their span, by the names of the rules.
RECORD_ATTRIBUTES: Final[Mapping[str, Mapping[str, str]]] = {
    "claude_code.user_prompt": {"prompt": "user_prompt"},
    "claude_code.tool_result": {
        "tool_input": "tool_input",
        "tool_name": "tool_name",
        "success": "claude_code.tool_result.success",
        "error": "claude_code.tool_result.error",
    },
    "claude_code.api_request": {"cost_usd": "claude_code.api_request.cost_usd"},
    "claude_code.assistant_response": {"response": "claude_code.assistant_response.response"},
}

_EVENT_ORDER: Final = {name: at for at, name in enumerate(MESSAGE_EVENTS)}
_time = attrgetter("time_ns")


@frozen_by_types()
class MergedSpan:
    """The fragments of a span as one. `best` is the highest span among them."""

    best: SentSpan
    name: str
    attributes: Attributes
    events: Sequence[SentEvent]
    is_truncated: bool = False
    resource: Attributes = field(default_factory=dict)


def merged(fragments: Sequence[Sent]) -> MergedSpan:
    """The fragments as one span, whatever their order. At least one is a SentSpan."""
    if len(fragments) == 1 and isinstance(only := fragments[0], SentSpan):
        return _from_single(only)
    ranked = [one for _, one in sorted({_precedence(one): one for one in fragments}.items())]
    if len(ranked) == 1 and isinstance(only := ranked[0], SentSpan):
        return _from_single(only)
    attributes: dict[str, AttributeValue] = {}
    resource: dict[str, AttributeValue] = {}
    for sent in ranked:
        if isinstance(sent, SentSpan):
            attributes |= with_details(sent.attributes, sorted(sent.events, key=_time))
            resource |= sent.resource
        else:
            attributes |= _record_attributes(sent)
    spans = [one for one in reversed(ranked) if isinstance(one, SentSpan)]
    return MergedSpan(
        best=spans[0],
        name=next((one.name for one in spans if one.name), ""),
        attributes=attributes,
        events=_merged_events(ranked),
        is_truncated=any(one.is_truncated for one in ranked),
        resource=resource,
    )


def _from_single(span: SentSpan) -> MergedSpan:
    events = span.events
    if len(events) > 1:
        events = sorted(events, key=_time)
    attributes = with_details(span.attributes, events)
    return MergedSpan(span, span.name, attributes, events, span.is_truncated, span.resource)


def with_details(attributes: Attributes, events: Sequence[SentEvent]) -> Attributes:
    """The attributes, and below them those of events that are fragments of the span.

    `events` are in order of time: of one attribute, the first value counts.
    """
    for event in events:
        if event.name == DETAILS:
            attributes = {**event.attributes, **attributes}
    return attributes


def _precedence(sent: Sent) -> tuple[Rank, int, bytes]:
    """Sorts the lowest first; of one rank, the earlier end or time, then the lesser by bytes."""
    if isinstance(sent, SentRecord):
        return Rank.LOG_RECORD, sent.time_ns, sorted_bytes(sent)
    return sent.rank, sent.end_ns or sent.start_ns, sorted_bytes(sent)


def _record_attributes(record: SentRecord) -> Attributes:
    if record.name == DETAILS:
        body = record.body
        return {**body, **record.attributes} if isinstance(body, Mapping) else record.attributes
    names = RECORD_ATTRIBUTES.get(record.name)
    if names is None:
        return {}
    found = {**record.body, **record.attributes} if isinstance(record.body, Mapping) else (
        record.attributes
    )  # fmt: skip
    return {ours: found[theirs] for theirs, ours in names.items() if theirs in found}


def _record_event(record: SentRecord) -> SentEvent:
    """The event that a log record is: its body and attributes together.

    A body that is text is the content, unless it only repeats the name.
    """
    body = parsed(record.body)
    if isinstance(body, Mapping):
        attributes: Attributes = {**body, **record.attributes}
    elif body is None or body == record.name:
        attributes = record.attributes
    else:
        attributes = {"content": body, **record.attributes}  # type: ignore[dict-item] # parsed JSON
    return SentEvent(record.time_ns, record.name, attributes)


def _merged_events(ranked: Sequence[Sent]) -> Sequence[SentEvent]:
    """The events of all fragments by time, each once: a span may be sent again with more."""
    found: dict[bytes, tuple[tuple[int, int, int, int], SentEvent]] = {}
    for rank, sent in enumerate(reversed(ranked)):
        if isinstance(sent, SentSpan):
            for at, event in enumerate(sent.events):
                order = (event.time_ns, 0, rank, at)
                found.setdefault(sorted_bytes(event), (order, event))
        elif sent.name in _EVENT_ORDER:
            event = _record_event(sent)
            order = (event.time_ns, _EVENT_ORDER[sent.name], rank, 0)
            found.setdefault(sorted_bytes(event), (order, event))
    return [event for _, event in sorted(found.values(), key=itemgetter(0))]
