"""The stored form of the index of search, and what is left in it of traces that are gone."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.postgres.database.pool import Engine, Pool, PoolSettings, open_pool
from adapters.postgres.database.tenants import ALL_TENANTS, within
from adapters.postgres.tracing.search import trace_search
from adapters.postgres.tracing.search.search_index import BYTES_AT_ONCE, _cut
from adapters.postgres.tracing.search.search_postings import (
    SEGMENT_TRACES,
    bucket_of,
    build_postings,
    find_term,
    list_places,
    pack_terms,
    pack_traces,
    places_of,
    unpack_terms,
    unpack_trace,
    without_places,
    without_traces,
)
from adapters.postgres.tracing.search.trace_search import SearchLimits
from adapters.postgres.tracing.spans.span_search import SpanSearchLimits
from domain.errors import Unavailable
from domain.ids import ProjectId
from domain.page import PageRequest
from domain.privacy.erasure import DataSubject, DataSubjectKind, ErasureState
from domain.tracing.query import TraceFilter
from domain.tracing.search.search_query import SearchQuery
from domain.tracing.search.search_terms import TERM_BITS, query_terms
from domain.tracing.spans.span_query import SpanFilter
from domain.tracing.trace import TraceChange
from tests.adapters.postgres.tracing.payloads.test_payload_blocks import DAMAGE
from tests.contracts.tracing.search.test_search import found, given_fields
from tests.contracts.tracing.spans import test_span_search as spans
from tests.support.builders.values import at, span, trace
from tests.support.fixtures.data_plane import (
    DataPlane,
    clean_index,
    fill,
    index_traces,
    over_postgres,
    project,
)
from tests.support.fixtures.erasures import an_erasure, audit_entry
from tests.support.fixtures.servers.migrated_postgres import new_database
from tests.support.waiting import until, until_done

ADD_QUEUED: Final = """
INSERT INTO search_queue (project_id, trace_id)
SELECT $1, gen_random_uuid() FROM generate_series(1, $2)
"""
ROOT: Final = Path(__file__).parents[4]

# Few terms, so that traces share some, and any ones.
terms = st.frozensets(
    st.integers(0, 40)
    | st.integers(0, 40).map(lambda n: n << 16)
    | st.integers(0, 2**TERM_BITS - 1),
    max_size=30,
)
segments = st.lists(terms, min_size=1, max_size=40) | st.builds(
    lambda one, count, rest: [one] * count + rest,
    terms, st.integers(200, SEGMENT_TRACES - 4), st.lists(terms, max_size=4),
)  # fmt: skip


@given(segments, st.data())
def test_postings_have_the_places_of_each_term(segment, data):
    buckets = dict(build_postings(map(pack_terms, segment)))
    gone = data.draw(st.sets(st.integers(0, len(segment) - 1)))
    mask = sum(1 << place for place in gone)
    after = {bucket: without_places(postings, mask) for bucket, postings in buckets.items()}
    for term in frozenset[int]().union(*segment) | {7, 1 << 20}:
        places = [place for place, some in enumerate(segment) if term in some]
        assert found_in(buckets.get(bucket_of(term)), term) == places
        left = [place for place in places if place not in gone]
        assert found_in(after.get(bucket_of(term)), term) == left


def found_in(postings: bytes | None, term: int) -> list[int]:
    return [] if postings is None else list_places(find_term(postings, term))


def test_trace_larger_than_what_is_read_at_once_is_read_alone():
    queued = [
        {"id": n, "project_id": UUID(int=1), "trace_id": UUID(int=trace), "size": BYTES_AT_ONCE + 1}
        for n, trace in enumerate((7, 8, 7))
    ]
    assert [row["id"] for row in _cut(queued)] == [0, 2]


@given(terms)
def test_packed_terms_are_the_same_terms(some):
    assert frozenset(unpack_terms(pack_terms(some))) == some


@given(st.lists(st.tuples(st.uuids(), st.integers(-(2**60), 2**60)), unique_by=lambda one: one[0]))
def test_packed_traces_are_found_by_place_and_by_id(traces):
    rows = [(id_.bytes, at) for id_, at in traces]
    packed = pack_traces(rows)
    assert [unpack_trace(packed[at : at + 24]) for at in range(0, len(packed), 24)] == rows
    some = {id_ for id_, _ in rows[::2]}
    places = places_of(packed, some)
    assert places == {rows[place][0]: place for place in range(0, len(rows), 2)}
    assert not any(places_of(without_traces(packed, places.values()), some))


@pytest.fixture(scope="module")
async def own_urls(postgres_url: str, serving_url: str, pool: Pool) -> tuple[str, str]:
    """URLs of a database of this file's own, since it cleans and fills the whole index."""
    return await new_database(postgres_url, serving_url)


