"""Traces and spans: storing them, showing one."""

from collections.abc import Sequence
from typing import Annotated, Final
from uuid import uuid4

import msgspec
from litestar import Controller, Response, get, post
from msgspec import Meta

from application.tracing.ingest import BATCH_MAX
from domain.errors import FieldError, Invalid
from domain.identity.api_key import Scope
from domain.ids import SpanId, TraceId
from domain.tracing.span import Span
from domain.tracing.trace import Trace
from entrypoints.http.authentication import data_plane
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.traces import examples
from entrypoints.http.controllers.traces.schemas import (
    TRACE_RESPONSE,
    SpanCreate,
    SpansAccepted,
    TraceAccepted,
    TraceCreate,
    TracePath,
    TraceResponse,
    spans_of,
)
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.operation import Documented, answer, edge_of, operation
from entrypoints.http.problems import FieldProblem, Mistakes
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.wire_types import Deferred, capped

TRACE: Final = Body(TraceCreate, TraceCreate.to_domain)
SPANS: Final = Body(Annotated[list[SpanCreate], Meta(min_length=1), capped("max_spans")], spans_of)


class BatchCreate(msgspec.Struct, frozen=True):
    """Traces, each of which is taken or refused for itself."""

    traces: Annotated[
        list[
            Annotated[
                Deferred, Meta(extra_json_schema={"$ref": "#/components/schemas/TraceCreate"})
            ]
        ],
        Meta(min_length=1, max_length=BATCH_MAX),
    ]


class BatchRejected(msgspec.Struct, frozen=True):
    """`index` is the place in the request; each `field` is relative to the trace there."""

    index: int
    errors: list[FieldProblem]


class BatchAccepted(msgspec.Struct, frozen=True):
    """What was stored, in the order of the request, and what was refused."""

    accepted: list[TraceAccepted]
    rejected: list[BatchRejected]


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
        route_class=RouteClass.INGEST,
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
        route_class=RouteClass.INGEST,
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

READ: Final = operation(
    data_plane(Scope.READ),
    Documented(
        summary="Read a trace",
        description="One trace with all its spans, by their start.",
        answer=TraceResponse,
        example=TRACE_RESPONSE,
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

    @get("/{trace_id:str}", opt=READ.opt)
    async def read_trace(self, request: HttpRequest) -> Response[bytes]:
        given = await READ.read(request)
        project = given.caller.project_id
        trace = await edge_of(request).use_cases.read_trace(project, TraceId(given.path.trace_id))
        return await answer(request, TraceResponse.of(project, trace))


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
