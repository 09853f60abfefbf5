"""The list of traces that a query finds, and what all searches have in common."""

from typing import Any

import msgspec

from application.use_cases import UseCases
from domain.ids import ProjectId
from domain.page import Page, PageRequest
from domain.tracing.search.search_match import SearchHit, SearchPage, SpanHit
from domain.tracing.search.search_query import SearchQuery
from entrypoints.http.controllers.traces.list_details import ListDetails
from entrypoints.http.controllers.traces.schemas import (
    TRACES,
    SearchMatchResponse,
    SearchState,
    TraceListItem,
    TracePage,
    TraceQuery,
)
from entrypoints.http.requests import wire_types as wire


async def search_traces(
    use_cases: UseCases, project: ProjectId, params: TraceQuery, text: str
) -> TracePage:
    """The page of `params`, whose `query` is `text`. Raises Invalid for a foreign cursor."""
    query, matching = SearchQuery.parse(text), params.to_domain()
    requested = TRACES.parse_page(
        params, project, (matching, query.canonical), params.sort_by, params.sort_order
    )
    now = wire.format_instant(use_cases.clock())
    page = await use_cases.tracing.trace_search.find(project, query, matching, requested.page)
    details = await ListDetails.load(
        use_cases, project, [hit.trace for hit in page.hits], params.included
    )

    def item(hit: SearchHit) -> TraceListItem:
        found = details.item(hit.trace)
        matches = list(map(SearchMatchResponse.from_domain, hit.matches))
        msgspec.structs.force_setattr(found, "matches", matches)
        return found

    shown = requested.respond(counted_page(page, requested.page), item)
    return TracePage(**msgspec.structs.asdict(shown), search=search_state(page, now))


def counted_page[H: (SearchHit, SpanHit)](page: SearchPage[H], asked: PageRequest) -> Page[H]:
    """The page with what is known of its total."""
    has_more = page.end is not None
    is_part = has_more or asked.after is not None or not page.is_complete
    return Page(page.hits, len(page.hits) + has_more, page.end, total_is_at_least=is_part)


def search_state(page: SearchPage[Any], now: wire.ResponseInstant) -> SearchState:
    """`now` is an instant before the search."""
    since = page.unindexed_since
    return SearchState(
        indexed_until=now if since is None else wire.format_instant(since),
        is_complete=page.is_complete,
    )
