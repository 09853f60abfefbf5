"""Whether a trace or a span matches a query, where, and the part of the text that shows it."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
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
_FOLDED_AT_ONCE: Final = 4_096  # characters
_BLANKS: Final = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class SnippetPart:
    """A part of a text; highlighted if the query found it."""

    text: str
    is_match: bool


@dataclass(frozen=True, slots=True)
class SearchMatch:
    """A place where terms of a query were found: a span, or the trace itself if `span` is None.

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
    ended the page before it was full, when `end` is the last one that was looked into; or traces
    were left out because they are too large to be looked into.
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
    """The terms that may occur in the text, without parsing JSON.

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
    same = text.casefold()
    found = _first_found(same, query)
    first = 0 if found is None else _origin(text, same, found)
    start = max(0, first - CHARS_BEFORE)
    end = min(len(text), start + SNIPPET_CHARS_MAX)
    places = [] if found is None else _highlights(text, same, query, (first, found), end)
    parts = list[SnippetPart]()
    at = start

    def add(upto: int, *, is_match: bool) -> None:
        shown = _BLANKS.sub(" ", text[at:upto])
        if shown:
            parts.append(SnippetPart(shown, is_match))

    if start:
        parts.append(SnippetPart("…", is_match=False))
    for begin, past in places:
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
    text = _printable(normalized(text))
    same = text.casefold()
    found = _first_found(same, query)
    return 0 if found is None else _origin(text, same, found)


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


def _first_found(same: str, query: SearchQuery) -> int | None:
    """The position of the first term in a folded text; None without one."""
    first: int | None = None
    for one in query.terms:
        if (found := one.sequence.find(same, end=first)) is not None:
            first = found[0]
    return first


def _origin(text: str, same: str, place: int) -> int:
    """The place in a text of the character that a place in its folded form `same` comes from.

    Folds the text in steps, since it may have megabytes.
    """
    if len(same) == len(text):
        return place
    at = folded = 0
    while folded + (size := len(text[at : at + _FOLDED_AT_ONCE].casefold())) <= place:
        at, folded = at + _FOLDED_AT_ONCE, folded + size
    while folded + (size := len(text[at].casefold())) <= place:
        at, folded = at + 1, folded + size
    return at


def _highlights(
    text: str, same: str, query: SearchQuery, first: tuple[int, int], end: int
) -> list[tuple[int, int]]:
    """The places of terms in a normalized text that begin before `end`, in order, none in another.

    `same` is the folded text, and `first` where the first term begins in both. A text may have
    millions of places, so that only those are looked for.
    """
    start, begins = first
    lengths = [len(character.casefold()) for character in text[start:end]]
    # The original position of each character of the folded part. A term may go on after it.
    origin = [start + at for at, length in enumerate(lengths) for _ in range(length)]
    found = sorted(
        place
        for one in query.terms
        for place in one.sequence.find_all(same, begins, begins + len(origin))
    )
    places: list[tuple[int, int]] = []
    for begin, past in found:
        at, last = origin[begin - begins], past - 1 - begins
        if not places or at >= places[-1][1]:
            places.append((at, origin[last] + 1 if last < len(origin) else end))
    return places
