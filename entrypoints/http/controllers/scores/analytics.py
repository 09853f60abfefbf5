"""Analytics of scores: three endpoints for each target, two more for sessions."""

from typing import Annotated, Final

import msgspec
from litestar import Controller, Router
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta

from application.use_cases import UseCases
from domain.evaluation.scores import analytics as figures
from domain.evaluation.scores.score import CreatedWithin, ScoreSource, ScoreStatus, ScoreTarget
from domain.identity.caller import Caller
from domain.page import LIMIT_MAX, SortOrder
from domain.tracing.analytics import BUCKETS_MAX, Granularity
from entrypoints.http.authentication import CAN_READ
from entrypoints.http.controllers.scores import examples
from entrypoints.http.controllers.scores.examples import AT
from entrypoints.http.controllers.sessions.sessions import SessionPath
from entrypoints.http.controllers.traces.analytics import GRANULARITY_DESCRIPTION
from entrypoints.http.controllers.traces.examples import page_of
from entrypoints.http.endpoint import get
from entrypoints.http.requests.cursors import NUMBER, TEXT, PagedList, PageQuery
from entrypoints.http.requests.wire_types import PaginatedResponse, QueryInstant, ResponseInstant
from entrypoints.http.response_structs import GIVEN, ResponseStruct, Source

type MetricName = Annotated[
    str, Meta(description="The name of the scores", examples=["task_completion"])
]


type NumberSource = Annotated[
    ScoreSource,
    Meta(
        description=(
            "Only scores of this source; by default those of runs (AUTOMATED), or all others if no "
            "run has scored the name"
        )
    ),
]


class CreatedQuery(msgspec.Struct, frozen=True, kw_only=True):
    date_from: Annotated[QueryInstant, Meta(description="Created then or later")] | None = None
    date_to: Annotated[QueryInstant, Meta(description="Created earlier")] | None = None

    @property
    def within(self) -> CreatedWithin:
        return CreatedWithin(self.date_from, self.date_to)


class SummaryQuery(CreatedQuery, frozen=True, kw_only=True):
    source: NumberSource | None = None
    judge_kind: (
        Annotated[
            figures.SeparateKind,
            Meta(
                description=(
                    "Numbers of this kind of judge, and none of the other kind; by default the "
                    "kind of the newest number"
                )
            ),
        ]
        | None
    ) = None


type MetricNames = Annotated[
    list[MetricName],
    Meta(
        min_length=1,
        max_length=figures.TREND_NAMES_MAX,
        description="The names of the scores. Repeat the parameter for several",
        examples=[["task_completion"]],
    ),
]
type EmptyBuckets = Annotated[bool, Meta(description="Also buckets without numbers")]


class TrendQuery(SummaryQuery, frozen=True, kw_only=True):
    metric_name: MetricNames
    empty_buckets: EmptyBuckets = False
    granularity: Annotated[Granularity, Meta(description=GRANULARITY_DESCRIPTION)] = Granularity.DAY


class DistributionQuery(SummaryQuery, frozen=True, kw_only=True):
    metric_name: MetricName
    buckets: Annotated[
        int, Meta(ge=1, le=figures.BINS_MAX, description="The number of equal buckets")
    ] = figures.BINS_DEFAULT
    empty_buckets: EmptyBuckets = False


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True):
    metric_name: Annotated[str, Meta(description="Only scores of this name")] | None = None
    source: NumberSource | None = None
    limit: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="How many of the newest scores to return")
    ] = figures.HISTORY_DEFAULT


class ComparisonQuery(PageQuery, frozen=True, kw_only=True):
    metric_name: MetricName
    source: NumberSource | None = None
    sort_order: Annotated[SortOrder, Meta(description="`asc`: the lowest score first")] = (
        SortOrder.ASC
    )
    limit: Annotated[
        int, Meta(ge=1, le=figures.COMPARED_SESSIONS_MAX, description="How many sessions to return")
    ] = figures.COMPARED_SESSIONS_DEFAULT


