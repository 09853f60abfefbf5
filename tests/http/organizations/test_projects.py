"""Projects, as people manage them."""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest

from tests.http.conftest import Site, a_trace, mistakes
from tests.http.organizations.test_organizations import NAMES, NO_NAMES
from tests.support.builders.values import NOON
from tests.support.clients.organization_members import Somebody, somebody


@pytest.fixture
def ada(site: Site) -> Somebody:
    site.now = NOON
    return somebody(site, "ada@example.com")


@pytest.fixture
async def ours(ada: Somebody) -> str:
    """The path of the projects of an organization of Ada's."""
    made = await ada.did("POST", "/organizations", {"name": "Acme"})
    return f"/organizations/{made['id']}/projects"


async def test_its_fields(ada: Somebody, ours: str) -> None:
    made = await ada.did("POST", ours, {"name": " shop ", "description": " Sells \n things\t"})
    assert made == {
        "id": made["id"],
        "org_id": ours.split("/")[2],
        "name": "shop",
        "description": "Sells \n things",
        "created_at": "2026-03-01T12:00:00+00:00",
        "retention_days": None,
    }
    assert await ada.got(f"{ours}/{made['id']}") == made
    assert made in await ada.got(ours)
    assert (await ada.did("POST", ours, {"name": "bare"}))["description"] == ""


async def test_newest_first(site: Site, ada: Somebody, ours: str) -> None:
    for second, name in enumerate(("one", "two", "three"), 1):
        site.now = NOON + timedelta(seconds=second)
        await ada.did("POST", ours, {"name": name})
    names = [one["name"] for one in await ada.got(ours)]
    assert names == ["three", "two", "one", "onboarding"]


@pytest.mark.parametrize("name", NAMES)
async def test_names(ada: Somebody, ours: str, name: str) -> None:
    made = await ada.did("POST", ours, {"name": name})
    assert made["name"] == name.strip()
    assert (await ada("POST", ours, {"name": name.strip()})).status_code == 409


@pytest.mark.parametrize("name", NO_NAMES, ids=repr)
async def test_no_names(ada: Somebody, ours: str, name: Any) -> None:
    [project] = await ada.got(ours)
    assert set(mistakes(await ada("POST", ours, {"name": name}))) == {"name"}
    refused = await ada("PATCH", f"{ours}/{project['id']}", {"name": name})
    assert set(mistakes(refused)) == {"name"}


@pytest.mark.parametrize("text", ["", "   ", "a\tb\r\nc", f" {'d' * 2000}\n", "\N{SNOWMAN}", "<b>"])
async def test_descriptions(ada: Somebody, ours: str, text: str) -> None:
    made = await ada.did("POST", ours, {"name": "shop", "description": text})
    assert made["description"] == text.strip()
    path = f"{ours}/{made['id']}"
    await ada.did("PATCH", path, {"description": "other"})
    assert (await ada.did("PATCH", path, {"description": text}))["description"] == text.strip()


@pytest.mark.parametrize("text", ["d" * 2001, "a\0", "a\x07b", "a\x7fb", "a\x85b", "\ud800", 1])
async def test_no_descriptions(ada: Somebody, ours: str, text: Any) -> None:
    [project] = await ada.got(ours)
    for method, path in (("POST", ours), ("PATCH", f"{ours}/{project['id']}")):
        refused = await ada(method, path, {"name": "shop", "description": text})
        assert set(mistakes(refused)) == {"description"}


