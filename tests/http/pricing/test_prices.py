"""Prices over HTTP."""

import uuid
from typing import Any

import pytest

from application.use_cases import UseCases
from domain.identity.organization import Role
from domain.ids import ProjectId
from domain.pricing.model_price import PRICES_MAX
from tests.http.conftest import Site, a_span, a_trace
from tests.support.builders.values import NOON
from tests.support.clients.organization_members import new_member
from tests.support.waiting import until_done

ID = "5b0e6f0a-8f1e-4c55-9a53-2f6f3a6f7d10"
USAGE = {"prompt_tokens": 1_000_000, "completion_tokens": 0}


async def test_span_prices_have_source_and_version(site: Site) -> None:
    spans = [
        a_span(model="gpt-4o", token_usage=USAGE),
        a_span(model="gpt-4o", token_usage=USAGE, cost={"total": 7.5}),
        a_span(model="unlisted", token_usage=USAGE),
        a_span(),
    ]
    trace = a_trace(trace_id=ID, spans=spans)
    await site.http.post("/traces", headers=site.headers(), json=trace)
    answer = await site.http.get(f"/traces/{ID}/prices", headers=site.headers())
    price = {"amount": 2.5, "version": "memory", "effective_from": None}
    body = {
        (one["cost_source"], one["amount"], one["model"]): one["price"] for one in answer.json()
    }
    assert body == {
        ("table", 2.5, "gpt-4o"): price,
        ("client", 7.5, "gpt-4o"): price,
        ("unpriced", None, "unlisted"): None,
        ("unpriced", None, None): None,
    }


async def test_prices_of_an_unknown_trace_are_404(site: Site) -> None:
    assert (await site.http.get(f"/traces/{ID}/prices", headers=site.headers())).status_code == 404
    assert (await site.http.get("/traces/x/prices", headers=site.headers())).status_code == 422


# --- prices of a project -------------------------------------------------------------------------

OWN = {"match": "our-*", "input": "0.20", "output": "4"}


def admin_of(site: Site, role: Role = Role.ADMIN) -> dict[str, str]:
    """The headers of a new member for the project of `site.headers()`, which is created."""
    [project] = site.store.projects
    bearer = new_member(site, site.organization, f"{role}@example.com", role).bearer
    return bearer | {"x-project-id": str(project)}


async def admin_head(site: Site) -> dict[str, str]:
    await site.http.get("/model-prices", headers=site.headers())  # creates the project
    return admin_of(site)


async def made(site: Site, head: dict[str, str], **overrides: Any) -> Any:
    answer = await site.http.post("/model-prices", headers=head, json=OWN | overrides)
    assert answer.status_code == 201
    return answer.json()


async def stored(site: Site, head: dict[str, str], *spans: dict[str, Any]) -> None:
    answer = await site.http.post("/traces", headers=head, json=a_trace(trace_id=ID, spans=spans))
    assert answer.status_code == 202


def a_used(model: str, **overrides: Any) -> dict[str, Any]:
    return a_span(model=model, token_usage=USAGE, started_at="2026-03-01T12:00:00Z", **overrides)


