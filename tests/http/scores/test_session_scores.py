"""Scores of sessions: created, listed, deleted."""

import uuid
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest

from domain.identity.organization import Role
from tests.http.conftest import Site, field_errors
from tests.support.builders.values import NOON
from tests.support.clients.scored_project import SESSIONS, ScoredProject

FIELDS = [
    *("id", "project_id", "name", "value", "data_type", "source", "status", "outcome"),
    *("eval_run_id", "author_user_id", "reason", "metadata", "created_at", "updated_at"),
    "session_id",
]


@pytest.fixture
async def shop(either: Site) -> ScoredProject:
    return await ScoredProject.new(either)


def of(session: str) -> str:
    return f"{SESSIONS}/{quote(session, safe='')}"


async def test_created_score_is_returned(shop: ScoredProject) -> None:
    score = await shop.add_session_score(reason="r", metadata={"a": 1})
    assert list(score) == FIELDS
    assert (score["session_id"], score["value"], score["status"]) == (
        shop.session,
        "0.5",
        "SUCCESS",
    )
    assert (score["reason"], score["metadata"]) == ("r", {"a": 1})
    assert await shop.read(of(shop.session)) == [score]
    assert (await shop.read(SESSIONS))["items"] == [score]


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        ({"session_id": "x" * 256, "value": "2"}, {"session_id", "value"}),
        ({"session_id": None}, {"session_id"}),
        ({"session_id": 5, "value": 5}, {"session_id", "value"}),
        ({"session_id": "a\0", "name": ""}, {"session_id", "name"}),
    ],
)
async def test_all_field_errors_are_reported_together(
    shop: ScoredProject, said: dict[str, Any], fields: set[str]
) -> None:
    body = {"session_id": shop.session, "name": "n", "value": "1"} | said
    assert set(field_errors(await shop("POST", SESSIONS, body))) == fields


async def test_unknown_session_is_404(shop: ScoredProject) -> None:
    other = await ScoredProject.new(shop.site)
    for session in ("nowhere", "", other.session, shop.session.upper()):
        body = {"session_id": session, "name": "n", "value": "1"}
        assert (await shop("POST", SESSIONS, body)).status_code == 404


async def test_deleting_the_session_deletes_its_scores(shop: ScoredProject) -> None:
    await shop.add_session_score()
    gone = await shop("DELETE", f"/sessions/{quote(shop.session, safe='')}")
    assert gone.json() == {"deleted": 1}
    assert (await shop.read(SESSIONS))["total"] == 0


async def test_scores_of_a_session_are_listed_newest_first(shop: ScoredProject) -> None:
    await shop.store_trace(session_id="another")
    for minute, name in enumerate("abab"):
        shop.site.now = NOON + timedelta(minutes=minute)
        await shop.add_session_score(name=name, value=f"0.{minute}")
    await shop.add_session_score(session_id="another")
    found = await shop.read(of(shop.session))
    assert [one["value"] for one in found] == ["0.3", "0.2", "0.1", "0.0"]
    assert await shop.read(of("nowhere")) == []


async def test_each_filter_applies(shop: ScoredProject) -> None:
    await shop.store_trace(session_id="other")
    shop.site.now = NOON
    await shop.add_session_score(name="a", source="PROGRAMMATIC")
    shop.site.now = NOON + timedelta(hours=1)
    await shop.add_session_score(name="b", session_id="other", data_type="CATEGORICAL")
    for query in (
        *("session_id=other", "name=b", "source=ANNOTATION", "data_type=CATEGORICAL"),
        *("date_from=2026-03-01T13:00:00Z", "limit=1"),
    ):
        assert [one["name"] for one in (await shop.read(f"{SESSIONS}?{query}"))["items"]] == ["b"]
    for query in (f"session_id={quote(shop.session)}", "date_to=2026-03-01T13:00:00Z", "offset=1"):
        assert [one["name"] for one in (await shop.read(f"{SESSIONS}?{query}"))["items"]] == ["a"]
    for query in ("session_id=", "session_id=OTHER", "status=FAILED", "outcome=failed"):
        assert (await shop.read(f"{SESSIONS}?{query}"))["items"] == []
    for query, count in (("min_value=0", 1), ("min_value=1&below_value=0.5", 0)):
        assert (await shop.read(f"{SESSIONS}?{query}"))["total"] == count
    assert set(field_errors(await shop("GET", f"{SESSIONS}?min_value=2&below_value=x"))) == {
        "query.min_value",
        "query.below_value",
    }
    wrong = await shop("GET", f"{SESSIONS}?limit=0&status=x&eval_run_id=x&date_to=x&cursor=x")
    assert set(field_errors(wrong)) == {
        f"query.{name}" for name in ("limit", "status", "eval_run_id", "date_to", "cursor")
    }


async def test_deleting_is_204_even_for_unknown_ids(shop: ScoredProject) -> None:
    score = await shop.add_session_score()
    for id_ in (score["id"], score["id"], str(uuid.UUID(int=1))):
        gone = await shop("DELETE", f"{SESSIONS}/{id_}")
        assert (gone.status_code, gone.content) == (204, b"")
    assert (await shop.read(SESSIONS))["total"] == 0
    assert set(field_errors(await shop("DELETE", f"{SESSIONS}/x"))) == {"path.score_id"}


