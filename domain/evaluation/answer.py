"""What a judge is asked, what it answers, and why it may give no answer."""

from dataclasses import dataclass, field

from domain.errors import Invalid, Unavailable
from domain.evaluation.evidence import Evidence
from domain.evaluation.metric import Metric
from domain.evaluation.outcome import REASONS, FailCode, Scored, Skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One metric on one piece of evidence.

    `model` is the resolved name, `<provider>/<model>`. `fence` are 16 hexadecimal digits that
    the author of the trace can't guess. `is_output_shown` as `rules.is_output_shown` says.
    """

    metric: Metric
    evidence: Evidence
    fence: str
    model: str
    deadline_s: float
    is_output_shown: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUse:
    """Tokens of all requests that an answer took; `input` has the cached ones in it."""

    requests: int = 0
    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The verdict as an outcome, marked with who gave it; `model` is the one that answered."""

    outcome: Scored | Skipped
    model: str
    use: TokenUse = field(default_factory=TokenUse)
    attempts: int = 1
    latency_ms: float = 0.0


class JudgeRefused(Invalid):
    """The same question would fail again."""

    def __init__(self, code: FailCode) -> None:
        super().__init__(REASONS[code])
        self.code = code


class JudgeUnavailable(Unavailable):
    """The same question may succeed, not before `retry_after_s`."""

    def __init__(self, code: FailCode, *, retry_after_s: int = 1) -> None:
        super().__init__(REASONS[code], retry_after_s=retry_after_s)
        self.code = code
