"""Values of fields for filters: the limits of the query."""

import pytest

from domain.tracing.facet_values import FACET_LIMIT_MAX, MEMBER_KEY_CHARS_MAX
from tests.http.conftest import Site, a_trace, field_errors


async def test_values_are_listed_by_frequency(site: Site, head: dict[str, str]) -> None:
    for environment in ("prod", "test", "prod"):
        body = a_trace(environment=environment)
        assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202
    found = await site.http.get("/traces/facets?field=environment", headers=head)
    assert found.json() == [{"value": "prod", "count": 2}, {"value": "test", "count": 1}]
    found = await site.http.get("/traces/facets?field=environment&prefix=t", headers=head)
    assert found.json() == [{"value": "test", "count": 1}]


async def test_conditions_narrow_the_values(site: Site, head: dict[str, str]) -> None:
    for environment, tag, plan in (
        ("prod", "a", "pro"),
        ("prod", "b", "free"),
        ("test", "a", "pro"),
    ):
        body = a_trace(environment=environment, tags=[tag], metadata={"plan": plan})
        assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202
    for query, values in (
        ("field=environment&tags=b", [{"value": "prod", "count": 1}]),
        ("field=tag&metadata.plan=pro", [{"value": "a", "count": 2}]),
        ("field=metadata_value&key=plan&environment=test", [{"value": "pro", "count": 1}]),
        ("field=tag&started_before=2020-01-01", []),
    ):
        found = await site.http.get(f"/traces/facets?{query}", headers=head)
        assert found.json() == values


async def test_metadata_is_completed_by_key_and_value(site: Site, head: dict[str, str]) -> None:
    for tenant in ("north", "north", "south"):
        body = a_trace(metadata={"tenant": tenant})
        assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202
    found = await site.http.get("/traces/facets?field=metadata_key", headers=head)
    assert found.json() == [{"value": "tenant", "count": 3}]
    path = "/traces/facets?field=metadata_value&key=tenant&prefix=n"
    assert (await site.http.get(path, headers=head)).json() == [{"value": "north", "count": 2}]


async def test_values_and_keys_may_have_invisible_characters(
    site: Site, head: dict[str, str]
) -> None:
    """Persian needs them, and neither names nor keys are refused for them."""
    text = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    body = a_trace(name=text, metadata={text: text})
    assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202
    for query in (f"field=name&prefix={text[:3]}", f"field=metadata_value&key={text}"):
        found = await site.http.get(f"/traces/facets?{query}", headers=head)
        assert found.json() == [{"value": text, "count": 1}]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "query.field"),
        ("field=other", "query.field"),
        (f"field=tag&limit={FACET_LIMIT_MAX + 1}", "query.limit"),
        ("field=tag&limit=0", "query.limit"),
        ("field=tag&prefix=%00", "query.prefix"),
        (f"field=tag&prefix={'x' * 256}", "query.prefix"),
        ("field=tag&key=tenant", "query.key"),
        ("field=metadata_value", "query.key"),
        ("field=tag&status=other", "query.status"),
        ("field=tag&score_min=0.5", "query.score_min"),
        (f"field=metadata_value&key={'x' * (MEMBER_KEY_CHARS_MAX + 1)}", "query.key"),
    ],
)
async def test_query_is_bounded(site: Site, head: dict[str, str], query: str, field: str) -> None:
    answer = await site.http.get(f"/traces/facets?{query}", headers=head)
    assert list(field_errors(answer)) == [field]
