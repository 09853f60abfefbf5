"""What was rejected of the traces, spans and log records that a project was sent."""

from typing import Annotated, Final

from litestar import Controller
from msgspec import Meta

from application.use_cases import UseCases
from domain.identity.caller import Caller
from domain.page import SortOrder
from domain.tracing.otel.requests import RecordedRejection, RejectionReason, Signal
from entrypoints.http.authentication import CAN_READ
from entrypoints.http.controllers.otlp import examples
from entrypoints.http.controllers.traces.examples import page_of
from entrypoints.http.endpoint import get
from entrypoints.http.requests.cursors import ID, INSTANT, PagedList, PageQuery
from entrypoints.http.requests.wire_types import PaginatedResponse, ResponseInstant
from entrypoints.http.response_structs import ResponseStruct, Source

REJECTIONS: Final = PagedList("rejections", {None: INSTANT}, ID)


class RejectionQuery(PageQuery, frozen=True, kw_only=True):
    reason: Annotated[
        RejectionReason | None, Meta(description="Only rejections for this reason")
    ] = None


class RejectionResponse(ResponseStruct[RecordedRejection], frozen=True, kw_only=True):
    """A rejected span or log record, several of them by `count`, or a whole request.

    With the reasons `rate_limited` and `invalid`, `count` is the number of requests to `/traces`,
    `/traces/batch` and `/traces/import` that were refused within one hour, and of the traces that
    accepted batches were refused. The message is the newest, without values and keys of senders.

    `scope` and `service` are as the sender names them, ids are in hex as they were sent.
    """

    rejected_at: ResponseInstant
    signal: Signal
    reason: Annotated[RejectionReason, Source("rejection.reason")]
    message: Annotated[str, Source("rejection.message")]
    count: Annotated[int, Source("rejection.count")]
    scope: Annotated[str | None, Source("rejection.scope")]
    service: Annotated[str | None, Source("rejection.service")]
    trace_id: Annotated[str | None, Source("rejection.trace_id")]
    span_id: Annotated[str | None, Source("rejection.span_id")]


class RejectionController(Controller):
    path = "/ingest/rejections"

    @get("/", CAN_READ, example=page_of(examples.REJECTION))
    async def list_rejections(
        self, caller: Caller, params: RejectionQuery, use_cases: UseCases
    ) -> PaginatedResponse[RejectionResponse]:
        """List rejected data.

        A page of what was rejected of the project's spans and log records, the newest first:
        exporters don't show it. Invalid requests to `/traces`, and those beyond the rate limit,
        are counted by the hour. The last 1,000 rejections are kept, at most 101 of a request, the
        last of which counts the rest. Requests that met an overload, and OpenTelemetry requests
        beyond a budget of bytes or spans, are not among them: exporters send them again.
        """
        project, reason = caller.project_id, params.reason
        requested = REJECTIONS.parse_page(params, project, reason, None, SortOrder.DESC)
        page = await use_cases.tracing.rejections.page(project, reason, requested.page)
        return requested.respond(page, RejectionResponse.from_domain)
