"""Runs: what their two paths have in common. Either serves a run of either type by its id."""

from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

from litestar import Response

from application.evaluation.execution.estimate_run import LOOKED_INTO_MAX, About
from application.evaluation.runs.requests import RunRequest
from application.evaluation.use_cases import EvaluationUseCases
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
    DeleteRunQuery,
    EvalRunResponse,
    RunPath,
    RunQuery,
)
from entrypoints.http.controllers.scores.examples import page_of
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.operation import (
    Documented,
    Given,
    Operation,
    answer,
    answer_once,
    edge_of,
    operation,
)
from entrypoints.http.problems import ErrorResponse
from entrypoints.http.requests.cursors import ID, INSTANT, PagedList
from entrypoints.http.requests.wire_types import PaginatedResponse

type OfRun = Operation[Caller, RunPath, None, None]
type Listing = Operation[Caller, None, RunQuery, None]
type Start = Callable[[RunId], Awaitable[RunProgress]]
"""Makes the run of this id, or finds it."""

LISTS: Final = {of: PagedList(f"{of.lower()} runs", {None: INSTANT}, ID) for of in TargetType}
EXAMPLES: Final = {
    TargetType.TRACE: examples.TRACE_RUN,
    TargetType.SESSION: examples.SESSION_RUN,
}


def started(of: TargetType, summary: str, description: str, body: dict[str, Any]) -> Documented:
    """What the reference says of a way to start a run."""
    return Documented(
        summary=summary,
        description=(
            f"{description} Each metric counts once. The run is stored when it is answered, and "
            "can't be lost any more."
        ),
        answer=EvalRunResponse,
        example=EXAMPLES[of],
        body_example=body,
        route_class=_class_of(of),
        is_once=True,
    )


def estimating(of: TargetType, summary: str, body: dict[str, Any]) -> Documented:
    """What the reference says of a way to learn what such a run would take."""
    return Documented(
        summary=summary,
        description=(
            "What the run of this body would take: questions, tokens, and USD, each at least and "
            f"at most. At most {LOOKED_INTO_MAX} of its traces are looked into. Nothing is "
            "stored, and no model is asked."
        ),
        answer=EvalRunEstimate,
        example=cost_examples.ESTIMATE,
        body_example=body,
        route_class=_class_of(of),
    )


def retrying(of: TargetType) -> OfRun:
    return operation(
        data_plane(Scope.EVALUATE),
        Documented(
            summary="Retry a run",
            description=(
                "A new run over exactly what failed in another, with its model; what was skipped "
                "isn't tried again. 422 where nothing failed. The other run stays as it is."
            ),
            answer=EvalRunResponse,
            example=EXAMPLES[of] | {"name": "Retry: nightly"},
            route_class=_class_of(of),
            is_once=True,
        ),
    ).with_path(RunPath)


def listing(of: TargetType) -> Listing:
    return operation(
        data_plane(Scope.READ),
        Documented(
            summary=f"List runs over {of.lower()}s",
            description="A page of the project's runs of this type, the newest first.",
            answer=PaginatedResponse[EvalRunResponse],
            example=page_of(EXAMPLES[of]),
        ),
    ).with_query(RunQuery)


def reading(of: TargetType) -> OfRun:
    return operation(
        data_plane(Scope.READ),
        Documented(
            summary="Read a run",
            description="A run of either type, and how far it has got.",
            answer=EvalRunResponse,
            example=EXAMPLES[of],
        ),
    ).with_path(RunPath)


def using() -> OfRun:
    return operation(
        data_plane(Scope.READ),
        Documented(
            summary="Read what a run took",
            description=(
                "The requests that providers were sent for a run of either type so far, and what "
                "they cost. What was answered from memory took none."
            ),
            answer=JudgeUsage,
            example=cost_examples.USAGE,
        ),
    ).with_path(RunPath)


def cancelling(of: TargetType) -> OfRun:
    return operation(
        data_plane(Scope.EVALUATE),
        Documented(
            summary="Cancel a run",
            description=(
                "Nothing more of it begins; what was measured stays, and the rest is skipped. "
                "409 where the run has ended otherwise."
            ),
            answer=EvalRunResponse,
            example=EXAMPLES[of]
            | {"status": "CANCELLED", "completed_at": "2026-03-02T01:00:05+00:00"},
            answers={409: ErrorResponse},
        ),
    ).with_path(RunPath)


DELETE: Final = (
    operation(
        data_plane(Scope.EVALUATE),
        Documented(
            summary="Delete a run",
            description=(
                "Removes a run of either type in whatever state; one that is under way is "
                "cancelled first. Its scores stay, of no run then, unless `delete_scores` is set."
            ),
            answer=None,
        ),
    )
    .with_path(RunPath)
    .with_query(DeleteRunQuery)
)


def _class_of(of: TargetType) -> RouteClass:
    return RouteClass.TRACE_RUNS if of is TargetType.TRACE else RouteClass.SESSION_RUNS


def use_cases(request: HttpRequest) -> EvaluationUseCases:
    return edge_of(request).use_cases.evaluation


async def shown_once(
    request: HttpRequest, given: Given[Caller, Any, Any, Any], start: Start
) -> Response[bytes]:
    """The run that `start` makes of an id, or the answer that it had the first time."""

    async def write(new: UUID) -> EvalRunResponse:
        return EvalRunResponse.of(await start(RunId(new)))

    return await answer_once(request, given, 202, write)


async def retry(request: HttpRequest, asked: OfRun) -> Response[bytes]:
    given = await asked.read(request)
    project, run = given.caller.project_id, RunId(given.path.run_id)
    return await shown_once(
        request, given, lambda new: use_cases(request).retry_run(project, run, new)
    )


async def page(request: HttpRequest, asked: Listing, of: TargetType) -> Response[bytes]:
    given = await asked.read(request)
    query, project = given.query, given.caller.project_id
    pages = LISTS[of].asked(query, project, query.status, None, SortOrder.DESC)
    found = await use_cases(request).list_runs(project, of, query.status, pages.window)
    return await answer(
        request, pages.shown(found, [EvalRunResponse.of(one) for one in found.items])
    )


async def read(request: HttpRequest, asked: OfRun) -> Response[bytes]:
    given = await asked.read(request)
    run = await use_cases(request).read_run(given.caller.project_id, RunId(given.path.run_id))
    return await answer(request, EvalRunResponse.of(run))


async def estimate(
    request: HttpRequest, caller: Caller, of: TargetType, order: RunRequest, about: About
) -> Response[bytes]:
    found = await use_cases(request).estimate_run(caller.project_id, of, order, about)
    return await answer(request, EvalRunEstimate.of(found))


async def usage(request: HttpRequest, asked: OfRun) -> Response[bytes]:
    given = await asked.read(request)
    project, run = given.caller.project_id, RunId(given.path.run_id)
    return await answer(
        request, JudgeUsage.of(await use_cases(request).read_run_usage(project, run))
    )


async def cancel(request: HttpRequest, asked: OfRun) -> Response[bytes]:
    given = await asked.read(request)
    run = await use_cases(request).cancel_run(given.caller.project_id, RunId(given.path.run_id))
    return await answer(request, EvalRunResponse.of(run))


async def delete(request: HttpRequest) -> None:
    given = await DELETE.read(request)
    await use_cases(request).delete_run(
        given.caller.project_id,
        RunId(given.path.run_id),
        with_scores=given.query.delete_scores,
    )
