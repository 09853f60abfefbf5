"""Maps datasets, versions and items to rows and back."""

from typing import Final

from asyncpg import Record

from adapters.postgres.database.statements.columns import Column, Table, columns
from domain.evaluation.datasets.dataset import Dataset, DatasetItem, ItemState, Version

DATASETS: Final = Table(
    "datasets",
    (
        *columns("project_id uuid, name text, id uuid, description text"),
        Column("number", "int", "version.number"),
        *columns("revisions int, created_at timestamptz, updated_at timestamptz"),
    ),
    key=("project_id", "name"),
)
VERSIONS: Final = Table(
    "dataset_versions",
    (
        *columns("dataset_id uuid, number int, digest bytea, items int, erased int"),
        *columns("created_at timestamptz"),
    ),
    key=("project_id", "dataset_id", "number"),
    given=columns("project_id uuid"),
)
ITEMS: Final = Table(
    "dataset_items",
    (
        Column("item_id", "text", "item.id"),
        *columns("digest bytea"),
        Column("split", "text", "item.split"),
        Column("input", "json", "item.input"),
        Column("expected", "json", "item.expected"),
        Column("metadata", "json", "item.metadata"),
        Column("trace_id", "uuid", "item.from_trace"),
    ),
    key=("project_id", "dataset_id", "item_id", "valid_from"),
)
"""The columns of an item that a caller sends."""

dataset_row: Final = DATASETS.compile_row()
version_row: Final = VERSIONS.compile_row()
item_row: Final = ITEMS.compile_row()
version_from_row: Final = VERSIONS.compile_reader(Version)
item_from_row: Final = ITEMS.compile_reader(DatasetItem, at="item")


_IN_DATASET: Final = {one.name: f"v_{one.name}" for one in VERSIONS.columns}
VERSION_OF_DATASET: Final = ", ".join(f"v.{name} AS {at}" for name, at in _IN_DATASET.items())
"""The columns of the newest version `v`, named so that a row of a dataset can have them too."""
dataset_from_row: Final = DATASETS.compile_reader(
    Dataset,
    version=lambda row: Version(**{name: row[at] for name, at in _IN_DATASET.items()}),
)
"""From a row of a dataset with VERSION_OF_DATASET."""


def state_from_row(row: Record) -> ItemState:
    """From the digest, the metadata and the link of an item."""
    return ItemState(row["digest"], row["metadata"], row["trace_id"])
