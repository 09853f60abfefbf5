"""Computed metrics of the whole run: success, truncation, retrieval, instrumentation."""

from typing import Final

from domain.evaluation.metrics.metric import EvaluationMethod, Metric
from domain.evaluation.scores.outcome import Outcome, Scored, SkipCode, Skipped
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.messages import decode_json, is_blank
from domain.evaluation.trace_content.tool_calls import finish_reasons, is_length_limited
from domain.tracing.span import SpanKind, SpanStatus
from domain.tracing.trace import TraceStatus
from domain.tracing.usage import Usage


def trace_success(subject: EvaluatedTrace) -> Outcome:
    """1 if the trace is COMPLETED and none of its root spans failed, else 0."""
    if subject.is_running:
        return Skipped(SkipCode.TRACE_RUNNING)
    roots = [subject.spans[at] for at in subject.tree.roots]
    if subject.trace.status is TraceStatus.ERROR:
        return Scored(0.0, "the trace ended with an error")
    failed = sum(root.status is SpanStatus.ERROR for root in roots)
    if failed:
        return Scored(0.0, "a root span ended with an error", {"failed_roots": failed})
    return Scored(1.0, "the run ended without an error")


def untruncated_rate(subject: EvaluatedTrace) -> Outcome:
    """1 - model calls stopped by a length limit / model calls with a finish reason."""
    reasons_by_call = [reasons for span in subject.model_calls if (reasons := finish_reasons(span))]
    if not reasons_by_call:
        return Skipped(SkipCode.NO_FINISH_REASONS)
    cut = sum(map(is_length_limited, reasons_by_call))
    return Scored(
        1 - cut / len(reasons_by_call),
        f"{cut} of {len(reasons_by_call)} model answers were cut by a length limit",
        {"answers": len(reasons_by_call), "cut_answers": cut},
    )


def retrieval_hit_rate(subject: EvaluatedTrace) -> Outcome:
    """Retrievals with results / retrievals."""
    outputs = [span.output for span in subject.spans if span.kind is SpanKind.RETRIEVER]
    if not outputs:
        return Skipped(SkipCode.NO_RETRIEVALS)
    hits = sum(not is_blank(decode_json(output)) for output in outputs)
    return Scored(
        hits / len(outputs),
        f"{hits} of {len(outputs)} retrievals found something",
        {"retrievals": len(outputs), "hits": hits},
    )


def trace_hygiene(subject: EvaluatedTrace) -> Outcome:
    """The mean of the applicable shares: ended spans, known parents, model calls with usage."""
    spans = subject.spans
    if not spans:
        return Skipped(SkipCode.NO_SPANS)
    ids = {span.id for span in spans}
    parents = [span.parent_id for span in spans if span.parent_id is not None]
    counts = {
        "ended": (sum(span.ended_at is not None for span in spans), len(spans)),
        "parents_found": (sum(parent in ids for parent in parents), len(parents)),
        "with_usage": (
            sum(Usage.from_token_usage(span.token_usage).is_known for span in subject.model_calls),
            len(subject.model_calls),
        ),
    }
    shares = {name: some / of for name, (some, of) in counts.items() if of}
    worst = min(shares, key=lambda name: shares[name])
    some, of = counts[worst]
    return Scored(
        sum(shares.values()) / len(shares),
        f"{worst.replace('_', ' ')}: {some} of {of}",
        {name: round(share, 4) for name, share in shares.items()},
    )


RUN_METRICS: Final = (
    Metric(
        name="trace_success",
        description="Whether the run ended without an error",
        method=EvaluationMethod.COMPUTED,
        compute=trace_success,
    ),
    Metric(
        name="untruncated_rate",
        description="Share of model answers not cut by a length limit",
        method=EvaluationMethod.COMPUTED,
        compute=untruncated_rate,
    ),
    Metric(
        name="retrieval_hit_rate",
        description="Share of retrievals that found something",
        method=EvaluationMethod.COMPUTED,
        compute=retrieval_hit_rate,
    ),
    Metric(
        name="trace_hygiene",
        description="How complete the instrumentation is",
        method=EvaluationMethod.COMPUTED,
        compute=trace_hygiene,
    ),
)