async def test_all_mistakes_come_together(ada: Somebody, ours: str) -> None:
    [project] = await ada.got(ours)
    bad = {"name": "-", "description": "a\x07b"}
    for method, path in (("POST", ours), ("PATCH", f"{ours}/{project['id']}")):
        assert set(mistakes(await ada(method, path, bad))) == {"name", "description"}
    assert set(mistakes(await ada("POST", ours, {"description": None}))) == {
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
async def test_what_is_left_out_or_null_stays(
    site: Site, ada: Somebody, ours: str, body: Any, changed: Any
) -> None:
    made = await ada.did("POST", ours, {"name": "shop", "description": "old"})
    path = f"{ours}/{made['id']}"
    site.now = NOON + timedelta(seconds=1)
    assert await ada.did("PATCH", path, body) == made | changed
    assert await ada.got(path) == made | changed
    log = await ada.got(ours.replace("projects", "audit-log"))
    assert (log["items"][0]["action"] == "project.changed") is bool(changed)


async def test_a_name_that_is_taken(ada: Somebody, ours: str) -> None:
    answers = await asyncio.gather(*(ada("POST", ours, {"name": "shop"}) for _ in range(5)))
    assert sorted(one.status_code for one in answers) == [201] + [409] * 4
    other = await ada.did("POST", ours, {"name": "Shop"})  # case counts
    taken = await ada("PATCH", f"{ours}/{other['id']}", {"name": "shop", "description": "lost"})
    assert taken.status_code == 409
    assert await ada.got(f"{ours}/{other['id']}") == other
    elsewhere = await ada.did("POST", "/organizations", {"name": "Other"})
    await ada.did("POST", f"/organizations/{elsewhere['id']}/projects", {"name": "shop"})


async def test_its_end_takes_its_data_along(site: Site, ada: Somebody, ours: str) -> None:
    made = await ada.did("POST", ours, {"name": "shop"})
    keys = ours.replace("projects", "api-keys")
    key = await ada.did("POST", keys, {"name": "k"})
    data = {"x-api-key": key["raw_key"], "x-project-name": "shop"}
    assert (await site.http.post("/traces", headers=data, json=a_trace())).status_code == 202
    path = f"{ours}/{made['id']}"
    await ada.did("DELETE", path)
    for method in ("GET", "DELETE"):
        assert (await ada(method, path)).status_code == 404
    assert (await ada("PATCH", path, {})).status_code == 404
    assert (await ada("GET", "/traces", x_project_id=made["id"])).status_code == 404
    [left] = await ada.got(ours)
    assert left["name"] == "onboarding"
    assert (await ada.got(f"{keys}/{key['id']}"))["is_active"] is True
    # The same name is a new project now, and empty.
    site.now = NOON + timedelta(seconds=1)
    assert (await site.http.get("/traces", headers=data)).json()["total"] == 0
    [new, _] = await ada.got(ours)
    assert (new["name"], new["id"] != made["id"]) == ("shop", True)


async def test_a_renamed_project_keeps_its_data(site: Site, ada: Somebody, ours: str) -> None:
    made = await ada.did("POST", ours, {"name": "shop"})
    key = await ada.did("POST", ours.replace("projects", "api-keys"), {"name": "k"})
    data = {"x-api-key": key["raw_key"]}
    old, new = data | {"x-project-name": "shop"}, data | {"x-project-name": "store"}
    assert (await site.http.post("/traces", headers=old, json=a_trace())).status_code == 202
    await ada.did("PATCH", f"{ours}/{made['id']}", {"name": "store"})
    assert (await site.http.get("/traces", headers=new)).json()["total"] == 1
    assert (await site.http.get("/traces", headers=old)).json()["total"] == 0


async def test_one_that_programs_made_is_there_too(site: Site, ada: Somebody, ours: str) -> None:
    key = await ada.did("POST", ours.replace("projects", "api-keys"), {"name": "k"})
    data = {"x-api-key": key["raw_key"], "x-project-name": "by name"}
    assert (await site.http.get("/traces", headers=data)).status_code == 200
    made = {one["name"]: one for one in await ada.got(ours)}["by name"]
    assert made["description"] == ""
    assert (await ada("POST", ours, {"name": "by name"})).status_code == 409
    assert (await ada("GET", f"{ours}/{uuid.uuid4()}")).status_code == 404


async def test_how_long_traces_are_kept(site: Site, ada: Somebody, ours: str) -> None:
    made = await ada.did("POST", ours, {"name": "shop"})
    path, log = f"{ours}/{made['id']}", ours.replace("projects", "audit-log")
    for days, told in ((30, {"from": "for ever", "to": "30 days"}), (None, {"to": "for ever"})):
        site.now = site.now + timedelta(seconds=1)
        kept = await ada.did("PUT", f"{path}/retention", {"days": days})
        assert kept == made | {"retention_days": days}
        assert await ada.got(path) == kept
        entry = (await ada.got(log))["items"][0]
        assert entry["action"] == "project.retention_changed"
        assert entry["detail"].items() >= told.items()
    entries = (await ada.got(log))["total"]
    await ada.did("PUT", f"{path}/retention", {"days": None})  # as it was
    assert (await ada.got(log))["total"] == entries


async def test_another_change_leaves_how_long_traces_are_kept(ada: Somebody, ours: str) -> None:
    made = await ada.did("POST", ours, {"name": "shop"})
    await ada.did("PUT", f"{ours}/{made['id']}/retention", {"days": 3650})
    changed = await ada.did("PATCH", f"{ours}/{made['id']}", {"description": "new"})
    assert changed["retention_days"] == 3650


@pytest.mark.parametrize("days", [0, -1, 3651, 1.5, "x", True, [30]])
async def test_no_numbers_of_days(ada: Somebody, ours: str, days: Any) -> None:
    [project] = await ada.got(ours)
    refused = await ada("PUT", f"{ours}/{project['id']}/retention", {"days": days})
    assert set(mistakes(refused)) == {"days"}
    assert set(mistakes(await ada("PUT", f"{ours}/{project['id']}/retention", {}))) == {"days"}
    assert (await ada.got(f"{ours}/{project['id']}"))["retention_days"] is None
