"""Monitors as rows, and back."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

import msgspec
from asyncpg import Record

from adapters.postgres.database.columns import Column, Table, compile_reader, object_text
from domain.evaluation.monitors.monitor import Monitor, MonitorStatus, Selection, Watermark
from domain.evaluation.runs.run import TargetType
from domain.evaluation.runs.selection import GivenInstant, SessionSelection, TraceSelection
from domain.tracing.trace import TraceStatus

_DATED: Final = ("date_from", "date_to")
_SELECTION: Final = msgspec.json.Decoder(dict[str, Any])
_WEIGHTS: Final = msgspec.json.Decoder(dict[str, float])


def selection_json(selection: Selection) -> bytes:
    """What is said of targets, without nulls; a date as it was given, with its instant."""
    said = {one.name: getattr(selection, one.name) for one in fields(selection)}
    return msgspec.json.encode(
        {name: _kept(value) for name, value in said.items() if value is not None}
    )


def selection_of(of: TargetType, text: bytes) -> Selection:
    said = _SELECTION.decode(text)
    said |= {name: _dated(said[name]) for name in _DATED if name in said}
    if "tags" in said:
        said["tags"] = tuple(said["tags"])
    if "status" in said:
        said["status"] = TraceStatus(said["status"])
    return TraceSelection(**said) if of is TargetType.TRACE else SessionSelection(**said)


def _kept(value: object) -> object:
    if isinstance(value, GivenInstant):
        return {"given": value.given, "instant": value.instant.isoformat()}
    return value


def _dated(said: Mapping[str, Any]) -> GivenInstant:
    return GivenInstant(said["given"], datetime.fromisoformat(said["instant"]))


def _selection_of(row: Record) -> Selection:
    return selection_of(TargetType(row["target_type"]), row["selection"])


def _watermark_of(row: Record) -> Watermark | None:
    written_at = row["looked_at"]
    return None if written_at is None else Watermark(written_at, row["looked_at_trace"])


MONITORS: Final = Table(
    "monitors",
    ("project_id", "id"),
    (
        Column("project_id", "uuid"),
        Column("id", "uuid"),
        Column("name", "text"),
        Column("target_type", "text", read=TargetType),
        Column("metrics", "text[]", read=tuple),
        Column("selection", "json", write=selection_json),
        Column("signal_weights", "json", write=object_text, read=_WEIGHTS.decode),
        Column("sampling_rate", "float8"),
        Column("model", "text"),
        Column("votes", "int"),
        Column("max_cost_usd", "numeric"),
        Column("cadence", "text"),
        Column("only_if_changed", "boolean"),
        Column("status", "text", read=MonitorStatus),
        Column("last_run_at", "timestamptz"),
        Column("last_run_id", "uuid"),
        Column("next_run_at", "timestamptz"),
        Column("looked_at", "timestamptz", "watermark", write=lambda at: at and at.written_at),
        Column("looked_at_trace", "uuid", "watermark", write=lambda at: at and at.trace),
        Column("created_at", "timestamptz"),
        Column("updated_at", "timestamptz"),
    ),
)
monitor_row: Final = MONITORS.compile_row()
monitor_of: Final = compile_reader(
    Monitor, MONITORS.fields_of(Monitor), selection=_selection_of, watermark=_watermark_of
)
