"""A scripted judge and a scripted embedder, for tests of their callers."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from domain.evaluation.judging.judge import (
    Answer,
    JudgeCall,
    JudgeRefused,
    JudgeUnavailable,
    Question,
    TokenUse,
)
from domain.evaluation.judging.models import provider_of
from domain.evaluation.metrics.metric import JudgeKind, Metric
from domain.evaluation.scores.outcome import FailCode, Scored, Skipped
from domain.evaluation.trace_content.text import Vector, hashed_vector

DEFAULT_OUTCOME: Final = Scored(0.8, "Well done")
DEFAULT_TOKEN_USE: Final = TokenUse(requests=1, input=1_000, output=50)


def make_judge_call(model: str = "openai/tiny", code: FailCode | None = None) -> JudgeCall:
    """One judge call whose tokens the provider reported."""
    provider, name = provider_of(model), model.rpartition("/")[2]
    return JudgeCall(
        provider=provider, model=name, use=DEFAULT_TOKEN_USE, latency_ms=200.0, code=code
    )


type ScriptedAnswer = Scored | Skipped | Exception
"""The answer to a question: an outcome, or an exception to raise."""


@dataclass(slots=True)
class ScriptedJudge:
    """Answers as `script` says for a metric, question by question, and then always as its last.

    Metrics that aren't in the script get DEFAULT_OUTCOME. It doesn't answer while `gate` is closed.
    `asked` and `most_at_once` record the questions. It answers for every model but those of
    `unknown`.
    """

    script: Mapping[str, Sequence[ScriptedAnswer]] = field(default_factory=dict)
    revision: str = "scripted/1"
    unknown: frozenset[str] = frozenset()
    gate: asyncio.Event | None = None
    asked: list[Question] = field(default_factory=list)
    most_at_once: int = 0
    _at_once: int = 0
    _count: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def fingerprint(self, metric: Metric, model: str) -> str:
        self._check(model)
        return f"{self.revision}/{metric.name}"

    async def ask(self, question: Question) -> Answer:
        self._check(question.model)
        self.asked.append(question)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await self._wait(question.deadline_s)
        finally:
            self._at_once -= 1
        return self._answer(question)

    async def _wait(self, seconds: float) -> None:
        if self.gate is None:
            await asyncio.sleep(0)  # as a request over a network would: other tasks go on
            return
        try:
            async with asyncio.timeout(seconds):
                await self.gate.wait()
        except TimeoutError as late:
            raise JudgeUnavailable(FailCode.JUDGE_TIMEOUT) from late

    def _check(self, model: str) -> None:
        if model in self.unknown:
            raise JudgeRefused(FailCode.UNKNOWN_MODEL)

    def _answer(self, question: Question) -> Answer:
        name = question.metric.name
        outcomes = self.script.get(name, (DEFAULT_OUTCOME,))
        outcome = outcomes[min(self._count[name], len(outcomes) - 1)]
        self._count[name] += 1
        if isinstance(outcome, Exception):
            raise outcome
        if isinstance(outcome, Scored):
            marks = {
                "judge_kind": JudgeKind.MODEL.value,
                "model": question.model,
                "fingerprint": self.fingerprint(question.metric, question.model),
            }
            outcome = Scored(outcome.value, outcome.reason, {**outcome.metadata, **marks})
        return Answer(
            outcome=outcome, model=question.model, calls=(make_judge_call(question.model),)
        )


@dataclass(slots=True)
class ScriptedEmbedder:
    """Returns the vectors of the hash embedder under another name.

    If `script` has errors left, raises the next one instead.
    """

    key: str = "scripted/embedder"
    script: Sequence[Exception | None] = ()
    asked: list[Sequence[str]] = field(default_factory=list)

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        self.asked.append(texts)
        error = self.script[min(len(self.asked), len(self.script)) - 1] if self.script else None
        if error is not None:
            raise error
        return [hashed_vector(text) for text in texts]