async def test_created_price_is_listed_as_sent(site: Site) -> None:
    head = await admin_head(site)
    period = {"effective_from": "2026-03-01", "effective_to": "2026-03-02T00:00:00+02:00"}
    one = await made(site, head, cache_read="0.000000000001", cache_write="999999", **period)
    assert (one["input"], one["output"], one["match"]) == ("0.20", "4", "our-*")
    assert (one["cache_read"], one["cache_write"]) == ("0.000000000001", "999999")
    assert (one["effective_from"], one["effective_to"]) == (
        "2026-03-01T00:00:00+00:00",
        "2026-03-01T22:00:00+00:00",
    )
    newer = await made(site, head, match="our-2")
    listed = await site.http.get("/model-prices", headers=head)
    assert listed.json() == [newer, one]


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"match": ""}, "match"),
        ({"match": "m" * 256}, "match"),
        ({"match": "a\x00"}, "match"),
        ({"input": 0.2}, "input"),
        ({"input": "-1"}, "input"),
        ({"input": "1e3"}, "input"),
        ({"input": "NaN"}, "input"),
        ({"output": "1000000"}, "output"),
        ({"output": None}, "output"),
        ({"cache_read": "01"}, "cache_read"),
        ({"cache_write": "0.0000000000001"}, "cache_write"),
        ({"effective_from": "May"}, "effective_from"),
        ({"effective_from": "2026-03-01", "effective_to": "2026-03-01"}, "effective_to"),
    ],
)
async def test_invalid_price_is_named_by_field(
    site: Site, said: dict[str, Any], field: str
) -> None:
    head = await admin_head(site)
    answer = await site.http.post("/model-prices", headers=head, json=OWN | said)
    assert answer.status_code == 422
    assert [one["field"] for one in answer.json()["errors"]] == [field]


async def test_price_needs_the_right_that_budgets_need(site: Site) -> None:
    """Otherwise a price of 0 would evade the budget."""
    admin = await admin_head(site)
    for head in (site.headers(), admin_of(site, Role.MEMBER)):
        refused = await site.http.post("/model-prices", headers=head, json=OWN)
        assert refused.status_code == 403
        assert "change prices" in refused.json()["detail"]
    one = await made(site, admin)
    for head in (site.headers(), admin_of(site, Role.MEMBER)):
        path = f"/model-prices/{one['id']}"
        assert (await site.http.delete(path, headers=head)).status_code == 403
    await made(site, admin_of(site, Role.OWNER))


async def test_price_limit_per_project_is_enforced(site: Site) -> None:
    head = await admin_head(site)
    for _ in range(PRICES_MAX):
        await made(site, head)
    answer = await site.http.post("/model-prices", headers=head, json=OWN)
    assert (answer.status_code, "delete one" in answer.text) == (409, True)


async def test_repeated_request_creates_one_price(site: Site) -> None:
    head = await admin_head(site) | {"idempotency-key": "k"}
    assert await made(site, head) == await made(site, head)
    assert len((await site.http.get("/model-prices", headers=head)).json()) == 1


async def test_price_can_be_deleted_once(site: Site) -> None:
    head = await admin_head(site)
    one = await made(site, head)
    path = f"/model-prices/{one['id']}"
    assert (await site.http.delete(path, headers=head)).status_code == 204
    assert (await site.http.delete(path, headers=head)).status_code == 404
    assert (await site.http.get("/model-prices", headers=head)).json() == []


async def test_unpriced_models_are_listed(site: Site) -> None:
    head = site.headers()
    await stored(site, head, a_used("our-1"), a_used("our-1"), a_used("gpt-4o"), a_used("rare"))
    [project] = site.store.projects
    seen = site.store.traces[project, next(iter(site.store.traces))[1]].spans[0].started_at
    site.now = seen
    answer = await site.http.get("/model-prices/unpriced?days=1", headers=head)
    assert [(one["model"], one["spans"]) for one in answer.json()] == [("our-1", 2), ("rare", 1)]
    for days in ("0", "91", "x"):
        wrong = await site.http.get(f"/model-prices/unpriced?days={days}", headers=head)
        assert wrong.json()["errors"][0]["field"] == "query.days"


# --- repricing -----------------------------------------------------------------------------------


async def repriced(site: Site, head: dict[str, str], **overrides: Any) -> Any:
    """The result of a repricing after a worker has run it."""
    begun = await site.http.post("/model-prices/reprice", headers=head, json=overrides)
    assert (begun.status_code, begun.json()["status"]) == (202, "PENDING")
    await until_done(UseCases(site.ports).pricing.reprice_spans)
    path = f"/model-prices/reprice/{begun.json()['id']}"
    return (await site.http.get(path, headers=head)).json()


