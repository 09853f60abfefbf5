"""Metric definitions as JSON in the row of a run, and the column specs of custom metrics."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Final

import msgspec
from asyncpg import Record
from msgspec import Raw

from adapters.postgres.database.statements.columns import Column, Table, columns
from domain.evaluation.custom_metrics.custom_metric import CustomMetric, Revision
from domain.evaluation.metrics.metric import Definition, DefinitionKind

METRICS: Final = Table(
    "custom_metrics",
    (
        *columns("project_id uuid, name text, id uuid, created_at timestamptz"),
        *columns("archived_at timestamptz"),
        Column("revision", "int", "newest.revision"),
    ),
    key=("project_id", "name"),
)
REVISIONS: Final = Table(
    "custom_metric_revisions",
    (
        *columns("project_id uuid"),
        *columns("name text, revision int", at="newest"),
        Column("kind", "text", "newest.kind", read=DefinitionKind),
        *columns("description text, threshold float8, body bytea", at="newest"),
        Column("created_at", "timestamptz", "updated_at"),
    ),
    key=("project_id", "name", "revision"),
)
"""The newest revision of a stored metric."""

metric_row: Final = METRICS.compile_row()
revision_row: Final = REVISIONS.compile_row()
_definition_from_row: Final = REVISIONS.compile_reader(Definition, at="newest")
metric_from_row: Final = METRICS.compile_reader(
    CustomMetric, newest=_definition_from_row, updated_at=lambda row: row["revised_at"]
)
"""From a row of a metric and its newest revision, whose `created_at` is `revised_at`."""


def revision_from_row(row: Record) -> Revision:
    return Revision(_definition_from_row(row), row["created_at"])


class _StoredDefinition(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    revision: int
    kind: DefinitionKind
    description: str
    threshold: float
    body: Raw


_DEFINITIONS_DECODER: Final = msgspec.json.Decoder(list[_StoredDefinition])


def encode_definitions(definitions: Iterable[Definition]) -> bytes:
    return msgspec.json.encode([asdict(one) | {"body": Raw(one.body)} for one in definitions])


def decode_definitions(text: bytes) -> tuple[Definition, ...]:
    return tuple(
        Definition(**msgspec.structs.asdict(one) | {"body": bytes(one.body)})
        for one in _DEFINITIONS_DECODER.decode(text)
    )
