"""Definitions of metrics as JSON in a run's row, and a project's own metrics as rows; and back."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from asyncpg import Record
from msgspec import Raw

from domain.evaluation.custom_metrics.custom_metric import CustomMetric, Revision
from domain.evaluation.metrics.definition import Definition, DefinitionKind
from domain.ids import ProjectId

METRIC_COLUMNS: Final = ("project_id", "name", "id", "created_at", "archived_at", "revision")
REVISION_COLUMNS: Final = (
    "project_id", "name", "revision", "kind", "description", "threshold", "body", "created_at",
)  # fmt: skip


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    revision: int
    kind: DefinitionKind
    description: str
    threshold: float
    body: Raw


_KEPT: Final = msgspec.json.Decoder(list[_Kept])


def definitions_json(definitions: Iterable[Definition]) -> bytes:
    return msgspec.json.encode(
        [
            _Kept(
                name=one.name,
                revision=one.revision,
                kind=one.kind,
                description=one.description,
                threshold=one.threshold,
                body=Raw(one.body),
            )
            for one in definitions
        ]
    )


def definitions_of(text: bytes) -> tuple[Definition, ...]:
    return tuple(
        Definition(
            name=one.name,
            revision=one.revision,
            kind=one.kind,
            description=one.description,
            threshold=one.threshold,
            body=bytes(one.body),
        )
        for one in _KEPT.decode(text)
    )


def metric_row(metric: CustomMetric) -> tuple[object, ...]:
    """A metric in the order of METRIC_COLUMNS."""
    head = (metric.project_id, metric.name, metric.id, metric.created_at)
    return (*head, metric.archived_at, metric.newest.revision)


def revision_row(metric: CustomMetric) -> tuple[object, ...]:
    """Its newest revision in the order of REVISION_COLUMNS."""
    newest = metric.newest
    return (
        metric.project_id, metric.name, newest.revision, newest.kind, newest.description,
        newest.threshold, newest.body, metric.updated_at,
    )  # fmt: skip


def revision_of(row: Record | Mapping[str, Any]) -> Revision:
    definition = Definition(
        name=row["name"],
        revision=row["revision"],
        kind=DefinitionKind(row["kind"]),
        description=row["description"],
        threshold=row["threshold"],
        body=row["body"],
    )
    return Revision(definition, row["created_at"])


def metric_of(row: Record) -> CustomMetric:
    """Of a metric's row with that of its newest revision, whose `created_at` is `revised_at`."""
    newest = revision_of({**dict(row), "created_at": row["revised_at"]})
    return CustomMetric(
        id=row["id"],
        project_id=ProjectId(row["project_id"]),
        newest=newest.definition,
        created_at=row["created_at"],
        updated_at=newest.created_at,
        archived_at=row["archived_at"],
    )
