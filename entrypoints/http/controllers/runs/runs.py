"""Evaluation runs over traces and over sessions: the same endpoints, built for each of them."""

from collections.abc import Callable
from dataclasses import dataclass
from types import GenericAlias
from typing import Any, Final, cast

import msgspec
from litestar import Router
from litestar.handlers import HTTPRouteHandler

from application.evaluation.execution.estimate_run import SAMPLED_TRACES_MAX, RunTargets
from application.evaluation.ports.scores import SessionScores, TraceScores
from application.evaluation.runs.run_rules import RunRequest
from application.evaluation.use_cases import EvaluationUseCases
from application.use_cases import UseCases
from domain.evaluation.runs.run import TARGETS_MAX, RunProgress, TargetType
from domain.evaluation.runs.selection import Eligibility
from domain.evaluation.scores.score import ScoreFilter
from domain.identity.audit import AuditAction
from domain.identity.caller import Caller
from domain.ids import RunId
from domain.page import Page, SortOrder
from entrypoints.http.authentication import CAN_EVALUATE, CAN_READ
from entrypoints.http.controllers.costs import examples as cost_examples
from entrypoints.http.controllers.costs.schemas import EvalRunEstimate, JudgeUsage
from entrypoints.http.controllers.runs import examples, schemas
from entrypoints.http.controllers.scores.examples import SESSION_SCORE, TRACE_SCORE
from entrypoints.http.controllers.scores.schemas import SessionScoreResponse, TraceScoreResponse
from entrypoints.http.controllers.traces.examples import page_of
from entrypoints.http.endpoint import delete, get, post
from entrypoints.http.error_responses import ErrorResponse
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.middleware.response_headers import add_response_header
from entrypoints.http.requests.cursors import ID, INSTANT, PagedList
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.wire_types import PaginatedResponse

