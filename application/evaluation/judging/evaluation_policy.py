"""Within what bounds targets are evaluated and judges are asked."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from application.evaluation.judging.circuit_breaker import HEAD_START_S
from application.evaluation.ports.work_queue import LEASE, RENEW_DEBOUNCE
from domain.evaluation.evidence.builder import EVIDENCE_TOKENS
from domain.evaluation.evidence.redaction import RedactionMode

RENEW_EVERY: Final = LEASE / 4  # so that one or two failed renewals do no harm


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPolicy:
    """The bounds of one process.

    `deadline_s` is for one question with all its attempts, `head_start_s` for the first question
    of a run (see CircuitBreaker). Together they must be shorter than what is left of a lease at
    least, or another worker claims the target meanwhile: else ValueError.
    """

    evidence_tokens: int = EVIDENCE_TOKENS
    masking: RedactionMode = RedactionMode.SECRETS
    deadline_s: float = 60.0
    head_start_s: float = HEAD_START_S
    judge_attempts: int = 3  # of one question; after that its target is put back
    judge_concurrency: int = 8  # questions to one provider
    concurrent_targets: int = 12  # that ask one provider: so many are in memory
    concurrent_metrics: int = 8  # of one target
    concurrent_traces: int = 4  # of one session: so many are in memory
    renew_every: timedelta = RENEW_EVERY

    def __post_init__(self) -> None:
        if timedelta(seconds=self.deadline_s + self.head_start_s) >= LEASE - RENEW_DEBOUNCE:
            raise ValueError(f"a question of {self.deadline_s} s does not fit into a lease")


DEFAULT_POLICY: Final = EvaluationPolicy()
