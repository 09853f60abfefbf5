"""Traces and spans: storing them, showing one."""

from collections.abc import Sequence
from typing import Annotated, Final
from uuid import uuid4

import msgspec
from litestar import Controller, get, post
from msgspec import Meta

from application.tracing.ingest import BATCH_MAX
from application.use_cases import UseCases
from domain.errors import FieldError, Invalid
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
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
from entrypoints.http.endpoint import Injected, edge_of, endpoint
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.middleware.request_ids import HttpRequest
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


NewTrace = Annotated[Trace, TRACE]

INGEST: Final = endpoint(
    data_plane(Scope.INGEST),
    summary="Store a trace",
    description=(
        "Stores a trace with its spans, and answers once they are on disk: every endpoint "
        "can read them from then on. A trace or span that is sent again is merged with what "
        "is known of it, so a request is safe to repeat."
    ),
    example=examples.ACCEPTED,
    body_example=examples.TRACE,
    route_class=RouteClass.INGEST,
)

NewTraces = Annotated[
    list[bytes], Body(BatchCreate, lambda batch, _: [bytes(one) for one in batch.traces])
]

INGEST_BATCH: Final = endpoint(
    data_plane(Scope.INGEST),
    summary="Store many traces",
    description=(
        f"Stores 1 to {BATCH_MAX} traces, each as `POST /traces` does. One that can't be "
        "taken is told of under `rejected` and costs only itself. Where none can be taken "
        "the answer is 422."
    ),
    example={"accepted": [examples.ACCEPTED], "rejected": []},
    body_example={"traces": [examples.TRACE]},
    route_class=RouteClass.INGEST,
)

NewSpans = Annotated[list[Span], SPANS]

ADD_SPANS: Final = endpoint(
    data_plane(Scope.INGEST),
    summary="Add spans to a trace",
    description="Merges spans by their ids into a trace that is stored already.",
    example={"span_ids": [examples.SPAN_ID]},
    body_example=[examples.SPAN],
)

READ: Final = endpoint(
    data_plane(Scope.READ),
    summary="Read a trace",
    description="One trace with all its spans, by their start.",
    example=TRACE_RESPONSE,
)


class TraceController(Controller):
    path = "/traces"

    @post("/", status_code=202, **INGEST)
    async def ingest_trace(
        self,
        caller: Injected[Caller],
        content: Injected[NewTrace],
        use_cases: Injected[UseCases],
    ) -> TraceAccepted:
        await use_cases.tracing.ingest_trace(caller.project_id, content)
        return _accepted(content.id)

    @post("/batch", status_code=202, **INGEST_BATCH)
    async def ingest_batch(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
        content: Injected[NewTraces],
        use_cases: Injected[UseCases],
    ) -> BatchAccepted:
        edge = edge_of(request)
        read = [_read_item(item, edge.config) for item in content]
        good = [one for one in read if isinstance(one, Trace)]
        stored = iter(
            await edge.use_cases.tracing.ingest_batch(caller.project_id, good) if good else ()
        )
        outcomes = [one if isinstance(one, Invalid) else next(stored) for one in read]
        if all(outcomes):
            raise Invalid.fields(_all_mistakes(outcomes))
        return BatchAccepted(
            [
                _accepted(one.id)
                for one, outcome in zip(read, outcomes, strict=True)
                if isinstance(one, Trace) and outcome is None
            ],
            [
                BatchRejected(index, [FieldProblem(one.field, one.message) for one in bad.errors])
                for index, bad in enumerate(outcomes)
                if bad is not None
            ],
        )

    @post("/{trace_id:str}/spans", status_code=201, **ADD_SPANS)
    async def add_spans(
        self,
        caller: Injected[Caller],
        content: Injected[NewSpans],
        path: Injected[TracePath],
        use_cases: Injected[UseCases],
    ) -> SpansAccepted:
        spans: Sequence[Span] = content
        await use_cases.tracing.add_spans(caller.project_id, TraceId(path.trace_id), spans)
        ids: list[SpanId] = [span.id for span in spans]
        return SpansAccepted(list(ids))

    @get("/{trace_id:str}", **READ)
    async def read_trace(
        self,
        caller: Injected[Caller],
        path: Injected[TracePath],
        use_cases: Injected[UseCases],
    ) -> TraceResponse:
        project = caller.project_id
        trace = await use_cases.tracing.read_trace(project, TraceId(path.trace_id))
        return TraceResponse.of(project, trace)


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