@pytest.fixture(scope="module")
async def owner_pool(own_urls: tuple[str, str]) -> AsyncIterator[Pool]:
    async with open_pool(Engine(config={}), PoolSettings(url=own_urls[0])) as owner:
        yield owner


@pytest.fixture(scope="module")
async def serving_pool(own_urls: tuple[str, str]) -> AsyncIterator[Pool]:
    async with open_pool(Engine(config={}), PoolSettings(url=own_urls[1])) as serving:
        yield serving


@pytest.fixture
async def plane(serving_pool: Pool) -> AsyncIterator[DataPlane]:
    async with over_postgres(serving_pool) as plane:
        yield plane


async def rows_of(pool: Pool, project_id: ProjectId) -> dict[str, int]:
    """The number of rows of the project in each table of the index."""
    tables = (
        *("search_queue", "search_traces", "search_terms", "search_segments", "search_postings"),
        "search_garbage",
    )
    connection = within(pool, ALL_TENANTS)
    counts = {
        table: await connection.fetchval(
            f"SELECT count(*) FROM {table} WHERE project_id = $1", project_id
        )
        for table in tables
    }
    return {table: count for table, count in counts.items() if count}


async def places_with(pool: Pool, project_id: ProjectId, words: Iterable[str]) -> int:
    """How often the terms of the words are in the postings of the project."""
    rows = await within(pool, ALL_TENANTS).fetch(
        "SELECT bucket, postings FROM search_postings WHERE project_id = $1", project_id
    )
    wanted = [term for word in words for term in query_terms(SearchQuery.parse(word))]
    return sum(
        len(list_places(find_term(row["postings"], term)))
        for row in rows
        for term in wanted
        if row["bucket"] == bucket_of(term)
    )


@pytest.mark.service
class TestLongTexts:
    async def test_computing_terms_may_take_longer_than_reading(self, plane, serving_pool):
        """20 MB of text that isn't ASCII take half a minute, and must not stop the index."""
        ours, words = project(), " ".join(f"é{n % 256:x}" for n in range(400_000))
        await fill(plane, ours, given_fields("long", words), given_fields("short", "word"))
        index = replace(plane.tracing.search_index, timeout_s=0.5)

        async def rows_after_a_round() -> dict[str, int]:
            with suppress(Unavailable):  # reading may take as long on a busy machine
                await index.add_traces()
            return await rows_of(serving_pool, ours)

        await until(
            rows_after_a_round, lambda rows: rows == {"search_traces": 2, "search_terms": 2}
        )
        assert await found(plane, ours, "éff") == ["long"]

    async def test_trace_that_is_too_large_to_read_is_looked_into(self, plane, serving_pool):
        ours = project()
        await fill(
            plane, ours, given_fields("one", "word", 1), given_fields("two", "word and more", 2)
        )
        index = replace(plane.tracing.search_index, read_bytes_max=len('{"text": "word"}'))
        await until_done(index.add_traces)
        assert await rows_of(serving_pool, ours) == {"search_traces": 2, "search_terms": 1}
        assert await found(plane, ours, "word") == ["two", "one"]

    async def test_errors_count_as_what_is_read(self, plane, serving_pool):
        ours, long = project(), span(error="word " * 1_000)
        await fill(
            plane, ours, given_fields("one", "word", 1), trace(long, name="two", started_at=at(2))
        )
        index = replace(plane.tracing.search_index, read_bytes_max=1_000)
        await until_done(index.add_traces)
        assert await rows_of(serving_pool, ours) == {"search_traces": 2, "search_terms": 1}
        assert await found(plane, ours, "word") == ["two", "one"]
        finder = plane.tracing.trace_search
        bounded = replace(finder, limits=replace(finder.limits, bytes_of_candidate=1_000))
        page = await bounded.find(ours, SearchQuery.parse("word"), TraceFilter(), PageRequest())
        assert [hit.trace.name for hit in page.hits] == ["one"]
        assert not page.is_complete

    async def test_traces_before_the_period_are_not_read(self, plane, serving_pool):
        """A project may have many with too many terms. Reading all of them takes long."""
        ours, terms = project(), query_terms(SearchQuery.parse("word"))
        sent = [given_fields(f"n{n}", "word", n) for n in range(4)]
        await fill(plane, ours, *sent)
        index = replace(plane.tracing.search_index, read_bytes_max=0)
        await until_done(index.add_traces)
        limits, before = SearchLimits(looked_into=0, partial_at_once=2), (at(10), UUID(int=0))
        first, last = ({one.id: one.started_at} for one in (sent[0], sent[3]))
        for after, allowed, is_all_read in (
            (None, None, False),
            (at(0), None, False),
            (at(3), None, True),
            (None, first, False),
            (None, last, True),
        ):
            candidates = trace_search._Candidates(
                within(serving_pool, ours), ours, terms, before, after, allowed, limits
            )
            await candidates.open()
            assert (candidates.last_partial is None) == is_all_read, (after, allowed)


