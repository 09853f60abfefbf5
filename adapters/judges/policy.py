"""How a judge is asked that may be away: again where that may help, and not too often at once."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final

from adapters.judges.turns import Turns
from application.evaluation.ports.evaluation import Judge
from domain.evaluation.judging.judge import (
    Answer,
    JudgeCall,
    JudgeRefused,
    JudgeUnavailable,
    Question,
)
from domain.evaluation.metrics.metric import Metric
from domain.evaluation.scores.outcome import FailCode

ATTEMPTS_MAX: Final = 3  # of one question; after that its target is put back
WAIT_S: Final = 1.0  # at most, after the first attempt; twice as long after each other
WAIT_MAX_S: Final = 20.0


class PatientJudge:
    """Asks `judge` up to ATTEMPTS_MAX times, and has `at_once` turns at most at the same time.

    Between attempts it waits by chance, up to a bound that doubles (full jitter), and never less
    than the provider asks for; where that is beyond the deadline the question is given up. All
    requests of all attempts are told.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        at_once: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`clock` tells seconds, `chance` numbers of [0, 1)."""
        self._judge = judge
        self._turns = Turns(at_once)
        self._clock = clock
        self._sleep = sleep
        self._chance = chance

    @property
    def at_once(self) -> int:
        """How many questions may be asked at the same time now."""
        return self._turns.limit

    def fingerprint(self, metric: Metric, model: str) -> str:
        return self._judge.fingerprint(metric, model)

    def turn(self, model: str) -> AbstractAsyncContextManager[None]:  # noqa: ARG002 - one line for all
        return self._turns

    async def ask(self, question: Question) -> Answer:
        until = self._clock() + question.deadline_s
        made: tuple[JudgeCall, ...] = ()
        attempt = 0
        while True:
            attempt += 1
            epoch = self._turns.epoch
            left = replace(question, deadline_s=until - self._clock())
            try:
                answer = await self._judge.ask(left)
            except JudgeRefused as refused:
                raise JudgeRefused(refused.code, calls=made + refused.calls) from refused
            except JudgeUnavailable as late:
                made += late.calls
                if late.code is FailCode.RATE_LIMITED:
                    self._turns.too_many_erasures(epoch)
                wait_s = max(self._jitter_s(attempt), late.retry_after_s)
                if attempt == ATTEMPTS_MAX or self._clock() + wait_s >= until:
                    raise JudgeUnavailable(
                        late.code, retry_after_s=late.retry_after_s, calls=made
                    ) from late
            else:
                self._turns.went_well()
                return replace(answer, calls=made + answer.calls)
            await self._sleep(wait_s)

    def _jitter_s(self, attempt: int) -> float:
        return self._chance() * min(WAIT_MAX_S, WAIT_S * (1 << attempt - 1))
