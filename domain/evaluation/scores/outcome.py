"""The outcome of an evaluation: a number, or a code for why there is none."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Self

REASON_MAX: Final = 500  # characters
SKIPPED_PREFIX: Final = "Skipped: "  # for published clients, which don't know skipped scores


class Code(StrEnum):
    """Why an outcome has no number; `reason` is a sentence that is safe to show to callers."""

    reason: str

    def __new__(cls, value: str, reason: str = "") -> Self:
        code = str.__new__(cls, value)
        code._value_ = value
        code.reason = reason
        return code


class SkipCode(Code):
    """Why there was nothing to evaluate, or not enough."""

    NO_TOOLS = "no_tools", "no tool was called, and none was declared"
    NO_TOOL_CALLS = "no_tool_calls", "the trace has no tool call"
    NO_PLAN = "no_plan", "the trace states no plan"
    NO_STEPS = "no_steps", "the trace has no step to look at"
    NO_INPUT = "no_input", "the trace has no input"
    EMPTY_INPUT_OR_OUTPUT = "empty_input_or_output", "the input or the output is empty"
    EMPTY_OUTPUT = "empty_output", "the output is empty"
    NO_PREVIOUS_TRACES = "no_previous_traces", "no earlier trace in the session"
    NO_PREVIOUS_OUTPUTS = "no_previous_outputs", "the earlier traces of the session have no output"
    TOO_SHORT = "too_short", "too little of it to measure repetition"
    NO_DECLARED_TOOLS = "no_declared_tools", "no model call declares its tools"
    NO_SCHEMAS = "no_schemas", "no call has a declared schema that can be checked"
    NO_RETRIEVALS = "no_retrievals", "the trace has no retrieval"
    NO_FINISH_REASONS = "no_finish_reasons", "no model call tells why it finished"
    NO_FAILED_CALLS = "no_failed_calls", "no tool call failed"
    NO_SPANS = "no_spans", "the trace has no span"
    STRUCTURED_OUTPUT = "structured_output", "the output is JSON, where repetition is normal"
    UNKNOWN_LANGUAGE = "unknown_language", "the language of the text is not known"
    NO_USAGE = "no_usage", "not every model call tells its tokens"
    NO_PRICES = "no_prices", "not every model call has a price"
    NOT_TIMED = "not_timed", "no model call tells when its answer began"
    TOO_FEW_INPUTS = (
        "too_few_inputs",
        "fewer than two inputs of the session are long enough to compare",
    )
    NO_REPEATED_INPUTS = "no_repeated_inputs", "no input occurs in two traces that have ended"
    NO_EXPECTED = (
        "no_expected",
        "the trace isn't the result of an item that expects something",
    )
    TRACE_RUNNING = "trace_running", "the trace has not ended"
    CLOCK_SKEW = "clock_skew", "the trace ended before it started"
    CANCELLED = "cancelled", "the run was cancelled"
    CANNOT_JUDGE = "cannot_judge", "the evidence does not allow a verdict"
    INSUFFICIENT_SIGNALS = "insufficient_signals", "too few traces of the session have signals"
    TRACE_TOO_LARGE = "trace_too_large", "the target is too large to evaluate"
    BUDGET = "budget", "it might have cost more than the budget has left"


class FailCode(Code):
    """The kind of failure of an evaluation."""

    TARGET_GONE = "target_gone", "the target does not exist"
    JUDGE_TIMEOUT = "judge_timeout", "the judge did not answer in time"
    JUDGE_UNREACHABLE = "judge_unreachable", "the judge could not be reached"
    RATE_LIMITED = "rate_limited", "the provider limits the rate of calls"
    PROVIDER_ERROR = "provider_error", "the provider failed"
    AUTH = "auth", "the provider refused the credentials"
    QUOTA = "quota", "the quota at the provider is used up"
    UNKNOWN_MODEL = "unknown_model", "the provider does not know the model"
    MISCONFIGURED = "misconfigured", "the judge is not configured for this model"
    CIRCUIT_OPEN = "circuit_open", "not asked, because an earlier call of the run failed for good"
    REJECTED = "rejected", "the provider rejected the request"
    TOO_LONG = "too_long", "the evidence is too long for the model"
    CONTENT_FILTERED = "content_filtered", "the provider's content filter stopped the answer"
    BAD_VERDICT = "bad_verdict", "the judge's answer was not a valid verdict"
    INTERNAL = "internal", "the measurement broke; the log says why"

    @property
    def is_transient(self) -> bool:
        """Whether a retry may succeed. Once retries are exhausted, the failure is final."""
        return self in _PASSING

    @property
    def opens_circuit(self) -> bool:
        """Whether every further judge call of the run, to this provider or model, would fail."""
        return self in _OPENING

    @property
    def is_of_model(self) -> bool:
        """Whether other models of the provider may still answer."""
        return self in _OF_MODEL


_PASSING: Final = frozenset(
    {
        *(FailCode.JUDGE_TIMEOUT, FailCode.JUDGE_UNREACHABLE),
        *(FailCode.RATE_LIMITED, FailCode.PROVIDER_ERROR),
    }
)
_OF_MODEL: Final = frozenset({FailCode.UNKNOWN_MODEL, FailCode.MISCONFIGURED})
_OPENING: Final = frozenset({FailCode.AUTH, FailCode.QUOTA}) | _OF_MODEL


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
        reason = (self.reason or self.code.reason).removeprefix(SKIPPED_PREFIX)
        object.__setattr__(self, "reason", truncate_reason(SKIPPED_PREFIX + reason))
        object.__setattr__(self, "metadata", {**self.metadata, "code": self.code.value})


@dataclass(frozen=True, slots=True)
class Failed:
    """The evaluation broke. `reason` is a fixed sentence, never the text of an exception."""

    code: FailCode
    reason: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        reason = self.reason or self.code.reason
        object.__setattr__(self, "reason", truncate_reason(reason))
        object.__setattr__(self, "metadata", {**self.metadata, "code": self.code.value})


type Outcome = Scored | Skipped | Failed
