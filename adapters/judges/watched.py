"""A judge whose requests to providers are told, whatever came of them."""

from collections.abc import Callable
from dataclasses import dataclass

from application.evaluation.ports import Judge
from domain.evaluation.answer import Answer, JudgeCall, JudgeRefused, JudgeUnavailable, Question
from domain.evaluation.metric import Metric


@dataclass(frozen=True, slots=True)
class WatchedJudge:
    """As `judge`; `on_call` hears of each request once its question is answered or given up."""

    judge: Judge
    on_call: Callable[[JudgeCall], None]

    def fingerprint(self, metric: Metric, model: str) -> str:
        return self.judge.fingerprint(metric, model)

    async def ask(self, question: Question) -> Answer:
        try:
            answer = await self.judge.ask(question)
        except (JudgeRefused, JudgeUnavailable) as error:
            self._tell(error.calls)
            raise
        self._tell(answer.calls)
        return answer

    def _tell(self, calls: tuple[JudgeCall, ...]) -> None:
        for call in calls:
            self.on_call(call)