async def test_dry_run_predicts_the_difference_of_the_run(site: Site) -> None:
    head = site.headers()
    await stored(site, head, a_used("our-1"), a_used("gpt-4o"), a_used("our-1", cost={"total": 9}))
    price = await made(site, admin_of(site), input="3")
    dry = await repriced(site, head)
    total = {"spans": 2, "changed": 1, "cost_before": 2.5, "cost_after": 5.5}
    assert {name: dry[name] for name in total} == total
    assert (dry["status"], dry["dry_run"], dry["from"], dry["to"]) == (
        "COMPLETED",
        True,
        None,
        None,
    )
    assert [(one["model"], one["cost_after"]) for one in dry["by_model"]] == [
        ("gpt-4o", 2.5),
        ("our-1", 3.0),
    ]
    [change] = dry["sample"]
    assert change["before"] == {"cost_source": "unpriced", "amount": None, "version": None}
    version = f"project {price['id']}"
    assert change["after"] == {"cost_source": "table", "amount": 3.0, "version": version}
    assert (await site.http.get(f"/traces/{ID}", headers=head)).json()["total_cost"] == 11.5
    done = await repriced(site, head, dry_run=False)
    assert {name: done[name] for name in (*total, "by_model", "sample")} == {
        name: dry[name] for name in (*total, "by_model", "sample")
    }
    trace = (await site.http.get(f"/traces/{ID}", headers=head)).json()
    assert trace["total_cost"] == 14.5
    assert (await repriced(site, head, dry_run=False))["changed"] == 0


async def test_only_spans_of_period_and_models_are_repriced(site: Site) -> None:
    head = site.headers()
    await stored(site, head, a_used("our-1"), a_used("our-2"))
    before = await repriced(site, head, to="2026-03-01T12:00:00Z")
    within = await repriced(site, head, **{"from": "2026-03-01T12:00:00Z"}, models=["our-2"])
    assert (before["spans"], within["spans"], within["models"]) == (0, 1, ["our-2"])
    assert within["from"] == "2026-03-01T12:00:00+00:00"


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"from": "May"}, "from"),
        ({"from": "2026-03-02", "to": "2026-03-01"}, "to"),
        ({"models": ["m"] * 101}, "models"),
        ({"models": [""]}, "models.0"),
        ({"dry_run": "perhaps"}, "dry_run"),
    ],
)
async def test_invalid_repricing_is_named_by_field(
    site: Site, said: dict[str, Any], field: str
) -> None:
    answer = await site.http.post("/model-prices/reprice", headers=site.headers(), json=said)
    assert answer.status_code == 422
    assert [one["field"] for one in answer.json()["errors"]] == [field]


async def test_second_repricing_at_the_same_time_is_409(site: Site) -> None:
    head = site.headers()
    for status in (202, 409):
        answer = await site.http.post("/model-prices/reprice", headers=head, json={})
        assert answer.status_code == status
    missing = await site.http.get(f"/model-prices/reprice/{ID}", headers=head)
    assert missing.status_code == 404


async def test_failed_repricing_has_advice(site: Site) -> None:
    head, repricings = site.headers(), site.ports.pricing.repricings
    begun = (await site.http.post("/model-prices/reprice", headers=head, json={})).json()
    assert begun["error_message"] is None
    stuck = await repricings.get(ProjectId(uuid.UUID(begun["project_id"])), uuid.UUID(begun["id"]))
    await repricings.fail(stuck.failed(NOON))
    path = f"/model-prices/reprice/{begun['id']}"
    body = (await site.http.get(path, headers=head)).json()
    assert (body["status"], body["completed_at"]) == ("FAILED", NOON.isoformat())
    assert "by `from`, `to` or `models`" in body["error_message"]
    again = await site.http.post("/model-prices/reprice", headers=head, json={})
    assert again.status_code == 202
