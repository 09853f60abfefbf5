"""Cursors: consecutive pages, and text that no list has returned."""

import base64
import json
import sys
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.ids import OrganizationId
from domain.page import Page, Position, SortOrder
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.session import SessionFilter, SessionSort
from domain.tracing.trace import TraceStatus
from domain.tracing.usage import exact_sum
from entrypoints.http.controllers.sessions.sessions import SESSIONS
from entrypoints.http.controllers.traces.schemas import TRACES, USERS
from entrypoints.http.requests.cursors import (
    CURSOR_CHARS_MAX,
    ID,
    INSTANT,
    PagedList,
    PageQuery,
)
from tests.http.conftest import Site, State, a_span, a_trace, field_errors
from tests.support.clients.contract_checks import operations
from tests.support.clients.runs import RUNS, SESSION_RUNS, RunningProject
from tests.support.endpoints.spec import MARCH
from tests.support.waiting import until

OURS = uuid.UUID(int=1)
HOOK = {"url": "https://hooks.example.com"}
ALERT = {"metric": "coherence", "figure": "no_data"}
MONITOR = {"name": "n", "target_type": "TRACE", "metrics": ["coherence"], "cadence": "daily"}

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=512)
instants = st.datetimes(timezones=st.just(UTC))
whole = st.integers(-(2**63), 2**63 - 1)
amounts = st.floats(allow_nan=False, allow_infinity=False).map(lambda one: Decimal(repr(one)))
session_ids = texts.map(lambda text: text[:255])
POSITIONS: list[tuple[PagedList[Any], Any, st.SearchStrategy[Any], st.SearchStrategy[Any]]] = [
    (TRACES, TraceSort.STARTED_AT, instants, st.uuids()),
    (TRACES, TraceSort.ENDED_AT, st.none() | instants, st.uuids()),
    (TRACES, TraceSort.NAME, texts, st.uuids()),
    (TRACES, TraceSort.LATENCY, st.none() | whole, st.uuids()),
    (TRACES, TraceSort.STATUS, st.sampled_from([one.value for one in TraceStatus]), st.uuids()),
    (TRACES, TraceSort.COST, amounts, st.uuids()),
    (TRACES, TraceSort.TOKENS, whole, st.uuids()),
    (TRACES, TraceSort.SPAN_COUNT, whole, st.uuids()),
    (SESSIONS, SessionSort.RECENT, instants, session_ids),
    (SESSIONS, SessionSort.TRACE_COUNT, whole, session_ids),
    (SESSIONS, SessionSort.LATENCY, st.none() | whole.map(lambda one: one * 1_000), session_ids),
    (SESSIONS, SessionSort.COST, amounts, session_ids),
    (USERS, None, instants, session_ids),
]
positions = st.sampled_from(POSITIONS).flatmap(
    lambda one: st.tuples(st.just(one[0]), st.just(one[1]), st.builds(Position, one[2], one[3]))
)


def test_every_sort_has_a_position_type() -> None:
    sorts = {one for _, one, _, _ in POSITIONS}
    assert sorts == {*TraceSort, *SessionSort, None}


@given(positions, st.sampled_from(SortOrder))
def test_any_position_round_trips(
    one: tuple[PagedList[Any], Any, Position], order: SortOrder
) -> None:
    paged, sort, end = one
    first = paged.parse_page(PageQuery(), OURS, None, sort, order)
    cursor = first.respond(Page([], 0, end), str).next_cursor
    assert cursor is not None
    assert len(cursor) <= CURSOR_CHARS_MAX
    assert cursor == cursor.strip("=")
    after = paged.parse_page(PageQuery(cursor=cursor), OURS, None, sort, order).page.after
    assert after == end
    assert after is not None
    assert type(after.value) is type(end.value)


def test_longest_positions_fit_into_a_cursor() -> None:
    with_dust = exact_sum([Decimal(sys.float_info.max), Decimal("4.9406564584124654e-324")])
    for paged, sort, end in (
        (TRACES, TraceSort.NAME, Position("\x01" * 512, uuid.uuid4())),
        (SESSIONS, SessionSort.COST, Position(with_dust, "\x01" * 255)),
        (USERS, None, Position(datetime.max.replace(tzinfo=UTC), "🐼" * 255)),
    ):
        requested = paged.parse_page(PageQuery(), OURS, None, sort, SortOrder.ASC)
        again = PageQuery(cursor=requested.cursor_after(end))
        assert len(again.cursor or "") <= CURSOR_CHARS_MAX
        assert paged.parse_page(again, OURS, None, sort, SortOrder.ASC).page.after == end


