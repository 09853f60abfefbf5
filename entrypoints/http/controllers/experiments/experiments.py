"""Experiments: their results, runs and items."""

from typing import Annotated, Final
from uuid import UUID

from litestar import Controller

from application.use_cases import UseCases
from domain.evaluation.experiments.experiment import RESULTS_PER_REQUEST_MAX, ExperimentStatus
from domain.identity.audit import AuditAction
from domain.identity.caller import Caller
from domain.page import SortOrder
from entrypoints.http.authentication import CAN_EVALUATE, CAN_EVALUATE_AND_READ, CAN_READ
from entrypoints.http.controllers.experiments import examples
from entrypoints.http.controllers.experiments.comparison_schemas import (
    CompareRequest,
    ComparisonResponse,
)
from entrypoints.http.controllers.experiments.schemas import (
    ClosedExperiment,
    CreateExperimentRequest,
    ExperimentItemResponse,
    ExperimentPath,
    ExperimentProgressResponse,
    ExperimentQuery,
    ExperimentResponse,
    ExperimentResultBatch,
    ResultsWrittenResponse,
)
from entrypoints.http.controllers.traces.examples import page_of
from entrypoints.http.endpoint import delete, get, post
from entrypoints.http.error_responses import ErrorResponse
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.requests.cursors import ID, INSTANT, TEXT, PagedList, PageQuery
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.wire_types import PaginatedResponse

EXPERIMENTS: Final = PagedList("experiments", {None: INSTANT}, ID)
ITEMS: Final = PagedList("items of an experiment", {None: TEXT}, TEXT)


