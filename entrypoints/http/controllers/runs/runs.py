"""Evaluation runs over traces and over sessions: the same endpoints, made once for each."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from litestar import Router, delete, get, post
from litestar.handlers import HTTPRouteHandler

from application.evaluation.execution.estimate_run import SAMPLED_TRACES_MAX, RunTargets
from application.evaluation.runs.requests import RunRequest
from application.evaluation.use_cases import EvaluationUseCases
from application.use_cases import UseCases
from domain.evaluation.runs.run import RunProgress, TargetType
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
from domain.ids import RunId
from domain.page import SortOrder
from entrypoints.http.authentication import data_plane
from entrypoints.http.controllers.costs import examples as cost_examples
from entrypoints.http.controllers.costs.schemas import EvalRunEstimate, JudgeUsage
from entrypoints.http.controllers.runs import examples
from entrypoints.http.controllers.runs.schemas import (
    CreateBatchEvalRunRequest,
    CreateBatchSessionEvalRunRequest,
    CreateEvalRunRequest,
    CreateSessionEvalRunRequest,
    DeleteRunQuery,
    EvalRunResponse,
    RunPath,
    RunQuery,
)
from entrypoints.http.controllers.scores.examples import SESSION_SCORE, TRACE_SCORE, page_of
from entrypoints.http.controllers.scores.schemas import SessionScoreResponse, TraceScoreResponse
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.problems import ErrorResponse
from entrypoints.http.requests.cursors import ID, INSTANT, PagedList
from entrypoints.http.requests.idempotency_key import IdempotencyKey
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.wire_types import PaginatedResponse
from entrypoints.http.responses import JsonResponse, respond_once

type Start = Callable[..., Awaitable[RunProgress]]
"""The use case that starts a run over what a selection matches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKind:
    """What differs between runs over traces and runs over sessions."""

    of: TargetType
    path: str
    route_class: RouteClass
    matching: type[Any]  # the body of a run over what matches
    batch: type[Any]  # the body of a run over given ids
    score: type[TraceScoreResponse | SessionScoreResponse]
    scores: Any  # the type of a list of these
    start: Callable[[EvaluationUseCases], Start]
    scores_of_run: Callable[[EvaluationUseCases], Callable[..., Awaitable[Sequence[Any]]]]
    what_it_evaluates: str
    what_scores_it_lists: str
    example: dict[str, Any]
    matching_example: dict[str, Any]
    batch_example: dict[str, Any]
    score_example: dict[str, Any]

    @property
    def name(self) -> str:
        return self.of.lower()


TRACE_RUNS: Final = RunKind(
    of=TargetType.TRACE,
    path="/evaluations/trace-runs",
    route_class=RouteClass.TRACE_RUNS,
    matching=CreateEvalRunRequest,
    batch=CreateBatchEvalRunRequest,
    score=TraceScoreResponse,
    scores=list[TraceScoreResponse],
    start=lambda do: do.start_trace_run,
    scores_of_run=lambda do: do.trace_scores_of_run,
    what_it_evaluates=(
        "Evaluates the traces that match, or a share of them: the same traces for the same "
        "share. 422 where nothing matches."
    ),
    what_scores_it_lists=(
        "Every score of traces that the run has made, the newest first, those that are "
        "pending and a session run's signals included. An unknown run has none."
    ),
    example=examples.TRACE_RUN,
    matching_example=examples.TRACE_ORDER,
    batch_example=examples.TRACE_BATCH,
    score_example=TRACE_SCORE,
)

SESSION_RUNS: Final = RunKind(
    of=TargetType.SESSION,
    path="/evaluations/session-runs",
    route_class=RouteClass.SESSION_RUNS,
    matching=CreateSessionEvalRunRequest,
    batch=CreateBatchSessionEvalRunRequest,
    score=SessionScoreResponse,
    scores=list[SessionScoreResponse],
    start=lambda do: do.start_session_run,
    scores_of_run=lambda do: do.session_scores_of_run,
    what_it_evaluates=(
        "Evaluates the sessions that match, or a share of them, each as a whole. Filters "
        "select traces, and every session with one of these is looked at. 422 where nothing "
        "matches."
    ),
    what_scores_it_lists=(
        "Every score of sessions that the run has made, the newest first, those that are "
        "pending included. An unknown run has none."
    ),
    example=examples.SESSION_RUN,
    matching_example=examples.SESSION_ORDER,
    batch_example=examples.SESSION_BATCH,
    score_example=SESSION_SCORE,
)


def run_router(kind: RunKind) -> Router:
    return Router(
        kind.path,
        route_handlers=[*_start(kind), *_estimate(kind), *_act_on_run(kind), *_read(kind)],
    )


