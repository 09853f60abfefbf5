"""The line in front of the writer: who shares a transaction, who fails, who has to come back."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.postgres.tracing.writes import group_commit
from adapters.postgres.tracing.writes.group_commit import Batch, GroupCommit
from domain.errors import Unavailable
from tests.support.waiting import WAIT_MAX_S, until


class Poison(Exception):
    pass


class Away(Exception):
    pass


class Store:
    """A store that records batches; it rejects `poison`, and everything while it is away."""

    def __init__(self, poison: Sequence[int] = ()) -> None:
        self.poison, self.kept, self.batches = set(poison), [], []
        self.away = False
        self.open = asyncio.Event()
        self.open.set()

    async def write(self, items: Sequence[int]) -> None:
        self.batches.append(list(items))
        await self.open.wait()
        if self.away:
            raise Away
        if self.poison.intersection(items):
            raise Poison
        self.kept.extend(items)


@asynccontextmanager
async def line(store: Store) -> AsyncIterator[GroupCommit[int]]:
    """No batch counts as slow, however busy the machine is."""
    made = GroupCommit(store.write, lambda error: isinstance(error, Away), slow_after_s=WAIT_MAX_S)
    made.start()
    yield made
    await made.close()


async def put_all(into: GroupCommit[int], items: Sequence[int], size: int = 1) -> list[object]:
    puts = (into.put(item, size) for item in items)
    return await asyncio.gather(*puts, return_exceptions=True)


async def take_turns() -> None:
    """Lets all tasks run that wait for nothing else."""
    for _ in range(10):
        await asyncio.sleep(0)


@settings(deadline=None)
@given(count=st.integers(1, 300), data=st.data())
def test_only_invalid_items_fail(count, data):
    poison = data.draw(st.lists(st.integers(0, count - 1), unique=True, max_size=12))

    async def scenario():
        store = Store(poison)
        async with line(store) as puts:
            return store, await put_all(puts, range(count))

    store, outcomes = asyncio.run(scenario())
    for item, outcome in enumerate(outcomes):
        assert isinstance(outcome, Poison) if item in poison else outcome is None
    assert sorted(store.kept) == [item for item in range(count) if item not in poison]


async def test_items_put_during_commit_share_next_batch():
    store = Store()
    store.open.clear()
    async with line(store) as puts:
        first = [asyncio.create_task(puts.put(n, 1)) for n in range(group_commit.WRITERS)]
        await until(lambda: len(store.batches) >= 1)
        more = [asyncio.create_task(puts.put(n, 1)) for n in range(10, 40)]
        await take_turns()
        store.open.set()
        await asyncio.gather(*first, *more)
    assert len(store.batches) <= 1 + group_commit.WRITERS
    assert sorted(store.kept) == [*range(group_commit.WRITERS), *range(10, 40)]


@pytest.mark.parametrize(
    ("count", "enough"),
    [(5, 5), (2 * group_commit.SECOND_BATCH_ITEMS, group_commit.SECOND_BATCH_ITEMS)],
    ids=["few", "many"],
)
async def test_second_batch_begins_once_enough_items_wait(count, enough):
    store = Store()
    store.open.clear()
    async with line(store) as puts:
        first = asyncio.create_task(put_all(puts, range(count)))
        await take_turns()
        fewer = asyncio.create_task(put_all(puts, range(100, 100 + enough - 1)))
        await take_turns()
        assert store.batches == [list(range(count))]
        last = asyncio.create_task(puts.put(99 + enough, 1))
        await take_turns()
        assert store.batches[1:] == [list(range(100, 100 + enough))]
        store.open.set()
        await asyncio.gather(first, fewer, last)


async def test_fewer_items_are_written_once_the_first_batch_ends():
    store = Store()
    store.open.clear()
    async with line(store) as puts:
        first = asyncio.create_task(put_all(puts, range(5)))
        await take_turns()
        single = asyncio.create_task(puts.put(10, 1))
        await take_turns()
        assert len(store.batches) == 1
        store.open.set()
        await asyncio.gather(first, single)
    assert store.batches == [[0, 1, 2, 3, 4], [10]]


async def test_slow_batch_holds_up_no_other():
    store, released = Store(), asyncio.Event()

    async def write(items: Sequence[int]) -> None:
        if items[0] < 5:
            await released.wait()
        await store.write(items)

    puts = GroupCommit(write, lambda _: False)
    puts.start()
    slow = asyncio.create_task(put_all(puts, range(5)))
    await take_turns()
    await puts.put(10, 1)
    await puts.put(11, 1)
    assert store.kept == [10, 11]
    released.set()
    assert await slow == [None] * 5
    assert {one.being_written for one in (puts._ordinary, puts._large)} == {0}
    await puts.close()


async def test_batch_is_limited_in_items_and_bytes():
    store = Store()
    store.open.clear()
    async with line(store) as puts:
        many = asyncio.create_task(put_all(puts, range(500)))
        heavy = asyncio.create_task(put_all(puts, range(500, 506), 3 << 20))
        await take_turns()
        store.open.set()
        await asyncio.gather(many, heavy)
    assert max(map(len, store.batches)) == group_commit.BATCH_ITEMS_MAX
    for batch in store.batches:
        heavies = sum(item >= 500 for item in batch)
        assert heavies <= group_commit.BATCH_BYTES_MAX // (3 << 20)
    assert sorted(store.kept) == list(range(506))


async def test_large_items_delay_no_others():
    store, large = Store(), range(100, 104)
    released = asyncio.Event()

    async def write(items: Sequence[int]) -> None:
        if items[0] in large:
            await released.wait()
        await store.write(items)

    puts = GroupCommit(write, lambda _: False)
    puts.start()
    delayed = asyncio.create_task(put_all(puts, large, group_commit.LARGE_ITEM_BYTES + 1))
    await asyncio.sleep(0)
    await put_all(puts, range(10), group_commit.LARGE_ITEM_BYTES)
    assert sorted(store.kept) == list(range(10))
    released.set()
    assert await delayed == [None] * len(large)
    await puts.close()


async def test_transient_error_fails_whole_batch_without_halving():
    store = Store()
    store.away = True
    async with line(store) as puts:
        outcomes = await put_all(puts, range(20))
        assert all(isinstance(outcome, Away) for outcome in outcomes)
        assert len(store.batches) <= group_commit.WRITERS
        store.away = False
        await puts.put(7, 1)
    assert store.kept == [7]


@pytest.mark.parametrize(
    ("size", "fits"),
    [(1, group_commit.QUEUE_ITEMS_MAX), (1 << 20, group_commit.QUEUE_BYTES_MAX >> 20)],
    ids=["items", "bytes"],
)
async def test_full_queue_rejects_until_it_shrinks(size, fits):
    store = Store()
    store.open.clear()
    async with line(store) as puts:
        sent = 2 * fits + 2 * group_commit.BATCH_ITEMS_MAX
        waiting = asyncio.create_task(put_all(puts, range(sent), size))
        await take_turns()
        store.open.set()
        outcomes = await waiting
        refused = [outcome for outcome in outcomes if outcome is not None]
        assert refused
        assert all(isinstance(outcome, Unavailable) for outcome in refused)
        assert fits <= len(store.kept) == sent - len(refused)
        await puts.put(-1, size)
    assert -1 in store.kept


async def test_oversized_item_is_accepted_into_empty_queue():
    store = Store()
    async with line(store) as puts:
        await puts.put(1, 10 * group_commit.QUEUE_BYTES_MAX)
    assert store.kept == [1]


async def test_cancelled_caller_does_not_cancel_write():
    store = Store()
    store.open.clear()
    async with line(store) as puts:
        caller = asyncio.create_task(puts.put(1, 1))
        other = asyncio.create_task(puts.put(2, 1))
        await take_turns()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        store.open.set()
        await other
    assert sorted(store.kept) == [1, 2]


async def test_close_writes_queued_items_and_rejects_new_ones():
    store = Store()
    store.open.clear()
    puts = GroupCommit(store.write, lambda _: False)
    puts.start()
    taken = asyncio.create_task(put_all(puts, range(200)))
    await take_turns()
    closing = asyncio.create_task(puts.close())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await puts.put(999, 1)
    store.open.set()
    await closing
    assert await taken == [None] * 200
    assert sorted(store.kept) == list(range(200))


async def test_put_times_out_behind_hanging_store():
    store = Store()
    store.open.clear()
    puts = GroupCommit(store.write, lambda _: True, within_s=0.02)
    puts.start()
    outcomes = await put_all(puts, range(300))  # more than are under way at once
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    store.open.set()
    await puts.close()
    assert sorted(store.kept) == list(range(300))


@pytest.mark.slow
async def test_close_does_not_wait_for_hanging_store():
    store = Store()
    store.open.clear()
    puts = GroupCommit(store.write, lambda _: False)
    puts.start()
    taken = asyncio.create_task(put_all(puts, range(300)))
    await take_turns()
    async with asyncio.timeout(2 * group_commit.CLOSE_TIMEOUT_S):
        await puts.close()
    assert all(isinstance(outcome, Unavailable) for outcome in await taken)
    assert store.kept == []


class Watching:
    """An observer that marks each item and records the batches."""

    def __init__(self) -> None:
        self.marks, self.reported = 0, list[Batch[int]]()

    def mark(self) -> object:
        self.marks += 1
        return self.marks

    def settled(self, batch: Batch[int], /) -> None:
        self.reported.append(batch)


async def test_observer_gets_each_batch_with_marks():
    store, watch = Store(poison=[2]), Watching()
    made = GroupCommit(store.write, lambda error: isinstance(error, Away), watch=watch)
    made.start()
    store.open.clear()
    puts = asyncio.gather(*(made.put(n, 10) for n in range(4)), return_exceptions=True)
    await asyncio.sleep(0)
    assert made.waiting == (4, 40)
    store.open.set()
    await puts
    await made.close()
    assert made.waiting == (0, 0)
    kept = [one for one in watch.reported if one.error is None]
    assert sorted(item for one in kept for item in one.items) == [0, 1, 3]
    marked = [pair for one in watch.reported for pair in zip(one.items, one.marks, strict=True)]
    assert dict(marked) == {0: 1, 1: 2, 2: 3, 3: 4}
    assert all(one.bytes == 10 * len(one.items) and one.seconds >= 0 for one in watch.reported)
    [alone] = [one for one in watch.reported if one.error is not None and len(one.items) == 1]
    assert (alone.items, type(alone.error)) == ([2], Poison)


@pytest.mark.slow
async def test_observer_gets_cancelled_batch():
    store, watch = Store(), Watching()
    made = GroupCommit(store.write, lambda _: False, watch=watch)
    made.start()
    store.open.clear()
    put = asyncio.gather(made.put(1, 1), return_exceptions=True)
    await until(lambda: store.batches)
    await made.close()
    [error] = await put
    assert isinstance(error, Unavailable)
    assert [type(one.error) for one in watch.reported] == [asyncio.CancelledError]
