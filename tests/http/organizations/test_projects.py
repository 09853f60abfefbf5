"""Projects: their management."""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest

from tests.http.conftest import Site, a_span, a_trace, field_errors
from tests.http.organizations.test_organizations import NAMES, NO_NAMES
from tests.support.builders.values import NOON
from tests.support.clients.organization_members import PersonClient


@pytest.fixture
async def ours(ada: PersonClient) -> str:
    """The path of the projects of an organization that Ada owns."""
    made = await ada.call("POST", "/organizations", {"name": "Acme"})
    return f"/organizations/{made['id']}/projects"


async def test_fields_of_a_project(ada: PersonClient, ours: str) -> None:
    made = await ada.call("POST", ours, {"name": " shop ", "description": " Sells \n things\t"})
    assert made == {
        "id": made["id"],
        "org_id": ours.split("/")[2],
        "name": "shop",
        "description": "Sells \n things",
        "created_at": "2026-03-01T12:00:00+00:00",
        "retention_days": None,
    }
    assert await ada.read(f"{ours}/{made['id']}") == made | {"warnings": []}
    assert made in await ada.read(ours)
    assert (await ada.call("POST", ours, {"name": "bare"}))["description"] == ""


async def test_list_is_sorted_newest_first(site: Site, ada: PersonClient, ours: str) -> None:
    for second, name in enumerate(("one", "two", "three"), 1):
        site.now = NOON + timedelta(seconds=second)
        await ada.call("POST", ours, {"name": name})
    names = [one["name"] for one in await ada.read(ours)]
    assert names == ["three", "two", "one", "onboarding"]


@pytest.mark.parametrize("name", NAMES)
async def test_valid_names_are_accepted(ada: PersonClient, ours: str, name: str) -> None:
    made = await ada.call("POST", ours, {"name": name})
    assert made["name"] == name.strip()
    assert (await ada("POST", ours, {"name": name.strip()})).status_code == 409


@pytest.mark.parametrize("name", NO_NAMES, ids=repr)
async def test_invalid_names_are_refused(ada: PersonClient, ours: str, name: Any) -> None:
    [project] = await ada.read(ours)
    assert set(field_errors(await ada("POST", ours, {"name": name}))) == {"name"}
    refused = await ada("PATCH", f"{ours}/{project['id']}", {"name": name})
    assert set(field_errors(refused)) == {"name"}


@pytest.mark.parametrize("text", ["", "   ", "a\tb\r\nc", f" {'d' * 2000}\n", "\N{SNOWMAN}", "<b>"])
async def test_valid_descriptions_are_accepted(ada: PersonClient, ours: str, text: str) -> None:
    made = await ada.call("POST", ours, {"name": "shop", "description": text})
    assert made["description"] == text.strip()
    path = f"{ours}/{made['id']}"
    await ada.call("PATCH", path, {"description": "other"})
    assert (await ada.call("PATCH", path, {"description": text}))["description"] == text.strip()


@pytest.mark.parametrize("text", ["d" * 2001, "a\0", "a\x07b", "a\x7fb", "a\x85b", "\ud800", 1])
async def test_invalid_descriptions_are_refused(ada: PersonClient, ours: str, text: Any) -> None:
    [project] = await ada.read(ours)
    for method, path in (("POST", ours), ("PATCH", f"{ours}/{project['id']}")):
        refused = await ada(method, path, {"name": "shop", "description": text})
        assert set(field_errors(refused)) == {"description"}


async def test_all_field_errors_are_reported_together(ada: PersonClient, ours: str) -> None:
    [project] = await ada.read(ours)
    bad = {"name": "-", "description": "a\x07b"}
    for method, path in (("POST", ours), ("PATCH", f"{ours}/{project['id']}")):
        assert set(field_errors(await ada(method, path, bad))) == {"name", "description"}
    assert set(field_errors(await ada("POST", ours, {"description": None}))) == {
        "name",
        "description",
    }


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        ({}, {}),
        ({"name": None, "description": None}, {}),
        ({"name": "new"}, {"name": "new"}),
        ({"description": "new"}, {"description": "new"}),
        ({"description": ""}, {"description": ""}),
        ({"name": "shop", "description": "old"}, {}),
        ({"name": "new", "description": "newer"}, {"name": "new", "description": "newer"}),
    ],
)
async def test_null_or_missing_fields_change_nothing(
    site: Site, ada: PersonClient, ours: str, body: Any, changed: Any
) -> None:
    made = await ada.call("POST", ours, {"name": "shop", "description": "old"})
    path = f"{ours}/{made['id']}"
    site.now = NOON + timedelta(seconds=1)
    assert await ada.call("PATCH", path, body) == made | changed
    assert await ada.read(path) == made | changed | {"warnings": []}
    log = await ada.read(ours.replace("projects", "audit-log"))
    assert (log["items"][0]["action"] == "project.changed") is bool(changed)