_PAGED: Final = (
    "With a `limit` it is a page; the header `X-Next-Cursor` has the `cursor` of the next one, and "
    "is absent on the last. Without it, 422 for scores of more than 128 MiB in all."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKind:
    """The differences between runs over traces and runs over sessions."""

    target_type: TargetType
    route_class: RouteClass
    matching: type[Any]  # the body of a run over the matches of filters
    batch: type[Any]  # the body of a run over given ids
    score: type[TraceScoreResponse | SessionScoreResponse]
    scores: Callable[[EvaluationUseCases], TraceScores | SessionScores]
    start_description: str
    scores_description: str
    example: dict[str, Any]
    matching_example: dict[str, Any]
    batch_example: dict[str, Any]
    count: type[Any]  # the body that asks how many targets match filters
    count_example: dict[str, Any]
    summary_example: dict[str, Any]
    score_example: dict[str, Any]

    @property
    def name(self) -> str:
        return self.target_type.lower()


TRACE_RUNS: Final = RunKind(
    target_type=TargetType.TRACE,
    route_class=RouteClass.TRACE_RUNS,
    matching=schemas.CreateEvalRunRequest,
    batch=schemas.CreateBatchEvalRunRequest,
    score=TraceScoreResponse,
    scores=lambda use_cases: use_cases.trace_scores,
    start_description=(
        "Evaluates the matching traces, or a share of them; the same share always selects the same "
        "traces. 422 if no trace matches."
    ),
    scores_description=(
        "Every trace score of the run, the newest first. Pending scores are included, and the "
        "signals of a session run. Empty for an unknown run. " + _PAGED
    ),
    example=examples.TRACE_RUN,
    matching_example=examples.TRACE_REQUEST,
    batch_example=examples.TRACE_BATCH,
    count=schemas.CountTracesRequest,
    count_example=examples.TRACE_COUNT,
    summary_example=examples.TRACE_SUMMARY,
    score_example=TRACE_SCORE,
)

SESSION_RUNS: Final = RunKind(
    target_type=TargetType.SESSION,
    route_class=RouteClass.SESSION_RUNS,
    matching=schemas.CreateSessionEvalRunRequest,
    batch=schemas.CreateBatchSessionEvalRunRequest,
    score=SessionScoreResponse,
    scores=lambda use_cases: use_cases.session_scores,
    start_description=(
        "Evaluates the matching sessions, or a share of them, each as a whole. Filters select "
        "traces; the sessions of these traces match. 422 if no session matches."
    ),
    scores_description=(
        "Every session score of the run, the newest first, pending scores included. Empty for an "
        "unknown run. " + _PAGED
    ),
    example=examples.SESSION_RUN,
    matching_example=examples.SESSION_REQUEST,
    batch_example=examples.SESSION_BATCH,
    count=schemas.CountSessionsRequest,
    count_example=examples.SESSION_COUNT,
    summary_example=examples.SESSION_SUMMARY,
    score_example=SESSION_SCORE,
)


def run_router(kind: RunKind) -> Router:
    return Router(
        f"/evaluations/{kind.name}-runs",
        route_handlers=[
            *_start(kind),
            _estimate(kind, "run", kind.matching, kind.matching_example),
            _estimate(kind, "batch", kind.batch, kind.batch_example),
            _count(kind),
            *_act_on_run(kind),
            *_read(kind),
        ],
    )


def _start(kind: RunKind) -> list[HTTPRouteHandler]:
    stored = (
        " A metric that is given twice counts once. Once the response is sent, the run is stored "
        "durably."
    )

    @post(
        "/",
        CAN_EVALUATE,
        summary=f"Start a run over {kind.name}s",
        description=kind.start_description + stored,
        operation_id=f"start_{kind.name}_run",
        status_code=202,
        example=kind.example,
        body_example=kind.matching_example,
        body=Body(kind.matching, kind.matching.to_domain),
        route_class=kind.route_class,
        request_id_is_key=True,
    )
    async def start_run(
        caller: Caller, content: tuple[RunRequest, Any], new_id: RunId, use_cases: UseCases
    ) -> schemas.EvalRunResponse:
        start = use_cases.evaluation.start_run
        return schemas.EvalRunResponse.from_domain(await start(caller.project_id, new_id, *content))

    @post(
        "/batch",
        CAN_EVALUATE,
        summary=f"Start a run over {kind.name}s by their ids",
        description=f"Evaluates the given {kind.name}s; an unknown {kind.name} counts as failed."
        + stored,
        operation_id=f"start_{kind.name}_batch",
        status_code=202,
        example=kind.example,
        body_example=kind.batch_example,
        body=Body(kind.batch, kind.batch.to_domain),
        route_class=kind.route_class,
        request_id_is_key=True,
    )
    async def start_batch(
        caller: Caller, content: tuple[RunRequest, list[str]], new_id: RunId, use_cases: UseCases
    ) -> schemas.EvalRunResponse:
        run = await use_cases.evaluation.start_batch(
            caller.project_id, new_id, kind.target_type, *content
        )
        return schemas.EvalRunResponse.from_domain(run)

    return [start_run, start_batch]


def _estimate(kind: RunKind, over: str, wire: type[Any], body_example: Any) -> HTTPRouteHandler:
    """`over` is `run` for the matches of filters, and `batch` for ids."""
    is_batch = over == "batch"

    @post(
        "/batch/estimate" if is_batch else "/estimate",
        CAN_EVALUATE,
        summary=f"Estimate a run over {kind.name}s" + (" by their ids" if is_batch else ""),
        description=(
            "Lower and upper bounds of the judge calls, tokens and USD that a run with this body "
            f"would need. The estimate reads at most {SAMPLED_TRACES_MAX} of its traces, stores "
            "nothing and calls no model."
        ),
        operation_id=f"estimate_{kind.name}_{over}",
        status_code=200,
        example=cost_examples.ESTIMATE,
        body_example=body_example,
        body=Body(wire, wire.to_domain),
        route_class=kind.route_class,
    )
    async def estimate(
        caller: Caller, content: tuple[RunRequest, RunTargets], use_cases: UseCases
    ) -> EvalRunEstimate:
        run_request, targets = content
        found = await use_cases.evaluation.estimate_run(
            caller.project_id, kind.target_type, run_request, targets
        )
        return EvalRunEstimate.from_domain(found)

    return estimate


def _count(kind: RunKind) -> HTTPRouteHandler:
    @post(
        "/count",
        CAN_READ,
        summary=f"Count the {kind.name}s for a run",
        description=(
            f"How many {kind.name}s match the filters of a run or a monitor, and how many of them "
            "a run with this sampling rate would evaluate. Unlike an estimate it reads none of "
            f"them. Counting ends where a run would have more than {TARGETS_MAX:,} targets."
        ),
        operation_id=f"count_{kind.name}_run_targets",
        status_code=200,
        example=examples.COUNTED,
        body_example=kind.count_example,
        body=Body(kind.count, kind.count.to_domain),
    )
    async def count_targets(
        caller: Caller, content: tuple[Any, float, Eligibility], use_cases: UseCases
    ) -> schemas.TargetCountResponse:
        counted = await use_cases.evaluation.count_targets(caller.project_id, *content)
        return schemas.TargetCountResponse.from_domain(counted)

    return count_targets


def _act_on_run(kind: RunKind) -> list[HTTPRouteHandler]:
    cancelled = {"status": "CANCELLED", "completed_at": "2026-03-02T01:00:05+00:00"}

    @post(
        "/{run_id:str}/retry",
        CAN_EVALUATE,
        status_code=202,
        operation_id=(f"retry_{kind.name}_run"),
        example=kind.example | {"name": "Retry: nightly"},
        route_class=kind.route_class,
        request_id_is_key=True,
    )
    async def retry_run(
        caller: Caller, path: schemas.RunPath, new_id: RunId, use_cases: UseCases
    ) -> schemas.EvalRunResponse | schemas.ChangedRunResponse:
        """Retry a run.

        Starts a new run over exactly the scores that failed in this run, with the same model.
        Skipped scores are not retried. 422 if nothing failed. This run stays as it is. A key
        without the scope `read` gets the ids and the status of the new run.
        """
        run = await use_cases.evaluation.retry_run(caller.project_id, path.run_id, new_id)
        return schemas.respond_run(caller, run)

    @post(
        "/{run_id:str}/cancel",
        CAN_EVALUATE,
        status_code=202,
        operation_id=(f"cancel_{kind.name}_run"),
        example=kind.example | cancelled,
        error_types={409: ErrorResponse},
    )
    async def cancel_run(
        caller: Caller, path: schemas.RunPath, use_cases: UseCases
    ) -> schemas.EvalRunResponse | schemas.ChangedRunResponse:
        """Cancel a run.

        Starts no further evaluations. Existing scores stay; pending ones are skipped. 409 if the
        run has completed or failed. A key without the scope `read` gets its ids and its status.
        """
        run = await use_cases.evaluation.cancel_run(caller.project_id, path.run_id)
        return schemas.respond_run(caller, run)

    @delete(
        "/{run_id:str}", CAN_EVALUATE, status_code=204, operation_id=(f"delete_{kind.name}_run")
    )
    async def delete_run(
        caller: Caller, path: schemas.RunPath, params: schemas.DeleteRunQuery, use_cases: UseCases
    ) -> None:
        """Delete a run.

        Deletes a run of either type in any state; a run in progress is cancelled first. Its scores
        stay, with a null `eval_run_id`, unless `delete_scores` is set. If people have written over
        some, only an OWNER or ADMIN, or the only such person, may delete the scores.
        """
        with_scores = params.delete_scores
        audit = use_cases.audit.entry(
            caller, AuditAction.RUN_DELETED, path.run_id, with_scores=with_scores
        )
        await use_cases.evaluation.delete_run(
            caller, path.run_id, with_scores=with_scores, audit=audit
        )

    return [retry_run, cancel_run, delete_run]


def _read(kind: RunKind) -> list[HTTPRouteHandler]:
    runs = PagedList(f"{kind.name} runs", {None: INSTANT}, ID)

    @get(
        "/",
        CAN_READ,
        summary=f"List runs over {kind.name}s",
        description=(
            "A page of the project's runs of this type, the newest first. With `include=usage`, "
            "each shows what its judges cost so far; requests without a price and estimated tokens "
            "are counted in it."
        ),
        operation_id=f"list_{kind.name}_runs",
        example=page_of(kind.example),
    )
    async def list_runs(
        caller: Caller, params: schemas.RunQuery, use_cases: UseCases
    ) -> PaginatedResponse[schemas.ListedRunResponse]:
        project, status = caller.project_id, params.status
        requested = runs.parse_page(params, project, status, None, SortOrder.DESC)
        list_runs = use_cases.evaluation.runs.page
        page = await list_runs(project, kind.target_type, status, requested.page)
        if params.include is None:
            return requested.respond(page, schemas.ListedRunResponse.from_domain)
        ids = [one.run.id for one in page.items]
        usage = await use_cases.evaluation.list_run_usage(project, ids)

        def item(one: RunProgress) -> schemas.ListedRunResponse:
            listed = schemas.ListedRunResponse.from_domain(one)
            spent = JudgeUsage.from_domain(usage[one.run.id])
            msgspec.structs.force_setattr(listed, "usage", spent)
            return listed

        return requested.respond(page, item)

    @get("/{run_id:str}", CAN_READ, operation_id=f"read_{kind.name}_run", example=kind.example)
    async def read_run(
        caller: Caller, path: schemas.RunPath, use_cases: UseCases
    ) -> schemas.EvalRunResponse:
        """Read a run.

        A run of either type, with its progress.
        """
        run = await use_cases.evaluation.runs.get(caller.project_id, path.run_id)
        return schemas.EvalRunResponse.from_domain(run)

    return [list_runs, read_run, *_read_results(kind)]


def _read_results(kind: RunKind) -> list[HTTPRouteHandler]:
    scores = PagedList(f"{kind.name} scores of a run", {None: INSTANT}, ID)

    @get(
        "/{run_id:str}/usage",
        CAN_READ,
        operation_id=f"usage_of_{kind.name}_run",
        example=cost_examples.USAGE,
    )
    async def read_usage(caller: Caller, path: schemas.RunPath, use_cases: UseCases) -> JudgeUsage:
        """Read the judge usage of a run.

        The requests that were sent to providers for a run of either type so far, and their cost.
        Verdicts from the cache need no request.
        """
        project, run = caller.project_id, path.run_id
        return JudgeUsage.from_domain(await use_cases.evaluation.read_run_usage(project, run))

    @get(
        "/{run_id:str}/summary",
        CAN_READ,
        operation_id=f"summary_of_{kind.name}_run",
        example=kind.summary_example,
    )
    async def read_summary(
        caller: Caller, path: schemas.RunPath, use_cases: UseCases
    ) -> schemas.RunSummaryResponse:
        """Read what a run has come to by metric.

        Outcomes, the mean with how many numbers it is of, reasons and cost, of a run of either
        type. Scores that were edited or deleted since count as they are now, unlike in the run.
        """
        project, run = caller.project_id, path.run_id
        found = await use_cases.evaluation.read_run_summary(project, run)
        return schemas.RunSummaryResponse.from_domain(found)

    @get(
        "/{run_id:str}/scores",
        CAN_READ,
        summary=f"Read the {kind.name} scores of a run",
        description=kind.scores_description,
        operation_id=f"{kind.name}_scores_of_run",
        example=[kind.score_example],
        response_type=GenericAlias(list, kind.score),
    )
    async def read_scores(
        request: HttpRequest,
        caller: Caller,
        path: schemas.RunPath,
        params: schemas.RunScoresQuery,
        use_cases: UseCases,
    ) -> list[Any]:
        project, stored = caller.project_id, kind.scores(use_cases.evaluation)
        convert: Callable[[Any], Any] = kind.score.from_domain
        if (asked := params.page) is None:
            return [convert(score) for score in await stored.by_run(project, path.run_id)]
        matching = ScoreFilter(run_id=path.run_id)
        requested = scores.parse_page(asked, project, matching, None, SortOrder.DESC)
        found: Page[Any] = await stored.page(project, matching, requested.page)
        page = requested.respond(found, convert)
        if page.next_cursor is not None:
            scope = cast("dict[str, Any]", request.scope)
            add_response_header(scope, b"x-next-cursor", page.next_cursor.encode())
        return page.items

    return [read_usage, read_summary, read_scores]
