"""Facets of traces: the values by which the roll-ups count traces."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from adapters.postgres.tracing.latency_bins import bin_start
from domain.ids import ProjectId
from domain.tracing.payload import scalar_members
from domain.tracing.query import fold_case
from domain.tracing.span import Totals
from domain.tracing.trace import Trace, TraceStatus

COUNTED_MEMBERS_MAX: Final = 200  # members of one metadata that are searched and counted separately
MEMBER_KEY_CHARS_MAX: Final = 64  # characters of a key that is counted
MEMBER_TEXT_CHARS_MAX: Final = 31  # characters; values as long as a UUID rarely repeat
SEPARATOR: Final = "\x1f"  # between the parts of one value


class Facet(StrEnum):
    """Kinds of facets. ALL, FAILED and MANY_MEMBERS have one value, the empty string."""

    ALL = "all"
    FAILED = "error"
    STATUS = "status"
    ENVIRONMENT = "environment"
    RELEASE = "release"
    NAME = "name"
    SESSION = "session"
    TAG = "tag"
    MODEL = "model"
    LATENCY = "latency"
    METADATA = "metadata"
    MANY_MEMBERS = "many members"  # replaces METADATA if there are too many members


LABELS: Final = {
    Facet.SESSION: "session_id",
    Facet.ENVIRONMENT: "environment",
    Facet.RELEASE: "release",
}
"""Labels that a trace has at most once: the column and the field of each.

The list of traces can be filtered by each of them.
"""
SEARCHED_FACETS: Final = frozenset({Facet.NAME, Facet.SESSION})  # searched by substring

type FacetKey = tuple[Facet, str]


@dataclass(frozen=True, slots=True)
class CountedTrace:
    """A stored trace as the roll-ups count it: its own columns, and the totals of its spans.

    `members` are the scalar members of its metadata.
    """

    project: ProjectId
    trace: Trace
    totals: Totals
    models: tuple[str, ...]
    members: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", scalar_members(self.trace.metadata))

    @property
    def has_many_members(self) -> bool:
        return len(self.members) > COUNTED_MEMBERS_MAX

    @property
    def is_failed(self) -> bool:
        return self.trace.status is TraceStatus.ERROR

    def facets(self) -> set[FacetKey]:
        trace = self.trace
        found = {(Facet.ALL, ""), (Facet.NAME, trace.name), (Facet.STATUS, str(trace.status))}
        if self.is_failed or self.totals.errors:
            found.add((Facet.FAILED, ""))
        for kind, name in LABELS.items():
            if (label := getattr(trace, name)) is not None:
                found.add((kind, label))
        found.update((Facet.TAG, tag) for tag in trace.tags)
        found.update((Facet.MODEL, model) for model in self.models)
        if (latency := trace.latency_us) is not None and latency >= 0:
            found.add((Facet.LATENCY, str(bin_start(latency))))
        if self.has_many_members:
            found.add((Facet.MANY_MEMBERS, ""))
        else:
            values = (member_value(key, text) for key, text in self.members.items())
            found.update((Facet.METADATA, value) for value in values if value is not None)
        return found

    def timing(self) -> tuple[datetime, bool, int | None]:
        return (self.trace.started_at, self.is_failed, self.trace.latency_us)


def member_value(key: str, text: str) -> str | None:
    """The facet value of a member of metadata; None if it is too long."""
    both = f"{key}{SEPARATOR}{text}"
    return (
        both
        if len(key) <= MEMBER_KEY_CHARS_MAX
        and len(text) <= MEMBER_TEXT_CHARS_MAX
        and SEPARATOR not in text
        else None
    )


def search_value(kind: Facet, value: str) -> str | None:
    return fold_case(value) if kind in SEARCHED_FACETS else None
