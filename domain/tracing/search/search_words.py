"""The words of a text, as search compares them.

Text is compared in the form of `folded`: NFKC, then case folding. A word is a run of letters,
digits and combining marks; everything else, `_` too, separates words. In scripts without spaces
between words, each character is a word by itself. So `get_weather` has two words, and 東京 too.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Final

# Scripts that are written without spaces, or whose words have endings that people don't search for.
_UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff"  # Thai, Lao, Burmese, Hangul, Khmer
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u3100-\u318f\u31a0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua960-\ua97f\ua9e0-\ua9ff\uaa60-\uaa7f\uac00-\ud7ff\uf900-\ufaff"
    "\U0001b000-\U0001b16f\U00020000-\U0003fffd"
)
_MARKS_FROM: Final = 0x300
_MARKS_TO: Final = 0x20000  # the marks beyond are variation selectors
_PLANE: Final = 0x10000  # no character beyond the first plane has a long form
_SHORT_FORM_MAX: Final = 3  # characters
LONG_FORMS_MAX: Final = 10_000  # of a text that is normalized
_FIRST_SELECTOR: Final = 0xFE00
_LAST_SELECTOR: Final = 0xFE0F

ASCII_WORDS: Final = re.compile(r"[a-z0-9]+")


def normalized(text: str) -> str:
    """The text in the form NFKC: with one form of each character.

    Unchanged if more than LONG_FORMS_MAX characters become four or more: one becomes 18, so that a
    body of 20 MB would take 2 GB.
    """
    if text.isascii() or (len(text) > LONG_FORMS_MAX and _has_many_long_forms(text)):
        return text
    return unicodedata.normalize("NFKC", text)


def _has_many_long_forms(text: str) -> bool:
    found = _long_form().finditer(text)
    return next(islice(found, LONG_FORMS_MAX, None), None) is not None


@cache
def _long_form() -> re.Pattern[str]:
    """A character that becomes four or more in the form NFKC."""
    characters = [
        character
        for character in map(chr, range(_PLANE))
        if len(unicodedata.normalize("NFKC", character)) > _SHORT_FORM_MAX
    ]
    return re.compile(f"[{''.join(characters)}]")


def folded(text: str) -> str:
    """The form in which texts are compared, whatever their case and their forms of characters."""
    return normalized(text).casefold()


@cache
def _marks() -> str:
    """The combining marks, as a class of a regular expression; they belong to words."""
    ranges: list[list[int]] = []
    for code in range(_MARKS_FROM, _MARKS_TO):
        is_selector = _FIRST_SELECTOR <= code <= _LAST_SELECTOR
        if is_selector or unicodedata.category(chr(code)) not in {"Mn", "Mc"}:
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


@cache
def _spaced() -> str:
    """A character of a word of several characters."""
    return rf"(?![{_UNSPACED}_])[\w{_marks()}]"


@cache
def _words() -> re.Pattern[str]:
    """A word of a folded text. Its group has a character of a script without spaces."""
    return re.compile(rf"((?=[\w{_marks()}])[{_UNSPACED}])|(?:{_spaced()})++")


@cache
def _one_spaced() -> re.Pattern[str]:
    return re.compile(_spaced())


@cache
def _has_unspaced() -> re.Pattern[str]:
    return re.compile(f"[{_UNSPACED}]")


def is_unspaced(word: str) -> bool:
    """Whether the word is a character of a script without spaces."""
    return not word.isascii() and _has_unspaced().match(word) is not None


def words_of(text: str) -> list[str]:
    """The words of a folded text, in order."""
    if text.isascii():
        return ASCII_WORDS.findall(text)
    return [found[0] for found in _words().finditer(text)]


def has_unspaced(text: str) -> bool:
    return not text.isascii() and _has_unspaced().search(text) is not None


@cache
def _separators() -> str:
    """A run of characters that aren't part of a word.

    To be repeated possessively: a repetition that can be taken back takes 100 bytes of memory for
    each character. ASCII characters have a class of their own, which is compared much faster.
    """
    return rf"(?:[\x00-/:-@\[-`{{-\x7f]++|[^\x00-\x7f\w{_marks()}]++)"


@cache
def _rest_of_word() -> re.Pattern[str]:
    return re.compile(rf"(?:{_spaced()})*+")


class WordSequence:
    """Finds words that follow each other, of which the last may be the beginning of a word."""

    __slots__ = ("_first", "_is_first_spaced", "_pattern", "is_prefix", "words")

    def __init__(self, words: Sequence[str], *, is_prefix: bool = False) -> None:
        """`words` are folded, and not empty."""
        self.words, self.is_prefix = tuple(words), is_prefix
        self._first = self.words[0]
        self._is_first_spaced = not is_unspaced(self._first)
        pattern, is_spaced = re.escape(self._first), self._is_first_spaced
        for word in self.words[1:]:
            is_next_spaced = not is_unspaced(word)
            pattern += _separators() + ("++" if is_spaced and is_next_spaced else "*+")
            pattern, is_spaced = pattern + re.escape(word), is_next_spaced
        if is_spaced and not is_prefix:
            pattern += f"(?!{_spaced()})"
        self._pattern = re.compile(pattern)

    def find(self, text: str, start: int = 0, end: int | None = None) -> tuple[int, int] | None:
        """The first place in a folded text that begins from `start` on and before `end`.

        None if there is none.
        """
        past = None if end is None else end - 1 + len(self._first)
        while (start := text.find(self._first, start, past)) >= 0:
            begins = not (self._is_first_spaced and start and _one_spaced().match(text, start - 1))
            if begins and (found := self._pattern.match(text, start)) is not None:
                return found.span()
            start = self._next_start(text, start)
        return None

    def _next_start(self, text: str, start: int) -> int:
        """The next place where the sequence may begin: not within a word of several characters."""
        if not self._is_first_spaced:
            return start + 1
        rest = _rest_of_word().match(text, start)
        assert rest is not None  # it may be empty
        return max(rest.end(), start + 1)

    def find_all(self, text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The places that begin from `start` on and before `end`, in order, none within another."""
        while (found := self.find(text, start, end)) is not None:
            yield found
            start = found[1]
