"""The stored form of OpenTelemetry spans: priced once, and with their usage roles."""

import json
from dataclasses import replace
from typing import Final

from domain.tracing.otel.trace_state import OTEL_KEY
from domain.tracing.payloads.payload import JsonText, object_from_members, object_members
from domain.tracing.span import Span
from domain.tracing.usage import NO_USAGE, CostSource, Pricing, UsageRole

ROLE_KEY: Final = "usage_role"
"""The member of `metadata.otel` that repeats the column of the same name."""


def settled_span(mapped: Span, stored: Span | None, pricing: Pricing) -> Span:
    """The settled form of a mapped span, of which `stored` is the version known before.

    A span keeps its price while what is priced stays the same: prices may have changed since.
    """
    span = mapped.settled(pricing)
    # Without tokens the price is 0, or none if none were counted, which no row records.
    if stored is None or stored.usage in {None, NO_USAGE} or _priced_by(stored) != _priced_by(span):
        return span
    return replace(span, charge=stored.charge)


def _priced_by(span: Span) -> tuple[object, ...]:
    # The row of a stored span doesn't say which members a client's cost had.
    charge = span.charge
    is_stated = charge is not None and charge.source is CostSource.CLIENT
    stated = charge.amount if charge is not None and is_stated else None
    return (
        stated, span.model, span.provider, span.request_model, span.usage, span.started_at
    )  # fmt: skip


def with_role(span: Span, role: UsageRole | None) -> Span:
    """A span without a role, with this one: in its metadata too."""
    if role is None:
        return span
    return replace(span, usage_role=role, metadata=metadata_with_role(span.metadata, role))


def without_role(span: Span) -> Span:
    """The inverse of `with_role`."""
    if span.usage_role is None:
        return span
    members, otel = _members(span.metadata)
    otel.pop(ROLE_KEY, None)
    return replace(span, usage_role=None, metadata=_metadata(members, otel))


def metadata_with_role(metadata: JsonText, role: UsageRole) -> JsonText:
    """The metadata of a span, with its usage role in the member `otel`."""
    members, otel = _members(metadata)
    otel[ROLE_KEY] = json.dumps(role.value)
    return _metadata(members, otel)


def _members(metadata: JsonText) -> tuple[dict[str, str], dict[str, str]]:
    members = object_members(metadata)
    otel = members.get(OTEL_KEY, "{}")
    # A native write may have put anything there.
    return members, object_members(otel.encode()) if otel[0] == "{" else {}


def _metadata(members: dict[str, str], otel: dict[str, str]) -> JsonText:
    return object_from_members(members | {OTEL_KEY: object_from_members(otel).decode()})
