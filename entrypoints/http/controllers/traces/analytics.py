"""Figures over time: traces, tokens and costs, models, sessions."""

from enum import StrEnum
from typing import Annotated, Final, Self

import msgspec
from litestar import Controller, get
from msgspec import Meta

from application.use_cases import UseCases
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
from domain.ids import ProjectId
from domain.tracing.analytics import (
    BUCKETS_MAX,
    MODELS_MAX,
    Granularity,
    ModelUsage,
    Period,
    SessionBucket,
    TraceBucket,
    UsageBucket,
)
from domain.tracing.usage import as_float
from entrypoints.http.authentication import data_plane
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.requests.wire_types import QueryEnd, QueryInstant, ShownInstant, instant

BUCKETS: Final = (
    "Time is cut in UTC, weeks on Mondays; a bucket without rows is left out, and more than "
    f"{BUCKETS_MAX} are refused"
)


class AnalyticsMetric(StrEnum):
    VOLUME = "volume"
    ERRORS = "errors"
    LATENCY = "latency"
    COST = "cost"
    TOKENS = "tokens"
    MODELS = "models"


class PeriodQuery(msgspec.Struct, frozen=True, kw_only=True):
    granularity: Annotated[Granularity, Meta(description=BUCKETS)] = Granularity.DAY
    started_after: Annotated[QueryInstant, Meta(description="Started then or later")]
    started_before: Annotated[QueryEnd, Meta(description="Started earlier")]

    @property
    def period(self) -> Period:
        return Period(self.started_after, self.started_before)


class AnalyticsQuery(PeriodQuery, frozen=True, kw_only=True):
    metric: Annotated[AnalyticsMetric, Meta(description="Which rows to make")] = (
        AnalyticsMetric.VOLUME
    )


class SessionAnalyticsQuery(PeriodQuery, frozen=True, kw_only=True):
    pass


class AnalyticsBucket(msgspec.Struct, frozen=True, kw_only=True):
    """Traces by their start. The latencies are null where no trace of the bucket has ended."""

    bucket: ShownInstant
    trace_count: int
    error_count: int
    avg_latency_ms: float | None
    p50_latency_ms: float | None
    p90_latency_ms: float | None
    p99_latency_ms: float | None

    @classmethod
    def of(cls, row: TraceBucket) -> Self:
        took = row.latencies
        return cls(
            bucket=instant(row.bucket),
            trace_count=row.trace_count,
            error_count=row.error_count,
            avg_latency_ms=None if took is None else took.mean,
            p50_latency_ms=None if took is None else took.p50,
            p90_latency_ms=None if took is None else took.p90,
            p99_latency_ms=None if took is None else took.p99,
        )


class TokenCostBucket(msgspec.Struct, frozen=True, kw_only=True):
    """What spans consumed, by their start."""

    bucket: ShownInstant
    total_tokens: int
    prompt_tokens: int
    completion_tokens: int
    total_cost: float

    @classmethod
    def of(cls, row: UsageBucket) -> Self:
        return cls(
            bucket=instant(row.bucket),
            total_tokens=row.tokens,
            prompt_tokens=row.prompt_tokens,
            completion_tokens=row.completion_tokens,
            total_cost=as_float(row.cost),
        )


class TopModel(msgspec.Struct, frozen=True, kw_only=True):
    """What the spans of one model consumed."""

    model: str
    call_count: int
    total_tokens: int
    total_cost: float

    @classmethod
    def of(cls, row: ModelUsage) -> Self:
        return cls(
            model=row.model,
            call_count=row.calls,
            total_tokens=row.tokens,
            total_cost=as_float(row.cost),
        )


class SessionAnalyticsBucket(msgspec.Struct, frozen=True, kw_only=True):
    """Sessions by the first of their traces in the period."""

    bucket: ShownInstant
    session_count: int
    avg_traces_per_session: float | None
    avg_session_duration_ms: float | None

    @classmethod
    def of(cls, row: SessionBucket) -> Self:
        return cls(
            bucket=instant(row.bucket),
            session_count=row.session_count,
            avg_traces_per_session=row.mean_traces,
            avg_session_duration_ms=row.mean_duration_ms,
        )


ANALYZE: Final = endpoint(
    data_plane(Scope.READ),
    summary="Figures over traces",
    description=(
        "`volume`, `errors` and `latency` give the same rows over traces, `cost` and `tokens` "
        f"the same over spans, `models` the {MODELS_MAX} models that were called most."
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

ANALYZE_SESSIONS: Final = endpoint(
    data_plane(Scope.READ),
    summary="Figures over sessions",
    description=(
        "How many sessions began, and how long they were, over the traces of the period. A "
        "session's duration is the sum of its traces' latencies."
    ),
    example=[
        {
            "bucket": "2026-03-01T00:00:00+00:00",
            "session_count": 2,
            "avg_traces_per_session": 1.5,
            "avg_session_duration_ms": 3250.0,
        }
    ],
)


class AnalyticsController(Controller):
    path = "/"

    @get("/traces/analytics", **ANALYZE)
    async def analyze_traces(
        self,
        caller: Injected[Caller],
        params: Injected[AnalyticsQuery],
        use_cases: Injected[UseCases],
    ) -> list[AnalyticsBucket] | list[TokenCostBucket] | list[TopModel]:
        return await _rows(use_cases, caller.project_id, params)

    @get("/sessions/analytics", **ANALYZE_SESSIONS)
    async def analyze_sessions(
        self,
        caller: Injected[Caller],
        params: Injected[SessionAnalyticsQuery],
        use_cases: Injected[UseCases],
    ) -> list[SessionAnalyticsBucket]:
        query = params
        found = await use_cases.tracing.session_volume(
            caller.project_id, query.period, query.granularity
        )
        return [SessionAnalyticsBucket.of(row) for row in found]


async def _rows(
    use: UseCases, project: ProjectId, query: AnalyticsQuery
) -> list[AnalyticsBucket] | list[TokenCostBucket] | list[TopModel]:
    period = query.period
    match query.metric:
        case AnalyticsMetric.VOLUME | AnalyticsMetric.ERRORS | AnalyticsMetric.LATENCY:
            volume = await use.tracing.trace_volume(project, period, query.granularity)
            return [AnalyticsBucket.of(row) for row in volume]
        case AnalyticsMetric.COST | AnalyticsMetric.TOKENS:
            usage = await use.tracing.token_usage(project, period, query.granularity)
            return [TokenCostBucket.of(row) for row in usage]
        case AnalyticsMetric.MODELS:
            return [TopModel.of(row) for row in await use.tracing.top_models(project, period)]
