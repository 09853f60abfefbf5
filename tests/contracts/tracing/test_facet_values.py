"""Part of the contract of TraceAnalytics: values of fields, the most frequent first."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.tracing.facet_values import FacetField, FacetValue, count_values, most_frequent
from tests.support.builders import strategies
from tests.support.builders.values import span, trace
from tests.support.fixtures.data_plane import fill, project
from tests.support.hypothesis_scale import scaled


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
        return list(await plane.analytics.facets(ours, field, prefix, limit))

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


@settings(
    max_examples=scaled(10), deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    sent=st.lists(strategies.traces(), max_size=4, unique_by=lambda one: one.id),
    field=st.sampled_from(FacetField),
    prefix=st.sampled_from(["", "a", "é", "gpt", "C"]),
    limit=st.integers(1, 5),
)
async def test_values_agree_with_the_traces(plane, sent, field, prefix, limit):
    ours = project()
    await fill(plane, ours, *sent)
    whole = [await plane.traces.get(ours, one.id) for one in sent]
    found = await plane.analytics.facets(ours, field, prefix, limit)
    assert list(found) == list(most_frequent(count_values(whole, field), prefix, limit))
