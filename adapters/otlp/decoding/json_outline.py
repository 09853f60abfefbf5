"""The outline of a request in JSON.

One pass decodes the outer levels and skips the spans. If it fails, or if the text is large and so
dense that it would hold the interpreter for long, the text is walked by its brackets. So a span
that is malformed, isn't UTF-8 or is nested too deeply costs itself alone, as in protobuf.
"""

import codecs
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from adapters.otlp.decoding.json_text import (
    MARKS_MAX,
    JsonWalk,
    MalformedJson,
    TooManyJsonValues,
    is_dense,
)
from adapters.otlp.decoding.outline import Encoded, Group, OutlineLimit, undecodable_body
from domain.tracing.otel.requests import Encoding, Signal, TooManyItems

_COUNTED_BYTES: Final = 256 << 10  # the spans of smaller bodies aren't counted before they are kept
_WINDOW_BYTES: Final = 1 << 20

_KEYS: Final = {
    Signal.TRACES: ("resourceSpans", "scopeSpans", "spans"),
    Signal.LOGS: ("resourceLogs", "scopeLogs", "logRecords"),
}


def json_outline(
    body: bytes, signal: Signal, items_max: int, marks_max: int = MARKS_MAX
) -> list[Group]:
    """The groups of a request. Raises UndecodableRequest, TooManyItems."""
    if not body:
        return []
    try:
        if _is_utf8(body) and not is_dense(body, marks_max):
            return _decoded(body, signal, items_max)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass  # the walk accepts everything that is valid, and finds what costs no other span
    try:
        return _Walk(body, signal, OutlineLimit(items_max)).groups()
    except MalformedJson as error:
        raise undecodable_body(body, Encoding.JSON, error) from error
    except TooManyJsonValues as error:
        raise TooManyItems("The request has too many JSON values") from error


def _is_utf8(body: bytes) -> bool:
    if body.isascii():
        return True
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(body)
    try:
        for start in range(0, len(body), _WINDOW_BYTES):
            decoder.decode(view[start : start + _WINDOW_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


# --- one pass ------------------------------------------------------------------------------

_limit: Final[ContextVar[OutlineLimit]] = ContextVar("limit of the request that is decoded")


class _CountedItem(msgspec.Struct):
    def __post_init__(self) -> None:
        _limit.get().count_items(1)


class _CountedGroup(msgspec.Struct):
    def __post_init__(self) -> None:
        _limit.get().count_step()


def _list_of(item: Any) -> Any:
    return list[item] | None


def _decoder(signal: Signal, item: Any) -> msgspec.json.Decoder[Any]:
    """Decodes the outer levels into structs with the fields `groups`, `scopes` and `items`."""
    groups, scopes, items = _KEYS[signal]
    by_scope = msgspec.defstruct(
        "ByScope",
        [
            ("items", _list_of(item), None),
            ("scope", Raw | UnsetType, UNSET),
            ("schema_url", Raw | UnsetType, UNSET),
        ],
        bases=(_CountedGroup,),
        rename={"items": items, "schema_url": "schemaUrl"},
    )
    by_resource = msgspec.defstruct(
        "ByResource",
        [("scopes", _list_of(by_scope), None), ("resource", Raw | UnsetType, UNSET)],
        bases=(_CountedGroup,),
        rename={"scopes": scopes},
    )
    return msgspec.json.Decoder(
        msgspec.defstruct(
            "Request", [("groups", _list_of(by_resource), None)], rename={"groups": groups}
        )
    )


_COUNTING: Final = {signal: _decoder(signal, _CountedItem) for signal in _KEYS}
_KEEPING: Final = {signal: _decoder(signal, Raw) for signal in _KEYS}


def _decoded(body: bytes, signal: Signal, items_max: int) -> list[Group]:
    if len(body) > _COUNTED_BYTES:
        _limit.set(OutlineLimit(items_max))
        _COUNTING[signal].decode(body)
    limit = OutlineLimit(items_max)
    _limit.set(limit)
    request = _KEEPING[signal].decode(body)
    groups = [
        Group(
            items=[memoryview(item) for item in by_scope.items or ()],
            resource=_given(by_resource.resource),
            scope=_given(by_scope.scope),
            schema_url=_given(by_scope.schema_url),
        )
        for by_resource in request.groups or ()
        for by_scope in by_resource.scopes or ()
    ]
    limit.count_items(sum(len(group.items) for group in groups))
    return groups


def _given(value: Raw | UnsetType) -> tuple[Encoded, ...]:
    return () if value is UNSET else (memoryview(value),)


# --- the walk ------------------------------------------------------------------------------


class _Walk:
    def __init__(self, body: bytes, signal: Signal, limit: OutlineLimit) -> None:
        self._text = JsonWalk(body)
        self._limit = limit
        self._groups, self._scopes, self._items = _KEYS[signal]

    def groups(self) -> list[Group]:
        groups: list[Group] = []
        for key in self._text.members():
            if key == self._groups:
                groups = [group for _ in self._text.items() for group in self._groups_of_resource()]
            else:
                self._text.value()
        self._text.end()
        return groups

    def _groups_of_resource(self) -> Iterator[Group]:
        self._limit.count_step()
        resource: tuple[Encoded, ...] = ()
        groups: list[Group] = []
        for key in self._text.members():
            if key == self._scopes:
                groups = [self._group() for _ in self._text.items()]
            elif key == "resource":
                resource = (self._text.value(),)
            else:
                self._text.value()
        return (replace(group, resource=resource) for group in groups)

    def _group(self) -> Group:
        self._limit.count_step()
        found: dict[str, tuple[Encoded, ...]] = {}
        items: list[Encoded] = []
        for key in self._text.members():
            if key == self._items:
                items = [self._item() for _ in self._text.items()]
            else:
                value = self._text.value()
                if key in {"scope", "schemaUrl"}:
                    found[key] = (value,)
        return Group(items, scope=found.get("scope", ()), schema_url=found.get("schemaUrl", ()))

    def _item(self) -> Encoded:
        self._limit.count_items(1)
        return self._text.value()
