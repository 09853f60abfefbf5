"""Contract of CustomMetrics, run against every adapter."""

import asyncio
import uuid
from dataclasses import replace

import pytest

from domain.errors import Conflict, NotFound, Unavailable
from domain.evaluation.custom_metrics.custom_metric import METRICS_MAX, REVISIONS_MAX, Revision
from tests.support.builders import custom_metric_definitions
from tests.support.builders.custom_metric_definitions import a_definition, a_metric, shown
from tests.support.builders.values import NOON, at
from tests.support.fixtures.data_plane import project


@pytest.fixture
async def desk(adapter):
    if adapter is None:
        yield custom_metric_definitions.over_memory()
        return
    async with custom_metric_definitions.over_postgres(adapter) as postgres:
        yield postgres


def says(value):
    return {"path": "trace.name", "op": "eq", "value": value}


async def test_a_metric_is_read_as_it_was_made(desk):
    ours = project()
    body = {"all": [says("ü\U0001f40d"), {"path": "trace.cost", "op": "le", "value": 0.1}]}
    second = await desk.made(ours, name="b_metric", body=body, description="Ü", threshold=0.25)
    first = await desk.made(ours, name="a_metric", created_at=at(1))
    await desk.made(project())
    assert await desk.metrics.all(ours) == [first, second]
    assert await desk.metrics.get(ours, "b_metric") == second
    assert shown(second) == body
    assert await desk.metrics.by_names(ours, ["b_metric", "nothing", "b_metric"]) == {
        "b_metric": second
    }
    assert await desk.metrics.revisions(ours, "b_metric") == [Revision(second.newest, NOON)]


async def test_the_same_metric_is_made_once(desk):
    ours = project()
    metric = await desk.made(ours)
    again = replace(a_metric(ours, name="another"), id=metric.id)
    assert await desk.metrics.create(again) == metric
    assert await desk.metrics.all(ours) == [metric]


async def test_a_name_belongs_to_one_metric_of_a_project_even_to_an_archived_one(desk):
    ours, theirs = project(), project()
    await desk.made(ours)
    await desk.metrics.edit(ours, "finished", lambda it: it.archived(at(1)))
    with pytest.raises(Conflict, match="finished already"):
        await desk.made(ours)
    assert (await desk.made(theirs)).name == "finished"


async def test_of_those_that_take_a_name_at_once_one_gets_it(desk):
    ours = project()
    made = await asyncio.gather(*(desk.made(ours) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(one, Conflict) for one in made) == 4
    assert len(await desk.metrics.all(ours)) == 1


async def test_a_project_has_so_many_metrics_and_no_more(desk):
    ours = project()
    for number in range(METRICS_MAX):
        await desk.made(ours, name=f"metric_{number:03}")
    with pytest.raises(Conflict, match=f"{METRICS_MAX} metrics"):
        await desk.made(ours, name="one_more")
    assert len(await desk.metrics.all(ours)) == METRICS_MAX


async def test_revisions_are_numbered_and_stay_as_they_are(desk):
    ours = project()
    first = await desk.made(ours)
    for number in range(2, 5):
        await desk.metrics.edit(
            ours,
            "finished",
            lambda it, n=number: it.revised(a_definition(body=says(str(n))), at(n)),
        )
    newest = await desk.metrics.get(ours, "finished")
    assert (newest.newest.revision, newest.updated_at, newest.created_at) == (4, at(4), NOON)
    found = await desk.metrics.revisions(ours, "finished")
    assert [one.definition.revision for one in found] == [4, 3, 2, 1]
    assert found[-1] == Revision(first.newest, NOON)
    assert found[0] == newest.revision


async def test_revisions_at_once_get_a_number_each(desk):
    ours = project()
    await desk.made(ours)

    def revise(value):
        return desk.metrics.edit(
            ours, "finished", lambda it: it.revised(a_definition(body=says(value)), at(1))
        )

    await asyncio.gather(*(revise(f"{number}") for number in range(6)))
    found = await desk.metrics.revisions(ours, "finished")
    assert [one.definition.revision for one in found] == [7, 6, 5, 4, 3, 2, 1]
    assert len({one.definition.body for one in found}) == 7


async def test_what_says_the_same_is_no_revision(desk):
    ours = project()
    metric = await desk.made(ours)
    same = await desk.metrics.edit(ours, "finished", lambda it: it.revised(metric.newest, at(9)))
    assert same == metric
    assert len(await desk.metrics.revisions(ours, "finished")) == 1


async def test_a_metric_has_so_many_revisions_and_no_more(desk):
    ours = project()
    await desk.made(ours)

    def revise(number):
        body = says(str(number))
        return desk.metrics.edit(
            ours, "finished", lambda it: it.revised(a_definition(body=body), at(number))
        )

    for number in range(2, REVISIONS_MAX + 1):
        await revise(number)
    with pytest.raises(Conflict, match=f"{REVISIONS_MAX} revisions"):
        await revise(REVISIONS_MAX + 1)
    found = await desk.metrics.revisions(ours, "finished")
    assert [one.definition.revision for one in found] == [*range(REVISIONS_MAX, 0, -1)]


async def test_archiving_hides_nothing_that_was_and_is_undone(desk):
    ours = project()
    metric = await desk.made(ours)
    archived = await desk.metrics.edit(ours, "finished", lambda it: it.archived(at(1)))
    assert archived == replace(metric, archived_at=at(1))
    again = await desk.metrics.edit(ours, "finished", lambda it: it.archived(at(2)))
    assert again.archived_at == at(1)
    assert await desk.metrics.by_names(ours, ["finished"]) == {"finished": archived}
    with pytest.raises(Conflict, match="archived"):
        await desk.metrics.edit(
            ours, "finished", lambda it: it.revised(a_definition(threshold=1.0), at(3))
        )
    assert await desk.metrics.edit(ours, "finished", lambda it: it.restored()) == metric


async def test_metrics_of_others_are_not_found(desk):
    ours, theirs = project(), project()
    metric = await desk.made(ours)
    for ask in (
        desk.metrics.get(theirs, "finished"),
        desk.metrics.revisions(theirs, "finished"),
        desk.metrics.edit(theirs, "finished", lambda it: it.archived(at(1))),
        desk.metrics.get(ours, "Finished"),
    ):
        with pytest.raises(NotFound):
            await ask
    assert await desk.metrics.by_names(theirs, ["finished"]) == {}
    assert await desk.metrics.all(theirs) == []
    assert await desk.metrics.all(ours) == [metric]


async def test_an_edit_that_fails_leaves_all_as_it_was(desk):
    ours = project()
    metric = await desk.made(ours)

    def fails(_):
        raise Conflict("no")

    with pytest.raises(Conflict):
        await desk.metrics.edit(ours, "finished", fails)
    assert await desk.metrics.get(ours, "finished") == metric


async def test_of_a_removed_project_nothing_is_found_or_made(desk):
    ours = project()
    await desk.made(ours)
    await desk.remove(ours)
    assert await desk.metrics.all(ours) == []
    assert await desk.metrics.by_names(ours, ["finished"]) == {}
    with pytest.raises(NotFound):
        await desk.metrics.get(ours, "finished")
    with pytest.raises(Unavailable):
        await desk.metrics.create(replace(a_metric(ours, name="late"), id=uuid.uuid4()))
