"""Scores of sessions: creating, listing and deleting them."""

from typing import Annotated
from uuid import UUID

from litestar import Controller, delete, get, post

from application.use_cases import UseCases
from domain.evaluation.runs.run import TargetType
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
from domain.ids import ScoreId
from domain.page import SortOrder
from entrypoints.http.authentication import data_plane
from entrypoints.http.controllers.scores import examples
from entrypoints.http.controllers.scores.schemas import (
    SCORES,
    CreateSessionScoreRequest,
    ScorePath,
    SessionScoreQuery,
    SessionScoreResponse,
)
from entrypoints.http.controllers.sessions.sessions import SessionPath
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.idempotency_key import IdempotencyKey
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.wire_types import PaginatedResponse
from entrypoints.http.responses import JsonResponse, respond_idempotently

NewScore = Annotated[
    CreateSessionScoreRequest,
    Body(CreateSessionScoreRequest, CreateSessionScoreRequest.with_checked_metadata),
]


class SessionScoreController(Controller):
    path = "/evaluations/session-scores"

    @post(
        "/",
        status_code=201,
        **endpoint(
            data_plane(Scope.INGEST),
            example=examples.SESSION_SCORE,
            body_example=examples.GIVEN_TO_SESSION,
        ),
    )
    async def record_session_score(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
        content: Injected[NewScore],
        key: Injected[IdempotencyKey | None],
        use_cases: Injected[UseCases],
    ) -> JsonResponse[SessionScoreResponse]:
        """Score a session.

        Adds a score to a session. A session may have several scores of the same name. 404 if no
        trace of the project has this session.
        """

        async def write(id_: UUID) -> SessionScoreResponse:
            score = await use_cases.evaluation.record_session_score(
                caller.project_id,
                ScoreId(id_),
                content.session_id,
                content.to_domain(caller.user_id),
            )
            return SessionScoreResponse.from_domain(score)

        return await respond_idempotently(request, caller, key, 201, write)

    @get("/", **endpoint(data_plane(Scope.READ), example=examples.page_of(examples.SESSION_SCORE)))
    async def list_session_scores(
        self,
        caller: Injected[Caller],
        params: Injected[SessionScoreQuery],
        use_cases: Injected[UseCases],
    ) -> PaginatedResponse[SessionScoreResponse]:
        """List scores of sessions.

        A page of the project's scores of sessions, the newest first. A score has to match all
        filters.
        """
        project = caller.project_id
        matching = params.to_domain(session_id=params.session_id)
        requested = SCORES[TargetType.SESSION].parse_page(
            params, project, matching, None, SortOrder.DESC
        )
        page = await use_cases.evaluation.list_session_scores(project, matching, requested.page)
        scores = [SessionScoreResponse.from_domain(score) for score in page.items]
        return requested.respond(page, scores)

    @get("/{session_id:str}", **endpoint(data_plane(Scope.READ), example=[examples.SESSION_SCORE]))
    async def scores_of_session(
        self, caller: Injected[Caller], path: Injected[SessionPath], use_cases: Injected[UseCases]
    ) -> list[SessionScoreResponse]:
        """Read the scores of a session.

        Every score of the session, the newest first. Empty for an unknown session.
        """
        scores = await use_cases.evaluation.scores_of_session(caller.project_id, path.session_id)
        return [SessionScoreResponse.from_domain(score) for score in scores]

    @delete("/{score_id:str}", status_code=204, **endpoint(data_plane(Scope.EVALUATE)))
    async def delete_session_score(
        self, caller: Injected[Caller], path: Injected[ScorePath], use_cases: Injected[UseCases]
    ) -> None:
        """Delete a score of a session.

        Deletes one score, if it exists.
        """
        await use_cases.evaluation.delete_session_score(caller.project_id, ScoreId(path.score_id))
