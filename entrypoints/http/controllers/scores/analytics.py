"""Figures of scores: the same three for traces and sessions, and two more for sessions."""

from typing import Any, Final

from litestar import Controller, Response, get

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
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.operation import Documented, Operation, answer, edge_of, operation
from entrypoints.http.requests.cursors import NUMBER, TEXT, PagedList
from entrypoints.http.requests.wire_types import PaginatedResponse

NUMBERS: Final = (
    "Only values of NUMERIC scores that are a SUCCESS are numbers; those of the built-in "
    "heuristics and those of models are never mixed: the kind that gave the newest counts."
)

type Asked[Q] = Operation[Caller, None, Q, None]


def summaries(of: str) -> Asked[CreatedQuery]:
    return operation(
        data_plane(Scope.READ),
        Documented(
            summary=f"Sum up scores of {of}",
            description=f"What the scores of each name come to, by name. {NUMBERS}",
            answer=list[ScoreSummaryItem],
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
        ),
    ).with_query(CreatedQuery)


def trends(of: str) -> Asked[TrendQuery]:
    return operation(
        data_plane(Scope.READ),
        Documented(
            summary=f"Trend of scores of {of}",
            description=f"The means over time, by creation, ascending. {NUMBERS}",
            answer=list[ScoreTrendItem],
            example=[
                {
                    "bucket": "2026-03-01T00:00:00+00:00",
                    "metric_name": "task_completion",
                    "avg_score": 0.8,
                    "count": 3,
                }
            ],
        ),
    ).with_query(TrendQuery)


def distributions(of: str) -> Asked[DistributionQuery]:
    return operation(
        data_plane(Scope.READ),
        Documented(
            summary=f"Distribution of scores of {of}",
            description=(
                "How the numbers spread over equal parts from 0 to 1, ascending; empty parts are "
                f"left out. A part holds its lower bound, the last one 1.0 as well. {NUMBERS}"
            ),
            answer=list[ScoreDistributionItem],
            example=[{"bucket": 9, "bucket_min": 0.8, "bucket_max": 0.9, "count": 3}],
        ),
    ).with_query(DistributionQuery)


TRACES: Final = summaries("traces"), trends("traces"), distributions("traces")
SESSIONS: Final = summaries("sessions"), trends("sessions"), distributions("sessions")
COMPARED: Final = PagedList("sessions compared", {None: NUMBER}, TEXT)

HISTORY: Final = (
    operation(
        data_plane(Scope.READ),
        Documented(
            summary="History of a session's scores",
            description=(
                "The newest NUMERIC scores of a session, by time, ascending; those that failed or "
                "were skipped without a number."
            ),
            answer=list[SessionScoreHistoryItem],
            example=[
                {
                    "metric_name": "agent_reliability",
                    "score": 0.8,
                    "eval_run_id": None,
                    "created_at": AT,
                    "status": "SUCCESS",
                }
            ],
        ),
    )
    .with_path(SessionPath)
    .with_query(HistoryQuery)
)

COMPARISON: Final = operation(
    data_plane(Scope.READ),
    Documented(
        summary="Compare sessions",
        description=(
            "A page of the sessions that have a number of this name, each with its newest; ties "
            "by the session's id, ascending."
        ),
        answer=PaginatedResponse[SessionComparisonItem],
        example=page_of(
            {"session_id": "conv-42", "score": 0.8, "evaluated_at": AT, "eval_run_id": None}, 20
        ),
    ),
).with_query(ComparisonQuery)


class ScoreFigureController(Controller):
    path = "/evaluations/analytics"

    @get("/trace-scores/summary", opt=TRACES[0].opt)
    async def sum_up_trace_scores(self, request: HttpRequest) -> Response[bytes]:
        return await _summaries(request, TargetType.TRACE, TRACES[0])

    @get("/session-scores/summary", opt=SESSIONS[0].opt)
    async def sum_up_session_scores(self, request: HttpRequest) -> Response[bytes]:
        return await _summaries(request, TargetType.SESSION, SESSIONS[0])

    @get("/trace-scores/trend", opt=TRACES[1].opt)
    async def trend_of_trace_scores(self, request: HttpRequest) -> Response[bytes]:
        return await _trend(request, TargetType.TRACE, TRACES[1])

    @get("/session-scores/trend", opt=SESSIONS[1].opt)
    async def trend_of_session_scores(self, request: HttpRequest) -> Response[bytes]:
        return await _trend(request, TargetType.SESSION, SESSIONS[1])

    @get("/trace-scores/distribution", opt=TRACES[2].opt)
    async def distribution_of_trace_scores(self, request: HttpRequest) -> Response[bytes]:
        return await _distribution(request, TargetType.TRACE, TRACES[2])

    @get("/session-scores/distribution", opt=SESSIONS[2].opt)
    async def distribution_of_session_scores(self, request: HttpRequest) -> Response[bytes]:
        return await _distribution(request, TargetType.SESSION, SESSIONS[2])

    @get("/session-scores/history/{session_id:str}", opt=HISTORY.opt)
    async def read_session_history(self, request: HttpRequest) -> Response[bytes]:
        given = await HISTORY.read(request)
        query, session = given.query, given.path.session_id
        found = await edge_of(request).use_cases.evaluation.read_session_history(
            given.caller.project_id, session, query.metric_name, query.limit
        )
        return await answer(request, [SessionScoreHistoryItem.of(row) for row in found])

    @get("/session-scores/comparison", opt=COMPARISON.opt)
    async def compare_sessions(self, request: HttpRequest) -> Response[bytes]:
        given = await COMPARISON.read(request)
        query, project = given.query, given.caller.project_id
        order: SortOrder = query.sort_order
        pages = COMPARED.asked(query, project, query.metric_name, None, order)
        page = await edge_of(request).use_cases.evaluation.compare_sessions(
            project, query.metric_name, order, pages.window
        )
        return await answer(
            request, pages.shown(page, [SessionComparisonItem.of(row) for row in page.items])
        )


async def _summaries(
    request: HttpRequest, of: TargetType, asked: Asked[CreatedQuery]
) -> Response[Any]:
    given = await asked.read(request)
    found = await edge_of(request).use_cases.evaluation.score_summaries(
        given.caller.project_id, of, given.query.within
    )
    return await answer(request, [ScoreSummaryItem.of(row) for row in found])


async def _trend(request: HttpRequest, of: TargetType, asked: Asked[TrendQuery]) -> Response[Any]:
    given = await asked.read(request)
    query = given.query
    found = await edge_of(request).use_cases.evaluation.score_trend(
        given.caller.project_id, of, query.metric_name, query.granularity, query.within
    )
    return await answer(request, [ScoreTrendItem.of(query.metric_name, row) for row in found])


async def _distribution(
    request: HttpRequest, of: TargetType, asked: Asked[DistributionQuery]
) -> Response[Any]:
    given = await asked.read(request)
    query = given.query
    found = await edge_of(request).use_cases.evaluation.score_distribution(
        given.caller.project_id, of, query.metric_name, query.buckets, query.within
    )
    return await answer(request, [ScoreDistributionItem.of(row) for row in found])
