"""The outline of a request in protobuf. Spans and log records have the same outer levels."""

from collections.abc import Iterator
from typing import Final

from adapters.otlp.decoding.length_prefixes import LENGTH_DELIMITED, Malformed, fields
from adapters.otlp.decoding.outline import Group, OutlineLimit, undecodable_body
from domain.tracing.otel.requests import Encoding

_GROUPS_OF_REQUEST: Final = 1  # ResourceSpans, ResourceLogs
_RESOURCE: Final = 1
_GROUPS_OF_RESOURCE: Final = 2  # ScopeSpans, ScopeLogs
_SCOPE: Final = 1
_ITEMS: Final = 2  # spans, log records
_SCHEMA_URL: Final = 3

type _Place = tuple[int, int]
"""Start and end in the body."""


def protobuf_outline(body: bytes, items_max: int) -> list[Group]:
    """The groups of a request. Raises UndecodableRequest, TooManyItems."""
    try:
        return list(_Walk(body, OutlineLimit(items_max)).groups())
    except Malformed as error:
        raise undecodable_body(body, Encoding.PROTOBUF, error) from error


class _Walk:
    def __init__(self, body: bytes, limit: OutlineLimit) -> None:
        self._body = body
        self._view = memoryview(body)
        self._limit = limit

    def groups(self) -> Iterator[Group]:
        for number, place in self._parts((0, len(self._body))):
            if number == _GROUPS_OF_REQUEST:
                yield from self._groups_of_resource(place)

    def _groups_of_resource(self, whole: _Place) -> Iterator[Group]:
        resource: list[memoryview] = []
        groups: list[_Place] = []
        for number, place in self._parts(whole):
            if number == _RESOURCE:
                resource.append(self._view[slice(*place)])
            elif number == _GROUPS_OF_RESOURCE:
                groups.append(place)
        for place in groups:
            yield self._group(place, resource)

    def _group(self, whole: _Place, resource: list[memoryview]) -> Group:
        by_number: dict[int, list[memoryview]] = {_SCOPE: [], _ITEMS: [], _SCHEMA_URL: []}
        for number, place in self._parts(whole):
            if number == _ITEMS:
                self._limit.count_items(1)
            if (found := by_number.get(number)) is not None:
                found.append(self._view[slice(*place)])
        return Group(
            items=by_number[_ITEMS],
            resource=resource,
            scope=by_number[_SCOPE],
            schema_url=by_number[_SCHEMA_URL],
        )

    def _parts(self, whole: _Place) -> Iterator[tuple[int, _Place]]:
        """Number and place of each inner message or text. Other fields are ignored."""
        for number, wire_type, start, end in fields(self._body, *whole):
            self._limit.count_step()
            if wire_type == LENGTH_DELIMITED:
                yield number, (start, end)
