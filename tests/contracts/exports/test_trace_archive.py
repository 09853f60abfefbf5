"""Contract of TraceArchive: whole traces with their scores, in order, from one snapshot."""

import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.postgres.database.pool import Pool
from adapters.postgres.exports.replica_archive import ReplicaTraceArchive
from adapters.postgres.read_replica import ReadOutcome
from application.exports.ports import BATCH_TRACES_MAX, LEFT_OUT_MAX
from domain.evaluation.scores.score import ScoreOutcome, ScoreSource, TraceScore
from domain.exports.export import TraceWithScores
from domain.ids import ProjectId, RunId, ScoreId, TraceId
from domain.page import SortOrder
from domain.tracing.payloads.read_limit import TooLargeToRead
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.trace import TraceStatus
from tests.contracts.tracing.test_trace_lists import varied
from tests.support.builders.scores import session_score
from tests.support.builders.values import NOON, at, span, trace
from tests.support.fixtures import data_plane
from tests.support.fixtures.data_plane import DataPlane, fill, project, stored_traces, traces_page
from tests.support.fixtures.servers.standby import Pair, reading
from tests.support.hypothesis_scale import crossed


@pytest.fixture(
    params=[
        "memory",
        pytest.param("postgres", marks=pytest.mark.service),
        pytest.param("replica", marks=pytest.mark.service),
    ]
)
def adapter(request: pytest.FixtureRequest) -> Pool | Pair | None:
    """With `replica`, a standby is read: `ReplicaTraceArchive`."""
    names = {"postgres": "serving_pool", "replica": "replica_pair"}
    name = names.get(request.param)
    return None if name is None else request.getfixturevalue(name)


@pytest.fixture
async def plane(adapter: Pool | Pair | None) -> AsyncIterator[DataPlane]:
    if adapter is None:
        yield data_plane.over_memory()
    elif isinstance(adapter, Pair):
        async with adapter.keeping_rows(), reading(adapter) as found:
            yield found.plane
            assert set(found.taken()) <= {ReadOutcome.REPLICA}
    else:
        async with data_plane.over_postgres(adapter) as postgres:
            yield postgres


ASC, DESC = SortOrder.ASC, SortOrder.DESC


async def read(
    plane: DataPlane,
    project_id: ProjectId,
    sort: TraceSort = TraceSort.STARTED_AT,
    order: SortOrder = ASC,
    **conditions: Any,
) -> list[TraceWithScores]:
    archive = plane.exporting.archive
    async with archive.read(project_id, TraceFilter(**conditions), sort, order, []) as batches:
        found: list[TraceWithScores] = []
        async for batch in batches:
            assert 0 < len(batch) <= BATCH_TRACES_MAX
            found += batch
        return found


def a_score(project_id: ProjectId, on: TraceId, **overrides: Any) -> TraceScore:
    known: dict[str, Any] = {
        "id": ScoreId(uuid.uuid4()),
        "project_id": project_id,
        "trace_id": on,
        "name": "quality",
        "outcome": ScoreOutcome.SCORED,
        "value": "0.5",
        "source": ScoreSource.ANNOTATION,
        "created_at": NOON,
        "updated_at": NOON,
    }
    return TraceScore(**known | overrides)


async def test_empty_project_yields_no_batches(plane):
    assert await read(plane, project()) == []
    assert await plane.exporting.archive.load(project(), [TraceId(uuid.uuid4())]) == []


async def test_traces_are_read_in_full(plane):
    ours = project()
    sent = trace(
        span(model="gpt-4o", token_usage=b'{"prompt_tokens":3,"completion_tokens":1}'),
        span(cost={"total": 0.25}, input=b'{"b":1.0,"a":[1e2]}', error="é"),
        input=b'[12345678901234567890, "\\u00e9"]',
        metadata=b'{"b":1,"a":2}',
        tags=("b", "a", "b"),
    )
    await fill(plane, ours, sent)
    [found] = await read(plane, ours)
    assert found == TraceWithScores(await plane.traces.get(ours, sent.id))
    assert await plane.exporting.archive.load(ours, [sent.id]) == [found.trace]


@pytest.mark.parametrize(("sort", "order"), crossed(list(TraceSort), list(SortOrder)))
async def test_order_is_that_of_the_list(plane, sort, order):
    ours = project()
    await fill(plane, ours, *varied())
    listed = await traces_page(plane, ours, sort=sort, order=order)
    found = await read(plane, ours, sort, order)
    assert [one.trace.id for one in found] == [one.id for one in listed.items]