async def test_taken_name_is_409(ada: PersonClient, ours: str) -> None:
    answers = await asyncio.gather(*(ada("POST", ours, {"name": "shop"}) for _ in range(5)))
    assert sorted(one.status_code for one in answers) == [201] + [409] * 4
    other = await ada.call("POST", ours, {"name": "Shop"})  # case counts
    taken = await ada("PATCH", f"{ours}/{other['id']}", {"name": "shop", "description": "lost"})
    assert taken.status_code == 409
    assert await ada.read(f"{ours}/{other['id']}") == other | {"warnings": []}
    elsewhere = await ada.call("POST", "/organizations", {"name": "Other"})
    await ada.call("POST", f"/organizations/{elsewhere['id']}/projects", {"name": "shop"})


async def test_deleted_project_hides_its_data(site: Site, ada: PersonClient, ours: str) -> None:
    made = await ada.call("POST", ours, {"name": "shop"})
    keys = ours.replace("projects", "api-keys")
    key = await ada.call("POST", keys, {"name": "k"})
    data = {"x-api-key": key["raw_key"], "x-project-name": "shop"}
    assert (await site.http.post("/traces", headers=data, json=a_trace())).status_code == 202
    path = f"{ours}/{made['id']}"
    await ada.call("DELETE", path)
    for method in ("GET", "DELETE"):
        assert (await ada(method, path)).status_code == 404
    assert (await ada("PATCH", path, {})).status_code == 404
    assert (await ada("GET", "/traces", x_project_id=made["id"])).status_code == 404
    [left] = await ada.read(ours)
    assert left["name"] == "onboarding"
    assert (await ada.read(f"{keys}/{key['id']}"))["is_active"] is True
    # The same name is a new, empty project now.
    site.now = NOON + timedelta(seconds=1)
    assert (await site.http.get("/traces", headers=data)).json()["total"] == 0
    [new, _] = await ada.read(ours)
    assert (new["name"], new["id"] != made["id"]) == ("shop", True)


async def test_renamed_project_keeps_its_data(site: Site, ada: PersonClient, ours: str) -> None:
    made = await ada.call("POST", ours, {"name": "shop"})
    key = await ada.call("POST", ours.replace("projects", "api-keys"), {"name": "k"})
    data = {"x-api-key": key["raw_key"]}
    old, new = data | {"x-project-name": "shop"}, data | {"x-project-name": "store"}
    assert (await site.http.post("/traces", headers=old, json=a_trace())).status_code == 202
    await ada.call("PATCH", f"{ours}/{made['id']}", {"name": "store"})
    assert (await site.http.get("/traces", headers=new)).json()["total"] == 1
    assert (await site.http.get("/traces", headers=old)).json()["total"] == 0


async def test_project_created_by_a_key_is_listed(site: Site, ada: PersonClient, ours: str) -> None:
    key = await ada.call("POST", ours.replace("projects", "api-keys"), {"name": "k"})
    data = {"x-api-key": key["raw_key"], "x-project-name": "by name"}
    assert (await site.http.get("/traces", headers=data)).status_code == 200
    made = {one["name"]: one for one in await ada.read(ours)}["by name"]
    assert made["description"] == ""
    assert (await ada("POST", ours, {"name": "by name"})).status_code == 409
    assert (await ada("GET", f"{ours}/{uuid.uuid4()}")).status_code == 404


