"""Runs as rows, and back."""

from typing import Final

import msgspec
from asyncpg import Record

from adapters.postgres.evaluation.custom_metrics.definition_rows import (
    definitions_json,
    definitions_of,
)
from domain.evaluation.runs.run import EvalRun, RunStatus, Tally, TargetType
from domain.ids import RunId

RUN_COLUMNS: Final = (
    "project_id", "id", "target_type", "name", "metrics", "targets", "filters", "sampling_rate",
    "model", "signal_weights", "definitions", "votes", "max_cost_usd", "monitor_id", "status",
    "error_message", "created_at", "completed_at",
)  # fmt: skip
TALLY_COLUMNS: Final = (
    "evaluated_count", "scored_count", "failed_count", "skipped_count", "codes",
)  # fmt: skip

_WEIGHTS: Final = msgspec.json.Decoder(dict[str, float])
_CODES: Final = msgspec.json.Decoder(dict[str, int])


def run_row(run: EvalRun) -> tuple[object, ...]:
    """A run in the order of RUN_COLUMNS."""
    return (
        run.project_id, run.id, run.target_type, run.name, run.metrics, run.targets, run.filters,
        run.sampling_rate, run.model, msgspec.json.encode(dict(run.signal_weights)),
        definitions_json(run.definitions), run.votes, run.max_cost_usd, run.monitor_id,
        run.status, run.error_message, run.created_at, run.completed_at,
    )  # fmt: skip


def run_of(row: Record) -> EvalRun:
    return EvalRun(
        id=RunId(row["id"]),
        project_id=row["project_id"],
        target_type=TargetType(row["target_type"]),
        name=row["name"],
        metrics=tuple(row["metrics"]),
        targets=row["targets"],
        filters=row["filters"],
        sampling_rate=row["sampling_rate"],
        model=row["model"],
        signal_weights=_WEIGHTS.decode(row["signal_weights"]),
        definitions=definitions_of(row["definitions"]),
        votes=row["votes"],
        max_cost_usd=row["max_cost_usd"],
        monitor_id=row["monitor_id"],
        status=RunStatus(row["status"]),
        error_message=row["error_message"],
        created_at=row["created_at"],
        completed_at=row["completed_at"],
    )


def tally_row(tally: Tally) -> tuple[object, ...]:
    """What a run came to, in the order of TALLY_COLUMNS."""
    counts = (tally.evaluated, tally.scored, tally.failed, tally.skipped)
    return (*counts, msgspec.json.encode(dict(tally.codes)))


def final_tally(row: Record) -> Tally | None:
    """None while the run of a row goes on."""
    if row["evaluated_count"] is None:
        return None
    return Tally(
        evaluated=row["evaluated_count"],
        scored=row["scored_count"],
        failed=row["failed_count"],
        skipped=row["skipped_count"],
        codes=_CODES.decode(row["codes"]),
    )
