"""Maps monitors to rows and back."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from asyncpg import Record

from adapters.postgres.database.statements.columns import Column, Table, columns, object_text
from domain.evaluation.monitors.monitor import Monitor, MonitorStatus, Selection, Watermark
from domain.evaluation.runs.run import TargetType
from domain.evaluation.runs.selection import (
    GivenInstant,
    SessionSelection,
    TraceSelection,
    given_filters,
)
from domain.tracing.query import ScoredOutcome
from domain.tracing.span import SpanKind
from domain.tracing.trace import TraceStatus

_INSTANT_FIELDS: Final = ("date_from", "date_to", "started_after", "started_before")
_METADATA_FIELDS: Final = {"metadata", "not_metadata"}
_ENUM_FIELDS: Final = {
    "status": TraceStatus,
    "score_outcome": ScoredOutcome,
    "span_kind": SpanKind,
}
_SELECTION_DECODER: Final = msgspec.json.Decoder(dict[str, Any])
_WEIGHTS_DECODER: Final = msgspec.json.Decoder(dict[str, float])


def encode_selection(selection: Selection) -> bytes:
    """The selection without nulls; a date as it was given, and its instant."""
    return msgspec.json.encode(
        {name: _encode_value(value) for name, value in given_filters(selection).items()}
    )


def decode_selection(target_type: TargetType, text: bytes) -> Selection:
    values = _SELECTION_DECODER.decode(text)
    values |= {name: _decode_instant(values[name]) for name in _INSTANT_FIELDS if name in values}
    for name in _METADATA_FIELDS & values.keys():
        values[name] = tuple((key, tuple(some)) for key, some in values[name].items())
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = tuple(value)
    for name in _ENUM_FIELDS.keys() & values.keys():
        values[name] = _ENUM_FIELDS[name](values[name])
    return (
        TraceSelection(**values) if target_type is TargetType.TRACE else SessionSelection(**values)
    )


def _encode_value(value: object) -> object:
    if isinstance(value, GivenInstant):
        return {"given": value.given, "instant": value.instant.isoformat()}
    return value


def _decode_instant(value: Mapping[str, Any]) -> GivenInstant:
    return GivenInstant(value["given"], datetime.fromisoformat(value["instant"]))


def _selection_of(row: Record) -> Selection:
    return decode_selection(TargetType(row["target_type"]), row["selection"])


def _watermark_of(row: Record) -> Watermark | None:
    written_at = row["looked_at"]
    return None if written_at is None else Watermark(written_at, row["looked_at_trace"])


MONITORS: Final = Table(
    "monitors",
    (
        *columns("project_id uuid, id uuid, name text, created_at timestamptz"),
        Column("target_type", "text", read=TargetType),
        Column("metrics", "text[]", read=tuple),
        Column("selection", "json", write=encode_selection),
        Column("signal_weights", "json", write=object_text, read=_WEIGHTS_DECODER.decode),
        *columns("sampling_rate float8, model text, votes int, max_cost_usd numeric"),
        *columns("cadence text, only_if_changed boolean, settled_only boolean"),
        Column("status", "text", read=MonitorStatus),
        *columns("last_run_at timestamptz, last_run_id uuid, next_run_at timestamptz"),
        *columns("empty_slots int"),
        Column("looked_at", "timestamptz", "watermark", write=lambda at: at and at.written_at),
        Column("looked_at_trace", "uuid", "watermark", write=lambda at: at and at.trace),
        *columns("updated_at timestamptz"),
    ),
)
monitor_row: Final = MONITORS.compile_row()
monitor_from_row: Final = MONITORS.compile_reader(
    Monitor, selection=_selection_of, watermark=_watermark_of
)
