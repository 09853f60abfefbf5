"""Contract of Datasets, run against every adapter."""

import asyncio
import uuid
from dataclasses import replace

import pytest

from domain.errors import Conflict, NotFound
from domain.evaluation.datasets.dataset import (
    DATASETS_MAX,
    ITEMS_MAX,
    REVISIONS_MAX,
    VERSIONS_MAX,
    version_digest,
)
from domain.ids import TraceId
from domain.page import LIMIT_MAX, PageRequest
from tests.support.builders.datasets import a_dataset, an_item, hashed, put, shown
from tests.support.builders.values import NOON, at, trace
from tests.support.fixtures.data_plane import project, read_all_pages

MANY = 10_000


@pytest.fixture
def datasets(plane):
    return plane.evaluation.datasets


def digest_of(*items):
    return version_digest(b"".join(sorted(one.digest() for one in items)))


async def test_reads_return_dataset_as_created(datasets):
    ours = project()
    second = await datasets.create(a_dataset(ours, "b", description="Ü\U0001f40d"))
    first = await datasets.create(a_dataset(ours, "a", now=at(1)))
    await datasets.create(a_dataset(project(), "a"))
    assert await datasets.all(ours) == [first, second]
    assert await datasets.get(ours, "b") == second
    assert await datasets.versions(ours, "a") == [first.version]
    assert first.version.digest == digest_of()
    assert await shown(datasets, ours, name="a") == {}
    with pytest.raises(NotFound):
        await datasets.get(ours, "c")


async def test_create_with_existing_id_returns_stored_dataset(datasets):
    ours = project()
    stored = await datasets.create(a_dataset(ours))
    assert await datasets.create(a_dataset(ours, "other", id_=stored.id)) == stored
    assert await datasets.all(ours) == [stored]


async def test_concurrent_creations_of_one_name_store_one(datasets):
    ours = project()
    made = await asyncio.gather(
        *(datasets.create(a_dataset(ours)) for _ in range(4)), return_exceptions=True
    )
    assert sum(isinstance(one, Conflict) for one in made) == 3
    assert len(await datasets.all(ours)) == 1


async def test_dataset_limit_of_project(datasets):
    ours = project()
    for number in range(DATASETS_MAX):
        await datasets.create(a_dataset(ours, f"d{number:03}"))
    with pytest.raises(Conflict, match=f"{DATASETS_MAX} datasets.*: delete one"):
        await datasets.create(a_dataset(ours, "one-more"))


async def test_edit_changes_description(datasets):
    ours = project()
    stored = await datasets.create(a_dataset(ours))
    edited = await datasets.edit(ours, "refunds", lambda one: one.described("other", at(1)))
    assert edited == replace(stored, description="other", updated_at=at(1))
    assert await datasets.get(ours, "refunds") == edited
    with pytest.raises(NotFound):
        await datasets.edit(ours, "nothing", lambda one: one)


async def test_write_creates_version_with_all_items(datasets):
    ours = project()
    await datasets.create(a_dataset(ours))
    first, second = (
        an_item("a", {"q": 1}, expected=2),
        an_item("b", split="test", metadata=b'{"k":1}'),
    )
    result = await put(datasets, ours, first, second)
    assert (result.created, result.changed, result.unchanged, result.refused) == (2, 0, 0, {})
    assert result.version.digest == digest_of(first, second)
    assert (result.version.number, result.version.items) == (1, 2)
    assert (await datasets.get(ours, "refunds")).version == result.version
    assert await shown(datasets, ours) == {"a": first, "b": second}
    assert await shown(datasets, ours, split="test") == {"b": second}


async def test_equal_items_make_no_version(datasets):
    ours = project()
    await datasets.create(a_dataset(ours))
    one = an_item("a", {"x": 1, "y": [2]}, expected={"z": None})
    first = await put(datasets, ours, one)
    same = replace(one, input=b'{ "y": [2], "x": 1 }')
    again = await put(datasets, ours, same)
    assert (again.version, again.unchanged) == (first.version, 1)
    assert await shown(datasets, ours) == {"a": one}


async def test_old_versions_never_change(datasets):
    ours = project()
    await datasets.create(a_dataset(ours))
    a, b, c = an_item("a", 1), an_item("b", 2), an_item("c", 3)
    first = (await put(datasets, ours, a, b)).version
    changed = an_item("a", 1, expected="x")
    second = (await put(datasets, ours, changed, c)).version
    assert await datasets.delete_item(ours, "refunds", "b", NOON)
    assert await shown(datasets, ours, first.digest) == {"a": a, "b": b}
    assert await shown(datasets, ours, second.digest) == {"a": changed, "b": b, "c": c}
    assert await shown(datasets, ours) == {"a": changed, "c": c}
    assert [one.number for one in await datasets.versions(ours, "refunds")] == [3, 2, 1, 0]
    assert [one.items for one in await datasets.versions(ours, "refunds")] == [2, 3, 2, 0]