class ExperimentController(Controller):
    path = "/experiments"

    @post(
        "/",
        CAN_EVALUATE,
        example=examples.EXPERIMENT,
        body_example=examples.REQUEST,
        error_types={409: ErrorResponse},
    )
    async def create_experiment(
        self, caller: Caller, content: CreateExperimentRequest, new_id: UUID, use_cases: UseCases
    ) -> ExperimentResponse:
        """Create an experiment.

        Binds traces to the items of a version of a dataset, each item `repetitions` times. Run your
        agent for each item, send its traces as always and their ids to `…/results/batch`, then
        close the experiment: that starts an ordinary run with these metrics over the traces.
        """
        facts = {"dataset": content.dataset}
        audit = use_cases.audit.entry(caller, AuditAction.EXPERIMENT_CREATED, new_id, **facts)
        experiment = await use_cases.experiments.create_experiment(
            caller.project_id, new_id, content.to_domain(), audit=audit
        )
        return ExperimentResponse.from_domain(experiment)

    @get("/", CAN_READ, example=page_of(examples.EXPERIMENT))
    async def list_experiments(
        self, caller: Caller, params: ExperimentQuery, use_cases: UseCases
    ) -> PaginatedResponse[ExperimentResponse]:
        """List experiments.

        A page of the project's experiments, or those of one dataset, the newest first.
        """
        project, dataset = caller.project_id, params.dataset
        requested = EXPERIMENTS.parse_page(params, project, dataset, None, SortOrder.DESC)
        page = await use_cases.experiments.experiments.page(project, dataset, requested.page)
        return requested.respond(page, ExperimentResponse.from_domain)

    @post(
        "/compare",
        CAN_EVALUATE_AND_READ,
        status_code=200,
        example=examples.COMPARISON,
        body_example=examples.COMPARE,
    )
    async def compare_experiments(
        self, caller: Caller, content: CompareRequest, use_cases: UseCases
    ) -> ComparisonResponse:
        """Compare experiments.

        The verdict of a gate: `pass`, `regressed`, `inconclusive` (`needed` says what would decide
        it), or `incomplete`: too little was scored, or the experiments can't be compared, because
        they are different tests or were scored differently (`mismatches`). With `aa` the baseline
        is compared with itself, and its noise floor is kept: narrower rules are refused.
        """
        compared = await use_cases.experiments.compare_experiments(
            caller.project_id, content.to_domain()
        )
        return ComparisonResponse.from_domain(compared)

    @get("/{experiment_id:str}", CAN_READ, example=examples.PROGRESS)
    async def read_experiment(
        self, caller: Caller, path: ExperimentPath, use_cases: UseCases
    ) -> ExperimentProgressResponse:
        """Read an experiment.

        Its status, and how many of its scores exist: what has no result is missing, and never
        counts as passed. The status is OPEN until it is closed, then that of its run; CLOSED if the
        run was deleted.
        """
        read = use_cases.experiments.read_experiment
        progress = await read(caller.project_id, path.experiment_id)
        return ExperimentProgressResponse.from_domain(progress)

    @post(
        "/{experiment_id:str}/results/batch",
        CAN_EVALUATE,
        status_code=200,
        description=(
            f"Binds 1 to {RESULTS_PER_REQUEST_MAX:,} traces to cases, in any order, also before "
            "the traces are stored. Invalid results are rejected by themselves. A later trace of a "
            "case replaces the earlier one; a trace is the result of one case. Safe to repeat. 409 "
            "once the experiment is closed."
        ),
        example=examples.WRITTEN,
        body_example=examples.RESULTS,
        error_types={409: ErrorResponse},
    )
    async def write_experiment_results(
        self,
        caller: Caller,
        content: Annotated[
            ExperimentResultBatch, Body(ExperimentResultBatch, lambda batch, _: batch)
        ],
        path: ExperimentPath,
        use_cases: UseCases,
    ) -> ResultsWrittenResponse:
        """Write results of an experiment."""
        written = await use_cases.experiments.experiments.put_results(
            caller.project_id, path.experiment_id, content.to_domain()
        )
        return ResultsWrittenResponse.from_domain(written)

    @post(
        "/{experiment_id:str}/close",
        CAN_EVALUATE,
        status_code=202,
        example=examples.CLOSED,
        route_class=RouteClass.TRACE_RUNS,
    )
    async def close_experiment(
        self, caller: Caller, path: ExperimentPath, use_cases: UseCases
    ) -> ClosedExperiment:
        """Close an experiment.

        Starts an ordinary run over the traces of all results. Traces whose metadata has
        `experiment.id`, `experiment.item` and optionally `experiment.repetition` are taken as
        results of cases that have none. Closing it again returns the same run. 422 without any
        result.
        """
        audit = use_cases.audit.entry(caller, AuditAction.EXPERIMENT_CLOSED, path.experiment_id)
        progress = await use_cases.experiments.close_experiment(
            caller.project_id, path.experiment_id, audit=audit
        )
        run = progress.run
        return ClosedExperiment(
            id=path.experiment_id, run_id=run.id, status=ExperimentStatus(run.status.value)
        )

    @get("/{experiment_id:str}/items", CAN_READ, example=page_of(examples.EXPERIMENT_ITEM))
    async def list_experiment_items(
        self, caller: Caller, path: ExperimentPath, params: PageQuery, use_cases: UseCases
    ) -> PaginatedResponse[ExperimentItemResponse]:
        """List the items of an experiment.

        A page of its items by id, each with its results: the trace, its latency, tokens and cost,
        and the scores of the run.
        """
        project, experiment = caller.project_id, path.experiment_id
        requested = ITEMS.parse_page(params, project, experiment, None, SortOrder.ASC)
        known, page = await use_cases.experiments.read_items(project, experiment, requested.page)
        return requested.respond(
            page, lambda one: ExperimentItemResponse.from_domain(*one, known.repetitions)
        )

    @delete("/{experiment_id:str}", CAN_EVALUATE)
    async def delete_experiment(
        self, caller: Caller, path: ExperimentPath, use_cases: UseCases
    ) -> None:
        """Delete an experiment.

        Deletes the binding alone: its traces, its run and the scores stay.
        """
        audit = use_cases.audit.entry(caller, AuditAction.EXPERIMENT_DELETED, path.experiment_id)
        await use_cases.experiments.delete_experiment(
            caller.project_id, path.experiment_id, audit=audit
        )
