"""Outcomes of one target on their way into the store."""

import asyncio
from collections.abc import Mapping

import pytest

from application.evaluation.recording import Recording
from domain.errors import Unavailable
from domain.evaluation.scores.outcome import Outcome, Scored


class Store:
    """Writes when it is let; whoever was first waits at the gate."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.written: list[dict[str, Outcome]] = []

    async def write(self, outcomes: Mapping[str, Outcome]) -> None:
        await self.gate.wait()
        self.written.append(dict(outcomes))


def scored(value: float) -> Outcome:
    return Scored(value, "")


async def test_what_comes_while_another_is_written_goes_together():
    store = Store()
    recording = Recording(store.write)
    puts = [
        asyncio.create_task(recording.put(name, scored(n / 10))) for n, name in enumerate("abc")
    ]
    await asyncio.sleep(0)
    assert not any(put.done() for put in puts)
    store.gate.set()
    await asyncio.gather(*puts)
    assert store.written == [{"a": scored(0)}, {"b": scored(0.1), "c": scored(0.2)}]


async def test_who_comes_alone_is_written_alone():
    store = Store()
    store.gate.set()
    recording = Recording(store.write)
    for name in "ab":
        await recording.put(name, scored(1))
    assert store.written == [{"a": scored(1)}, {"b": scored(1)}]


async def test_a_failure_is_told_to_who_was_writing():
    async def failing(_: Mapping[str, Outcome]) -> None:
        raise Unavailable("no database")

    with pytest.raises(Unavailable):
        await Recording(failing).put("a", scored(1))
