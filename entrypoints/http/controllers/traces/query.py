"""Queries of lists of traces, and of the users that traces name."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from domain.page import LIMIT_DEFAULT, SortOrder
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.trace import TraceStatus
from entrypoints.http.controllers.traces.schemas import Tags
from entrypoints.http.requests.cursors import (
    ID,
    INSTANT,
    INTEGER,
    SORT_ORDER_DESCRIPTION,
    TEXT,
    Cursor,
    PagedList,
    PageLimit,
    PageOffset,
    enum_position,
    nullable,
)
from entrypoints.http.requests.wire_types import QueryEnd, QueryInstant, shared_fields

METADATA_KEYS_MAX: Final = 20  # in one query: each is a condition of its own
METADATA_VALUES_MAX: Final = 100  # for one key

type MetadataConditions = Annotated[
    dict[str, Annotated[list[str], Meta(max_length=METADATA_VALUES_MAX)]],
    Meta(
        max_length=METADATA_KEYS_MAX,
        extra_json_schema={
            "patternProperties": {r"^metadata\.": {"type": "string"}},
            "additionalProperties": False,
        },
        description=(
            "`metadata.<key>=<value>`: the top-level key of the metadata, which is everything "
            "after the first dot, equals this string, or the number, boolean or null with this "
            "JSON text. A key that is given several times may equal any of the values. At most "
            f"{METADATA_KEYS_MAX} keys"
        ),
    ),
]


class TraceConditions(msgspec.Struct, frozen=True, kw_only=True):
    """Which traces, and in which order."""

    session_id: Annotated[str, Meta(description="Exactly this session")] | None = None
    user_id: Annotated[str, Meta(description="Exactly this user")] | None = None
    environment: Annotated[str, Meta(description="Exactly this environment")] | None = None
    release: Annotated[str, Meta(description="Exactly this release")] | None = None
    status: Annotated[TraceStatus, Meta(description="Exactly this status")] | None = None
    tags: Annotated[Tags, Meta(description="Has any of these tags")] | None = None
    name: Annotated[str, Meta(description="The name contains this text, in any case")] | None = None
    started_after: Annotated[QueryInstant, Meta(description="Started then or later")] | None = None
    started_before: Annotated[QueryEnd, Meta(description="Started earlier")] | None = None
    model: Annotated[str, Meta(description="Has a span with exactly this model")] | None = None
    min_latency_ms: (
        Annotated[float, Meta(description="Has ended, and took at least this long")] | None
    ) = None
    max_latency_ms: (
        Annotated[float, Meta(description="Has ended, and took at most this long")] | None
    ) = None
    has_error: (
        Annotated[bool, Meta(description="Whether the trace or one of its spans failed")] | None
    ) = None
    metadata: MetadataConditions = msgspec.field(default_factory=dict)
    sort_by: Annotated[TraceSort, Meta(description="The sort key; ties are sorted by id")] = (
        TraceSort.STARTED_AT
    )
    sort_order: Annotated[SortOrder, Meta(description=SORT_ORDER_DESCRIPTION)] = SortOrder.DESC

    def to_domain(self) -> TraceFilter:
        return trace_filter(self, self.tags, self.metadata)


class TraceQuery(TraceConditions, frozen=True, kw_only=True):
    """A page of traces, with the fields of `PageQuery`."""

    limit: PageLimit = LIMIT_DEFAULT
    offset: PageOffset = 0
    cursor: Cursor | None = None


def sorted_unique(values: list[str] | None) -> tuple[str, ...]:
    """A canonical order, so that equal queries have equal cursors."""
    return tuple(sorted(set(values))) if values else ()


def trace_filter(
    conditions: msgspec.Struct,
    tags: list[str] | None,
    metadata: Mapping[str, list[str]],
    **fields: Any,
) -> TraceFilter:
    """The filter with the other fields of `conditions`, unless `fields` replace them."""
    shared = shared_fields(conditions, TraceFilter)
    canonical = tuple((key, sorted_unique(metadata[key])) for key in sorted(metadata))
    return TraceFilter(**shared | fields | {"tags": sorted_unique(tags), "metadata": canonical})


TRACES: Final = PagedList(
    "traces",
    {
        TraceSort.STARTED_AT: INSTANT,
        TraceSort.ENDED_AT: nullable(INSTANT),
        TraceSort.NAME: TEXT,
        TraceSort.LATENCY: nullable(INTEGER),
        TraceSort.STATUS: enum_position(TraceStatus),
    },
    ID,
)
USERS: Final = PagedList("users", {None: INSTANT}, TEXT)