async def test_same_content_has_same_digest_again(datasets):
    ours = project()
    await datasets.create(a_dataset(ours))
    first = (await put(datasets, ours, an_item("a", 1))).version
    await put(datasets, ours, an_item("a", 2))
    third = (await put(datasets, ours, an_item("a", 1))).version
    assert (first.digest, first.number, third.number) == (third.digest, 1, 3)
    assert await datasets.find_version(ours, "refunds", first.digest) == third
    with pytest.raises(NotFound, match="Version"):
        await datasets.find_version(ours, "refunds", b"0" * 32)


async def test_numbers_that_no_double_has_are_told_apart(datasets):
    ours = project()
    await datasets.create(a_dataset(ours))
    texts = (
        *(b"0.12345678901234567891", b"0.12345678901234567892"),
        *(b"1e400", b'"1e400"', b"-1e400", b"1e-400", b"0.0", b"1e-" + b"9" * 30),
        *(b"9" * 5_000, b'"' + b"9" * 5_000 + b'"'),
    )
    for text in texts:
        item = replace(an_item("a"), input=text)
        assert (await put(datasets, ours, item)).unchanged == 0
        assert await shown(datasets, ours) == {"a": item}


@pytest.mark.parametrize(
    ("one", "other"), [(b"1.10", b"1.1"), (b"1e2", b"100.0"), (b"1E2", b"1e2")]
)
def test_equal_numbers_have_one_digest(one, other):
    assert replace(an_item("a"), input=one).digest() == replace(an_item("a"), input=other).digest()


@pytest.mark.parametrize("levels", [500, 100_000])
def test_deep_payload_has_a_digest(levels):
    deep = replace(an_item("a"), input=b"[" * levels + b"]" * levels)
    assert len(deep.digest()) == len(an_item("a").digest())


async def test_metadata_changes_in_place(datasets):
    ours = project()
    await datasets.create(a_dataset(ours))
    first = await put(datasets, ours, an_item("a"))
    noted = an_item("a", metadata=b'{"owner":"ada"}')
    second = await put(datasets, ours, noted)
    assert (second.version, second.changed) == (first.version, 1)
    assert await shown(datasets, ours, first.version.digest) == {"a": noted}


async def test_delete_of_item_that_newest_version_lacks(datasets):
    ours = project()
    await datasets.create(a_dataset(ours))
    await put(datasets, ours, an_item("a"))
    assert await datasets.delete_item(ours, "refunds", "a", NOON)
    assert not await datasets.delete_item(ours, "refunds", "a", NOON)
    assert (await datasets.get(ours, "refunds")).version.number == 2
    with pytest.raises(NotFound):
        await datasets.delete_item(ours, "nothing", "a", NOON)


async def test_item_may_come_back(datasets):
    ours = project()
    await datasets.create(a_dataset(ours))
    first = (await put(datasets, ours, an_item("a"))).version
    await datasets.delete_item(ours, "refunds", "a", NOON)
    again = await put(datasets, ours, an_item("a"))
    assert (again.version.digest, again.created) == (first.digest, 1)


async def test_links_must_name_visible_traces(plane, datasets):
    ours, known = project(), trace()
    await datasets.create(a_dataset(ours))
    await plane.traces.put(ours, known)
    unknown = TraceId(uuid.uuid4())
    result = await put(
        datasets, ours, an_item("a", from_trace=known.id), an_item("b", from_trace=unknown)
    )
    assert (result.created, list(result.refused)) == (1, [1])
    assert result.refused[1].errors[0].field == "from_trace"
    # An item keeps its link, also without the trace.
    await plane.traces.delete(ours, [known.id])
    await put(datasets, ours, an_item("a", "changed"))
    assert await shown(datasets, ours) == {"a": an_item("a", "changed", from_trace=known.id)}
    assert (await put(datasets, ours, an_item("a", "more", from_trace=known.id))).changed == 1


