"""Evidence that is too long for a model: the question is asked once more, with half of it."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from application.evaluation.matter import Matter
from domain.evaluation.evidence.builder import EVIDENCE_TOKENS_MIN
from domain.evaluation.judging.judge import JudgeRefused
from domain.evaluation.scores.outcome import FailCode


async def answered[T](matter: Matter, ask: Callable[[Matter], Awaitable[T]]) -> T:
    """What `ask` makes of the matter, or of half of it where it is told that it is too long.

    Raises what `ask` raises.
    """
    try:
        return await ask(matter)
    except JudgeRefused as refused:
        half = await matter.seen(halved) if refused.code is FailCode.TOO_LONG else None
        if half is None:
            raise
    return await ask(half)


def halved(matter: Matter) -> Matter | None:
    """The same with evidence of half the size; None where there is no less of it."""
    shown = min(matter.policy.evidence_tokens, matter.evidence.tokens)
    tokens = max(shown // 2, EVIDENCE_TOKENS_MIN)
    if tokens >= shown:
        return None
    return replace(matter, policy=replace(matter.policy, evidence_tokens=tokens), whole=matter)
