"""A span: one step of a trace."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final, Self

from domain.errors import Invalid
from domain.frozen_by_types import frozen_by_types
from domain.ids import SpanId
from domain.tracing.change import UNCHANGED, Clearable, given_fields, later_status, latest
from domain.tracing.payloads.payload import EMPTY_OBJECT, JsonText, merged_objects
from domain.tracing.usage import (
    EXACT,
    CostSource,
    Pricing,
    SpanCost,
    Usage,
    UsageRole,
    span_cost,
)

_MILLISECOND: Final = timedelta(milliseconds=1)
_MICROSECOND: Final = timedelta(microseconds=1)


class SpanKind(StrEnum):
    AGENT = "AGENT"
    TOOL = "TOOL"
    LLM = "LLM"
    RETRIEVER = "RETRIEVER"
    CHAIN = "CHAIN"
    EMBEDDING = "EMBEDDING"
    OTHER = "OTHER"


class SpanStatus(StrEnum):
    UNSET = "UNSET"
    OK = "OK"
    ERROR = "ERROR"


MODEL_CALLS: Final = frozenset({SpanKind.LLM, SpanKind.EMBEDDING})
FINAL_SPAN_STATUSES: Final = frozenset({SpanStatus.OK, SpanStatus.ERROR})


def elapsed_ms(start: datetime, end: datetime | None) -> float | None:
    """Milliseconds from `start` to `end`; None without an end, or if it is earlier than `start`.

    Clocks that disagree make an end earlier: the difference isn't a duration, and would spoil sums.
    """
    return None if end is None or end < start else (end - start) / _MILLISECOND


def elapsed_us(start: datetime, end: datetime | None) -> int | None:
    """As `elapsed_ms`, in whole microseconds: their sums are exact."""
    return None if end is None or end < start else (end - start) // _MICROSECOND


def is_before(start: datetime, *ends: datetime | None) -> bool:
    """Whether one of `ends` is earlier than `start`."""
    return any(end is not None and end < start for end in ends)


@frozen_by_types(kw_only=True)
class Span:
    """One step, as it was sent or as it is stored.

    As sent, None means "not given". `settled` returns the stored form, in which kind, status, usage
    and charge are always set. A `usage` that was sent takes precedence over the one that
    `Usage.from_token_usage` reads from `token_usage`. `provider` and `request_model` are known of
    OpenTelemetry spans only, as is `usage_role`, with which sums leave a span's usage and cost out.
    Times are aware, in UTC. Parents may be
    unknown or form cycles, and a span may end before it starts: the client's values are stored as
    they are.
    """

    id: SpanId
    name: str
    started_at: datetime
    parent_id: SpanId | None = None
    kind: SpanKind | None = None
    status: SpanStatus | None = None
    ended_at: datetime | None = None
    completion_started_at: datetime | None = None
    error: str | None = None
    model: str | None = None
    provider: str | None = None
    request_model: str | None = None
    input: JsonText | None = None
    output: JsonText | None = None
    metadata: JsonText = EMPTY_OBJECT
    token_usage: JsonText | None = None
    model_parameters: JsonText | None = None
    cost: Mapping[str, float] | None = None
    usage: Usage | None = None
    usage_role: UsageRole | None = None
    charge: SpanCost | None = None

    @property
    def latency_ms(self) -> float | None:
        return elapsed_ms(self.started_at, self.ended_at)

    @property
    def time_to_first_token_ms(self) -> float | None:
        return elapsed_ms(self.started_at, self.completion_started_at)

    @property
    def clock_skew(self) -> bool:
        """Whether it ended, or began to answer, before it started: it has no such duration."""
        return is_before(self.started_at, self.ended_at, self.completion_started_at)

    @property
    def is_unpriced(self) -> bool:
        """Whether what it cost is unknown: it called a model or has tokens, but no cost or price.

        Only settled spans have a charge. Usage with a role is the cost of another span.
        """
        charge, usage = self.charge, self.usage
        return (
            charge is not None
            and charge.source is CostSource.UNPRICED
            and self.usage_role is None
            and (
                self.kind in MODEL_CALLS
                or (usage is not None and usage.prompt_tokens + usage.completion_tokens > 0)
            )
        )

    @property
    def counted_usage(self) -> Usage | None:
        """The tokens that were counted; None if none were.

        The stored row of a span has 0 for tokens that weren't counted. Tokens that are there were.
        """
        usage = self.usage
        if usage is not None and (usage.is_known or usage.prompt_tokens or usage.completion_tokens):
            return usage
        counted = Usage.from_token_usage(self.token_usage)
        return counted if counted.is_known else None

    def merged(self, later: "Span") -> "Span":
        """This span with what `later` says of it: null and omitted fields keep what is known.

        Partial spans give the same result in any order, unless two values of one field differ: then
        the later wins, except that UNSET doesn't undo OK or ERROR. Usage and charge are kept while
        the fields they derive from stay the same. Raises Invalid if the metadata becomes too large.
        """
        both = Span(
            id=self.id,
            status=later_status(self.status, later.status, FINAL_SPAN_STATUSES),
            metadata=merged_span_metadata(self, later),
            usage=self.usage,
            charge=self.charge,
            **latest(self, later, _REPLACED),
        )
        return both.repriced_after(self, later.usage)

    def repriced_after(self, before: "Span", counted: Usage | None = None) -> Self:
        """The span without usage and charge if their sources changed; `settled` sets them again.

        `counted` came with a changed `token_usage`.
        """
        if _priced_by(self) == _priced_by(before):
            return self
        if self.token_usage == before.token_usage:
            counted = None if before.usage is None else before.usage.unless_recounted
        return replace(self, usage=counted, charge=None)

    def settled(self, pricing: Pricing) -> "Span":
        """The stored form: defaults filled in, usage and charge set where they are missing."""
        if self.charge is not None:
            return self
        usage = Usage.from_token_usage(self.token_usage) if self.usage is None else self.usage
        return Span(  # twice as fast as `replace`, and every ingested span passes here
            id=self.id,
            name=self.name,
            started_at=self.started_at,
            parent_id=self.parent_id,
            kind=self.kind or SpanKind.OTHER,
            status=self.status or SpanStatus.UNSET,
            ended_at=self.ended_at,
            completion_started_at=self.completion_started_at,
            error=self.error,
            model=self.model,
            provider=self.provider,
            request_model=self.request_model,
            input=self.input,
            output=self.output,
            metadata=self.metadata,
            token_usage=self.token_usage,
            model_parameters=self.model_parameters,
            cost=self.cost,
            usage=usage,
            usage_role=self.usage_role,
            charge=span_cost(
                self.cost,
                priced_models(self.model, self.provider, self.request_model),
                usage,
                self.started_at,
                pricing,
            ),
        )


def merged_span_metadata(*reports: Span) -> JsonText:
    """Merges the metadata of the reports of one span, in order. Raises Invalid, naming the span."""
    try:
        return merged_objects(*(report.metadata for report in reports))
    except Invalid as invalid:
        message = f"the metadata of {reports[0].id} {invalid.errors[0].message}"
        raise Invalid.field("spans", message) from invalid


_REPLACED: Final = [
    one.name
    for one in fields(Span)
    if one.name not in {"id", "status", "metadata", "usage", "charge"}
]


SELF_HOSTED_PROVIDERS: Final = frozenset(
    {
        *("ollama", "ollama_chat", "lmstudio", "lm_studio", "vllm", "hosted_vllm"),
        *("llama.cpp", "llamafile", "huggingface_local"),
    }
)
"""Providers, in lower case, whose models run on the sender's own machines: no table lists them."""