@pytest.mark.parametrize(
    "conditions",
    [
        {"name": "A"},
        {"status": TraceStatus.ERROR},
        {"has_error": False, "started_after": at(1)},
        {"tags": ("x",)},
        {"metadata": (("k", ("1", "v")),)},
        {"min_latency_ms": 0.0, "model": "m"},
    ],
    ids=str,
)
async def test_filters_are_those_of_the_list(plane, conditions):
    ours = project()
    labelled = [
        trace(span(model="m"), tags=("x", "y"), metadata=b'{"k":"v"}', ended_at=at(1)),
        trace(name="other", tags=("y",), metadata=b'{"k":1}', started_at=at(2)),
    ]
    await fill(plane, ours, *varied(), *labelled)
    listed = await traces_page(plane, ours, **conditions)
    found = await read(plane, ours, **conditions)
    assert [one.trace.id for one in found] == [one.id for one in listed.items]
    assert 0 < len(found) < len(varied()) + 2


async def test_concurrent_writes_are_not_in_the_snapshot(plane):
    ours = project()
    first = [trace(name=f"run {n}", started_at=at(n)) for n in range(3)]
    await fill(plane, ours, *first)
    archive = plane.exporting.archive
    async with archive.read(ours, TraceFilter(), TraceSort.STARTED_AT, ASC, []) as batches:
        found = [*await anext(batches)]
        await fill(plane, ours, trace(started_at=at(9)))
        await plane.traces.delete(ours, [first[2].id])
        found += [one async for batch in batches for one in batch]
    assert [one.trace.name for one in found] == ["run 0", "run 1", "run 2"]


