"""Part of the contract of TraceAnalytics: values of fields, the most frequent first."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.postgres.tracing.analytics import PostgresTraceAnalytics
from domain.errors import Invalid
from domain.tracing.facet_values import (
    COUNTED_MEMBERS_MAX,
    FACET_LIMIT_MAX,
    MEMBER_KEY_CHARS_MAX,
    MEMBER_TEXT_CHARS_MAX,
    FacetField,
    FacetQuery,
    FacetValue,
    count_values,
    most_frequent,
)
from domain.tracing.query import ALL_TRACES, TraceFilter
from tests.support.builders import strategies, trace_strategies
from tests.support.builders.values import span, trace
from tests.support.fixtures.data_plane import fill, over_postgres, project
from tests.support.hypothesis_scale import scaled

# Counted ahead, and by reading those that match.
EVERY_TRACE = pytest.mark.parametrize(
    "matching", [ALL_TRACES, TraceFilter(name="Run")], ids=["all", "filter"]
)


async def test_values_are_counted_by_trace(plane):
    ours, theirs = project(), project()
    await fill(
        plane, ours,
        trace(span(model="m"), span(model="m"), environment="prod", tags=("a", "b", "a")),
        trace(span(model="n"), environment="prod", release="1", session_id="s", user_id="u"),
        trace(environment="prelive", tags=("b",)),
        trace(environment="test", name="other"),
    )  # fmt: skip
    await fill(plane, theirs, trace(environment="theirs"))

    async def values(field: FacetField, prefix: str = "", limit: int = 9) -> list[FacetValue]:
        return list(await plane.analytics.facets(ours, FacetQuery(field, prefix, limit)))

    prod, prelive = FacetValue("prod", 2), FacetValue("prelive", 1)
    assert await values(FacetField.ENVIRONMENT) == [prod, prelive, FacetValue("test", 1)]
    assert await values(FacetField.ENVIRONMENT, "pr") == [prod, prelive]
    assert await values(FacetField.ENVIRONMENT, "pr", 1) == [prod]
    assert await values(FacetField.ENVIRONMENT, "Pr") == []
    assert await values(FacetField.TAG) == [FacetValue("b", 2), FacetValue("a", 1)]
    assert await values(FacetField.MODEL) == [FacetValue("m", 1), FacetValue("n", 1)]
    assert await values(FacetField.NAME) == [FacetValue("run", 3), FacetValue("other", 1)]
    assert await values(FacetField.STATUS) == [FacetValue("COMPLETED", 4)]
    for field, value in (
        (FacetField.RELEASE, "1"),
        (FacetField.USER, "u"),
        (FacetField.SESSION, "s"),
    ):
        assert await values(field) == [FacetValue(value, 1)]


@EVERY_TRACE
async def test_equally_frequent_values_are_in_their_order(plane, matching):
    ours, tags = project(), [f"{n:03}" for n in range(FACET_LIMIT_MAX + 1)]
    await fill(plane, ours, trace(tags=tuple(tags)), trace(tags=(tags[-1],)))
    found = await plane.analytics.facets(
        ours, FacetQuery(FacetField.TAG, limit=9, matching=matching)
    )
    assert [one.value for one in found] == [tags[-1], *tags[:8]]


@EVERY_TRACE
async def test_keys_and_values_of_metadata_are_counted(plane, matching):
    ours, text = project(), "é" * MEMBER_TEXT_CHARS_MAX
    many = {f"k{n}": n for n in range(COUNTED_MEMBERS_MAX + 1)}
    most = {f"m{n:03}": n for n in range(COUNTED_MEMBERS_MAX)}
    kept = [
        {"tenant": "north", "plan": None, "nested": {"x": 1}, "k" * MEMBER_KEY_CHARS_MAX: 1},
        {"tenant": "south", "plan": 1.0, "k" * (MEMBER_KEY_CHARS_MAX + 1): 1},
        {"tenant": "north", "te": "nant", "te\x1fn": "x", "": text + "t"},
        {"tenant": "a\x1fb", "repeated": text},
        many,
        most,
    ]
    await fill(plane, ours, *(trace(metadata=json.dumps(one).encode()) for one in kept))
    await fill(plane, ours, trace(metadata=b'{"repeated":1,"repeated":2}'))
    await fill(plane, project(), trace(metadata=b'{"tenant":"theirs"}'))

    async def keys(prefix: str = "", limit: int = 9) -> list[tuple[str, int]]:
        query = FacetQuery(FacetField.METADATA_KEY, prefix, limit, matching=matching)
        found = await plane.analytics.facets(ours, query)
        return [(one.value, one.count) for one in found]

    async def values(key: str, prefix: str = "", limit: int = 9) -> list[tuple[str, int]]:
        query = FacetQuery(FacetField.METADATA_VALUE, prefix, limit, key, matching)
        found = await plane.analytics.facets(ours, query)
        return [(one.value, one.count) for one in found]

    assert await keys("te") == [("tenant", 4), ("te", 1), ("te\x1fn", 1)]
    assert await keys("", 2) == [("tenant", 4), ("plan", 2)]
    assert await keys("k") == [("k" * MEMBER_KEY_CHARS_MAX, 1)]
    assert await keys("m", 1) == [("m000", 1)]
    assert await values("tenant") == [("north", 2), ("south", 1)]
    assert await values("tenant", "s", 1) == [("south", 1)]
    assert await values("plan") == [("1.0", 1), ("null", 1)]
    assert await values("te") == [("nant", 1)]
    assert await values("repeated") == [("2", 1), (text, 1)]
    assert await values("te\x1fn") == [("x", 1)]
    assert await values("") == await values("nested") == await values("k1") == []


async def test_filters_leave_values_of_other_traces_out(plane):
    ours = project()
    north, south = b'{"tenant":"north","plan":1}', b'{"tenant":"south"}'
    await fill(
        plane, ours,
        trace(span(model="m"), environment="prod", tags=("a", "b"), metadata=north, user_id="u"),
        trace(span(model="n"), environment="prod", tags=("a", "a"), metadata=south, session_id="s"),
        trace(environment="test", tags=("c",), metadata=north, user_id="u"),
    )  # fmt: skip
    await fill(plane, project(), trace(environment="prod", tags=("theirs",)))

    async def values(field: FacetField, key: str = "", **conditions) -> list[tuple[str, int]]:
        query = FacetQuery(field, key=key, matching=TraceFilter(**conditions))
        found = await plane.analytics.facets(ours, query)
        return [(one.value, one.count) for one in found]

    assert await values(FacetField.TAG, environment="prod") == [("a", 2), ("b", 1)]
    assert await values(FacetField.TAG, environment="prod", user_id="u") == [("a", 1), ("b", 1)]
    assert await values(FacetField.ENVIRONMENT, tags=("b", "c")) == [("prod", 1), ("test", 1)]
    assert await values(FacetField.MODEL, metadata=(("tenant", ("south",)),)) == [("n", 1)]
    assert await values(FacetField.USER, environment="prod") == [("u", 1)]
    assert await values(FacetField.SESSION, user_id="u") == []
    assert await values(FacetField.METADATA_KEY, session_id="s") == [("tenant", 1)]
    assert await values(FacetField.METADATA_VALUE, "tenant", user_id="u") == [("north", 2)]
    assert await values(FacetField.STATUS, environment="other") == []


@pytest.mark.service
async def test_values_of_more_traces_than_are_read_are_refused(pool):
    ours, matching = project(), TraceFilter(environment="prod")
    async with over_postgres(pool) as plane:
        some = [trace(environment="prod", metadata=b'{"plan":1}') for _ in range(3)]
        await fill(plane, ours, *some, trace())

    async def values(field: FacetField, of_others: int, of_metadata: int):
        query = FacetQuery(field, key="plan", matching=matching)
        most = {"filtered_max": of_others, "filtered_metadata_max": of_metadata}
        return await PostgresTraceAnalytics(pool, **most).facets(ours, query)

    assert await values(FacetField.NAME, 3, 2) == [FacetValue("run", 3)]
    with pytest.raises(Invalid, match="2 is the most"):
        await values(FacetField.NAME, 2, 3)
    for field, value in ((FacetField.METADATA_KEY, "plan"), (FacetField.METADATA_VALUE, "1")):
        assert await values(field, 2, 3) == [FacetValue(value, 3)]
        with pytest.raises(Invalid, match="2 is the most"):
            await values(field, 3, 2)


@settings(
    max_examples=scaled(10), deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    sent=st.lists(strategies.traces(), max_size=4, unique_by=lambda one: one.id),
    field=st.sampled_from(FacetField),
    prefix=st.sampled_from(["", "a", "é", "gpt", "C"]),
    limit=st.integers(1, 5),
    key=st.sampled_from(["", "a", "tenant"]),
    matching=st.just(ALL_TRACES) | trace_strategies.filters,
)
async def test_values_agree_with_the_traces(plane, sent, field, prefix, limit, key, matching):
    ours = project()
    await fill(plane, ours, *sent)
    whole = [await plane.traces.get(ours, one.id) for one in sent]
    query = FacetQuery(field, prefix, limit, key, matching)
    found = await plane.analytics.facets(ours, query)
    counts = count_values(filter(matching.matches, whole), field, key)
    assert list(found) == list(most_frequent(counts, prefix, limit))
