"""The catalogue of metrics, run templates, and judge providers."""

from dataclasses import replace
from typing import Annotated

import msgspec
from litestar import Controller
from msgspec import Meta

from application.use_cases import UseCases
from domain.errors import Invalid
from domain.evaluation.judging import prompt
from domain.evaluation.judging.models import HEURISTIC_MODEL, ProviderState
from domain.evaluation.metrics.metric import (
    THRESHOLD,
    Category,
    Direction,
    EvaluationMethod,
    Metric,
)
from domain.evaluation.metrics.skips import skip_codes
from domain.evaluation.scores.outcome import SkipCode
from domain.identity.caller import Caller
from entrypoints.http.authentication import CAN_READ
from entrypoints.http.controllers.runs.schemas import EvalRunFilters
from entrypoints.http.endpoint import get
from entrypoints.http.response_structs import GIVEN, WHOLE, ResponseStruct, Source


class TemplateQuery(msgspec.Struct, frozen=True, kw_only=True):
    metric: Annotated[
        str,
        Meta(
            description="The name of a metric of traces",
            examples=["task_completion"],
        ),
    ]


class SkipReason(ResponseStruct[SkipCode], frozen=True, kw_only=True):
    """Why a score is skipped; `code` is that of its metadata."""

    code: Annotated[str, Source(WHOLE, str)]
    reason: str


def _skip_reasons(metric: Metric) -> list[SkipReason] | None:
    codes = skip_codes(metric)
    return None if codes is None else [SkipReason.from_domain(one) for one in codes]


def _success_threshold(metric: Metric) -> float | None:
    return None if metric.direction is Direction.NEUTRAL else metric.threshold


class MetricSummary(ResponseStruct[Metric], frozen=True, kw_only=True):
    """A metric. Its scores are between 0 and 1.

    `method`: a judge reads the trace (`judged`), texts are compared (`embedded`), the number is
    computed (`measured`), or is aggregated from signals of a session (`rolled_up`). Scores from
    `threshold` on succeed; null if neither end is better. `revision` is that of a custom metric.
    `skipped_when` are the reasons why there may be no number; null for a custom metric.
    """

    name: str
    description: str
    category: Category
    method: EvaluationMethod
    threshold: Annotated[float | None, Source(WHOLE, _success_threshold)]
    revision: int | None
    skipped_when: Annotated[list[SkipReason] | None, Source(WHOLE, _skip_reasons)]


class PromptPreview(ResponseStruct[prompt.Stage], frozen=True, kw_only=True):
    """One stage of an evaluation, and its prompt."""

    stage: str
    prompt: str


class MetricDetail(MetricSummary, frozen=True, kw_only=True):
    """`prompt_preview` is empty for a computed metric. Scores from the threshold on succeed."""

    default_threshold: Annotated[float, Source("threshold")]
    prompt_preview: Annotated[list[PromptPreview], GIVEN]


def _metric_detail(template: prompt.RunTemplate) -> MetricDetail:
    stages = [PromptPreview.from_domain(stage) for stage in template.prompt_preview]
    return MetricDetail.from_domain(template.metric, prompt_preview=stages)


class EvalRunTemplate(ResponseStruct[prompt.RunTemplate], frozen=True, kw_only=True):
    """A request for a run, to be edited and sent."""

    metric: Annotated[MetricDetail, Source(WHOLE, _metric_detail)]
    filters: Annotated[EvalRunFilters, Source(WHOLE, lambda _: EvalRunFilters())]
    sampling_rate: float
    model: str | None


class JudgeProvider(ResponseStruct[ProviderState], frozen=True, kw_only=True):
    """A provider of judge models, and whether it can be used."""

    key: Annotated[str, Source("provider.key")]
    name: Annotated[str, Source("provider.name")]
    description: Annotated[str, Source("provider.description")]
    available: Annotated[bool, Source("is_available")]
    message: str


class EvaluationCatalogueController(Controller):
    path = "/evaluations"

    @get(
        "/trace-metrics",
        CAN_READ,
        example=[
            {
                "name": "task_completion",
                "description": "Whether the agent did what was asked",
                "category": "trace",
                "method": "judged",
                "threshold": THRESHOLD,
                "revision": None,
                "skipped_when": [
                    {"code": "no_steps", "reason": "the trace has no step to look at"}
                ],
            }
        ],
    )
    async def list_trace_metrics(self, caller: Caller, use_cases: UseCases) -> list[MetricSummary]:
        """List metrics of traces.

        Every metric that a run over traces can use, sorted by name, custom metrics included.
        """
        metrics = await use_cases.evaluation.list_metrics(caller.project_id, Category.TRACE)
        return [MetricSummary.from_domain(metric) for metric in metrics]

    @get(
        "/session-metrics",
        CAN_READ,
        example=[
            {
                "name": "agent_reliability",
                "description": "Tail risk: how bad the worst traces of the session are",
                "category": "session",
                "method": "rolled_up",
                "threshold": THRESHOLD,
                "revision": None,
                "skipped_when": [
                    {"code": "no_steps", "reason": "the trace has no step to look at"}
                ],
            }
        ],
    )
    async def list_session_metrics(
        self, caller: Caller, use_cases: UseCases
    ) -> list[MetricSummary]:
        """List metrics of sessions.

        Every metric that a run over sessions can use, sorted by name.
        """
        metrics = await use_cases.evaluation.list_metrics(caller.project_id, Category.SESSION)
        return [MetricSummary.from_domain(metric) for metric in metrics]

    @get(
        "/trace-runs/template",
        CAN_READ,
        example={
            "metric": {
                "name": "tool_correctness",
                "description": "Whether the right tools were called",
                "category": "trace",
                "method": "judged",
                "threshold": THRESHOLD,
                "revision": None,
                "skipped_when": [
                    {"code": "no_steps", "reason": "the trace has no step to look at"}
                ],
                "default_threshold": THRESHOLD,
                "prompt_preview": [{"stage": "judge", "prompt": "Criterion: …"}],
            },
            "filters": dict.fromkeys(EvalRunFilters.__struct_fields__),
            "sampling_rate": 1.0,
            "model": HEURISTIC_MODEL,
        },
    )
    async def read_run_template(
        self, caller: Caller, params: TemplateQuery, use_cases: UseCases
    ) -> EvalRunTemplate:
        """Read a run template.

        A request for a run over traces with one metric, to be edited and sent, and the prompt that
        a judge gets for that metric.
        """
        read = use_cases.evaluation.read_run_template
        try:
            template = await read(caller.project_id, params.metric)
        except Invalid as invalid:  # names the query parameter
            [error] = invalid.errors
            raise Invalid.fields([replace(error, field="query.metric")]) from invalid
        return EvalRunTemplate.from_domain(template)

    @get(
        "/providers",
        CAN_READ,
        example=[
            {
                "key": "heuristic",
                "name": "Built-in heuristics",
                "description": "Rules over features of the trace",
                "available": True,
                "message": "Ready",
            }
        ],
    )
    async def list_providers(self, use_cases: UseCases) -> list[JudgeProvider]:
        """List providers of judges.

        All providers of judge models, and whether the server is configured to use them. No provider
        is called.
        """
        providers = use_cases.evaluation.providers
        return [JudgeProvider.from_domain(provider) for provider in providers]
