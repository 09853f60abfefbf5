"""Maps scores to rows and back.

Parts of the value and metadata are columns too, so that they can be averaged, compared or searched:
`number`, `judge_kind`, `fingerprint`, `evidence_hash`, `original`, `code`. `fingerprint` and
`evidence_hash`, by which a signal is found again, are set for scores of runs only, and stay when
the run is deleted: any client may write a score that looks like a signal.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT
from adapters.postgres.database.statements.columns import WHOLE, Column, Table, columns
from domain.evaluation.agreement.calibration import original_score
from domain.evaluation.runs.run import TargetType
from domain.evaluation.scores.score import (
    JUDGE_KIND_CHARS_MAX,
    DataType,
    Score,
    ScoreBrief,
    ScoreOutcome,
    ScoreRevision,
    ScoreSource,
    SessionScore,
    TraceScore,
    storable_text,
)
from domain.tracing.payloads.payload import scalar_members
from domain.tracing.payloads.read_limit import ROW_BYTES

# The size of a row, once read.
SCORE_BYTES: Final = f"""(
  {ROW_BYTES} + coalesce(octet_length(reason), 0) + octet_length(metadata::text)
  + octet_length(history::text)
)"""
RUN_COLUMNS: Final = frozenset({"fingerprint", "evidence_hash"})  # set for scores of runs only
SCORES_OF_TRACES: Final = f"{IN_PROJECT} AND NOT is_of_span"  # in `trace_scores`


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTable[S: Score](Table):
    """The table of the scores of one target type; `target` is the column with the target."""

    target: str
    target_missing: str
    row: Callable[[S], tuple[object, ...]]
    score: Callable[[Record], S]


def _fingerprint(score: Score) -> str | None:
    return _run_metadata(score, "fingerprint")


def _evidence_hash(score: Score) -> str | None:
    return _run_metadata(score, "evidence_hash")


def _run_metadata(score: Score, key: str) -> str | None:
    return None if score.run_id is None else _storable(scalar_members(score.metadata).get(key))


def _judge_kind(kind: str | None) -> str | None:
    # Truncated, because it is part of indexes, whose entries are bounded, and clients may write any
    # text.
    return _storable(None if kind is None else kind[:JUDGE_KIND_CHARS_MAX])


def _storable(text: str | None) -> str | None:
    return None if text is None else storable_text(text)


_COLUMNS: Final = (
    *columns("project_id uuid, id uuid, name text, value text, number float8"),
    Column("outcome", "text", read=ScoreOutcome),
    Column("data_type", "text", read=DataType),
    Column("source", "text", read=ScoreSource),
    *columns("run_id uuid, author_id uuid, reason text, metadata json"),
    Column("judge_kind", "text", write=_judge_kind),
    Column("fingerprint", "text", WHOLE, write=_fingerprint),
    Column("code", "text", write=_storable),
    Column("threshold", "float8"),
    Column("original", "float8", WHOLE, write=original_score),
    *columns("created_at timestamptz, updated_at timestamptz"),
    Column(
        "history",
        "json",
        write=msgspec.json.encode,
        read=msgspec.json.Decoder(tuple[ScoreRevision, ...]).decode,
    ),
)


def _table[S: Score](
    entity: type[S], name: str, target: str, own_columns: tuple[Column, ...]
) -> ScoreTable[S]:
    table = Table(name, (*_COLUMNS, *own_columns))
    row, score = table.compile_row(), table.compile_reader(entity)
    missing = f"{target.removesuffix('_id').capitalize()} not found"
    return ScoreTable(
        name, table.columns, target=target, target_missing=missing, row=row, score=score
    )


TRACE_SCORES: Final = _table(
    TraceScore,
    "trace_scores",
    "trace_id",
    (
        *columns("trace_id uuid, span_id uuid, environment text"),
        Column("evidence_hash", "text", WHOLE, write=_evidence_hash),
    ),
)
SESSION_SCORES: Final = _table(
    SessionScore, "session_scores", "session_id", columns("session_id text")
)
SCORE_TABLES: Final[dict[TargetType, ScoreTable[Any]]] = {
    TargetType.TRACE: TRACE_SCORES,
    TargetType.SESSION: SESSION_SCORES,
}

BRIEF_COLUMNS: Final = (
    *("id", "name", "outcome", "value", "data_type", "source", "judge_kind", "threshold"),
    "created_at",
)


def brief_from_row(row: Record) -> ScoreBrief:
    """From a row with BRIEF_COLUMNS."""
    return ScoreBrief(
        id=row["id"],
        name=row["name"],
        outcome=ScoreOutcome(row["outcome"]),
        value=row["value"],
        data_type=DataType(row["data_type"]),
        source=ScoreSource(row["source"]),
        judge_kind=row["judge_kind"],
        threshold=row["threshold"],
        created_at=row["created_at"],
    )
