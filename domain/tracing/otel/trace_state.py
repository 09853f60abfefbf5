"""The row of a trace that is computed from its OpenTelemetry spans.

All functions here depend on the set of spans only, not on the order in which they are given or
arrived. A trace is computed again, from nothing, whenever a fragment of it is stored.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import chain
from operator import attrgetter
from typing import Final, Self
from uuid import UUID

from domain.errors import Invalid
from domain.frozen_by_types import frozen_by_types
from domain.ids import SpanId, TraceId
from domain.tracing.otel.facts import MappedSpan, SpanFacts
from domain.tracing.payloads.payload import (
    EMPTY_OBJECT,
    MERGED_BYTES_MAX,
    OBJECT_VALUES_MAX,
    JsonText,
    check_merged,
    object_from_members,
    object_members,
)
from domain.tracing.span import Span, SpanKind, SpanStatus
from domain.tracing.trace import TraceStatus

OTEL_KEY: Final = "otel"
"""The reserved key of the metadata of traces and spans."""

_MADE_UP_WITHIN_NS: Final = 1_000_000_000
_UUID_VERSION_OF_TIME: Final = 7
_UUID_BITS_AFTER_MS: Final = 80
_NS_PER_MS: Final = 1_000_000
_MEMBER_OVERHEAD_BYTES: Final = 4  # quotes, colon, comma


@frozen_by_types()
class SpanNode:
    """A span of a trace, without payloads, as far as the trace depends on it.

    `span` is settled: kind, status and usage are set. Input, output and metadata may be missing;
    `has_input` and `has_output` say whether they are stored.
    """

    span: Span
    facts: SpanFacts
    has_input: bool
    has_output: bool

    @classmethod
    def from_mapped(cls, mapped: MappedSpan, span: Span) -> Self:
        """`span` is the settled form of the mapped one."""
        return cls(span, mapped.facts, span.input is not None, span.output is not None)


def start_order(node: SpanNode) -> tuple[int, str]:
    """Sorts by start time, then by the span id in hex: the order that the contract names."""
    return node.facts.start_ns, node.facts.hex_id


class TraceFlag(StrEnum):
    """The values of `metadata.otel.flags` of a trace."""

    ROOT_MISSING = "root_missing"
    ROOT_OPEN = "root_open"
    IO_INFERRED = "io_inferred"
    SETUP = "setup"
    TRUNCATED = "truncated"


@dataclass(frozen=True, slots=True)
class StatedPayload:
    """JSON that the sender names as input or output of the whole trace."""

    json: JsonText


@dataclass(frozen=True, slots=True)
class PayloadOf:
    """The input, or output, of this span is that of the trace."""

    span_id: SpanId


@dataclass(frozen=True, slots=True)
class LastMessageOf:
    """The last user message in the input of this span, or the last answer in its output.

    The functions `last_user_message` and `last_answer` read it.
    """

    span_id: SpanId


type PayloadSource = StatedPayload | PayloadOf | LastMessageOf


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputedTrace:
    """A trace as its spans make it.

    `root_ended`: each root candidate of the best rank has ended, so that no worker has to settle
    the trace. `is_setup`: each span only creates an agent, so the trace doesn't belong to a
    conversation and has no session, whatever its spans say. `sender_metadata` is what the sender
    says; `metadata` has the member `otel` too.
    """

    id: TraceId
    name: str
    status: TraceStatus
    started_at: datetime
    ended_at: datetime | None
    session_id: str | None = None
    user_id: str | None = None
    environment: str | None = None
    release: str | None = None
    input: PayloadSource | None = None
    output: PayloadSource | None = None
    tags: tuple[str, ...] = ()
    sender_metadata: JsonText = EMPTY_OBJECT
    service: str | None = None
    flags: frozenset[TraceFlag] = frozenset()
    root_id: SpanId | None = None
    root_ended: bool = False
    is_setup: bool = False

    @property
    def metadata(self) -> JsonText:
        members = object_members(self.sender_metadata)
        return _with_otel(members, self.service, self.flags)


def compute_trace(trace_id: TraceId, nodes: Sequence[SpanNode]) -> ComputedTrace:
    """The trace of the spans known so far, at least one, each once. Never raises."""
    ordered = sorted(nodes, key=start_order)
    rank = _root_candidates(ordered)
    root = rank[0] if rank else None
    payloads = _PayloadsFinder(ordered, root)
    input_, output = payloads.input(), payloads.output()
    inferred = isinstance(input_, LastMessageOf) or isinstance(output, LastMessageOf)
    root_first = ordered if root is None else [root, *ordered]
    service = _first(root_first, "service")
    metadata, is_cut = _sender_metadata(ordered, root, service)
    is_setup = all(map(attrgetter("facts.is_setup"), ordered))
    flags = {
        TraceFlag.IO_INFERRED: inferred,
        TraceFlag.SETUP: is_setup,
        TraceFlag.TRUNCATED: is_cut,
    }
    ended_at = _ended_at(rank)
    return ComputedTrace(
        id=trace_id,
        name=_name(ordered, root),
        status=_status(rank, ended_at),
        started_at=(root or ordered[0]).span.started_at,
        ended_at=ended_at,
        session_id=None if is_setup else _session_id(root_first),
        user_id=_first(root_first, "user_id"),
        environment=_first(root_first, "environment"),
        release=_first(root_first, "release"),
        service=service,
        input=input_,
        output=output,
        tags=tuple(sorted(set(chain.from_iterable(map(attrgetter("facts.tags"), ordered))))),
        sender_metadata=metadata,
        flags=frozenset(flag for flag, is_set in flags.items() if is_set),
        root_id=None if root is None else root.span.id,
        root_ended=ended_at is not None,
        is_setup=is_setup,
    )


def settled_trace(computed: ComputedTrace, nodes: Sequence[SpanNode]) -> ComputedTrace:
    """The trace as a worker settles it, if its root is missing or open; else `computed`.

    A fragment that comes later makes `compute_trace` undo it.
    """
    if computed.root_ended:
        return computed
    failed = any(node.span.status is SpanStatus.ERROR for node in nodes)
    ends = [node.span.ended_at for node in nodes if node.span.ended_at is not None]
    flag = TraceFlag.ROOT_MISSING if computed.root_id is None else TraceFlag.ROOT_OPEN
    return replace(
        computed,
        status=TraceStatus.ERROR if failed else TraceStatus.COMPLETED,
        ended_at=max(ends, default=computed.started_at),
        flags=computed.flags | {flag},
    )


# --- roots ---------------------------------------------------------------------------------


def _root_candidates(ordered: Sequence[SpanNode]) -> Sequence[SpanNode]:
    """The root candidates of the best rank, in order; the first is the root."""
    if roots := [node for node in ordered if node.span.parent_id is None]:
        return roots
    # The caller is another process, which sends nothing here.
    return [node for node in _without_known_parent(ordered) if node.facts.parent_is_remote]


def _without_known_parent(ordered: Sequence[SpanNode]) -> Sequence[SpanNode]:
    known = {node.span.id.int for node in ordered}
    return [
        node
        for node in ordered
        if node.span.parent_id is None or node.span.parent_id.int not in known
    ]


def _ended_at(rank: Sequence[SpanNode]) -> datetime | None:
    """The latest end of root candidates; None without any, or while one of them is open."""
    ends = [node.span.ended_at for node in rank if node.span.ended_at is not None]
    return max(ends) if ends and len(ends) == len(rank) else None


def _status(rank: Sequence[SpanNode], ended_at: datetime | None) -> TraceStatus:
    for node in rank:
        if node.span.status is SpanStatus.ERROR and node.span.ended_at is not None:
            return TraceStatus.ERROR
    return TraceStatus.RUNNING if ended_at is None else TraceStatus.COMPLETED


# --- fields --------------------------------------------------------------------------------


def _first(nodes: Sequence[SpanNode], fact: str) -> str | None:
    """The first value of a fact that isn't empty."""
    return next(filter(None, map(attrgetter(f"facts.{fact}"), nodes)), None)


