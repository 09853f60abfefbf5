"""Bodies of several traces, each of which is accepted or rejected by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import msgspec
from msgspec import Meta

from application.tracing.ingest import BATCH_MAX
from domain.errors import FieldError, Invalid
from domain.tracing.trace import Trace
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.traces.schemas import TraceAccepted
from entrypoints.http.error_responses import FieldProblem
from entrypoints.http.requests.errors import FieldErrors, IgnoredFields
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.unknown_names import UnknownKeys
from entrypoints.http.requests.wire_types import Deferred

type DeferredTrace = Annotated[
    Deferred, Meta(extra_json_schema={"$ref": "#/components/schemas/TraceCreate"})
]


class BatchCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Traces, each of which is accepted or rejected by itself."""

    traces: Annotated[list[DeferredTrace], Meta(min_length=1, max_length=BATCH_MAX)]


class BatchRejected(msgspec.Struct, frozen=True):
    """`index` is the position in the request; each `field` is relative to the item there."""

    index: int
    errors: list[FieldProblem]

    @classmethod
    def from_failure(cls, index: int, invalid: Invalid) -> Self:
        return cls(index, [FieldProblem(error.field, error.message) for error in invalid.errors])


class BatchAccepted(msgspec.Struct, frozen=True):
    """The stored traces, in the order of the request, and the rejected ones."""

    accepted: list[TraceAccepted]
    rejected: list[BatchRejected]


@dataclass(frozen=True, slots=True)
class TraceBatch:
    """The items in the order of the request, at least one of them valid, and the ignored keys."""

    items: Sequence[Trace | Invalid]
    ignored: IgnoredFields


class TraceBatchBody(Body[TraceBatch]):
    """A batch is refused while its request is read if all of its items, by `trace`, are invalid.

    So it creates no project, and its errors come together with those of the query.
    """

    def __init__(self, trace: Body[Trace]) -> None:
        def convert(batch: BatchCreate, config: HttpConfig) -> TraceBatch:
            ignored = IgnoredFields()
            items = [
                trace.parse_item(bytes(item), config, ignored, f"traces.{index}")
                for index, item in enumerate(batch.traces)
            ]
            return TraceBatch(items, ignored)

        super().__init__(BatchCreate, convert, unknown_keys=UnknownKeys.REPORTED)

    def parse(self, data: bytes, config: HttpConfig, errors: FieldErrors) -> TraceBatch | None:
        batch = super().parse(data, config, errors)
        if batch is None:
            return None
        errors.ignored.extend(batch.ignored)
        failures = [item for item in batch.items if isinstance(item, Invalid)]
        if len(failures) < len(batch.items):
            return batch
        for error in errors_of_all(failures):
            errors.add(error.field, error.message, kept_field=error.kept_field)
        return None


def errors_of_all(failures: Sequence[Invalid]) -> list[FieldError]:
    """The errors of all items, with the path of each in the whole body."""
    return [
        FieldError(
            _path(index, error.field),
            error.message,
            kept_field=None if error.kept_field is None else _path(index, error.kept_field),
        )
        for index, invalid in enumerate(failures)
        for error in invalid.errors
    ]


def _path(index: int, field: str) -> str:
    return f"traces.{index}.{field}".rstrip(".")
