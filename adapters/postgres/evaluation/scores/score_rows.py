"""Scores as rows, and back.

What a score's value and metadata tell is a column too where it is averaged, compared or looked
for: `number`, `judge_kind`, `fingerprint`, `evidence_hash`, `original`, `code`. The two by which a
signal is found again are of runs' scores only, and stay where the run is removed: anybody may write
a score that looks like one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from asyncpg import Record

from adapters.postgres.database.columns import WHOLE, Column, Table, compile_reader
from domain.evaluation.agreement.calibration import original_score
from domain.evaluation.scores.score import (
    DataType,
    Score,
    ScoreOutcome,
    ScoreSource,
    SessionScore,
    TraceScore,
    storable_text,
)
from domain.tracing.payload import scalar_members

KIND_MAX: Final = 40  # characters; those of judges have fewer


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTable[S: Score](Table):
    """Where the scores of one kind of target are; `target` is the column that names the target."""

    target: str
    row: Callable[[S], tuple[object, ...]]
    score: Callable[[Record], S]


def _fingerprint(score: Score) -> str | None:
    return _told_by_run(score, "fingerprint")


def _evidence_hash(score: Score) -> str | None:
    return _told_by_run(score, "evidence_hash")


def _told_by_run(score: Score, key: str) -> str | None:
    return None if score.run_id is None else _storable(scalar_members(score.metadata).get(key))


def _kind(kind: str | None) -> str | None:
    # A part of indexes, whose entries are bounded; of what anybody may write there.
    return _storable(None if kind is None else kind[:KIND_MAX])


def _storable(text: str | None) -> str | None:
    return None if text is None else storable_text(text)


_KEY: Final = ("project_id", "id")
_COLUMNS: Final = (
    Column("project_id", "uuid"),
    Column("id", "uuid"),
    Column("name", "text"),
    Column("outcome", "text", read=ScoreOutcome),
    Column("value", "text"),
    Column("number", "float8"),
    Column("data_type", "text", read=DataType),
    Column("source", "text", read=ScoreSource),
    Column("run_id", "uuid"),
    Column("author_id", "uuid"),
    Column("reason", "text"),
    Column("metadata", "json"),
    Column("judge_kind", "text", write=_kind),
    Column("fingerprint", "text", WHOLE, write=_fingerprint),
    Column("code", "text", write=_storable),
    Column("created_at", "timestamptz"),
    Column("updated_at", "timestamptz"),
)


def _table[S: Score](
    entity: type[S], name: str, target: str, columns: tuple[Column, ...]
) -> ScoreTable[S]:
    table = Table(name, _KEY, (*_COLUMNS, *columns))
    return ScoreTable(
        name=name,
        key=_KEY,
        columns=table.columns,
        target=target,
        row=table.compile_row(),
        score=compile_reader(entity, table.fields_of(entity)),
    )


TRACE_SCORES: Final = _table(
    TraceScore,
    "trace_scores",
    "trace_id",
    (
        Column("trace_id", "uuid"),
        Column("environment", "text"),
        Column("evidence_hash", "text", WHOLE, write=_evidence_hash),
        Column("original", "float8", WHOLE, write=original_score),
    ),
)
SESSION_SCORES: Final = _table(
    SessionScore, "session_scores", "session_id", (Column("session_id", "text"),)
)
