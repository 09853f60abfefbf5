"""Parts of traces: outlines, and what a query finds in one trace."""

from typing import Final

import msgspec
from litestar import Controller

from application.use_cases import UseCases
from domain.identity.caller import Caller
from domain.page import Page, SortOrder
from domain.tracing.outline import OUTLINE_SPANS_MAX
from domain.tracing.search.search_query import SearchQuery
from domain.tracing.search.search_within import WITHIN_BYTES_MAX
from entrypoints.http.authentication import CAN_READ
from entrypoints.http.controllers.traces import part_schemas, schemas
from entrypoints.http.controllers.traces.trace_etags import TraceEtags
from entrypoints.http.endpoint import get
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.responses import JsonResponse, not_modified, respond_with

OUTLINE_SPANS_ON_LOOP_MAX: Final = 2_000  # writing the response takes 5 ms


class TracePartController(Controller):
    path = "/traces/{trace_id:str}"

    @get(
        "/outline",
        CAN_READ,
        description=(
            "The trace as in a list, and its spans in columns, without payloads and sorted by "
            f"start: at most {OUTLINE_SPANS_MAX:,} in one part. `after` reads the next part. If "
            "its `revision` differs from that of the part before, the trace has changed: read it "
            "again from the start."
        ),
        example=part_schemas.OUTLINE,
    )
    async def read_outline(
        self,
        request: HttpRequest,
        caller: Caller,
        path: schemas.TracePath,
        params: part_schemas.OutlineQuery,
        use_cases: UseCases,
    ) -> part_schemas.OutlineResponse | JsonResponse[part_schemas.OutlineResponse]:
        """Read the outline of a trace."""
        project, traces = caller.project_id, use_cases.tracing.traces
        etags = TraceEtags.from_request(request)
        if etags.are_known:  # most polls find nothing new, and read no spans
            revision = await traces.revision(project, path.trace_id)
            if etags.knows(revision):
                return not_modified(etags.etag(revision))
        outline = await traces.outline(project, path.trace_id, params.after, params.limit)
        return await respond_with(
            lambda: part_schemas.OutlineResponse.from_domain(outline),
            is_long=len(outline.columns.span_id) > OUTLINE_SPANS_ON_LOOP_MAX,
            headers={"etag": etags.etag(outline.revision)},
        )

    @get(
        "/search",
        CAN_READ,
        description=(
            "Where the words of a query are in a trace: the spans whose texts have all of them, by "
            "start, after the trace itself. Names, inputs, outputs, errors and metadata are "
            f"looked into, and no index is needed. A page ends early after {WITHIN_BYTES_MAX >> 20}"
            " MiB of payloads: then `is_complete` is false, and `next_cursor` goes on."
        ),
        example=part_schemas.SEARCH,
    )
    async def search_trace(
        self,
        caller: Caller,
        path: schemas.TracePath,
        params: part_schemas.TraceSearchQuery,
        use_cases: UseCases,
    ) -> part_schemas.FoundWithinPage:
        """Search a trace."""
        project, trace = caller.project_id, path.trace_id
        query = SearchQuery.parse(params.query)
        requested = part_schemas.TRACE_SEARCH.parse_page(
            params, project, (trace, query.canonical), None, SortOrder.ASC
        )
        search = use_cases.tracing.trace_search
        page = await search.find_within(project, trace, query, requested.page)
        is_part = page.end is not None or requested.page.after is not None
        total = len(page.found) + (page.end is not None)
        shown = requested.respond(
            Page(page.found, total, page.end, total_is_at_least=is_part),
            part_schemas.FoundWithinResponse.from_domain,
        )
        return part_schemas.FoundWithinPage(
            **msgspec.structs.asdict(shown), is_complete=page.is_complete
        )
