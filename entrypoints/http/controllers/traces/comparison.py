"""Comparing two traces step by step."""

from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar import Controller
from msgspec import Meta

from application.concurrency import compute
from application.use_cases import UseCases
from domain.identity.caller import Caller
from domain.ids import TraceId
from domain.page import OFFSET_MAX
from domain.tracing import comparison
from domain.tracing.comparison import (
    COMPARED_SPANS_MAX,
    ERROR_CHARS_MAX,
    STEPS_DEFAULT,
    STEPS_MAX,
    StepChange,
    StepField,
    TraceComparison,
)
from domain.tracing.span import SpanKind, SpanStatus
from entrypoints.http.authentication import CAN_READ
from entrypoints.http.controllers.traces import examples, part_schemas, schemas
from entrypoints.http.endpoint import get
from entrypoints.http.response_structs import ResponseStruct

COMPARED_ON_LOOP_MAX: Final = 200  # spans of both traces: comparing them takes about 2 ms


class TraceComparisonQuery(msgspec.Struct, frozen=True, kw_only=True):
    a: Annotated[
        TraceId,
        Meta(
            description="The trace to compare with, such as one that succeeded",
            examples=[examples.TRACE_ID],
        ),
    ]
    b: Annotated[
        TraceId,
        Meta(
            description="The trace that is compared, such as one that failed",
            examples=[examples.TRACE_ID],
        ),
    ]
    only_changes: Annotated[
        bool, Meta(description="Whether to leave out the steps that are the same")
    ] = False
    limit: Annotated[int, Meta(ge=1, le=STEPS_MAX, description="How many steps to return")] = (
        STEPS_DEFAULT
    )
    after: Annotated[
        int,
        Meta(ge=0, le=OFFSET_MAX, description="How many steps to skip: `next` of the page before"),
    ] = 0


class ComparedStep(ResponseStruct[comparison.ComparedStep], frozen=True, kw_only=True):
    """A step of one of the traces."""

    label: Annotated[
        str, Meta(description="Its position in the tree of spans, such as `s2.1`: as judges cite")
    ]
    span_id: UUID
    status: SpanStatus
    model: str | None
    latency_ms: float | None
    tokens: int
    cost: Annotated[float | None, Meta(description="USD; null if the span is unpriced")]
    input_bytes: Annotated[int | None, Meta(description="Null if there is no input")]
    output_bytes: Annotated[int | None, Meta(description="Null if there is no output")]
    error: Annotated[
        str | None, Meta(description=f"At most its first {ERROR_CHARS_MAX} characters")
    ]


class StepPair(ResponseStruct[comparison.StepPair], frozen=True, kw_only=True):
    """A step of both traces, or of one of them."""

    change: StepChange
    kind: SpanKind
    name: str
    differences: Annotated[
        list[StepField], Meta(description="What differs, if the step is in both traces")
    ]
    a: Annotated[ComparedStep | None, Meta(description="Null if the step was added")]
    b: Annotated[ComparedStep | None, Meta(description="Null if the step is missing")]


class StepCounts(ResponseStruct[comparison.StepCounts], frozen=True, kw_only=True):
    """How many steps of each change there are."""

    same: int
    changed: int
    missing: int
    added: int


class TraceComparisonResponse(ResponseStruct[TraceComparison], frozen=True, kw_only=True):
    """Two traces, and a page of their aligned steps."""

    a: part_schemas.OutlineTrace
    b: part_schemas.OutlineTrace
    compared_a: Annotated[int, Meta(description="How many spans of `a` were compared")]
    compared_b: Annotated[int, Meta(description="How many spans of `b` were compared")]
    counts: StepCounts
    total: Annotated[int, Meta(description="The number of steps on all pages")]
    first: Annotated[int, Meta(description="The place of the first step of this page")]
    steps: list[StepPair]
    next: Annotated[
        int | None, Meta(description="`after` of the next page; null if it is the last")
    ]


EXAMPLE: Final = schemas.example(
    TraceComparisonResponse.from_domain(
        TraceComparison.from_traces(schemas.EXAMPLE_TRACE, schemas.EXAMPLE_TRACE, limit=1)
    )
)


class TraceComparisonController(Controller):
    path = "/traces/compare"

    @get(
        "/",
        CAN_READ,
        description=(
            "Aligns the steps of two traces by kind and name, in the order of their trees: which "
            "steps of `b` were added, which steps of `a` are missing, and which have another "
            "model, status, error, input or output. Each step has its latency, tokens and cost. "
            f"Of each trace the first {COMPARED_SPANS_MAX:,} spans are compared."
        ),
        example=EXAMPLE,
    )
    async def compare_traces(
        self, caller: Caller, params: TraceComparisonQuery, use_cases: UseCases
    ) -> TraceComparisonResponse:
        """Compare two traces."""
        project, traces = caller.project_id, use_cases.tracing.traces
        a = await traces.get(project, params.a)
        b = await traces.get(project, params.b)
        found = await compute(
            lambda: TraceComparison.from_traces(
                a, b, first=params.after, limit=params.limit, only_changes=params.only_changes
            ),
            is_long=len(a.spans) + len(b.spans) > COMPARED_ON_LOOP_MAX,
        )
        return TraceComparisonResponse.from_domain(found)