def _app_root(ordered: Sequence[SpanNode]) -> SpanNode | None:
    """The span that the sender marks as the root of the application, even below others."""
    return next(filter(attrgetter("facts.is_app_root"), ordered), None)


def _name(ordered: Sequence[SpanNode], root: SpanNode | None) -> str:
    if stated := _first(ordered, "trace_name"):
        return stated
    named = _app_root(ordered) or root
    if named is None:
        # Parents that form a cycle are all known: then the first span names the trace.
        named = next(iter(_without_known_parent(ordered)), ordered[0])
    return named.span.name


class _PayloadsFinder:
    """Finds the spans that give a trace its input and output."""

    __slots__ = ("_models", "_ordered", "_spans")

    def __init__(self, ordered: Sequence[SpanNode], root: SpanNode | None) -> None:
        self._ordered = ordered
        self._spans = [node for node in (_app_root(ordered), root) if node is not None]
        self._models = [node for node in ordered if node.span.kind is SpanKind.LLM]

    def input(self) -> PayloadSource | None:
        if stated := _first(self._ordered, "trace_input"):
            return StatedPayload(stated.encode())
        for node in self._spans:
            if node.has_input:
                return PayloadOf(node.span.id)
        asked = (node for node in self._models if node.facts.has_user_message)
        return next((LastMessageOf(node.span.id) for node in asked), None)

    def output(self) -> PayloadSource | None:
        if stated := _first(self._ordered, "trace_output"):
            return StatedPayload(stated.encode())
        for node in self._spans:
            if node.has_output:
                return PayloadOf(node.span.id)
        answered = [node for node in self._models if node.facts.has_assistant_message]
        return LastMessageOf(max(answered, key=_end_order).span.id) if answered else None