MATCHING = TraceFilter(tags=("a",), started_after=datetime(2026, 3, 1, tzinfo=UTC))
OTHERS: list[tuple[PagedList[Any], uuid.UUID, Any, Any, SortOrder]] = [
    (TRACES, uuid.UUID(int=2), MATCHING, TraceSort.STARTED_AT, SortOrder.ASC),
    (TRACES, OURS, TraceFilter(), TraceSort.STARTED_AT, SortOrder.ASC),
    (TRACES, OURS, replace(MATCHING, tags=("a", "b")), TraceSort.STARTED_AT, SortOrder.ASC),
    (TRACES, OURS, replace(MATCHING, name="x"), TraceSort.STARTED_AT, SortOrder.ASC),
    (
        *(TRACES, OURS, replace(MATCHING, metadata=(("k", ("v",)),))),
        *(TraceSort.STARTED_AT, SortOrder.ASC),
    ),
    (TRACES, OURS, MATCHING, TraceSort.ENDED_AT, SortOrder.ASC),
    (TRACES, OURS, MATCHING, TraceSort.NAME, SortOrder.ASC),
    (TRACES, OURS, MATCHING, TraceSort.STARTED_AT, SortOrder.DESC),
    (SESSIONS, OURS, SessionFilter(), SessionSort.RECENT, SortOrder.ASC),
    (USERS, OURS, None, None, SortOrder.DESC),
    (
        *(PagedList("others", {TraceSort.STARTED_AT: INSTANT}, ID), OURS, MATCHING),
        *(TraceSort.STARTED_AT, SortOrder.ASC),
    ),
]


@pytest.mark.parametrize("other", OTHERS)
def test_cursor_of_another_query_is_refused(other: Any) -> None:
    query = (OURS, MATCHING, TraceSort.STARTED_AT, SortOrder.ASC)
    cursor = TRACES.parse_page(PageQuery(), *query).cursor_after(
        Position(MATCHING.started_after, uuid.uuid4())
    )
    paged, *other_query = other
    with pytest.raises(Invalid) as refused:
        paged.parse_page(PageQuery(cursor=cursor), *other_query)
    assert [one.field for one in refused.value.errors] == ["query.cursor"]


