"""Wire schemas of datasets."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Self
from uuid import UUID

import msgspec
from msgspec import Meta, Raw

from application.evaluation.datasets.copy_traces import (
    COPIED_MAX,
    AnnotationQueueSource,
    TraceSource,
)
from domain.errors import FieldError, Invalid
from domain.evaluation.agreement.calibration import QUEUE_LENGTH_DEFAULT, QUEUE_LENGTH_MAX
from domain.evaluation.datasets.dataset import (
    DESCRIPTION_MAX,
    ITEM_ID_MAX,
    ITEMS_PER_REQUEST_MAX,
    NAME_MAX,
    SPLIT_MAX,
    Dataset,
    DatasetItem,
    Version,
    WriteResult,
    validate_name,
)
from domain.evaluation.metrics.metric import THRESHOLD
from domain.ids import TraceId
from domain.page import LIMIT_DEFAULT
from entrypoints.http.controllers.datasets.examples import ITEM_ID, NAME, VERSION
from entrypoints.http.controllers.runs.schemas import EvalRunFilters
from entrypoints.http.controllers.scores.schemas import ScoreName
from entrypoints.http.controllers.traces.batches import BatchRejected
from entrypoints.http.controllers.traces.examples import TRACE_ID
from entrypoints.http.requests import wire_types as wire
from entrypoints.http.requests.cursors import Cursor, PageLimit, PageOffset, page_errors
from entrypoints.http.requests.scalar_types import PLAIN_TEXT
from entrypoints.http.response_structs import GIVEN, WHOLE, ResponseStruct, Source

type Split = Annotated[str, Meta(min_length=1, max_length=SPLIT_MAX, extra=PLAIN_TEXT)]
type Description = Annotated[str, Meta(max_length=DESCRIPTION_MAX, extra=PLAIN_TEXT)]
VERSION_EXPECTED: Final = "must be the hash of a version: 64 digits in hex"

type VersionId = Annotated[
    str,
    Meta(
        pattern="^[0-9a-f]{64}$",
        extra={"expected": VERSION_EXPECTED},
        description="The hash of a version; the newest version if it is left out",
        examples=[VERSION],
    ),
]
type DeferredItem = Annotated[
    wire.Deferred, Meta(extra_json_schema={"$ref": "#/components/schemas/DatasetItemCreate"})
]
SOURCES: Final = ("filters", "trace_ids", "annotation_queue")
ONE_SOURCE: Final = "exactly one of filters, trace_ids and annotation_queue is required"


class DatasetPath(msgspec.Struct, frozen=True):
    dataset_name: Annotated[str, Meta(description="The dataset's name", examples=[NAME])]


class DatasetItemPath(DatasetPath, frozen=True):
    item_id: Annotated[str, Meta(description="The item's id", examples=[ITEM_ID])]


class VersionQuery(msgspec.Struct, frozen=True, kw_only=True):
    version: VersionId | None = None
    split: Annotated[Split, Meta(description="Exactly this split")] | None = None

    @property
    def digest(self) -> bytes | None:
        """The digest of the version; None for the newest one."""
        return None if self.version is None else bytes.fromhex(self.version)


class DatasetItemQuery(VersionQuery, frozen=True, kw_only=True):
    limit: PageLimit = LIMIT_DEFAULT
    offset: PageOffset = 0
    cursor: Cursor | None = None

    @classmethod
    def field_errors(cls, fields: Mapping[str, Any]) -> Iterator[FieldError]:
        return page_errors(fields)


class CreateDatasetRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A dataset without items. Its name never changes."""

    name: Annotated[
        str,
        Meta(
            max_length=NAME_MAX,
            description=(
                "Lower-case letters, digits, `.`, `_` and `-`, starting with a letter or a digit"
            ),
            examples=[NAME],
        ),
    ]
    description: Description = ""

    @classmethod
    def field_errors(cls, fields: Mapping[str, Any]) -> Iterator[FieldError]:
        if isinstance(name := fields.get("name"), str):
            try:
                validate_name(name)
            except Invalid as invalid:
                yield from invalid.errors


class ChangeDatasetRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can change of a dataset besides its items."""

    description: Description


def _hex(digest: bytes) -> str:
    return digest.hex()


class DatasetResponse(ResponseStruct[Dataset], frozen=True, kw_only=True):
    """A dataset. `version` and `items` are those of its newest version."""

    id: UUID
    project_id: UUID
    name: str
    description: str
    version: Annotated[str, Source("version.digest", _hex)]
    version_number: Annotated[int, Source("version.number")]
    items: Annotated[int, Source("version.items")]
    created_at: wire.ResponseInstant
    updated_at: wire.ResponseInstant


class DatasetVersionResponse(ResponseStruct[Version], frozen=True, kw_only=True):
    """A version: all items at a time. Equal hashes are the same test.

    `version` is a hash over id, input, expected and split of its `items`. Erasures of users and
    sessions have deleted `erased_items` of them since.
    """

    version: Annotated[str, Source("digest", _hex)]
    version_number: Annotated[int, Source("number")]
    items: int
    erased_items: Annotated[int, Source("erased")]
    created_at: wire.ResponseInstant


class DatasetItemCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A test case. Writing an item with an existing `id` replaces that item in a new version."""

    id: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=ITEM_ID_MAX,
            extra=PLAIN_TEXT,
            description="Yours, unique in the dataset",
            examples=[ITEM_ID],
        ),
    ]
    input: wire.AnyJson
    expected: Annotated[wire.AnyJson, Meta(description="Null if nothing is expected")] = (
        msgspec.field(default_factory=wire.null)
    )
    metadata: wire.PlainObject = msgspec.field(default_factory=wire.empty_object)
    split: Split | None = None
    from_trace: (
        Annotated[
            UUID,
            Meta(
                description=(
                    "The trace that the item was copied from. An item keeps its link if none is "
                    "sent. Erasing the trace's user or session deletes the item in all versions"
                ),
                examples=[TRACE_ID],
            ),
        ]
        | None
    ) = None

    def to_domain(self) -> DatasetItem:
        """Raises ValueError for metadata that isn't an object."""
        return DatasetItem(
            id=self.id,
            input=bytes(self.input),
            expected=wire.optional_json(self.expected),
            metadata=wire.require_object(self.metadata),
            split=self.split,
            from_trace=None if self.from_trace is None else TraceId(self.from_trace),
        )


class DatasetItemResponse(ResponseStruct[DatasetItem], frozen=True, kw_only=True):
    """A test case of a version."""

    id: str
    input: Raw
    expected: Raw
    metadata: wire.JsonObject
    split: str | None
    from_trace: UUID | None


class DatasetItemBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Items, each of which is written or rejected by itself."""

    items: Annotated[list[DeferredItem], Meta(min_length=1, max_length=ITEMS_PER_REQUEST_MAX)]


def _rejected_items(result: WriteResult) -> list[BatchRejected]:
    return [BatchRejected.from_failure(index, invalid) for index, invalid in result.refused.items()]


class ItemsWritten(ResponseStruct[WriteResult], frozen=True, kw_only=True):
    """The newest version after the write, and what was written.

    `index` of a rejected item is its position in the request.
    """

    version: Annotated[str, Source("version.digest", _hex)]
    version_number: Annotated[int, Source("version.number")]
    created: int
    changed: int
    unchanged: int
    rejected: Annotated[list[BatchRejected], Source(WHOLE, _rejected_items)]


class TracesCopied(ItemsWritten, frozen=True, kw_only=True):
    """What was written, and the traces in their order: `index` is the position of a trace there."""

    trace_ids: Annotated[list[UUID], GIVEN]


class ExpectedSource(StrEnum):
    """What the items expect: nothing, or the output of their trace."""

    NONE = "none"
    OUTPUT = "output"


class AnnotationQueueTraces(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The traces that `GET /evaluations/analytics/annotation-queue` lists."""

    name: ScoreName
    threshold: Annotated[float, Meta(ge=0, le=1)] = THRESHOLD
    limit: Annotated[int, Meta(ge=1, le=QUEUE_LENGTH_MAX)] = QUEUE_LENGTH_DEFAULT


class CopyTracesRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which traces become items: those of the filters, of the ids, or of the annotation queue."""

    filters: EvalRunFilters | None = None
    trace_ids: Annotated[list[UUID], Meta(min_length=1, max_length=COPIED_MAX)] | None = None
    annotation_queue: AnnotationQueueTraces | None = None
    expected: ExpectedSource = ExpectedSource.NONE
    split: Split | None = None

    @classmethod
    def field_errors(cls, fields: Mapping[str, Any]) -> Iterator[FieldError]:
        # A field with an error is missing here, and was given.
        absent = (None, msgspec.NODEFAULT)
        given = [name for name in SOURCES if name not in fields or fields[name] not in absent]
        if len(given) != 1:
            yield FieldError("", ONE_SOURCE)

    def with_source(self, _: object) -> tuple[Self, TraceSource]:
        """Raises ValueError for an invalid date."""
        if self.filters is not None:
            return self, self.filters.to_domain()
        if self.annotation_queue is not None:
            queue = self.annotation_queue
            return self, AnnotationQueueSource(queue.name, queue.threshold, queue.limit)
        return self, [TraceId(one) for one in self.trace_ids or ()]
