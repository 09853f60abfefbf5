"""The places of the words of a query within one trace: in its own texts, and in those of its spans.

Beyond what is searched of all traces, metadata is looked into as well: a trace is read whole here,
so no index has to have its words.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from domain.ids import SpanId
from domain.page import Position
from domain.tracing.search.search_match import SnippetPart, first_place, may_be_in, snippet
from domain.tracing.search.search_query import SearchQuery, SearchTerm
from domain.tracing.search.search_texts import (
    SearchedValue,
    SearchField,
    searched_values_of_span,
    searched_values_of_trace,
)
from domain.tracing.search.search_words import normalized
from domain.tracing.span import Span
from domain.tracing.trace import Trace, in_order

WITHIN_BYTES_MAX: Final = 64 << 20  # of payloads, for one page
# Before all spans, also those that a client without a time sent with the first instant.
POSITION_OF_TRACE: Final = Position(datetime.min.replace(tzinfo=UTC), UUID(int=0))


@dataclass(frozen=True, slots=True)
class FoundPlace:
    """The first text of a field that has a term of the query.

    `text_index` says which text of the field it is: of a payload, its strings and numbers count
    from 0. `offset` are the characters of the text, in the form NFKC, before the first term.
    """

    field: SearchField
    text_index: int
    offset: int
    snippet: tuple[SnippetPart, ...]


@dataclass(frozen=True, slots=True)
class FoundWithin:
    """A span that has all terms, and where; `span` is None for the trace itself."""

    span: SpanId | None
    places: tuple[FoundPlace, ...]
    position: Position


@dataclass(frozen=True, slots=True)
class FoundWithinPage:
    """Some of what a query finds in a trace: the trace itself first, then spans by (start, id).

    `end` is where the next page follows, None after the last one. `is_complete` unless
    WITHIN_BYTES_MAX ended the page before it was full.
    """

    found: Sequence[FoundWithin]
    end: Position | None = None
    is_complete: bool = True


def find_within(trace: Trace, query: SearchQuery) -> Iterator[FoundWithin]:
    """Each owner of texts that has all terms, in order."""
    if (places := find_places(values_of_trace(trace), query)) is not None:
        yield FoundWithin(None, places, POSITION_OF_TRACE)
    for span in in_order(trace.spans):
        if (places := find_places(values_of_span(span), query)) is not None:
            yield FoundWithin(span.id, places, Position(span.started_at, span.id))


def values_of_trace(trace: Trace) -> Iterable[SearchedValue]:
    """The values of the trace itself."""
    yield from searched_values_of_trace(trace)
    yield SearchedValue(None, SearchField.METADATA, trace.metadata)


def values_of_span(span: Span) -> Iterable[SearchedValue]:
    """The values of the span itself."""
    yield from searched_values_of_span(span)
    yield SearchedValue(span.id, SearchField.METADATA, span.metadata)


def find_places(
    values: Iterable[SearchedValue], query: SearchQuery
) -> tuple[FoundPlace, ...] | None:
    """The first place in each value that has a term; None unless the values have all terms."""
    missing, places = set(query.terms), list[FoundPlace]()
    for value in values:
        place, terms = _find_in(value, query)
        if place is not None:
            places.append(place)
            missing -= terms
    return None if missing else tuple(places)


def _find_in(value: SearchedValue, query: SearchQuery) -> tuple[FoundPlace | None, set[SearchTerm]]:
    """The first place of a value, and all terms that it has."""
    wanted = may_be_in(value.value, query.terms)
    place, found = None, set[SearchTerm]()
    for index, text in enumerate(value.texts() if wanted else ()):
        same = normalized(text).casefold()
        here = [one for one in wanted if one.sequence.find(same) is not None]
        if here and place is None:
            place = FoundPlace(value.field, index, first_place(text, query), snippet(text, query))
        found.update(here)
        wanted = [one for one in wanted if one not in found]
        if not wanted:
            break
    return place, found