async def test_scores_of_another_project_are_hidden_and_kept(shop: ScoredProject) -> None:
    other = await ScoredProject.new(shop.site)
    score = await other.add_session_score()
    assert (await shop("DELETE", f"{SESSIONS}/{score['id']}")).status_code == 204
    assert await shop.read(of(other.session)) == []
    assert await other.read(of(other.session)) == [score]


async def test_changed_score_keeps_what_was_there_before(shop: ScoredProject) -> None:
    ada, head = shop.person()
    path = f"{SESSIONS}/{(await shop.add_session_score(value='0.5', reason='r'))['id']}"
    assert (await shop.read(f"{path}/history")) == []
    unchanged = await shop("PATCH", path, {})
    assert (unchanged.json()["source"], unchanged.json()["value"]) == ("ANNOTATION", "0.5")
    changed = await shop.site.http.patch(path, headers=head, json={"value": "0.75"})
    assert list(changed.json()) == FIELDS
    assert (changed.json()["value"], changed.json()["author_user_id"]) == ("0.75", str(ada.id))
    assert changed.json()["reason"] == "r"
    assert await shop.read(of(shop.session)) == [changed.json()]
    [change] = await shop.read(f"{path}/history")
    assert (change["user_id"], change["api_key_id"]) == (str(ada.id), None)
    assert (change["before"]["value"], change["after"]["value"]) == ("0.5", "0.75")
    assert set(field_errors(await shop("PATCH", path, {"value": "2"}))) == {"value"}


async def test_last_change_is_taken_back(shop: ScoredProject) -> None:
    _, head = shop.person()
    given = await shop.add_session_score(value="0.5", reason="r")
    path = f"{SESSIONS}/{given['id']}"
    assert (await shop("POST", f"{path}/undo")).status_code == 409  # it was never changed
    await shop.site.http.patch(path, headers=head, json={"value": "0.75", "reason": "mine"})
    undone = await shop.site.http.post(f"{path}/undo", headers=head)
    assert undone.status_code == 200, undone.text
    assert undone.json() | {"updated_at": given["updated_at"]} == given
    assert await shop.read(of(shop.session)) == [undone.json()]
    values = [one["before"]["value"] for one in await shop.read(f"{path}/history")]
    assert values == ["0.5", "0.75"]


async def test_score_by_person_is_changed_only_by_its_author_or_an_admin(
    shop: ScoredProject,
) -> None:
    _, head = shop.person()
    body = {"session_id": shop.session, "name": "n", "value": "1"}
    given = (await shop.site.http.post(SESSIONS, headers=head, json=body)).json()
    path = f"{SESSIONS}/{given['id']}"
    for changing, expected in (
        (shop.head, 403),
        (shop.person("eve@example.com")[1], 403),
        (head, 200),
        (shop.person("admin@example.com", Role.ADMIN)[1], 200),
    ):
        change = await shop.site.http.patch(path, headers=changing, json={"value": "0"})
        assert change.status_code == expected, change.text
    assert len(await shop.read(f"{path}/history")) == 2


async def test_unknown_or_foreign_score_cannot_be_changed(shop: ScoredProject) -> None:
    other = await ScoredProject.new(shop.site)
    foreign = await other.add_session_score()
    trace_score = await shop.add_score()
    for id_ in (uuid.UUID(int=1), foreign["id"], trace_score["id"]):
        for method, path in (("PATCH", ""), ("GET", "/history"), ("POST", "/undo")):
            body = {"value": "1"} if method == "PATCH" else None
            assert (await shop(method, f"{SESSIONS}/{id_}{path}", body)).status_code == 404
    assert await other.read(of(other.session)) == [foreign]
    wrong = await shop("PATCH", f"{SESSIONS}/x", {"value": 1, "other": 1})
    assert {"path.score_id", "value"} <= set(field_errors(wrong))


async def test_session_named_like_a_path_is_read(shop: ScoredProject) -> None:
    await shop.store_trace(session_id="a/history")
    score = await shop.add_session_score(session_id="a/history")
    assert await shop.read(of("a/history")) == [score]


async def test_person_becomes_the_author(shop: ScoredProject) -> None:
    new_person, head = shop.person()
    body = {"session_id": shop.session, "name": "n", "value": "1"}
    given = await shop.site.http.post(SESSIONS, headers=head, json=body)
    assert given.json()["author_user_id"] == str(new_person.id)


async def test_score_by_person_is_deleted_only_by_its_author_or_an_admin(
    shop: ScoredProject,
) -> None:
    ada, head = shop.person()
    body = {"session_id": shop.session, "name": "n", "value": "1"}
    for deleting, expected in (
        (shop.head, 403),
        (shop.person("eve@example.com")[1], 403),
        (head, 204),
        (shop.person("admin@example.com", Role.ADMIN)[1], 204),
    ):
        given = (await shop.site.http.post(SESSIONS, headers=head, json=body)).json()
        assert given["author_user_id"] == str(ada.id)
        gone = await shop.site.http.delete(f"{SESSIONS}/{given['id']}", headers=deleting)
        assert gone.status_code == expected, gone.text
        left = [one["id"] for one in await shop.read(of(shop.session))]
        assert (given["id"] in left) is (expected == 403)