def _end_order(node: SpanNode) -> tuple[int, int, str]:
    """Sorts by end time, open spans first; then as `start_order`."""
    return node.facts.end_ns, *start_order(node)


# --- sessions ------------------------------------------------------------------------------


def _session_id(root_first: Sequence[SpanNode]) -> str | None:
    carriers = [node.facts for node in root_first if node.facts.session_id]
    made_up = _made_up_sessions(carriers)
    kept = (
        facts.session_id
        for facts in carriers
        if not (facts.made_up_session and facts.session_id in made_up)
    )
    return next(kept, None)


def _made_up_sessions(carriers: Sequence[SpanFacts]) -> Collection[str]:
    """The conversation ids that a library made up.

    It makes up a UUIDv7 when a run begins. The user's own ids may be UUIDv7 too, of earlier times.
    """
    first_start_ns: dict[str, int] = {}
    for facts in carriers:
        if facts.session_id and facts.made_up_session:
            known = first_start_ns.get(facts.session_id, facts.start_ns)
            first_start_ns[facts.session_id] = min(known, facts.start_ns)
    return {
        session_id
        for session_id, start_ns in first_start_ns.items()
        if (made_ms := _uuid7_ms(session_id)) is not None
        and abs(made_ms * _NS_PER_MS - start_ns) <= _MADE_UP_WITHIN_NS
    }


def _uuid7_ms(text: str) -> int | None:
    """The instant in a UUIDv7, in Unix milliseconds; None for any other text."""
    try:
        uuid = UUID(text)
    except ValueError:
        return None
    return uuid.int >> _UUID_BITS_AFTER_MS if uuid.version == _UUID_VERSION_OF_TIME else None


# --- metadata ------------------------------------------------------------------------------


def _with_otel(
    members: Mapping[str, str], service: str | None, flags: Iterable[TraceFlag]
) -> JsonText:
    otel: dict[str, object] = {} if service is None else {"service": service}
    otel["flags"] = sorted(flags)
    text = json.dumps(otel, ensure_ascii=False, separators=(",", ":"))
    return object_from_members({**members, OTEL_KEY: text})


def _sender_metadata(
    ordered: Sequence[SpanNode], root: SpanNode | None, service: str | None
) -> tuple[JsonText, bool]:
    """The members that the sender states, and whether some were left out.

    A later span overrides an earlier one, and the root overrides both.
    """
    members: dict[str, str] = {}
    for stated in filter(None, map(attrgetter("facts.trace_metadata"), ordered)):
        members |= stated
    if root is not None:
        members |= root.facts.sender_metadata
    members.pop(OTEL_KEY, None)
    if not members:
        return EMPTY_OBJECT, False
    try:
        check_merged(_with_otel(members, service, TraceFlag))  # flags may be set later
    except Invalid:
        return object_from_members(_within_limits(members)), True
    return object_from_members(members), False


def _within_limits(members: Mapping[str, str]) -> Mapping[str, str]:
    """The members that fit, the shortest first: half of what an object may have.

    The other half is for what native reports merge into it. Values are counted from above: commas
    and brackets in texts count too.
    """
    bytes_left, values_left = MERGED_BYTES_MAX // 2, OBJECT_VALUES_MAX // 2
    kept: dict[str, str] = {}
    for key, value in sorted(members.items(), key=lambda member: (len(member[1]), member[0])):
        bytes_left -= len(json.dumps(key)) + len(value.encode()) + _MEMBER_OVERHEAD_BYTES
        values_left -= 1 + sum(map(value.count, ",[{"))
        if bytes_left < 0 or values_left < 0:
            break
        kept[key] = value
    return kept
