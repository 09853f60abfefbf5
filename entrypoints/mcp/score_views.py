"""Views of scores: why one is what it is, and the figures of a period against the one before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from domain.evaluation.evidence.builder import StepBudget, draft_step
from domain.evaluation.evidence.redaction import RedactionMode, Redactor
from domain.evaluation.metrics.metric import is_rule_fingerprint
from domain.evaluation.trace_content.text import to_text
from domain.tracing.spans.span_tree import labelled_spans
from domain.tracing.trace import Trace
from domain.wording import counted
from entrypoints.mcp.answer import (
    View,
    fitting,
    fitting_blocks,
    line_of,
    masked,
    part,
    room_for_data,
)
from entrypoints.mcp.responses import (
    CostRow,
    EstimateRow,
    ModelRow,
    RunRow,
    ScoreRow,
    ScoreSummaryRow,
    VolumeRow,
)
from entrypoints.mcp.token_count import count_tokens
from entrypoints.mcp.trace_views import NAME_CHARS, dollars, instant, total_dollars

REASON_TOKENS: Final = 400
DETAIL_TOKENS: Final = 200
CITED_SHOWN: Final = 10  # steps
CITED_BUDGET: Final = StepBudget(error=200, arguments=150, output=200, text=150, document=80)
LISTED_MAX: Final = 200  # scores or models of one answer
HUNDRED: Final = 100


def scores_view(
    scores: Sequence[ScoreRow],
    trace: Trace | None,
    *,
    about: str,
    tokens: int,
    masking: RedactionMode,
    rest: str,
    has_payloads: bool = True,
) -> View:
    """Scores with their reasons, and the steps that a judge cited for them.

    `has_payloads` is false if the trace was read without them.
    """
    redactor = Redactor(masking)
    facts = [
        f"{counted(len(scores), 'score')} of {about}" if scores else f"{about} has no such score"
    ]
    if not scores:
        facts.append(
            "run_evaluation gives one to a trace or session, label to a trace or step; without a "
            "name explain_score lists all, with `step` those of a step"
        )
    room = room_for_data(tokens, facts, f"GET {rest}")
    listed = (_score_lines(score, redactor, room) for score in scores[:LISTED_MAX])
    blocks = fitting_blocks(listed, room)
    lines, shown = [line for block in blocks for line in block], len(blocks)
    cited = _cited(scores[:shown])
    left_out = []
    if shown < len(scores):
        others = len(scores) - shown
        left_out.append(f"{counted(others, 'score')}; to get one: its name as `name`")
    if trace is not None and cited:
        taken = sum(count_tokens(line) + 1 for line in lines)
        steps, missing = _cited_lines(trace, cited, redactor, room - taken)
        lines += steps
        if steps and not has_payloads:
            left_out.append(
                "inputs and outputs of the cited steps, because the trace is too large to read at "
                "once; get_step(trace_id, step) shows them"
            )
        if missing:
            left_out.append(
                f"{missing} of {len(cited)} cited steps; get_step(trace_id, step) shows one"
            )
    return View(facts=facts, data=lines, left_out=left_out, rest=f"GET {rest}")


def _score_lines(score: ScoreRow, redactor: Redactor, room: int) -> Sequence[str]:
    """Lines so short that a score always fits: less than half of the least room."""
    reason, detail = min(REASON_TOKENS, room // 3), min(DETAIL_TOKENS, room // 6)
    value = "no value" if score.value is None else line_of(score.value, NAME_CHARS, redactor)
    judge = f", judge {line_of(score.judge_kind, NAME_CHARS, redactor)}" if score.judge_kind else ""
    head = (
        f"{line_of(score.name, NAME_CHARS, redactor)}: {value}, {score.outcome}, {score.source}"
        f"{judge}, {instant(score.created_at)}, id {score.id}"
    )
    details = {key: value for key, value in score.metadata.items() if key not in _MARKS}
    return [
        head,
        *part("reason", masked(score.reason or "", reason, redactor), reason),
        *(part("details", masked(to_text(details), detail, redactor), detail) if details else []),
    ]


_MARKS: Final = frozenset({"evidence_hash", "fingerprint"})  # they identify, and explain nothing


def _cited(scores: Sequence[ScoreRow]) -> Sequence[str]:
    found: dict[str, None] = {}
    for score in scores:
        labels = score.metadata.get("evidence")
        for label in labels if isinstance(labels, list) else []:
            if isinstance(label, str):
                found[label] = None
    return list(found)


def _cited_lines(
    trace: Trace, cited: Sequence[str], redactor: Redactor, room: int
) -> tuple[Sequence[str], int]:
    """The cited steps that fit, and how many don't."""
    wanted = set(cited[:CITED_SHOWN])
    lines = ["steps that the scores cite:"]
    room -= count_tokens(lines[0]) + 1
    shown = 0
    for label, span in labelled_spans(trace.spans):
        if label in wanted:
            printed = draft_step(label, span, redactor).cut(CITED_BUDGET).printed(reasoning=True)
            room -= count_tokens(printed) + 1
            if room < 0:
                break
            lines += printed.split("\n")
            shown += 1
    return (lines if shown else []), len(cited) - shown


