"""Asserts that every acknowledged trace is stored once, completely, and counted correctly."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import Final

import httpx

from adapters.postgres.database.pool import PoolSettings, open_pool
from adapters.postgres.database.tenants import ALL_TENANTS, within
from adapters.postgres.piccolo_conf import DB
from domain.ids import ProjectId
from entrypoints.composition.database import open_database, open_group
from entrypoints.settings import Settings
from tests.faults.support.clients import PAYLOAD, Load, Sent
from tests.support.fixtures.data_plane import assert_summaries_match, over_postgres

PAGE: Final = 200
SAMPLED: Final = 100  # traces of a flood that are read back
SELECT_SPAN_COUNTS: Final = """
SELECT trace_id, (SELECT count(*) FROM spans WHERE (project_id, trace_id) = (p.id, t.trace_id)) AS
  spans
FROM traces t JOIN projects p ON p.id = t.project_id WHERE p.name = $1
"""

SELECT_PROJECTS: Final = """
SELECT p.id, o.table_group FROM projects AS p JOIN organizations AS o ON o.id = p.organization_id
WHERE p.name = ANY($1)
"""
SELECT_TRACES: Final = """
SELECT trace_id FROM traces WHERE project_id IN (SELECT id FROM projects WHERE name = ANY($1))
"""


async def assert_kept(load: Load, settings: Settings, recounted: int = 3) -> None:
    """Reads everything back through the API, and recounts the roll-ups of `recounted` projects.

    An accepted trace is stored once, with all its spans. A trace that was not accepted may be
    stored, but then completely; and no other trace is stored.
    """
    assert not load.unexpected, load.outcomes
    assert load.accepted, load.outcomes
    projects: dict[str, dict[str, Sent]] = defaultdict(dict)
    for trace, sent in load.sent.items():
        projects[sent.project][trace] = sent
    async with httpx.AsyncClient(base_url=load.url, timeout=30) as http:
        for name, traces in projects.items():
            await _assert_project(http, load.headers(name), traces)
    await _assert_roll_ups(settings, sorted(projects)[:: max(1, len(projects) // recounted)])


async def lost_traces(load: Load, settings: Settings) -> set[str]:
    """The accepted traces that aren't stored. Recounts the roll-ups of all projects."""
    names = sorted({sent.project for sent in load.sent.values()})
    async with open_pool(DB, PoolSettings(url=settings.database_url or "")) as pool:
        stored = {
            str(row["trace_id"])
            for row in await within(pool, ALL_TENANTS).fetch(SELECT_TRACES, names)
        }
    await _assert_roll_ups(settings, names)
    return {id_ for id_, sent in load.sent.items() if sent.accepted} - stored


async def assert_flood_kept(
    url: str, headers: Mapping[str, str], settings: Settings, accepted: Collection[str]
) -> None:
    """Like `assert_kept`, for too many traces of one project to read back one by one.

    Each trace has one span.
    """
    name = headers["X-Project-Name"]
    async with open_pool(DB, PoolSettings(url=settings.database_url or "")) as pool:
        stored = Counter(
            {
                str(row["trace_id"]): row["spans"]
                for row in await within(pool, ALL_TENANTS).fetch(SELECT_SPAN_COUNTS, name)
            }
        )
    assert len(set(accepted)) == len(accepted)
    missing = set(accepted) - set(stored)
    assert not missing, f"accepted and missing: {len(missing)}, {list(missing)[:5]}"
    assert set(stored.values()) <= {1}
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        listed = (await http.get("/traces", headers=headers)).json()
        assert listed["total"] == len(stored)
        for trace in list(accepted)[:: max(1, len(accepted) // SAMPLED)]:
            found = (await http.get(f"/traces/{trace}", headers=headers)).json()
            assert len(found["spans"]) == 1


async def _assert_project(
    http: httpx.AsyncClient, headers: Mapping[str, str], traces: Mapping[str, Sent]
) -> None:
    answer = await http.get("/traces", params={"limit": PAGE}, headers=headers)
    assert answer.status_code == 200, answer.text
    page = answer.json()
    assert page["total"] == len(page["items"])
    listed = Counter(item["trace_id"] for item in page["items"])
    assert set(listed.values()) <= {1}
    accepted = {id_ for id_, sent in traces.items() if sent.accepted}
    assert not accepted - set(listed), f"accepted and missing: {accepted - set(listed)}"
    assert set(listed) <= set(traces)
    for item in page["items"]:
        sent = traces[item["trace_id"]]
        found = (await http.get(f"/traces/{item['trace_id']}", headers=headers)).json()
        assert found["input"] == {"number": sent.number}
        spans = Counter(span["span_id"] for span in found["spans"])
        assert set(spans.values()) == {1}
        assert sent.spans <= set(spans) <= sent.spans | sent.late
        assert all(span["input"] == PAYLOAD for span in found["spans"])
        assert (item["span_count"], item["total_tokens"]) == (len(spans), len(spans))


async def _assert_roll_ups(settings: Settings, names: list[str]) -> None:
    async with open_database(settings) as first:
        rows = await within(first, ALL_TENANTS).fetch(SELECT_PROJECTS, names)
        assert rows
        for group in {row["table_group"] for row in rows}:
            async with open_group(settings, first, group) as pool, over_postgres(pool) as plane:
                for row in rows:
                    if row["table_group"] == group:
                        await assert_summaries_match(plane, ProjectId(row["id"]))
