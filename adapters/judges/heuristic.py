"""The heuristic judge: the rules of the domain behind the port. It needs no key and no network."""

import asyncio
from typing import Final

from domain.evaluation.judging.heuristics import HEURISTICS, MODEL, heuristic_outcome
from domain.evaluation.judging.judge import Answer, JudgeRefused, Question
from domain.evaluation.judging.prompt import heuristic_fingerprint
from domain.evaluation.metrics.metric import Metric
from domain.evaluation.scores.outcome import FailCode, Failed

LARGE: Final = 500  # steps, or calls: from here on the rules take milliseconds, so in a thread


class HeuristicJudge:
    """Answers for the model `heuristic/1`."""

    def fingerprint(self, metric: Metric, model: str) -> str:
        _check(metric, model)
        return heuristic_fingerprint(metric.name)

    async def ask(self, question: Question) -> Answer:
        _check(question.metric, question.model)
        evidence = question.evidence
        arguments = (question.metric.name, evidence)
        if max(len(evidence.steps), len(evidence.signs.calls)) < LARGE:
            outcome = heuristic_outcome(*arguments)
        else:
            outcome = await asyncio.to_thread(heuristic_outcome, *arguments)
        if isinstance(outcome, Failed):  # no rule fails
            raise JudgeRefused(outcome.code)
        return Answer(outcome=outcome, model=MODEL)


def _check(metric: Metric, model: str) -> None:
    if model != MODEL:
        raise JudgeRefused(FailCode.UNKNOWN_MODEL)
    if metric.name not in HEURISTICS:
        raise JudgeRefused(FailCode.MISCONFIGURED)
