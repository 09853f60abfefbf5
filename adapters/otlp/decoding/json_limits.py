"""Measures messages in JSON before they are decoded, and cuts what is beyond the limits."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from adapters.otlp.decoding.json_text import JsonWalk, exceeds, is_dense
from adapters.otlp.decoding.limits import LEVELS_MAX, NODES_MAX, TooDeep

# A key-value list within another one is four levels deeper in JSON; events have four levels more.
_JSON_LEVELS_MAX: Final = 4 * LEVELS_MAX + 8


def may_exceed(data: bytes) -> bool:
    """Whether a text may have too many objects, or would take long to decode."""
    return exceeds(data, (b"{",), NODES_MAX) or is_dense(data)


def within_limits(
    data: bytes, measured: Mapping[str, int | None], others: Collection[str]
) -> tuple[bytes, bool]:
    """The known members of an object within the limits, and whether something was cut.

    `measured` are members that may contain many values: arrays with how many items are kept, and
    single values with None. Raises MalformedJson, TooManyJsonValues, TooDeep.
    """
    members = _Members(JsonWalk(data))
    for key in members.walk.members():
        if key not in measured:
            members.take_other(key if key in others else None)
        elif (most := measured[key]) is None:
            members.take_value(key)
        else:
            members.take_items(key, most)
    members.walk.end()
    text = b",".join(
        b"%b:%b" % (msgspec.json.encode(key), value) for key, value in members.kept.items()
    )
    return b"{%b}" % text, members.was_cut


@dataclass(slots=True)
class _Members:
    walk: JsonWalk
    kept: dict[str, bytes] = field(default_factory=dict)
    was_cut: bool = False

    def take_other(self, key: str | None) -> None:
        value = self.walk.value()
        if key is not None:
            self.kept[key] = bytes(value)

    def take_value(self, key: str) -> None:
        value = self.walk.value(NODES_MAX)
        if self._fits():
            self.kept[key] = bytes(value)

    def take_items(self, key: str, most: int) -> None:
        items: list[memoryview] = []
        for _ in self.walk.items():
            if len(items) == most or not self._fits():
                self.was_cut = True
                self.walk.rest_of_array()
                break
            item = self.walk.value(NODES_MAX)
            if self._fits():
                items.append(item)
        self.kept[key] = b"[%b]" % b",".join(items)

    def _fits(self) -> bool:
        """Whether there aren't too many objects so far."""
        if self.walk.deepest > _JSON_LEVELS_MAX:
            raise TooDeep
        self.was_cut |= self.walk.objects > NODES_MAX
        return self.walk.objects <= NODES_MAX
