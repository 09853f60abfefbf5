"""On a cluster: each statement of the hot paths goes to one node, whole.

Citus calls it a router plan. A statement that it takes apart costs a round trip for each part, and
keeps rows in files meanwhile. Skipped without a cluster (PANDAPROBE_TEST_CITUS,
docs/operation/scaling.md).
"""

import json
import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from adapters.postgres.database.pool import Engine, Pool, PoolSettings, open_pool
from adapters.postgres.database.tenants import within
from domain.evaluation.scores.score import ScoreFilter
from domain.ids import ProjectId, TraceId
from domain.page import PageRequest, SortOrder
from domain.tracing.analytics import Granularity, Period
from domain.tracing.payloads.payload_detail import WHOLE_PAYLOADS
from tests.support.builders.scores import trace_score
from tests.support.builders.values import span, trace
from tests.support.fixtures.data_plane import (
    DataPlane,
    over_postgres,
    project,
    sessions_page,
    traces_page,
)
from tests.support.fixtures.servers import citus

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(
        citus.VARIABLE not in os.environ, reason=f"no cluster: {citus.VARIABLE} is not set"
    ),
]

type Statement = tuple[str, tuple[Any, ...]]
EXPLAINED: Final = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")
FIRST: Final = PageRequest(limit=20)


def goes_to_one_node(plan: str) -> bool:
    """Whether Citus sends the statement, or the rows that came with it, to one shard, whole."""
    is_router = plan.count('"Distributed Query"') == 1 and '"Task Count": 1,' in plan
    # The rows come from parameters: the coordinator reads no table, and copies to the one shard.
    is_insert = '"INSERT/SELECT method"' in plan and '"Distributed Query"' not in plan
    return (is_router or is_insert) and '"Subplans"' not in plan


class Recorded:
    """The pool of one connection, and what went through it since `clear`."""

    def __init__(self, pool: Pool, serving: Pool) -> None:
        self.pool = pool
        self._serving = serving
        self._sent: dict[str, Statement] = {}

    def add(self, query: Any) -> None:
        self._sent.setdefault(query.query, (query.query, tuple(query.args)))

    def clear(self) -> None:
        self._sent.clear()

    async def taken_apart(self, ours: ProjectId) -> list[str]:
        """The statements that aren't one task of one worker. There has to be one that is."""
        found, routed = list[str](), 0
        for sent in list(self._sent.values()):
            sql, arguments = sent
            if not sql.lstrip().startswith(EXPLAINED) or "read_views(" in sql:
                continue
            async with within(self._serving, ours).statement() as connection:
                literal = await citus.with_literals(connection, sql, arguments)
                text = await connection.fetchval(f"EXPLAIN (COSTS OFF, FORMAT JSON) {literal}")
            plan = json.dumps(json.loads(text))
            if "Citus" not in plan:
                continue  # it reads tables of the coordinator, or none
            if goes_to_one_node(plan):
                routed += 1
            else:
                found.append(sql)
        assert routed
        return found


@pytest.fixture
async def recorded(pool: Pool, serving_pool: Pool, serving_url: str) -> AsyncIterator[Recorded]:
    async with open_pool(Engine(config={}), PoolSettings(url=serving_url, size=1)) as one:
        found = Recorded(one, serving_pool)
        async with one.acquire() as connection:
            connection.add_query_logger(found.add)
        yield found


@pytest.fixture
async def plane(recorded: Recorded) -> AsyncIterator[DataPlane]:
    async with over_postgres(recorded.pool) as plane:
        yield plane


def sent(name: str) -> Any:
    started = datetime.now(UTC)
    return replace(
        trace(span(input=b'"question"'), span(output=b'"answer"')),
        id=TraceId(uuid.uuid4()), name=name, session_id="conversation", user_id="user",
        started_at=started, ended_at=started,
    )  # fmt: skip


async def test_ingestion_goes_to_one_node(plane: DataPlane, recorded: Recorded) -> None:
    ours, one = project(), sent("first")
    await plane.traces.put(ours, one)
    assert await recorded.taken_apart(ours) == []
    recorded.clear()
    await plane.traces.put(ours, replace(one, name="second"))  # merged into the known one
    assert await recorded.taken_apart(ours) == []


async def test_first_pages_go_to_one_node(plane: DataPlane, recorded: Recorded) -> None:
    ours = project()
    await plane.traces.put(ours, sent("one"))
    recorded.clear()
    found = await traces_page(plane, ours, order=SortOrder.DESC, window=FIRST)
    assert len(found.items) == 1
    await traces_page(plane, ours, order=SortOrder.DESC, window=FIRST, user_id="user")
    await sessions_page(plane, ours, order=SortOrder.DESC, window=FIRST)
    assert await recorded.taken_apart(ours) == []


async def test_one_trace_comes_from_one_node(plane: DataPlane, recorded: Recorded) -> None:
    ours, one = project(), sent("one")
    await plane.traces.put(ours, one)
    recorded.clear()
    assert (await plane.traces.get(ours, one.id)).name == "one"
    await plane.traces.spans(ours, one.id, WHOLE_PAYLOADS, FIRST)
    assert await recorded.taken_apart(ours) == []


async def test_scores_go_to_one_node(plane: DataPlane, recorded: Recorded) -> None:
    ours, one = project(), sent("one")
    await plane.traces.put(ours, one)
    recorded.clear()
    scores = plane.evaluation.trace_scores
    await scores.add(trace_score(ours, one.id))
    await scores.page(ours, ScoreFilter(), FIRST)
    await scores.latest(ours, one.id)
    assert await recorded.taken_apart(ours) == []


async def test_filters_by_scores_and_figures_of_sessions_come_from_one_node(
    plane: DataPlane, recorded: Recorded
) -> None:
    ours, one = project(), sent("one")
    await plane.traces.put(ours, one)
    await plane.evaluation.trace_scores.add(trace_score(ours, one.id, value="0.4"))
    recorded.clear()
    page = await traces_page(plane, ours, window=FIRST, score="m", score_max=0.5)
    assert len(page.items) == 1
    day = Period(one.started_at - timedelta(hours=12), one.started_at + timedelta(hours=12))
    assert len(await plane.analytics.sessions(ours, day, Granularity.HOUR)) == 1
    assert await recorded.taken_apart(ours) == []
