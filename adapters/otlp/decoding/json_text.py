"""Walks JSON text by its brackets, without decoding what is inside of them.

It is much slower than a decoder, but doesn't fail at a value that is malformed, isn't UTF-8 or is
nested too deeply, and never holds the interpreter for long.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from domain.tracing.payloads.json_scan import WINDOW_BYTES, end_of_string

MARKS_MAX: Final = 16_000_000  # a decoder passes as many within 40 ms, in which nothing else runs

_COUNT_STEP_BYTES: Final = 1 << 20
_MARKS: Final = (b'"', b",", b"{", b"[")
_STEPS_MAX: Final = 3_000_000  # walked in four seconds
_PLAIN: Final = rb'[^"{}\[\]]*+'
_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_FLAT: Final = rb"%b(?:%b%b)*+" % (_PLAIN, _STRING, _PLAIN)
_ONE_LEVEL: Final = rb"[{\[]%b[}\]]" % _FLAT
_TWO_LEVELS: Final = rb"[{\[]%b(?:%b%b)*+[}\]]" % (_FLAT, _ONE_LEVEL, _FLAT)
_UNTIL_MARK: Final = re.compile(_PLAIN)
_UNTIL_THIRD_LEVEL: Final = re.compile(rb"%b(?:%b%b)*+" % (_FLAT, _TWO_LEVELS, _FLAT))
_SCALAR: Final = re.compile(rb"[^\s,:{}\[\]\"]*+")
_BLANKS: Final = re.compile(rb"[ \t\r\n]*+")
_OPENING: Final = b"{["
_NULL: Final = b"null"


class MalformedJson(ValueError):  # noqa: N818 - an error of the client, not of ours
    pass


class TooManyJsonValues(ValueError):  # noqa: N818 - an error of the client, not of ours
    pass


def is_dense(text: bytes, marks_max: int = MARKS_MAX) -> bool:
    """Whether a text has so many values that decoding it would hold up all else."""
    return len(text) > marks_max and exceeds(text, _MARKS, marks_max)


def exceeds(text: bytes, marks: Iterable[bytes], most: int) -> bool:
    """Whether the marks occur in the text more often than `most`, also in strings."""
    count = 0
    for start in range(0, len(text), _COUNT_STEP_BYTES):
        count += sum(text.count(mark, start, start + _COUNT_STEP_BYTES) for mark in marks)
        if count > most:
            return True
    return False


class JsonWalk:
    """A place in a text. After each member or item its value has to be walked over.

    `objects` and `deepest` are about the values that `value` has measured: their number of objects
    and the deepest level of nesting. Methods raise MalformedJson, and TooManyJsonValues.
    """

    def __init__(self, text: bytes) -> None:
        self.at = 0
        self.objects = 0
        self.deepest = 0
        self._text = text
        self._steps_left = _STEPS_MAX

    def members(self) -> Iterator[str]:
        """The keys of an object, each with the place at its value; none of `null`."""
        for _ in self._elements(b"{", b"}"):
            yield self._key()

    def items(self) -> Iterator[None]:
        """For each item of an array, with the place at it; none of `null`."""
        return self._elements(b"[", b"]")

    def value(self, objects_max: int | None = None) -> memoryview:
        """Walks over a value. It is measured until `objects` exceeds `objects_max`.

        Walking without measuring is several times as fast.
        """
        self._skip_blanks()
        start = self.at
        mark = self._text[start : start + 1]
        if mark == b'"':
            self._skip_string()
        elif mark and mark in _OPENING:
            self._skip_brackets(0, objects_max)
        else:
            self._skip_scalar()
        return memoryview(self._text)[start : self.at]

    def rest_of_array(self) -> None:
        """Walks over the items from here on, instead of taking each of them from `items`."""
        self._skip_all(_UNTIL_THIRD_LEVEL)
        self._skip_brackets(1, None)

    def end(self) -> None:
        """Raises MalformedJson if something follows."""
        self._skip_blanks()
        if self.at < len(self._text):
            raise self._malformed("something follows the value")

    def _elements(self, opening: bytes, closing: bytes) -> Iterator[None]:
        if self._takes(_NULL):
            return
        self._expect(opening)
        if self._takes(closing):
            return
        while True:
            self._count_step()
            yield
            if self._takes(closing):
                return
            self._expect(b",")

    def _key(self) -> str:
        self._skip_blanks()
        start = self.at
        if self._text[start : start + 1] != b'"':
            raise self._malformed("a key is missing")
        self._skip_string()
        try:
            key = msgspec.json.decode(memoryview(self._text)[start : self.at], type=str)
        except (msgspec.DecodeError, UnicodeDecodeError):
            key = ""  # of an unknown member
        self._expect(b":")
        return key

    def _takes(self, token: bytes) -> bool:
        self._skip_blanks()
        is_next = self._text.startswith(token, self.at)
        self.at += len(token) * is_next
        return is_next

    def _expect(self, token: bytes) -> None:
        if not self._takes(token):
            raise self._malformed(f"{token.decode()} is missing")

    def _malformed(self, what: str) -> MalformedJson:
        return MalformedJson(f"{what} at byte {self.at}")

    def _skip_blanks(self) -> None:
        self._skip_all(_BLANKS)

    def _skip_scalar(self) -> None:
        start = self.at
        self._skip_all(_SCALAR)
        if self.at == start:
            raise self._malformed("a value is missing")

    def _skip_all(self, pattern: re.Pattern[bytes]) -> None:
        """Goes on to where the pattern ends, in steps that don't hold the interpreter for long."""
        while True:
            match = pattern.match(self._text, self.at, self.at + WINDOW_BYTES)
            assert match is not None  # it matches the empty text
            is_whole_window = match.end() == self.at + WINDOW_BYTES
            self.at = match.end()
            if not is_whole_window:
                return

    def _skip_string(self) -> None:
        self._count_step()
        self.at = end_of_string(self._text, self.at + 1)

    def _skip_brackets(self, depth: int, objects_max: int | None) -> None:
        """Goes on to where `depth` levels are closed; with 0 the one that is opened here."""
        while True:
            mark = self._text[self.at : self.at + 1]
            is_measured = objects_max is not None and self.objects <= objects_max
            if mark == b'"':
                self._skip_string()
            elif not mark:
                raise MalformedJson("it ends too early")
            else:
                self._count_step()
                self.at += 1
                depth += 1 if mark in _OPENING else -1
                if not depth:
                    return
                if is_measured:
                    self.objects += mark == b"{"
                    self.deepest = max(self.deepest, depth)
            self._skip_all(_UNTIL_MARK if is_measured else _UNTIL_THIRD_LEVEL)

    def _count_step(self) -> None:
        self._steps_left -= 1
        if self._steps_left < 0:
            raise TooManyJsonValues("it has too many values")
