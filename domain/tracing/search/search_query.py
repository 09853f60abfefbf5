"""What a search asks for: words, "phrases" and beginnings of words, all of which must occur."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from domain.errors import Invalid
from domain.tracing.search.search_words import WordSequence, folded, is_unspaced, words_of
from domain.wording import counted

QUERY_CHARS_MAX: Final = 500
QUERY_WORDS_MAX: Final = 32  # each is looked up, and looked for in the texts
PREFIX_CHARS_MIN: Final = 3  # shorter beginnings are those of nearly every text

_PARTS: Final = re.compile(r'"([^"]*)"|([^\s"]+)')


@dataclass(frozen=True, slots=True)
class SearchTerm:
    """Words that follow each other in one text: a word, a phrase, or a beginning with `*`."""

    words: tuple[str, ...]
    is_prefix: bool = False
    sequence: WordSequence = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        sequence = WordSequence(self.words, is_prefix=self.is_prefix)
        object.__setattr__(self, "sequence", sequence)


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """The terms of a query; each has to occur somewhere in the trace, or in the span."""

    terms: tuple[SearchTerm, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises Invalid that says what to change, of the field `query`."""
        try:
            return cls(tuple(dict.fromkeys(_terms(text))))
        except ValueError as error:
            raise Invalid.field("query", str(error)) from error

    @property
    def canonical(self) -> Sequence[tuple[Sequence[str], bool]]:
        """The words of all terms, by which a cursor knows whether the query is the same."""
        return [(one.words, one.is_prefix) for one in self.terms]


def _terms(text: str) -> Iterator[SearchTerm]:
    if len(text) > QUERY_CHARS_MAX:
        raise ValueError(f"has {len(text)} characters: use at most {QUERY_CHARS_MAX}")
    if text.count('"') % 2:
        raise ValueError('has a phrase without its end: close it with "')
    words = 0
    for phrase, word in _PARTS.findall(text):
        if (term := _term(word) if word else _phrase(phrase)) is None:
            continue
        words += len(term.words)
        if words > QUERY_WORDS_MAX:
            raise ValueError(
                f"has more than {QUERY_WORDS_MAX} words (in Chinese, Japanese, Korean and Thai, "
                "characters): search for fewer"
            )
        yield term
    if not words:
        raise ValueError("has no word to search for: it needs a letter or a digit")


def _phrase(text: str) -> SearchTerm | None:
    words = words_of(folded(text))
    return SearchTerm(tuple(words)) if words else None


def _term(text: str) -> SearchTerm | None:
    head, star, rest = text.partition("*")
    if not star:
        return _phrase(text)
    if rest:
        raise ValueError(f"has a * within {text}: use it at the end of a word only")
    words = words_of(folded(head))
    # Characters between the last word and * would make it the beginning of another word.
    if not words or not folded(head).endswith(words[-1]):
        raise ValueError(f"has a * without the beginning of a word: {text}")
    last = words[-1]
    if len(last) < PREFIX_CHARS_MIN and not is_unspaced(last):
        raise ValueError(
            f"has only {counted(len(last), 'character')} before the * in {text}: use at least "
            f"{PREFIX_CHARS_MIN}"
        )
    return SearchTerm(tuple(words), is_prefix=True)
