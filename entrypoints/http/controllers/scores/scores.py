"""Scores of traces, of spans and of sessions: creating, listing, changing and deleting them."""

from typing import Annotated, Final

from litestar import Controller

from application.use_cases import UseCases
from domain.errors import NotFound
from domain.evaluation.scores.score import COUNTED_SCORES_MAX, ScoreChange
from domain.identity.caller import Caller
from domain.ids import ScoreId
from domain.page import SortOrder
from entrypoints.http.authentication import (
    CAN_CHANGE_TRACES,
    CAN_EVALUATE,
    CAN_EVALUATE_AND_READ,
    CAN_READ,
)
from entrypoints.http.controllers.scores import examples, schemas
from entrypoints.http.controllers.sessions.sessions import SessionPath
from entrypoints.http.controllers.traces.examples import page_of
from entrypoints.http.controllers.traces.schemas import TracePath
from entrypoints.http.endpoint import delete, get, patch, post
from entrypoints.http.error_responses import ErrorResponse
from entrypoints.http.requests.cursors import ID, INSTANT, PagedList
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.wire_types import PaginatedResponse

TRACE_SCORES: Final = PagedList("trace scores", {None: INSTANT}, ID)
SESSION_SCORES: Final = PagedList("session scores", {None: INSTANT}, ID)
COUNTED: Final = (
    f"If more than {COUNTED_SCORES_MAX:,} match, `total` is a lower bound, which "
    "`total_is_at_least` tells."
)

ChangedScore = Annotated[
    ScoreChange, Body(schemas.UpdateTraceScoreRequest, schemas.UpdateTraceScoreRequest.to_domain)
]


ChangedSessionScore = Annotated[
    ScoreChange,
    Body(schemas.UpdateSessionScoreRequest, schemas.UpdateSessionScoreRequest.to_domain),
]


