"""Maps scores to rows and back.

Parts of the value and metadata are columns too, so that they can be averaged, compared or searched:
`number`, `judge_kind`, `fingerprint`, `evidence_hash`, `original`, `code`. `fingerprint` and
`evidence_hash`, by which a signal is found again, are set for scores of runs only, and stay when
the run is deleted: any client may write a score that looks like a signal.
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

JUDGE_KIND_CHARS_MAX: Final = 40  # characters; the names of judges have fewer


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTable[S: Score](Table):
    """The table of the scores of one target type; `target` is the column with the target."""

    target: str
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
    Column("judge_kind", "text", write=_judge_kind),
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
