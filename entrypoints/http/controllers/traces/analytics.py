"""Analytics over time: traces, tokens and costs, models, sessions."""

from enum import StrEnum
from operator import attrgetter
from typing import Annotated, Final

import msgspec
from litestar import Controller
from msgspec import Meta

from application.use_cases import UseCases
from domain.identity.caller import Caller
from domain.tracing import analytics
from entrypoints.http.authentication import CAN_READ
from entrypoints.http.controllers.traces import schemas
from entrypoints.http.endpoint import get
from entrypoints.http.requests.wire_types import QueryEnd, QueryInstant, ResponseInstant, Usd
from entrypoints.http.response_structs import ResponseStruct, Source

GRANULARITY_DESCRIPTION: Final = (
    "The length of a time bucket, in UTC; weeks start on Mondays. Empty buckets are omitted; more "
    f"than {analytics.BUCKETS_MAX} buckets are refused"
)


class AnalyticsMetric(StrEnum):
    VOLUME = "volume"
    ERRORS = "errors"
    LATENCY = "latency"
    COST = "cost"
    TOKENS = "tokens"
    MODELS = "models"


class PeriodQuery(msgspec.Struct, frozen=True, kw_only=True):
    granularity: Annotated[analytics.Granularity, Meta(description=GRANULARITY_DESCRIPTION)] = (
        analytics.Granularity.DAY
    )
    started_after: Annotated[QueryInstant, Meta(description="Started then or later")]
    started_before: Annotated[QueryEnd, Meta(description="Started earlier")]

    @property
    def period(self) -> analytics.Period:
        return analytics.Period(self.started_after, self.started_before)


class AnalyticsQuery(PeriodQuery, frozen=True, kw_only=True):
    metric: Annotated[AnalyticsMetric, Meta(description="Which rows to return")] = (
        AnalyticsMetric.VOLUME
    )


class AnalyticsBucket(ResponseStruct[analytics.TraceBucket], frozen=True, kw_only=True):
    """Traces by start. The latencies are null if no trace of the bucket has ended."""

    bucket: ResponseInstant
    trace_count: int
    error_count: int
    avg_latency_ms: Annotated[float | None, Source("latencies", attrgetter("mean"))]
    p50_latency_ms: Annotated[float | None, Source("latencies", attrgetter("p50"))]
    p90_latency_ms: Annotated[float | None, Source("latencies", attrgetter("p90"))]
    p99_latency_ms: Annotated[float | None, Source("latencies", attrgetter("p99"))]


class TokenCostBucket(ResponseStruct[analytics.UsageBucket], frozen=True, kw_only=True):
    """Tokens and costs of spans, by start."""

    bucket: ResponseInstant
    total_tokens: Annotated[int, Source("tokens")]
    prompt_tokens: int
    completion_tokens: int
    total_cost: Annotated[Usd, Source("cost")]
    unpriced_span_count: Annotated[int, Source("unpriced"), schemas.UNPRICED]


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
    avg_session_duration_ms: Annotated[float | None, Source("mean_duration_ms")]


class AnalyticsController(Controller):
    path = "/"

    @get(
        "/traces/analytics",
        CAN_READ,
        description=(
            "`volume`, `errors` and `latency` return the same rows over traces; `cost` and "
            f"`tokens` the same rows over spans; `models` the {analytics.MODELS_MAX} most "
            "frequently called models."
        ),
        example=[
            {
                "bucket": "2026-03-01T00:00:00+00:00",
                "trace_count": 4,
                "error_count": 1,
                "avg_latency_ms": 900.0,
                "p50_latency_ms": 850.0,
                "p90_latency_ms": 1210.0,
                "p99_latency_ms": 1246.0,
            }
        ],
    )
    async def analyze_traces(
        self, caller: Caller, params: AnalyticsQuery, use_cases: UseCases
    ) -> list[AnalyticsBucket] | list[TokenCostBucket] | list[TopModel]:
        """Analyze traces."""
        project, period = caller.project_id, params.period
        match params.metric:
            case AnalyticsMetric.VOLUME | AnalyticsMetric.ERRORS | AnalyticsMetric.LATENCY:
                volume = await use_cases.tracing.analytics.volume(
                    project, period, params.granularity
                )
                return [AnalyticsBucket.from_domain(row) for row in volume]
            case AnalyticsMetric.COST | AnalyticsMetric.TOKENS:
                usage = await use_cases.tracing.analytics.usage(project, period, params.granularity)
                return [TokenCostBucket.from_domain(row) for row in usage]
            case AnalyticsMetric.MODELS:
                return [
                    TopModel.from_domain(row)
                    for row in await use_cases.tracing.analytics.models(project, period)
                ]

    @get(
        "/sessions/analytics",
        CAN_READ,
        example=[
            {
                "bucket": "2026-03-01T00:00:00+00:00",
                "session_count": 2,
                "avg_traces_per_session": 1.5,
                "avg_session_duration_ms": 3250.0,
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