class TraceScoreController(Controller):
    path = "/evaluations/trace-scores"

    @post(
        "/",
        CAN_CHANGE_TRACES,
        status_code=201,
        example=examples.TRACE_SCORE,
        body_example=examples.GIVEN_TO_TRACE,
        request_id_is_key=True,
    )
    async def record_trace_score(
        self,
        caller: Caller,
        content: schemas.CreateTraceScoreRequest,
        new_id: ScoreId,
        use_cases: UseCases,
    ) -> schemas.TraceScoreResponse:
        """Score a trace or a span.

        Adds a score to a trace or, with `span_id`, to one of its spans. A trace or span may have
        several scores of the same name. 404 if the project has no such trace, or the trace no such
        span; both can be scored as soon as they were accepted.
        """
        score = await use_cases.evaluation.scoring.record_of_trace(
            caller.project_id,
            new_id,
            content.trace_id,
            content.to_domain(caller.user_id),
            environment=content.environment,
            span=content.span_id,
        )
        return schemas.TraceScoreResponse.from_domain(score)

    @get(
        "/",
        CAN_READ,
        description=(
            "A page of the project's scores of traces, the newest first. A score has to match all "
            "filters. Scores of spans are listed only with `span_id` or `of_spans`, and then no "
            f"others are. {COUNTED}"
        ),
        example=page_of(examples.TRACE_SCORE),
    )
    async def list_trace_scores(
        self, caller: Caller, params: schemas.TraceScoreQuery, use_cases: UseCases
    ) -> PaginatedResponse[schemas.TraceScoreResponse]:
        """List scores of traces, or of spans."""
        project, matching = caller.project_id, params.to_domain()
        requested = TRACE_SCORES.parse_page(params, project, matching, None, SortOrder.DESC)
        page = await use_cases.evaluation.trace_scores.page(project, matching, requested.page)
        return requested.respond(page, schemas.TraceScoreResponse.from_domain)

    @get("/{trace_id:str}", CAN_READ, example=[examples.TRACE_SCORE])
    async def latest_trace_scores(
        self,
        caller: Caller,
        path: TracePath,
        params: schemas.LatestScoresQuery,
        use_cases: UseCases,
    ) -> list[schemas.TraceScoreResponse]:
        """Read the latest scores of a trace or a span.

        The newest score of each name, sorted by name, without pending scores. A name that runs and
        others have scored has two: the newest score of a run, then the newest other one. Scores of
        spans aren't among those of the trace: `span_id` selects those of one span. Empty for an
        unknown trace or span. 422 for scores of more than 128 MiB in all: the list has pages.
        """
        scores = await use_cases.evaluation.trace_scores.latest(
            caller.project_id, path.trace_id, params.span_id
        )
        return [schemas.TraceScoreResponse.from_domain(score) for score in scores]

    @patch(
        "/{score_id:str}",
        CAN_EVALUATE,
        example=examples.TRACE_SCORE | {"source": "ANNOTATION"},
        body_example={"value": "0.9", "reason": "thumbs up"},
    )
    async def change_trace_score(
        self, caller: Caller, content: ChangedScore, path: schemas.ScorePath, use_cases: UseCases
    ) -> schemas.TraceScoreResponse | schemas.ChangedScoreResponse:
        """Change a score of a trace or a span.

        Fields that are null or left out stay as they are. If any field is given, the source of the
        score becomes ANNOTATION, and its status SUCCESS once it has a value. The value that a judge
        or program gave is kept in the metadata as `original_value`. What a person wrote is changed
        by that person, or by an OWNER or ADMIN who is signed in; no API key may change it. Each
        change is kept in the score's history and in the audit log. A key without the scope `read`
        gets what it sent, with null or empty values in the other fields.
        """
        score = await use_cases.evaluation.scoring.change_of_trace(caller, path.score_id, content)
        if not caller.may_read:
            return schemas.ChangedScoreResponse.from_change(
                caller.project_id, path.score_id, content
            )
        return schemas.TraceScoreResponse.from_domain(score)

    @post(
        "/{score_id:str}/undo",
        CAN_EVALUATE_AND_READ,
        status_code=200,
        error_types={409: ErrorResponse},
        example=examples.TRACE_SCORE,
    )
    async def undo_trace_score(
        self, caller: Caller, path: schemas.ScorePath, use_cases: UseCases
    ) -> schemas.TraceScoreResponse:
        """Take back the last change of a score.

        The score has the value, source, author, reason and metadata of before its last change: a
        judge's score that a person wrote over is the judge's again. The history keeps both. 409 if
        it was never changed, if there was no value before, or if the change has replaced a reason
        or metadata that are too long for the history. Those may do it who may change it.
        """
        undo = ScoreChange(undo=True)
        score = await use_cases.evaluation.scoring.change_of_trace(caller, path.score_id, undo)
        return schemas.TraceScoreResponse.from_domain(score)

    @delete("/{score_id:str}", CAN_EVALUATE, status_code=204)
    async def delete_trace_score(
        self, caller: Caller, path: schemas.ScorePath, use_cases: UseCases
    ) -> None:
        """Delete a score of a trace or a span.

        Deletes one score. What a person wrote is deleted by that person, or by an OWNER or ADMIN
        who is signed in.
        """
        if not await use_cases.evaluation.scoring.delete_of_trace(caller, path.score_id):
            raise NotFound("Score not found")

    @get("/{score_id:str}/history", CAN_READ, example=[examples.REVISION])
    async def read_trace_score_history(
        self, caller: Caller, path: schemas.ScorePath, use_cases: UseCases
    ) -> list[schemas.ScoreRevisionResponse]:
        """Read the changes of a score of a trace or a span.

        Each change in order: who made it when, and the score before and after it. The first one and
        the newest ones are kept; the audit log has all.
        """
        score = await use_cases.evaluation.trace_scores.get(caller.project_id, path.score_id)
        return schemas.ScoreRevisionResponse.from_score(score)


