"""Analytics over time: traces, tokens and costs, models, sessions."""

from dataclasses import replace
from datetime import UTC
from operator import attrgetter
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from litestar import Controller
from msgspec import Meta

from application.use_cases import UseCases
from domain.identity.caller import Caller
from domain.tracing import analytics
from domain.tracing.trace_breakdown import (
    GROUPS_DEFAULT,
    GROUPS_MAX,
    READ_TRACES_MAX,
    AnalyticsMetric,
    FigureGroup,
    GroupKind,
    TraceAnalyticsQuery,
    TraceGroupKey,
)
from entrypoints.http.authentication import CAN_READ
from entrypoints.http.controllers.traces import schemas
from entrypoints.http.endpoint import get
from entrypoints.http.requests.scalar_types import InvalidValue
from entrypoints.http.requests.wire_types import QueryEnd, QueryInstant, ResponseInstant, Usd
from entrypoints.http.response_structs import ResponseStruct, Source

GRANULARITY_DESCRIPTION: Final = (
    "The length of a time bucket, in UTC; weeks start on Mondays. Empty buckets are omitted; more "
    f"than {analytics.BUCKETS_MAX} buckets are refused"
)


UNKNOWN_TIME_ZONE: Final = "no time zone has this name: take one of the IANA database"


def _time_zone(name: str) -> ZoneInfo:
    """Raises InvalidValue for what isn't the name of a time zone."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidValue(UNKNOWN_TIME_ZONE) from error


type TimeZoneName = Annotated[
    str,
    Meta(
        max_length=64,
        pattern=r"^[A-Za-z0-9_+/-]+$",
        extra={"check": _time_zone, "expected": UNKNOWN_TIME_ZONE},
        examples=["Europe/Berlin"],
        description=(
            "The IANA name of the time zone whose days and weeks are the buckets; UTC without it. "
            "Hours are those of UTC, and `bucket` is the start in UTC. Refused if its days don't "
            "start with an hour of UTC, since hours are what is counted"
        ),
    ),
]


_GROUP_KIND: Final = Meta(
    description="`value`: the traces or spans with `key`; `none`: those without any; `other`: all "
    "groups that aren't shown"
)
_GROUP_KEY: Final = Meta(description="The value; null unless `kind` is `value`")
_GROUP_COUNT: Final = Meta(description="How many groups these are; 1 unless `kind` is `other`")


type _Granularity = Annotated[analytics.Granularity, Meta(description=GRANULARITY_DESCRIPTION)]


class PeriodQuery(msgspec.Struct, frozen=True, kw_only=True):
    granularity: _Granularity = analytics.Granularity.DAY
    started_after: Annotated[QueryInstant, Meta(description="Started then or later")]
    started_before: Annotated[QueryEnd, Meta(description="Started earlier")]

    @property
    def period(self) -> analytics.Period:
        return analytics.Period(self.started_after, self.started_before)


class AnalyticsQuery(schemas.TraceMatching, frozen=True, kw_only=True):
    """The period, and conditions as those of `GET /traces`."""

    granularity: _Granularity = analytics.Granularity.DAY
    started_after: Annotated[QueryInstant, Meta(description="Started then or later")]
    started_before: Annotated[QueryEnd, Meta(description="Started earlier")]
    metric: Annotated[AnalyticsMetric, Meta(description="Which rows to return")] = (
        AnalyticsMetric.VOLUME
    )
    by: (
        Annotated[
            TraceGroupKey,
            Meta(
                description=(
                    "What figures are grouped by. The answer is a list of groups, the greatest "
                    "first by the metric. `model`: of spans, so for `cost` and `tokens` only, and "
                    "without conditions. Not with the metric `models`"
                )
            ),
        ]
        | None
    ) = None
    limit: Annotated[
        int, Meta(ge=1, le=GROUPS_MAX, description="Groups shown; all others are one")
    ] = GROUPS_DEFAULT
    tz: TimeZoneName = "UTC"
    fill: Annotated[
        bool, Meta(description="Whether buckets without traces or spans are shown too")
    ] = False

    @property
    def query(self) -> TraceAnalyticsQuery:
        matching = replace(self.to_domain(), started_after=None, started_before=None)
        return TraceAnalyticsQuery(
            period=analytics.Period(self.started_after, self.started_before),
            granularity=self.granularity,
            metric=self.metric,
            zone=UTC if self.tz == "UTC" else ZoneInfo(self.tz),
            matching=matching,
            by=self.by,
            groups=self.limit,
            fill=self.fill,
        )


class TraceFigures(ResponseStruct[analytics.TraceBucket], frozen=True, kw_only=True):
    """Figures of traces. Latencies are those of `latency_count` traces, and null without any."""

    trace_count: int
    error_count: int
    latency_count: Annotated[int, Meta(description="Traces with a latency")]
    avg_latency_ms: Annotated[float | None, Source("latencies", attrgetter("mean"))]
    p50_latency_ms: Annotated[float | None, Source("latencies", attrgetter("p50"))]
    p90_latency_ms: Annotated[float | None, Source("latencies", attrgetter("p90"))]
    p99_latency_ms: Annotated[float | None, Source("latencies", attrgetter("p99"))]


class AnalyticsBucket(TraceFigures, frozen=True, kw_only=True):
    """Traces by start. Latencies are those of `latency_count` traces, and null without any."""

    bucket: ResponseInstant


class TokenCostFigures(ResponseStruct[analytics.UsageBucket], frozen=True, kw_only=True):
    """Tokens and costs. With conditions, or by others than models, those of traces.

    Then the last three are null: they are counted by model only.
    """

    total_tokens: Annotated[int, Source("tokens")]
    prompt_tokens: int
    completion_tokens: int
    total_cost: Annotated[Usd, Source("cost")]
    unpriced_span_count: Annotated[int, Source("unpriced"), schemas.UNPRICED]
    priced_span_count: Annotated[
        int | None, Source("priced"), Meta(description="Spans whose cost is known")
    ]
    cached_tokens: Annotated[
        int | None, Meta(description="Of the prompts, read from a cache, as far as spans said so")
    ]
    reasoning_tokens: Annotated[
        int | None, Meta(description="Of the completions, as far as spans said so")
    ]


class TokenCostBucket(TokenCostFigures, frozen=True, kw_only=True):
    """Tokens and costs of spans, by start; with conditions or by group those of traces."""

    bucket: ResponseInstant


class AnalyticsGroup(ResponseStruct[FigureGroup[analytics.TraceBucket]], frozen=True, kw_only=True):
    """The traces of one group, in all and over time."""

    kind: Annotated[GroupKind, _GROUP_KIND]
    key: Annotated[str | None, _GROUP_KEY]
    group_count: Annotated[int, Source("count"), _GROUP_COUNT]
    total: TraceFigures
    buckets: list[AnalyticsBucket]


class TokenCostGroup(ResponseStruct[FigureGroup[analytics.UsageBucket]], frozen=True, kw_only=True):
    """Tokens and costs of one group, in all and over time."""

    kind: Annotated[GroupKind, _GROUP_KIND]
    key: Annotated[str | None, _GROUP_KEY]
    group_count: Annotated[int, Source("count"), _GROUP_COUNT]
    total: TokenCostFigures
    buckets: list[TokenCostBucket]


class TopModel(ResponseStruct[analytics.ModelUsage], frozen=True, kw_only=True):
    """Tokens and costs of the spans of one model."""

    model: str
    call_count: Annotated[int, Source("calls")]
    total_tokens: Annotated[int, Source("tokens")]
    total_cost: Annotated[Usd, Source("cost")]
    unpriced_span_count: Annotated[int, Source("unpriced"), schemas.UNPRICED]


class SessionAnalyticsBucket(ResponseStruct[analytics.SessionBucket], frozen=True, kw_only=True):
    """Sessions by the start of their first trace in the period."""

    bucket: ResponseInstant
    session_count: int
    avg_traces_per_session: Annotated[float | None, Source("mean_traces")]
    avg_session_duration_ms: Annotated[
        float | None,
        Source("mean_duration_ms"),
        Meta(description="Of `duration_count` sessions; null without any"),
    ]
    duration_count: Annotated[int, Meta(description="Sessions with a trace that has ended")]


class AnalyticsController(Controller):
    path = "/"

    @get(
        "/traces/analytics",
        CAN_READ,
        description=(
            "`volume`, `errors` and `latency` return the same rows over traces; `cost` and "
            f"`tokens` the same rows over spans; `models` the {analytics.MODELS_MAX} most "
            "frequently called models.\n\n"
            "Figures of all traces, and tokens and costs by model, are read from sums by hour, "
            "whatever the period. With conditions, or by group, the traces that match are read: "
            f"more than {READ_TRACES_MAX:,} are refused, and tokens and costs are those of traces, "
            "by the start of the trace."
        ),
        example=[
            {
                "bucket": "2026-03-01T00:00:00+00:00",
                "trace_count": 4,
                "error_count": 1,
                "latency_count": 4,
                "avg_latency_ms": 900.0,
                "p50_latency_ms": 850.0,
                "p90_latency_ms": 1210.0,
                "p99_latency_ms": 1246.0,
            }
        ],
    )
    async def analyze_traces(
        self, caller: Caller, params: AnalyticsQuery, use_cases: UseCases
    ) -> (
        list[AnalyticsBucket]
        | list[TokenCostBucket]
        | list[TopModel]
        | list[AnalyticsGroup]
        | list[TokenCostGroup]
    ):
        """Analyze traces."""
        analyze, project, query = use_cases.tracing.analyze_traces, caller.project_id, params.query
        match query.metric, query.by:
            case AnalyticsMetric.MODELS, _:
                models = await analyze.models(project, query)
                return [TopModel.from_domain(row) for row in models]
            case ((AnalyticsMetric.COST | AnalyticsMetric.TOKENS), None):
                usage = await analyze.usage(project, query)
                return [TokenCostBucket.from_domain(row) for row in usage]
            case ((AnalyticsMetric.COST | AnalyticsMetric.TOKENS), _):
                usage_groups = await analyze.usage_groups(project, query)
                return [TokenCostGroup.from_domain(one) for one in usage_groups]
            case _, None:
                volume = await analyze.volume(project, query)
                return [AnalyticsBucket.from_domain(row) for row in volume]
            case _:
                volume_groups = await analyze.volume_groups(project, query)
                return [AnalyticsGroup.from_domain(one) for one in volume_groups]

    @get(
        "/sessions/analytics",
        CAN_READ,
        example=[
            {
                "bucket": "2026-03-01T00:00:00+00:00",
                "session_count": 2,
                "avg_traces_per_session": 1.5,
                "avg_session_duration_ms": 3250.0,
                "duration_count": 2,
            }
        ],
    )
    async def analyze_sessions(
        self, caller: Caller, params: PeriodQuery, use_cases: UseCases
    ) -> list[SessionAnalyticsBucket]:
        """Analyze sessions.

        The number and mean length of the sessions that started in each bucket, over the traces of
        the period. The duration of a session is the sum of its traces' latencies.
        """
        rows = await use_cases.tracing.analytics.sessions(
            caller.project_id, params.period, params.granularity
        )
        return [SessionAnalyticsBucket.from_domain(row) for row in rows]