async def test_pages_by_cursor_and_by_offset(datasets):
    ours = project()
    await datasets.create(a_dataset(ours))
    items = [an_item(f"i{n}") for n in (3, 1, 12, 2, 7)]
    old = (await put(datasets, ours, *items)).version
    await put(datasets, ours, an_item("i1", "new"), an_item("z"))
    for version, ids in (
        (old, ["i1", "i12", "i2", "i3", "i7"]),
        (await datasets.find_version(ours, "refunds"), ["i1", "i12", "i2", "i3", "i7", "z"]),
    ):
        by_cursor, by_offset = await read_all_pages(
            lambda window, of=version: datasets.items(ours, of, None, window), 2
        )
        assert [one.id for one in by_cursor] == ids
        assert by_cursor == by_offset


async def test_item_limit(datasets):
    ours = project()
    await datasets.create(a_dataset(ours))
    first = (await put(datasets, ours, an_item("kept"))).version
    with pytest.raises(Conflict, match=f"{ITEMS_MAX:,} items"):
        await put(datasets, ours, *(an_item(str(n)) for n in range(ITEMS_MAX)))
    assert (await datasets.get(ours, "refunds")).version == first


@pytest.mark.parametrize(
    ("number", "revisions"), [(VERSIONS_MAX, 0), (0, REVISIONS_MAX)], ids=["versions", "revisions"]
)
def test_limits_of_versions_and_revisions(number, revisions):
    known = a_dataset(project())
    full = replace(known, version=replace(known.version, number=number), revisions=revisions)
    with pytest.raises(Conflict, match="copy it"):
        full.check_room(new=1, stored=1)


async def test_concurrent_writes_are_serialised(datasets):
    ours = project()
    await datasets.create(a_dataset(ours))
    await asyncio.gather(*(put(datasets, ours, an_item(f"i{n}")) for n in range(6)))
    items = [an_item(f"i{n}") for n in range(6)]
    newest = (await datasets.get(ours, "refunds")).version
    assert (newest.number, newest.items, newest.digest) == (6, 6, digest_of(*items))


async def test_delete_removes_all_versions(datasets):
    ours = project()
    old = await datasets.create(a_dataset(ours))
    await put(datasets, ours, an_item("a"))
    assert await datasets.delete(ours, "refunds")
    assert not await datasets.delete(ours, "refunds")
    assert await datasets.all(ours) == []
    page = await datasets.items(ours, replace(old.version, number=1), None, PageRequest())
    assert page.items == []
    await datasets.create(a_dataset(ours))
    assert await shown(datasets, ours) == {}


async def test_other_project_sees_nothing(datasets):
    ours, theirs = project(), project()
    await datasets.create(a_dataset(ours))
    version = (await put(datasets, ours, an_item("a"))).version
    for call in (
        datasets.get(theirs, "refunds"),
        put(datasets, theirs, an_item("a", "stolen")),
        datasets.delete_item(theirs, "refunds", "a", NOON),
        datasets.find_version(theirs, "refunds", version.digest),
        datasets.versions(theirs, "refunds"),
    ):
        with pytest.raises(NotFound):
            await call
    assert (await datasets.items(theirs, version, None, PageRequest())).items == []
    assert not await datasets.delete(theirs, "refunds")
    assert await shown(datasets, ours) == {"a": an_item("a")}


@pytest.mark.slow
async def test_ten_thousand_items(datasets):
    """One write, one version, and pages of it."""
    ours = project()
    await datasets.create(a_dataset(ours))
    items = [an_item(f"{n:05}", {"question": n}, expected=n) for n in range(MANY)]
    result = await put(datasets, ours, *items)
    assert (result.created, result.version.items) == (MANY, MANY)
    assert result.version.digest == digest_of(*items)
    assert (await put(datasets, ours, *items)).unchanged == MANY
    newer = await put(datasets, ours, an_item("05000", "changed"))
    for version, seen in (
        (result.version, items[5_000]),
        (newer.version, an_item("05000", "changed")),
    ):
        window = PageRequest(limit=LIMIT_MAX, offset=5_000)
        page = await datasets.items(ours, version, None, window)
        assert (page.total, len(page.items), page.items[0]) == (MANY, LIMIT_MAX, seen)


def test_item_digest_depends_on_id_input_expected_and_split():
    known = an_item("a", {"q": 1}, expected=2, split="test")
    same = replace(known, input=b' {"q":1}', metadata=b'{"x":1}', from_trace=TraceId(uuid.uuid4()))
    others = [
        an_item("b", {"q": 1}, expected=2, split="test"),
        an_item("a", {"q": 2}, expected=2, split="test"),
        an_item("a", {"q": 1}, expected="2", split="test"),
        an_item("a", {"q": 1}, split="test"),
        an_item("a", {"q": 1}, expected=2),
    ]
    digests = [one.digest for one in hashed(known, *others)]
    assert len(set(digests)) == len(digests)
    assert same.digest() == known.digest()