class SessionScoreController(Controller):
    path = "/evaluations/session-scores"

    @post(
        "/",
        CAN_CHANGE_TRACES,
        status_code=201,
        example=examples.SESSION_SCORE,
        body_example=examples.GIVEN_TO_SESSION,
        request_id_is_key=True,
    )
    async def record_session_score(
        self,
        caller: Caller,
        content: schemas.CreateSessionScoreRequest,
        new_id: ScoreId,
        use_cases: UseCases,
    ) -> schemas.SessionScoreResponse:
        """Score a session.

        Adds a score to a session. A session may have several scores of the same name. 404 if no
        trace of the project has this session.
        """
        score = await use_cases.evaluation.scoring.record_of_session(
            caller.project_id, new_id, content.session_id, content.to_domain(caller.user_id)
        )
        return schemas.SessionScoreResponse.from_domain(score)

    @get(
        "/",
        CAN_READ,
        description=(
            "A page of the project's scores of sessions, the newest first. A score has to match "
            f"all filters. {COUNTED}"
        ),
        example=page_of(examples.SESSION_SCORE),
    )
    async def list_session_scores(
        self, caller: Caller, params: schemas.SessionScoreQuery, use_cases: UseCases
    ) -> PaginatedResponse[schemas.SessionScoreResponse]:
        """List scores of sessions."""
        project, matching = caller.project_id, params.to_domain()
        requested = SESSION_SCORES.parse_page(params, project, matching, None, SortOrder.DESC)
        page = await use_cases.evaluation.session_scores.page(project, matching, requested.page)
        return requested.respond(page, schemas.SessionScoreResponse.from_domain)

    @get("/{session_id:str}", CAN_READ, example=[examples.SESSION_SCORE])
    async def scores_of_session(
        self, caller: Caller, path: SessionPath, use_cases: UseCases
    ) -> list[schemas.SessionScoreResponse]:
        """Read the scores of a session.

        Every score of the session, the newest first. Empty for an unknown session. 422 for scores
        of more than 128 MiB in all: the list has pages.
        """
        scores = await use_cases.evaluation.session_scores.by_session(
            caller.project_id, path.session_id
        )
        return [schemas.SessionScoreResponse.from_domain(score) for score in scores]

    @patch(
        "/{score_id:str}",
        CAN_EVALUATE,
        example=examples.SESSION_SCORE | {"source": "ANNOTATION"},
        body_example={"value": "0.9", "reason": "thumbs up"},
    )
    async def change_session_score(
        self,
        caller: Caller,
        content: ChangedSessionScore,
        path: schemas.ScorePath,
        use_cases: UseCases,
    ) -> schemas.SessionScoreResponse | schemas.ChangedSessionScoreResponse:
        """Change a score of a session.

        The rules are those of scores of traces: fields that are null or left out stay as they are,
        what a judge or program gave is kept as `original_value`, what a person wrote is changed by
        that person, or by an OWNER or ADMIN who is signed in, and each change is kept in the
        score's history and in the audit log. A key without the scope `read` gets what it sent, with
        null or empty values in the other fields.
        """
        score = await use_cases.evaluation.scoring.change_of_session(caller, path.score_id, content)
        if not caller.may_read:
            return schemas.ChangedSessionScoreResponse.from_change(
                caller.project_id, path.score_id, content
            )
        return schemas.SessionScoreResponse.from_domain(score)

    @post(
        "/{score_id:str}/undo",
        CAN_EVALUATE_AND_READ,
        status_code=200,
        error_types={409: ErrorResponse},
        example=examples.SESSION_SCORE,
    )
    async def undo_session_score(
        self, caller: Caller, path: schemas.ScorePath, use_cases: UseCases
    ) -> schemas.SessionScoreResponse:
        """Take back the last change of a score of a session.

        As for scores of traces: the score has the value, source, author, reason and metadata of
        before its last change, and the history keeps both. 409 if it was never changed, if there
        was no value before, or if the change has replaced a reason or metadata that are too long
        for the history. Those may do it who may change it.
        """
        undo = ScoreChange(undo=True)
        score = await use_cases.evaluation.scoring.change_of_session(caller, path.score_id, undo)
        return schemas.SessionScoreResponse.from_domain(score)

    @get("/{score_id:str}/history", CAN_READ, example=[examples.REVISION])
    async def read_session_score_history(
        self, caller: Caller, path: schemas.ScorePath, use_cases: UseCases
    ) -> list[schemas.ScoreRevisionResponse]:
        """Read the changes of a score of a session.

        Each change in order: who made it when, and the score before and after it. The first one and
        the newest ones are kept; the audit log has all.
        """
        score = await use_cases.evaluation.session_scores.get(caller.project_id, path.score_id)
        return schemas.ScoreRevisionResponse.from_score(score)

    @delete("/{score_id:str}", CAN_EVALUATE, status_code=204)
    async def delete_session_score(
        self, caller: Caller, path: schemas.ScorePath, use_cases: UseCases
    ) -> None:
        """Delete a score of a session.

        Deletes one score, if it exists. What a person wrote is deleted by that person, or by an
        OWNER or ADMIN who is signed in.
        """
        await use_cases.evaluation.scoring.delete_of_session(caller, path.score_id)
