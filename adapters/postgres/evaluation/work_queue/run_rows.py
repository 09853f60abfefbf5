"""Maps runs and their tallies to rows and back."""

from typing import Final

import msgspec
from asyncpg import Record

from adapters.postgres.database.statements.columns import Column, Table, columns, object_text
from adapters.postgres.evaluation.custom_metrics.definition_rows import (
    decode_definitions,
    encode_definitions,
)
from domain.evaluation.runs.run import EvalRun, RunStatus, Tally, TargetType

_WEIGHTS_DECODER: Final = msgspec.json.Decoder(dict[str, float])
_CODES_DECODER: Final = msgspec.json.Decoder(dict[str, int])

RUNS: Final = Table(
    "eval_runs",
    (
        *columns("project_id uuid, id uuid, name text, targets int, filters json"),
        Column("target_type", "text", read=TargetType),
        Column("metrics", "text[]", read=tuple),
        *columns("sampling_rate float8, settled_only boolean"),
        *columns("model text, votes int, max_cost_usd numeric"),
        Column("signal_weights", "json", write=object_text, read=_WEIGHTS_DECODER.decode),
        Column("definitions", "json", write=encode_definitions, read=decode_definitions),
        Column("status", "text", read=RunStatus),
        *columns("monitor_id uuid, error_message text"),
        *columns("created_at timestamptz, completed_at timestamptz"),
    ),
)
_TALLIES: Final = Table(
    "eval_runs",
    (
        Column("evaluated_count", "int", "evaluated"),
        Column("scored_count", "int", "scored"),
        Column("failed_count", "int", "failed"),
        Column("skipped_count", "int", "skipped"),
        Column("codes", "json", write=object_text, read=_CODES_DECODER.decode),
    ),
)
"""Values in the order of TALLY_COLUMNS."""
RUNS_WITH_TALLIES: Final = Table("eval_runs", (*RUNS.columns, *_TALLIES.columns))
RUN_COLUMNS: Final = RUNS.names
TALLY_COLUMNS: Final = _TALLIES.names

# For work on targets: it needs no filters, and those of a run over ids have up to four megabytes.
RUN_WITHOUT_FILTERS: Final = ", ".join(
    "'{}'::json AS filters" if name == "filters" else name for name in RUN_COLUMNS
)

run_row: Final = RUNS.compile_row()
run_from_row: Final = RUNS.compile_reader(EvalRun)
tally_row: Final = _TALLIES.compile_row()
_tally_from_row: Final = _TALLIES.compile_reader(Tally)


def final_tally(row: Record) -> Tally | None:
    """The tally of a finished run; None while it is running."""
    return None if row["evaluated_count"] is None else _tally_from_row(row)
