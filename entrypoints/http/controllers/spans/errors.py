"""Errors of spans, by groups."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Controller
from msgspec import Meta

from application.use_cases import UseCases
from domain.errors import FieldError
from domain.identity.caller import Caller
from domain.page import LIMIT_DEFAULT, SortOrder
from domain.tracing.analytics import Period
from domain.tracing.spans import error_groups
from domain.tracing.spans.error_groups import (
    ERROR_CHARS_MAX,
    ERROR_RELEASES_MAX,
    ERROR_SAMPLES_MAX,
    FAILED_SPANS_MAX,
    RELEASED_ERRORS_MAX,
    ErrorFilter,
    ErrorSort,
)
from entrypoints.http.authentication import CAN_READ
from entrypoints.http.controllers.traces import examples
from entrypoints.http.endpoint import get
from entrypoints.http.requests import cursors
from entrypoints.http.requests.wire_types import (
    PaginatedResponse,
    QueryEnd,
    QueryInstant,
    ResponseInstant,
)
from entrypoints.http.response_structs import ResponseStruct, Source


class ErrorQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page of groups, with the fields of `PageQuery`."""

    started_after: Annotated[QueryInstant, Meta(description="Spans that started then or later")]
    started_before: Annotated[QueryEnd, Meta(description="Spans that started earlier")]
    is_new: (
        Annotated[bool, Meta(description="Whether no span of the group failed before the period")]
        | None
    ) = None
    sort_by: Annotated[ErrorSort, Meta(description="The sort key; ties are sorted by id")] = (
        ErrorSort.LAST_SEEN
    )
    sort_order: Annotated[SortOrder, Meta(description=cursors.SORT_ORDER_DESCRIPTION)] = (
        SortOrder.DESC
    )
    limit: cursors.PageLimit = LIMIT_DEFAULT
    offset: cursors.PageOffset = 0
    cursor: cursors.Cursor | None = None

    @classmethod
    def field_errors(cls, fields: Mapping[str, Any]) -> Iterator[FieldError]:
        return cursors.page_errors(fields)

    def to_domain(self) -> ErrorFilter:
        return ErrorFilter(
            period=Period(self.started_after, self.started_before), is_new=self.is_new
        )


class ErrorSampleResponse(ResponseStruct[error_groups.ErrorSample], frozen=True, kw_only=True):
    """A failed span."""

    trace_id: UUID
    span_id: UUID
    name: str
    started_at: ResponseInstant
    error: Annotated[
        str | None,
        Source("message"),
        Meta(description=f"At most {ERROR_CHARS_MAX} characters of it"),
    ]


class ErrorGroupResponse(ResponseStruct[error_groups.ErrorGroup], frozen=True, kw_only=True):
    """The failed spans of a period whose errors differ only in ids, numbers and quoted texts."""

    error_group: Annotated[str, Source("id"), Meta(description="Selects its spans in `GET /spans`")]
    pattern: Annotated[str, Meta(description="The error, with placeholders for what differs")]
    count: Annotated[int, Meta(description="Failed spans in the period")]
    first_seen: Annotated[
        ResponseInstant,
        Meta(description="The start of the first failed span, in the period or before it"),
    ]
    last_seen: Annotated[
        ResponseInstant, Meta(description="The start of the last failed span in the period")
    ]
    is_new: Annotated[bool, Meta(description="Whether no span failed before the period")]
    releases: Annotated[
        list[str],
        Meta(
            description=(
                f"Of the traces of the newest {RELEASED_ERRORS_MAX} failed spans, at most "
                f"{ERROR_RELEASES_MAX}, newest first"
            )
        ),
    ]
    samples: Annotated[
        list[ErrorSampleResponse],
        Meta(description=f"The newest failed spans, at most {ERROR_SAMPLES_MAX}"),
    ]


ERRORS: Final = cursors.PagedList(
    "errors",
    {
        ErrorSort.LAST_SEEN: cursors.INSTANT,
        ErrorSort.FIRST_SEEN: cursors.INSTANT,
        ErrorSort.COUNT: cursors.INTEGER,
    },
    cursors.TEXT,
)
EXAMPLE: Final = {
    "error_group": "9f86d081884c7d65",
    "pattern": "no answer from <address> after <number> s",
    "count": 3,
    "first_seen": "2026-03-01T09:00:00+00:00",
    "last_seen": "2026-03-01T11:30:00+00:00",
    "is_new": True,
    "releases": ["1.4.0"],
    "samples": [
        {
            "trace_id": examples.TRACE_ID,
            "span_id": examples.SPAN_ID,
            "name": "find-flights",
            "started_at": "2026-03-01T11:30:00+00:00",
            "error": "no answer from 10.0.0.7:8080 after 30 s",
        }
    ],
}


class ErrorController(Controller):
    path = "/errors"

    @get(
        "/",
        CAN_READ,
        description=(
            "The errors of the spans that failed in a period, by groups: errors are in one group "
            "if they differ only in ids, numbers, hexadecimal values, quoted texts and addresses. "
            "Of several lines the first counts, of a Python traceback the last. A group has the "
            "same id in every project and period. At most "
            f"{FAILED_SPANS_MAX:,} failed spans are grouped; narrow the period if there are more."
        ),
        example=examples.page_of(EXAMPLE),
    )
    async def list_errors(
        self, caller: Caller, params: ErrorQuery, use_cases: UseCases
    ) -> PaginatedResponse[ErrorGroupResponse]:
        """List groups of errors."""
        project, matching = caller.project_id, params.to_domain()
        sort, order = params.sort_by, params.sort_order
        requested = ERRORS.parse_page(params, project, matching, sort, order)
        page = await use_cases.tracing.spans.error_groups(
            project, matching, sort, order, requested.page
        )
        return requested.respond(page, ErrorGroupResponse.from_domain)
