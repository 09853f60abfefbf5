"""Writes about traces of a subject whose erasure begins or deletes them at that moment."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from adapters.postgres.database.pool import Pool
from adapters.postgres.database.tenants import within
from adapters.postgres.tracing.writes.erasure_guard import check_not_erased
from domain.errors import Invalid
from domain.ids import ProjectId
from domain.privacy.erasure import DataSubject, DataSubjectKind
from domain.tracing.trace import Trace
from tests.contracts.evaluation.scores.test_waiting_evaluations import of_trace
from tests.support.builders.datasets import a_dataset, an_item, put
from tests.support.builders.otel import fragments, sent_span
from tests.support.builders.scores import trace_score
from tests.support.builders.values import span, trace
from tests.support.fixtures import data_plane
from tests.support.fixtures.data_plane import DataPlane, project, stored_traces
from tests.support.fixtures.erasures import an_erasure, audit_entry
from tests.support.fixtures.lock_waits import count_lock_waits
from tests.support.waiting import until

pytestmark = pytest.mark.service

GRACE = DataSubject(DataSubjectKind.USER, "grace")
LOCK_SCORES = "SELECT 1 FROM trace_scores WHERE project_id = $1 FOR UPDATE"
LOCK_DATASET = "SELECT 1 FROM datasets WHERE project_id = $1 AND id = $2 FOR UPDATE NOWAIT"
LOCK_SPANS = "SELECT 1 FROM spans WHERE project_id = $1 FOR UPDATE NOWAIT"
WAITING = "(trace_scores|traces|allowed)"
COUNT_WAITING_EVALUATIONS = "SELECT count(*) FROM waiting_evaluations WHERE project_id = $1"


@pytest.fixture
async def plane(patient_pool: Pool) -> AsyncIterator[DataPlane]:
    async with data_plane.over_postgres(patient_pool) as plane:
        yield plane


@asynccontextmanager
async def erasing(plane: DataPlane, pool: Pool, project_id: ProjectId) -> AsyncIterator[Trace]:
    """A trace whose rows an erasure has deleted. It commits after the block."""
    one, erasures = trace(span(), user_id=GRACE.id, input=b'"hers"'), plane.privacy.erasures
    await plane.traces.put(project_id, one)
    await plane.evaluation.trace_scores.add(trace_score(project_id, one.id))
    erasure = an_erasure(project_id, GRACE)
    await erasures.begin(erasure, GRACE, audit_entry(erasure))
    async with within(pool, project_id).transaction() as locking:
        await locking.execute(LOCK_SCORES, project_id)
        now = datetime.now(UTC)
        deleting = asyncio.create_task(erasures.advance(project_id, erasure.id, now, audit_entry))
        await until(lambda: count_lock_waits(pool, WAITING))
        yield one
        await until(lambda: count_lock_waits(pool, WAITING), lambda count: count > 1)
    assert (await deleting).rows["traces"] == 1


@pytest.mark.parametrize("is_otlp", [False, True])
async def test_trace_that_is_being_erased_is_not_stored_again(plane, pool, is_otlp):
    """Other traces of its batch are."""
    ours, others = project(), [trace(span(), input=b'"theirs"') for _ in range(2)]

    def put(id_, said):
        sent = sent_span({"gen_ai.prompt": said})
        return (
            plane.otlp.put(ours, id_, fragments(id_, sent))
            if is_otlp
            else plane.traces.put(ours, trace(span(), id=id_, input=f'"{said}"'.encode()))
        )

    async with erasing(plane, pool, ours) as one:
        sent = [(others[0].id, "theirs"), (one.id, "hers"), (others[1].id, "theirs")]
        late = [asyncio.create_task(put(*each)) for each in sent]
    first, refused, last = await asyncio.gather(*late, return_exceptions=True)
    assert (first, last) == (None, None)
    assert isinstance(refused, Invalid)
    assert [error.field for error in refused.errors] == ["trace_id"]
    stored = {each.id for each in await stored_traces(plane, ours)}
    assert stored == {each.id for each in others}


async def test_evaluation_of_trace_that_is_being_erased_does_not_wait(plane, pool):
    ours, now = project(), datetime.now(UTC)
    async with erasing(plane, pool, ours) as one:
        late = asyncio.create_task(
            plane.evaluation.waiting_evaluations.add(ours, [of_trace(one.id)], now)
        )
    assert await late == 0
    assert await pool.fetchval(COUNT_WAITING_EVALUATIONS, ours) == 0


async def test_erasure_locks_datasets_in_the_order_of_deletions(plane, pool):
    """All at once, and before what traces share, such as texts."""
    ours, datasets, erasures = project(), plane.evaluation.datasets, plane.privacy.erasures
    first, second = (a_dataset(ours, name, id_=uuid.UUID(int=n)) for n, name in enumerate("ab", 1))
    owned = trace(span(), user_id=GRACE.id, session_id="s", input=b'"hers"')
    unowned = trace(span(), user_id=GRACE.id)
    for one in (owned, unowned):
        await plane.traces.put(ours, one)
    for dataset, one in ((first, owned), (second, unowned)):
        await datasets.create(dataset)
        await put(datasets, ours, an_item("i", from_trace=one.id), name=dataset.name)
    erasure = an_erasure(ours, GRACE)
    await erasures.begin(erasure, GRACE, audit_entry(erasure))
    async with within(pool, ours).transaction() as deleting:
        await deleting.execute(LOCK_DATASET, ours, first.id)
        now = datetime.now(UTC)
        advancing = asyncio.create_task(erasures.advance(ours, erasure.id, now, audit_entry))
        await until(lambda: count_lock_waits(pool, "datasets"))
        await deleting.execute(LOCK_DATASET, ours, second.id)
        await deleting.execute(LOCK_SPANS, ours)
    assert (await advancing).rows["dataset_items"] == 2


async def test_erasure_begins_once_its_traces_can_not_move_any_more(plane, pool):
    ours, erasures = project(), plane.privacy.erasures
    erasure = an_erasure(ours, GRACE)
    async with within(pool, ours).transaction() as moving:
        await check_not_erased(moving, [(ours, GRACE)])
        beginning = asyncio.create_task(erasures.begin(erasure, GRACE, audit_entry(erasure)))

        async def is_over_or_waits():
            return beginning.done() or await count_lock_waits(pool, "advisory")

        await until(is_over_or_waits)
        assert not beginning.done()
    await beginning
    assert await erasures.get(ours, erasure.id) == erasure