def _start(kind: RunKind) -> list[HTTPRouteHandler]:
    stored = (
        " Each metric counts once. The run is stored when it is answered, and can't be lost any "
        "more."
    )
    matching = endpoint(
        data_plane(Scope.EVALUATE),
        summary=f"Start a run over {kind.name}s",
        description=kind.what_it_evaluates + stored,
        example=kind.example,
        body_example=kind.matching_example,
        body=Body(kind.matching, kind.matching.to_domain),
        route_class=kind.route_class,
    )
    batch = endpoint(
        data_plane(Scope.EVALUATE),
        summary=f"Start a run over {kind.name}s by their ids",
        description=(
            f"Evaluates the {kind.name}s that are named; one that isn't there counts as failed."
            + stored
        ),
        example=kind.example,
        body_example=kind.batch_example,
        body=Body(kind.batch, kind.batch.to_domain),
        route_class=kind.route_class,
    )

    @post("/", status_code=202, operation_id=f"start_{kind.name}_run", **matching)
    async def start_run(
        request: HttpRequest,
        caller: Injected[Caller],
        content: Injected[tuple[RunRequest, Any]],
        key: Injected[IdempotencyKey | None],
        use_cases: Injected[UseCases],
    ) -> JsonResponse[EvalRunResponse]:
        order, selection = content
        start = kind.start(use_cases.evaluation)
        return await _respond_once(
            request, caller, key, lambda new: start(caller.project_id, new, order, selection)
        )

    @post("/batch", status_code=202, operation_id=f"start_{kind.name}_batch", **batch)
    async def start_batch(
        request: HttpRequest,
        caller: Injected[Caller],
        content: Injected[tuple[RunRequest, list[str]]],
        key: Injected[IdempotencyKey | None],
        use_cases: Injected[UseCases],
    ) -> JsonResponse[EvalRunResponse]:
        order, ids = content
        start = use_cases.evaluation.start_batch
        return await _respond_once(
            request, caller, key, lambda new: start(caller.project_id, new, kind.of, order, ids)
        )

    return [start_run, start_batch]


def _estimate(kind: RunKind) -> list[HTTPRouteHandler]:
    def documented(by_ids: str, wire: type[Any], body_example: dict[str, Any]) -> dict[str, Any]:
        return endpoint(
            data_plane(Scope.EVALUATE),
            summary=f"Estimate a run over {kind.name}s{by_ids}",
            description=(
                "What the run of this body would take: questions, tokens, and USD, each at least "
                f"and at most. At most {SAMPLED_TRACES_MAX} of its traces are looked into. Nothing "
                "is stored, and no model is asked."
            ),
            example=cost_examples.ESTIMATE,
            body_example=body_example,
            body=Body(wire, wire.to_domain),
            route_class=kind.route_class,
        )

    async def estimate(
        caller: Injected[Caller],
        content: Injected[tuple[RunRequest, RunTargets]],
        use_cases: Injected[UseCases],
    ) -> EvalRunEstimate:
        order, targets = content
        found = await use_cases.evaluation.estimate_run(caller.project_id, kind.of, order, targets)
        return EvalRunEstimate.of(found)

    matching = documented("", kind.matching, kind.matching_example)
    batch = documented(" by their ids", kind.batch, kind.batch_example)
    run_id, batch_id = f"estimate_{kind.name}_run", f"estimate_{kind.name}_batch"
    return [
        post("/estimate", status_code=200, operation_id=run_id, **matching)(estimate),
        post("/batch/estimate", status_code=200, operation_id=batch_id, **batch)(estimate),
    ]


