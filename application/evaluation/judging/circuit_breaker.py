"""Stops the questions of a run to a provider that refuses all of them, such as by its key."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from domain.evaluation.judging.judge import JudgeRefused
from domain.evaluation.scores.outcome import FailCode
from domain.ids import RunId

CIRCUITS_MAX: Final = 1_024  # the most recently used ones; a dropped one costs one more question
HEAD_START_S: Final = 20.0  # a provider that refuses does so within a second


@dataclass(slots=True)
class _Circuit:
    is_tried: bool = False
    is_open: bool = False
    first_ended: asyncio.Event = field(default_factory=asyncio.Event)


class CircuitBreaker:
    """One circuit for each run and provider, in this process.

    The first question goes alone, for at most `head_start_s`. So if no question can succeed, it is
    the only one that is asked. An open circuit stays open: the next run has its own.
    """

    def __init__(self, head_start_s: float = HEAD_START_S) -> None:
        self._head_start_s = head_start_s
        self._circuits: OrderedDict[tuple[RunId, str], _Circuit] = OrderedDict()

    async def call[T](self, run: RunId, provider: str, question: Callable[[], Awaitable[T]]) -> T:
        """The answer to the question.

        Raises what the question raises; JudgeRefused `circuit_open`, without asking, if the
        circuit is open.
        """
        circuit = self._circuit(run, provider)
        if circuit.is_tried:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._head_start_s):
                    await circuit.first_ended.wait()
        circuit.is_tried = True
        if circuit.is_open:
            raise JudgeRefused(FailCode.CIRCUIT_OPEN)
        try:
            return await question()
        except JudgeRefused as refused:
            if refused.code.opens_circuit:
                circuit.is_open = True
            raise
        finally:
            circuit.first_ended.set()

    def check(self, run: RunId, provider: str) -> None:
        """Raises JudgeRefused `circuit_open` if another question has opened it meanwhile."""
        if self._circuit(run, provider).is_open:
            raise JudgeRefused(FailCode.CIRCUIT_OPEN)

    def __len__(self) -> int:
        return len(self._circuits)

    def _circuit(self, run: RunId, provider: str) -> _Circuit:
        circuit = self._circuits.setdefault((run, provider), _Circuit())
        self._circuits.move_to_end((run, provider))
        if len(self._circuits) > CIRCUITS_MAX:
            self._circuits.popitem(last=False)
        return circuit
