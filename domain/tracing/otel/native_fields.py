"""Traces and spans that OpenTelemetry fragments and native requests report together.

A field that a native write changed is kept when the trace is computed again from its spans, or the
span from its fragments.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final, Self

from domain.tracing.otel.facts import MappedSpan, SpanFacts
from domain.tracing.otel.trace_state import OTEL_KEY, ComputedTrace
from domain.tracing.payloads.payload import JsonText, object_from_members, object_members
from domain.tracing.span import Span, SpanKind, SpanStatus
from domain.tracing.trace import Trace

_NOT_COMPUTED: Final = frozenset({"id", "metadata", "spans", "new_status"})
_DEFAULTS: Final = {
    one.name: () if one.name == "tags" else None
    for one in fields(Trace)
    if one.name not in _NOT_COMPUTED
}
# Usage and charge follow from the other fields; the role follows from the tree.
_SPAN_FIELDS: Final = frozenset(one.name for one in fields(Span)) - {
    *("id", "metadata", "usage", "usage_role", "charge")
}
# A settled span that says neither kind nor status has these.
_SPAN_DEFAULTS: Final = {"kind": SpanKind.OTHER, "status": SpanStatus.UNSET}


@dataclass(frozen=True, slots=True)
class NativeFields:
    """The fields of a trace or span, and members of its metadata, that native writes changed."""

    names: frozenset[str] = frozenset()
    metadata_keys: frozenset[str] = frozenset()

    @classmethod
    def from_write(cls, before: Trace | None, after: Trace) -> Self:
        """The fields that a native write changed; all that it set if it created the trace."""
        names = {
            name
            for name, default in _DEFAULTS.items()
            if getattr(after, name) != (default if before is None else getattr(before, name))
        }
        known = {} if before is None else object_members(before.metadata)
        return cls(frozenset(names), _changed_keys(known, after.metadata))

    @classmethod
    def from_span_write(cls, before: Span, after: Span) -> Self:
        """The fields of a span that a native write changed."""
        names = {one for one in _SPAN_FIELDS if getattr(before, one) != getattr(after, one)}
        known = object_members(before.metadata)
        return cls(frozenset(names), _changed_keys(known, after.metadata))

    @classmethod
    def from_native_span(cls, span: Span) -> Self:
        """All that a settled span says that a native write created."""
        names = {
            one
            for one in _SPAN_FIELDS
            if (value := getattr(span, one)) is not None and value != _SPAN_DEFAULTS.get(one)
        }
        return cls(frozenset(names), _changed_keys({}, span.metadata))

    def __or__(self, other: Self) -> Self:
        return replace(
            self,
            names=self.names | other.names,
            metadata_keys=self.metadata_keys | other.metadata_keys,
        )


def _changed_keys(known: Mapping[str, str], metadata: JsonText) -> frozenset[str]:
    members = object_members(metadata).items()
    return frozenset({key for key, text in members if known.get(key) != text} - {OTEL_KEY})


def edited_facts(facts: SpanFacts, before: Span, after: Span) -> SpanFacts:
    """The facts of a span after a native write changed it."""
    changed = NativeFields.from_span_write(before, after)
    return replace(
        facts,
        native_names=tuple(sorted(changed.names.union(facts.native_names))),
        native_metadata=tuple(sorted(changed.metadata_keys.union(facts.native_metadata))),
    )


def remapped_span(mapped: MappedSpan, known: Span, facts: SpanFacts) -> MappedSpan:
    """A span that was mapped again, with the fields of `known`, the stored one, that are native.

    `facts` are those of `known`.
    """
    if not facts.is_edited:
        return mapped
    names = set(facts.native_names) & _SPAN_FIELDS
    native = NativeFields(metadata_keys=frozenset(facts.native_metadata))
    kept = {name: getattr(known, name) for name in names}
    if "token_usage" in names:
        kept["usage"] = None if known.usage is None else known.usage.unless_recounted
    return replace(
        mapped,
        span=replace(
            mapped.span, metadata=_with_native(mapped.span.metadata, known, native), **kept
        ),
        facts=replace(
            mapped.facts, native_names=facts.native_names, native_metadata=facts.native_metadata
        ),
    )


def joined_span(mapped: MappedSpan, known: Span) -> MappedSpan:
    """The first fragments of a span that a native write created: all that `known` says stays."""
    said = NativeFields.from_native_span(known)
    facts = replace(
        mapped.facts,
        native_names=tuple(sorted(said.names)),
        native_metadata=tuple(sorted(said.metadata_keys)),
    )
    return remapped_span(mapped, known, facts)


def recomputed_trace(
    known: Trace | None,
    computed: ComputedTrace,
    native: NativeFields,
    *,
    input: JsonText | None,  # noqa: A002 - the name of the field
    output: JsonText | None,
) -> Trace:
    """The row of the trace: as computed, but for the fields of `known` that are native.

    `input` and `output` are what the sources in `computed` lead to. Spans stay those of `known`.
    """
    trace = Trace(
        id=computed.id,
        name=computed.name,
        status=computed.status,
        started_at=computed.started_at,
        ended_at=computed.ended_at,
        session_id=computed.session_id,
        user_id=computed.user_id,
        environment=computed.environment,
        release=computed.release,
        input=input,
        output=output,
        tags=computed.tags,
        metadata=computed.metadata,
    )
    if known is None:
        return trace
    kept = {name: getattr(known, name) for name in native.names & _DEFAULTS.keys()}
    return replace(
        trace, metadata=_with_native(trace.metadata, known, native), spans=known.spans, **kept
    )


def _with_native(metadata: JsonText, known: Trace | Span, native: NativeFields) -> JsonText:
    if not native.metadata_keys:
        return metadata
    members = object_members(known.metadata).items()
    kept = {key: text for key, text in members if key in native.metadata_keys}
    return object_from_members(object_members(metadata) | kept)
