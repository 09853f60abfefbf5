"""Examples of datasets in the API reference."""

from typing import Any, Final

from entrypoints.http.controllers.scores.examples import PROJECT_ID
from entrypoints.http.controllers.traces.examples import TRACE_ID

DATASET_ID: Final = "7a1b9d34-52c8-4f06-8f61-2b3c4d5e6f70"
NAME: Final = "refunds"
ITEM_ID: Final = "late-parcel"
VERSION: Final = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"

_AT: Final = "2026-03-01T10:00:00+00:00"
REQUEST: Final[dict[str, Any]] = {"name": NAME, "description": "Questions about refunds"}
DATASET: Final[dict[str, Any]] = REQUEST | {
    "id": DATASET_ID,
    "project_id": PROJECT_ID,
    "version": VERSION,
    "version_number": 1,
    "items": 1,
    "created_at": _AT,
    "updated_at": _AT,
}
ITEM: Final[dict[str, Any]] = {
    "id": ITEM_ID,
    "input": {"question": "My parcel is late. Can I have my money back?"},
    "expected": {"answer": "yes", "within_days": 14},
    "metadata": {"source": "support"},
    "split": "test",
    "from_trace": None,
}
VERSION_ITEM: Final[dict[str, Any]] = {
    "version": VERSION,
    "version_number": 1,
    "items": 1,
    "erased_items": 0,
    "created_at": _AT,
}
WRITTEN: Final[dict[str, Any]] = {
    "version": VERSION,
    "version_number": 1,
    "created": 1,
    "changed": 0,
    "unchanged": 0,
    "rejected": [],
}
COPY: Final[dict[str, Any]] = {
    "filters": {"name": "support", "tags": ["good"]},
    "expected": "output",
    "split": "test",
}
COPIED: Final[dict[str, Any]] = WRITTEN | {"trace_ids": [TRACE_ID]}
