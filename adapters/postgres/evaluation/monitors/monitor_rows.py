"""Monitors as rows, and back."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

import msgspec
from asyncpg import Record

from domain.evaluation.monitors.monitor import Monitor, MonitorStatus, Selection, Watermark
from domain.evaluation.runs.run import TargetType
from domain.evaluation.runs.selection import GivenInstant, SessionSelection, TraceSelection
from domain.ids import MonitorId, ProjectId, RunId
from domain.tracing.trace import TraceStatus

MONITOR_COLUMNS: Final = (
    "project_id", "id", "name", "target_type", "metrics", "selection", "signal_weights",
    "sampling_rate", "model", "votes", "max_cost_usd", "cadence", "only_if_changed", "status",
    "last_run_at", "last_run_id", "next_run_at", "looked_at", "looked_at_trace", "created_at",
    "updated_at",
)  # fmt: skip

_DATED: Final = ("date_from", "date_to")
_SELECTION: Final = msgspec.json.Decoder(dict[str, Any])
_WEIGHTS: Final = msgspec.json.Decoder(dict[str, float])


def monitor_row(monitor: Monitor) -> tuple[object, ...]:
    """A monitor in the order of MONITOR_COLUMNS."""
    mark = monitor.watermark
    return (
        monitor.project_id, monitor.id, monitor.name, monitor.target_type, monitor.metrics,
        selection_json(monitor.selection), msgspec.json.encode(dict(monitor.signal_weights)),
        monitor.sampling_rate, monitor.model, monitor.votes, monitor.max_cost_usd,
        monitor.cadence, monitor.only_if_changed, monitor.status, monitor.last_run_at,
        monitor.last_run_id, monitor.next_run_at, mark and mark.written_at, mark and mark.trace,
        monitor.created_at, monitor.updated_at,
    )  # fmt: skip


def monitor_of(row: Record) -> Monitor:
    of = TargetType(row["target_type"])
    marked, trace = row["looked_at"], row["looked_at_trace"]
    return Monitor(
        id=MonitorId(row["id"]),
        project_id=ProjectId(row["project_id"]),
        name=row["name"],
        target_type=of,
        metrics=tuple(row["metrics"]),
        selection=selection_of(of, row["selection"]),
        signal_weights=_WEIGHTS.decode(row["signal_weights"]),
        sampling_rate=row["sampling_rate"],
        model=row["model"],
        votes=row["votes"],
        max_cost_usd=row["max_cost_usd"],
        cadence=row["cadence"],
        only_if_changed=row["only_if_changed"],
        status=MonitorStatus(row["status"]),
        last_run_at=row["last_run_at"],
        last_run_id=None if row["last_run_id"] is None else RunId(row["last_run_id"]),
        next_run_at=row["next_run_at"],
        watermark=None if marked is None else Watermark(marked, trace),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


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
