"""Figures of scores: the same three for traces and sessions, and two more for sessions."""

from typing import Any, Final

from litestar import Controller, Router, get
from litestar.handlers import HTTPRouteHandler

from application.use_cases import UseCases
from domain.evaluation.runs.run import TargetType
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
from domain.page import SortOrder
from entrypoints.http.authentication import data_plane
from entrypoints.http.controllers.scores.analytics_schemas import (
    ComparisonQuery,
    CreatedQuery,
    DistributionQuery,
    HistoryQuery,
    ScoreDistributionItem,
    ScoreSummaryItem,
    ScoreTrendItem,
    SessionComparisonItem,
    SessionScoreHistoryItem,
    TrendQuery,
)
from entrypoints.http.controllers.scores.examples import AT, page_of
from entrypoints.http.controllers.sessions.sessions import SessionPath
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.requests.cursors import NUMBER, TEXT, PagedList
from entrypoints.http.requests.wire_types import PaginatedResponse

NUMBERS: Final = (
    "Only values of NUMERIC scores that are a SUCCESS are numbers; those of the built-in "
    "heuristics and those of models are never mixed: the kind that gave the newest counts."
)

COMPARED: Final = PagedList("sessions compared", {None: NUMBER}, TEXT)

HISTORY: Final = endpoint(
    data_plane(Scope.READ),
    summary="History of a session's scores",
    description=(
        "The newest NUMERIC scores of a session, by time, ascending; those that failed or "
        "were skipped without a number."
    ),
    example=[
        {
            "metric_name": "agent_reliability",
            "score": 0.8,
            "eval_run_id": None,
            "created_at": AT,
            "status": "SUCCESS",
        }
    ],
)

COMPARISON: Final = endpoint(
    data_plane(Scope.READ),
    summary="Compare sessions",
    description=(
        "A page of the sessions that have a number of this name, each with its newest; ties "
        "by the session's id, ascending."
    ),
    example=page_of(
        {"session_id": "conv-42", "score": 0.8, "evaluated_at": AT, "eval_run_id": None}, 20
    ),
)


class SessionScoreAnalyticsController(Controller):
    path = "/evaluations/analytics"

    @get("/session-scores/history/{session_id:str}", **HISTORY)
    async def read_session_history(
        self,
        caller: Injected[Caller],
        path: Injected[SessionPath],
        params: Injected[HistoryQuery],
        use_cases: Injected[UseCases],
    ) -> list[SessionScoreHistoryItem]:
        query, session = params, path.session_id
        found = await use_cases.evaluation.read_session_history(
            caller.project_id, session, query.metric_name, query.limit
        )
        return [SessionScoreHistoryItem.of(row) for row in found]

    @get("/session-scores/comparison", **COMPARISON)
    async def compare_sessions(
        self,
        caller: Injected[Caller],
        params: Injected[ComparisonQuery],
        use_cases: Injected[UseCases],
    ) -> PaginatedResponse[SessionComparisonItem]:
        query, project = params, caller.project_id
        order: SortOrder = query.sort_order
        pages = COMPARED.asked(query, project, query.metric_name, None, order)
        page = await use_cases.evaluation.compare_sessions(
            project, query.metric_name, order, pages.window
        )
        return pages.shown(page, [SessionComparisonItem.of(row) for row in page.items])


def score_analytics_router(of: TargetType) -> Router:
    """The analytics that scores of traces and of sessions have in common."""
    name = of.lower()
    return Router(f"/evaluations/analytics/{name}-scores", route_handlers=_analytics(of, name))


def _analytics(of: TargetType, name: str) -> list[HTTPRouteHandler]:
    @get("/summary", operation_id=f"sum_up_{name}_scores", **_summary_docs(name))
    async def summarize_scores(
        caller: Injected[Caller], params: Injected[CreatedQuery], use_cases: Injected[UseCases]
    ) -> list[ScoreSummaryItem]:
        summarize = use_cases.evaluation.score_summaries
        return [
            ScoreSummaryItem.of(row)
            for row in await summarize(caller.project_id, of, params.within)
        ]

    @get("/trend", operation_id=f"trend_of_{name}_scores", **_trend_docs(name))
    async def read_trend(
        caller: Injected[Caller], params: Injected[TrendQuery], use_cases: Injected[UseCases]
    ) -> list[ScoreTrendItem]:
        found = await use_cases.evaluation.score_trend(
            caller.project_id, of, params.metric_name, params.granularity, params.within
        )
        return [ScoreTrendItem.of(params.metric_name, row) for row in found]

    @get("/distribution", operation_id=f"distribution_of_{name}_scores", **_distribution_docs(name))
    async def read_distribution(
        caller: Injected[Caller],
        params: Injected[DistributionQuery],
        use_cases: Injected[UseCases],
    ) -> list[ScoreDistributionItem]:
        found = await use_cases.evaluation.score_distribution(
            caller.project_id, of, params.metric_name, params.buckets, params.within
        )
        return [ScoreDistributionItem.of(row) for row in found]

    return [summarize_scores, read_trend, read_distribution]


def _summary_docs(name: str) -> dict[str, Any]:
    return endpoint(
        data_plane(Scope.READ),
        summary=f"Sum up scores of {name}s",
        description=f"What the scores of each name come to, by name. {NUMBERS}",
        example=[
            {
                "metric_name": "task_completion",
                "avg_score": 0.8,
                "min_score": 0.5,
                "max_score": 1.0,
                "median_score": 0.9,
                "success_count": 3,
                "failed_count": 0,
                "latest_score_at": AT,
                "judge_kind": "heuristic",
            }
        ],
    )


def _trend_docs(name: str) -> dict[str, Any]:
    return endpoint(
        data_plane(Scope.READ),
        summary=f"Trend of scores of {name}s",
        description=f"The means over time, by creation, ascending. {NUMBERS}",
        example=[
            {
                "bucket": "2026-03-01T00:00:00+00:00",
                "metric_name": "task_completion",
                "avg_score": 0.8,
                "count": 3,
            }
        ],
    )


def _distribution_docs(name: str) -> dict[str, Any]:
    return endpoint(
        data_plane(Scope.READ),
        summary=f"Distribution of scores of {name}s",
        description=(
            "How the numbers spread over equal parts from 0 to 1, ascending; empty parts are "
            f"left out. A part holds its lower bound, the last one 1.0 as well. {NUMBERS}"
        ),
        example=[{"bucket": 9, "bucket_min": 0.8, "bucket_max": 0.9, "count": 3}],
    )
