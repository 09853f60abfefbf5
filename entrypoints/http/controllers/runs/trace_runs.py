"""Runs over traces: starting them, and what became of them."""

from typing import Final

from litestar import Controller, Response, delete, get, post

from domain.evaluation.runs.run import TargetType
from domain.identity.api_key import Scope
from domain.ids import RunId
from entrypoints.http.authentication import data_plane
from entrypoints.http.controllers.runs import examples, shared
from entrypoints.http.controllers.runs.schemas import (
    CreateBatchEvalRunRequest,
    CreateEvalRunRequest,
    RunPath,
)
from entrypoints.http.controllers.scores.examples import TRACE_SCORE
from entrypoints.http.controllers.scores.schemas import TraceScoreResponse
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.operation import Documented, answer, operation
from entrypoints.http.requests.json_body import Body

OF: Final = TargetType.TRACE

START: Final = operation(
    data_plane(Scope.EVALUATE),
    shared.started(
        OF,
        "Start a run over traces",
        (
            "Evaluates the traces that match, or a share of them: the same traces for the same "
            "share. 422 where nothing matches."
        ),
        examples.TRACE_ORDER,
    ),
).with_body(Body(CreateEvalRunRequest, CreateEvalRunRequest.to_domain))

START_BATCH: Final = operation(
    data_plane(Scope.EVALUATE),
    shared.started(
        OF,
        "Start a run over traces by their ids",
        "Evaluates the traces that are named; one that isn't there counts as failed.",
        examples.TRACE_BATCH,
    ),
).with_body(Body(CreateBatchEvalRunRequest, CreateBatchEvalRunRequest.to_domain))

ESTIMATE: Final = operation(
    data_plane(Scope.EVALUATE),
    shared.estimating(OF, "Estimate a run over traces", examples.TRACE_ORDER),
).with_body(Body(CreateEvalRunRequest, CreateEvalRunRequest.to_domain))

ESTIMATE_BATCH: Final = operation(
    data_plane(Scope.EVALUATE),
    shared.estimating(OF, "Estimate a run over traces by their ids", examples.TRACE_BATCH),
).with_body(Body(CreateBatchEvalRunRequest, CreateBatchEvalRunRequest.to_domain))

SCORES: Final = operation(
    data_plane(Scope.READ),
    Documented(
        summary="Read the trace scores of a run",
        description=(
            "Every score of traces that the run has made, the newest first, those that are "
            "pending and a session run's signals included. An unknown run has none."
        ),
        answer=list[TraceScoreResponse],
        example=[TRACE_SCORE],
    ),
).with_path(RunPath)

LIST: Final = shared.listing(OF)
READ: Final = shared.reading(OF)
RETRY: Final = shared.retrying(OF)
CANCEL: Final = shared.cancelling(OF)
USAGE: Final = shared.using()


class TraceRunController(Controller):
    path = "/evaluations/trace-runs"

    @post("/", status_code=202, opt=START.opt)
    async def start_trace_run(self, request: HttpRequest) -> Response[bytes]:
        given = await START.read(request)
        project, (order, selection) = given.caller.project_id, given.body
        start = shared.use_cases(request).start_trace_run
        return await shared.shown_once(
            request, given, lambda new: start(project, new, order, selection)
        )

    @post("/batch", status_code=202, opt=START_BATCH.opt)
    async def start_trace_batch(self, request: HttpRequest) -> Response[bytes]:
        given = await START_BATCH.read(request)
        project, (order, ids) = given.caller.project_id, given.body
        start = shared.use_cases(request).start_batch
        return await shared.shown_once(
            request, given, lambda new: start(project, new, OF, order, ids)
        )

    @post("/estimate", status_code=200, opt=ESTIMATE.opt)
    async def estimate_trace_run(self, request: HttpRequest) -> Response[bytes]:
        given = await ESTIMATE.read(request)
        return await shared.estimate(request, given.caller, OF, *given.body)

    @post("/batch/estimate", status_code=200, opt=ESTIMATE_BATCH.opt)
    async def estimate_trace_batch(self, request: HttpRequest) -> Response[bytes]:
        given = await ESTIMATE_BATCH.read(request)
        return await shared.estimate(request, given.caller, OF, *given.body)

    @get("/", opt=LIST.opt)
    async def list_trace_runs(self, request: HttpRequest) -> Response[bytes]:
        return await shared.page(request, LIST, OF)

    @get("/{run_id:str}", opt=READ.opt)
    async def read_trace_run(self, request: HttpRequest) -> Response[bytes]:
        return await shared.read(request, READ)

    @delete("/{run_id:str}", status_code=204, opt=shared.DELETE.opt)
    async def delete_trace_run(self, request: HttpRequest) -> None:
        await shared.delete(request)

    @post("/{run_id:str}/retry", status_code=202, opt=RETRY.opt)
    async def retry_trace_run(self, request: HttpRequest) -> Response[bytes]:
        return await shared.retry(request, RETRY)

    @post("/{run_id:str}/cancel", status_code=202, opt=CANCEL.opt)
    async def cancel_trace_run(self, request: HttpRequest) -> Response[bytes]:
        return await shared.cancel(request, CANCEL)

    @get("/{run_id:str}/usage", opt=USAGE.opt)
    async def usage_of_trace_run(self, request: HttpRequest) -> Response[bytes]:
        return await shared.usage(request, USAGE)

    @get("/{run_id:str}/scores", opt=SCORES.opt)
    async def trace_scores_of_run(self, request: HttpRequest) -> Response[bytes]:
        given = await SCORES.read(request)
        found = await shared.use_cases(request).trace_scores_of_run(
            given.caller.project_id, RunId(given.path.run_id)
        )
        return await answer(request, [TraceScoreResponse.of(one) for one in found])
