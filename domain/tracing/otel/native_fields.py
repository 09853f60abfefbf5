"""Traces that OpenTelemetry spans and native requests report together.

A field that a native write changed is kept when the trace is computed again from its spans.
"""

from dataclasses import dataclass, fields, replace
from typing import Final, Self

from domain.tracing.otel.trace_state import OTEL_KEY, ComputedTrace
from domain.tracing.payload import JsonText, object_from_members, object_members
from domain.tracing.trace import Trace

_NOT_COMPUTED: Final = frozenset({"id", "metadata", "spans", "new_status"})
_DEFAULTS: Final = {
    one.name: () if one.name == "tags" else None
    for one in fields(Trace)
    if one.name not in _NOT_COMPUTED
}


@dataclass(frozen=True, slots=True)
class NativeFields:
    """The fields of a trace, and the members of its metadata, that native writes changed."""

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
        members = object_members(after.metadata).items()
        keys = {key for key, text in members if known.get(key) != text}
        return cls(frozenset(names), frozenset(keys - {OTEL_KEY}))

    def __or__(self, other: Self) -> Self:
        return replace(
            self,
            names=self.names | other.names,
            metadata_keys=self.metadata_keys | other.metadata_keys,
        )


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


def _with_native(metadata: JsonText, known: Trace, native: NativeFields) -> JsonText:
    if not native.metadata_keys:
        return metadata
    members = object_members(known.metadata).items()
    kept = {key: text for key, text in members if key in native.metadata_keys}
    return object_from_members(object_members(metadata) | kept)
