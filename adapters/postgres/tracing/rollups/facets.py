"""Facets of traces: the values by which the roll-ups count traces; and search terms.

Search terms are hashes of tags, models and metadata, in one inverted index. A term is 64 bits of a
hash that includes the project, so one index serves every project and the list of a common term
belongs to one project. Two texts may share a term, so searches compare the columns too. The tests
compute the same terms in SQL.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Final

from adapters.postgres.tracing.rollups.latency_bins import bin_start
from domain.ids import ProjectId
from domain.tracing.facet_values import (
    COUNTED_MEMBERS_MAX,
    MEMBER_KEY_CHARS_MAX,
    MEMBER_TEXT_CHARS_MAX,
    SEPARATOR,
)
from domain.tracing.otel.otlp_state import OtlpState
from domain.tracing.payloads.payload import scalar_members
from domain.tracing.query import fold_case
from domain.tracing.span import Totals
from domain.tracing.trace import Trace, TraceStatus

MANY_MEMBERS: Final = ""  # replaces the terms of members if there are too many

CACHED_TERMS_MAX: Final = 10_000  # tags and models are short and repeat often


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
    METADATA_KEY = "metadata key"
    MANY_MEMBERS = "many members"  # replaces the other two if there are too many members


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


@dataclass(frozen=True)
class CountedTrace:
    """A stored trace as the roll-ups count it: its own columns, and the totals of its spans.

    `otlp` is the state of a trace that has OpenTelemetry fragments.
    """

    project: ProjectId
    trace: Trace
    totals: Totals
    models: tuple[str, ...]
    otlp: OtlpState | None = None

    @cached_property
    def members(self) -> Mapping[str, str]:
        """The scalar members of its metadata: all, or one more than are counted."""
        return scalar_members(self.trace.metadata, COUNTED_MEMBERS_MAX + 1)

    @property
    def has_many_members(self) -> bool:
        return len(self.members) > COUNTED_MEMBERS_MAX

    @property
    def is_failed(self) -> bool:
        return self.trace.status is TraceStatus.ERROR

    def facets(self) -> set[FacetKey]:
        trace = self.trace
        facets = {(Facet.ALL, ""), (Facet.NAME, trace.name), (Facet.STATUS, str(trace.status))}
        if self.is_failed or self.totals.errors:
            facets.add((Facet.FAILED, ""))
        for kind, name in LABELS.items():
            if (label := getattr(trace, name)) is not None:
                facets.add((kind, label))
        facets.update((Facet.TAG, tag) for tag in trace.tags)
        facets.update((Facet.MODEL, model) for model in self.models)
        if (latency := trace.latency_us) is not None:
            facets.add((Facet.LATENCY, str(bin_start(latency))))
        if self.has_many_members:
            facets.add((Facet.MANY_MEMBERS, ""))
        else:
            values = (member_value(key, text) for key, text in self.members.items())
            facets.update((Facet.METADATA, value) for value in values if value is not None)
            keys = (key for key in self.members if len(key) <= MEMBER_KEY_CHARS_MAX)
            facets.update((Facet.METADATA_KEY, key) for key in keys)
        return facets

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


def search_term(project: ProjectId, kind: Facet, *value: str) -> int:
    """A signed 64-bit number."""
    text = SEPARATOR.join((str(project), kind, *value))
    digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], signed=True)


@lru_cache(CACHED_TERMS_MAX)
def _label_term(project: ProjectId, kind: Facet, label: str) -> int:
    return search_term(project, kind, label)


def metadata_terms(project: ProjectId, key: str, texts: Sequence[str]) -> list[int]:
    """A trace whose metadata has one of `texts` under `key` has at least one of these terms."""
    return [
        *(search_term(project, Facet.METADATA, key, text) for text in texts),
        search_term(project, Facet.METADATA, MANY_MEMBERS),
    ]


def trace_terms(counted: CountedTrace) -> list[int]:
    """All terms of a trace."""
    project = counted.project
    terms = [_label_term(project, Facet.TAG, tag) for tag in dict.fromkeys(counted.trace.tags)]
    terms += [_label_term(project, Facet.MODEL, model) for model in counted.models]
    if counted.has_many_members:
        terms.append(search_term(project, Facet.METADATA, MANY_MEMBERS))
    else:
        terms += [
            search_term(project, Facet.METADATA, key, text) for key, text in counted.members.items()
        ]
    return terms