class ScoreSummaryItem(ResponseStruct[figures.ScoreSummary], frozen=True, kw_only=True):
    """Statistics of the scores of one name.

    `count` numbers are in the statistics, which are null if there is none. Numbers of runs and
    others are not averaged together, nor are those of different kinds of judges: `from_runs` says
    whether runs gave these, `judge_kind` which kind of judge, if one did. `left_out_count` is how
    many other numbers the name has. `success_count`, `skipped_count`, `failed_count` and
    `pending_count` count scores of the same source, of both kinds of judges and every data type: so
    `success_count` may be more than `count`. Of the numbers, `threshold_count` have a threshold,
    from `min_threshold` to `max_threshold`, and `passed_count` reach it; it is null if none has
    one. Numbers are comparable only if they have the same one of `fingerprints`, which lists up to
    20, and none of scores that no run has written.
    """

    metric_name: Annotated[str, Source("name")]
    avg_score: Annotated[float | None, Source("mean")]
    min_score: Annotated[float | None, Source("minimum")]
    max_score: Annotated[float | None, Source("maximum")]
    median_score: Annotated[float | None, Source("median")]
    success_count: Annotated[int, Source("scored")]
    failed_count: Annotated[int, Source("failed")]
    latest_score_at: Annotated[ResponseInstant | None, Source("latest_at")]
    judge_kind: str | None
    from_runs: bool
    count: Annotated[int, Source("counted")]
    left_out_count: Annotated[int, Source("left_out")]
    skipped_count: Annotated[int, Source("skipped")]
    pending_count: Annotated[int, Source("pending")]
    passed_count: Annotated[int | None, Source("passed")]
    threshold_count: Annotated[int, Source("with_threshold")]
    min_threshold: Annotated[float | None, Source("minimum_threshold")]
    max_threshold: Annotated[float | None, Source("maximum_threshold")]
    fingerprints: Annotated[list[str], Source("fingerprints", list)]


class ScoreTrendItem(ResponseStruct[figures.TrendPoint], frozen=True, kw_only=True):
    """The scores of one name that were created in one bucket of time.

    `count` numbers are in the statistics, which are null if there is none. The other fields are
    those of the summary, of this bucket: `success_count`, `skipped_count`, `failed_count` and
    `pending_count` count scores of the same source.
    """

    bucket: ResponseInstant
    metric_name: Annotated[str, Source("name")]
    avg_score: Annotated[float | None, Source("mean")]
    count: int
    p10: float | None
    p50: float | None
    p90: float | None
    success_count: Annotated[int, Source("scored")]
    skipped_count: Annotated[int, Source("skipped")]
    failed_count: Annotated[int, Source("failed")]
    pending_count: Annotated[int, Source("pending")]
    passed_count: Annotated[int | None, Source("passed")]
    threshold_count: Annotated[int, Source("with_threshold")]
    judge_kind: str | None
    fingerprints: Annotated[list[str], Source("fingerprints", list)]


class ScoreDistributionItem(ResponseStruct[figures.HistogramBin], frozen=True, kw_only=True):
    """How many numbers are in one of equal buckets, counted from 1. The last one includes 1.0.

    `success_count`, `skipped_count`, `failed_count` and `pending_count` count the scores of the
    same source in all buckets, with and without a number: they are equal in each item.
    """

    bucket: Annotated[int, Source("number")]
    bucket_min: Annotated[float, Source("lower")]
    bucket_max: Annotated[float, Source("upper")]
    count: int
    success_count: Annotated[int, GIVEN]
    skipped_count: Annotated[int, GIVEN]
    failed_count: Annotated[int, GIVEN]
    pending_count: Annotated[int, GIVEN]


class SessionScoreHistoryItem(ResponseStruct[figures.HistoryPoint], frozen=True, kw_only=True):
    """A score of a session; `score` is null if the evaluation failed or was skipped."""

    metric_name: Annotated[str, Source("name")]
    score: Annotated[float | None, Source("number")]
    eval_run_id: Annotated[str | None, Source("run_id", str)]
    created_at: ResponseInstant | None
    status: ScoreStatus
    source: ScoreSource


class SessionComparisonItem(ResponseStruct[figures.RankedSession], frozen=True, kw_only=True):
    """A session and its newest number of one name."""

    session_id: str
    score: Annotated[float | None, Source("number")]
    evaluated_at: ResponseInstant | None
    eval_run_id: Annotated[str | None, Source("run_id", str)]
    source: ScoreSource


NUMBERS: Final = (
    "Numbers are the values of NUMERIC scores with status SUCCESS. Numbers of runs and others are "
    "never combined: if runs have scored the name in the period, theirs count, otherwise the "
    "others; `source` selects those of one source. Numbers of the built-in heuristics and of "
    "models are never combined either: the kind of the newest score counts, or `judge_kind`. A "
    "score of a span is none of its trace."
)

COMPARISONS: Final = PagedList("sessions compared", {None: NUMBER}, TEXT)


