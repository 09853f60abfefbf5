"""The eleven tools: what each takes, asks of the service, and answers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from math import ceil
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from domain.evaluation.evidence.redaction import RedactionMode
from domain.identity.api_key import Scope
from domain.tracing.spans.span_analytics import GROUPS_MAX
from domain.tracing.spans.span_tree import labelled_spans
from domain.tracing.trace import Trace
from entrypoints.mcp.answer import TOKENS_DEFAULT, TOKENS_MAX, TOKENS_MIN, Fence, View, written
from entrypoints.mcp.confirmations import CONFIRM_S, check_confirmation, confirmation_id
from entrypoints.mcp.list_views import comparison_view, session_view, traces_view
from entrypoints.mcp.responses import (
    AccessRow,
    ComparisonRow,
    CostRow,
    ErrorGroupRow,
    EstimateRow,
    ModelRow,
    OutlineTraceRow,
    Page,
    RunRow,
    ScoreRow,
    ScoreSummaryRow,
    SpanAnalyticsRow,
    SpanRow,
    TraceRow,
    TurnRow,
    VolumeRow,
    WholeTrace,
)
from entrypoints.mcp.score_views import (
    Figures,
    Topic,
    estimate_view,
    label_view,
    run_view,
    scores_view,
    summary_view,
)
from entrypoints.mcp.service_client import (
    Credential,
    ServiceClient,
    TooLargeError,
    ToolError,
    path_of,
)
from entrypoints.mcp.span_views import errors_view, figures_view
from entrypoints.mcp.trace_views import StepPart, find_step, step_view, trace_view

TURNS_READ: Final = 100  # of a session, on one page
STEPS_READ: Final = 1_000  # of a comparison, on one page
PERIOD_DEFAULT: Final = timedelta(days=7)
PERIOD_MAX: Final = timedelta(days=366)
HOURLY_UP_TO: Final = timedelta(days=2)
TARGETS_MAX: Final = 50  # of a run; more are started over the API or the dashboard
COST_DIGITS: Final = 4  # of the limit of a run, in USD
SAID_TWICE_S: Final = 300  # within which an equal label is a repeated request

type MaxTokens = Annotated[
    int,
    Meta(
        ge=TOKENS_MIN,
        le=TOKENS_MAX,
        description="The most tokens that the answer may take, counted from above",
    ),
]
type Text = Annotated[str, Meta(min_length=1, max_length=1_000)]
type Offset = Annotated[int, Meta(ge=0, le=10_000_000)]
type Instant = Annotated[datetime, Meta(tz=True, description="ISO 8601, with an offset or Z")]
type Id = Annotated[UUID, Meta(description="The id of a trace")]


class SearchTraces(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    query: Annotated[
        Text | None,
        Meta(
            description=(
                "Words in names, inputs, outputs or errors of the trace or its steps; all of them "
                'occur. "several words" follow each other, begin* is the beginning of a word. '
                "Newest first, without sort_by and offset"
            )
        ),
    ] = None
    name: Annotated[Text | None, Meta(description="A part of the name")] = None
    session_id: Text | None = None
    user_id: Text | None = None
    status: Literal["COMPLETED", "ERROR", "PENDING", "RUNNING"] | None = None
    has_error: Annotated[
        bool | None, Meta(description="Whether the trace or one of its steps failed")
    ] = None
    tags: Annotated[list[Text], Meta(max_length=20, description="It has one of them")] = []
    model: Text | None = None
    environment: Text | None = None
    release: Text | None = None
    started_after: Instant | None = None
    started_before: Instant | None = None
    min_latency_ms: Annotated[float, Meta(ge=0)] | None = None
    step_kind: Annotated[
        Literal["AGENT", "TOOL", "LLM", "RETRIEVER", "CHAIN", "EMBEDDING", "OTHER"] | None,
        Meta(description="It has a step of this kind"),
    ] = None
    step_name: Annotated[
        Text | None,
        Meta(description="It has a step with exactly this name, such as the name of a tool"),
    ] = None
    score: Annotated[
        Text | None,
        Meta(description="It has a score of this name; score_min and score_max are inclusive"),
    ] = None
    score_min: Annotated[float, Meta(ge=0, le=1)] | None = None
    score_max: Annotated[float, Meta(ge=0, le=1)] | None = None
    score_outcome: Literal["scored", "failed", "skipped"] | None = None
    sort_by: Literal["started_at", "ended_at", "latency", "name"] = "started_at"
    sort_order: Literal["asc", "desc"] = "desc"
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    offset: Offset = 0
    max_tokens: MaxTokens = TOKENS_DEFAULT


class GetTrace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    trace_id: Id
    focus: Annotated[
        Text | None,
        Meta(
            description=(
                "errors: failed steps and what they are inside of; tools: tool calls; cost: the "
                "steps that cost most; or the label (s1.2) or id of a step: what is around it. "
                "Without it: all steps"
            )
        ),
    ] = None
    max_tokens: MaxTokens = TOKENS_DEFAULT


class GetStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    trace_id: Id
    step: Annotated[Text, Meta(description="Its label in the tree, such as s1.2, or its id")]
    part: Annotated[
        Literal["input", "output", "metadata", "error"] | None,
        Meta(description="Show only this, from `offset` on; without it, the beginning of all"),
    ] = None
    offset: Annotated[Offset, Meta(description="How many characters of `part` to skip")] = 0
    max_tokens: MaxTokens = TOKENS_DEFAULT


class GetSession(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    session_id: Text
    offset: Annotated[Offset, Meta(description="How many turns to skip")] = 0
    max_tokens: MaxTokens = TOKENS_DEFAULT


class CompareTraces(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    a: Annotated[UUID, Meta(description="The trace to compare with, such as one that succeeded")]
    b: Annotated[UUID, Meta(description="The trace that is compared, such as one that failed")]
    after: Annotated[Offset, Meta(description="How many differing steps to skip")] = 0
    max_tokens: MaxTokens = TOKENS_DEFAULT


class ExplainScore(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    trace_id: Annotated[UUID | None, Meta(description="The trace, or else session_id")] = None
    session_id: Text | None = None
    step: Annotated[
        Text | None,
        Meta(description="The label or id of a step of the trace: its scores instead"),
    ] = None
    name: Annotated[Text | None, Meta(description="The metric; without it, all scores")] = None
    max_tokens: MaxTokens = TOKENS_DEFAULT


class InPeriod(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    started_after: Annotated[
        Instant | None, Meta(description="By default 7 days before the end")
    ] = None
    started_before: Annotated[Instant | None, Meta(description="By default now")] = None

    def period(self, now: datetime) -> tuple[datetime, datetime]:
        """The period in UTC. Raises ToolError if it is empty, too long, or outside of all years."""
        end = _utc(self.started_before or now)
        start = _before(end, PERIOD_DEFAULT) if self.started_after is None else self.started_after
        start = _utc(start)
        if not timedelta(0) < end - start <= PERIOD_MAX:
            raise ToolError(
                f"started_after must be before started_before, and at most {PERIOD_MAX.days} days"
            )
        return start, end


def _utc(value: datetime) -> datetime:
    """Raises ToolError if it has no year there."""
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ToolError(f"{value.isoformat()} is before year 1 or after 9999 in UTC") from error


def _before(value: datetime, length: timedelta) -> datetime:
    """Raises ToolError before year 1."""
    try:
        return value - length
    except OverflowError as error:
        raise ToolError(
            f"{length.days} days before {value.date()} is before year 1: choose a later time"
        ) from error


class AnalyzeSteps(InPeriod, frozen=True, kw_only=True):
    group_by: Annotated[
        Literal["kind", "name", "model", "error"],
        Meta(description="model: only steps with a model; error: only failed steps"),
    ] = "name"
    interval: Annotated[
        Literal["none", "hour", "day", "week"],
        Meta(description="Figures over time; none: of the period in all"),
    ] = "none"
    sort_by: Annotated[
        Literal["count", "errors", "error_rate", "latency", "tokens", "cost"],
        Meta(description="The greatest first"),
    ] = "count"
    kind: Literal["AGENT", "CHAIN", "EMBEDDING", "LLM", "OTHER", "RETRIEVER", "TOOL"] | None = None
    name: Annotated[Text | None, Meta(description="Exactly this name")] = None
    model: Text | None = None
    has_error: bool | None = None
    environment: Text | None = None
    release: Text | None = None
    session_id: Text | None = None
    user_id: Text | None = None
    limit: Annotated[int, Meta(ge=1, le=GROUPS_MAX, description="Groups")] = 20
    max_tokens: MaxTokens = TOKENS_DEFAULT


class ListErrors(InPeriod, frozen=True, kw_only=True):
    is_new: Annotated[
        bool | None, Meta(description="Whether no step failed like this before the period")
    ] = None
    sort_by: Literal["last_seen", "first_seen", "count"] = "count"
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    offset: Offset = 0
    max_tokens: MaxTokens = TOKENS_DEFAULT


class Summarize(InPeriod, frozen=True, kw_only=True):
    topic: Literal["errors", "cost", "latency", "scores", "all"] = "all"
    max_tokens: MaxTokens = TOKENS_DEFAULT


class RunEvaluation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    metrics: Annotated[
        list[Text], Meta(min_length=1, max_length=20, description="Such as task_completion")
    ]
    trace_ids: Annotated[list[UUID], Meta(max_length=TARGETS_MAX)] = []
    session_ids: Annotated[list[Text], Meta(max_length=TARGETS_MAX)] = []
    model: Annotated[Text | None, Meta(description="The judge; by default the server's")] = None
    max_cost_usd: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="By default the upper bound of the estimate"),
    ] = None
    confirm: Annotated[
        Text | None, Meta(description="The id of the estimate; without it, nothing runs")
    ] = None
    max_tokens: MaxTokens = TOKENS_DEFAULT


class Label(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    trace_id: Id
    name: Annotated[Text, Meta(description="What is labelled, such as the name of a metric")]
    value: Annotated[Text, Meta(description="A number from 0 to 1, true or false, or a category")]
    data_type: Literal["NUMERIC", "BOOLEAN", "CATEGORICAL"] = "NUMERIC"
    reason: Text | None = None
    step: Annotated[Text | None, Meta(description="The label or id of a step, to label it")] = None
    by_person: Annotated[
        bool, Meta(description="True only if a person told you this value: judges learn from it")
    ] = False
    max_tokens: MaxTokens = TOKENS_DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolbox:
    """The dependencies of tools. `now` is the present instant, aware."""

    service: ServiceClient
    fence: Fence
    masking: RedactionMode
    now: Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a tool: reads the service with its credential."""

    box: Toolbox
    credential: Credential

    async def get[T](self, path: str, kind: type[T]) -> T:
        return await self.box.service.get(self.credential, path, kind)


