"""Metrics that are computed from the trace alone: of tool calls, the final output, and the run."""

import zlib
from collections.abc import Sequence
from itertools import groupby
from typing import Final

from domain.evaluation.metrics.metric import Direction, EvaluationMethod, Metric, MetricFunction
from domain.evaluation.scores.outcome import Outcome, Scored, SkipCode, Skipped, clamped
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.json_schema import SchemaMatcher, is_supported_schema
from domain.evaluation.trace_content.messages import (
    decode_embedded_json,
    decode_json,
    retrieved_documents,
)
from domain.evaluation.trace_content.phrases import REFUSALS, AnswerText
from domain.evaluation.trace_content.text import containment, has_words, ngrams, shingles, words
from domain.evaluation.trace_content.tool_calls import (
    ToolCall,
    count_repeated_calls,
    is_cut_off,
    longest_identical_run,
    named_arguments,
)
from domain.tracing.span import SpanKind, SpanStatus
from domain.tracing.trace import TraceStatus
from domain.tracing.usage import Usage

# Near the thresholds of agents' own guards: OpenHands' stuck detector stops at four equal pairs
# of action and observation, at three equal errors, or after six steps of ping-pong.
LOOP_LENGTH: Final = 4  # adjacent identical calls that are certainly a loop
FAILED_LOOP_LENGTH: Final = 3  # the same if each of them failed
ALTERNATION_LENGTH: Final = 6  # adjacent alternating calls: three cycles of two

OUTPUT_MAX: Final = 200_000  # characters; only the beginning of longer outputs is read
NGRAM_WORDS: Final = 4  # words
NGRAMS_MIN: Final = 8  # with fewer, repetition may be chance
COMPRESSED_BYTES_MIN: Final = 512  # shorter texts hardly deflate
# Prose deflates to 0.42-0.46 of its size, source code to 0.37, a Markdown table to 0.16; one
# sentence forty times to 0.04.
COMPRESSION_RATIO_MIN: Final = 0.15
REPETITION_WORDS_MIN: Final = 8  # shorter answers repeat by chance


# --- tool calls ----------------------------------------------------------------------------------


def tool_success_rate(subject: EvaluatedTrace) -> Outcome:
    """1 - failed / calls."""
    calls = subject.tool_calls
    if not calls:
        return Skipped(SkipCode.NO_TOOL_CALLS)
    failed = sum(call.has_failed for call in calls)
    return Scored(
        1 - failed / len(calls),
        f"{failed} of {len(calls)} tool calls failed",
        {"calls": len(calls), "failed_calls": failed},
    )


def error_recovery(subject: EvaluatedTrace) -> Outcome:
    """Failed calls followed by a successful call of the same tool / failed calls."""
    failed = [at for at, call in enumerate(subject.tool_calls) if call.has_failed]
    if not failed:
        return Skipped(SkipCode.NO_FAILED_CALLS)
    last_good = {call.name: at for at, call in enumerate(subject.tool_calls) if not call.has_failed}
    good = sum(at < last_good.get(subject.tool_calls[at].name, -1) for at in failed)
    return Scored(
        good / len(failed),
        f"{good} of {len(failed)} failed calls were made good later by the same tool",
        {"failed_calls": len(failed), "recovered_calls": good},
    )


def tool_name_validity(subject: EvaluatedTrace) -> Outcome:
    """Calls of declared tools / calls."""
    if not subject.tool_calls:
        return Skipped(SkipCode.NO_TOOL_CALLS)
    if not subject.declared_tools:
        return Skipped(SkipCode.NO_DECLARED_TOOLS)
    valid = sum(call.name in subject.declared_tools for call in subject.tool_calls)
    return Scored(
        valid / len(subject.tool_calls),
        f"{valid} of {len(subject.tool_calls)} tool calls named a declared tool",
        {"calls": len(subject.tool_calls), "declared_tools": len(subject.declared_tools)},
    )


