"""Requests that change many traces, and their answers."""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from application.tracing.edit import EDITED_TRACES_MAX
from domain.ids import TraceId
from entrypoints.http.controllers.traces.schemas import Tags

type TraceIds = Annotated[list[UUID], Meta(min_length=1, max_length=EDITED_TRACES_MAX)]


def ids_of(trace_ids: list[UUID]) -> list[TraceId]:
    return [TraceId(one) for one in trace_ids]


class BatchDeleteRequest(msgspec.Struct, frozen=True):
    """The traces to remove; those that aren't there are passed over."""

    trace_ids: TraceIds


class BatchDeleteResponse(msgspec.Struct, frozen=True):
    """How many traces were removed."""

    deleted: int


class BatchTagsRequest(msgspec.Struct, frozen=True):
    """Tags are removed first and added then: one that is in both lists is there in the end."""

    trace_ids: TraceIds
    add_tags: Tags = []
    remove_tags: Tags = []


class BatchTagsResponse(msgspec.Struct, frozen=True):
    """How many of the traces are there, changed or not."""

    updated: int
