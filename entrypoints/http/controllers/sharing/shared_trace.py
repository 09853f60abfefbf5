"""What the reader of a public link gets: one trace, without an account.

The token alone decides which trace that is. No parameter of these endpoints names a project or a
trace, and a span is looked up in the trace of the link.
"""

from typing import Final

import msgspec
from litestar import Controller, Response

from application.use_cases import UseCases
from domain.errors import NotFound
from domain.evaluation.scores.score import ScoreOutcome
from domain.identity.audit import Origin
from domain.sharing.trace_link import TraceLink
from domain.tracing.payloads.payload_detail import PayloadDetail, PayloadExtent
from entrypoints.http.authentication import PublicAccess
from entrypoints.http.controllers.sharing import schemas
from entrypoints.http.controllers.traces import examples, part_schemas
from entrypoints.http.controllers.traces.parts import OUTLINE_SPANS_ON_LOOP_MAX
from entrypoints.http.controllers.traces.payloads import respond_with_payload
from entrypoints.http.endpoint import get
from entrypoints.http.error_responses import ErrorResponse
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.wire_types import format_instant
from entrypoints.http.responses import JsonResponse, respond_with

READER: Final = PublicAccess([], refusals=(404, 503))
NOTHING: Final = PayloadExtent(PayloadDetail.NONE)
LEFT_OUT: Final = "This link leaves out payloads"
HEADERS: Final = {"x-robots-tag": "noindex", "referrer-policy": "no-referrer"}


class SharedTraceController(Controller):
    path = "/shared/{token:str}"

    @get("/", READER, example=schemas.SHARED_TRACE)
    async def read_shared_trace(
        self,
        caller: Origin,
        path: schemas.TokenPath,
        params: part_schemas.OutlineQuery,
        use_cases: UseCases,
    ) -> schemas.SharedTraceResponse | JsonResponse[schemas.SharedTraceResponse]:
        """Read a shared trace.

        The outline of the trace of a public link, as `GET /traces/{trace_id}/outline` has it, and
        its scores if the link shows them. Without credentials. 404 if the link is unknown, expired
        or revoked, or its trace is gone.
        """
        link = await use_cases.sharing.open_link(path.token)
        ours = await use_cases.for_organization(link.organization_id, writes=False)
        found = await ours.tracing.traces.outline(
            link.project_id, link.trace_id, params.after, params.limit
        )
        scores = await _scores(ours, link)
        outline = link.shown_outline(found)
        given = {
            "masked": link.is_masked,
            "expires_at": format_instant(link.expires_at),
            "scores": scores,
        }
        return await respond_with(
            lambda: schemas.SharedTraceResponse.from_domain(outline, **given),
            is_long=len(outline.columns.span_id) > OUTLINE_SPANS_ON_LOOP_MAX,
            headers=HEADERS,
        )

    @get("/spans/{span_id:str}", READER, example=part_schemas.SPAN_DETAIL)
    async def read_shared_span(
        self,
        caller: Origin,
        path: schemas.SharedSpanPath,
        params: schemas.SharedSpanQuery,
        use_cases: UseCases,
    ) -> JsonResponse[part_schemas.SpanDetailResponse]:
        """Read a span of a shared trace.

        One span, with the beginning of payloads that are larger than `preview_bytes`. A masked link
        has neither payloads nor error messages.
        """
        link = await use_cases.sharing.open_link(path.token)
        ours = await use_cases.for_organization(link.organization_id, writes=False)
        extent = PayloadExtent(PayloadDetail.PREVIEW, params.preview_bytes)
        found = await ours.tracing.traces.span(
            link.project_id, link.trace_id, path.span_id, NOTHING if link.is_masked else extent
        )
        [response] = part_schemas.span_details(link.trace_id, [link.shown_span(found)])
        return JsonResponse(response, headers=HEADERS)

    @get(
        "/payload",
        READER,
        example=examples.TRACE["input"],
        error_types={416: ErrorResponse},
        response_type=part_schemas.StoredJson,
    )
    async def read_shared_payload(
        self,
        request: HttpRequest,
        caller: Origin,
        path: schemas.TokenPath,
        params: schemas.SharedPayloadQuery,
        use_cases: UseCases,
    ) -> Response[bytes]:
        """Read a payload of a shared trace.

        The JSON text of one payload as it was sent, of a span or of the trace itself; `null` if
        there is none. `Range` reads a part. 404 if the link is masked.
        """
        link = await use_cases.sharing.open_link(path.token)
        if link.is_masked:
            raise NotFound(LEFT_OUT)
        ours = await use_cases.for_organization(link.organization_id, writes=False)
        payload = await ours.tracing.traces.payload(
            link.project_id, link.trace_id, params.span_id, params.name
        )
        response = await respond_with_payload(request, payload, None)
        response.headers.update(HEADERS)
        return response


async def _scores(use_cases: UseCases, link: TraceLink) -> list[schemas.SharedScore]:
    """The newest of each name that has a value, if the link shows scores."""
    if not link.has_scores:
        return []
    found = await use_cases.evaluation.trace_scores.latest(link.project_id, link.trace_id, None)
    shown = [
        schemas.SharedScore.from_domain(one) for one in found if one.outcome is ScoreOutcome.SCORED
    ]
    if link.is_masked:
        shown = [msgspec.structs.replace(one, reason=None) for one in shown]
    return shown
