"""The interface that each wire type implements."""

from typing import Protocol

from adapters.otlp.decoding.fragments import Context
from adapters.otlp.decoding.outline import Encoded, Group
from domain.ids import TraceId
from domain.tracing.otel.fragments import SentRecord, SentSpan
from domain.tracing.otel.requests import Signal


class ItemDecoder(Protocol):
    """Decodes requests of one wire type.

    `context`, `span` and `record` raise Rejected for what can't be decoded or stored.
    """

    def outline(self, body: bytes, signal: Signal, items_max: int) -> list[Group]:
        """Raises UndecodableRequest, TooManyItems."""
        ...

    def context(self, group: Group) -> Context: ...

    def span(self, item: Encoded, context: Context) -> tuple[TraceId, SentSpan]: ...

    def record(self, item: Encoded, context: Context) -> tuple[TraceId | None, SentRecord] | None:
        """None for a record that isn't kept."""
        ...

    def ids(self, item: Encoded, signal: Signal) -> tuple[str | None, str | None]:
        """The ids of trace and span in hex, as far as they can be found. Never raises."""
        ...