class SessionScoreAnalyticsController(Controller):
    path = "/evaluations/analytics"

    @get(
        "/session-scores/history/{session_id:str}",
        CAN_READ,
        example=[
            {
                "metric_name": "agent_reliability",
                "score": 0.8,
                "eval_run_id": None,
                "created_at": AT,
                "status": "SUCCESS",
                "source": "AUTOMATED",
            }
        ],
    )
    async def read_session_history(
        self, caller: Caller, path: SessionPath, params: HistoryQuery, use_cases: UseCases
    ) -> list[SessionScoreHistoryItem]:
        """History of a session's scores.

        The newest NUMERIC scores of a session, sorted by time, ascending; failed and skipped ones
        have no number. If runs have scored a name, only their scores of it are included; `source`
        selects those of one source.
        """
        points = await use_cases.evaluation.score_analytics.history(
            caller.project_id,
            path.session_id,
            params.metric_name,
            params.limit,
            source=params.source,
        )
        return [SessionScoreHistoryItem.from_domain(point) for point in points]

    @get(
        "/session-scores/comparison",
        CAN_READ,
        example=page_of(
            {
                "session_id": "conv-42",
                "score": 0.8,
                "evaluated_at": AT,
                "eval_run_id": None,
                "source": "AUTOMATED",
            },
            20,
        ),
    )
    async def compare_sessions(
        self, caller: Caller, params: ComparisonQuery, use_cases: UseCases
    ) -> PaginatedResponse[SessionComparisonItem]:
        """Compare sessions.

        A page of the sessions that have a number of this name, each with its newest number; ties
        are sorted by the session's id, ascending. If runs have scored the name, only their numbers
        count; `source` selects those of one source.
        """
        project, name, order = caller.project_id, params.metric_name, params.sort_order
        requested = COMPARISONS.parse_page(params, project, (name, params.source), None, order)
        page = await use_cases.evaluation.score_analytics.comparison(
            project, name, order, requested.page, source=params.source
        )
        return requested.respond(page, SessionComparisonItem.from_domain)


def score_analytics_router(target: ScoreTarget) -> Router:
    """The endpoints that scores of traces, of spans and of sessions have in common."""
    handlers = [_summary_handler(target), _trend_handler(target), _distribution_handler(target)]
    return Router(f"/evaluations/analytics/{target}-scores", route_handlers=handlers)


def _summary_handler(target: ScoreTarget) -> HTTPRouteHandler:
    @get(
        "/summary",
        CAN_READ,
        summary=f"Summarize scores of {target}s",
        description=f"Statistics of the scores of each name, sorted by name. {NUMBERS}",
        operation_id=f"sum_up_{target}_scores",
        example=[examples.SUMMARY],
    )
    async def summarize_scores(
        caller: Caller, params: SummaryQuery, use_cases: UseCases
    ) -> list[ScoreSummaryItem]:
        summaries = await use_cases.evaluation.score_analytics.summaries(
            caller.project_id,
            target,
            params.within,
            source=params.source,
            judge_kind=params.judge_kind,
        )
        return [ScoreSummaryItem.from_domain(summary) for summary in summaries]

    return summarize_scores


def _trend_handler(target: ScoreTarget) -> HTTPRouteHandler:
    @get(
        "/trend",
        CAN_READ,
        summary=f"Trend of scores of {target}s",
        description=(
            f"The numbers of up to {figures.TREND_NAMES_MAX} names by time of creation, ascending, "
            "one name after the other. Buckets in which scores were skipped, failed or are pending "
            "and none has a number are left out; with `empty_buckets` they are listed, with null "
            f"as `avg_score`. At most {BUCKETS_MAX:,} buckets. {NUMBERS}"
        ),
        operation_id=f"trend_of_{target}_scores",
        example=[examples.TREND],
    )
    async def read_trend(
        caller: Caller, params: TrendQuery, use_cases: UseCases
    ) -> list[ScoreTrendItem]:
        points = await use_cases.evaluation.score_analytics.trend(
            caller.project_id,
            target,
            params.metric_name,
            params.granularity,
            params.within,
            source=params.source,
            judge_kind=params.judge_kind,
            empty_buckets=params.empty_buckets,
        )
        return [ScoreTrendItem.from_domain(point) for point in points]

    return read_trend


def _distribution_handler(target: ScoreTarget) -> HTTPRouteHandler:
    @get(
        "/distribution",
        CAN_READ,
        summary=f"Distribution of scores of {target}s",
        description=(
            "A histogram of the numbers, in equal buckets from 0 to 1, ascending, without empty "
            "buckets unless `empty_buckets` is set. A bucket includes its lower bound, the last "
            f"one also 1.0. {NUMBERS}"
        ),
        operation_id=f"distribution_of_{target}_scores",
        example=[examples.DISTRIBUTION],
    )
    async def read_distribution(
        caller: Caller, params: DistributionQuery, use_cases: UseCases
    ) -> list[ScoreDistributionItem]:
        found = await use_cases.evaluation.score_analytics.distribution(
            caller.project_id,
            target,
            params.metric_name,
            params.buckets,
            params.within,
            source=params.source,
            judge_kind=params.judge_kind,
            empty_buckets=params.empty_buckets,
        )
        return [
            ScoreDistributionItem.from_domain(
                part,
                success_count=found.scored,
                skipped_count=found.skipped,
                failed_count=found.failed,
                pending_count=found.pending,
            )
            for part in found.bins
        ]

    return read_distribution