def tool_args_schema(subject: EvaluatedTrace) -> Outcome:
    """Calls whose arguments match their schema / calls that can be checked."""
    if not subject.tool_calls:
        return Skipped(SkipCode.NO_TOOL_CALLS)
    schemas = {
        name: SchemaMatcher(tool.schema)
        for name, tool in subject.declared_tools.items()
        if tool.schema is not None and is_supported_schema(tool.schema)
    }
    # Arguments that weren't recorded by their names are unknown rather than wrong.
    checkable = [
        (schemas[call.name], arguments)
        for call in subject.tool_calls
        if call.name in schemas and (arguments := named_arguments(call.arguments)) is not None
    ]
    if not checkable:
        return Skipped(SkipCode.NO_SCHEMAS)
    valid = sum(schema.matches(arguments) for schema, arguments in checkable)
    return Scored(
        valid / len(checkable),
        f"the arguments of {valid} of {len(checkable)} calls fit the declared schema",
        {"calls": len(subject.tool_calls), "checkable_calls": len(checkable)},
    )


def tool_loop(subject: EvaluatedTrace, polling_tools: frozenset[str] = frozenset()) -> Outcome:
    """0 if two calls alternate for three cycles, else 1 - max(redundancy, run).

    Calls are identical if request and output are equal: a different output means progress.
    redundancy = (calls - distinct calls) / calls. run grows with the longest run of identical
    calls, up to 1 at LOOP_LENGTH calls. Calls of `polling_tools` don't count.
    """
    calls = [call for call in subject.tool_calls if call.name not in polling_tools]
    if len(calls) < 2:  # noqa: PLR2004 - one call repeats nothing
        return Skipped(SkipCode.TOO_SHORT)
    repeats, run = count_repeated_calls(calls), _run(calls)
    alternates = _alternates(calls)
    score = 0.0 if alternates else 1 - max(repeats / len(calls), run)
    return Scored(
        score,
        f"{repeats} of {len(calls)} tool calls repeat an earlier one"
        + (", and two calls take turns" if alternates else ""),
        {
            "calls": len(calls),
            "repeated_calls": repeats,
            "longest_block": longest_identical_run(calls),
            "alternates": alternates,
        },
    )


def _run(calls: Sequence[ToolCall]) -> float:
    worst = 0.0
    for _, equal in groupby(calls, key=lambda call: call.exchange_key):
        block = list(equal)
        enough = FAILED_LOOP_LENGTH if all(call.has_failed for call in block) else LOOP_LENGTH
        worst = max(worst, clamped((len(block) - 1) / (enough - 1)))
    return worst


def _alternates(calls: Sequence[ToolCall]) -> bool:
    length = 2 if len(calls) > 1 else 0
    for at in range(2, len(calls)):
        turns = calls[at].exchange_key == calls[at - 2].exchange_key != calls[at - 1].exchange_key
        length = length + 1 if turns else 2
        if length >= ALTERNATION_LENGTH:
            return True
    return False


# --- the final output ----------------------------------------------------------------------------


def output_degeneration(subject: EvaluatedTrace) -> Outcome:
    """1 - max(share of repeated 4-grams, how far the text compresses below prose)."""
    text = subject.answer.text[:OUTPUT_MAX]
    if not text.strip():
        return Skipped(SkipCode.EMPTY_OUTPUT)
    if decode_embedded_json(text) is not text:
        return Skipped(SkipCode.STRUCTURED_OUTPUT)
    if not has_words(text):
        return Scored(0.0, "the output holds no word")
    grams = list(ngrams(words(text), NGRAM_WORDS))
    again = 1 - len(set(grams)) / len(grams) if len(grams) >= NGRAMS_MIN else 0.0
    dense = _density(text)
    return Scored(
        1 - max(again, dense),
        f"{again:.0%} of the output's word sequences repeat an earlier one",
        {"repeated": round(again, 4), "dense": round(dense, 4)},
    )


def _density(text: str) -> float:
    raw = text.encode(errors="replace")
    if len(raw) < COMPRESSED_BYTES_MIN:
        return 0.0
    return clamped(
        (COMPRESSION_RATIO_MIN - len(zlib.compress(raw, 6)) / len(raw)) / COMPRESSION_RATIO_MIN
    )


