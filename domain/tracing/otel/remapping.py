"""The changes of a stored span when a later version of the mapping is applied to its fragments."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

from domain.ids import ProjectId, TraceId
from domain.tracing.otel.facts import SpanFacts
from domain.tracing.otel.stored_spans import without_role
from domain.tracing.otel.trace_state import OTEL_KEY
from domain.tracing.payloads.payload import JsonText, object_members
from domain.tracing.span import Span

CHANGE_TEXT_CHARS_MAX: Final = 200

# The role follows from the tree; a price that is known stays; `metadata` is compared by member.
_SPAN_FIELDS: Final = [
    one.name
    for one in fields(Span)
    if one.name not in {"id", "usage_role", "charge", "metadata"}
]  # fmt: skip
# Native changes aren't the mapping's. The last two say how the values were found.
_FACTS: Final = [
    one.name
    for one in fields(SpanFacts)
    if one.name not in {"native_names", "native_metadata", "mapping_version", "won_keys"}
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """A field of a span, or a fact that its trace is computed from, before and after.

    `span_id` has the 16 hex digits. The values are texts, cut to CHANGE_TEXT_CHARS_MAX.
    """

    project: ProjectId
    trace: TraceId
    span_id: str
    field: str
    before: str
    after: str


def field_changes(
    project: ProjectId,
    trace: TraceId,
    before: tuple[Span, SpanFacts],
    after: tuple[Span, SpanFacts],
) -> Sequence[FieldChange]:
    """The fields that differ between the settled forms of a span, by name."""
    old, new = without_role(before[0]), without_role(after[0])
    found = _differing(_SPAN_FIELDS, old, new) | _differing(_FACTS, before[1], after[1])
    if not _is_same_metadata(old.metadata, new.metadata):
        found["metadata"] = (old.metadata, new.metadata)
    if _amount(old) != _amount(new):
        found["cost_amount"] = (_amount(old), _amount(new))
    return [
        FieldChange(
            project=project,
            trace=trace,
            span_id=after[1].hex_id,
            field=name,
            before=_text(values[0]),
            after=_text(values[1]),
        )
        for name, values in sorted(found.items())
    ]


def _differing(
    names: Sequence[str], before: object, after: object
) -> dict[str, tuple[object, object]]:
    pairs = ((name, getattr(before, name), getattr(after, name)) for name in names)
    return {name: (old, new) for name, old, new in pairs if old != new}


def _is_same_metadata(before: JsonText, after: JsonText) -> bool:
    """Compares members, since a native write, or a role that went, may have changed their order."""
    if before == after:
        return True
    old, new = object_members(before), object_members(after)
    old_otel, new_otel = old.pop(OTEL_KEY, "{}"), new.pop(OTEL_KEY, "{}")
    return old == new and _otel_members(old_otel) == _otel_members(new_otel)


def _otel_members(text: str) -> object:
    # A native write may have put anything there.
    return object_members(text.encode()) if text[0] == "{" else text


def _amount(span: Span) -> object:
    return None if span.charge is None else span.charge.amount


def _text(value: object) -> str:
    if value is None:
        return "null"
    text = value.decode() if isinstance(value, bytes) else str(value)
    return text[:CHANGE_TEXT_CHARS_MAX]