# --- periods ---------------------------------------------------------------------------------


class Topic(StrEnum):
    """The subject of a summary; by default all."""

    ERRORS = "errors"
    COST = "cost"
    LATENCY = "latency"
    SCORES = "scores"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The response of the service for one period. Empty where the topic needs nothing of it."""

    volume: Sequence[VolumeRow] = ()
    costs: Sequence[CostRow] = ()
    models: Sequence[ModelRow] = ()
    scores: Sequence[ScoreSummaryRow] = ()


def summary_view(
    now: Figures,
    before: Figures,
    *,
    period: tuple[datetime, datetime],
    granularity: Literal["hour", "day"],
    topics: Sequence[Topic],
    tokens: int,
    masking: RedactionMode,
    rest: str,
) -> View:
    """The figures of a period, and the changes since the period of equal length before it.

    `granularity` is the length of the buckets in `volume`.
    """
    redactor = Redactor(masking)
    start, end = period
    length = end - start
    facts = [
        (
            f"period {instant(start)} to {instant(end)}, against {instant(start - length)} to "
            f"{instant(start)}"
        )
    ]
    lines: list[str] = []
    if topics != [Topic.SCORES]:
        facts += _volume_lines(now.volume, before.volume, topics, granularity)
    if Topic.COST in topics:
        facts += _cost_lines(now.costs, before.costs)
        lines += _model_lines(now.models, before.models, redactor)
    if Topic.SCORES in topics:
        lines += _score_changes(now.scores, before.scores, redactor)
    room = room_for_data(tokens, facts, f"GET {rest}")
    shown = fitting(lines, room)
    left_out = []
    if len(shown) < len(lines):
        left_out.append(
            f"{len(lines) - len(shown)} of {len(lines)} lines, those that changed least; to get "
            "them: a larger max_tokens, or one topic"
        )
    if Topic.ERRORS in topics and _count(now.volume).errors:
        left_out.append(
            f'the failed traces: search_traces(status="ERROR", started_after="{instant(start)}", '
            f'started_before="{instant(end)}")'
        )
    return View(facts=facts, data=shown, left_out=left_out, rest=f"GET {rest}")


@dataclass(frozen=True, slots=True)
class _Volume:
    traces: int
    errors: int


def _count(rows: Sequence[VolumeRow]) -> _Volume:
    return _Volume(sum(row.trace_count for row in rows), sum(row.error_count for row in rows))


def _volume_lines(
    now: Sequence[VolumeRow],
    before: Sequence[VolumeRow],
    topics: Sequence[Topic],
    granularity: Literal["hour", "day"],
) -> Sequence[str]:
    ours, theirs = _count(now), _count(before)
    lines = [
        f"traces: {ours.traces}, before {theirs.traces}{_relative(ours.traces, theirs.traces)}"
    ]
    if Topic.ERRORS in topics:
        lines.append(f"failed traces: {_share(ours)}, before {_share(theirs)}")
    if Topic.LATENCY in topics:
        ended = counted(sum(row.latency_count for row in now), "trace")
        # The service has percentiles of buckets only, which don't add up to those of the period.
        approximate = f"approximate: mean of those of the {granularity}s, weighted by traces"
        for name, field, note in (
            ("mean latency", "avg_latency_ms", f"of {ended} with a latency"),
            ("median latency", "p50_latency_ms", approximate),
            ("p90 latency", "p90_latency_ms", approximate),
            ("p99 latency", "p99_latency_ms", approximate),
        ):
            one, other = _weighted(now, field), _weighted(before, field)
            lines.append(f"{name}: {_ms(one)}, before {_ms(other)}{_relative(one, other)} ({note})")
    return lines


def _share(volume: _Volume) -> str:
    if not volume.traces:
        return "none of 0"
    return f"{volume.errors} of {volume.traces} ({HUNDRED * volume.errors / volume.traces:.3g} %)"


def _weighted(rows: Sequence[VolumeRow], field: str) -> float | None:
    """The mean of a figure of the buckets that have it, by their traces with a latency."""
    known = [(getattr(row, field), row.latency_count) for row in rows]
    pairs = [(value, count) for value, count in known if value is not None and count]
    total = sum(count for _, count in pairs)
    return sum(value * count for value, count in pairs) / total if total else None


def _ms(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0f} ms"


def _relative(now: float | None, before: float | None) -> str:
    if now is None or not before:
        return ""
    return f" ({HUNDRED * (now - before) / before:+.3g} %)"


def _cost_lines(now: Sequence[CostRow], before: Sequence[CostRow]) -> Sequence[str]:
    costs = [sum(row.total_cost for row in rows) for rows in (now, before)]
    tokens, tokens_before = (sum(row.total_tokens for row in rows) for rows in (now, before))
    unpriced = [sum(row.unpriced_span_count for row in rows) for rows in (now, before)]
    cost, cost_before = map(total_dollars, costs, unpriced)
    # Lower bounds don't say by how much a cost has changed.
    change = "" if any(unpriced) else _relative(*costs)
    return [
        f"cost: {cost}, before {cost_before}{change}",
        f"tokens: {tokens}, before {tokens_before}{_relative(tokens, tokens_before)}",
    ]


def _model_lines(
    now: Sequence[ModelRow], before: Sequence[ModelRow], redactor: Redactor
) -> Sequence[str]:
    ours, theirs = ({row.model: row for row in rows} for rows in (now, before))
    lines = []
    for name in sorted(ours.keys() | theirs.keys(), key=lambda one: _model_order(one, ours)):
        one, other = ours.get(name), theirs.get(name)
        lines.append(
            f"model {line_of(name, NAME_CHARS, redactor)}: {_model(one)}; before {_model(other)}"
        )
    return lines[:LISTED_MAX]


def _model_order(name: str, ours: Mapping[str, ModelRow]) -> tuple[float, str]:
    return (-ours[name].total_cost if name in ours else 0, name)


def _model(row: ModelRow | None) -> str:
    if row is None:
        return "not among the most called"
    cost = total_dollars(row.total_cost, row.unpriced_span_count)
    return f"{counted(row.call_count, 'call')}, {counted(row.total_tokens, 'token')}, {cost}"


def _score_changes(
    now: Sequence[ScoreSummaryRow], before: Sequence[ScoreSummaryRow], redactor: Redactor
) -> Sequence[str]:
    """A line for each metric of either period, those whose mean fell most first."""
    ours, theirs = ({row.metric_name: row for row in rows} for rows in (now, before))

    def order(name: str) -> tuple[float, str]:
        one, other = ours.get(name), theirs.get(name)
        if one is None or other is None or _are_made_differently(one, other):
            return (0, name)
        if one.avg_score is None or other.avg_score is None:
            return (0, name)
        return (one.avg_score - other.avg_score, name)

    def line(name: str) -> str:
        one, other = ours.get(name), theirs.get(name)
        is_other = one is not None and other is not None and _are_made_differently(one, other)
        note = ". Not comparable: by another judge, prompt or version" if is_other else ""
        shown = line_of(name, NAME_CHARS, redactor)
        return f"score {shown}: {_mean(one)}; before {_mean(other)}{note}"

    names = sorted(ours.keys() | theirs.keys(), key=order)
    none = [] if now else ["no scores in this period"]
    return [*none, *map(line, names[:LISTED_MAX])]


def _are_made_differently(one: ScoreSummaryRow, other: ScoreSummaryRow) -> bool:
    """Whether a difference of their means may be one of how they were made.

    What a metric decides by itself is the same for all judges.
    """
    if (one.from_runs, one.judge_kind) != (other.from_runs, other.judge_kind):
        return True
    ours, theirs = (
        {mark for mark in row.fingerprints if not is_rule_fingerprint(mark)} for row in (one, other)
    )
    return bool(ours and theirs) and (ours != theirs or len(ours) > 1)


def _mean(row: ScoreSummaryRow | None) -> str:
    if row is None:
        return "none"
    mean = "no mean" if row.avg_score is None else f"mean {row.avg_score:.4g}"
    judge = " (built-in heuristics)" if row.judge_kind == "heuristic" else ""
    others = (
        ("of other judges or sources left out", row.left_out_count),
        ("failed", row.failed_count),
        ("skipped", row.skipped_count),
        ("pending", row.pending_count),
    )
    coverage = "".join(f", {count} {what}" for what, count in others if count)
    return f"{mean} of {counted(row.count, 'number')}{judge}, {row.success_count} scored{coverage}"


# --- runs ------------------------------------------------------------------------------------


def estimate_view(
    estimate: EstimateRow, *, confirmation: str, cap: float | None, minutes: int, rest: str
) -> View:
    """The cost of a run, and how to start it."""
    cost = estimate.cost_usd
    price = (
        "unknown: the model has no price" if cost is None else _range(cost.low, cost.high, "USD")
    )
    if cap is not None:
        limit = f"{dollars(cap)}; it stops there"
    elif cost is None:
        limit = "none: what has no price can't be limited"
    else:
        limit = "none: no model is paid"
    return View(
        facts=[
            "nothing has run yet: this is the estimate",
            f"targets: {estimate.targets}, estimated from {estimate.looked_at} of them",
            f"judge calls: {_range(estimate.questions.low, estimate.questions.high, '')}",
            f"input tokens: {_range(estimate.input_tokens.low, estimate.input_tokens.high, '')}",
            f"output tokens: {_range(estimate.output_tokens.low, estimate.output_tokens.high, '')}",
            f"cost: {price}",
            f"limit of the run: {limit}",
            (
                "to run it, call run_evaluation with the same arguments and "
                f'confirm="{confirmation}" '
                f"within {minutes} minutes; ask the person first if it costs money"
            ),
        ],
        rest=rest,
    )


def _range(low: float, high: float, unit: str) -> str:
    text = f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"
    return f"{text} {unit}".rstrip()


def run_view(run: RunRow, *, path: str, rest: str) -> View:
    """A run that has started."""
    return View(
        facts=[
            (
                f"run {run.id}: {run.status}, {counted(run.total_targets, 'target')}, "
                f"{run.evaluated_count} evaluated, {run.skipped_count} skipped, "
                f"{run.failed_count} failed"
            ),
            f"progress: GET {path}/{run.id}; explain_score shows the scores once they are there",
        ],
        rest=rest,
    )


def label_view(score: ScoreRow, *, rest: str) -> View:
    """A score that was stored."""
    return View(facts=[f"stored as score {score.id}, {score.source}"], rest=rest)
