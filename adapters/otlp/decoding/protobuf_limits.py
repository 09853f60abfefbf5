"""Measures messages in protobuf before they are decoded, and cuts what is beyond the limits."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from adapters.otlp.decoding.length_prefixes import LENGTH_DELIMITED, Field, Malformed, fields
from adapters.otlp.decoding.limits import (
    ATTRIBUTES_MAX,
    EVENTS_MAX,
    LEVELS_MAX,
    LINKS_MAX,
    NODES_MAX,
    TooDeep,
)

_FIELDS_MAX: Final = 10 * NODES_MAX  # of a message, unknown ones included; walked in 1 s


@dataclass(frozen=True, slots=True, eq=False)
class MessageType:
    """The inner messages of a message, by field number, with how many of them are kept.

    `is_level` for what is a level of nesting.
    """

    name: str
    inner: Mapping[int, tuple["MessageType", int]]
    is_level: bool = False


_NO_LIMIT: Final = NODES_MAX
_members: Final[dict[int, tuple[MessageType, int]]] = {}
_VALUE: Final = MessageType("value", _members)
_PAIR: Final = MessageType("attribute", {2: (_VALUE, _NO_LIMIT)})
_members[5] = MessageType("array", {1: (_VALUE, _NO_LIMIT)}, is_level=True), _NO_LIMIT
_members[6] = MessageType("list", {1: (_PAIR, _NO_LIMIT)}, is_level=True), _NO_LIMIT
_EVENT: Final = MessageType("event", {3: (_PAIR, _NO_LIMIT)})
_LINK: Final = MessageType("link", {4: (_PAIR, _NO_LIMIT)})

RESOURCE: Final = MessageType("resource", {1: (_PAIR, ATTRIBUTES_MAX)})
SCOPE: Final = MessageType("scope", {3: (_PAIR, ATTRIBUTES_MAX)})
SPAN: Final = MessageType(
    "span", {9: (_PAIR, ATTRIBUTES_MAX), 11: (_EVENT, EVENTS_MAX), 13: (_LINK, LINKS_MAX)}
)
LOG_RECORD: Final = MessageType("record", {5: (_VALUE, _NO_LIMIT), 6: (_PAIR, ATTRIBUTES_MAX)})


def within_limits(data: bytes, message: MessageType) -> tuple[bytes, bool]:
    """The message without what is beyond the limits, and whether something was cut.

    Raises Malformed, TooDeep.
    """
    count = _Count()
    kept: list[tuple[int, int]] = []  # stretches of the message
    seen: dict[int, int] = {}
    before = 0
    for number, wire_type, start, end in count.fields(data, 0, len(data)):
        inner, most = message.inner.get(number, (None, 0))
        fits = True
        if inner is not None and wire_type == LENGTH_DELIMITED:
            seen[number] = seen.get(number, 0) + 1
            fits = seen[number] <= most and count.fits(data, start, end, inner)
        if fits and kept and kept[-1][1] == before:
            kept[-1] = (kept[-1][0], end)
        elif fits:
            kept.append((before, end))
        before = end
    if kept == [(0, len(data))]:
        return data, False
    return b"".join(data[start:end] for start, end in kept), bool(data)


@dataclass(slots=True)
class _Count:
    nodes_left: int = NODES_MAX
    fields_left: int = _FIELDS_MAX
    is_full: bool = field(default=False, init=False)

    def fits(self, data: bytes, start: int, end: int, message: MessageType) -> bool:
        """Counts what is in an inner message. After one that doesn't fit, no other does."""
        if not self.is_full:
            self._count(data, start, end, message)
            self.is_full = self.nodes_left < 0
        return not self.is_full

    def _count(self, data: bytes, start: int, end: int, message: MessageType) -> None:
        """Counts without recursion, since messages may be nested a million times."""
        self.nodes_left -= 1
        open_messages = [(message, self.fields(data, start, end))]
        levels = 0
        while open_messages and self.nodes_left >= 0:
            message, rest = open_messages[-1]
            for number, wire_type, inner_start, inner_end in rest:
                inner, _ = message.inner.get(number, (None, 0))
                if inner is not None and wire_type == LENGTH_DELIMITED:
                    self.nodes_left -= 1
                    levels += inner.is_level
                    if levels > LEVELS_MAX:
                        raise TooDeep
                    open_messages.append((inner, self.fields(data, inner_start, inner_end)))
                    break
            else:
                open_messages.pop()
                levels -= message.is_level

    def fields(self, data: bytes, at: int, end: int) -> Iterator[Field]:
        for each in fields(data, at, end):
            self.fields_left -= 1
            if self.fields_left < 0:
                raise Malformed("it has too many fields")
            yield each
