"""Who needs not be asked any more, by run: a refused key stays refused."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from domain.evaluation.judging.judge import JudgeRefused
from domain.evaluation.scores.outcome import FailCode
from domain.ids import RunId

CIRCUITS_MAX: Final = 1_024  # of those used most recently; a forgotten one costs one question
HEAD_START_S: Final = 20.0  # a provider that refuses does so in a second


@dataclass(slots=True)
class _Circuit:
    is_tried: bool = False
    is_open: bool = False
    heard: asyncio.Event = field(default_factory=asyncio.Event)  # of the first question


class Circuits:
    """One for each run and provider, in this process.

    The first question goes alone, for `head_start_s` at most: where it finds that none can
    succeed, it was the only one.
    """

    def __init__(self, head_start_s: float = HEAD_START_S) -> None:
        self._head_start_s = head_start_s
        self._known: OrderedDict[tuple[RunId, str], _Circuit] = OrderedDict()

    async def ask[T](self, run: RunId, provider: str, question: Callable[[], Awaitable[T]]) -> T:
        """The answer. Raises what the question raises; JudgeRefused `circuit_open` unasked."""
        circuit = self._of(run, provider)
        if circuit.is_tried:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._head_start_s):
                    await circuit.heard.wait()
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
            circuit.heard.set()

    def check(self, run: RunId, provider: str) -> None:
        """Raises JudgeRefused `circuit_open` where another question has found it out meanwhile."""
        if self._of(run, provider).is_open:
            raise JudgeRefused(FailCode.CIRCUIT_OPEN)

    def __len__(self) -> int:
        return len(self._known)

    def _of(self, run: RunId, provider: str) -> _Circuit:
        circuit = self._known.setdefault((run, provider), _Circuit())
        self._known.move_to_end((run, provider))
        if len(self._known) > CIRCUITS_MAX:
            self._known.popitem(last=False)
        return circuit
