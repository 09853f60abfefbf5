"""Facets of traces: the values by which the roll-ups count traces; and search terms.

Search terms are hashes of tags, models, metadata, and kinds and names of spans, in one inverted
index. A term is 63 bits of a hash that includes the project, so one index serves every project and
the list of a common term belongs to one project. Two texts may share a term, so searches compare
the columns too. The tests compute the same terms in SQL.

The last bit tells the terms of spans, which a trace keeps when it loses the span: a write knows the
spans that it changes, and not all others.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
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
from domain.tracing.span import Span, SpanKind, Totals
from domain.tracing.trace import Trace, TraceStatus

MANY_MEMBERS: Final = ""  # replaces the terms of members if there are too many
SPAN_TERMS_MAX: Final = 200  # of one trace; beyond it, one term stands for all names of spans
_SPAN_READERS: Final = 1  # the bit

CACHED_TERMS_MAX: Final = 10_000  # tags and models are short and repeat often
CACHED_SPAN_TERMS_MAX: Final = 1_000  # traces of an agent have the same steps
# The length of all names of one trace, so that the cache takes at most 40 MB. A trace may have
# 50,000 names, and those with ids never repeat.
CACHED_NAME_CHARS_MAX: Final = 2_000


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
    # Only terms have these: no roll-up counts traces by their spans.
    SPAN_KIND = "span kind"
    SPAN_NAME = "span name"
    MANY_SPAN_NAMES = "many span names"


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

    `span_terms` are at least those of its spans. `otlp` is the state of a trace that has
    OpenTelemetry fragments.
    """

    project: ProjectId
    trace: Trace
    totals: Totals
    models: tuple[str, ...]
    span_terms: frozenset[int]
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
    return int.from_bytes(digest[:8], signed=True) & ~_SPAN_READERS


@lru_cache(CACHED_TERMS_MAX)
def _label_term(project: ProjectId, kind: Facet, label: str) -> int:
    return search_term(project, kind, label)


@lru_cache(CACHED_TERMS_MAX)
def span_term(project: ProjectId, kind: Facet, text: str) -> int:
    """As `search_term`: SPAN_KIND and SPAN_NAME have a value."""
    return search_term(project, kind, text) | _SPAN_READERS


def span_name_terms(project: ProjectId, name: str) -> list[int]:
    """A trace with a span of this name has at least one of these terms."""
    return [
        span_term(project, Facet.SPAN_NAME, name),
        span_term(project, Facet.MANY_SPAN_NAMES, ""),
    ]


def terms_of_spans(
    project: ProjectId, spans: Collection[Span], known: frozenset[int] = frozenset()
) -> frozenset[int]:
    """The terms of spans, and those that are `known`."""
    kinds = frozenset([span.kind or SpanKind.OTHER for span in spans])
    names = frozenset([span.name for span in spans])
    is_short = sum(map(len, names)) <= CACHED_NAME_CHARS_MAX
    compute = _terms_of_spans if is_short else _terms_of_spans.__wrapped__
    found = compute(project, kinds, names)
    if not known:
        return found
    found |= known
    many = span_term(project, Facet.MANY_SPAN_NAMES, "")
    if many not in found and len(found) <= SPAN_TERMS_MAX:
        return found
    kind_terms = {span_term(project, Facet.SPAN_KIND, kind) for kind in SpanKind}
    return frozenset({many} | (kind_terms & found))


@lru_cache(CACHED_SPAN_TERMS_MAX)
def _terms_of_spans(
    project: ProjectId, kinds: frozenset[str], names: frozenset[str]
) -> frozenset[int]:
    kind_terms = {span_term(project, Facet.SPAN_KIND, kind) for kind in kinds}
    if len(kinds) + len(names) > SPAN_TERMS_MAX:
        return frozenset({span_term(project, Facet.MANY_SPAN_NAMES, "")} | kind_terms)
    return frozenset({span_term(project, Facet.SPAN_NAME, name) for name in names} | kind_terms)


def span_terms_among(terms: Iterable[int]) -> frozenset[int]:
    """The terms of spans among all terms of a trace."""
    return frozenset(term for term in terms if term & _SPAN_READERS)


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
    terms += counted.span_terms
    return terms
