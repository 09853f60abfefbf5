"""Scores of traces: giving, listing, changing and removing them."""

from typing import Final
from uuid import UUID

from litestar import Controller, Response, delete, get, patch, post

from domain.evaluation.runs.run import TargetType
from domain.identity.api_key import Scope
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
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.operation import Documented, answer, answer_once, edge_of, operation
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.wire_types import PaginatedResponse

CREATE: Final = operation(
    data_plane(Scope.INGEST),
    Documented(
        summary="Score a trace",
        description=(
            "Adds a score to those that a trace has, also to those of the same name. 404 where "
            "the project has no such trace; one that was accepted is there at once."
        ),
        answer=TraceScoreResponse,
        example=examples.TRACE_SCORE,
        body_example=examples.GIVEN_TO_TRACE,
        is_once=True,
    ),
).with_body(Body(CreateTraceScoreRequest, CreateTraceScoreRequest.checked))

LIST: Final = operation(
    data_plane(Scope.READ),
    Documented(
        summary="List scores of traces",
        description=(
            "A page of the project's scores of traces, the newest first. All filters that are "
            "given have to hold."
        ),
        answer=PaginatedResponse[TraceScoreResponse],
        example=examples.page_of(examples.TRACE_SCORE),
    ),
).with_query(TraceScoreQuery)

LATEST: Final = operation(
    data_plane(Scope.READ),
    Documented(
        summary="Read the latest scores of a trace",
        description=(
            "The newest score of each name, by name, without those that are pending. An unknown "
            "trace has none."
        ),
        answer=list[TraceScoreResponse],
        example=[examples.TRACE_SCORE],
    ),
).with_path(TracePath)

CHANGE: Final = (
    operation(
        data_plane(Scope.EVALUATE),
        Documented(
            summary="Change a score of a trace",
            description=(
                "What is left out or null stays as it is; with nothing given the score does. Else "
                "it counts as annotated from then on, and as a success once it has a value. What "
                "a machine had said is kept as `original_value` in the metadata."
            ),
            answer=TraceScoreResponse,
            example=examples.TRACE_SCORE | {"source": "ANNOTATION"},
            body_example={"value": "0.9", "reason": "thumbs up"},
        ),
    )
    .with_path(ScorePath)
    .with_body(Body(UpdateTraceScoreRequest, UpdateTraceScoreRequest.to_domain))
)

DELETE: Final = operation(
    data_plane(Scope.EVALUATE),
    Documented(summary="Delete a score of a trace", description="Removes one score.", answer=None),
).with_path(ScorePath)


class TraceScoreController(Controller):
    path = "/evaluations/trace-scores"

    @post("/", status_code=201, opt=CREATE.opt)
    async def record_trace_score(self, request: HttpRequest) -> Response[bytes]:
        given = await CREATE.read(request)
        caller, body = given.caller, given.body

        async def write(new: UUID) -> TraceScoreResponse:
            score = await edge_of(request).use_cases.evaluation.record_trace_score(
                caller.project_id,
                ScoreId(new),
                TraceId(body.trace_id),
                body.given_by(caller.user_id),
                body.environment,
            )
            return TraceScoreResponse.of(score)

        return await answer_once(request, given, 201, write)

    @get("/", opt=LIST.opt)
    async def list_trace_scores(self, request: HttpRequest) -> Response[bytes]:
        given = await LIST.read(request)
        query, project = given.query, given.caller.project_id
        matching = query.matching(trace_id=query.trace_id, environment=query.environment)
        pages = asked(TargetType.TRACE, query, project, matching)
        page = await edge_of(request).use_cases.evaluation.list_trace_scores(
            project, matching, pages.window
        )
        return await answer(
            request, pages.shown(page, [TraceScoreResponse.of(one) for one in page.items])
        )

    @get("/{trace_id:str}", opt=LATEST.opt)
    async def latest_trace_scores(self, request: HttpRequest) -> Response[bytes]:
        given = await LATEST.read(request)
        found = await edge_of(request).use_cases.evaluation.latest_trace_scores(
            given.caller.project_id, TraceId(given.path.trace_id)
        )
        return await answer(request, [TraceScoreResponse.of(one) for one in found])

    @patch("/{score_id:str}", opt=CHANGE.opt)
    async def change_trace_score(self, request: HttpRequest) -> Response[bytes]:
        given = await CHANGE.read(request)
        score = await edge_of(request).use_cases.evaluation.change_trace_score(
            given.caller.project_id,
            ScoreId(given.path.score_id),
            given.body,
            given.caller.user_id,
        )
        return await answer(request, TraceScoreResponse.of(score))

    @delete("/{score_id:str}", status_code=204, opt=DELETE.opt)
    async def delete_trace_score(self, request: HttpRequest) -> None:
        given = await DELETE.read(request)
        await edge_of(request).use_cases.evaluation.delete_trace_score(
            given.caller.project_id, ScoreId(given.path.score_id)
        )
