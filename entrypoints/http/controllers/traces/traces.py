"""Traces and spans: storing, listing, reading, changing and deleting them."""

from collections.abc import Callable
from typing import Annotated, Final
from uuid import uuid4

import msgspec
from litestar import Controller
from msgspec import Meta

from application.tracing.edit import EDITED_TRACES_MAX
from application.tracing.ingest import BATCH_MAX
from application.use_cases import UseCases
from domain.errors import Invalid
from domain.identity.audit import AuditAction
from domain.identity.caller import Caller
from domain.ids import ProjectId, TraceId
from domain.page import Page, SortOrder
from domain.tracing.analytics import COUNTED_USERS_MAX
from domain.tracing.facet_values import (
    COUNTED_MEMBERS_MAX,
    FACET_VALUES_MAX,
    FILTERED_METADATA_MAX,
    FILTERED_TRACES_MAX,
    MEMBER_KEY_CHARS_MAX,
    MEMBER_TEXT_CHARS_MAX,
    FacetQuery,
)
from domain.tracing.otel.requests import RejectionReason
from domain.tracing.payloads.payload_detail import READ_SPANS_MAX, PayloadDetail
from domain.tracing.query import COUNTED_TRACES_MAX
from domain.tracing.span import Span, SpanChange
from domain.tracing.trace import Trace, TraceChange, TraceSummary
from entrypoints.http.authentication import (
    CAN_CHANGE_TRACES,
    CAN_INGEST,
    CAN_INGEST_AND_READ,
    CAN_READ,
)
from entrypoints.http.controllers.traces import examples, part_schemas, schemas
from entrypoints.http.controllers.traces.batches import (
    BatchAccepted,
    BatchRejected,
    TraceBatch,
    TraceBatchBody,
    errors_of_all,
)
from entrypoints.http.controllers.traces.list_details import ListDetails
from entrypoints.http.controllers.traces.schemas import TRACES, USERS, TraceQuery
from entrypoints.http.controllers.traces.search import search_traces
from entrypoints.http.controllers.traces.trace_etags import TraceEtags
from entrypoints.http.endpoint import delete, first_error, get, patch, post
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.cursors import PageQuery
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.unknown_names import UnknownKeys
from entrypoints.http.requests.wire_types import PaginatedResponse, max_items_from
from entrypoints.http.responses import JsonResponse, not_modified, respond_with
from entrypoints.http.streams import StreamingResponse, stream_json

TRACE_BODY: Final = Body(
    schemas.TraceCreate, schemas.TraceCreate.to_domain, unknown_keys=UnknownKeys.REPORTED
)
SPANS_BODY: Final = Body(
    Annotated[list[schemas.SpanCreate], Meta(min_length=1), max_items_from("max_spans")],
    schemas.spans_to_domain,
    unknown_keys=UnknownKeys.REPORTED,
)


NewTrace = Annotated[Trace, TRACE_BODY]
NewTraces = Annotated[TraceBatch, TraceBatchBody(TRACE_BODY)]
NewSpans = Annotated[list[Span], SPANS_BODY]
ChangedTrace = Annotated[
    TraceChange,
    Body(schemas.TraceUpdate, schemas.TraceUpdate.to_domain, unknown_keys=UnknownKeys.REPORTED),
]
ChangedSpan = Annotated[
    SpanChange,
    Body(schemas.SpanUpdate, schemas.SpanUpdate.to_domain, unknown_keys=UnknownKeys.REPORTED),
]