def answer_repetition(subject: EvaluatedTrace) -> Outcome:
    """1 - the largest share of the output's shingles found in one of the recent outputs."""
    if not subject.recent_outputs:
        return Skipped(SkipCode.NO_PREVIOUS_TRACES)
    text = subject.answer.text[:OUTPUT_MAX]
    if len(words(text)) < REPETITION_WORDS_MIN:
        return Skipped(SkipCode.TOO_SHORT)
    earlier = [known for one in subject.recent_outputs if (known := shingles(one[:OUTPUT_MAX]))]
    if not earlier:  # nothing to compare with, so novelty is unknown
        return Skipped(SkipCode.NO_PREVIOUS_OUTPUTS)
    own = shingles(text)
    again = max(containment(own, known) for known in earlier)
    return Scored(
        1 - again,
        f"{again:.0%} of the output stands in an earlier output of the session",
        {"window_size": len(subject.recent_outputs), "max_containment": round(again, 4)},
    )


def refusal(subject: EvaluatedTrace) -> Outcome:
    """1 if the output declines in one of the usual phrases of its language, else 0. Neutral."""
    text = subject.answer.text[:OUTPUT_MAX]
    if not text.strip():
        return Skipped(SkipCode.EMPTY_OUTPUT)
    declines = REFUSALS.occurs_in(AnswerText(text, subject.request.text))
    if declines is None:
        return Skipped(SkipCode.UNKNOWN_LANGUAGE)
    reason = "the output declines the request" if declines else "the output does not decline"
    return Scored(float(declines), reason)


# --- the run -------------------------------------------------------------------------------------


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
    """1 - model calls stopped by a length limit / model calls of which that is known."""
    known = [is_cut for span in subject.model_calls if (is_cut := is_cut_off(span)) is not None]
    if not known:
        return Skipped(SkipCode.NO_FINISH_REASONS)
    cut = sum(known)
    return Scored(
        1 - cut / len(known),
        f"{cut} of {len(known)} model answers were cut by a length limit",
        {"answers": len(known), "cut_answers": cut},
    )


def retrieval_hit_rate(subject: EvaluatedTrace) -> Outcome:
    """Retrievals with results / retrievals."""
    outputs = [span.output for span in subject.spans if span.kind is SpanKind.RETRIEVER]
    if not outputs:
        return Skipped(SkipCode.NO_RETRIEVALS)
    hits = sum(
        bool(retrieved_documents(decode_embedded_json(decode_json(output)))) for output in outputs
    )
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
    shares = {name: some / total for name, (some, total) in counts.items() if total}
    worst = min(shares, key=lambda name: shares[name])
    some, total = counts[worst]
    return Scored(
        sum(shares.values()) / len(shares),
        f"{worst.replace('_', ' ')}: {some} of {total}",
        {name: round(share, 4) for name, share in shares.items()},
    )


def _metric(
    compute: MetricFunction,
    description: str,
    direction: Direction = Direction.HIGHER_IS_BETTER,
    version: int = 1,
) -> Metric:
    """The metric that has the name of its function."""
    return Metric(
        name=compute.__name__,
        description=description,
        method=EvaluationMethod.COMPUTED,
        direction=direction,
        version=version,
        compute=compute,
    )


COMPUTED_METRICS: Final = (
    _metric(tool_success_rate, "Share of tool calls that did not fail", version=2),
    _metric(error_recovery, "Share of failed calls made good later by the same tool", version=2),
    _metric(tool_loop, "Absence of repeated identical tool calls within a trace", version=2),
    _metric(tool_name_validity, "Share of called tools that were declared", version=2),
    _metric(tool_args_schema, "Share of calls whose arguments fit the declared schema", version=3),
    _metric(output_degeneration, "Absence of repetition inside the final output"),
    _metric(answer_repetition, "How new the output is against the session's last three"),
    _metric(refusal, "Whether the final output declines the request", Direction.NEUTRAL, version=2),
    _metric(trace_success, "Whether the run ended without an error"),
    _metric(untruncated_rate, "Share of model answers not cut by a length limit", version=2),
    _metric(retrieval_hit_rate, "Share of retrievals that found something", version=2),
    _metric(trace_hygiene, "How complete the instrumentation is"),
)
