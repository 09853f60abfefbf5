"""A project's own metrics: making, revising, archiving and trying them."""

from typing import Final
from uuid import UUID

from litestar import Controller, get, post, put

from application.use_cases import UseCases
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
from domain.ids import RunId, TraceId
from entrypoints.http.authentication import data_plane
from entrypoints.http.controllers.metrics import examples
from entrypoints.http.controllers.metrics.schemas import (
    ArchivedQuery,
    CreateCustomMetricRequest,
    CustomMetricResponse,
    DryRunRequest,
    DryRunResponse,
    MetricPath,
    MetricRevisionResponse,
    ReviseCustomMetricRequest,
)
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.problems import ErrorResponse
from entrypoints.http.requests.idempotency_key import IdempotencyKey
from entrypoints.http.responses import JsonResponse, respond_once

CREATE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Create a custom metric",
    description=(
        "A metric of the project's own: a criterion for a judge, a rule over the trace, or a "
        "measure with parameters. Runs and monitors over traces name it as any other. 409 "
        "where the name is taken."
    ),
    example=examples.METRIC,
    body_example=examples.ORDER,
    answers={409: ErrorResponse},
)

LIST: Final = endpoint(
    data_plane(Scope.READ),
    summary="List custom metrics",
    description="All of the project, by name: those in use, or those that are archived.",
    example=[examples.METRIC],
)

READ: Final = endpoint(
    data_plane(Scope.READ),
    summary="Read a custom metric",
    description="As its newest revision defines it, archived or not.",
    example=examples.METRIC,
)

REVISE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Revise a custom metric",
    description=(
        "Adds a revision; where nothing would change, there is none. Runs that have begun "
        "keep the one that they were made with, monitors take the newest each time. 409 "
        "for an archived metric."
    ),
    example=examples.METRIC | {"revision": 2},
    body_example=examples.CONTENT,
    answers={409: ErrorResponse},
)

REVISIONS: Final = endpoint(
    data_plane(Scope.READ),
    summary="List the revisions of a custom metric",
    description="All of them, the newest first. None ever changes.",
    example=[examples.REVISION],
)

ARCHIVE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Archive a custom metric",
    description=(
        "No new run has it, and a monitor that names it runs again only once it is restored: "
        "until then its runs fail and say so. Its revisions and its scores stay."
    ),
    example=examples.METRIC | {"archived_at": "2026-03-02T10:00:00+00:00"},
)

RESTORE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Restore a custom metric",
    description="Has an archived one in use again; one that is in use stays so.",
    example=examples.METRIC,
)

DRY_RUN: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Try a custom metric",
    description=(
        "On one trace, without a score: what is computed is answered at once. For a judge "
        "the answer shows what it would read and what that may cost; with `ask`, a run of "
        "this one trace asks it, whose score tells verdict and cost."
    ),
    example=examples.TRIED,
    body_example=examples.TRY,
    route_class=RouteClass.TRACE_RUNS,
)


class CustomMetricController(Controller):
    path = "/evaluations/custom-metrics"

    @post("/", status_code=201, **CREATE)
    async def create_custom_metric(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
        content: Injected[CreateCustomMetricRequest],
        key: Injected[IdempotencyKey | None],
        use_cases: Injected[UseCases],
    ) -> JsonResponse[CustomMetricResponse]:
        project, wire = caller.project_id, content
        create = use_cases.evaluation.custom_metrics.create

        async def write(new: UUID) -> CustomMetricResponse:
            made = await create(project, new, wire.name, wire.kind, wire.order())
            return CustomMetricResponse.of(made)

        return await respond_once(request, caller, key, 201, write)

    @get("/", **LIST)
    async def list_custom_metrics(
        self,
        caller: Injected[Caller],
        params: Injected[ArchivedQuery],
        use_cases: Injected[UseCases],
    ) -> list[CustomMetricResponse]:
        found = await use_cases.evaluation.custom_metrics.list(
            caller.project_id, archived=params.archived
        )
        return [CustomMetricResponse.of(one) for one in found]

    @get("/{metric_name:str}", **READ)
    async def read_custom_metric(
        self,
        caller: Injected[Caller],
        path: Injected[MetricPath],
        use_cases: Injected[UseCases],
    ) -> CustomMetricResponse:
        read = use_cases.evaluation.custom_metrics.read
        found = await read(caller.project_id, path.metric_name)
        return CustomMetricResponse.of(found)

    @put("/{metric_name:str}", **REVISE)
    async def revise_custom_metric(
        self,
        caller: Injected[Caller],
        content: Injected[ReviseCustomMetricRequest],
        path: Injected[MetricPath],
        use_cases: Injected[UseCases],
    ) -> CustomMetricResponse:
        revise = use_cases.evaluation.custom_metrics.revise
        found = await revise(caller.project_id, path.metric_name, content.order())
        return CustomMetricResponse.of(found)

    @get("/{metric_name:str}/revisions", **REVISIONS)
    async def list_revisions(
        self,
        caller: Injected[Caller],
        path: Injected[MetricPath],
        use_cases: Injected[UseCases],
    ) -> list[MetricRevisionResponse]:
        revisions = use_cases.evaluation.custom_metrics.list_revisions
        found = await revisions(caller.project_id, path.metric_name)
        return [MetricRevisionResponse.of(one) for one in found]

    @post("/{metric_name:str}/archive", status_code=200, **ARCHIVE)
    async def archive_custom_metric(
        self,
        caller: Injected[Caller],
        path: Injected[MetricPath],
        use_cases: Injected[UseCases],
    ) -> CustomMetricResponse:
        archive = use_cases.evaluation.custom_metrics.archive
        found = await archive(caller.project_id, path.metric_name)
        return CustomMetricResponse.of(found)

    @post("/{metric_name:str}/restore", status_code=200, **RESTORE)
    async def restore_custom_metric(
        self,
        caller: Injected[Caller],
        path: Injected[MetricPath],
        use_cases: Injected[UseCases],
    ) -> CustomMetricResponse:
        restore = use_cases.evaluation.custom_metrics.restore
        found = await restore(caller.project_id, path.metric_name)
        return CustomMetricResponse.of(found)

    @post("/{metric_name:str}/dry-run", status_code=200, **DRY_RUN)
    async def try_custom_metric(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
        content: Injected[DryRunRequest],
        path: Injected[MetricPath],
        key: Injected[IdempotencyKey | None],
        use_cases: Injected[UseCases],
    ) -> JsonResponse[DryRunResponse]:
        project, name, wire = caller.project_id, path.metric_name, content
        trace, dry_run = TraceId(wire.trace_id), use_cases.evaluation.custom_metrics.dry_run

        async def write(new: UUID) -> DryRunResponse:
            tried = await dry_run(project, name, trace, RunId(new), model=wire.model, ask=wire.ask)
            return DryRunResponse.of(tried, trace)

        return await respond_once(request, caller, key, 200, write)