def _act_on_run(kind: RunKind) -> list[HTTPRouteHandler]:
    cancelled = {"status": "CANCELLED", "completed_at": "2026-03-02T01:00:05+00:00"}
    retrying = endpoint(
        data_plane(Scope.EVALUATE),
        summary="Retry a run",
        description=(
            "A new run over exactly what failed in another, with its model; what was skipped "
            "isn't tried again. 422 where nothing failed. The other run stays as it is."
        ),
        example=kind.example | {"name": "Retry: nightly"},
        route_class=kind.route_class,
    )
    cancelling = endpoint(
        data_plane(Scope.EVALUATE),
        summary="Cancel a run",
        description=(
            "Nothing more of it begins; what was measured stays, and the rest is skipped. "
            "409 where the run has ended otherwise."
        ),
        example=kind.example | cancelled,
        answers={409: ErrorResponse},
    )
    deleting = endpoint(
        data_plane(Scope.EVALUATE),
        summary="Delete a run",
        description=(
            "Removes a run of either type in whatever state; one that is under way is "
            "cancelled first. Its scores stay, of no run then, unless `delete_scores` is set."
        ),
    )

    @post("/{run_id:str}/retry", status_code=202, operation_id=f"retry_{kind.name}_run", **retrying)
    async def retry_run(
        request: HttpRequest,
        caller: Injected[Caller],
        path: Injected[RunPath],
        key: Injected[IdempotencyKey | None],
        use_cases: Injected[UseCases],
    ) -> JsonResponse[EvalRunResponse]:
        retry, run = use_cases.evaluation.retry_run, RunId(path.run_id)
        return await _respond_once(
            request, caller, key, lambda new: retry(caller.project_id, run, new)
        )

    cancel_id = f"cancel_{kind.name}_run"

    @post("/{run_id:str}/cancel", status_code=202, operation_id=cancel_id, **cancelling)
    async def cancel_run(
        caller: Injected[Caller], path: Injected[RunPath], use_cases: Injected[UseCases]
    ) -> EvalRunResponse:
        run = await use_cases.evaluation.cancel_run(caller.project_id, RunId(path.run_id))
        return EvalRunResponse.of(run)

    @delete("/{run_id:str}", operation_id=f"delete_{kind.name}_run", status_code=204, **deleting)
    async def delete_run(
        caller: Injected[Caller],
        path: Injected[RunPath],
        params: Injected[DeleteRunQuery],
        use_cases: Injected[UseCases],
    ) -> None:
        await use_cases.evaluation.delete_run(
            caller.project_id, RunId(path.run_id), with_scores=params.delete_scores
        )

    return [retry_run, cancel_run, delete_run]


def _read(kind: RunKind) -> list[HTTPRouteHandler]:
    pages = PagedList(f"{kind.name} runs", {None: INSTANT}, ID)
    listing = endpoint(
        data_plane(Scope.READ),
        summary=f"List runs over {kind.name}s",
        description="A page of the project's runs of this type, the newest first.",
        example=page_of(kind.example),
    )
    reading = endpoint(
        data_plane(Scope.READ),
        summary="Read a run",
        description="A run of either type, and how far it has got.",
        example=kind.example,
    )

    @get("/", operation_id=f"list_{kind.name}_runs", **listing)
    async def list_runs(
        caller: Injected[Caller], params: Injected[RunQuery], use_cases: Injected[UseCases]
    ) -> PaginatedResponse[EvalRunResponse]:
        project, status = caller.project_id, params.status
        asked = pages.asked(params, project, status, None, SortOrder.DESC)
        found = await use_cases.evaluation.list_runs(project, kind.of, status, asked.window)
        return asked.shown(found, [EvalRunResponse.of(run) for run in found.items])

    @get("/{run_id:str}", operation_id=f"read_{kind.name}_run", **reading)
    async def read_run(
        caller: Injected[Caller], path: Injected[RunPath], use_cases: Injected[UseCases]
    ) -> EvalRunResponse:
        run = await use_cases.evaluation.read_run(caller.project_id, RunId(path.run_id))
        return EvalRunResponse.of(run)

    return [list_runs, read_run, *_read_results(kind)]


def _read_results(kind: RunKind) -> list[HTTPRouteHandler]:
    using = endpoint(
        data_plane(Scope.READ),
        summary="Read what a run took",
        description=(
            "The requests that providers were sent for a run of either type so far, and what "
            "they cost. What was answered from memory took none."
        ),
        example=cost_examples.USAGE,
    )
    scores = endpoint(
        data_plane(Scope.READ),
        summary=f"Read the {kind.name} scores of a run",
        description=kind.what_scores_it_lists,
        example=[kind.score_example],
        answer=kind.scores,
    )

    @get("/{run_id:str}/usage", operation_id=f"usage_of_{kind.name}_run", **using)
    async def read_usage(
        caller: Injected[Caller], path: Injected[RunPath], use_cases: Injected[UseCases]
    ) -> JudgeUsage:
        project, run = caller.project_id, RunId(path.run_id)
        return JudgeUsage.of(await use_cases.evaluation.read_run_usage(project, run))

    @get("/{run_id:str}/scores", operation_id=f"{kind.name}_scores_of_run", **scores)
    async def read_scores(
        caller: Injected[Caller], path: Injected[RunPath], use_cases: Injected[UseCases]
    ) -> list[Any]:
        list_scores = kind.scores_of_run(use_cases.evaluation)
        found = await list_scores(caller.project_id, RunId(path.run_id))
        return [kind.score.of(score) for score in found]

    return [read_usage, read_scores]


async def _respond_once(
    request: HttpRequest,
    caller: Caller,
    key: IdempotencyKey | None,
    start: Callable[[RunId], Awaitable[RunProgress]],
) -> JsonResponse[EvalRunResponse]:
    """The run that `start` makes of an id, or the response that the first request had."""

    async def write(new: UUID) -> EvalRunResponse:
        return EvalRunResponse.of(await start(RunId(new)))

    return await respond_once(request, caller, key, 202, write)
