"""One judge for all models: picks the judge of a model's provider."""

from collections.abc import Mapping
from dataclasses import dataclass

from application.evaluation.ports.judging import Judge
from domain.evaluation.judging.judge import Answer, JudgeRefused, Question
from domain.evaluation.judging.models import provider_of
from domain.evaluation.metrics.metric import Metric
from domain.evaluation.scores.outcome import FailCode


@dataclass(frozen=True, slots=True)
class JudgeByProvider:
    """Picks by `provider_of` a model's name.

    `judges` has every known provider, with None for one that isn't configured. The models of such
    a provider are refused as `misconfigured`, those of an unknown provider as `unknown_model`.
    """

    judges: Mapping[str, Judge | None]

    def fingerprint(self, metric: Metric, model: str) -> str:
        return self._judge_for(model).fingerprint(metric, model)

    async def ask(self, question: Question) -> Answer:
        return await self._judge_for(question.model).ask(question)

    def _judge_for(self, model: str) -> Judge:
        provider = provider_of(model)
        if provider not in self.judges:
            raise JudgeRefused(FailCode.UNKNOWN_MODEL)
        judge = self.judges[provider]
        if judge is None:
            raise JudgeRefused(FailCode.MISCONFIGURED)
        return judge
