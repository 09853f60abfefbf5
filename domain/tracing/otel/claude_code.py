"""The spans that log records belong to. Claude Code attaches its records to another span.

Its spans of model requests carry no content and no cost: these come as records that name the
interaction span, so that only their time tells which request they describe.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from typing import Final

from domain.ids import SpanId, TraceId
from domain.tracing.otel.fragments import SentRecord, otel_span_id
from domain.tracing.otel.trace_state import SpanNode, start_order
from domain.tracing.span import SpanKind

API_REQUEST: Final = "claude_code.api_request"
ASSISTANT_RESPONSE: Final = "claude_code.assistant_response"
TOOL_RESULT: Final = "claude_code.tool_result"
ASSIGNED_RECORDS: Final = frozenset({API_REQUEST, ASSISTANT_RESPONSE, TOOL_RESULT})
"""The names of records that belong to other spans than the one they name."""

_OUTLINE_ATTRIBUTES: Final = frozenset({"tool_use_id", "event.sequence"})
_OUTSIDE_MAX_NS: Final = 1_000_000_000
_NO_END_NS: Final = 1 << 64  # of an open span: later than any time of OTLP


def assign_claude_records[Digest: (bytes, str)](
    trace_id: TraceId, records: Sequence[tuple[Digest, SentRecord]], nodes: Sequence[SpanNode]
) -> dict[Digest, tuple[SpanId, ...]]:
    """The spans that take each record, by the digest of the record; only those that have any.

    A record of a response may have two: the span of its request, and, if it is the last of the
    trace, the span that it names. A record under another name belongs to the span that it names.
    Depends on the sets only, and is to be computed again when spans or records come.
    """
    requests = _RequestTimes(nodes)
    tools = _tools(nodes)
    known = {node.span.id for node in nodes}
    last = max(
        ((_response_order(record), digest) for digest, record in records if _is_response(record)),
        default=None,
    )
    assigned: dict[Digest, tuple[SpanId, ...]] = {}
    for digest, record in records:
        spans: list[SpanId | None] = []
        if record.name in {API_REQUEST, ASSISTANT_RESPONSE}:
            spans.append(requests.nearest(record.time_ns))
        elif record.name == TOOL_RESULT:
            spans.append(tools.get(str(record.attributes.get("tool_use_id"))))
        is_last = last is not None and digest == last[1]
        if record.span_id is not None and (is_last or record.name not in ASSIGNED_RECORDS):
            own = otel_span_id(trace_id, record.span_id)
            spans.append(own if own in known else None)
        if found := tuple(dict.fromkeys(span for span in spans if span is not None)):
            assigned[digest] = found
    return assigned


def record_outline(record: SentRecord) -> SentRecord:
    """The record as far as its assignment depends on it."""
    attributes = {
        key: value for key, value in record.attributes.items() if key in _OUTLINE_ATTRIBUTES
    }
    return SentRecord(
        name=record.name, time_ns=record.time_ns, span_id=record.span_id, attributes=attributes
    )


def changed_owners[Digest: (bytes, str)](
    before: Mapping[Digest, Collection[SpanId]], after: Mapping[Digest, Collection[SpanId]]
) -> set[SpanId]:
    """The spans that take other records than before."""
    changed: set[SpanId] = set()
    for digest in before.keys() | after.keys():
        changed.update(set(before.get(digest, ())) ^ set(after.get(digest, ())))
    return changed


def _is_response(record: SentRecord) -> bool:
    return record.name == ASSISTANT_RESPONSE


def _response_order(record: SentRecord) -> tuple[int, int, str]:
    """Sorts by time, which Claude Code gives in ms; then by its own sequence number.

    Those without one are sorted by their span; the last difference is the digest.
    """
    sequence = record.attributes.get("event.sequence")
    number = sequence if isinstance(sequence, int) else 0
    return record.time_ns, number, record.span_id or ""


def _tools(nodes: Sequence[SpanNode]) -> dict[str, SpanId]:
    """The TOOL spans by the id of their call; of several the first."""
    tools: dict[str, SpanId] = {}
    for node in sorted(nodes, key=start_order):
        if node.span.kind is SpanKind.TOOL and node.facts.tool_use_id:
            tools.setdefault(node.facts.tool_use_id, node.span.id)
    return tools


class _RequestTimes:
    """The spans of model requests, searched by time in logarithmic steps."""

    __slots__ = ("_ids", "_latest_ends", "_starts")

    def __init__(self, nodes: Sequence[SpanNode]) -> None:
        requests = sorted((one for one in nodes if one.facts.is_claude_request), key=start_order)
        self._ids = [one.span.id for one in requests]
        self._starts = [one.facts.start_ns for one in requests]
        # The latest end of each span and those that started earlier.
        self._latest_ends = list(accumulate(map(_end_ns, requests), max))

    def nearest(self, time_ns: int) -> SpanId | None:
        """The span nearest in time, at most 1 s away. Ties: the earlier start, then the id."""
        containing = bisect_left(self._latest_ends, time_ns)
        started = bisect_right(self._starts, time_ns)
        if containing < started:
            return self._ids[containing]
        distances: list[tuple[int, int]] = []
        if started > 0:  # all of these ended before
            latest = self._latest_ends[started - 1]
            distances.append((time_ns - latest, bisect_left(self._latest_ends, latest)))
        if started < len(self._starts):
            distances.append((self._starts[started] - time_ns, started))
        distance, index = min(distances, default=(_NO_END_NS, 0))
        return self._ids[index] if distance <= _OUTSIDE_MAX_NS else None


def _end_ns(node: SpanNode) -> int:
    """The end, never before the start: clocks may disagree."""
    return max(node.facts.end_ns, node.facts.start_ns) if node.facts.end_ns else _NO_END_NS
