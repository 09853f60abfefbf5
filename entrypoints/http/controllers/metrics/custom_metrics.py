"""A project's own metrics: making, revising, archiving and trying them."""

from typing import Final
from uuid import UUID

from litestar import Controller, Response, get, post, put

from domain.identity.api_key import Scope
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
from entrypoints.http.controllers.runs.shared import use_cases
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.operation import Documented, answer, answer_once, operation
from entrypoints.http.problems import ErrorResponse
from entrypoints.http.requests.json_body import Body

CREATE: Final = operation(
    data_plane(Scope.EVALUATE),
    Documented(
        summary="Create a custom metric",
        description=(
            "A metric of the project's own: a criterion for a judge, a rule over the trace, or a "
            "measure with parameters. Runs and monitors over traces name it as any other. 409 "
            "where the name is taken."
        ),
        answer=CustomMetricResponse,
        example=examples.METRIC,
        body_example=examples.ORDER,
        answers={409: ErrorResponse},
        is_once=True,
    ),
).with_body(Body(CreateCustomMetricRequest, lambda wire, _: wire))

LIST: Final = operation(
    data_plane(Scope.READ),
    Documented(
        summary="List custom metrics",
        description="All of the project, by name: those in use, or those that are archived.",
        answer=list[CustomMetricResponse],
        example=[examples.METRIC],
    ),
).with_query(ArchivedQuery)

READ: Final = operation(
    data_plane(Scope.READ),
    Documented(
        summary="Read a custom metric",
        description="As its newest revision defines it, archived or not.",
        answer=CustomMetricResponse,
        example=examples.METRIC,
    ),
).with_path(MetricPath)

REVISE: Final = (
    operation(
        data_plane(Scope.EVALUATE),
        Documented(
            summary="Revise a custom metric",
            description=(
                "Adds a revision; where nothing would change, there is none. Runs that have begun "
                "keep the one that they were made with, monitors take the newest each time. 409 "
                "for an archived metric."
            ),
            answer=CustomMetricResponse,
            example=examples.METRIC | {"revision": 2},
            body_example=examples.CONTENT,
            answers={409: ErrorResponse},
        ),
    )
    .with_path(MetricPath)
    .with_body(Body(ReviseCustomMetricRequest, lambda wire, _: wire))
)

REVISIONS: Final = operation(
    data_plane(Scope.READ),
    Documented(
        summary="List the revisions of a custom metric",
        description="All of them, the newest first. None ever changes.",
        answer=list[MetricRevisionResponse],
        example=[examples.REVISION],
    ),
).with_path(MetricPath)

ARCHIVE: Final = operation(
    data_plane(Scope.EVALUATE),
    Documented(
        summary="Archive a custom metric",
        description=(
            "No new run has it, and a monitor that names it runs again only once it is restored: "
            "until then its runs fail and say so. Its revisions and its scores stay."
        ),
        answer=CustomMetricResponse,
        example=examples.METRIC | {"archived_at": "2026-03-02T10:00:00+00:00"},
    ),
).with_path(MetricPath)

RESTORE: Final = operation(
    data_plane(Scope.EVALUATE),
    Documented(
        summary="Restore a custom metric",
        description="Has an archived one in use again; one that is in use stays so.",
        answer=CustomMetricResponse,
        example=examples.METRIC,
    ),
).with_path(MetricPath)

DRY_RUN: Final = (
    operation(
        data_plane(Scope.EVALUATE),
        Documented(
            summary="Try a custom metric",
            description=(
                "On one trace, without a score: what is computed is answered at once. For a judge "
                "the answer shows what it would read and what that may cost; with `ask`, a run of "
                "this one trace asks it, whose score tells verdict and cost."
            ),
            answer=DryRunResponse,
            example=examples.TRIED,
            body_example=examples.TRY,
            route_class=RouteClass.TRACE_RUNS,
            is_once=True,
        ),
    )
    .with_path(MetricPath)
    .with_body(Body(DryRunRequest, lambda wire, _: wire))
)


class CustomMetricController(Controller):
    path = "/evaluations/custom-metrics"

    @post("/", status_code=201, opt=CREATE.opt)
    async def create_custom_metric(self, request: HttpRequest) -> Response[bytes]:
        given = await CREATE.read(request)
        project, wire = given.caller.project_id, given.body
        create = use_cases(request).custom_metrics.create

        async def write(new: UUID) -> CustomMetricResponse:
            made = await create(project, new, wire.name, wire.kind, wire.order())
            return CustomMetricResponse.of(made)

        return await answer_once(request, given, 201, write)

    @get("/", opt=LIST.opt)
    async def list_custom_metrics(self, request: HttpRequest) -> Response[bytes]:
        given = await LIST.read(request)
        found = await use_cases(request).custom_metrics.list(
            given.caller.project_id, archived=given.query.archived
        )
        return await answer(request, [CustomMetricResponse.of(one) for one in found])

    @get("/{metric_name:str}", opt=READ.opt)
    async def read_custom_metric(self, request: HttpRequest) -> Response[bytes]:
        given = await READ.read(request)
        read = use_cases(request).custom_metrics.read
        found = await read(given.caller.project_id, given.path.metric_name)
        return await answer(request, CustomMetricResponse.of(found))

    @put("/{metric_name:str}", opt=REVISE.opt)
    async def revise_custom_metric(self, request: HttpRequest) -> Response[bytes]:
        given = await REVISE.read(request)
        revise = use_cases(request).custom_metrics.revise
        found = await revise(given.caller.project_id, given.path.metric_name, given.body.order())
        return await answer(request, CustomMetricResponse.of(found))

    @get("/{metric_name:str}/revisions", opt=REVISIONS.opt)
    async def list_revisions(self, request: HttpRequest) -> Response[bytes]:
        given = await REVISIONS.read(request)
        revisions = use_cases(request).custom_metrics.list_revisions
        found = await revisions(given.caller.project_id, given.path.metric_name)
        return await answer(request, [MetricRevisionResponse.of(one) for one in found])

    @post("/{metric_name:str}/archive", status_code=200, opt=ARCHIVE.opt)
    async def archive_custom_metric(self, request: HttpRequest) -> Response[bytes]:
        given = await ARCHIVE.read(request)
        archive = use_cases(request).custom_metrics.archive
        found = await archive(given.caller.project_id, given.path.metric_name)
        return await answer(request, CustomMetricResponse.of(found))

    @post("/{metric_name:str}/restore", status_code=200, opt=RESTORE.opt)
    async def restore_custom_metric(self, request: HttpRequest) -> Response[bytes]:
        given = await RESTORE.read(request)
        restore = use_cases(request).custom_metrics.restore
        found = await restore(given.caller.project_id, given.path.metric_name)
        return await answer(request, CustomMetricResponse.of(found))

    @post("/{metric_name:str}/dry-run", status_code=200, opt=DRY_RUN.opt)
    async def try_custom_metric(self, request: HttpRequest) -> Response[bytes]:
        given = await DRY_RUN.read(request)
        project, name, wire = given.caller.project_id, given.path.metric_name, given.body
        trace, dry_run = TraceId(wire.trace_id), use_cases(request).custom_metrics.dry_run

        async def write(new: UUID) -> DryRunResponse:
            tried = await dry_run(project, name, trace, RunId(new), model=wire.model, ask=wire.ask)
            return DryRunResponse.of(tried, trace)

        return await answer_once(request, given, 200, write)
