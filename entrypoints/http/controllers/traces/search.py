"""The list of traces that a query finds."""

import msgspec

from application.use_cases import UseCases
from domain.errors import FieldError, Invalid
from domain.ids import ProjectId
from domain.page import Page, SortOrder
from domain.tracing.query import TraceSort
from domain.tracing.search_match import SearchHit
from domain.tracing.search_query import SearchQuery
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
    """The page of `params`, whose `query` is `text`. Raises Invalid."""
    _check(params)
    query, matching = SearchQuery.parse(text, "query.query"), params.to_domain()
    requested = TRACES.parse_page(
        params, project, (matching, query.canonical), params.sort_by, params.sort_order
    )
    now = use_cases.clock()
    page = await use_cases.tracing.trace_search.find(project, query, matching, requested.page)
    details = await ListDetails.load(
        use_cases, project, [hit.trace for hit in page.hits], params.included
    )

    def item(hit: SearchHit) -> TraceListItem:
        found = details.item(hit.trace)
        matches = list(map(SearchMatchResponse.from_domain, hit.matches))
        msgspec.structs.force_setattr(found, "matches", matches)
        return found

    has_more = page.end is not None
    is_part = has_more or requested.page.after is not None or not page.is_complete
    shown = Page(page.hits, len(page.hits) + has_more, page.end, total_is_at_least=is_part)
    state = SearchState(
        indexed_until=wire.format_instant(page.unindexed_since or now),
        is_complete=page.is_complete,
    )
    return TracePage(**msgspec.structs.asdict(requested.respond(shown, item)), search=state)


def _check(params: TraceQuery) -> None:
    errors = []
    if (params.sort_by, params.sort_order) != (TraceSort.STARTED_AT, SortOrder.DESC):
        message = "can't be combined with query, which shows the newest traces first: leave it out"
        name = "sort_by" if params.sort_by is not TraceSort.STARTED_AT else "sort_order"
        errors.append(FieldError(f"query.{name}", message))
    if params.offset:
        message = "can't be combined with query: follow next_cursor"
        errors.append(FieldError("query.offset", message))
    if errors:
        raise Invalid.fields(errors)
