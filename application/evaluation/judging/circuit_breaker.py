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


@dataclass(slots=True)
class _ProviderCircuit(_Circuit):
    """The circuit of a provider, and those of the models that a run asks there."""

    models: dict[str, _Circuit] = field(default_factory=dict)

    def is_open_for(self, model: str) -> bool:
        return self.is_open or (model in self.models and self.models[model].is_open)


class CircuitBreaker:
    """One circuit for each run and provider, and in it one for each model, in this process.

    The first question to each goes alone, for at most `head_start_s`. So if no question can
    succeed, it is the only one that is asked. A fault of a model says nothing of others of
    its provider, which metrics may name. An open circuit stays open: the next run has its own.
    """

    def __init__(self, head_start_s: float = HEAD_START_S) -> None:
        self._head_start_s = head_start_s
        self._circuits: OrderedDict[tuple[RunId, str], _ProviderCircuit] = OrderedDict()

    async def call[T](
        self, run: RunId, provider: str, model: str, question: Callable[[], Awaitable[T]]
    ) -> T:
        """The answer to the question.

        Raises what the question raises; JudgeRefused `circuit_open`, without asking, if the
        circuit is open.
        """
        provider_circuit = self._circuit(run, provider)
        model_circuit = provider_circuit.models.setdefault(model, _Circuit())
        if not provider_circuit.is_open_for(model):
            await self._wait_for_first(provider_circuit, model_circuit)
        if provider_circuit.is_open_for(model):
            raise JudgeRefused(FailCode.CIRCUIT_OPEN)
        provider_circuit.is_tried = model_circuit.is_tried = True
        try:
            return await question()
        except JudgeRefused as refused:
            if refused.code.opens_circuit:
                opened = model_circuit if refused.code.is_of_model else provider_circuit
                opened.is_open = True
            raise
        finally:
            provider_circuit.first_ended.set()
            model_circuit.first_ended.set()

    def check(self, run: RunId, provider: str, model: str) -> None:
        """Raises JudgeRefused `circuit_open` if another question has opened it meanwhile."""
        if self._circuit(run, provider).is_open_for(model):
            raise JudgeRefused(FailCode.CIRCUIT_OPEN)

    def __len__(self) -> int:
        return len(self._circuits)

    async def _wait_for_first(self, *circuits: _Circuit) -> None:
        """Waits until the first question to each circuit has ended, at most for the head start."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._head_start_s):
                for circuit in circuits:
                    if circuit.is_tried:  # it may be by now
                        await circuit.first_ended.wait()

    def _circuit(self, run: RunId, provider: str) -> _ProviderCircuit:
        circuit = self._circuits.setdefault((run, provider), _ProviderCircuit())
        self._circuits.move_to_end((run, provider))
        if len(self._circuits) > CIRCUITS_MAX:
            self._circuits.popitem(last=False)
        return circuit
