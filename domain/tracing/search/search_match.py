"""Whether a trace or a span matches a query, where, and the part of the text that shows it."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Final

from domain.ids import SpanId
from domain.page import Position
from domain.tracing.payloads.payload import JsonText
from domain.tracing.search.search_query import SearchQuery, SearchTerm
from domain.tracing.search.search_texts import (
    SearchedValue,
    SearchField,
    searched_values,
    searched_values_of_span,
)
from domain.tracing.search.search_words import normalized
from domain.tracing.span import Span
from domain.tracing.spans.span_query import SpanSort, SpanSummary
from domain.tracing.trace import Trace, TraceSummary

MATCHES_MAX: Final = 3  # places that are shown of a trace or a span
SNIPPET_CHARS_MAX: Final = 200
CHARS_BEFORE: Final = 60  # the first highlight of a snippet
_BLANKS: Final = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class SnippetPart:
    """A part of a text; highlighted if the query found it."""

    text: str
    is_match: bool


@dataclass(frozen=True, slots=True)
class SearchMatch:
    """Where terms of a query were found: in a span, or in the trace itself if `span` is None.

    The parts of the snippet follow each other in the text, which is in the form NFKC.
    """

    span: SpanId | None
    field: SearchField
    snippet: tuple[SnippetPart, ...]


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A trace that matches, and where."""

    trace: TraceSummary
    matches: tuple[SearchMatch, ...]

    @property
    def position(self) -> Position:
        return Position(self.trace.started_at, self.trace.id)


@dataclass(frozen=True, slots=True)
class SpanHit:
    """A span that matches, and where."""

    span: SpanSummary
    matches: tuple[SearchMatch, ...]

    @property
    def position(self) -> Position:
        return SpanSort.STARTED_AT.position(self.span)


@dataclass(frozen=True, slots=True)
class SearchPage[H: (SearchHit, SpanHit)]:
    """Some of the traces or spans that match, newest first.

    `end` is where the next page follows, None after the last one. `is_complete` unless a limit
    ended the page before it was full; then `end` is the last one that was looked into.
    `unindexed_since` is the oldest write that isn't in the index yet, None if all are; traces that
    aren't are looked into one by one.
    """

    hits: Sequence[H]
    end: Position | None = None
    is_complete: bool = True
    unindexed_since: datetime | None = None


def find_matches(trace: Trace, query: SearchQuery) -> tuple[SearchMatch, ...] | None:
    """The first place of each term, MATCHES_MAX at most; None unless all terms occur."""
    return _find_among(searched_values(trace), query)


def find_span_matches(span: Span, query: SearchQuery) -> tuple[SearchMatch, ...] | None:
    """As `find_matches`, in the texts of the span itself."""
    return _find_among(searched_values_of_span(span), query)


def _find_among(
    values: Iterable[SearchedValue], query: SearchQuery
) -> tuple[SearchMatch, ...] | None:
    missing, matches = list(query.terms), list[SearchMatch]()
    for value in values:
        found = _find_in(value, missing)
        for text, _ in found:
            if len(matches) < MATCHES_MAX:
                matches.append(SearchMatch(value.span, value.field, snippet(text, query)))
        missing = [one for one in missing if not any(one in terms for _, terms in found)]
        if not missing:
            return tuple(matches)
    return None


def _find_in(
    value: SearchedValue, missing: Sequence[SearchTerm]
) -> list[tuple[str, list[SearchTerm]]]:
    """The texts of a value that have some of the missing terms, each term once."""
    wanted = may_be_in(value.value, missing)
    if not wanted:
        return []
    found: list[tuple[str, list[SearchTerm]]] = []
    for text in value.texts():
        same = normalized(text).casefold()
        if here := [one for one in wanted if one.sequence.find(same) is not None]:
            found.append((text, here))
            wanted = [one for one in wanted if one not in here]
            if not wanted:
                break
    return found


def may_be_in(value: str | JsonText, terms: Sequence[SearchTerm]) -> Sequence[SearchTerm]:
    """Those of the terms that may occur, without parsing JSON.

    In JSON of ASCII characters without escaped others, a word of ASCII characters is as it is.
    """
    if isinstance(value, str) or b"\\u" in value or not value.isascii():
        return terms
    lowered = value.lower()
    return [
        one for one in terms
        if all(word.isascii() and word.encode() in lowered for word in one.words)
    ]  # fmt: skip


def snippet(text: str, query: SearchQuery) -> tuple[SnippetPart, ...]:
    """The part of the text around the first term, with all terms in it highlighted."""
    text = _printable(normalized(text))
    places = _highlights(text, query)
    first = places[0][0] if places else 0
    start = max(0, first - CHARS_BEFORE)
    end = min(len(text), start + SNIPPET_CHARS_MAX)
    parts = list[SnippetPart]()
    at = start

    def add(upto: int, *, is_match: bool) -> None:
        shown = _BLANKS.sub(" ", text[at:upto])
        if shown:
            parts.append(SnippetPart(shown, is_match))

    if start:
        parts.append(SnippetPart("…", is_match=False))
    for begin, past in places:
        if begin >= end:
            break
        add(begin, is_match=False)
        at = begin
        add(min(past, end), is_match=True)
        at = min(past, end)
    add(end, is_match=False)
    if end < len(text):
        parts.append(SnippetPart("…", is_match=False))
    return tuple(_joined(parts))


def first_place(text: str, query: SearchQuery) -> int:
    """How many characters of a text, in the form NFKC, are before the first term; 0 without one."""
    places = _highlights(_printable(normalized(text)), query)
    return places[0][0] if places else 0


def _joined(parts: Sequence[SnippetPart]) -> Iterator[SnippetPart]:
    """Neighbours that are alike become one part."""
    last: SnippetPart | None = None
    for part in parts:
        if last is not None and last.is_match is part.is_match and not part.is_match:
            last = SnippetPart(last.text + part.text, is_match=False)
            continue
        if last is not None:
            yield last
        last = part
    if last is not None:
        yield last


def _printable(text: str) -> str:
    """The text without lone surrogates, which no encoding has."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _highlights(text: str, query: SearchQuery) -> list[tuple[int, int]]:
    """The places of all terms in a normalized text, in order, none within another."""
    same = text.casefold()
    found = sorted(place for one in query.terms for place in one.sequence.find_all(same))
    if len(same) != len(text):
        # Where each character of the folded text comes from.
        lengths = [len(character.casefold()) for character in text]
        ends = list(accumulate(lengths))
        origin = [at for at, length in enumerate(lengths) for _ in range(length)]
        assert ends[-1] == len(same)
        found = [(origin[begin], origin[past - 1] + 1) for begin, past in found]
    places: list[tuple[int, int]] = []
    for begin, past in found:
        if not places or begin >= places[-1][1]:
            places.append((begin, past))
    return places
