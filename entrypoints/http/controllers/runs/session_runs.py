"""Runs over sessions: starting them, and what became of them."""

from typing import Final

from litestar import Controller, Response, delete, get, post

from domain.evaluation.runs.run import TargetType
from domain.identity.api_key import Scope
from domain.ids import RunId
from entrypoints.http.authentication import data_plane
from entrypoints.http.controllers.runs import examples, shared
from entrypoints.http.controllers.runs.schemas import (
    CreateBatchSessionEvalRunRequest,
    CreateSessionEvalRunRequest,
    RunPath,
)
from entrypoints.http.controllers.scores.examples import SESSION_SCORE
from entrypoints.http.controllers.scores.schemas import SessionScoreResponse
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.operation import Documented, answer, operation
from entrypoints.http.requests.json_body import Body

OF: Final = TargetType.SESSION

START: Final = operation(
    data_plane(Scope.EVALUATE),
    shared.started(
        OF,
        "Start a run over sessions",
        (
            "Evaluates the sessions that match, or a share of them, each as a whole. Filters "
            "select traces, and every session with one of these is looked at. 422 where nothing "
            "matches."
        ),
        examples.SESSION_ORDER,
    ),
).with_body(Body(CreateSessionEvalRunRequest, CreateSessionEvalRunRequest.to_domain))

START_BATCH: Final = operation(
    data_plane(Scope.EVALUATE),
    shared.started(
        OF,
        "Start a run over sessions by their ids",
        "Evaluates the sessions that are named; one that isn't there counts as failed.",
        examples.SESSION_BATCH,
    ),
).with_body(Body(CreateBatchSessionEvalRunRequest, CreateBatchSessionEvalRunRequest.to_domain))

ESTIMATE: Final = operation(
    data_plane(Scope.EVALUATE),
    shared.estimating(OF, "Estimate a run over sessions", examples.SESSION_ORDER),
).with_body(Body(CreateSessionEvalRunRequest, CreateSessionEvalRunRequest.to_domain))

ESTIMATE_BATCH: Final = operation(
    data_plane(Scope.EVALUATE),
    shared.estimating(OF, "Estimate a run over sessions by their ids", examples.SESSION_BATCH),
).with_body(Body(CreateBatchSessionEvalRunRequest, CreateBatchSessionEvalRunRequest.to_domain))

SCORES: Final = operation(
    data_plane(Scope.READ),
    Documented(
        summary="Read the session scores of a run",
        description=(
            "Every score of sessions that the run has made, the newest first, those that are "
            "pending included. An unknown run has none."
        ),
        answer=list[SessionScoreResponse],
        example=[SESSION_SCORE],
    ),
).with_path(RunPath)

LIST: Final = shared.listing(OF)
READ: Final = shared.reading(OF)
RETRY: Final = shared.retrying(OF)
CANCEL: Final = shared.cancelling(OF)
USAGE: Final = shared.using()


class SessionRunController(Controller):
    path = "/evaluations/session-runs"

    @post("/", status_code=202, opt=START.opt)
    async def start_session_run(self, request: HttpRequest) -> Response[bytes]:
        given = await START.read(request)
        project, (order, selection) = given.caller.project_id, given.body
        start = shared.use_cases(request).start_session_run
        return await shared.shown_once(
            request, given, lambda new: start(project, new, order, selection)
        )

    @post("/batch", status_code=202, opt=START_BATCH.opt)
    async def start_session_batch(self, request: HttpRequest) -> Response[bytes]:
        given = await START_BATCH.read(request)
        project, (order, ids) = given.caller.project_id, given.body
        start = shared.use_cases(request).start_batch
        return await shared.shown_once(
            request, given, lambda new: start(project, new, OF, order, ids)
        )

    @post("/estimate", status_code=200, opt=ESTIMATE.opt)
    async def estimate_session_run(self, request: HttpRequest) -> Response[bytes]:
        given = await ESTIMATE.read(request)
        return await shared.estimate(request, given.caller, OF, *given.body)

    @post("/batch/estimate", status_code=200, opt=ESTIMATE_BATCH.opt)
    async def estimate_session_batch(self, request: HttpRequest) -> Response[bytes]:
        given = await ESTIMATE_BATCH.read(request)
        return await shared.estimate(request, given.caller, OF, *given.body)

    @get("/", opt=LIST.opt)
    async def list_session_runs(self, request: HttpRequest) -> Response[bytes]:
        return await shared.page(request, LIST, OF)

    @get("/{run_id:str}", opt=READ.opt)
    async def read_session_run(self, request: HttpRequest) -> Response[bytes]:
        return await shared.read(request, READ)

    @delete("/{run_id:str}", status_code=204, opt=shared.DELETE.opt)
    async def delete_session_run(self, request: HttpRequest) -> None:
        await shared.delete(request)

    @post("/{run_id:str}/retry", status_code=202, opt=RETRY.opt)
    async def retry_session_run(self, request: HttpRequest) -> Response[bytes]:
        return await shared.retry(request, RETRY)

    @post("/{run_id:str}/cancel", status_code=202, opt=CANCEL.opt)
    async def cancel_session_run(self, request: HttpRequest) -> Response[bytes]:
        return await shared.cancel(request, CANCEL)

    @get("/{run_id:str}/usage", opt=USAGE.opt)
    async def usage_of_session_run(self, request: HttpRequest) -> Response[bytes]:
        return await shared.usage(request, USAGE)

    @get("/{run_id:str}/scores", opt=SCORES.opt)
    async def session_scores_of_run(self, request: HttpRequest) -> Response[bytes]:
        given = await SCORES.read(request)
        found = await shared.use_cases(request).session_scores_of_run(
            given.caller.project_id, RunId(given.path.run_id)
        )
        return await answer(request, [SessionScoreResponse.of(one) for one in found])
