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


def a_verdict(**overrides: Any) -> Verdict:
    metadata = {"evidence": ["s1"], "label": 4, "judge_kind": "model", "é": None}
    known: dict[str, Any] = {
        "outcome": Scored(0.8, "It is done", metadata),
        "model": "openai/tiny",
        "use": USED,
        "usd": Decimal("0.000000001234"),
    }
    return Verdict(**known | overrides)


@dataclass(frozen=True, slots=True)
class VerdictFixture:
    """A verdict cache, and a project with a trace that verdicts are about."""

    verdicts: VerdictCache
    world: World
    project: ProjectId
    trace: TraceId

    async def keep(self, verdict: Verdict, key: bytes = KEY, **overrides: Any) -> None:
        place = {"project": self.project, "trace": self.trace, "now": NOON} | overrides
        await self.verdicts.save(key=key, verdict=verdict, **place)


@pytest.fixture
async def fixture(world: World) -> VerdictFixture:
    project, one = ProjectId(uuid.uuid4()), trace()
    await world.ports.tracing.traces.put(project, one)
    return VerdictFixture(world.ports.evaluation.judging.verdicts, world, project, one.id)


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"usd": None},
        {"usd": Decimal(0)},
        {"outcome": Scored(0.0, "", {})},
        {"outcome": Scored(1.0, "line\nbreak \u0000 \N{ROCKET}", {"verdicts": [{"ok": True}]})},
    ],
    ids=["usual", "unpriced", "free", "bare", "odd texts"],
)
async def test_find_returns_verdict_as_stored(fixture: VerdictFixture, overrides: dict[str, Any]):
    await fixture.keep(a_verdict(**overrides))
    assert await fixture.verdicts.find(fixture.project, KEY, NOON) == a_verdict(**overrides)


async def test_verdict_older_than_asked_is_not_found(fixture: VerdictFixture):
    await fixture.keep(a_verdict())
    later = NOON + timedelta(microseconds=1)
    assert await fixture.verdicts.find(fixture.project, KEY, later) is None


async def test_verdict_belongs_to_one_question_and_project(fixture: VerdictFixture):
    await fixture.keep(a_verdict())
    assert await fixture.verdicts.find(fixture.project, b"\x01" * 32, NOON) is None
    assert await fixture.verdicts.find(ProjectId(uuid.uuid4()), KEY, NOON) is None


async def test_newer_verdict_replaces_older(fixture: VerdictFixture):
    await fixture.keep(a_verdict(model="openai/small"))
    await fixture.keep(a_verdict(), now=NOON + DAY)
    assert await fixture.verdicts.find(fixture.project, KEY, NOON + DAY) == a_verdict()


async def test_verdict_of_unknown_trace_is_not_stored(fixture: VerdictFixture):
    await fixture.keep(a_verdict(), trace=TraceId(uuid.uuid4()))
    assert await fixture.verdicts.find(fixture.project, KEY, NOON) is None
    await fixture.keep(a_verdict(), project=ProjectId(uuid.uuid4()))
    assert await fixture.verdicts.find(fixture.project, KEY, NOON) is None


async def test_verdict_is_deleted_with_its_trace(fixture: VerdictFixture):
    other = replace(trace(), id=TraceId(uuid.uuid4()))
    await fixture.world.ports.tracing.traces.put(fixture.project, other)
    await fixture.keep(a_verdict())
    await fixture.keep(a_verdict(), b"\x01" * 32, trace=other.id)
    await fixture.world.ports.tracing.traces.delete(fixture.project, [fixture.trace])
    assert await fixture.verdicts.find(fixture.project, KEY, NOON) is None
    assert await fixture.verdicts.find(fixture.project, b"\x01" * 32, NOON) == a_verdict()


async def test_verdict_with_unstorable_text_is_dropped_without_error(fixture: VerdictFixture):
    await fixture.keep(a_verdict(outcome=Scored(1.0, "\ud800", {})))
    known = await fixture.verdicts.find(fixture.project, KEY, NOON)
    assert known is None or known.outcome.reason == "\ud800"
    await fixture.keep(a_verdict())
    assert await fixture.verdicts.find(fixture.project, KEY, NOON) == a_verdict()


async def test_sweep_deletes_oldest_verdicts(fixture: VerdictFixture):
    long_ago = NOON - 9_000 * DAY  # used by this test only, since all tests share a database
    for n in range(3):
        await fixture.keep(a_verdict(), bytes([n]) * 32, now=long_ago + n * DAY)
    assert await fixture.verdicts.delete_older(long_ago + 2 * DAY) == 2
    found = [
        await fixture.verdicts.find(fixture.project, bytes([n]) * 32, long_ago) is not None
        for n in range(3)
    ]
    assert found == [False, False, True]
    assert await fixture.verdicts.delete_older(long_ago + 2 * DAY) == 0
