"""Scores as rows, and back.

What a score's value and metadata tell is a column too where it is averaged, compared or looked
for: `number`, `judge_kind`, `fingerprint`, `evidence_hash`, `original`, `code`. The two by which a
signal is found again are of runs' scores only, and stay where the run is removed: anybody may write
a score that looks like one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from asyncpg import Record

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
from domain.ids import ScoreId, TraceId
from domain.tracing.payload import scalar_members

KIND_MAX: Final = 40  # characters; those of judges have fewer

_TYPES: Final = {
    "project_id": "uuid",
    "id": "uuid",
    "name": "text",
    "outcome": "text",
    "value": "text",
    "number": "float8",
    "data_type": "text",
    "source": "text",
    "run_id": "uuid",
    "author_id": "uuid",
    "reason": "text",
    "metadata": "json",
    "judge_kind": "text",
    "fingerprint": "text",
    "code": "text",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
}


@dataclass(frozen=True, slots=True)
class ScoreTable[S: Score]:
    """Where the scores of one kind of target are. `types`: of the columns, in their order."""

    name: str
    target: str
    types: dict[str, str]
    row: Callable[[S], tuple[object, ...]]
    score: Callable[[Record], S]

    @property
    def columns(self) -> Sequence[str]:
        return tuple(self.types)


def _trace_score_row(score: TraceScore) -> tuple[object, ...]:
    evidence = _told_by_run(score, "evidence_hash")
    return (*_row(score), score.trace_id, score.environment, evidence, original_score(score))


def _session_score_row(score: SessionScore) -> tuple[object, ...]:
    return (*_row(score), score.session_id)


def _row(score: Score) -> tuple[object, ...]:
    return (
        score.project_id, score.id, score.name, score.outcome, score.value, score.number,
        score.data_type, score.source, score.run_id, score.author_id, score.reason, score.metadata,
        _kind(score.judge_kind), _told_by_run(score, "fingerprint"), _storable(score.code),
        score.created_at, score.updated_at,
    )  # fmt: skip


def _told_by_run(score: Score, key: str) -> str | None:
    return None if score.run_id is None else _storable(scalar_members(score.metadata).get(key))


def _kind(kind: str | None) -> str | None:
    # A part of indexes, whose entries are bounded; of what anybody may write there.
    return _storable(None if kind is None else kind[:KIND_MAX])


def _storable(text: str | None) -> str | None:
    return None if text is None else storable_text(text)


def _trace_score(row: Record) -> TraceScore:
    return TraceScore(
        **_fields(row), trace_id=TraceId(row["trace_id"]), environment=row["environment"]
    )


def _session_score(row: Record) -> SessionScore:
    return SessionScore(**_fields(row), session_id=row["session_id"])


def _fields(row: Record) -> dict[str, Any]:
    return {
        "id": ScoreId(row["id"]),
        "project_id": row["project_id"],
        "name": row["name"],
        "outcome": ScoreOutcome(row["outcome"]),
        "value": row["value"],
        "data_type": DataType(row["data_type"]),
        "source": ScoreSource(row["source"]),
        "run_id": row["run_id"],
        "author_id": row["author_id"],
        "reason": row["reason"],
        "metadata": row["metadata"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


TRACE_SCORES: Final = ScoreTable(
    name="trace_scores",
    target="trace_id",
    types=_TYPES
    | {"trace_id": "uuid", "environment": "text", "evidence_hash": "text", "original": "float8"},
    row=_trace_score_row,
    score=_trace_score,
)
SESSION_SCORES: Final = ScoreTable(
    name="session_scores",
    target="session_id",
    types=_TYPES | {"session_id": "text"},
    row=_session_score_row,
    score=_session_score,
)
