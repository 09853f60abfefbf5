"""Maps metric definitions to JSON in the row of a run, and custom metrics to rows; and back."""

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


class _StoredDefinition(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    revision: int
    kind: DefinitionKind
    description: str
    threshold: float
    body: Raw


_DEFINITIONS_DECODER: Final = msgspec.json.Decoder(list[_StoredDefinition])


def encode_definitions(definitions: Iterable[Definition]) -> bytes:
    return msgspec.json.encode(
        [
            _StoredDefinition(
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


def decode_definitions(text: bytes) -> tuple[Definition, ...]:
    return tuple(
        Definition(
            name=one.name,
            revision=one.revision,
            kind=one.kind,
            description=one.description,
            threshold=one.threshold,
            body=bytes(one.body),
        )
        for one in _DEFINITIONS_DECODER.decode(text)
    )


def metric_row(metric: CustomMetric) -> tuple[object, ...]:
    """Values in the order of METRIC_COLUMNS."""
    head = (metric.project_id, metric.name, metric.id, metric.created_at)
    return (*head, metric.archived_at, metric.newest.revision)


def revision_row(metric: CustomMetric) -> tuple[object, ...]:
    """The newest revision, in the order of REVISION_COLUMNS."""
    newest = metric.newest
    return (
        metric.project_id, metric.name, newest.revision, newest.kind, newest.description,
        newest.threshold, newest.body, metric.updated_at,
    )  # fmt: skip


def revision_from_row(row: Record | Mapping[str, Any]) -> Revision:
    definition = Definition(
        name=row["name"],
        revision=row["revision"],
        kind=DefinitionKind(row["kind"]),
        description=row["description"],
        threshold=row["threshold"],
        body=row["body"],
    )
    return Revision(definition, row["created_at"])


def metric_from_row(row: Record) -> CustomMetric:
    """From a row of a metric and its newest revision, whose `created_at` is `revised_at`."""
    newest = revision_from_row({**dict(row), "created_at": row["revised_at"]})
    return CustomMetric(
        id=row["id"],
        project_id=ProjectId(row["project_id"]),
        newest=newest.definition,
        created_at=row["created_at"],
        updated_at=newest.created_at,
        archived_at=row["archived_at"],
    )
