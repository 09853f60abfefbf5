"""Figures of spans by kind, name, model or error, over time."""

from functools import partial
from typing import Annotated, Final

import msgspec
from litestar import Controller
from msgspec import Meta

from application.use_cases import UseCases
from domain.identity.caller import Caller
from domain.tracing.analytics import BUCKETS_MAX, Period
from domain.tracing.spans import span_analytics
from domain.tracing.spans.span_analytics import (
    CELLS_MAX,
    GROUPS_DEFAULT,
    GROUPS_MAX,
    RANKED_PERCENTILE,
    READ_SPANS_MAX,
    SpanAnalyticsQuery,
    SpanGroupKey,
    SpanGroupSort,
    SpanInterval,
)
from domain.tracing.spans.span_figures import SpanFigures
from entrypoints.http.authentication import CAN_READ
from entrypoints.http.controllers.spans.schemas import SpanConditions
from entrypoints.http.controllers.traces.schemas import UNPRICED
from entrypoints.http.endpoint import get
from entrypoints.http.requests.wire_types import QueryEnd, QueryInstant, ResponseInstant, Usd
from entrypoints.http.response_structs import WHOLE, ResponseStruct, Source
from entrypoints.http.responses import JsonResponse, respond_with

SERIES_ON_LOOP_MAX: Final = 500  # buckets of all groups: computing percentiles takes 5 ms

_PERCENTILE: Final = Meta(
    description=(
        "Of the spans with a latency, off by at most 6 % and 0.1 ms. Latencies beyond 27.8 hours "
        "count as that long"
    )
)


class SpanAnalyticsParameters(SpanConditions, frozen=True, kw_only=True):
    started_after: Annotated[QueryInstant, Meta(description="Started then or later")]
    started_before: Annotated[QueryEnd, Meta(description="Started earlier")]
    group_by: Annotated[
        SpanGroupKey,
        Meta(
            description=(
                "What spans are grouped by. `name`: without ids; `model`: only spans with a model; "
                "`error`: only failed spans, by the groups of `GET /errors`"
            ),
            examples=["name"],
        ),
    ]
    interval: Annotated[
        SpanInterval,
        Meta(
            description=(
                "The length of a time bucket, in UTC; weeks start on Mondays. Empty buckets are "
                f"omitted; more than {BUCKETS_MAX} are refused. `none`: the period in all, "
                "without buckets"
            )
        ),
    ] = SpanInterval.NONE
    sort_by: Annotated[
        SpanGroupSort,
        Meta(
            description=(
                "The figure by which groups are ranked, the greatest first. "
                f"`latency`: the {RANKED_PERCENTILE:.0%} percentile"
            )
        ),
    ] = SpanGroupSort.COUNT
    limit: Annotated[
        int, Meta(ge=1, le=GROUPS_MAX, description="Groups shown; `other` has all others together")
    ] = GROUPS_DEFAULT

    @property
    def query(self) -> SpanAnalyticsQuery:
        matching = msgspec.structs.replace(self, started_after=None, started_before=None)
        return SpanAnalyticsQuery(
            matching=matching.to_domain(),
            period=Period(self.started_after, self.started_before),
            group_by=self.group_by,
            interval=self.interval,
            sort=self.sort_by,
            groups=self.limit,
        )


def _percentile(share: float) -> Source:
    return Source(WHOLE, partial(_latency_percentile, share=share))


def _latency_percentile(figures: SpanFigures, share: float) -> float | None:
    return figures.latency_percentile_ms(share)


class SpanFiguresResponse(ResponseStruct[SpanFigures], frozen=True, kw_only=True):
    """Sums over spans. Latencies are those of `latency_count` spans, and null without any."""

    span_count: Annotated[int, Source("spans")]
    error_count: Annotated[int, Source("errors"), Meta(description="Spans that failed")]
    error_rate: float | None
    latency_count: Annotated[int, Source("latencies"), Meta(description="Spans with a latency")]
    avg_latency_ms: Annotated[float | None, Source("mean_latency_ms")]
    p50_latency_ms: Annotated[float | None, _percentile(0.5), _PERCENTILE]
    p95_latency_ms: Annotated[float | None, _percentile(0.95), _PERCENTILE]
    p99_latency_ms: Annotated[float | None, _percentile(0.99), _PERCENTILE]
    prompt_tokens: int
    completion_tokens: int
    total_tokens: Annotated[int, Source("tokens")]
    total_cost: Annotated[Usd, Source("cost")]
    unpriced_span_count: Annotated[int, Source("unpriced"), UNPRICED]


class SpanBucketResponse(ResponseStruct[span_analytics.SpanBucket], frozen=True, kw_only=True):
    bucket: ResponseInstant
    figures: SpanFiguresResponse


class SpanSeriesResponse(ResponseStruct[span_analytics.SpanSeries], frozen=True, kw_only=True):
    """Some spans: in all, and by bucket."""

    key: Annotated[
        str | None, Meta(description="The value of the group; null for several groups together")
    ]
    label: Annotated[
        str | None, Meta(description="The pattern of the errors, if groups are those of errors")
    ]
    group_count: Annotated[int, Meta(description="How many groups these are")]
    figures: Annotated[SpanFiguresResponse, Source("total")]
    buckets: list[SpanBucketResponse]


class SpanAnalyticsResponse(
    ResponseStruct[span_analytics.SpanAnalytics], frozen=True, kw_only=True
):
    """`groups` are ranked. `other` is null if there are no more groups; `total` is all of them."""

    groups: list[SpanSeriesResponse]
    other: SpanSeriesResponse | None
    total: SpanSeriesResponse


_FIGURES: Final = {
    "span_count": 40,
    "error_count": 3,
    "error_rate": 0.075,
    "latency_count": 40,
    "avg_latency_ms": 900.0,
    "p50_latency_ms": 850.0,
    "p95_latency_ms": 1210.0,
    "p99_latency_ms": 1246.0,
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "total_tokens": 0,
    "total_cost": 0.0,
    "unpriced_span_count": 0,
}
_SERIES: Final = {
    "key": "find-flights",
    "label": None,
    "group_count": 1,
    "figures": _FIGURES,
    "buckets": [{"bucket": "2026-03-01T00:00:00+00:00", "figures": _FIGURES}],
}


class SpanAnalyticsController(Controller):
    path = "/analytics"

    @get(
        "/spans",
        CAN_READ,
        description=(
            "Counts, failures, latencies, tokens and costs of spans by kind, name, model or error, "
            "over time and in all. Figures that are filtered by kind, name and model come from "
            "hourly counters. For other filters, spans are read one by one, at most "
            f"{READ_SPANS_MAX:,}; and at most {CELLS_MAX:,} figures are put together. Spans whose "
            "tokens another span reports too count, but not their tokens and costs."
        ),
        example={"groups": [_SERIES], "other": None, "total": _SERIES | {"key": None}},
    )
    async def analyze_spans(
        self, caller: Caller, params: SpanAnalyticsParameters, use_cases: UseCases
    ) -> SpanAnalyticsResponse | JsonResponse[SpanAnalyticsResponse]:
        """Analyze spans."""
        found = await use_cases.tracing.spans.analytics(caller.project_id, params.query)
        return await respond_with(
            lambda: SpanAnalyticsResponse.from_domain(found),
            is_long=sum(len(one.buckets) for one in found.groups) > SERIES_ON_LOOP_MAX,
        )