type Run[A] = Callable[[Caller, A], Awaitable[View]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool as it is listed. It appears only to callers with all of `scopes`."""

    name: str
    title: str
    about: str
    arguments: type[Any]
    run: Run[Any]
    scopes: frozenset[Scope] = frozenset({Scope.READ})
    is_read_only: bool = True

    @property
    def input_schema(self) -> dict[str, Any]:
        """JSON Schema of the arguments, without references."""
        [_], components = msgspec.json.schema_components([self.arguments], ref_template="{name}")
        schema: dict[str, Any] = components[self.arguments.__name__]
        schema.pop("title")
        return {"type": "object", **schema}


async def read_access(service: ServiceClient, credential: Credential) -> AccessRow:
    """The scopes of a credential in its project. Raises ToolError."""
    return await service.get(credential, "/access", AccessRow)


async def call(tool: Tool, arguments: Mapping[str, Any], caller: Caller) -> str:
    """The answer of a tool, within its budget. Raises ToolError."""
    try:
        given = msgspec.convert(arguments, tool.arguments, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(tool.arguments.__struct_fields__)
        raise ToolError(f"invalid arguments: {error}. {tool.name} takes {known}") from error
    view = await tool.run(caller, given)
    return written(view, given.max_tokens, caller.box.fence)


# --- reading ---------------------------------------------------------------------------------


async def search_traces(caller: Caller, request: SearchTraces) -> View:
    path = path_of(
        "traces",
        name=request.name,
        session_id=request.session_id,
        user_id=request.user_id,
        status=request.status,
        has_error=request.has_error,
        tags=request.tags or None,
        model=request.model,
        environment=request.environment,
        release=request.release,
        started_after=_iso(request.started_after),
        started_before=_iso(request.started_before),
        min_latency_ms=request.min_latency_ms,
        span_kind=request.step_kind,
        span_name=request.step_name,
        score=request.score,
        score_min=request.score_min,
        score_max=request.score_max,
        score_outcome=request.score_outcome,
        query=request.query,
        sort_by=request.sort_by,
        sort_order=request.sort_order,
        include="preview,scores,errors",
        limit=request.limit,
        offset=request.offset,
    )
    page = await caller.get(path, Page[TraceRow])
    return traces_view(
        page,
        is_search=request.query is not None,
        offset=request.offset,
        tokens=request.max_tokens,
        masking=caller.box.masking,
        rest=path,
    )


async def get_trace(caller: Caller, request: GetTrace) -> View:
    trace, has_payloads = await _read_trace(caller, request.trace_id)
    return await asyncio.to_thread(
        trace_view,
        trace,
        tokens=request.max_tokens,
        masking=caller.box.masking,
        focus=request.focus,
        has_payloads=has_payloads,
    )


async def _read_trace(caller: Caller, trace_id: UUID) -> tuple[Trace, bool]:
    """A trace, and whether it has its payloads: a very large one is read without."""
    path = path_of("traces", trace_id)
    try:
        whole = await caller.get(path, WholeTrace)
        return await asyncio.to_thread(whole.to_domain), True
    except TooLargeError:
        return (await caller.get(f"{path}/outline", OutlineTraceRow)).to_domain(), False


async def get_step(caller: Caller, request: GetStep) -> View:
    label, span_id = await _find_step(caller, request.trace_id, request.step)
    row = await caller.get(path_of("traces", request.trace_id, "spans", span_id), SpanRow)
    return await asyncio.to_thread(
        step_view,
        request.trace_id,
        label,
        row.to_domain(),
        tokens=request.max_tokens,
        masking=caller.box.masking,
        wanted=None if request.part is None else StepPart(request.part),
        offset=request.offset,
    )


async def _find_step(caller: Caller, trace_id: UUID, name: str) -> tuple[str | None, UUID]:
    """The label of a step, if it is known, and its id."""
    try:
        return None, UUID(name)
    except ValueError:
        trace, _ = await _read_trace(caller, trace_id)
        labelled = labelled_spans(trace.spans)
        label, span = labelled[find_step(labelled, name)]
        return label, span.id


async def get_session(caller: Caller, request: GetSession) -> View:
    path = path_of("sessions", request.session_id, "turns", limit=TURNS_READ, offset=request.offset)
    page = await caller.get(path, Page[TurnRow])
    scores = await caller.get(
        path_of("evaluations", "session-scores", request.session_id), list[ScoreRow]
    )
    return await asyncio.to_thread(
        session_view,
        page,
        scores,
        offset=request.offset,
        tokens=request.max_tokens,
        masking=caller.box.masking,
        rest=path,
    )


async def compare_traces(caller: Caller, request: CompareTraces) -> View:
    path = path_of(
        "traces",
        "compare",
        a=request.a,
        b=request.b,
        only_changes=True,
        limit=STEPS_READ,
        after=request.after,
    )
    found = await caller.get(path, ComparisonRow)
    return comparison_view(
        found, after=request.after, tokens=request.max_tokens, masking=caller.box.masking, rest=path
    )


async def explain_score(caller: Caller, request: ExplainScore) -> View:
    if (request.trace_id is None) == (request.session_id is None):
        raise ToolError("give either trace_id or session_id")
    if request.trace_id is None and request.step is not None:
        raise ToolError("give the trace_id of the step")
    trace = None
    if request.trace_id is not None and request.step is not None:
        label, span_id = await _find_step(caller, request.trace_id, request.step)
        path = path_of("evaluations", "trace-scores", request.trace_id, span_id=span_id)
        about = f"step {label or span_id} of trace {request.trace_id}"
    elif request.trace_id is not None:
        path, about = (
            path_of("evaluations", "trace-scores", request.trace_id),
            f"trace {request.trace_id}",
        )
    else:
        path, about = path_of("evaluations", "session-scores", request.session_id), "the session"
    scores = await caller.get(path, list[ScoreRow])
    chosen = [score for score in scores if request.name in {None, score.name}]
    has_payloads = True
    if request.trace_id is not None and any(score.metadata.get("evidence") for score in chosen):
        trace, has_payloads = await _read_trace(caller, request.trace_id)
    return await asyncio.to_thread(
        scores_view,
        chosen,
        trace,
        about=about,
        has_payloads=has_payloads,
        tokens=request.max_tokens,
        masking=caller.box.masking,
        rest=path,
    )


async def summarize(caller: Caller, request: Summarize) -> View:
    start, end = request.period(caller.box.now())
    topics = list(Topic) if request.topic == "all" else [Topic(request.topic)]
    earlier = (_before(start, end - start), start)
    now, before = await asyncio.gather(
        _figures(caller, (start, end), topics), _figures(caller, earlier, topics)
    )
    return summary_view(
        now,
        before,
        period=(start, end),
        granularity=_granularity((start, end)),
        topics=topics,
        tokens=request.max_tokens,
        masking=caller.box.masking,
        rest=f"{_analytics((start, end), 'volume')} (and metric=cost, metric=models; "
        "/evaluations/analytics/trace-scores/summary)",
    )


async def analyze_steps(caller: Caller, request: AnalyzeSteps) -> View:
    period = request.period(caller.box.now())
    path = path_of(
        *("analytics", "spans"),
        group_by=request.group_by,
        interval=request.interval,
        sort_by=request.sort_by,
        started_after=_iso(period[0]),
        started_before=_iso(period[1]),
        kind=request.kind,
        name=request.name,
        model=request.model,
        has_error=request.has_error,
        environment=request.environment,
        release=request.release,
        session_id=request.session_id,
        user_id=request.user_id,
        limit=request.limit,
    )
    found = await caller.get(path, SpanAnalyticsRow)
    return figures_view(
        found,
        group_by=request.group_by,
        limit=request.limit,
        period=period,
        tokens=request.max_tokens,
        masking=caller.box.masking,
        rest=path,
    )


async def list_errors(caller: Caller, request: ListErrors) -> View:
    period = request.period(caller.box.now())
    path = path_of(
        "errors",
        started_after=_iso(period[0]),
        started_before=_iso(period[1]),
        is_new=request.is_new,
        sort_by=request.sort_by,
        limit=request.limit,
        offset=request.offset,
    )
    page = await caller.get(path, Page[ErrorGroupRow])
    return errors_view(
        page,
        period=period,
        offset=request.offset,
        tokens=request.max_tokens,
        masking=caller.box.masking,
        rest=path,
    )


async def _figures(
    caller: Caller, period: tuple[datetime, datetime], topics: Sequence[Topic]
) -> Figures:
    async def nothing() -> list[Any]:
        return []

    has_cost, has_scores = Topic.COST in topics, Topic.SCORES in topics
    scores = path_of(
        *("evaluations", "analytics", "trace-scores", "summary"),
        date_from=_iso(period[0]),
        date_to=_iso(period[1]),
    )
    volume, costs, models, summaries = await asyncio.gather(
        caller.get(_analytics(period, "volume"), list[VolumeRow]),
        caller.get(_analytics(period, "cost"), list[CostRow]) if has_cost else nothing(),
        caller.get(_analytics(period, "models"), list[ModelRow]) if has_cost else nothing(),
        caller.get(scores, list[ScoreSummaryRow]) if has_scores else nothing(),
    )
    return Figures(volume=volume, costs=costs, models=models, scores=summaries)


def _granularity(period: tuple[datetime, datetime]) -> Literal["hour", "day"]:
    return "hour" if period[1] - period[0] <= HOURLY_UP_TO else "day"


def _analytics(period: tuple[datetime, datetime], metric: str) -> str:
    return path_of(
        *("traces", "analytics"),
        metric=metric,
        granularity=_granularity(period),
        started_after=_iso(period[0]),
        started_before=_iso(period[1]),
    )


def _iso(value: datetime | None) -> str | None:
    return None if value is None else _utc(value).isoformat()


# --- writing ---------------------------------------------------------------------------------


async def run_evaluation(caller: Caller, request: RunEvaluation) -> View:
    if bool(request.trace_ids) == bool(request.session_ids):
        raise ToolError("give either trace_ids or session_ids")
    path = f"/evaluations/{'trace' if request.trace_ids else 'session'}-runs/batch"
    asked = _run_body(request, request.max_cost_usd)
    service, credential, now_s = caller.box.service, caller.credential, _seconds(caller.box.now())
    if request.confirm is None:
        estimate = await service.post(credential, f"{path}/estimate", EstimateRow, asked)
        cap = _cap(request, estimate)
        made = confirmation_id(credential, path, _run_body(request, cap), now_s)
        confirmation = f"{made}:{'' if cap is None else cap}"
        return estimate_view(
            estimate,
            confirmation=confirmation,
            cap=cap,
            minutes=CONFIRM_S // 60,
            rest=f"POST {path}/estimate",
        )
    made, _, written_cap = request.confirm.partition(":")
    # If the caller repeats the limit, it must match: a lower one must not be ignored.
    cap = _number(written_cap) if request.max_cost_usd is None else request.max_cost_usd
    body = _run_body(request, cap)
    check_confirmation(made, credential, path, body, now_s)
    key = sha256(request.confirm.encode()).hexdigest()  # confirmed twice, it runs once
    run = await service.post(credential, path, RunRow, body, idempotency_key=key)
    return run_view(run, path=path.removesuffix("/batch"), rest=f"POST {path}")


def _run_body(request: RunEvaluation, cap: float | None) -> Mapping[str, object]:
    body: dict[str, object] = {"metrics": request.metrics}
    if request.trace_ids:
        body["trace_ids"] = [str(one) for one in request.trace_ids]
    else:
        body["session_ids"] = request.session_ids
    if request.model is not None:
        body["model"] = request.model
    if cap is not None:
        body["max_cost_usd"] = cap
    return body


def _cap(request: RunEvaluation, estimate: EstimateRow) -> float | None:
    """The most that the run may cost: what was said, else the upper bound of the estimate."""
    if request.max_cost_usd is not None or estimate.cost_usd is None or not estimate.cost_usd.high:
        return request.max_cost_usd
    scale: int = 10**COST_DIGITS
    return ceil(estimate.cost_usd.high * scale) / scale


def _number(text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _seconds(at: datetime) -> int:
    return int(at.timestamp())


async def label(caller: Caller, request: Label) -> View:
    body: dict[str, object] = {
        "trace_id": str(request.trace_id),
        "name": request.name,
        "value": request.value,
        "data_type": request.data_type,
        "source": "ANNOTATION" if request.by_person else "PROGRAMMATIC",
    }
    if request.reason is not None:
        body["reason"] = request.reason
    if request.step is not None:
        _, span_id = await _find_step(caller, request.trace_id, request.step)
        body["span_id"] = str(span_id)
    # Said twice, stored once; but said again later, it may differ from what was said in between.
    period = _seconds(caller.box.now()) // SAID_TWICE_S
    key = sha256(msgspec.json.encode([body, period], order="sorted")).hexdigest()
    path = "/evaluations/trace-scores"
    score = await caller.box.service.post(
        caller.credential, path, ScoreRow, body, idempotency_key=key
    )
    return label_view(score, rest=f"POST {path}")


_MAY_EVALUATE: Final = frozenset({Scope.EVALUATE})
_MAY_SCORE: Final = frozenset({Scope.INGEST})

TOOLS: Final = (
    Tool(
        name="search_traces",
        title="Find traces",
        about=(
            "Lists the runs of agents that match all filters, newest first: id, status, latency, "
            "tokens, cost, and the beginning of input and output. has_error finds what failed."
        ),
        arguments=SearchTraces,
        run=search_traces,
    ),
    Tool(
        name="get_trace",
        title="Read a trace",
        about=(
            "One run of an agent: what was asked and answered, and its steps with labels such as "
            's1.2, errors, tool arguments and outputs. To find why it failed: focus="errors".'
        ),
        arguments=GetTrace,
        run=get_trace,
    ),
    Tool(
        name="get_step",
        title="Read a step",
        about="One step of a trace with its input, output, error and metadata, whole or in parts.",
        arguments=GetStep,
        run=get_step,
    ),
    Tool(
        name="get_session",
        title="Read a session",
        about="A conversation: what the user asked and the agent answered, turn by turn.",
        arguments=GetSession,
        run=get_session,
    ),
    Tool(
        name="compare_traces",
        title="Compare two traces",
        about=(
            "Aligns two traces step by step: which steps were added, are missing or changed in b, "
            "with status, errors, latency, tokens and cost of both."
        ),
        arguments=CompareTraces,
        run=compare_traces,
    ),
    Tool(
        name="explain_score",
        title="Explain a score",
        about=(
            "The scores of a trace, step or session with their reasons, and the steps that a judge "
            "cited."
        ),
        arguments=ExplainScore,
        run=explain_score,
    ),
    Tool(
        name="summarize",
        title="Summarize a period",
        about=(
            "Errors, cost, latency and scores of a period against the one of equal length before "
            "it, and what changed. By default the last 7 days."
        ),
        arguments=Summarize,
        run=summarize,
    ),
    Tool(
        name="analyze_steps",
        title="Analyze steps",
        about=(
            "Counts, failures, latencies, tokens and cost of the steps of all traces of a period, "
            "by kind, name, model or error, in all or over time: which tool fails most, what a "
            "model costs a day, what is slow. By default the last 7 days."
        ),
        arguments=AnalyzeSteps,
        run=analyze_steps,
    ),
    Tool(
        name="list_errors",
        title="List errors",
        about=(
            "The errors of failed steps in a period by groups that differ only in ids and numbers: "
            "how often, since when, in which releases, with the newest failed step. is_new=true "
            "finds what began in the period."
        ),
        arguments=ListErrors,
        run=list_errors,
    ),
    Tool(
        name="run_evaluation",
        title="Evaluate traces or sessions",
        about=(
            "Scores traces or sessions by metrics. The first call runs nothing: it answers with "
            "the estimate and an id. The same call with confirm=id starts the run, which may cost "
            "money."
        ),
        arguments=RunEvaluation,
        run=run_evaluation,
        scopes=_MAY_EVALUATE,
        is_read_only=False,
    ),
    Tool(
        name="label",
        title="Label a trace or step",
        about="Stores a score that you or a person gave to a trace, or to one of its steps.",
        arguments=Label,
        run=label,
        scopes=_MAY_SCORE,
        is_read_only=False,
    ),
)
BY_NAME: Final = {tool.name: tool for tool in TOOLS}


def tools_for(scopes: Sequence[str]) -> Sequence[Tool]:
    """The tools that a caller with these scopes may use."""
    return [tool for tool in TOOLS if tool.scopes <= set(scopes)]
