"""Custom metrics: creating, revising, archiving and trying them."""

from uuid import UUID

from litestar import Controller

from application.use_cases import UseCases
from domain.evaluation.custom_metrics.custom_metric import CustomMetric
from domain.identity.caller import Caller
from domain.ids import RunId
from entrypoints.http.authentication import CAN_EVALUATE, CAN_EVALUATE_AND_READ, CAN_READ
from entrypoints.http.controllers.metrics import examples
from entrypoints.http.controllers.metrics.schemas import (
    ArchivedQuery,
    ChangedMetricResponse,
    CreateCustomMetricRequest,
    CustomMetricResponse,
    DryRunDraftRequest,
    DryRunRequest,
    DryRunResponse,
    MetricPath,
    MetricRevisionResponse,
    ReviseCustomMetricRequest,
)
from entrypoints.http.endpoint import get, post, put
from entrypoints.http.error_responses import ErrorResponse
from entrypoints.http.middleware.rate_limits import RouteClass


class CustomMetricController(Controller):
    path = "/evaluations/custom-metrics"

    @post(
        "/",
        CAN_EVALUATE,
        example=examples.METRIC,
        body_example=examples.REQUEST,
        error_types={409: ErrorResponse},
    )
    async def create_custom_metric(
        self, caller: Caller, content: CreateCustomMetricRequest, new_id: UUID, use_cases: UseCases
    ) -> CustomMetricResponse:
        """Create a custom metric.

        A metric that the project defines: a criterion for a judge, a rule over the trace, or a
        computed metric with parameters. Runs and monitors over traces use it like any other metric.
        409 if the name is taken.
        """
        metric = await use_cases.evaluation.create_custom_metric(
            caller.project_id, new_id, content.name, content.kind, content.to_domain()
        )
        return CustomMetricResponse.from_domain(metric)

    @get("/", CAN_READ, example=[examples.METRIC])
    async def list_custom_metrics(
        self, caller: Caller, params: ArchivedQuery, use_cases: UseCases
    ) -> list[CustomMetricResponse]:
        """List custom metrics.

        All custom metrics that are in use, or all archived ones, sorted by name.
        """
        metrics = await use_cases.evaluation.list_custom_metrics(
            caller.project_id, archived=params.archived
        )
        return [CustomMetricResponse.from_domain(metric) for metric in metrics]

    @get("/{metric_name:str}", CAN_READ, example=examples.METRIC)
    async def read_custom_metric(
        self, caller: Caller, path: MetricPath, use_cases: UseCases
    ) -> CustomMetricResponse:
        """Read a custom metric.

        The metric with its newest revision, archived or not.
        """
        metrics = use_cases.evaluation.custom_metrics
        metric = await metrics.get(caller.project_id, path.metric_name)
        return CustomMetricResponse.from_domain(metric)

    @put(
        "/{metric_name:str}",
        CAN_EVALUATE,
        example=examples.METRIC | {"revision": 2},
        body_example=examples.CONTENT,
        error_types={409: ErrorResponse},
    )
    async def revise_custom_metric(
        self,
        caller: Caller,
        content: ReviseCustomMetricRequest,
        path: MetricPath,
        use_cases: UseCases,
    ) -> CustomMetricResponse:
        """Revise a custom metric.

        Adds a revision, unless nothing changes. A run keeps the revision that it started with; each
        run of a monitor uses the newest. 409 for an archived metric.
        """
        revise = use_cases.evaluation.revise_custom_metric
        metric = await revise(caller.project_id, path.metric_name, content.to_domain())
        return CustomMetricResponse.from_domain(metric)

    @get("/{metric_name:str}/revisions", CAN_READ, example=[examples.REVISION])
    async def list_revisions(
        self, caller: Caller, path: MetricPath, use_cases: UseCases
    ) -> list[MetricRevisionResponse]:
        """List the revisions of a custom metric.

        All revisions, the newest first. A revision never changes.
        """
        metrics = use_cases.evaluation.custom_metrics
        revisions = await metrics.revisions(caller.project_id, path.metric_name)
        return [MetricRevisionResponse.from_domain(revision) for revision in revisions]

    @post(
        "/{metric_name:str}/archive",
        CAN_EVALUATE,
        status_code=200,
        example=examples.METRIC | {"archived_at": "2026-03-02T10:00:00+00:00"},
    )
    async def archive_custom_metric(
        self, caller: Caller, path: MetricPath, use_cases: UseCases
    ) -> CustomMetricResponse | ChangedMetricResponse:
        """Archive a custom metric.

        New runs can't use an archived metric. The runs of a monitor with this metric fail with a
        message until it is restored. Its revisions and scores stay. A key without the scope `read`
        gets null or empty values in the fields of the definition.
        """
        archive = use_cases.evaluation.archive_custom_metric
        metric = await archive(caller.project_id, path.metric_name)
        return _respond_metric(caller, metric)

    @post("/{metric_name:str}/restore", CAN_EVALUATE, status_code=200, example=examples.METRIC)
    async def restore_custom_metric(
        self, caller: Caller, path: MetricPath, use_cases: UseCases
    ) -> CustomMetricResponse | ChangedMetricResponse:
        """Restore a custom metric.

        Makes an archived metric available again. A metric in use stays as it is. A key without the
        scope `read` gets null or empty values in the fields of the definition.
        """
        restore = use_cases.evaluation.restore_custom_metric
        metric = await restore(caller.project_id, path.metric_name)
        return _respond_metric(caller, metric)

    @post(
        "/{metric_name:str}/dry-run",
        CAN_EVALUATE_AND_READ,
        status_code=200,
        example=examples.TRIED,
        body_example=examples.TRY,
        route_class=RouteClass.TRACE_RUNS,
    )
    async def try_custom_metric(
        self,
        caller: Caller,
        content: DryRunRequest,
        path: MetricPath,
        new_id: RunId,
        use_cases: UseCases,
    ) -> DryRunResponse:
        """Try a custom metric.

        Evaluates one trace without storing a score. The result of a computed metric or a rule is in
        the response. For a judge metric, the response has the prompt and its maximum cost; with
        `ask`, a run over this trace calls the judge, and its score has the verdict and the cost.
        The key needs the scope `read` too, since prompts and reasons quote the trace.
        """
        project, name, trace = caller.project_id, path.metric_name, content.trace_id
        result = await use_cases.evaluation.try_custom_metric(
            project, name, trace, new_id, model=content.model, ask=content.ask
        )
        return DryRunResponse.from_domain(result, trace_id=trace)

    @post(
        "/dry-run",
        CAN_EVALUATE_AND_READ,
        status_code=200,
        example=examples.TRIED | {"name": "draft", "revision": 0},
        body_example=examples.TRY_DRAFT,
        route_class=RouteClass.TRACE_RUNS,
    )
    async def try_draft_metric(
        self, caller: Caller, content: DryRunDraftRequest, use_cases: UseCases
    ) -> DryRunResponse:
        """Try a definition before it is stored.

        As the dry run of a custom metric, without calling a judge. Nothing is stored; `name` is
        `draft` and `revision` 0.
        """
        result = await use_cases.evaluation.try_draft_metric(
            caller.project_id,
            content.kind,
            content.to_domain(),
            content.trace_id,
            model=content.model,
        )
        return DryRunResponse.from_domain(result, trace_id=content.trace_id)


def _respond_metric(
    caller: Caller, metric: CustomMetric
) -> CustomMetricResponse | ChangedMetricResponse:
    if not caller.may_read:
        return ChangedMetricResponse.from_metric(metric)
    return CustomMetricResponse.from_domain(metric)