async def test_many_traces_come_in_batches_once_each(plane):
    ours = project()
    sent = [trace(name=f"{n}", started_at=at(n // 2)) for n in range(2 * BATCH_TRACES_MAX + 1)]
    await fill(plane, ours, *sent)
    found = await read(plane, ours)
    assert len(found) == len({one.trace.id for one in found}) == len(sent)


async def test_large_traces_come_in_small_batches(plane):
    ours = project()
    noise = uuid.uuid4().bytes.hex().encode()
    heavy = [b'"' + bytes([65 + n]) + noise * (4 << 12) + b'"' for n in range(4)]
    await fill(plane, ours, *(trace(input=one, started_at=at(n)) for n, one in enumerate(heavy)))
    assert [one.trace.input for one in await read(plane, ours)] == heavy


async def test_scores_come_oldest_first_without_pending(plane):
    ours, one, other = project(), trace(started_at=at(0)), trace(started_at=at(1))
    await fill(plane, ours, one, other)
    hour = timedelta(hours=1)
    scores = [
        a_score(ours, one.id, created_at=NOON + hour),
        a_score(ours, one.id, name="tone", metadata=b'{"a":1.0}', reason="calm"),
        a_score(ours, other.id, outcome=ScoreOutcome.FAILED, value=None),
        a_score(ours, other.id, outcome=ScoreOutcome.PENDING, value=None),
    ]
    for score in scores:
        await plane.evaluation.trace_scores.add(score)
    assert [found.scores for found in await read(plane, ours)] == [
        (scores[1], scores[0]),
        (scores[2],),
    ]


async def test_scores_of_spans_come_with_their_trace(plane):
    step = span()
    ours, one, other = project(), trace(step, started_at=at(0)), trace(started_at=at(1))
    await fill(plane, ours, one, other)
    scores = [
        a_score(ours, one.id, span_id=step.id, created_at=at(n)) if n else a_score(ours, one.id)
        for n in range(3)
    ]
    for score in scores:
        await plane.evaluation.trace_scores.add(score)
    assert [found.scores for found in await read(plane, ours)] == [tuple(scores), ()]


async def test_session_scores_come_with_first_trace_of_session(plane):
    ours = project()
    first = trace(name="a", started_at=at(0), session_id="s")
    later = trace(name="b", started_at=at(1), session_id="s", tags=("last",))
    other = trace(name="c", started_at=at(2), session_id="")
    await fill(plane, ours, first, later, other, trace(started_at=at(3)))
    session_scores = [
        session_score(ours, "s", created_at=NOON + timedelta(hours=1), run_id=None),
        session_score(ours, "s", run_id=RunId(uuid.uuid4()), source=ScoreSource.AUTOMATED),
        session_score(ours, "", outcome=ScoreOutcome.SKIPPED, value=None),
        session_score(ours, "", outcome=ScoreOutcome.PENDING, value=None),
    ]
    for score in session_scores:
        await plane.evaluation.session_scores.add(score)
    of_s, of_other = (session_scores[1], session_scores[0]), (session_scores[2],)
    assert [one.session_scores for one in await read(plane, ours)] == [of_s, (), of_other, ()]
    reversed_ = await read(plane, ours, TraceSort.NAME, DESC)
    assert {one.trace.name: one.session_scores for one in reversed_ if one.session_scores} == {
        "b": of_s,
        "c": of_other,
    }
    # Session scores come with the first trace that matches, whichever others exist.
    assert [one.session_scores for one in await read(plane, ours, tags=("last",))] == [of_s]


async def test_another_project_is_not_read(plane):
    ours, theirs, shared = project(), project(), trace(name="theirs")
    await fill(plane, theirs, shared)
    await plane.evaluation.trace_scores.add(a_score(theirs, shared.id))
    assert await read(plane, ours) == []
    assert await plane.exporting.archive.load(ours, [shared.id]) == []
    mine = trace(id=shared.id, name="ours", session_id="shared")
    await fill(plane, ours, mine)
    await fill(plane, theirs, replace(mine, name="theirs"))
    await plane.evaluation.session_scores.add(session_score(theirs, "shared"))
    assert await read(plane, ours) == [
        TraceWithScores(one) for one in await stored_traces(plane, ours)
    ]
    assert [one.trace.name for one in await read(plane, ours)] == ["ours"]


async def test_abandoned_reading_leaves_no_connection(plane):
    ours = project()
    await fill(plane, ours, *(trace(started_at=at(n)) for n in range(BATCH_TRACES_MAX + 1)))
    archive = plane.exporting.archive
    for _ in range(20):  # more than there are connections
        async with archive.read(ours, TraceFilter(), TraceSort.NAME, DESC, []) as batches:
            assert await anext(batches)
    found: Sequence[TraceWithScores] = await read(plane, ours)
    assert len(found) == BATCH_TRACES_MAX + 1


def reading_at_most(archive: Any, most: int) -> Any:
    """The archive, which reads only so many bytes at once; over a replica too."""
    if isinstance(archive, ReplicaTraceArchive):
        pair = {name: reading_at_most(getattr(archive, name), most) for name in ("main", "copy")}
        return replace(archive, **pair)
    return replace(archive, bytes_max=most)


def bounded(plane: DataPlane, most: int) -> DataPlane:
    archive = reading_at_most(plane.exporting.archive, most)
    return replace(plane, exporting=replace(plane.exporting, archive=archive))


LONG = "x" * 10_000


async def test_trace_that_is_too_large_is_named(plane):
    ours, small = project(), trace(started_at=at(0))
    large = trace(span(input=b'"%b"' % LONG.encode()), started_at=at(1))
    await fill(plane, ours, small, large)
    reading = bounded(plane, 9_000)
    with pytest.raises(TooLargeToRead, match=str(large.id)):
        await read(reading, ours, started_after=at(1))
    assert [one.trace.id for one in await read(reading, ours, started_before=at(1))] == [small.id]
    with pytest.raises(TooLargeToRead):
        await reading.exporting.archive.load(ours, [small.id, large.id])
    [loaded] = await reading.exporting.archive.load(ours, [small.id])
    assert loaded.id == small.id


async def read_without_large(
    plane: DataPlane, project_id: ProjectId, **conditions: Any
) -> tuple[list[TraceWithScores], list[TraceId]]:
    """The traces that are read, and the ids of those that are left out."""
    left_out: list[TraceId] = []
    wanted = (project_id, TraceFilter(**conditions), TraceSort.STARTED_AT, ASC, left_out)
    async with plane.exporting.archive.read(*wanted) as batches:
        return [one async for batch in batches for one in batch], left_out


async def test_traces_that_are_too_large_are_left_out_and_named(plane):
    ours = project()
    text = b'"%b"' % LONG.encode()
    first, then, scored, last = (trace(started_at=at(n), session_id="s") for n in range(4))
    first = replace(first, spans=(span(input=text),))
    await fill(plane, ours, first, then, scored, last)
    await plane.evaluation.trace_scores.add(a_score(ours, scored.id, reason=LONG))
    of_session = session_score(ours, "s", run_id=None)
    await plane.evaluation.session_scores.add(of_session)
    reading = bounded(plane, 9_000)
    found, left_out = await read_without_large(reading, ours)
    assert left_out == [first.id, scored.id]
    # The scores of the session come with its first trace that is read.
    assert [(one.trace.id, one.session_scores) for one in found] == [
        (then.id, (of_session,)),
        (last.id, ()),
    ]
    assert (await read_without_large(plane, ours))[1] == []


async def test_export_of_nothing_but_large_traces_fails(plane):
    ours, large = project(), trace(input=b'"%b"' % LONG.encode())
    await fill(plane, ours, large)
    with pytest.raises(TooLargeToRead, match=str(large.id)):
        await read_without_large(bounded(plane, 9_000), ours)


async def test_traces_that_are_left_out_are_limited(plane):
    ours = project()
    await fill(plane, ours, *(trace(started_at=at(n)) for n in range(LEFT_OUT_MAX + 1)))
    with pytest.raises(TooLargeToRead):
        await read_without_large(bounded(plane, 1), ours)


async def test_session_with_scores_that_are_too_large_fails_the_export(plane):
    ours = project()
    await fill(plane, ours, trace(session_id="s"))
    await plane.evaluation.session_scores.add(session_score(ours, "s", run_id=None, reason=LONG))
    with pytest.raises(TooLargeToRead, match="the scores of session 's'"):
        await read_without_large(bounded(plane, 9_000), ours)
