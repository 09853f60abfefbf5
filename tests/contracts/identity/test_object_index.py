"""Contract of ObjectIndex, run against every adapter."""

import uuid
from dataclasses import replace

import pytest

from application.identity.ports import ObjectIndex
from domain.identity.found_object import FOUND_MAX, FoundObject, ObjectKind, uuid_or_none
from domain.ids import ProjectId
from tests.support.builders.values import span, trace
from tests.support.clients.scored_project import (
    store_dataset,
    store_experiment,
    store_monitor,
    store_run,
    store_score,
)
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.in_memory_app import World


@pytest.fixture
def objects(world: World) -> ObjectIndex:
    return world.ports.identity.objects


def found(*pairs: tuple[ObjectKind, ProjectId]) -> list[FoundObject]:
    return sorted(FoundObject(*one) for one in pairs)


async def test_each_kind_is_found_in_its_project_only(world, objects):
    ours, theirs = project(), project()
    ids = {name: str(uuid.uuid4()) for name in ("run", "monitor", "score", "experiment")}
    part, session = span(), "conv/42"
    one = trace(session_id=session, spans=(part,))
    await world.ports.tracing.traces.put(ours, one)
    evaluation = world.ports.evaluation
    await store_run(evaluation, ours, ids["run"], trace=str(one.id), text="a")
    await store_monitor(evaluation, ours, ids["monitor"], text="a")
    await store_score(
        evaluation, ours, ids["score"], trace=str(one.id), span=str(part.id),
        session=session, text="a",
    )  # fmt: skip
    await store_dataset(evaluation, ours, "cases", item="i", trace=str(one.id), text="a")
    await store_experiment(
        evaluation, ours, ids["experiment"], dataset="cases", item="i", trace=str(one.id), text="a"
    )
    dataset = (await evaluation.datasets.get(ours, "cases")).id
    both = [theirs, ours]
    expected = {
        str(one.id): {ObjectKind.TRACE},
        one.id.hex: {ObjectKind.TRACE},
        str(one.id).upper(): {ObjectKind.TRACE},
        session: {ObjectKind.SESSION},
        ids["monitor"]: {ObjectKind.MONITOR},
        ids["experiment"]: {ObjectKind.EXPERIMENT},
        str(dataset): {ObjectKind.DATASET},
    }
    for text, kinds in expected.items():
        assert list(await objects.find(both, text)) == found(*((kind, ours) for kind in kinds))
        assert list(await objects.find([theirs], text)) == []
        assert list(await objects.find([], text)) == []
    [run] = await objects.find(both, ids["run"])
    assert run in {
        FoundObject(ObjectKind.TRACE_RUN, ours),
        FoundObject(ObjectKind.SESSION_RUN, ours),
    }
    assert {one.kind for one in await objects.find(both, ids["score"])} <= {
        ObjectKind.TRACE_SCORE,
        ObjectKind.SESSION_SCORE,
    }
    for unknown in (str(uuid.uuid4()), "", "conv", "x" * 255, "conv/42\u0001"):
        assert list(await objects.find(both, unknown)) == []


async def test_copies_in_many_projects_are_bounded_and_sorted(world, objects):
    several = [project() for _ in range(4)]
    one = trace()
    for of in several[:3]:
        await world.ports.tracing.traces.put(of, one)
    many = [*several, *(project() for _ in range(600))]  # more than one statement has
    assert list(await objects.find(many, one.id.hex)) == found(
        *((ObjectKind.TRACE, of) for of in several[:3])
    )
    assert len(several) < FOUND_MAX


async def test_a_session_may_have_a_uuid_as_its_id(world, objects):
    ours, id_ = project(), uuid.uuid4()
    await world.ports.tracing.traces.put(ours, replace(trace(), session_id=str(id_)))
    assert list(await objects.find([ours], str(id_))) == found((ObjectKind.SESSION, ours))
    assert list(await objects.find([ours], id_.hex)) == []  # another text


@pytest.mark.parametrize("text", ["", "a", "{%s}", "urn:uuid:%s", " %s", "%s\n"])
def test_only_plain_uuids_are_uuids(text):
    id_ = uuid.uuid4()
    assert uuid_or_none(text % id_ if "%" in text else text) is None
    assert uuid_or_none(str(id_)) == uuid_or_none(id_.hex) == id_
