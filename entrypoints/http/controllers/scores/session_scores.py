"""Scores of sessions: giving, listing and removing them."""

from typing import Final
from uuid import UUID

from litestar import Controller, Response, delete, get, post

from domain.evaluation.runs.run import TargetType
from domain.identity.api_key import Scope
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
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.operation import Documented, answer, answer_once, edge_of, operation
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.wire_types import PaginatedResponse

CREATE: Final = operation(
    data_plane(Scope.INGEST),
    Documented(
        summary="Score a session",
        description=(
            "Adds a score to those that a session has, also to those of the same name. 404 where "
            "no trace of the project has this session."
        ),
        answer=SessionScoreResponse,
        example=examples.SESSION_SCORE,
        body_example=examples.GIVEN_TO_SESSION,
        is_once=True,
    ),
).with_body(Body(CreateSessionScoreRequest, CreateSessionScoreRequest.checked))

LIST: Final = operation(
    data_plane(Scope.READ),
    Documented(
        summary="List scores of sessions",
        description=(
            "A page of the project's scores of sessions, the newest first. All filters that are "
            "given have to hold."
        ),
        answer=PaginatedResponse[SessionScoreResponse],
        example=examples.page_of(examples.SESSION_SCORE),
    ),
).with_query(SessionScoreQuery)

OF_SESSION: Final = operation(
    data_plane(Scope.READ),
    Documented(
        summary="Read the scores of a session",
        description="Every score of the session, the newest first. An unknown session has none.",
        answer=list[SessionScoreResponse],
        example=[examples.SESSION_SCORE],
    ),
).with_path(SessionPath)

DELETE: Final = operation(
    data_plane(Scope.EVALUATE),
    Documented(
        summary="Delete a score of a session",
        description="Removes one score, if it is there.",
        answer=None,
    ),
).with_path(ScorePath)


class SessionScoreController(Controller):
    path = "/evaluations/session-scores"

    @post("/", status_code=201, opt=CREATE.opt)
    async def record_session_score(self, request: HttpRequest) -> Response[bytes]:
        given = await CREATE.read(request)
        caller, body = given.caller, given.body

        async def write(new: UUID) -> SessionScoreResponse:
            score = await edge_of(request).use_cases.evaluation.record_session_score(
                caller.project_id, ScoreId(new), body.session_id, body.given_by(caller.user_id)
            )
            return SessionScoreResponse.of(score)

        return await answer_once(request, given, 201, write)

    @get("/", opt=LIST.opt)
    async def list_session_scores(self, request: HttpRequest) -> Response[bytes]:
        given = await LIST.read(request)
        query, project = given.query, given.caller.project_id
        matching = query.matching(session_id=query.session_id)
        pages = asked(TargetType.SESSION, query, project, matching)
        page = await edge_of(request).use_cases.evaluation.list_session_scores(
            project, matching, pages.window
        )
        return await answer(
            request, pages.shown(page, [SessionScoreResponse.of(one) for one in page.items])
        )

    @get("/{session_id:str}", opt=OF_SESSION.opt)
    async def scores_of_session(self, request: HttpRequest) -> Response[bytes]:
        given = await OF_SESSION.read(request)
        found = await edge_of(request).use_cases.evaluation.scores_of_session(
            given.caller.project_id, given.path.session_id
        )
        return await answer(request, [SessionScoreResponse.of(one) for one in found])

    @delete("/{score_id:str}", status_code=204, opt=DELETE.opt)
    async def delete_session_score(self, request: HttpRequest) -> None:
        given = await DELETE.read(request)
        await edge_of(request).use_cases.evaluation.delete_session_score(
            given.caller.project_id, ScoreId(given.path.score_id)
        )
