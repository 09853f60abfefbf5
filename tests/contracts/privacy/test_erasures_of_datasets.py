"""Erasures follow the links of dataset items to traces, in every version."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from adapters.postgres.database.tenants import within
from adapters.postgres.evaluation.datasets.erased_items import ERASED_PER_DELETE
from domain.ids import ProjectId
from domain.privacy.erasure import DataSubject, DataSubjectKind, ErasureState
from domain.tracing.trace import Trace, TraceChange
from tests.contracts.privacy.test_erasures import ADA, GRACE, ErasureFixture, a_trace
from tests.contracts.privacy.test_erasures import fixture as fixture  # noqa: PLC0414 - a fixture
from tests.support.builders.datasets import a_dataset, an_item, put, shown
from tests.support.builders.values import NOON
from tests.support.fixtures.data_plane import fill, over_postgres, project
from tests.support.fixtures.erasures import an_erasure, audit_entry

SESSION = DataSubject(DataSubjectKind.SESSION, "s")
COPY_ITEM = """
INSERT INTO dataset_items
SELECT (jsonb_populate_record(item, jsonb_build_object('item_id', 'copy ' || number))).*
FROM dataset_items AS item, generate_series(1, $2) AS number WHERE project_id = $1
"""


async def copied(fixture: ErasureFixture, ours: ProjectId, *traces: Trace) -> None:
    await fixture.plane.evaluation.datasets.create(a_dataset(ours))
    await fill(fixture.plane, ours, *traces)
    items = [an_item(f"i{n}", n, from_trace=one.id) for n, one in enumerate(traces)]
    await put(fixture.plane.evaluation.datasets, ours, *items)


@pytest.mark.parametrize("owner", [GRACE, SESSION], ids=["user", "session"])
async def test_items_are_deleted_in_all_versions(fixture, owner):
    ours, datasets = project(), fixture.plane.evaluation.datasets
    other = a_trace(user_id=ADA.id, session_id="t")
    await copied(fixture, ours, a_trace(), other)
    first = (await put(datasets, ours, an_item("own"))).version
    second = (await put(datasets, ours, an_item("i0", "edited"), an_item("i1", "edited"))).version
    receipt = await fixture.erase(ours, owner)
    assert receipt.rows["dataset_items"] == 2
    assert await fixture.found(receipt, owner) == ({}, 0)
    assert list(await shown(datasets, ours)) == ["i1", "own"]
    assert list(await shown(datasets, ours, first.digest)) == ["i1", "own"]
    newest, *older = await datasets.versions(ours, "refunds")
    assert (newest.number, newest.items, newest.erased) == (4, 2, 0)
    assert [(one.items, one.erased) for one in older] == [(3, 1), (3, 1), (2, 1), (0, 0)]
    assert [one.digest for one in older[:2]] == [second.digest, first.digest]
    assert (await datasets.get(ours, "refunds")).version == newest


async def test_newest_version_stays_if_it_loses_no_item(fixture):
    ours, datasets = project(), fixture.plane.evaluation.datasets
    await copied(fixture, ours, a_trace(), a_trace(user_id=ADA.id))
    assert await datasets.delete_item(ours, "refunds", "i0", NOON)
    newest = (await datasets.get(ours, "refunds")).version
    assert (await fixture.erase(ours)).rows["dataset_items"] == 1
    assert (await datasets.get(ours, "refunds")).version == newest
    assert [one.erased for one in await datasets.versions(ours, "refunds")] == [0, 1, 0]


async def test_items_are_hidden_from_the_start(fixture):
    ours, datasets = project(), fixture.plane.evaluation.datasets
    await copied(fixture, ours, a_trace(), a_trace(user_id=ADA.id))
    erasure = await fixture.request(ours)
    assert list(await shown(datasets, ours)) == ["i1"]
    assert not await datasets.delete_item(ours, "refunds", "i0", NOON)
    assert (await fixture.found(erasure, GRACE))[0]["dataset_items"] == 1


async def test_link_is_followed_after_the_trace_is_gone(fixture):
    ours, datasets, known = project(), fixture.plane.evaluation.datasets, a_trace()
    await copied(fixture, ours, known)
    await fixture.plane.traces.delete(ours, [known.id])
    erasure = await fixture.request(ours)
    assert await shown(datasets, ours) == {}
    receipt = await fixture.step(erasure)
    assert receipt.rows == {"dataset_items": 1}


@pytest.mark.parametrize(
    ("owner", "copied_with"),
    [
        (GRACE, {"user_id": None, "session_id": None}),
        (GRACE, {"user_id": None, "session_id": "t"}),
        (SESSION, {"user_id": None, "session_id": None}),
        (SESSION, {"user_id": ADA.id, "session_id": None}),
    ],
    ids=["user", "user_alone", "session", "session_alone"],
)
async def test_link_is_followed_to_an_owner_that_was_named_after_the_copy(
    fixture, owner, copied_with
):
    ours, datasets = project(), fixture.plane.evaluation.datasets
    known = a_trace(**copied_with)
    await copied(fixture, ours, known)
    late = replace(known, user_id=GRACE.id, session_id=SESSION.id)
    await fill(fixture.plane, ours, late)
    await fixture.plane.traces.delete(ours, [known.id])
    await put(datasets, ours, an_item("i0", "edited"))
    receipt = await fixture.erase(ours, owner)
    assert receipt.rows == {"dataset_items": 2}
    assert await shown(datasets, ours) == {}


@pytest.mark.parametrize("named", ["user_id", "session_id"])
async def test_owner_at_the_copy_stays_when_the_other_is_added(fixture, named):
    """An item follows the owners that its trace had, and not those that came in their place."""
    ours, datasets = project(), fixture.plane.evaluation.datasets
    known = a_trace(**{"user_id": None, "session_id": None, named: "before"})
    await copied(fixture, ours, known)
    change = TraceChange(user_id=GRACE.id, session_id=SESSION.id)
    await fixture.plane.traces.change(ours, known.id, change)
    await fixture.plane.traces.delete(ours, [known.id])
    added, replaced = (SESSION, GRACE) if named == "user_id" else (GRACE, SESSION)
    assert (await fixture.erase(ours, replaced)).rows == {}
    assert list(await shown(datasets, ours)) == ["i0"]
    assert (await fixture.erase(ours, added)).rows == {"dataset_items": 1}


async def test_link_is_followed_to_the_present_owner(fixture):
    ours, datasets, known = project(), fixture.plane.evaluation.datasets, a_trace(user_id=ADA.id)
    await copied(fixture, ours, known)
    await fixture.plane.traces.change(ours, known.id, TraceChange(user_id=GRACE.id))
    erasure = await fixture.request(ours)
    assert await shown(datasets, ours) == {}
    assert (await fixture.step(erasure)).rows["dataset_items"] == 1


async def test_kept_link_of_revised_item_is_followed(fixture):
    ours, datasets, known = project(), fixture.plane.evaluation.datasets, a_trace()
    await copied(fixture, ours, known)
    await fixture.plane.traces.delete(ours, [known.id])
    await put(datasets, ours, an_item("i0", "edited"))
    assert (await fixture.erase(ours)).rows == {"dataset_items": 2}
    assert await shown(datasets, ours) == {}


async def test_kept_link_has_the_owner_that_it_had_in_its_dataset(fixture):
    ours, datasets, known = project(), fixture.plane.evaluation.datasets, a_trace(user_id=ADA.id)
    await copied(fixture, ours, known)
    await fixture.plane.traces.change(ours, known.id, TraceChange(user_id=GRACE.id))
    await datasets.create(a_dataset(ours, name="later"))
    for one in (an_item("other"), an_item("i0", from_trace=known.id)):
        await put(datasets, ours, one, name="later")
    await fixture.plane.traces.delete(ours, [known.id])
    await put(datasets, ours, an_item("i0", "edited"))
    await fixture.erase(ours)
    assert list(await shown(datasets, ours)) == ["i0"]
    assert list(await shown(datasets, ours, name="later")) == ["other"]


async def test_traces_under_erasure_are_not_copied(fixture):
    ours, datasets, known = project(), fixture.plane.evaluation.datasets, a_trace()
    await datasets.create(a_dataset(ours))
    await fill(fixture.plane, ours, known)
    await fixture.request(ours)
    result = await put(datasets, ours, an_item("a", from_trace=known.id))
    assert list(result.refused) == [0]


@pytest.mark.service
async def test_erasure_ends_only_when_no_item_is_left(pool):
    ours, known = project(), a_trace()
    async with over_postgres(pool) as plane:
        await plane.evaluation.datasets.create(a_dataset(ours))
        await fill(plane, ours, known)
        await put(plane.evaluation.datasets, ours, an_item("i0", from_trace=known.id))
        await plane.traces.delete(ours, [known.id])
        await within(pool, ours).execute(COPY_ITEM, ours, ERASED_PER_DELETE)
        erasures, erasure = plane.privacy.erasures, an_erasure(ours, GRACE)
        await erasures.begin(erasure, GRACE, audit_entry(erasure))
        steps = [
            await erasures.advance(ours, erasure.id, datetime.now(UTC), audit_entry)
            for _ in range(2)
        ]
    assert [(one.state, one.rows) for one in steps] == [
        (ErasureState.REMOVING, {"dataset_items": ERASED_PER_DELETE}),
        (ErasureState.REMOVED, {"dataset_items": ERASED_PER_DELETE + 1}),
    ]
