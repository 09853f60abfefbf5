"""Datasets: their items, versions, import and export."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Final
from uuid import UUID

from litestar import Controller, Response
from msgspec import Meta

from application.evaluation.datasets.copy_traces import COPIED_MAX, TraceSource
from application.use_cases import UseCases
from domain.errors import Invalid
from domain.evaluation.datasets.dataset import (
    ITEM_BYTES_MAX,
    ITEMS_PER_REQUEST_MAX,
    DatasetItem,
)
from domain.identity.audit import AuditAction
from domain.identity.caller import Caller
from domain.page import SortOrder
from entrypoints.http.authentication import CAN_EVALUATE, CAN_EVALUATE_AND_READ, CAN_READ
from entrypoints.http.config import HttpConfig, http_context
from entrypoints.http.controllers.datasets import examples, item_files
from entrypoints.http.controllers.datasets.item_files import ItemFileFormat
from entrypoints.http.controllers.datasets.schemas import (
    ChangeDatasetRequest,
    CopyTracesRequest,
    CreateDatasetRequest,
    DatasetItemCreate,
    DatasetItemPath,
    DatasetItemQuery,
    DatasetItemResponse,
    DatasetPath,
    DatasetResponse,
    DatasetVersionResponse,
    ExpectedSource,
    ItemsWritten,
    TracesCopied,
    VersionId,
    VersionQuery,
)
from entrypoints.http.controllers.traces.examples import page_of
from entrypoints.http.endpoint import delete, get, patch, post
from entrypoints.http.error_responses import ErrorResponse
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.cursors import TEXT, PagedList, PositionType
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.wire_types import PaginatedResponse
from entrypoints.http.streams import StreamingResponse

VERSION_ID: Final = PositionType(VersionId, str, str)  # so a cursor stays in one version
ITEMS: Final = PagedList("items of a dataset", {None: VERSION_ID}, TEXT)
ITEM_BODY: Final = Body(DatasetItemCreate, lambda item, _: item.to_domain())

NewItems = Annotated[list[bytes | Invalid], item_files.ITEMS_BODY]
CopiedTraces = Annotated[
    tuple[CopyTracesRequest, TraceSource], Body(CopyTracesRequest, CopyTracesRequest.with_source)
]


class DatasetFileQuery(VersionQuery, frozen=True, kw_only=True):
    format: Annotated[ItemFileFormat, Meta(description="The format of the file")] = (
        ItemFileFormat.NDJSON
    )


class DatasetController(Controller):
    path = "/datasets"

    @post(
        "/",
        CAN_EVALUATE,
        example=examples.DATASET,
        body_example=examples.REQUEST,
        error_types={409: ErrorResponse},
    )
    async def create_dataset(
        self, caller: Caller, content: CreateDatasetRequest, new_id: UUID, use_cases: UseCases
    ) -> DatasetResponse:
        """Create a dataset.

        A dataset without items. 409 if the name is taken.
        """
        audit = use_cases.audit.entry(
            caller, AuditAction.DATASET_CREATED, new_id, name=content.name
        )
        dataset = await use_cases.datasets.create_dataset(
            caller.project_id, new_id, content.name, content.description, audit=audit
        )
        return DatasetResponse.from_domain(dataset)

    @get("/", CAN_READ, example=[examples.DATASET])
    async def list_datasets(self, caller: Caller, use_cases: UseCases) -> list[DatasetResponse]:
        """List datasets.

        All datasets of the project, sorted by name.
        """
        datasets = await use_cases.datasets.datasets.all(caller.project_id)
        return [DatasetResponse.from_domain(dataset) for dataset in datasets]

    @get("/{dataset_name:str}", CAN_READ, example=examples.DATASET)
    async def read_dataset(
        self, caller: Caller, path: DatasetPath, use_cases: UseCases
    ) -> DatasetResponse:
        """Read a dataset.

        The dataset with its newest version.
        """
        dataset = await use_cases.datasets.datasets.get(caller.project_id, path.dataset_name)
        return DatasetResponse.from_domain(dataset)

    @patch(
        "/{dataset_name:str}",
        CAN_EVALUATE_AND_READ,
        example=examples.DATASET,
        body_example={"description": examples.REQUEST["description"]},
    )
    async def change_dataset(
        self, caller: Caller, content: ChangeDatasetRequest, path: DatasetPath, use_cases: UseCases
    ) -> DatasetResponse:
        """Change a dataset.

        Changes its description. The name never changes, and items have endpoints of their own.
        """
        name = path.dataset_name
        audit = use_cases.audit.entry(caller, AuditAction.DATASET_CHANGED, name)
        dataset = await use_cases.datasets.describe_dataset(
            caller.project_id, name, content.description, audit=audit
        )
        return DatasetResponse.from_domain(dataset)

    @delete("/{dataset_name:str}", CAN_EVALUATE, error_types={409: ErrorResponse})
    async def delete_dataset(self, caller: Caller, path: DatasetPath, use_cases: UseCases) -> None:
        """Delete a dataset.

        Deletes it with all its versions. Traces stay. 409 if it has experiments.
        """
        name = path.dataset_name
        audit = use_cases.audit.entry(caller, AuditAction.DATASET_DELETED, name)
        await use_cases.datasets.delete_dataset(caller.project_id, name, audit=audit)

    @get("/{dataset_name:str}/versions", CAN_READ, example=[examples.VERSION_ITEM])
    async def list_dataset_versions(
        self, caller: Caller, path: DatasetPath, use_cases: UseCases
    ) -> list[DatasetVersionResponse]:
        """List the versions of a dataset.

        All versions, the newest first. A version never changes, but for what an erasure deletes.
        """
        datasets = use_cases.datasets.datasets
        versions = await datasets.versions(caller.project_id, path.dataset_name)
        return [DatasetVersionResponse.from_domain(version) for version in versions]

    @post(
        "/{dataset_name:str}/items/batch",
        CAN_EVALUATE,
        status_code=200,
        description=(
            f"Writes 1 to {ITEMS_PER_REQUEST_MAX:,} items by their ids, in one transaction. "
            "Together they make one version, unless nothing changes in it: metadata and links to "
            "traces are no part of a version. Invalid items are rejected by themselves. An item "
            f"may have {ITEM_BYTES_MAX >> 10} KiB. Safe to repeat. 409 beyond the limits of a "
            "dataset; then nothing is written. The body may also be a file: NDJSON with an item a "
            "line, or CSV with a header of the columns id and input, and optionally expected, "
            "metadata, split and from_trace. A cell holds JSON, or a text that isn't JSON and "
            "stands for itself. `pandaprobe-server import-dataset` sends files of any length."
        ),
        example=examples.WRITTEN,
        body_example={"items": [examples.ITEM]},
        error_types={409: ErrorResponse},
        referenced_types=(DatasetItemCreate,),
    )
    async def write_dataset_items(
        self,
        request: HttpRequest,
        caller: Caller,
        content: NewItems,
        path: DatasetPath,
        use_cases: UseCases,
    ) -> ItemsWritten:
        """Write items of a dataset."""
        items = await _parse_items(content, http_context(request).config)
        result = await use_cases.datasets.write_items(caller.project_id, path.dataset_name, items)
        return ItemsWritten.from_domain(result)

    @post(
        "/{dataset_name:str}/items/from-traces",
        CAN_EVALUATE,
        status_code=200,
        description=(
            f"Copies at most {COPIED_MAX} traces: those that match the filters of `GET /traces`, "
            "given ones, or those of the annotation queue. The id of an item is that of its trace, "
            "its input that of the trace. With `expected: output` the output of the trace is what "
            "is expected. Traces without them are rejected by themselves. An item keeps the link "
            "to its trace: erasing the trace's user or session deletes it in all versions."
        ),
        example=examples.COPIED,
        body_example=examples.COPY,
        error_types={409: ErrorResponse},
    )
    async def copy_traces_to_dataset(
        self, caller: Caller, content: CopiedTraces, path: DatasetPath, use_cases: UseCases
    ) -> TracesCopied:
        """Copy traces into a dataset."""
        wanted, source = content
        traces, result = await use_cases.datasets.copy_traces(
            caller.project_id,
            path.dataset_name,
            source,
            with_outputs=wanted.expected is ExpectedSource.OUTPUT,
            split=wanted.split,
        )
        return TracesCopied.from_domain(result, trace_ids=list(traces))

    @get("/{dataset_name:str}/items", CAN_READ, example=page_of(examples.ITEM))
    async def list_dataset_items(
        self, caller: Caller, path: DatasetPath, params: DatasetItemQuery, use_cases: UseCases
    ) -> PaginatedResponse[DatasetItemResponse]:
        """List the items of a dataset.

        A page of the items of a version, sorted by id. Pages that follow by `cursor` are of the
        same version.
        """
        project, name, split = caller.project_id, path.dataset_name, params.split
        matching = (name, params.version, split)
        requested = ITEMS.parse_page(params, project, matching, None, SortOrder.ASC)
        page = await use_cases.datasets.list_items(
            project, name, params.digest, split, requested.page
        )
        return requested.respond(page, DatasetItemResponse.from_domain)

    @delete(
        "/{dataset_name:str}/items/{item_id:str}", CAN_EVALUATE, error_types={409: ErrorResponse}
    )
    async def delete_dataset_item(
        self, caller: Caller, path: DatasetItemPath, use_cases: UseCases
    ) -> None:
        """Delete an item of a dataset.

        Makes a version without the item. Older versions keep it.
        """
        name, item = path.dataset_name, path.item_id
        audit = use_cases.audit.entry(caller, AuditAction.DATASET_ITEM_DELETED, name)
        await use_cases.datasets.delete_item(caller.project_id, name, item, audit=audit)

    @get(
        "/{dataset_name:str}/export",
        CAN_READ,
        example=examples.ITEM,
        media_types=tuple(item_files.MEDIA_TYPES.values()),
        response_type=DatasetItemResponse,
    )
    async def export_dataset(
        self, caller: Caller, path: DatasetPath, params: DatasetFileQuery, use_cases: UseCases
    ) -> Response[bytes]:
        """Export a dataset.

        All items of a version, sorted by id, as NDJSON or CSV. Importing the file gives a version
        with the same hash.
        """
        project, datasets, split = caller.project_id, use_cases.datasets.datasets, params.split

        @asynccontextmanager
        async def open_chunks() -> AsyncIterator[AsyncIterator[bytes]]:
            version = await datasets.find_version(project, path.dataset_name, params.digest)
            await use_cases.audit.record(
                caller, AuditAction.DATASET_EXPORTED, path.dataset_name, version=version.number
            )
            yield item_files.encode_items(datasets, project, version, split, params.format)

        headers = {
            "content-disposition": f'attachment; filename="dataset.{params.format}"',
        }
        return StreamingResponse(open_chunks, item_files.MEDIA_TYPES[params.format], headers)


async def _parse_items(
    sent: Sequence[bytes | Invalid], config: HttpConfig
) -> list[DatasetItem | Invalid]:
    """Each item, or its error, in their order."""
    texts = [one for one in sent if isinstance(one, bytes)]
    parsed = iter(await ITEM_BODY.parse_items(texts, config))
    return [one if isinstance(one, Invalid) else next(parsed) for one in sent]
