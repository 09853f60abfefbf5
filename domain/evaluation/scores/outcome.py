"""The outcome of an evaluation: a number, or a code for why there is none."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

REASON_MAX: Final = 500  # characters; api.md §6.2
SKIPPED_PREFIX: Final = "Skipped: "  # for published clients, which don't know skipped scores


class SkipCode(StrEnum):
    """Why there was nothing to evaluate, or not enough."""

    NO_TOOLS = "no_tools"
    NO_TOOL_CALLS = "no_tool_calls"
    NO_PLAN = "no_plan"
    NO_STEPS = "no_steps"
    NO_INPUT = "no_input"
    EMPTY_INPUT_OR_OUTPUT = "empty_input_or_output"
    EMPTY_OUTPUT = "empty_output"
    NO_PREVIOUS_TRACES = "no_previous_traces"
    NO_PREVIOUS_OUTPUTS = "no_previous_outputs"
    TOO_SHORT = "too_short"
    NO_DECLARED_TOOLS = "no_declared_tools"
    NO_SCHEMAS = "no_schemas"
    NO_RETRIEVALS = "no_retrievals"
    NO_FINISH_REASONS = "no_finish_reasons"
    NO_FAILED_CALLS = "no_failed_calls"
    NO_SPANS = "no_spans"
    STRUCTURED_OUTPUT = "structured_output"
    NO_USAGE = "no_usage"
    NO_PRICES = "no_prices"
    NOT_TIMED = "not_timed"
    TOO_FEW_INPUTS = "too_few_inputs"
    NO_REPEATED_INPUTS = "no_repeated_inputs"
    TRACE_RUNNING = "trace_running"
    CANCELLED = "cancelled"
    CANNOT_JUDGE = "cannot_judge"
    INSUFFICIENT_SIGNALS = "insufficient_signals"
    TRACE_TOO_LARGE = "trace_too_large"
    BUDGET = "budget"


class FailCode(StrEnum):
    """What broke during the evaluation."""

    TARGET_GONE = "target_gone"
    JUDGE_TIMEOUT = "judge_timeout"
    JUDGE_UNREACHABLE = "judge_unreachable"
    RATE_LIMITED = "rate_limited"
    PROVIDER_ERROR = "provider_error"
    AUTH = "auth"
    QUOTA = "quota"
    UNKNOWN_MODEL = "unknown_model"
    MISCONFIGURED = "misconfigured"
    CIRCUIT_OPEN = "circuit_open"
    REJECTED = "rejected"
    TOO_LONG = "too_long"
    CONTENT_FILTERED = "content_filtered"
    BAD_VERDICT = "bad_verdict"
    INTERNAL = "internal"

    @property
    def is_transient(self) -> bool:
        """Whether a retry may succeed. Once retries are exhausted, the failure is final."""
        return self in _PASSING

    @property
    def opens_circuit(self) -> bool:
        """Whether every further judge call of the run would fail too."""
        return self in _OPENING


_PASSING: Final = frozenset(
    {
        FailCode.JUDGE_TIMEOUT,
        FailCode.JUDGE_UNREACHABLE,
        FailCode.RATE_LIMITED,
        FailCode.PROVIDER_ERROR,
    }
)
_OPENING: Final = frozenset(
    {FailCode.AUTH, FailCode.QUOTA, FailCode.UNKNOWN_MODEL, FailCode.MISCONFIGURED}
)

REASONS: Final[Mapping[SkipCode | FailCode, str]] = {
    SkipCode.NO_TOOLS: "no tool was called, and none was declared",
    SkipCode.NO_TOOL_CALLS: "the trace has no tool call",
    SkipCode.NO_PLAN: "the trace states no plan",
    SkipCode.NO_STEPS: "the trace has no step to look at",
    SkipCode.NO_INPUT: "the trace has no input",
    SkipCode.EMPTY_INPUT_OR_OUTPUT: "the input or the output is empty",
    SkipCode.EMPTY_OUTPUT: "the output is empty",
    SkipCode.NO_PREVIOUS_TRACES: "no earlier trace in the session",
    SkipCode.NO_PREVIOUS_OUTPUTS: "the earlier traces of the session have no output",
    SkipCode.TOO_SHORT: "too little of it to measure repetition",
    SkipCode.NO_DECLARED_TOOLS: "no model call declares its tools",
    SkipCode.NO_SCHEMAS: "no call has a declared schema that can be checked",
    SkipCode.NO_RETRIEVALS: "the trace has no retrieval",
    SkipCode.NO_FINISH_REASONS: "no model call tells why it finished",
    SkipCode.NO_FAILED_CALLS: "no tool call failed",
    SkipCode.NO_SPANS: "the trace has no span",
    SkipCode.STRUCTURED_OUTPUT: "the output is JSON, where repetition is normal",
    SkipCode.NO_USAGE: "not every model call tells its tokens",
    SkipCode.NO_PRICES: "not every model call has a price",
    SkipCode.NOT_TIMED: "no model call tells when its answer began",
    SkipCode.TOO_FEW_INPUTS: "fewer than two inputs of the session are long enough to compare",
    SkipCode.NO_REPEATED_INPUTS: "no input occurs in two traces that have ended",
    SkipCode.TRACE_RUNNING: "the trace has not ended",
    SkipCode.CANCELLED: "the run was cancelled",
    SkipCode.BUDGET: "it might have cost more than the budget has left",
    SkipCode.CANNOT_JUDGE: "the evidence does not allow a verdict",
    SkipCode.INSUFFICIENT_SIGNALS: "too few traces of the session have signals",
    SkipCode.TRACE_TOO_LARGE: "the target is too large to evaluate",
    FailCode.TARGET_GONE: "the target does not exist",
    FailCode.JUDGE_TIMEOUT: "the judge did not answer in time",
    FailCode.JUDGE_UNREACHABLE: "the judge could not be reached",
    FailCode.RATE_LIMITED: "the provider limits the rate of calls",
    FailCode.PROVIDER_ERROR: "the provider failed",
    FailCode.AUTH: "the provider refused the credentials",
    FailCode.QUOTA: "the quota at the provider is used up",
    FailCode.UNKNOWN_MODEL: "the provider does not know the model",
    FailCode.MISCONFIGURED: "the judge is not configured for this model",
    FailCode.CIRCUIT_OPEN: "not asked, because an earlier call of the run failed for good",
    FailCode.REJECTED: "the provider rejected the request",
    FailCode.TOO_LONG: "the evidence is too long for the model",
    FailCode.CONTENT_FILTERED: "the provider's content filter stopped the answer",
    FailCode.BAD_VERDICT: "the judge's answer was not a valid verdict",
    FailCode.INTERNAL: "the measurement broke; the log says why",
}
"""A sentence for every code that is safe to show to callers."""


def truncate_reason(reason: str) -> str:
    """At most REASON_MAX characters of a reason, with an ellipsis if it was cut."""
    return reason if len(reason) <= REASON_MAX else reason[: REASON_MAX - 1] + "…"


def format_score(value: float) -> str:
    """A score in its stored form: `"0.85"`, `"1.0"`."""
    return str(round(value, 4))


def clamped(value: float) -> float:
    """The nearest number in [0, 1]. Raises ValueError for NaN."""
    if math.isnan(value):
        raise ValueError("not a number")
    return min(max(value, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class Scored:
    """The evaluation gave a number.

    `value` is rounded to 4 decimals, so that the number compared with a threshold is the number
    that people see. A value outside [0, 1] is a bug of the metric: ValueError.
    """

    value: float
    reason: str
    metadata: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0.0 <= self.value <= 1.0:  # false for NaN too
            raise ValueError(f"a score of {self.value}")
        object.__setattr__(self, "value", round(float(self.value), 4) + 0.0)  # no negative zero
        object.__setattr__(self, "reason", truncate_reason(self.reason))

    @property
    def text(self) -> str:
        return format_score(self.value)


@dataclass(frozen=True, slots=True)
class Skipped:
    """There was nothing to evaluate. `reason` begins with SKIPPED_PREFIX."""

    code: SkipCode
    reason: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        reason = (self.reason or REASONS[self.code]).removeprefix(SKIPPED_PREFIX)
        object.__setattr__(self, "reason", truncate_reason(SKIPPED_PREFIX + reason))
        object.__setattr__(self, "metadata", {**self.metadata, "code": self.code.value})


@dataclass(frozen=True, slots=True)
class Failed:
    """The evaluation broke. `reason` is a fixed sentence, never the text of an exception."""

    code: FailCode
    reason: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        reason = self.reason or REASONS[self.code]
        object.__setattr__(self, "reason", truncate_reason(reason))
        object.__setattr__(self, "metadata", {**self.metadata, "code": self.code.value})


type Outcome = Scored | Skipped | Failed
