"""The list of spans across traces."""

import msgspec
from litestar import Controller

from application.use_cases import UseCases
from domain.identity.caller import Caller
from domain.tracing.spans.span_query import (
    COMPARED_SPANS_MAX,
    COUNTED_SPANS_MAX,
    SORTED_AMONG_MAX,
    SORTED_SPANS_MAX,
)
from entrypoints.http.authentication import CAN_READ
from entrypoints.http.controllers.spans.schemas import (
    SPAN_PAGE,
    SPANS,
    SpanListItem,
    SpanListQuery,
    SpanPage,
)
from entrypoints.http.controllers.spans.search import search_spans
from entrypoints.http.endpoint import get
from entrypoints.http.requests import cursors


class SpanController(Controller):
    path = "/spans"

    @get(
        "/",
        CAN_READ,
        description=(
            "A page of the spans of all traces of the project, without their payloads. A span has "
            "to match all filters. Spans without latency or with an unknown cost come last in "
            f"either order. Orders other than that of starts take at most {SORTED_SPANS_MAX:,} "
            f"matching spans, out of {SORTED_AMONG_MAX:,} of the hours that may have some. `total` "
            f"counts the matches among the first {COUNTED_SPANS_MAX:,} spans of the period, with "
            "`total_is_at_least` if there are "
            "more; it is exact if few traces match. Rare spans are looked for in the hours that "
            f"may have some, among at most {COMPARED_SPANS_MAX:,} spans, for some seconds: a page "
            "may end before it is full, and `next_cursor` goes on at `read_until`. `query` "
            "searches the texts of the spans themselves, and adds `matches` to each span and "
            "`search` to the page."
        ),
        example=SPAN_PAGE,
    )
    async def list_spans(
        self, caller: Caller, params: SpanListQuery, use_cases: UseCases
    ) -> SpanPage:
        """List spans."""
        project, matching = caller.project_id, params.to_domain()
        sort, order = params.sort_by, params.sort_order
        if params.query is not None:
            return await search_spans(use_cases, project, params, params.query)
        requested = SPANS.parse_page(params, project, matching, sort, order)
        page = await use_cases.tracing.spans.summaries(
            project, matching, sort, order, requested.page
        )
        shown = requested.respond(page, SpanListItem.from_domain)
        reached = cursors.read_until(page, params.limit)
        return SpanPage(**msgspec.structs.asdict(shown), read_until=reached)