def forged(cursor: str, **overrides: Any) -> str:
    """The cursor with its value or id replaced."""
    mark, value, id_ = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    held = json.dumps([mark, overrides.get("value", value), overrides.get("id", id_)])
    return base64.urlsafe_b64encode(held.encode()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Filled:
    """A site with a dozen traces. Restoring it is quicker than storing them again."""

    organization: OrganizationId
    head: dict[str, str]
    state: State


@pytest.fixture(scope="module")
async def filled_once(memory_site: Site) -> Filled:
    """A dozen traces with ties and nulls in every sort key."""
    memory_site.begin()
    head = memory_site.headers()
    async with memory_site.http as http:
        for n in range(12):
            start = f"2026-03-01T09:00:{n // 3:02}Z"
            ended = None if n % 3 == 0 else f"2026-03-01T09:01:{n // 2:02}Z"
            span = a_span(cost={"total": n // 4 / 10})
            body = a_trace(
                name="aéßz"[n % 4],
                status=[*TraceStatus][n % 4],
                started_at=start,
                ended_at=ended,
                session_id=f"s/{n // 2}",
                user_id=None if n == 5 else f"u{n % 5}",
                spans=[span] * (n % 2),
            )
            assert (await http.post("/traces", headers=head, json=body)).status_code == 202
    return Filled(memory_site.organization, head, memory_site.state())


@pytest.fixture
def filled(filled_once: Filled, site: Site) -> dict[str, str]:
    """The headers of a key of the project with the dozen traces."""
    site.organization = filled_once.organization
    site.restore(filled_once.state)
    return filled_once.head


SORTED_LISTS = [
    *(f"/traces?sort_by={sort}" for sort in TraceSort),
    *(f"/sessions?sort_by={sort}" for sort in SessionSort),
    "/traces?has_error=false&sort_by=name",
]
LISTS = [
    *(f"{path}&sort_order={order}" for path in SORTED_LISTS for order in SortOrder),
    "/traces/users?",
]


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", [1, 5])
async def test_pages_by_cursor_equal_pages_by_offset(
    site: Site, filled: dict[str, str], path: str, limit: int
) -> None:
    query = f"{path}&limit={limit}"
    whole = (await site.http.get(path, headers=filled)).json()
    assert whole["next_cursor"] is None
    assert len(whole["items"]) == whole["total"] > 4
    by_cursor: list[Any] = []
    cursor, offset = "", 0
    while True:
        page = (await site.http.get(f"{query}{cursor}", headers=filled)).json()
        same = (await site.http.get(f"{query}&offset={offset}", headers=filled)).json()
        assert page["items"] == same["items"]
        assert (page["total"], page["limit"]) == (whole["total"], limit)
        assert (page["offset"], same["offset"]) == (0, offset)
        assert page["next_cursor"] == same["next_cursor"]
        by_cursor += page["items"]
        offset += limit
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert by_cursor == whole["items"]


async def test_concurrently_added_items_cause_no_duplicates(
    site: Site, filled: dict[str, str]
) -> None:
    first = (await site.http.get("/traces?limit=5", headers=filled)).json()
    newer = a_trace(started_at="2026-03-02", name="newer")
    await site.http.post("/traces", headers=filled, json=newer)
    path = f"/traces?limit=200&cursor={first['next_cursor']}"
    rest = (await site.http.get(path, headers=filled)).json()
    shown = [one["trace_id"] for one in (*first["items"], *rest["items"])]
    assert (len(shown), len(set(shown)), rest["total"]) == (12, 12, 13)


async def test_order_of_conditions_does_not_change_the_query(
    site: Site, filled: dict[str, str]
) -> None:
    for tags in (["a", "b"], ["b"]):
        for _ in range(2):
            await site.http.post("/traces", headers=filled, json=a_trace(tags=tags))
    first = await site.http.get("/traces?limit=2&tags=a&tags=b&tags=a", headers=filled)
    again = f"/traces?tags=b&tags=a&limit=9&sort_by=started_at&cursor={first.json()['next_cursor']}"
    assert len((await site.http.get(again, headers=filled)).json()["items"]) == 2


@pytest.mark.parametrize(
    "cursor",
    [
        *("", "x", "AAAA", "e30", "bnVsbA", "é", "=", "W10=", "%00", "%FF", "a b", "W1tbXV1d"),
        base64.urlsafe_b64encode(b"[" * 4_000).decode().rstrip("="),
        base64.urlsafe_b64encode(b'["","",""]').decode().rstrip("=") + "!",
        "A" * (CURSOR_CHARS_MAX + 1),
    ],
)
async def test_malformed_cursors_are_refused(site: Site, head: dict[str, str], cursor: str) -> None:
    for path in ("/traces", "/traces/users", "/sessions"):
        refused = await site.http.get(f"{path}?cursor={cursor}", headers=head)
        assert set(field_errors(refused)) == {"query.cursor"}


async def test_malformed_cursor_is_reported_with_other_errors(
    site: Site, head: dict[str, str]
) -> None:
    refused = await site.http.get("/traces?cursor=x&limit=0", headers=head)
    assert set(field_errors(refused)) == {"query.cursor", "query.limit"}


VALUES: list[Any] = [
    *(None, True, 1, -1, 2**63, -(2**63) - 1, 10**18, 2**62 + 10**18, 1.5, "", "x", "\0"),
    *("3", "0.25"),
    *("NaN", "sNaN", "Infinity", "1e9999999", "1e-9999999", "1" * 3_000, [], {}, [1], "ERROR"),
]


@pytest.mark.parametrize("path", LISTS)
async def test_forged_positions_cause_no_fault(
    site: Site, filled: dict[str, str], path: str
) -> None:
    page = (await site.http.get(f"{path}&limit=1", headers=filled)).json()
    forgeries = [forged(page["next_cursor"], value=value) for value in VALUES]
    forgeries += [forged(page["next_cursor"], id=value) for value in VALUES]
    statuses = set()
    for cursor in forgeries:
        answer = await site.http.get(f"{path}&cursor={cursor}", headers=filled)
        statuses.add(answer.status_code)
        if answer.status_code != 200:
            assert set(field_errors(answer)) == {"query.cursor"}
    assert statuses == {200, 422}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        *(("/traces?sort_by=name", {"value": one}) for one in ("\0", "a\0b", None, 1)),
        *(("/traces?sort_by=status", {"value": one}) for one in ("\0", "DONE", None)),
        *(("/traces?", {"value": one}) for one in (None, "x", 1.5, 10**18)),
        *(("/traces?sort_by=latency", {"value": one}) for one in (2**63, -(2**63) - 1, "1")),
        *(("/traces?sort_by=tokens", {"value": one}) for one in ("²", "-", "1.5", "9" * 61)),
        *(("/traces?", {"id": one}) for one in ("x", None, 1)),
        *(("/sessions?", {"id": one}) for one in ("\0", None, 1)),
        *(("/sessions?sort_by=trace_count", {"value": one}) for one in (2**63, None, 1.5)),
        *(
            ("/sessions?sort_by=cost", {"value": one})
            for one in ("NaN", "-Infinity", "1e1501", "1e-1501", "1e999999999", "x", None, 1)
        ),
        ("/traces/users?", {"id": "\0"}),
    ],
)
async def test_unsupported_positions_are_refused(
    site: Site, filled: dict[str, str], path: str, said: dict[str, Any]
) -> None:
    page = (await site.http.get(f"{path}&limit=1", headers=filled)).json()
    cursor = forged(page["next_cursor"])
    assert (await site.http.get(f"{path}&cursor={cursor}", headers=filled)).status_code == 200
    cursor = forged(page["next_cursor"], **said)
    refused = await site.http.get(f"{path}&cursor={cursor}", headers=filled)
    assert set(field_errors(refused)) == {"query.cursor"}


async def test_cursor_excludes_an_offset(site: Site, filled: dict[str, str]) -> None:
    page = (await site.http.get("/traces?limit=3", headers=filled)).json()
    path = f"/traces?limit=3&cursor={page['next_cursor']}"
    assert (await site.http.get(f"{path}&offset=0", headers=filled)).status_code == 200
    refused = await site.http.get(f"{path}&offset=1", headers=filled)
    assert set(field_errors(refused)) == {"query.cursor"}


# A request of OpenTelemetry of which nothing can be stored.
REJECTED = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "0", "spanId": "1"}]}]}]}


