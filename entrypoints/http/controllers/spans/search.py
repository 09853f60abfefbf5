"""The list of spans that a query finds."""

import msgspec

from application.use_cases import UseCases
from domain.ids import ProjectId
from domain.tracing.search.search_match import SpanHit
from domain.tracing.search.search_query import SearchQuery
from entrypoints.http.controllers.spans.schemas import SPANS, SpanListItem, SpanListQuery, SpanPage
from entrypoints.http.controllers.traces.schemas import SearchMatchResponse
from entrypoints.http.controllers.traces.search import counted_page, search_state
from entrypoints.http.requests import wire_types as wire


async def search_spans(
    use_cases: UseCases, project: ProjectId, params: SpanListQuery, text: str
) -> SpanPage:
    """The page of `params`, whose `query` is `text`. Raises Invalid for a foreign cursor."""
    query, matching = SearchQuery.parse(text), params.to_domain()
    requested = SPANS.parse_page(
        params, project, (matching, query.canonical), params.sort_by, params.sort_order
    )
    now = wire.format_instant(use_cases.clock())
    page = await use_cases.tracing.span_search.find(project, query, matching, requested.page)
    shown = requested.respond(counted_page(page, requested.page), _item)
    return SpanPage(**msgspec.structs.asdict(shown), search=search_state(page, now))


def _item(hit: SpanHit) -> SpanListItem:
    item = SpanListItem.from_domain(hit.span)
    matches = list(map(SearchMatchResponse.from_domain, hit.matches))
    msgspec.structs.force_setattr(item, "matches", matches)
    return item
