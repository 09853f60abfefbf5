"""Figures of spans by kind, name, model or error, over time and in all."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple, Self

from domain.errors import Invalid
from domain.tracing.analytics import Granularity, Period, check_bucket_count
from domain.tracing.span import Span
from domain.tracing.spans.error_groups import error_group_of, error_pattern
from domain.tracing.spans.span_figures import SpanFigures, name_group
from domain.tracing.spans.span_query import SpanFilter
from domain.tracing.trace import Trace
from domain.tracing.usage import as_float

GROUPS_DEFAULT: Final = 10
GROUPS_MAX: Final = 50  # shown apart; all others are one
CELLS_MAX: Final = 50_000  # figures of a group in a bucket, before groups are put together
READ_SPANS_MAX: Final = 500_000  # if no roll-up has the figures


class SpanInterval(StrEnum):
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    NONE = "none"

    @property
    def granularity(self) -> Granularity | None:
        """None if the whole period is one bucket."""
        return None if self is SpanInterval.NONE else Granularity(self.value)


class SpanGroupKey(StrEnum):
    """The field that spans are grouped by.

    NAME without ids, as `name_group` has it. MODEL leaves out spans without a model, ERROR those
    that didn't fail.
    """

    KIND = "kind"
    NAME = "name"
    MODEL = "model"
    ERROR = "error"

    def group_of(self, span: Span) -> str | None:
        """The group of a settled span; None if it is left out."""
        return _GROUP_OF[self](span)


_GROUP_OF: Final[Mapping[SpanGroupKey, Callable[[Span], str | None]]] = {
    SpanGroupKey.KIND: lambda span: span.kind,
    SpanGroupKey.NAME: lambda span: name_group(span.name),
    SpanGroupKey.MODEL: lambda span: span.model,
    SpanGroupKey.ERROR: error_group_of,
}


class SpanGroupSort(StrEnum):
    """By which figure groups are ranked, the greatest first."""

    COUNT = "count"
    ERRORS = "errors"
    ERROR_RATE = "error_rate"
    LATENCY = "latency"
    TOKENS = "tokens"
    COST = "cost"

    def rank(self, figures: SpanFigures) -> float:
        return _RANKS[self](figures)


RANKED_PERCENTILE: Final = 0.95
_RANKS: Final[Mapping[SpanGroupSort, Callable[[SpanFigures], float]]] = {
    SpanGroupSort.COUNT: lambda found: found.spans,
    SpanGroupSort.ERRORS: lambda found: found.errors,
    SpanGroupSort.ERROR_RATE: lambda found: found.error_rate or 0,
    SpanGroupSort.LATENCY: lambda found: found.latency_percentile_ms(RANKED_PERCENTILE) or 0,
    SpanGroupSort.TOKENS: lambda found: found.tokens,
    SpanGroupSort.COST: lambda found: as_float(found.cost),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanAnalyticsQuery:
    """Which spans, in which groups and buckets. `matching` has the period without its bounds."""

    matching: SpanFilter
    period: Period
    group_by: SpanGroupKey
    interval: SpanInterval = SpanInterval.NONE
    sort: SpanGroupSort = SpanGroupSort.COUNT
    groups: int = GROUPS_DEFAULT

    @property
    def whole_filter(self) -> SpanFilter:
        """The filter with the period."""
        return replace(
            self.matching, started_after=self.period.after, started_before=self.period.before
        )

    def bucket(self, instant: datetime) -> datetime:
        """The start of the bucket of an instant; that of the period if it is one bucket."""
        granularity = self.interval.granularity
        return self.period.after if granularity is None else granularity.bucket(instant)


class SpanCell(NamedTuple):
    """The figures of a group in a bucket. A group may have several of one bucket."""

    bucket: datetime
    group: str
    figures: SpanFigures


@dataclass(frozen=True, slots=True)
class SpanBucket:
    bucket: datetime
    figures: SpanFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanSeries:
    """The figures of some spans: in all, and by bucket, ascending, without empty ones.

    Without an interval there are no buckets.

    `key` is the group; None for several groups together, which are `group_count`. `label` is the
    pattern of a group of errors.
    """

    key: str | None
    group_count: int
    total: SpanFigures
    buckets: Sequence[SpanBucket]
    label: str | None = None

    @classmethod
    def from_cells(
        cls,
        key: str | None,
        group_count: int,
        cells: Iterable[SpanCell],
        query: SpanAnalyticsQuery,
    ) -> Self:
        """Cells of one group, or of several."""
        by_bucket: dict[datetime, list[SpanFigures]] = {}
        for one in cells:
            by_bucket.setdefault(one.bucket, []).append(one.figures)
        buckets = [
            SpanBucket(bucket, SpanFigures.total(parts))
            for bucket, parts in sorted(by_bucket.items())
        ]
        total = SpanFigures.total(one.figures for one in buckets)
        shown = [] if query.interval is SpanInterval.NONE else buckets
        return cls(key=key, group_count=group_count, total=total, buckets=shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanAnalytics:
    """`groups`, the greatest first; `other` is all further groups together, None if there are none.

    `total` is all groups together.
    """

    groups: Sequence[SpanSeries]
    other: SpanSeries | None
    total: SpanSeries

    @classmethod
    def from_cells(cls, cells: Sequence[SpanCell], query: SpanAnalyticsQuery) -> Self:
        """Raises Invalid for too many cells or buckets."""
        check_cell_count(len(cells))
        check_bucket_count(list({one.bucket for one in cells}))
        by_group: dict[str, list[SpanCell]] = {}
        for one in cells:
            by_group.setdefault(one.group, []).append(one)
        ranked = sorted(
            (SpanSeries.from_cells(key, 1, some, query) for key, some in by_group.items()),
            key=lambda one: (-query.sort.rank(one.total), one.key),
        )
        shown, rest = ranked[: query.groups], ranked[query.groups :]
        left = [one for series in rest for one in by_group[series.key or ""]]
        return cls(
            groups=shown,
            other=SpanSeries.from_cells(None, len(rest), left, query) if rest else None,
            total=SpanSeries.from_cells(None, len(ranked), cells, query),
        )

    def labelled(self, errors: Mapping[str, str | None]) -> Self:
        """The same with patterns as labels; `errors` has the message of a span of each group."""
        groups = [
            one if one.key is None else replace(one, label=error_pattern(errors.get(one.key)))
            for one in self.groups
        ]
        return replace(self, groups=groups)


def analyze_spans(traces: Iterable[Trace], query: SpanAnalyticsQuery) -> SpanAnalytics:
    """The figures of settled traces. Raises Invalid as `SpanAnalytics.from_cells`."""
    traces = list(traces)
    found = SpanAnalytics.from_cells(span_cells(traces, query), query)
    if query.group_by is not SpanGroupKey.ERROR:
        return found
    spans = (span for trace in traces for span in trace.spans)
    return found.labelled({error_group_of(span) or "": span.error for span in spans})


def span_cells(traces: Iterable[Trace], query: SpanAnalyticsQuery) -> list[SpanCell]:
    """The figures of settled traces, one cell for each group in each bucket."""
    matching = query.whole_filter
    found: dict[tuple[datetime, str], list[Span]] = {}
    for trace in traces:
        for span in trace.spans:
            if (
                matching.matches(trace, span)
                and (group := query.group_by.group_of(span)) is not None
            ):
                found.setdefault((query.bucket(span.started_at), group), []).append(span)
    return [SpanCell(*key, SpanFigures.from_spans(some)) for key, some in found.items()]


def check_cell_count(cells: int) -> None:
    """Raises Invalid for more figures than are put together."""
    if cells > CELLS_MAX:
        raise Invalid(
            f"more than {CELLS_MAX:,} figures: narrow started_after and started_before, take a "
            "longer interval, or filter by kind"
        )


def check_read_count(spans: int, most: int = READ_SPANS_MAX) -> None:
    """Raises Invalid for more spans than are read one by one."""
    if spans > most:
        raise Invalid.field(
            "query.started_after",
            f"more than {most:,} spans have to be read for these filters: narrow the period. "
            "Figures that are filtered by kind, name and model only have no such limit",
        )
