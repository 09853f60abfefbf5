"""Maps runs and their tallies to rows and back."""

from typing import Final

import msgspec
from asyncpg import Record

from adapters.postgres.database.columns import Column, Table, compile_reader, object_text
from adapters.postgres.evaluation.custom_metrics.definition_rows import (
    decode_definitions,
    encode_definitions,
)
from domain.evaluation.runs.run import EvalRun, RunStatus, Tally, TargetType

_KEY: Final = ("project_id", "id")
_WEIGHTS_DECODER: Final = msgspec.json.Decoder(dict[str, float])
_CODES_DECODER: Final = msgspec.json.Decoder(dict[str, int])

RUNS: Final = Table(
    "eval_runs",
    _KEY,
    (
        Column("project_id", "uuid"),
        Column("id", "uuid"),
        Column("target_type", "text", read=TargetType),
        Column("name", "text"),
        Column("metrics", "text[]", read=tuple),
        Column("targets", "int"),
        Column("filters", "json"),
        Column("sampling_rate", "float8"),
        Column("model", "text"),
        Column("signal_weights", "json", write=object_text, read=_WEIGHTS_DECODER.decode),
        Column("definitions", "json", write=encode_definitions, read=decode_definitions),
        Column("votes", "int"),
        Column("max_cost_usd", "numeric"),
        Column("monitor_id", "uuid"),
        Column("status", "text", read=RunStatus),
        Column("error_message", "text"),
        Column("created_at", "timestamptz"),
        Column("completed_at", "timestamptz"),
    ),
)
_TALLIES: Final = Table(
    "eval_runs",
    _KEY,
    (
        Column("evaluated_count", "int", "evaluated"),
        Column("scored_count", "int", "scored"),
        Column("failed_count", "int", "failed"),
        Column("skipped_count", "int", "skipped"),
        Column("codes", "json", write=object_text, read=_CODES_DECODER.decode),
    ),
)
"""Values in the order of TALLY_COLUMNS."""
RUN_COLUMNS: Final = RUNS.names
TALLY_COLUMNS: Final = _TALLIES.names

run_row: Final = RUNS.compile_row()
run_from_row: Final = compile_reader(EvalRun, RUNS.fields_of(EvalRun))
tally_row: Final = _TALLIES.compile_row()
_tally_of: Final = compile_reader(Tally, _TALLIES.fields_of(Tally))


def final_tally(row: Record) -> Tally | None:
    """The tally of a finished run; None while it is running."""
    return None if row["evaluated_count"] is None else _tally_of(row)
