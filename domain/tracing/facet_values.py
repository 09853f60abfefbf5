"""The values that a field of traces has, with the number of traces of each: for filters."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from domain.tracing.trace import Trace

FACET_LIMIT_DEFAULT: Final = 20
FACET_LIMIT_MAX: Final = 100
FACET_VALUES_MAX: Final = 10_000  # that are compared by their counts; reading them takes 5 ms


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

    def values(self, trace: Trace) -> Iterable[str | None]:
        """The values that a trace has; None is no value."""
        match self:
            case FacetField.TAG:
                return set(trace.tags)
            case FacetField.MODEL:
                return trace.models
            case FacetField.USER:
                return (trace.user_id,)
            case FacetField.SESSION:
                return (trace.session_id,)
            case FacetField.STATUS:
                return (str(trace.status),)
        value: str | None = getattr(trace, self)
        return (value,)


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value, and how many traces have it."""

    value: str
    count: int


def count_values(traces: Iterable[Trace], field: FacetField) -> Mapping[str, int]:
    return Counter(one for trace in traces for one in field.values(trace) if one is not None)


def most_frequent(counts: Mapping[str, int], prefix: str, limit: int) -> Sequence[FacetValue]:
    """The most frequent values with a prefix, ties by value.

    If more than FACET_VALUES_MAX have it, only the first of them in alphabetical order count.
    """
    some = sorted(one for one in counts if one.startswith(prefix))[:FACET_VALUES_MAX]
    found = [FacetValue(one, counts[one]) for one in some]
    found.sort(key=lambda one: (-one.count, one.value))
    return found[:limit]
