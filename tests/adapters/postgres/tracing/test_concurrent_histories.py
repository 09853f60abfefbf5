"""Two processes, and their workers, write, edit, erase and keep house at the same time."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from adapters.postgres.database.pool import Engine, PoolSettings, open_pool
from domain.errors import Conflict, Invalid, NotFound
from domain.ids import ErasureId, ProjectId
from domain.pricing.repricing import Repricing
from domain.privacy.erasure import DataSubject, DataSubjectKind, ErasureState
from tests.adapters.postgres.tracing.payloads.test_shared_texts import prose
from tests.adapters.postgres.tracing.test_rollups import (
    Chance,
    act,
    assert_in_bounds,
    counted,
    doubled,
    recounted,
)
from tests.contracts.evaluation.scores.test_waiting_evaluations import of_trace
from tests.support.builders.otel import fragments, sent_span
from tests.support.builders.scores import session_score, trace_score
from tests.support.builders.values import NOON, prices, trace_id
from tests.support.fixtures import identities
from tests.support.fixtures.data_plane import (
    DataPlane,
    join_payloads,
    over_postgres,
    remove_unused_texts,
)
from tests.support.fixtures.erasures import an_erasure, audit_entry
from tests.support.fixtures.pricing import a_repricing
from tests.support.hypothesis_scale import shortened

pytestmark = pytest.mark.service

FAR: Final = datetime.max.replace(tzinfo=UTC)
STEPS_MAX: Final = 100
# Rows of a trace that isn't there. Evaluations and records may wait for their trace.
OF_TRACES: Final = (
    *("trace_payloads", "span_rows", "long_texts", "search_traces", "search_terms"),
    *("trace_scores", "latest_trace_scores", "judge_verdicts", "annotation_claims"),
)
COUNT_ORPHANS: Final = """
SELECT count(*) FROM {table} AS one WHERE project_id = $1 AND NOT EXISTS (
  SELECT 1 FROM traces WHERE traces.project_id = one.project_id AND traces.trace_id = one.trace_id
)
"""
# Texts to which blocks refer, and that aren't stored, or not noted for the trace.
COUNT_LOST_TEXTS: Final = """
SELECT count(*) FROM trace_payloads AS p CROSS JOIN unnest(p.texts) AS text
WHERE p.project_id = $1 AND (
  NOT EXISTS (SELECT 1 FROM shared_texts AS s WHERE s.project_id = $1 AND s.text_id = text)
  OR NOT EXISTS (SELECT 1 FROM long_texts AS l WHERE l.project_id = $1
                   AND l.trace_id = p.trace_id AND l.text_id = text)
)
"""
COUNT_UNUSED_TEXTS: Final = """
SELECT count(*) FROM shared_texts AS s WHERE s.project_id = $1 AND NOT EXISTS (
  SELECT 1 FROM long_texts AS l WHERE l.project_id = $1 AND l.text_id = s.text_id
)
"""
COUNT_ERASED: Final = """
SELECT count(*) FROM erased_traces AS e JOIN (
  SELECT project_id, trace_id FROM traces
  UNION ALL SELECT project_id, trace_id FROM waiting_evaluations
) AS stored USING (project_id, trace_id) WHERE e.project_id = $1
"""
SELECT_TRACES: Final = "SELECT trace_id FROM traces WHERE project_id = $1"
KEEP_ONE_DAY: Final = "UPDATE projects SET retention_days = 1 WHERE id = ANY($1::uuid[])"
RETENTION: Final = timedelta(days=1)
LAST_MOMENT: Final = timedelta(milliseconds=300)
ROUNDS: Final = 20
AT_ONCE: Final = 12


class Processes:
    """What two processes do to some projects: acts of the roll-ups' histories, and of workers.

    Any failure but a refusal fails the test, as that of a deadlock.
    """

    def __init__(
        self, planes: Sequence[DataPlane], projects: Sequence[ProjectId], seed: int
    ) -> None:
        self.planes, self.projects, self.chance = planes, projects, Chance(seed)
        self.erasures: list[tuple[ProjectId, ErasureId]] = []

    async def act(self) -> None:
        chance = self.chance
        plane, project_id = chance.one(*self.planes), chance.one(*self.projects)
        acts = [
            *[lambda: act(plane.traces, project_id, chance)] * 10,
            *[lambda: self._put_text(plane, project_id)] * 3,
            *[lambda: self._put_otlp(plane, project_id)] * 5,
            *[lambda: self._score(plane, project_id)] * 3,
            lambda: self._erase(plane, project_id),
            lambda: self._advance(plane),
            lambda: plane.tracing.payload_storage.join_blocks(FAR),
            lambda: plane.tracing.payload_storage.remove_unused_texts(FAR),
            plane.tracing.search_index.add_traces,
            lambda: plane.tracing.search_index.remove_garbage(FAR),
            lambda: plane.otlp.settle_open_traces(FAR),
            lambda: self._reprice(plane, project_id),
            lambda: self._expire(plane, project_id),
        ]
        with suppress(NotFound, Conflict):
            try:
                await chance.one(*acts)()
            except Invalid as refused:  # the trace was erased
                if [one.field for one in refused.errors] != ["trace_id"]:
                    raise

    async def _put_text(self, plane: DataPlane, project_id: ProjectId) -> None:
        text = json.dumps({"text": prose(self.chance.one(1, 2, 3))}).encode()
        await plane.traces.put(project_id, replace(self.chance.trace(), input=text, output=text))

    async def _put_otlp(self, plane: DataPlane, project_id: ProjectId) -> None:
        chance, trace = self.chance, self.chance.one(*self.chance.traces)
        said = {
            "session.id": chance.one("s", "t"),
            "user.id": chance.one("u", "v"),
            "gen_ai.request.model": chance.one("gpt-4o", "tiny"),
            "gen_ai.usage.input_tokens": chance.one(1, 20),
            "input.value": prose(chance.one(1, 2, 3)),
        }
        some = {key: value for key, value in said.items() if chance.one(True, True, False)}
        hex_id = f"{chance.one(1, 2, 3):016x}"
        parent = chance.one(None, None, f"{4:016x}")
        sent = sent_span(some, span_id=hex_id, name=chance.one("a", "b"), parent_span_id=parent)
        await plane.otlp.put(project_id, trace, fragments(trace, sent))

    async def _score(self, plane: DataPlane, project_id: ProjectId) -> None:
        chance, trace = self.chance, self.chance.one(*self.chance.traces)
        evaluation = plane.evaluation
        await chance.one(
            lambda: evaluation.trace_scores.add(trace_score(project_id, trace)),
            lambda: evaluation.session_scores.add(session_score(project_id, chance.one("s", "t"))),
            lambda: evaluation.waiting_evaluations.add(
                project_id, [of_trace(trace)], datetime.now(UTC)
            ),
        )()

    async def _erase(self, plane: DataPlane, project_id: ProjectId) -> None:
        user, session = DataSubjectKind.USER, DataSubjectKind.SESSION
        owner = self.chance.one(DataSubject(user, "u"), DataSubject(session, "s"))
        erasure = an_erasure(project_id, owner)
        await plane.privacy.erasures.begin(erasure, owner, audit_entry(erasure))
        self.erasures.append((project_id, erasure.id))

    async def _advance(self, plane: DataPlane) -> bool:
        """Whether it is over."""
        if not self.erasures:
            return True
        known = self.chance.one(*self.erasures)
        now = datetime.now(UTC)
        over = await plane.privacy.erasures.advance(*known, now, audit_entry)
        if over.state is ErasureState.REMOVED and known in self.erasures:
            self.erasures.remove(known)
        return False

    async def _reprice(self, plane: DataPlane, project_id: ProjectId) -> None:
        repricings, pricing = plane.pricing.repricings, self.chance.one(doubled, prices().price)
        going: Repricing | None = await repricings.create(a_repricing(project_id, is_dry=False))
        while going is not None and going.completed_at is None:
            going = await repricings.step(going, pricing, NOON, NOON)

    async def _expire(self, plane: DataPlane, project_id: ProjectId) -> None:
        """Deletes all but what was stored in the last moment."""
        expired = plane.privacy.expired
        now = await expired.current_time() + RETENTION - LAST_MOMENT
        await expired.delete(project_id, now)
        await expired.delete_session_scores(project_id, now, "")

    def renew(self) -> None:
        """Replaces some ids, since those of erased traces are refused."""
        for _ in range(2):
            self.chance.traces[self.chance.random.randrange(len(self.chance.traces))] = trace_id()

    async def settle(self) -> None:
        """Ends what is under way."""
        plane = self.planes[0]
        for _ in range(STEPS_MAX):
            if await self._advance(plane):
                break
        assert not self.erasures
        await join_payloads(plane)
        await remove_unused_texts(plane)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in range(1, 6))]
)
async def test_everything_agrees_after_two_processes_did_all_at_once(pool, serving_url, seed):
    settings = PoolSettings(url=serving_url, lock_timeout_ms=0)  # a busy machine reaches any
    async with AsyncExitStack() as stack:
        pools = [
            await stack.enter_async_context(open_pool(Engine(config={}), settings))
            for _ in range(2)
        ]
        planes = [await stack.enter_async_context(over_postgres(one)) for one in pools]
        identity = identities.over_postgres(pools[0])
        projects = [(await identity.found_organization()).project.id for _ in range(2)]
        await pool.execute(KEEP_ONE_DAY, projects)
        both = Processes(planes, projects, seed)
        for _ in range(shortened(ROUNDS)):
            await asyncio.gather(*(both.act() for _ in range(AT_ONCE)))
            both.renew()
        await both.settle()
        for one in projects:
            await assert_in_bounds(pool, one)
            orphans = {
                table: await pool.fetchval(COUNT_ORPHANS.format(table=table), one)
                for table in OF_TRACES
            }
            assert orphans == dict.fromkeys(OF_TRACES, 0)
            for sql in (COUNT_LOST_TEXTS, COUNT_UNUSED_TEXTS, COUNT_ERASED):
                assert await pool.fetchval(sql, one) == 0
            for [trace] in await pool.fetch(SELECT_TRACES, one):
                await planes[0].traces.get(one, trace)  # all its payloads can be read
        kept = await counted(pool, projects)
        async with recounted(pool, projects) as again:
            assert await counted(again, projects) == kept
