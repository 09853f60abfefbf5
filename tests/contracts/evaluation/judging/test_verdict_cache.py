"""Contract of VerdictCache: a verdict is found until it is too old, or its trace is deleted."""

import uuid
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from application.evaluation.ports.judging import Verdict, VerdictCache
from domain.evaluation.judging.judge import TokenUse
from domain.evaluation.scores.outcome import Scored
from domain.ids import ProjectId, TraceId
from tests.support.builders.values import NOON, trace
from tests.support.fixtures.in_memory_app import World

KEY = b"\x00\xff" * 16
DAY = timedelta(days=1)
USED = TokenUse(requests=2, input=5_000, cache_read=10, cache_write=20, output=70, reasoning=30)


def a_verdict(**said: Any) -> Verdict:
    marks = {"evidence": ["s1"], "label": 4, "judge_kind": "model", "é": None}
    known: dict[str, Any] = {
        "outcome": Scored(0.8, "It is done", marks),
        "model": "openai/tiny",
        "use": USED,
        "usd": Decimal("0.000000001234"),
    }
    return Verdict(**known | said)


@dataclass(frozen=True, slots=True)
class Shelf:
    """A verdict cache, and a project with a trace that verdicts are about."""

    verdicts: VerdictCache
    world: World
    project: ProjectId
    trace: TraceId

    async def keep(self, verdict: Verdict, key: bytes = KEY, **said: Any) -> None:
        place = {"project": self.project, "trace": self.trace, "now": NOON} | said
        await self.verdicts.keep(key=key, verdict=verdict, **place)


@pytest.fixture
async def shelf(world: World) -> Shelf:
    project, one = ProjectId(uuid.uuid4()), trace()
    await world.ports.traces.put(project, one)
    return Shelf(world.ports.evaluation.judging.verdicts, world, project, one.id)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"usd": None},
        {"usd": Decimal(0)},
        {"outcome": Scored(0.0, "", {})},
        {"outcome": Scored(1.0, "line\nbreak \u0000 \N{ROCKET}", {"verdicts": [{"ok": True}]})},
    ],
    ids=["usual", "unpriced", "free", "bare", "odd texts"],
)
async def test_it_is_found_as_it_was_kept(shelf: Shelf, said: dict[str, Any]):
    await shelf.keep(a_verdict(**said))
    assert await shelf.verdicts.find(shelf.project, KEY, NOON) == a_verdict(**said)


async def test_one_that_was_kept_earlier_is_not_found(shelf: Shelf):
    await shelf.keep(a_verdict())
    later = NOON + timedelta(microseconds=1)
    assert await shelf.verdicts.find(shelf.project, KEY, later) is None


async def test_it_is_of_one_question_and_one_project(shelf: Shelf):
    await shelf.keep(a_verdict())
    assert await shelf.verdicts.find(shelf.project, b"\x01" * 32, NOON) is None
    assert await shelf.verdicts.find(ProjectId(uuid.uuid4()), KEY, NOON) is None


async def test_the_later_one_takes_its_place(shelf: Shelf):
    await shelf.keep(a_verdict(model="openai/small"))
    await shelf.keep(a_verdict(), now=NOON + DAY)
    assert await shelf.verdicts.find(shelf.project, KEY, NOON + DAY) == a_verdict()


async def test_what_is_not_stored_has_no_verdict(shelf: Shelf):
    await shelf.keep(a_verdict(), trace=TraceId(uuid.uuid4()))
    assert await shelf.verdicts.find(shelf.project, KEY, NOON) is None
    await shelf.keep(a_verdict(), project=ProjectId(uuid.uuid4()))
    assert await shelf.verdicts.find(shelf.project, KEY, NOON) is None


async def test_it_goes_with_its_trace(shelf: Shelf):
    other = replace(trace(), id=TraceId(uuid.uuid4()))
    await shelf.world.ports.traces.put(shelf.project, other)
    await shelf.keep(a_verdict())
    await shelf.keep(a_verdict(), b"\x01" * 32, trace=other.id)
    await shelf.world.ports.traces.delete(shelf.project, [shelf.trace])
    assert await shelf.verdicts.find(shelf.project, KEY, NOON) is None
    assert await shelf.verdicts.find(shelf.project, b"\x01" * 32, NOON) == a_verdict()


async def test_what_no_store_can_hold_is_not_kept_and_harms_nobody(shelf: Shelf):
    await shelf.keep(a_verdict(outcome=Scored(1.0, "\ud800", {})))
    known = await shelf.verdicts.find(shelf.project, KEY, NOON)
    assert known is None or known.outcome.reason == "\ud800"
    await shelf.keep(a_verdict())
    assert await shelf.verdicts.find(shelf.project, KEY, NOON) == a_verdict()


async def test_the_oldest_are_swept(shelf: Shelf):
    long_ago = NOON - 9_000 * DAY  # of this test alone, in a database of all
    for n in range(3):
        await shelf.keep(a_verdict(), bytes([n]) * 32, now=long_ago + n * DAY)
    assert await shelf.verdicts.sweep(long_ago + 2 * DAY) == 2
    found = [
        await shelf.verdicts.find(shelf.project, bytes([n]) * 32, long_ago) is not None
        for n in range(3)
    ]
    assert found == [False, False, True]
    assert await shelf.verdicts.sweep(long_ago + 2 * DAY) == 0
