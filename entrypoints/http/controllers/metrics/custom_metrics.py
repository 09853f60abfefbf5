"""Custom metrics: creating, revising, archiving and trying them."""

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
from entrypoints.http.error_responses import ErrorResponse
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.idempotency_key import IdempotencyKey
from entrypoints.http.responses import JsonResponse, respond_idempotently

CREATE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Create a custom metric",
    description=(
        "A metric that the project defines: a criterion for a judge, a rule over the trace, or a "
        "computed metric with parameters. Runs and monitors over traces use it like any other "
        "metric. 409 if the name is taken."
    ),
    example=examples.METRIC,
    body_example=examples.REQUEST,
    error_types={409: ErrorResponse},
)

LIST: Final = endpoint(
    data_plane(Scope.READ),
    summary="List custom metrics",
    description="All custom metrics that are in use, or all archived ones, sorted by name.",
    example=[examples.METRIC],
)

READ: Final = endpoint(
    data_plane(Scope.READ),
    summary="Read a custom metric",
    description="The metric with its newest revision, archived or not.",
    example=examples.METRIC,
)

REVISE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Revise a custom metric",
    description=(
        "Adds a revision, unless nothing changes. A run keeps the revision that it started with; "
        "each run of a monitor uses the newest. 409 for an archived metric."
    ),
    example=examples.METRIC | {"revision": 2},
    body_example=examples.CONTENT,
    error_types={409: ErrorResponse},
)

REVISIONS: Final = endpoint(
    data_plane(Scope.READ),
    summary="List the revisions of a custom metric",
    description="All revisions, the newest first. A revision never changes.",
    example=[examples.REVISION],
)

ARCHIVE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Archive a custom metric",
    description=(
        "New runs can't use an archived metric. The runs of a monitor with this metric fail with a "
        "message until it is restored. Its revisions and scores stay."
    ),
    example=examples.METRIC | {"archived_at": "2026-03-02T10:00:00+00:00"},
)

RESTORE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Restore a custom metric",
    description="Makes an archived metric available again. A metric in use stays as it is.",
    example=examples.METRIC,
)

DRY_RUN: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Try a custom metric",
    description=(
        "Evaluates one trace without storing a score. The result of a computed metric or a rule is "
        "in the response. For a judge metric, the response has the prompt and its maximum cost; "
        "with `ask`, a run over this trace calls the judge, and its score has the verdict and the "
        "cost."
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
        project = caller.project_id
        create = use_cases.evaluation.create_custom_metric

        async def write(id_: UUID) -> CustomMetricResponse:
            metric = await create(project, id_, content.name, content.kind, content.to_domain())
            return CustomMetricResponse.from_domain(metric)

        return await respond_idempotently(request, caller, key, 201, write)

    @get("/", **LIST)
    async def list_custom_metrics(
        self,
        caller: Injected[Caller],
        params: Injected[ArchivedQuery],
        use_cases: Injected[UseCases],
    ) -> list[CustomMetricResponse]:
        metrics = await use_cases.evaluation.list_custom_metrics(
            caller.project_id, archived=params.archived
        )
        return [CustomMetricResponse.from_domain(metric) for metric in metrics]

    @get("/{metric_name:str}", **READ)
    async def read_custom_metric(
        self,
        caller: Injected[Caller],
        path: Injected[MetricPath],
        use_cases: Injected[UseCases],
    ) -> CustomMetricResponse:
        metrics = use_cases.evaluation.custom_metrics
        metric = await metrics.get(caller.project_id, path.metric_name)
        return CustomMetricResponse.from_domain(metric)

    @put("/{metric_name:str}", **REVISE)
    async def revise_custom_metric(
        self,
        caller: Injected[Caller],
        content: Injected[ReviseCustomMetricRequest],
        path: Injected[MetricPath],
        use_cases: Injected[UseCases],
    ) -> CustomMetricResponse:
        revise = use_cases.evaluation.revise_custom_metric
        metric = await revise(caller.project_id, path.metric_name, content.to_domain())
        return CustomMetricResponse.from_domain(metric)

    @get("/{metric_name:str}/revisions", **REVISIONS)
    async def list_revisions(
        self,
        caller: Injected[Caller],
        path: Injected[MetricPath],
        use_cases: Injected[UseCases],
    ) -> list[MetricRevisionResponse]:
        metrics = use_cases.evaluation.custom_metrics
        revisions = await metrics.revisions(caller.project_id, path.metric_name)
        return [MetricRevisionResponse.from_domain(revision) for revision in revisions]

    @post("/{metric_name:str}/archive", status_code=200, **ARCHIVE)
    async def archive_custom_metric(
        self,
        caller: Injected[Caller],
        path: Injected[MetricPath],
        use_cases: Injected[UseCases],
    ) -> CustomMetricResponse:
        archive = use_cases.evaluation.archive_custom_metric
        metric = await archive(caller.project_id, path.metric_name)
        return CustomMetricResponse.from_domain(metric)

    @post("/{metric_name:str}/restore", status_code=200, **RESTORE)
    async def restore_custom_metric(
        self,
        caller: Injected[Caller],
        path: Injected[MetricPath],
        use_cases: Injected[UseCases],
    ) -> CustomMetricResponse:
        restore = use_cases.evaluation.restore_custom_metric
        metric = await restore(caller.project_id, path.metric_name)
        return CustomMetricResponse.from_domain(metric)

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
        project, name, trace = caller.project_id, path.metric_name, TraceId(content.trace_id)
        model, ask = content.model, content.ask
        dry_run = use_cases.evaluation.try_custom_metric

        async def write(id_: UUID) -> DryRunResponse:
            result = await dry_run(project, name, trace, RunId(id_), model=model, ask=ask)
            return DryRunResponse.from_domain(result, trace_id=trace)

        return await respond_idempotently(request, caller, key, 200, write)
