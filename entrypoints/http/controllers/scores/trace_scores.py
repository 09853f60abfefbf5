"""Scores of traces: giving, listing, changing and removing them."""

from typing import Annotated, Final
from uuid import UUID

from litestar import Controller, delete, get, patch, post

from application.use_cases import UseCases
from domain.evaluation.runs.run import TargetType
from domain.evaluation.scores.score import ScoreChange
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
from domain.ids import ScoreId, TraceId
from entrypoints.http.authentication import data_plane
from entrypoints.http.controllers.scores import examples
from entrypoints.http.controllers.scores.list_query import TraceScoreQuery, asked
from entrypoints.http.controllers.scores.schemas import (
    CreateTraceScoreRequest,
    ScorePath,
    TraceScoreResponse,
    UpdateTraceScoreRequest,
)
from entrypoints.http.controllers.traces.schemas import TracePath
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.idempotency_key import IdempotencyKey
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.wire_types import PaginatedResponse
from entrypoints.http.responses import JsonResponse, respond_once

NewScore = Annotated[
    CreateTraceScoreRequest, Body(CreateTraceScoreRequest, CreateTraceScoreRequest.checked)
]

CREATE: Final = endpoint(
    data_plane(Scope.INGEST),
    summary="Score a trace",
    description=(
        "Adds a score to those that a trace has, also to those of the same name. 404 where "
        "the project has no such trace; one that was accepted is there at once."
    ),
    example=examples.TRACE_SCORE,
    body_example=examples.GIVEN_TO_TRACE,
)

LIST: Final = endpoint(
    data_plane(Scope.READ),
    summary="List scores of traces",
    description=(
        "A page of the project's scores of traces, the newest first. All filters that are "
        "given have to hold."
    ),
    example=examples.page_of(examples.TRACE_SCORE),
)

LATEST: Final = endpoint(
    data_plane(Scope.READ),
    summary="Read the latest scores of a trace",
    description=(
        "The newest score of each name, by name, without those that are pending. An unknown "
        "trace has none."
    ),
    example=[examples.TRACE_SCORE],
)

ChangedScore = Annotated[
    ScoreChange, Body(UpdateTraceScoreRequest, UpdateTraceScoreRequest.to_domain)
]

CHANGE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Change a score of a trace",
    description=(
        "What is left out or null stays as it is; with nothing given the score does. Else "
        "it counts as annotated from then on, and as a success once it has a value. What "
        "a machine had said is kept as `original_value` in the metadata."
    ),
    example=examples.TRACE_SCORE | {"source": "ANNOTATION"},
    body_example={"value": "0.9", "reason": "thumbs up"},
)

DELETE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Delete a score of a trace",
    description="Removes one score.",
)


class TraceScoreController(Controller):
    path = "/evaluations/trace-scores"

    @post("/", status_code=201, **CREATE)
    async def record_trace_score(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
        content: Injected[NewScore],
        key: Injected[IdempotencyKey | None],
        use_cases: Injected[UseCases],
    ) -> JsonResponse[TraceScoreResponse]:

        async def write(new: UUID) -> TraceScoreResponse:
            score = await use_cases.evaluation.record_trace_score(
                caller.project_id,
                ScoreId(new),
                TraceId(content.trace_id),
                content.given_by(caller.user_id),
                content.environment,
            )
            return TraceScoreResponse.of(score)

        return await respond_once(request, caller, key, 201, write)

    @get("/", **LIST)
    async def list_trace_scores(
        self,
        caller: Injected[Caller],
        params: Injected[TraceScoreQuery],
        use_cases: Injected[UseCases],
    ) -> PaginatedResponse[TraceScoreResponse]:
        query, project = params, caller.project_id
        matching = query.matching(trace_id=query.trace_id, environment=query.environment)
        pages = asked(TargetType.TRACE, query, project, matching)
        page = await use_cases.evaluation.list_trace_scores(project, matching, pages.window)
        return pages.shown(page, [TraceScoreResponse.of(one) for one in page.items])

    @get("/{trace_id:str}", **LATEST)
    async def latest_trace_scores(
        self,
        caller: Injected[Caller],
        path: Injected[TracePath],
        use_cases: Injected[UseCases],
    ) -> list[TraceScoreResponse]:
        found = await use_cases.evaluation.latest_trace_scores(
            caller.project_id, TraceId(path.trace_id)
        )
        return [TraceScoreResponse.of(one) for one in found]

    @patch("/{score_id:str}", **CHANGE)
    async def change_trace_score(
        self,
        caller: Injected[Caller],
        content: Injected[ChangedScore],
        path: Injected[ScorePath],
        use_cases: Injected[UseCases],
    ) -> TraceScoreResponse:
        score = await use_cases.evaluation.change_trace_score(
            caller.project_id,
            ScoreId(path.score_id),
            content,
            caller.user_id,
        )
        return TraceScoreResponse.of(score)

    @delete("/{score_id:str}", status_code=204, **DELETE)
    async def delete_trace_score(
        self,
        caller: Injected[Caller],
        path: Injected[ScorePath],
        use_cases: Injected[UseCases],
    ) -> None:
        await use_cases.evaluation.delete_trace_score(caller.project_id, ScoreId(path.score_id))