async def test_spans_that_came_both_ways_are_a_warning(
    site: Site, ada: PersonClient, ours: str
) -> None:
    made = await ada.call("POST", ours, {"name": "shop"})
    key = await ada.call("POST", ours.replace("projects", "api-keys"), {"name": "k"})
    data = {"x-api-key": key["raw_key"], "x-project-name": "shop"}
    start_ns = int(NOON.timestamp()) * 1_000_000_000
    span = {"traceId": "1" * 32, "spanId": "1" * 16, "startTimeUnixNano": str(start_ns)}
    sent = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    assert (await site.http.post("/v1/traces", headers=data, json=sent)).status_code == 200
    assert (await ada.read(f"{ours}/{made['id']}"))["warnings"] == []
    native = a_trace(spans=[a_span(started_at=NOON.isoformat())])
    assert (await site.http.post("/traces", headers=data, json=native)).status_code == 202
    [warning] = (await ada.read(f"{ours}/{made['id']}"))["warnings"]
    assert (warning["code"], "counts twice" in warning["message"]) == ("native_and_otlp", True)


async def test_retention_is_set_and_removed(site: Site, ada: PersonClient, ours: str) -> None:
    made = await ada.call("POST", ours, {"name": "shop"})
    path, log = f"{ours}/{made['id']}", ours.replace("projects", "audit-log")
    for days, reported in ((30, {"from": "for ever", "to": "30 days"}), (None, {"to": "for ever"})):
        site.now = site.now + timedelta(seconds=1)
        kept = await ada.call("PUT", f"{path}/retention", {"days": days})
        assert kept == made | {"retention_days": days}
        assert await ada.read(path) == kept | {"warnings": []}
        entry = (await ada.read(log))["items"][0]
        assert entry["action"] == "project.retention_changed"
        assert entry["detail"].items() >= reported.items()
    entries = (await ada.read(log))["total"]
    await ada.call("PUT", f"{path}/retention", {"days": None})  # unchanged
    assert (await ada.read(log))["total"] == entries


async def test_other_changes_keep_the_retention(ada: PersonClient, ours: str) -> None:
    made = await ada.call("POST", ours, {"name": "shop"})
    await ada.call("PUT", f"{ours}/{made['id']}/retention", {"days": 3650})
    changed = await ada.call("PATCH", f"{ours}/{made['id']}", {"description": "new"})
    assert changed["retention_days"] == 3650


@pytest.mark.parametrize("days", [0, -1, 3651, 1.5, "x", True, [30]])
async def test_invalid_retention_is_refused(ada: PersonClient, ours: str, days: Any) -> None:
    [project] = await ada.read(ours)
    refused = await ada("PUT", f"{ours}/{project['id']}/retention", {"days": days})
    assert set(field_errors(refused)) == {"days"}
    assert set(field_errors(await ada("PUT", f"{ours}/{project['id']}/retention", {}))) == {"days"}
    assert (await ada.read(f"{ours}/{project['id']}"))["retention_days"] is None


async def test_a_list_shows_what_happens_in_each_project(
    site: Site, ada: PersonClient, ours: str
) -> None:
    site.now += timedelta(seconds=1)
    made = await ada.call("POST", ours, {"name": "shop"})
    head = ada.bearer | {"x-project-id": made["id"], "x-organization-id": made["org_id"]}
    failed = a_trace(status="ERROR", started_at="2026-03-01T11:30:00Z")
    assert (await site.http.post("/traces", json=failed, headers=head)).status_code == 202
    shop, onboarding = await ada.read(f"{ours}?include=activity")
    shown = shop.pop("activity")
    assert shop == made
    buckets = shown.pop("buckets")
    assert shown == {
        "started_after": "2026-02-22T13:00:00+00:00",
        "started_before": "2026-03-01T13:00:00+00:00",
        "trace_count": 1,
        "error_count": 1,
        "recent_trace_count": 1,
        "recent_error_count": 1,
        "total_cost": 0.0,
        "unpriced_span_count": 0,
        "last_trace_at": "2026-03-01T11:30:00+00:00",
        "alerting_count": 0,
    }
    assert len(buckets) == 28
    assert buckets[-1] == {
        "bucket": "2026-03-01T07:00:00+00:00",
        "trace_count": 1,
        "error_count": 1,
    }
    assert onboarding["activity"]["last_trace_at"] is None
    assert "activity" not in (await ada.read(ours))[0]
    refused = await ada("GET", f"{ours}?include=activities")
    assert set(field_errors(refused)) == {"query.include"}