async def test_cursor_of_another_project_or_with_an_offset_is_refused_in_every_list() -> None:
    site = Site()
    async with site.http:
        ours, theirs = await RunningProject.over(site), await RunningProject.over(site)
        for session in ("a", "b"):
            failed = a_span(status="ERROR", error=f"no such key: {session}")
            await ours.store_trace(session_id=session, user_id=session, spans=[failed])
            await ours.add_score()
            await ours.add_session_score(session_id=session)
            await ours("POST", "/erasures", {"user_id": f"nobody-{session}"})
            runs = {path: (await ours.start_run(path))["id"] for path in (RUNS, SESSION_RUNS)}
            monitor = (await ours("POST", "/evaluations/monitors", MONITOR)).json()["id"]
        steps = [a_span(name="step"), a_span(name="step")]
        trace = await ours.store_trace(session_id="a", user_id="a", spans=steps)
        hook = (await ours("POST", "/evaluations/webhooks", HOOK)).json()["id"]
        for _ in range(2):
            await ours("POST", f"/evaluations/monitors/{monitor}/alerts", ALERT)
            await ours("POST", f"/evaluations/monitors/{monitor}/trigger")
        await ours.run_jobs()
        await ours.do.alerting.evaluate_runs()
        for _ in range(2):
            await ours("POST", "/v1/traces", REJECTED)
        await ours("POST", "/datasets", {"name": "refunds"})
        items = [{"id": one, "input": one} for one in ("a", "b")]
        await ours("POST", "/datasets/refunds/items/batch", {"items": items})
        asked = {"dataset": "refunds", "metrics": ["coherence"]}
        for _ in range(2):
            experiment = (await ours("POST", "/experiments", asked)).json()["id"]
        # They are written after the answer.
        await until(lambda: ours.read("/ingest/rejections"), lambda page: page["total"] >= 2)
        document = (await site.http.get("/openapi.json")).json()
        for (method, path), reported in operations(document).items():
            names = {one["name"] for one in reported["parameters"]}
            if "cursor" not in names or "{org_id}" in path:  # the audit log has its own page query
                continue
            more = "&metric_name=quality" if "metric_name" in names else ""
            more += f"&{MARCH}" if path == "/errors" else ""
            more += "&query=step" if path.endswith("/search") else ""
            run = runs[RUNS if path.startswith(RUNS) else SESSION_RUNS]
            ids = {
                "monitor_id": monitor, "webhook_id": hook, "run_id": run, "session_id": "a",
                "trace_id": trace, "dataset_name": "refunds", "experiment_id": experiment,
            }  # fmt: skip
            place = f"{path.format(**ids)}?limit=1{more}"
            page = await ours("GET", place)
            assert page.status_code == 200, page.text
            cursor = page.headers.get("x-next-cursor") or page.json()["next_cursor"]
            assert cursor is not None, path
            await ours.read(f"{place}&cursor={cursor}")
            refused = await theirs(method.upper(), f"{place}&cursor={cursor}")
            assert set(field_errors(refused)) == {"query.cursor"}, path
            if "offset" in names:
                both = await ours("GET", f"{place}&cursor={cursor}&offset=1&limit=0")
                assert set(field_errors(both)) == {"query.cursor", "query.limit"}, path
