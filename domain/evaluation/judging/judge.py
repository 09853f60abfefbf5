"""The request to a judge, its answer, and the reasons why there may be none."""

from dataclasses import dataclass, fields

from domain.errors import Invalid, Unavailable
from domain.evaluation.evidence.evidence import Evidence
from domain.evaluation.metrics.metric import Metric
from domain.evaluation.scores.outcome import FailCode, Scored, Skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One metric on one piece of evidence.

    `model` is the resolved name, `<provider>/<model>`. `boundary` is 16 hexadecimal digits that the
    author of the trace can't guess. `is_output_shown` is the result of
    `judged_metrics.is_output_shown`. `sample` numbers the votes on one question, from 0: each is a
    separate request.
    """

    metric: Metric
    evidence: Evidence
    boundary: str
    model: str
    deadline_s: float
    is_output_shown: bool = True
    sample: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUse:
    """Tokens of some requests. `input` includes cached tokens, `output` includes reasoning."""

    requests: int = 0
    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0

    def __add__(self, other: "TokenUse") -> "TokenUse":
        names = [one.name for one in fields(self)]
        return TokenUse(**{one: getattr(self, one) + getattr(other, one) for one in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeCall:
    """One request that was sent to a provider. It may cost money even if it failed.

    `model` is the model that answered, otherwise the requested one, without its provider. `code` is
    None if the response was a valid verdict. `is_estimated` if the provider's own count of tokens
    was missing or impossible, and `use` is an estimate in its place.
    """

    provider: str
    model: str
    use: TokenUse = TokenUse(requests=1)
    latency_ms: float
    code: FailCode | None = None
    is_estimated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The verdict as an outcome that names its judge; `model` is the one that answered.

    `calls` are all requests that were needed, in order; empty if no provider was called.
    """

    outcome: Scored | Skipped
    model: str
    calls: tuple[JudgeCall, ...] = ()

    @property
    def use(self) -> TokenUse:
        return sum((call.use for call in self.calls), TokenUse())


class JudgeRefused(Invalid):
    """The same question would fail again. `calls` are the requests that were made."""

    def __init__(self, code: FailCode, *, calls: tuple[JudgeCall, ...] = ()) -> None:
        super().__init__(code.reason)
        self.code = code
        self.calls = calls


class JudgeUnavailable(Unavailable):
    """The same question may succeed after `retry_after_s`. `calls` are the requests made."""

    def __init__(
        self, code: FailCode, *, retry_after_s: int = 1, calls: tuple[JudgeCall, ...] = ()
    ) -> None:
        super().__init__(code.reason, retry_after_s=retry_after_s)
        self.code = code
        self.calls = calls
