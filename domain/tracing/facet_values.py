"""The values that a field of traces has, with the number of traces of each: for filters."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from domain.tracing.payloads.payload import JsonText, scalar_members
from domain.tracing.query import ALL_TRACES, TraceFilter
from domain.tracing.trace import Trace

FACET_LIMIT_DEFAULT: Final = 20
FACET_LIMIT_MAX: Final = 100
FACET_VALUES_MAX: Final = 10_000  # that are compared by their counts; reading them takes 5 ms
# Traces that are read one by one to count values under filters. As many take 0.15 to 0.3 s, and
# those whose metadata is parsed 0.4 s.
FILTERED_TRACES_MAX: Final = 100_000
FILTERED_METADATA_MAX: Final = 25_000
COUNTED_MEMBERS_MAX: Final = 200  # of one metadata with more members, none is counted
MEMBER_KEY_CHARS_MAX: Final = 64  # characters of a key that is counted
MEMBER_TEXT_CHARS_MAX: Final = 31  # characters; values as long as a UUID rarely repeat
SEPARATOR: Final = "\x1f"  # between the key and the text of a stored member: in no counted text


class FacetField(StrEnum):
    """A field of traces whose values are counted."""

    ENVIRONMENT = "environment"
    RELEASE = "release"
    NAME = "name"
    STATUS = "status"
    TAG = "tag"
    MODEL = "model"
    USER = "user"
    SESSION = "session"
    METADATA_KEY = "metadata_key"
    METADATA_VALUE = "metadata_value"  # of one key

    @property
    def is_of_metadata(self) -> bool:
        return self in {FacetField.METADATA_KEY, FacetField.METADATA_VALUE}

    def values(self, trace: Trace, key: str) -> Iterable[str | None]:
        """The values that a trace has, None for a missing one. `key` is that of METADATA_VALUE."""
        found: Iterable[str | None]
        match self:
            case FacetField.TAG:
                found = set(trace.tags)
            case FacetField.MODEL:
                found = trace.models
            case FacetField.USER:
                found = (trace.user_id,)
            case FacetField.SESSION:
                found = (trace.session_id,)
            case FacetField.METADATA_KEY:
                found = counted_members(trace.metadata)
            case FacetField.METADATA_VALUE:
                found = (_counted_text(trace, key),)
            case FacetField.STATUS:
                found = (str(trace.status),)
            case FacetField.ENVIRONMENT | FacetField.RELEASE | FacetField.NAME:
                found = (getattr(trace, self),)
        return found


@dataclass(frozen=True, slots=True)
class FacetQuery:
    """Which values: of a field, with a prefix, of traces that match. `key` is of METADATA_VALUE."""

    field: FacetField
    prefix: str = ""
    limit: int = FACET_LIMIT_DEFAULT
    key: str = ""
    matching: TraceFilter = ALL_TRACES


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value, and how many traces have it."""

    value: str
    count: int


def _counted_text(trace: Trace, key: str) -> str | None:
    text = counted_members(trace.metadata).get(key, SEPARATOR)
    return text if len(text) <= MEMBER_TEXT_CHARS_MAX and SEPARATOR not in text else None


def counted_members(metadata: JsonText) -> Mapping[str, str]:
    """The scalar members whose keys are counted, as text; none if there are too many."""
    members = scalar_members(metadata, COUNTED_MEMBERS_MAX + 1)
    if len(members) > COUNTED_MEMBERS_MAX:
        return {}
    return {key: text for key, text in members.items() if len(key) <= MEMBER_KEY_CHARS_MAX}


def count_values(traces: Iterable[Trace], field: FacetField, key: str = "") -> Mapping[str, int]:
    return Counter(one for trace in traces for one in field.values(trace, key) if one is not None)


def most_frequent(counts: Mapping[str, int], prefix: str, limit: int) -> Sequence[FacetValue]:
    """The most frequent values with a prefix, ties by value.

    If more than FACET_VALUES_MAX have it, only the first of them in alphabetical order count.
    """
    some = sorted(one for one in counts if one.startswith(prefix))[:FACET_VALUES_MAX]
    found = [FacetValue(one, counts[one]) for one in some]
    found.sort(key=lambda one: (-one.count, one.value))
    return found[:limit]
