"""Scores of sessions: giving, listing and removing them."""

from typing import Annotated, Final
from uuid import UUID

from litestar import Controller, delete, get, post

from application.use_cases import UseCases
from domain.evaluation.runs.run import TargetType
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
from domain.ids import ScoreId
from entrypoints.http.authentication import data_plane
from entrypoints.http.controllers.scores import examples
from entrypoints.http.controllers.scores.list_query import SessionScoreQuery, asked
from entrypoints.http.controllers.scores.schemas import (
    CreateSessionScoreRequest,
    ScorePath,
    SessionScoreResponse,
)
from entrypoints.http.controllers.sessions.sessions import SessionPath
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.idempotency_key import IdempotencyKey
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.wire_types import PaginatedResponse
from entrypoints.http.responses import JsonResponse, respond_once

NewScore = Annotated[
    CreateSessionScoreRequest, Body(CreateSessionScoreRequest, CreateSessionScoreRequest.checked)
]

CREATE: Final = endpoint(
    data_plane(Scope.INGEST),
    summary="Score a session",
    description=(
        "Adds a score to those that a session has, also to those of the same name. 404 where "
        "no trace of the project has this session."
    ),
    example=examples.SESSION_SCORE,
    body_example=examples.GIVEN_TO_SESSION,
)

LIST: Final = endpoint(
    data_plane(Scope.READ),
    summary="List scores of sessions",
    description=(
        "A page of the project's scores of sessions, the newest first. All filters that are "
        "given have to hold."
    ),
    example=examples.page_of(examples.SESSION_SCORE),
)

OF_SESSION: Final = endpoint(
    data_plane(Scope.READ),
    summary="Read the scores of a session",
    description="Every score of the session, the newest first. An unknown session has none.",
    example=[examples.SESSION_SCORE],
)

DELETE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Delete a score of a session",
    description="Removes one score, if it is there.",
)


class SessionScoreController(Controller):
    path = "/evaluations/session-scores"

    @post("/", status_code=201, **CREATE)
    async def record_session_score(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
        content: Injected[NewScore],
        key: Injected[IdempotencyKey | None],
        use_cases: Injected[UseCases],
    ) -> JsonResponse[SessionScoreResponse]:

        async def write(new: UUID) -> SessionScoreResponse:
            score = await use_cases.evaluation.record_session_score(
                caller.project_id,
                ScoreId(new),
                content.session_id,
                content.given_by(caller.user_id),
            )
            return SessionScoreResponse.of(score)

        return await respond_once(request, caller, key, 201, write)

    @get("/", **LIST)
    async def list_session_scores(
        self,
        caller: Injected[Caller],
        params: Injected[SessionScoreQuery],
        use_cases: Injected[UseCases],
    ) -> PaginatedResponse[SessionScoreResponse]:
        query, project = params, caller.project_id
        matching = query.matching(session_id=query.session_id)
        pages = asked(TargetType.SESSION, query, project, matching)
        page = await use_cases.evaluation.list_session_scores(project, matching, pages.window)
        return pages.shown(page, [SessionScoreResponse.of(one) for one in page.items])

    @get("/{session_id:str}", **OF_SESSION)
    async def scores_of_session(
        self,
        caller: Injected[Caller],
        path: Injected[SessionPath],
        use_cases: Injected[UseCases],
    ) -> list[SessionScoreResponse]:
        found = await use_cases.evaluation.scores_of_session(caller.project_id, path.session_id)
        return [SessionScoreResponse.of(one) for one in found]

    @delete("/{score_id:str}", status_code=204, **DELETE)
    async def delete_session_score(
        self,
        caller: Injected[Caller],
        path: Injected[ScorePath],
        use_cases: Injected[UseCases],
    ) -> None:
        await use_cases.evaluation.delete_session_score(caller.project_id, ScoreId(path.score_id))
