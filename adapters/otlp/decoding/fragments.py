"""Fragments of a request, and the checks that both wire types share."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final
from uuid import UUID

from domain.ids import TraceId
from domain.tracing.otel.fragments import (
    Attributes,
    AttributeValue,
    Scope,
    Sent,
    SentRecord,
    SentSpan,
)
from domain.tracing.otel.requests import RejectionReason

TRACE_ID_BYTES: Final = 16
SPAN_ID_BYTES: Final = 8

_HAS_REMOTE_FLAG: Final = 0x100  # whether the next bit says anything
_PARENT_IS_REMOTE: Final = 0x200

_HALVES_OF_PAIRS: Final = range(0xD800, 0xE000)
_HALF_MARKS: Final = 0xF0000  # the first of the characters for private use that mark these

_SPAN_TYPE: Final = "logfire.span_type"
_PENDING_SPAN: Final = "pending_span"
_PENDING_PARENT_ID: Final = "logfire.pending_parent_id"

_KEPT_OF_RESOURCE: Final = ("service.", "deployment.", "telemetry.sdk.", "k8s.")
_KEPT_KEYS_OF_RESOURCE: Final = frozenset(
    {"cloud.region", "langfuse.environment", "langfuse.release"}
)
_SERVICE_NAME: Final = "service.name"

# Their values become names, ids and tags, which are columns: text that PostgreSQL can't store must
# not get there. Elsewhere a text is part of a JSON value, where U+0000 has an escape.
_COLUMN_KEYS: Final = frozenset(
    {
        "ai.model.id",
        "ai.model.provider",
        "ai.response.model",
        "ai.telemetry.metadata.sessionId",
        "ai.telemetry.metadata.tags",
        "ai.telemetry.metadata.userId",
        "embedding.model_name",
        "enduser.id",
        "gen_ai.conversation.id",
        "gen_ai.provider.name",
        "gen_ai.request.model",
        "gen_ai.request.user",
        "gen_ai.response.id",
        "gen_ai.response.model",
        "gen_ai.system",
        "gen_ai.user",
        "langfuse.environment",
        "langfuse.observation.model.name",
        "langfuse.release",
        "langfuse.session.id",
        "langfuse.tags",
        "langfuse.trace.name",
        "langfuse.trace.tags",
        "langfuse.user.id",
        "langsmith.metadata.session_id",
        "langsmith.metadata.thread_id",
        "langsmith.metadata.user_id",
        "langsmith.span.tags",
        "llm.model_name",
        "llm.provider",
        "llm.request.model_name",
        "llm.response.model_name",
        "llm.system",
        "llm.user",
        "mlflow.llm.model",
        "model",
        "opik.tags",
        "reranker.model_name",
        "session.id",
        "tag.tags",
        "tags",
        "thread_id",
        "traceloop.association.properties.session_id",
        "traceloop.association.properties.thread_id",
        "traceloop.association.properties.user_id",
        "user.id",
    }
)


class Rejected(Exception):  # noqa: N818 - an error of the client, not of ours
    """A span or record that isn't stored."""

    def __init__(self, reason: RejectionReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def undecodable(message: str) -> Rejected:
    return Rejected(RejectionReason.UNDECODABLE, message)


def too_deep() -> Rejected:
    return Rejected(RejectionReason.TOO_DEEP, "values are nested too deeply")


@dataclass(frozen=True, slots=True)
class Context:
    """The scope and resource that the spans or records of a group share."""

    scope: Scope
    resource: Attributes

    @classmethod
    def from_sent(cls, scope: Scope, resource: Attributes) -> "Context":
        """Keeps what is stored of a resource. Raises Rejected.

        The other attributes tell too much: SDKs send command lines, owners and host ids.
        """
        kept = {
            key: value
            for key, value in resource.items()
            if key.startswith(_KEPT_OF_RESOURCE) or key in _KEPT_KEYS_OF_RESOURCE
        }
        texts = (scope.name, scope.version, scope.schema_url, *kept.values())
        _check_storable("the scope or resource", texts)
        return cls(scope, kept)

    @property
    def service(self) -> str | None:
        name = self.resource.get(_SERVICE_NAME)
        return name if isinstance(name, str) else None


@dataclass(frozen=True, slots=True)
class DecodedFragment:
    trace_id: TraceId
    span_id: str | None
    size: int
    sent: Sent

    def decode(self) -> Sent:
        return self.sent


@dataclass(frozen=True, slots=True)
class EncodedFragment:
    """A fragment of a large request, which keeps its bytes within the body."""

    trace_id: TraceId
    span_id: str | None
    size: int
    decode_again: Callable[[], Sent]

    def decode(self) -> Sent:
        return self.decode_again()


def trace_id_from(data: bytes) -> TraceId:
    """Raises Rejected."""
    if len(data) != TRACE_ID_BYTES or not any(data):
        raise Rejected(
            RejectionReason.INVALID_ID, "the trace id must have 16 bytes that aren't all zero"
        )
    return TraceId(UUID(bytes=data))


def span_id_from(data: bytes) -> str:
    """Raises Rejected."""
    if len(data) != SPAN_ID_BYTES or not any(data):
        raise Rejected(
            RejectionReason.INVALID_ID, "the span id must have 8 bytes that aren't all zero"
        )
    return data.hex()


def parent_id_from(data: bytes) -> str | None:
    """None without a parent, which some senders say by zeros. Raises Rejected."""
    if not any(data):
        return None
    if len(data) != SPAN_ID_BYTES:
        raise Rejected(RejectionReason.INVALID_ID, "the parent span id must have 8 bytes or none")
    return data.hex()


def parent_is_remote(flags: int) -> bool | None:
    return bool(flags & _PARENT_IS_REMOTE) if flags & _HAS_REMOTE_FLAG else None


def dropped_counts(attributes: int, events: int, links: int) -> Mapping[str, int]:
    """Numbers of attributes, events and links that the sender dropped, without zeros."""
    counts = {"attributes": attributes, "events": events, "links": links}
    return {name: count for name, count in counts.items() if count}


def checked_span(span: SentSpan) -> SentSpan:
    """The span, or the one that it announces. Raises Rejected."""
    if not span.start_ns:
        raise Rejected(RejectionReason.NO_START_TIME, "the span has no start time")
    _check_storable("the name", span.name)
    _check_columns(span.attributes)
    if span.attributes.get(_SPAN_TYPE) == _PENDING_SPAN:
        return _announced(span)
    return span


def checked_record(record: SentRecord) -> SentRecord:
    """Raises Rejected."""
    if not record.time_ns:
        raise Rejected(RejectionReason.NO_START_TIME, "the record has no time")
    _check_columns(record.attributes)
    return record


def _announced(pending: SentSpan) -> SentSpan:
    """The started span that a pending span of Logfire announces: its parent."""
    if pending.parent_span_id is None:
        raise Rejected(RejectionReason.INVALID_ID, "a pending span must have a parent")
    parent = pending.attributes.get(_PENDING_PARENT_ID)
    try:
        parent_id = parent_id_from(bytes.fromhex(parent) if isinstance(parent, str) else b"")
    except (ValueError, Rejected):
        parent_id = None
    return replace(
        pending,
        span_id=pending.parent_span_id,
        parent_span_id=parent_id,
        parent_is_remote=None,
        end_ns=0,
    )


def _check_columns(attributes: Attributes) -> None:
    for key in _COLUMN_KEYS & attributes.keys():
        _check_storable(f"the attribute {key}", attributes[key])


def half_mark(code_point: int) -> str:
    """Stands after U+0000 for half of a surrogate pair, which no text can contain."""
    return chr(_HALF_MARKS + code_point)


def _check_storable(what: str, value: AttributeValue) -> None:
    """Raises Rejected for a value with U+0000, and for one with marked halves."""
    text = _text_with_nul(value)
    if text is None:
        return
    after = text.partition("\0")[2]
    half = ord(after[0]) - _HALF_MARKS if after else 0
    found = half if half in _HALVES_OF_PAIRS else 0
    raise Rejected(RejectionReason.INVALID_TEXT, f"{what} contains U+{found:04X}")


def _text_with_nul(value: AttributeValue) -> str | None:
    """The first text with U+0000 in a value, keys included."""
    if isinstance(value, str):
        return value if "\0" in value else None
    inner: Iterable[AttributeValue] = ()
    if isinstance(value, Mapping):
        inner = chain.from_iterable(value.items())
    elif isinstance(value, list | tuple):
        inner = value
    return next(filter(None, map(_text_with_nul, inner)), None)