class TraceController(Controller):
    path = "/traces"

    @post(
        "/",
        CAN_INGEST,
        status_code=202,
        example=examples.ACCEPTED,
        body_example=examples.TRACE,
        route_class=RouteClass.INGEST,
    )
    async def ingest_trace(
        self, caller: Caller, content: NewTrace, use_cases: UseCases
    ) -> schemas.TraceAccepted:
        """Store a trace.

        Stores a trace with its spans, and responds once they are on disk: from then on every
        endpoint can read them. A trace or span that is sent again is merged with the stored one, so
        a request can be repeated safely.
        """
        await use_cases.tracing.traces.put(caller.project_id, content)
        return _accepted(content.id)

    @post(
        "/batch",
        CAN_INGEST,
        status_code=202,
        description=(
            f"Stores 1 to {BATCH_MAX} traces, each as `POST /traces` does. Invalid traces are "
            "listed under `rejected` and don't affect the others. If all are invalid, the response "
            "is 422."
        ),
        example={"accepted": [examples.ACCEPTED], "rejected": []},
        body_example={"traces": [examples.TRACE]},
        route_class=RouteClass.INGEST,
    )
    async def ingest_batch(
        self, caller: Caller, content: NewTraces, use_cases: UseCases
    ) -> BatchAccepted:
        """Store many traces."""
        valid = [item for item in content.items if isinstance(item, Trace)]
        stored = iter(await use_cases.tracing.ingest_batch(caller.project_id, valid))
        outcomes = [item if isinstance(item, Invalid) else next(stored) for item in content.items]
        failures = [outcome for outcome in outcomes if outcome is not None]
        if len(failures) == len(outcomes):
            raise Invalid.fields(errors_of_all(failures))
        if failures:
            message = f"traces of a batch were refused: {first_error(failures[0])}"
            use_cases.tracing.record_rejections.count_refused(
                caller.project_id, RejectionReason.INVALID, message, len(failures)
            )
        return BatchAccepted(
            [
                _accepted(item.id)
                for item, outcome in zip(content.items, outcomes, strict=True)
                if isinstance(item, Trace) and outcome is None
            ],
            [
                BatchRejected.from_failure(index, failure)
                for index, failure in enumerate(outcomes)
                if failure is not None
            ],
        )

    @post(
        "/{trace_id:str}/spans",
        CAN_INGEST,
        status_code=201,
        example={"span_ids": [examples.SPAN_ID]},
        body_example=[examples.SPAN],
    )
    async def add_spans(
        self, caller: Caller, content: NewSpans, path: schemas.TracePath, use_cases: UseCases
    ) -> schemas.SpansAccepted:
        """Add spans to a trace.

        Merges spans by their ids into a stored trace.
        """
        await use_cases.tracing.traces.add_spans(caller.project_id, path.trace_id, content)
        return schemas.SpansAccepted([span.id for span in content])

    @get(
        "/",
        CAN_READ,
        description=(
            "A page of the project's traces, without their payloads. A trace has to match all "
            "filters. Traces without `ended_at` or latency come last in either order. `include` "
            f"adds fields. `total` is exact for one filter. If more than {COUNTED_TRACES_MAX:,} "
            "traces match several filters, or one of several tags, it may be a lower bound, which "
            "`total_is_at_least` tells. `query` searches the texts of traces and their spans, and "
            "adds `matches` to each trace and `search` to the page."
        ),
        example=examples.page_of(schemas.TRACE_ITEM),
    )
    async def list_traces(
        self, caller: Caller, params: TraceQuery, use_cases: UseCases
    ) -> schemas.TracePage:
        """List traces."""
        project, matching = caller.project_id, params.to_domain()
        sort, order = params.sort_by, params.sort_order
        if params.query is not None:
            return await search_traces(use_cases, project, params, params.query)
        requested = TRACES.parse_page(params, project, matching, sort, order)
        page = await use_cases.tracing.traces.summaries(
            project, matching, sort, order, requested.page
        )
        convert: Callable[[TraceSummary], schemas.TraceListItem] = schemas.TraceListItem.from_domain
        if params.included:
            details = await ListDetails.load(use_cases, project, page.items, params.included)
            convert = details.item
        return schemas.TracePage(**msgspec.structs.asdict(requested.respond(page, convert)))

    @get(
        "/users",
        CAN_READ,
        description=(
            "A page of the users that traces name, the most recently seen first. Of more than "
            f"{COUNTED_USERS_MAX:,}, `total` is a lower bound, with `total_is_at_least`."
        ),
        example=examples.page_of(examples.USER),
    )
    async def list_users(
        self, caller: Caller, params: PageQuery, use_cases: UseCases
    ) -> PaginatedResponse[schemas.UserSummary]:
        """List users."""
        project = caller.project_id
        requested = USERS.parse_page(params, project, None, None, SortOrder.DESC)
        page = await use_cases.tracing.analytics.users(project, requested.page)
        return requested.respond(page, schemas.UserSummary.from_domain)

    @get(
        "/facets",
        CAN_READ,
        description=(
            "The values that a field of the project's traces has, the most frequent first, for "
            "filters. With conditions, those of `GET /traces`, they are the values of the traces "
            "that match. These are read one by one: conditions that may lead to more than "
            f"{FILTERED_TRACES_MAX:,} traces, or {FILTERED_METADATA_MAX:,} for metadata, are "
            f"refused. If more than {FACET_VALUES_MAX:,} values begin with the prefix, only the "
            "first of them in alphabetical order are compared. Of metadata, members that are "
            f"objects or arrays, keys of more than {MEMBER_KEY_CHARS_MAX} characters and values of "
            f"more than {MEMBER_TEXT_CHARS_MAX} aren't counted, nor is metadata with more than "
            f"{COUNTED_MEMBERS_MAX} members."
        ),
        example=[{"value": "production", "count": 12}],
    )
    async def list_facet_values(
        self, caller: Caller, params: schemas.FacetQuery, use_cases: UseCases
    ) -> list[schemas.FacetValueResponse]:
        """List the values of a field."""
        query = FacetQuery(
            params.field, params.prefix, params.limit, params.key or "", params.to_domain()
        )
        found = await use_cases.tracing.analytics.facets(caller.project_id, query)
        return [schemas.FacetValueResponse.from_domain(one) for one in found]

    @get("/{trace_id:str}", CAN_READ, example=schemas.TRACE_RESPONSE)
    async def read_trace(
        self,
        request: HttpRequest,
        caller: Caller,
        path: schemas.TracePath,
        params: part_schemas.TraceDetailQuery,
        use_cases: UseCases,
    ) -> (
        schemas.TraceResponse
        | part_schemas.TraceDetailResponse
        | JsonResponse[schemas.TraceResponse | part_schemas.TraceDetailResponse]
        | StreamingResponse
    ):
        """Read a trace.

        One trace with all its spans, sorted by start. Payloads that are not asked for whole are
        left out or cut, and the answer has their sizes.
        """
        project, traces = caller.project_id, use_cases.tracing.traces
        etags = TraceEtags.from_request(request)
        if etags.are_known:  # most polls find nothing new, and read no spans
            revision = await traces.revision(project, path.trace_id)
            if etags.knows(revision):
                return not_modified(etags.etag(revision))
        found = await traces.detail(project, path.trace_id, params.extent)
        is_full = params.payloads is PayloadDetail.FULL
        headers = {"etag": etags.etag(found.revision)}
        if schemas.is_sent_in_parts(found):
            parts = part_schemas.response_in_parts(project, found, is_full=is_full)
            return stream_json(parts, headers, request)
        return JsonResponse(
            part_schemas.whole_response(project, found, is_full=is_full), headers=headers
        )

    @patch(
        "/{trace_id:str}",
        CAN_CHANGE_TRACES,
        example=schemas.TRACE_RESPONSE,
        body_example={"status": "COMPLETED", "metadata": {"reviewed": True}},
    )
    async def change_trace(
        self, caller: Caller, content: ChangedTrace, path: schemas.TracePath, use_cases: UseCases
    ) -> schemas.TraceResponse | schemas.ChangedTraceResponse | JsonResponse[schemas.TraceResponse]:
        """Change a trace.

        Keys that are left out stay as they are. Null clears `input`, `output`, `ended_at`,
        `session_id`, `user_id`, `environment` and `release`, and is ignored elsewhere. `metadata`
        is merged by its top-level keys; `tags` replace the old ones. A key without the scope
        `read` gets what it sent, with null or empty values in the other fields.
        """
        project = caller.project_id
        trace = await use_cases.tracing.traces.change(project, path.trace_id, content)
        if not caller.may_read:
            return schemas.ChangedTraceResponse.from_change(project, path.trace_id, content)
        return await _respond_trace(project, trace)

    @get("/{trace_id:str}/spans", CAN_READ, example=examples.page_of(part_schemas.SPAN_DETAIL))
    async def list_trace_spans(
        self,
        caller: Caller,
        path: schemas.TracePath,
        params: part_schemas.TraceSpansQuery,
        use_cases: UseCases,
    ) -> (
        PaginatedResponse[part_schemas.SpanDetailResponse]
        | JsonResponse[PaginatedResponse[part_schemas.SpanDetailResponse]]
    ):
        """List the spans of a trace.

        A page of the spans, sorted by start and id, with their payloads whole, in part, or without
        them.
        """
        project, trace = caller.project_id, path.trace_id
        requested = part_schemas.TRACE_SPANS.parse_page(params, project, trace, None, SortOrder.ASC)
        found = await use_cases.tracing.traces.spans(project, trace, params.extent, requested.page)

        def respond() -> PaginatedResponse[part_schemas.SpanDetailResponse]:
            shown = part_schemas.span_details(trace, found.items)
            return requested.respond(Page(shown, found.total, found.end), lambda one: one)

        return await respond_with(respond, is_long=schemas.spans_are_large(found.items))

    @post(
        "/{trace_id:str}/spans/read",
        CAN_READ,
        status_code=200,
        description=(
            f"1 to {READ_SPANS_MAX} spans of a trace, by their ids and in the order of the "
            "request, with their payloads whole, in part, or without them. Ids that the trace "
            "doesn't have are listed under `unknown_span_ids`. It changes nothing."
        ),
        example={"spans": [part_schemas.SPAN_DETAIL], "unknown_span_ids": []},
        body_example={"span_ids": [examples.SPAN_ID], "payloads": "preview"},
    )
    async def read_spans(
        self,
        caller: Caller,
        content: part_schemas.SpansRead,
        path: schemas.TracePath,
        use_cases: UseCases,
    ) -> part_schemas.SpansReadResponse | JsonResponse[part_schemas.SpansReadResponse]:
        """Read many spans."""
        trace, asked = path.trace_id, content.span_ids
        found = await use_cases.tracing.traces.spans_by_id(
            caller.project_id, trace, asked, content.extent
        )
        return await respond_with(
            lambda: part_schemas.SpansReadResponse.from_found(trace, asked, found),
            is_long=schemas.spans_are_large(found),
        )

    @get("/{trace_id:str}/spans/{span_id:str}", CAN_READ, example=part_schemas.SPAN_DETAIL)
    async def read_span(
        self,
        caller: Caller,
        path: schemas.SpanPath,
        params: part_schemas.SpanQuery,
        use_cases: UseCases,
    ) -> part_schemas.SpanDetailResponse:
        """Read a span.

        One span of a trace, with its payloads whole, in part, or without them.
        """
        found = await use_cases.tracing.traces.span(
            caller.project_id, path.trace_id, path.span_id, params.extent
        )
        [response] = part_schemas.span_details(path.trace_id, [found])
        return response

    @patch(
        "/{trace_id:str}/spans/{span_id:str}",
        CAN_CHANGE_TRACES,
        example=schemas.SPAN_RESPONSE,
        body_example={"status": "ERROR", "error": "The tool did not answer"},
    )
    async def change_span(
        self, caller: Caller, content: ChangedSpan, path: schemas.SpanPath, use_cases: UseCases
    ) -> schemas.SpanResponse | schemas.ChangedSpanResponse:
        """Change a span.

        Keys that are left out stay as they are. Null is ignored in `name`, `kind`, `status` and
        `metadata`, and clears every other field. `metadata` is merged by its top-level keys. The
        cost of the span is computed again if a field that it depends on changed. A key without the
        scope `read` gets what it sent, with null or empty values in the other fields.
        """
        span = await use_cases.tracing.traces.change_span(
            caller.project_id, path.trace_id, path.span_id, content
        )
        if not caller.may_read:
            return schemas.ChangedSpanResponse.from_change(path.trace_id, path.span_id, content)
        return schemas.SpanResponse.from_domain(span, trace_id=path.trace_id)

    @delete("/{trace_id:str}", CAN_INGEST_AND_READ, status_code=204)
    async def delete_trace(
        self, caller: Caller, path: schemas.TracePath, use_cases: UseCases
    ) -> None:
        """Delete a trace.

        Deletes a trace with its spans and scores.
        """
        audit = use_cases.audit.entry(caller, AuditAction.TRACE_DELETED, path.trace_id)
        await use_cases.tracing.delete_trace(caller.project_id, path.trace_id, audit=audit)

    @post(
        "/batch/delete",
        CAN_INGEST_AND_READ,
        status_code=200,
        description=(
            f"Deletes 1 to {EDITED_TRACES_MAX} traces with their spans and scores, and returns how "
            "many existed. Ids of traces that the project doesn't have are ignored."
        ),
        example={"deleted": 1},
        body_example={"trace_ids": [examples.TRACE_ID]},
    )
    async def delete_traces(
        self, caller: Caller, content: schemas.BatchDeleteRequest, use_cases: UseCases
    ) -> schemas.BatchDeleteResponse:
        """Delete many traces."""
        traces = content.trace_ids
        audit = use_cases.audit.entry(
            caller,
            AuditAction.TRACES_DELETED,
            caller.project_id,
            trace_ids=" ".join(map(str, traces)),
        )
        deleted = await use_cases.tracing.delete_traces(caller.project_id, traces, audit=audit)
        return schemas.BatchDeleteResponse(deleted)

    @post(
        "/batch/tags",
        CAN_CHANGE_TRACES,
        status_code=200,
        description=(
            f"Removes tags from 1 to {EDITED_TRACES_MAX} traces, then adds others. If tags were "
            "added, the tags of a trace are sorted, without duplicates; if tags were only removed, "
            "the others keep their order."
        ),
        example={"updated": 1},
        body_example={
            "trace_ids": [examples.TRACE_ID],
            "add_tags": ["reviewed"],
            "remove_tags": ["prod"],
        },
    )
    async def tag_traces(
        self, caller: Caller, content: schemas.BatchTagsRequest, use_cases: UseCases
    ) -> schemas.BatchTagsResponse:
        """Tag many traces."""
        updated = await use_cases.tracing.tag_traces(
            caller.project_id, content.trace_ids, content.add_tags, content.remove_tags
        )
        return schemas.BatchTagsResponse(updated)


async def _respond_trace(
    project: ProjectId, trace: Trace
) -> schemas.TraceResponse | JsonResponse[schemas.TraceResponse]:
    return await respond_with(
        lambda: schemas.TraceResponse.from_trace(project, trace),
        is_long=schemas.traces_are_large([trace]),
    )


def _accepted(trace: TraceId) -> schemas.TraceAccepted:
    return schemas.TraceAccepted(trace, uuid4())