FRAMEWORKS: Final = frozenset({"strands-agents", "langchain", "langgraph", "microsoft"})
"""Names that frameworks send as the provider, in lower case: their own."""


def priced_models(
    model: str | None, provider: str | None, request_model: str | None
) -> Sequence[str]:
    """The names under which the model of a span may have a price, best first.

    The price table may know only the model that was asked for. The model alone may find the price
    of another seller. It is a name only if the span has no provider, or the provider is a
    framework, which doesn't say who was paid.
    """
    if not model:
        return ()
    if provider is None and request_model is None:
        return (model,)
    models = [one for one in (model, request_model) if one]
    if provider is None:
        return models
    own = provider.lower()
    if own in FRAMEWORKS:
        return [name for one in models for name in (f"{provider}/{one}", one)]
    # A model may name the provider itself: prices are found below one prefix.
    prefixes = SELF_HOSTED_PROVIDERS if own in SELF_HOSTED_PROVIDERS else {own}
    return [one if _has_prefix(one, prefixes) else f"{provider}/{one}" for one in models]


def _has_prefix(model: str, prefixes: Collection[str]) -> bool:
    prefix, slash, _ = model.partition("/")
    return bool(slash) and prefix.lower() in prefixes


def _priced_by(span: Span) -> tuple[object, ...]:
    return (
        span.cost, span.model, span.provider, span.request_model, span.token_usage, span.started_at
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums over the spans of a trace. Exact, so that a sum can be subtracted again.

    The cost of `unpriced` spans is unknown: `cost` is that of the others.
    """

    spans: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: Decimal = Decimal(0)
    errors: int = 0
    unpriced: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @classmethod
    def from_spans(cls, spans: Iterable[Span]) -> Self:
        """The sums over settled spans, each counted once. Usage with a role isn't counted."""
        count = prompt = completion = errors = unpriced = 0
        cost = Decimal(0)
        for span in spans:
            count += 1
            errors += span.status is SpanStatus.ERROR
            if span.usage_role is not None:
                continue
            if span.usage is not None:
                prompt += span.usage.prompt_tokens
                completion += span.usage.completion_tokens
            if span.charge is not None and span.charge.amount:
                cost = EXACT.add(cost, span.charge.amount)
            elif span.is_unpriced:
                unpriced += 1
        return cls(count, prompt, completion, cost, errors, unpriced)

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            self.spans + other.spans,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            EXACT.add(self.cost, other.cost),
            self.errors + other.errors,
            self.unpriced + other.unpriced,
        )

    def __sub__(self, other: "Totals") -> "Totals":
        return Totals(
            self.spans - other.spans,
            self.prompt_tokens - other.prompt_tokens,
            self.completion_tokens - other.completion_tokens,
            EXACT.subtract(self.cost, other.cost),
            self.errors - other.errors,
            self.unpriced - other.unpriced,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanChange:
    """New values of a span, as `TraceChange`. Name, kind and status can't be cleared."""

    name: str | None = None
    kind: SpanKind | None = None
    status: SpanStatus | None = None
    metadata: JsonText = EMPTY_OBJECT
    input: Clearable[JsonText] = UNCHANGED
    output: Clearable[JsonText] = UNCHANGED
    model: Clearable[str] = UNCHANGED
    token_usage: Clearable[JsonText] = UNCHANGED
    ended_at: Clearable[datetime] = UNCHANGED
    error: Clearable[str] = UNCHANGED
    completion_started_at: Clearable[datetime] = UNCHANGED
    model_parameters: Clearable[JsonText] = UNCHANGED
    cost: Clearable[Mapping[str, float]] = UNCHANGED

    def applied(self, span: Span, pricing: Pricing) -> Span:
        """The settled span after the change. Priced again only if what its price needs changed."""
        changed = replace(
            span,
            name=self.name or span.name,
            kind=self.kind or span.kind,
            status=self.status or span.status,
            metadata=merged_objects(span.metadata, self.metadata),
            **given_fields(self),
        )
        return changed.repriced_after(span).settled(pricing)
