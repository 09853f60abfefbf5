"""Traces and spans: storing them, showing them, removing them."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal
from uuid import UUID, uuid4

import msgspec
from litestar import Controller, Response, delete, get, post
from msgspec import Meta

from application.tracing.ingest import BATCH_MAX
from domain.errors import FieldError, Invalid
from domain.identity.api_key import Scope
from domain.ids import SpanId, TraceId
from domain.page import LIMIT_DEFAULT, LIMIT_MAX, OFFSET_MAX, SortOrder, Window
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.span import Span
from domain.tracing.trace import Trace, TraceStatus
from entrypoints.http.access import data_plane
from entrypoints.http.body import Body
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers import trace_examples as examples
from entrypoints.http.controllers.trace_shapes import (
    SpanCreate,
    SpansAccepted,
    TraceAccepted,
    TraceCreate,
    TraceListItem,
    TraceResponse,
    spans_of,
)
from entrypoints.http.operation import Documented, answer, edge_of, operation
from entrypoints.http.problems import FieldProblem, Mistakes
from entrypoints.http.request_ids import HttpRequest
from entrypoints.http.scalars import parse_instant
from entrypoints.http.wire import Deferred, Instant, PaginatedResponse, capped

TRACE: Final = Body(TraceCreate, TraceCreate.to_domain)
SPANS: Final = Body(Annotated[list[SpanCreate], Meta(min_length=1), capped("max_spans")], spans_of)


class TracePath(msgspec.Struct, frozen=True):
    trace_id: UUID


class BatchCreate(msgspec.Struct, frozen=True):
    """Traces, each of which is taken or refused for itself."""

    traces: Annotated[
        list[Deferred],
        Meta(
            min_length=1,
            max_length=BATCH_MAX,
            extra_json_schema={"items": {"$ref": "#/components/schemas/TraceCreate"}},
        ),
    ]


class BatchRejected(msgspec.Struct, frozen=True):
    """`index` is the place in the request; each `field` is relative to the trace there."""

    index: int
    errors: list[FieldProblem]


class BatchAccepted(msgspec.Struct, frozen=True):
    """What was stored, in the order of the request, and what was refused."""

    accepted: list[TraceAccepted]
    rejected: list[BatchRejected]


class TraceQuery(msgspec.Struct, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX, description="How many to show")] = LIMIT_DEFAULT
    offset: Annotated[int, Meta(ge=0, le=OFFSET_MAX, description="How many to pass over")] = 0
    session_id: Annotated[str, Meta(description="Exactly this session")] | None = None
    user_id: Annotated[str, Meta(description="Exactly this user")] | None = None
    status: Annotated[TraceStatus, Meta(description="Exactly this status")] | None = None
    name: Annotated[str, Meta(description="Part of the name, without regard to case")] | None = None
    started_after: Annotated[Instant, Meta(description="Started then or later")] | None = None
    started_before: Annotated[Instant, Meta(description="Started earlier")] | None = None
    sort_by: Annotated[
        Literal["started_at"], Meta(description="What to sort by; the id breaks ties")
    ] = "started_at"
    sort_order: SortOrder = SortOrder.DESC

    def to_domain(self) -> TraceFilter:
        after, before = self.started_after, self.started_before
        return TraceFilter(
            session_id=self.session_id,
            user_id=self.user_id,
            status=self.status,
            name=self.name,
            started_after=None if after is None else parse_instant(after),
            started_before=None if before is None else parse_instant(before),
        )


INGEST: Final = operation(
    data_plane(Scope.INGEST),
    Documented(
        summary="Store a trace",
        description=(
            "Stores a trace with its spans, and answers once they are on disk: every endpoint "
            "can read them from then on. A trace or span that is sent again is merged with what "
            "is known of it, so a request is safe to repeat."
        ),
        answer=TraceAccepted,
        example=examples.ACCEPTED,
        body_example=examples.TRACE,
    ),
).with_body(TRACE)

INGEST_BATCH: Final = operation(
    data_plane(Scope.INGEST),
    Documented(
        summary="Store many traces",
        description=(
            f"Stores 1 to {BATCH_MAX} traces, each as `POST /traces` does. One that can't be "
            "taken is told of under `rejected` and costs only itself. Where none can be taken "
            "the answer is 422."
        ),
        answer=BatchAccepted,
        example={"accepted": [examples.ACCEPTED], "rejected": []},
        body_example={"traces": [examples.TRACE]},
    ),
).with_body(Body(BatchCreate, lambda batch, _: [bytes(one) for one in batch.traces]))

ADD_SPANS: Final = (
    operation(
        data_plane(Scope.INGEST),
        Documented(
            summary="Add spans to a trace",
            description="Merges spans by their ids into a trace that is stored already.",
            answer=SpansAccepted,
            example={"span_ids": [examples.SPAN_ID]},
            body_example=[examples.SPAN],
        ),
    )
    .with_path(TracePath)
    .with_body(SPANS)
)

LIST: Final = operation(
    data_plane(Scope.READ),
    Documented(
        summary="List traces",
        description="A page of the project's traces, without their payloads.",
        answer=PaginatedResponse[TraceListItem],
        example=examples.PAGE,
    ),
).with_query(TraceQuery)

READ: Final = operation(
    data_plane(Scope.READ),
    Documented(
        summary="Read a trace",
        description="One trace with all its spans, by their start.",
        answer=TraceResponse,
        example=examples.TRACE_RESPONSE,
    ),
).with_path(TracePath)

DELETE: Final = operation(
    data_plane(Scope.INGEST, Scope.READ),
    Documented(
        summary="Delete a trace",
        description="Removes a trace with its spans and scores.",
        answer=None,
    ),
).with_path(TracePath)


class TraceController(Controller):
    path = "/traces"

    @post("/", status_code=202, opt=INGEST.opt)
    async def ingest_trace(self, request: HttpRequest) -> Response[bytes]:
        given = await INGEST.read(request)
        await edge_of(request).use_cases.ingest_trace(given.caller.project_id, given.body)
        return await answer(request, _accepted(given.body.id))

    @post("/batch", status_code=202, opt=INGEST_BATCH.opt)
    async def ingest_batch(self, request: HttpRequest) -> Response[bytes]:
        given = await INGEST_BATCH.read(request)
        edge = edge_of(request)
        read = [_read_item(item, edge.config) for item in given.body]
        good = [one for one in read if isinstance(one, Trace)]
        stored = iter(
            await edge.use_cases.ingest_batch(given.caller.project_id, good) if good else ()
        )
        outcomes = [one if isinstance(one, Invalid) else next(stored) for one in read]
        if all(outcomes):
            raise Invalid.fields(_all_mistakes(outcomes))
        return await answer(
            request,
            BatchAccepted(
                [
                    _accepted(one.id)
                    for one, outcome in zip(read, outcomes, strict=True)
                    if isinstance(one, Trace) and outcome is None
                ],
                [
                    BatchRejected(
                        index, [FieldProblem(one.field, one.message) for one in bad.errors]
                    )
                    for index, bad in enumerate(outcomes)
                    if bad is not None
                ],
            ),
        )

    @post("/{trace_id:str}/spans", status_code=201, opt=ADD_SPANS.opt)
    async def add_spans(self, request: HttpRequest) -> Response[bytes]:
        given = await ADD_SPANS.read(request)
        spans: Sequence[Span] = given.body
        await edge_of(request).use_cases.add_spans(
            given.caller.project_id, TraceId(given.path.trace_id), spans
        )
        ids: list[SpanId] = [span.id for span in spans]
        return await answer(request, SpansAccepted(list(ids)))

    @get("/", opt=LIST.opt)
    async def list_traces(self, request: HttpRequest) -> Response[bytes]:
        given = await LIST.read(request)
        query = given.query
        page = await edge_of(request).use_cases.list_traces(
            given.caller.project_id,
            query.to_domain(),
            TraceSort.STARTED_AT,
            query.sort_order,
            Window(query.limit, query.offset),
        )
        return await answer(
            request,
            PaginatedResponse(
                items=[TraceListItem.of(one) for one in page.items],
                total=page.total,
                limit=query.limit,
                offset=query.offset,
                next_cursor=None,
            ),
        )

    @get("/{trace_id:str}", opt=READ.opt)
    async def read_trace(self, request: HttpRequest) -> Response[bytes]:
        given = await READ.read(request)
        project = given.caller.project_id
        trace = await edge_of(request).use_cases.read_trace(project, TraceId(given.path.trace_id))
        return await answer(request, TraceResponse.of(project, trace))

    @delete("/{trace_id:str}", status_code=204, opt=DELETE.opt)
    async def delete_trace(self, request: HttpRequest) -> None:
        given = await DELETE.read(request)
        await edge_of(request).use_cases.delete_trace(
            given.caller.project_id, TraceId(given.path.trace_id)
        )


def _accepted(trace: TraceId) -> TraceAccepted:
    return TraceAccepted(trace, uuid4())


def _read_item(item: bytes, config: HttpConfig) -> Trace | Invalid:
    mistakes = Mistakes()
    try:
        trace = TRACE.part(item, config, mistakes)
        mistakes.check()
    except Invalid as invalid:
        return invalid
    assert trace is not None
    return trace


def _all_mistakes(outcomes: Sequence[Invalid | None]) -> list[FieldError]:
    """The mistakes of every item, with the path of each in the whole body."""
    return [
        FieldError(f"traces.{index}.{one.field}".rstrip("."), one.message)
        for index, bad in enumerate(outcomes)
        if bad is not None
        for one in bad.errors
    ]
