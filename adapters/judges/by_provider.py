"""One judge out of several: whoever answers for the provider of a model."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from application.evaluation.ports.evaluation import Judge
from domain.evaluation.judging.judge import Answer, JudgeRefused, Question
from domain.evaluation.judging.models import provider_of
from domain.evaluation.metrics.metric import Metric
from domain.evaluation.scores.outcome import FailCode


class JudgeByProvider:
    """Picks by `provider_of` a model's name.

    `judges` has every known provider; None for one that isn't configured: its models are refused
    as `misconfigured`, those of anybody else as `unknown_model`.
    """

    def __init__(self, judges: Mapping[str, Judge | None]) -> None:
        self._judges = judges

    def fingerprint(self, metric: Metric, model: str) -> str:
        return self._of(model).fingerprint(metric, model)

    def turn(self, model: str) -> AbstractAsyncContextManager[None]:
        return self._of(model).turn(model)

    async def ask(self, question: Question) -> Answer:
        return await self._of(question.model).ask(question)

    def _of(self, model: str) -> Judge:
        provider = provider_of(model)
        if provider not in self._judges:
            raise JudgeRefused(FailCode.UNKNOWN_MODEL)
        judge = self._judges[provider]
        if judge is None:
            raise JudgeRefused(FailCode.MISCONFIGURED)
        return judge
