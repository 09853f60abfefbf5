"""Evidence that is too long for a model: the question is asked once more, with half of it."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from application.evaluation.matter import Matter
from domain.evaluation.answer import Answer, JudgeRefused, JudgeUnavailable, Question
from domain.evaluation.gathering import EVIDENCE_TOKENS_MIN
from domain.evaluation.metric import Metric
from domain.evaluation.outcome import FailCode


async def answered(
    metric: Metric, matter: Matter, ask: Callable[[Question], Awaitable[Answer]]
) -> tuple[Answer, Matter]:
    """The answer, and the matter that it is about: `matter`, or the half of it that was shown.

    Raises what `ask` raises; the requests of both questions are told, whatever comes of them.
    """
    try:
        return await ask(await matter.seen(lambda it: it.question(metric))), matter
    except JudgeRefused as refused:
        half = await matter.seen(halved) if refused.code is FailCode.TOO_LONG else None
        if half is None:
            raise
        too_long = refused.calls
    question = await half.seen(lambda it: it.question(metric))
    try:
        answer = await ask(question)
    except JudgeRefused as refused:
        raise JudgeRefused(refused.code, calls=too_long + refused.calls) from refused
    except JudgeUnavailable as late:
        calls = too_long + late.calls
        raise JudgeUnavailable(late.code, retry_after_s=late.retry_after_s, calls=calls) from late
    return replace(answer, calls=too_long + answer.calls), half


def halved(matter: Matter) -> Matter | None:
    """The same with evidence of half the size; None where there is no less of it.

    Its hash stays that of the whole: the same trace has the same one, however much was shown.
    """
    shown = min(matter.policy.evidence_tokens, matter.evidence.tokens)
    tokens = max(shown // 2, EVIDENCE_TOKENS_MIN)
    if tokens >= shown:
        return None
    return replace(matter, policy=replace(matter.policy, evidence_tokens=tokens), whole=matter)
