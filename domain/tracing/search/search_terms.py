"""The hashed terms of traces and queries, by which an index finds the traces to look into.

A trace that a query matches has all its terms. A trace that has them needn't match: terms are
hashed, and phrases aren't terms. So texts are compared before a trace is called found.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final
from zlib import crc32

from domain.tracing.payloads.payload import JsonText
from domain.tracing.search.search_query import SearchQuery, SearchTerm
from domain.tracing.search.search_texts import searched_values
from domain.tracing.search.search_words import folded, has_unspaced, is_unspaced, words_of
from domain.tracing.trace import Trace

TERM_BITS: Final = 26  # of a hash: two of 60,000 words of some traces are equal now and then
TERMS_MAX: Final = 100_000  # of a trace; one with more is looked into by every query
INDEXED_CHARS_MAX: Final = 16_000_000  # of different texts of a trace, as TERMS_MAX
WORD_CHARS_MAX: Final = 64  # of a word that are hashed
LOOKED_UP_MAX: Final = 6  # terms of a query: those of its longest words
# Beginnings of words that have terms of their own.
PREFIX_LENGTHS: Final = (3, 6)

_WORD, _CHARACTER, _PAIR = 0, 1, 2  # kinds of terms; beginnings have their lengths
_MASK: Final = (1 << TERM_BITS) - 1


@dataclass(frozen=True, slots=True)
class TraceTerms:
    """`is_partial` if the trace has more terms than these."""

    terms: frozenset[int]
    is_partial: bool = False


PARTIAL: Final = TraceTerms(frozenset(), is_partial=True)


def _hash(kind: int, text: str) -> int:
    return crc32(text.encode("utf-8", "surrogatepass"), kind) & _MASK


class _Words:
    """The words of texts: in scripts with spaces, single characters, and pairs of those."""

    def __init__(self) -> None:
        self.words, self.characters, self.pairs = set[str](), set[str](), set[str]()

    def add(self, text: str) -> None:
        same = folded(text)
        found = words_of(same)
        if not has_unspaced(same):
            self.words.update(found)
            return
        unspaced = [is_unspaced(word) for word in found]
        for word, is_character in zip(found, unspaced, strict=True):
            (self.characters if is_character else self.words).add(word)
        for (word, after), both in zip(pairwise(found), pairwise(unspaced), strict=True):
            if all(both):
                self.pairs.add(word + after)

    @property
    def is_too_many(self) -> bool:
        return len(self.words) + len(self.pairs) > TERMS_MAX

    def terms(self) -> frozenset[int]:
        hashed = {_hash(_CHARACTER, one) for one in self.characters}
        hashed.update(_hash(_PAIR, one) for one in self.pairs)
        hashed.update(_terms_of_words(self.words))
        return frozenset(hashed)


def trace_terms(trace: Trace) -> TraceTerms:
    """The terms of the trace; equal texts are read once, since agents repeat them."""
    words, room = _Words(), INDEXED_CHARS_MAX
    for text in _different_texts(trace):
        room -= len(text)
        if room < 0 or words.is_too_many:
            return PARTIAL
        words.add(text)
    terms = words.terms()
    return PARTIAL if len(terms) > TERMS_MAX else TraceTerms(terms)


def _different_texts(trace: Trace) -> Iterator[str]:
    values, texts = set[JsonText](), set[str]()
    for one in searched_values(trace):
        if isinstance(one.value, bytes):
            if one.value in values:
                continue
            values.add(one.value)
        for text in one.texts():
            if text not in texts:
                texts.add(text)
                yield text


def _terms_of_words(words: Iterable[str]) -> Iterator[int]:
    beginnings = set[str]()
    for word in words:
        yield _hash(_WORD, word[:WORD_CHARS_MAX])
        beginnings.update(word[:length] for length in PREFIX_LENGTHS if len(word) >= length)
    for one in beginnings:
        yield _hash(len(one), one)


def query_terms(query: SearchQuery) -> list[int]:
    """The terms that a trace must have to match, LOOKED_UP_MAX at most, distinctive ones first."""
    found = {term: size for one in query.terms for size, term in _terms_of(one)}
    return sorted(found, key=lambda term: (-found[term], term))[:LOOKED_UP_MAX]


def _terms_of(term: SearchTerm) -> Iterator[tuple[int, int]]:
    """The terms, each after the number of characters that it stands for."""
    words = term.words
    whole, last = (words[:-1], words[-1]) if term.is_prefix else (words, None)
    if last is not None and is_unspaced(last):  # nothing is left out after a character
        whole, last = words, None
    for word in whole:
        if is_unspaced(word):
            yield 1, _hash(_CHARACTER, word)
        else:
            yield min(len(word), WORD_CHARS_MAX), _hash(_WORD, word[:WORD_CHARS_MAX])
    for word, after in pairwise(whole):
        if is_unspaced(word) and is_unspaced(after):
            yield 4, _hash(_PAIR, word + after)
    if last is not None:
        length = max(one for one in PREFIX_LENGTHS if one <= len(last))
        yield length, _hash(length, last[:length])