@pytest.mark.service
class TestWhatIsLeft:
    async def test_last_traces_of_a_segment_take_it_along(self, plane, serving_pool):
        ours = project()
        some = [given_fields(f"n{n}", f"word secret{n}", n) for n in range(4)]
        await fill(plane, ours, *some)
        await index_traces(plane, 4)
        assert (await rows_of(serving_pool, ours))["search_segments"] == 1
        await plane.traces.delete(ours, [one.id for one in some[:3]])
        assert (await rows_of(serving_pool, ours))["search_garbage"] == 3
        await clean_index(plane)
        assert await places_with(serving_pool, ours, ["secret0", "secret1", "secret2"]) == 0
        assert await places_with(serving_pool, ours, ["secret3"]) == 1
        assert await found(plane, ours, "word") == ["n3"]
        await plane.traces.delete(ours, [some[3].id])
        await clean_index(plane)
        assert await rows_of(serving_pool, ours) == {}

    async def test_earlier_text_of_a_trace_is_removed(self, plane, serving_pool):
        ours = project()
        one, other = given_fields("one", "secret"), given_fields("other", "word")
        await fill(plane, ours, one, other)
        await index_traces(plane, 2)
        await plane.traces.change(ours, one.id, TraceChange(input=b'"harmless"'))
        await index_traces(plane)
        assert await places_with(serving_pool, ours, ["secret"]) == 1
        await clean_index(plane)
        assert await places_with(serving_pool, ours, ["secret"]) == 0
        assert await found(plane, ours, "harmless") == ["one"]
        assert await found(plane, ours, "word") == ["other"]

    @pytest.mark.parametrize("segment_traces", [1, 2, SEGMENT_TRACES])
    async def test_erasure_ends_once_no_term_is_left(self, plane, serving_pool, segment_traces):
        ours, owner = project(), DataSubject(DataSubjectKind.USER, "u")
        first, again, other = (
            given_fields("first", "secret", user_id="u", spans=(span(input=b'"secret"'),)),
            given_fields("again", "mine", user_id="u"),
            given_fields("other", "secret and mine"),
        )  # fmt: skip
        await fill(plane, ours, first, again, other)
        await index_traces(plane, segment_traces)
        await plane.traces.change(ours, again.id, TraceChange(input=b'"secret again"'))
        await index_traces(plane, segment_traces)
        erasure, erasures = an_erasure(ours, owner), plane.privacy.erasures
        await erasures.begin(erasure, owner, audit_entry(erasure))
        assert await found(plane, ours, "secret") == ["other"]
        for limits in spans.READING.values():
            assert await spans.found(spans.limited(plane, limits), ours, "secret") == []
        while (await erasures.get(ours, erasure.id)).state is not ErasureState.REMOVED:
            await erasures.advance(ours, erasure.id, at(9), audit_entry)
        left = await rows_of(serving_pool, ours)
        assert "search_garbage" not in left
        assert left["search_traces"] == 1
        assert await places_with(serving_pool, ours, ["secret", "mine"]) in {0, 2}
        remaining = await erasures.count_remaining(await erasures.get(ours, erasure.id), owner)
        assert remaining.rows == {}
        await index_traces(plane)
        assert (await rows_of(serving_pool, ours)).get("search_queue") is None
        assert await found(plane, ours, "secret") == ["other"]

    async def test_deleted_traces_leave_the_queue(self, plane, serving_pool):
        ours = project()
        one = given_fields("one", "word")
        await fill(plane, ours, one)
        await plane.traces.delete(ours, [one.id])
        await index_traces(plane)
        assert await rows_of(serving_pool, ours) == {}

    async def test_trace_that_is_being_written_stays_in_the_queue(self, plane, serving_pool):
        ours, one = project(), given_fields("one", "word")
        await fill(plane, ours, one)
        await index_traces(plane)
        await plane.traces.change(ours, one.id, TraceChange(input=b'"needle"'))
        async with within(serving_pool, ours).transaction() as writer:
            await writer.execute("SELECT 1 FROM traces WHERE project_id = $1 FOR UPDATE", ours)
            await plane.tracing.search_index.add_traces()
        assert (await rows_of(serving_pool, ours))["search_queue"] == 1
        await index_traces(plane)
        assert "search_queue" not in await rows_of(serving_pool, ours)
        assert await found(plane, ours, "needle") == ["one"]

    async def test_search_says_if_more_writes_wait_than_it_looks_into(self, plane, owner_pool):
        ours, window = project(), PageRequest()
        search, query = plane.tracing.trace_search, SearchQuery.parse("word")
        for more, is_complete in ((trace_search.UNINDEXED_MAX, True), (1, False)):
            await owner_pool.execute(ADD_QUEUED, ours, more)
            page = await search.find(ours, query, TraceFilter(), window)
            assert (page.hits, page.is_complete) == ([], is_complete)
        await owner_pool.execute("DELETE FROM search_queue WHERE project_id = $1", ours)

    async def test_trace_with_too_many_words_is_found(self, plane, serving_pool):
        ours = project()
        text = " ".join(f"{n:x}q" for n in range(100_001))
        many = trace(
            span(name="step", output=b'"pin"'), name="many", input=f'"{text} needle"'.encode()
        )
        await fill(plane, ours, many)
        await index_traces(plane)
        assert await rows_of(serving_pool, ours) == {"search_traces": 1}
        assert await found(plane, ours, "needle") == ["many"]
        assert await found(plane, ours, "absent") == []
        for limits in spans.READING.values():
            assert await spans.found(spans.limited(plane, limits), ours, "pin") == ["step"]
        await plane.traces.change(ours, many.id, TraceChange(input=b'"few"'))
        await index_traces(plane)
        assert await rows_of(serving_pool, ours) == {"search_traces": 1, "search_terms": 1}
        assert await found(plane, ours, "needle") == []
        assert await spans.found(plane, ours, "pin") == ["step"]

    async def test_page_that_a_limit_ends_goes_on(self, plane):
        ours = project()
        await fill(plane, ours, *(given_fields(f"n{n}", "one two", n) for n in range(9)))
        await fill(plane, ours, given_fields("first", "two one", -1))
        await index_traces(plane, 3)
        search = replace(plane.tracing.trace_search, limits=SearchLimits(texts=2))
        query, pages, window = SearchQuery.parse('"two one"'), [], PageRequest(limit=5)
        while not pages or pages[-1].end is not None:
            page = await search.find(ours, query, TraceFilter(), window)
            pages.append(page)
            assert page.is_complete is (page.end is None)
            window = PageRequest(limit=5, after=page.end)
        assert [hit.trace.name for page in pages for hit in page.hits] == ["first"]
        assert len(pages) == 6

    @pytest.mark.parametrize(
        ("limits", "pages"),
        [
            (SpanSearchLimits(texts=2), 6),
            (SpanSearchLimits(spans=4), 3),
            (SpanSearchLimits(texts=2, few_traces=0), 6),
            (SpanSearchLimits(spans=4, few_traces=0), 3),
            (SpanSearchLimits(text_bytes=1), 2),
            (SpanSearchLimits(), 1),
        ],
        ids=str,
    )
    async def test_page_of_spans_that_a_limit_ends_goes_on(self, plane, limits, pages):
        ours = project()
        texts = [*(["one two"] * 9), "two one", "two one"]
        sent = [
            trace(span(name=f"n{n}", input=f'"{text}"'.encode(), started_at=at(-n)))
            for n, text in enumerate(texts)
        ]
        await fill(plane, ours, *sent)
        await index_traces(plane, 3)
        search = replace(plane.tracing.span_search, limits=limits)
        query, found, window = SearchQuery.parse('"two one"'), [], PageRequest(limit=5)
        while not found or found[-1].end is not None:
            page = await search.find(ours, query, SpanFilter(), window)
            found.append(page)
            assert page.is_complete is (page.end is None)
            window = PageRequest(limit=5, after=page.end)
        assert [hit.span.name for page in found for hit in page.hits] == ["n9", "n10"]
        assert len(found) == pages

    async def test_damaged_trace_is_not_found_and_hides_no_other(self, plane, serving_pool):
        ours = project()
        one, other = (
            given_fields(name, "word", spans=(span(name=name, input=b'"word"'),))
            for name in ("one", "other")
        )
        await fill(plane, ours, one, other)
        await within(serving_pool, ALL_TENANTS).execute(DAMAGE, ours, one.id)
        for _ in range(2):
            assert await found(plane, ours, "word") == ["other"]
            assert await spans.found(plane, ours, "word") == ["other"]
            await index_traces(plane, 1)
        assert "search_queue" not in await rows_of(serving_pool, ours)

    async def test_everything_is_indexed_again(self, plane, owner_pool, serving_pool):
        page = (ROOT / "docs/tracing/search.md").read_text()
        [statements] = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
        ours = project()
        await fill(plane, ours, *(given_fields(f"n{n}", f"word w{n}", n) for n in range(3)))
        await index_traces(plane, 2)
        async with owner_pool.acquire() as connection:
            for statement in statements.strip().split(";\n"):  # a message each, as psql sends them
                await connection.execute(statement)
        assert (await rows_of(serving_pool, ours))["search_queue"] == 3
        assert await found(plane, ours, "word") == ["n2", "n1", "n0"]
        await index_traces(plane, 2)
        await clean_index(plane)
        assert await found(plane, ours, "word") == ["n2", "n1", "n0"]
        assert await found(plane, ours, "w0") == ["n0"]

    async def test_several_workers_index_and_pack_at_once(self, plane, serving_pool):
        ours = project()
        some = [given_fields(f"n{n}", "word", n) for n in range(40)]
        await fill(plane, ours, *some)

        async def change() -> None:
            for one in some[::3]:
                await plane.traces.change(ours, one.id, TraceChange(output=b'"after"'))
            await plane.traces.delete(ours, [one.id for one in some[1::3]])

        await asyncio.gather(change(), *(index_traces(plane, size) for size in (3, 4, 5)))
        await index_traces(plane, 1)
        left = {one.name for one in (*some[::3], *some[2::3])}
        assert set(await found(plane, ours, "word")) == left
        assert set(await found(plane, ours, "after")) == {one.name for one in some[::3]}
        await clean_index(plane)
        assert set(await found(plane, ours, "word")) == left
        new = (await rows_of(serving_pool, ours)).get("search_terms", 0)
        assert await places_with(serving_pool, ours, ["word"]) + new == len(left)

    async def test_traces_that_another_worker_has_packed_are_left_to_it(self, plane, serving_pool):
        """A worker may see terms that another one packs before their rows can be locked."""
        ours = project()
        index = replace(plane.tracing.search_index, segment_traces=1)

        async def pack() -> None:
            while (await rows_of(serving_pool, ours)).get("search_terms"):
                await index.pack(ours)

        for number in range(10):
            await fill(
                plane, ours, *(given_fields("n", "word", 10 * number + n) for n in range(10))
            )
            await index_traces(plane)
            await asyncio.gather(*(pack() for _ in range(6)))
        assert (await rows_of(serving_pool, ours))["search_segments"] == 100
