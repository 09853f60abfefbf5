"""What lists that have `query`, which finds words in texts, check of their parameters."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from domain.errors import FieldError, Invalid
from domain.page import SortOrder
from domain.tracing.query import TraceSort
from domain.tracing.search.search_query import SearchQuery
from domain.tracing.spans.span_query import SpanSort
from entrypoints.http.requests.scalar_types import InvalidValue

_BY_START: Final = {TraceSort.STARTED_AT, SpanSort.STARTED_AT}


def check_search_text(text: str) -> None:
    """Raises InvalidValue that says what to change."""
    try:
        SearchQuery.parse(text)
    except Invalid as invalid:
        raise InvalidValue(invalid.errors[0].message) from invalid


def search_errors(fields: Mapping[str, Any]) -> Iterator[FieldError]:
    """What can't be combined with `query`, among the valid fields of a list."""
    if fields.get("query", "") is None:  # it is missing from the fields if its text is wrong
        return
    leave_out = "can't be combined with query, which shows the newest first: leave it out"
    if "sort_by" in fields and fields["sort_by"] not in _BY_START:
        yield FieldError("sort_by", leave_out)
    elif fields.get("sort_order") is SortOrder.ASC:
        yield FieldError("sort_order", leave_out)
    if fields.get("offset"):
        yield FieldError("offset", "can't be combined with query: follow next_cursor")
