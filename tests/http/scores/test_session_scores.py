"""Scores of sessions: given, listed, removed."""

import uuid
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest

from tests.http.conftest import Site, mistakes
from tests.support.builders.values import NOON
from tests.support.clients.scored_project import SESSIONS, Scored

FIELDS = [
    *("id", "project_id", "name", "value", "data_type", "source", "status", "outcome"),
    *("eval_run_id", "author_user_id", "reason", "metadata", "created_at", "updated_at"),
    "session_id",
]


@pytest.fixture
async def shop(either: Site) -> Scored:
    return await Scored.new(either)


def of(session: str) -> str:
    return f"{SESSIONS}/{quote(session, safe='')}"


async def test_what_is_given_is_answered_whole(shop: Scored) -> None:
    score = await shop.gives_session(reason="r", metadata={"a": 1}, environment="ignored")
    assert list(score) == FIELDS
    assert (score["session_id"], score["value"], score["status"]) == (
        shop.session,
        "0.5",
        "SUCCESS",
    )
    assert (score["reason"], score["metadata"]) == ("r", {"a": 1})
    assert await shop.got(of(shop.session)) == [score]
    assert (await shop.got(SESSIONS))["items"] == [score]


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        ({"session_id": "x" * 256, "value": "2"}, {"session_id", "value"}),
        ({"session_id": None}, {"session_id"}),
        ({"session_id": 5, "value": 5}, {"session_id", "value"}),
        ({"session_id": "a\0", "name": ""}, {"session_id", "name"}),
    ],
)
async def test_every_mistake_is_told_at_once(
    shop: Scored, said: dict[str, Any], fields: set[str]
) -> None:
    body = {"session_id": shop.session, "name": "n", "value": "1"} | said
    assert set(mistakes(await shop("POST", SESSIONS, body))) == fields


async def test_an_unknown_session_is_404(shop: Scored) -> None:
    other = await Scored.new(shop.site)
    for session in ("nowhere", "", other.session, shop.session.upper()):
        body = {"session_id": session, "name": "n", "value": "1"}
        assert (await shop("POST", SESSIONS, body)).status_code == 404


async def test_with_the_session_go_its_scores(shop: Scored) -> None:
    await shop.gives_session()
    gone = await shop("DELETE", f"/sessions/{quote(shop.session, safe='')}")
    assert gone.json() == {"deleted": 1}
    assert (await shop.got(SESSIONS))["total"] == 0


async def test_all_of_a_session_the_newest_first(shop: Scored) -> None:
    await shop.stores(session_id="another")
    for minute, name in enumerate("abab"):
        shop.site.now = NOON + timedelta(minutes=minute)
        await shop.gives_session(name=name, value=f"0.{minute}")
    await shop.gives_session(session_id="another")
    found = await shop.got(of(shop.session))
    assert [one["value"] for one in found] == ["0.3", "0.2", "0.1", "0.0"]
    assert await shop.got(of("nowhere")) == []


async def test_each_filter_narrows(shop: Scored) -> None:
    await shop.stores(session_id="other")
    shop.site.now = NOON
    await shop.gives_session(name="a", source="PROGRAMMATIC")
    shop.site.now = NOON + timedelta(hours=1)
    await shop.gives_session(name="b", session_id="other", data_type="CATEGORICAL")
    for query in (
        *("session_id=other", "name=b", "source=ANNOTATION", "data_type=CATEGORICAL"),
        *("date_from=2026-03-01T13:00:00Z", "limit=1"),
    ):
        assert [one["name"] for one in (await shop.got(f"{SESSIONS}?{query}"))["items"]] == ["b"]
    for query in (f"session_id={quote(shop.session)}", "date_to=2026-03-01T13:00:00Z", "offset=1"):
        assert [one["name"] for one in (await shop.got(f"{SESSIONS}?{query}"))["items"]] == ["a"]
    for query in ("session_id=", "session_id=OTHER", "status=FAILED", "outcome=failed"):
        assert (await shop.got(f"{SESSIONS}?{query}"))["items"] == []
    wrong = await shop("GET", f"{SESSIONS}?limit=0&status=x&eval_run_id=x&date_to=x&cursor=x")
    assert set(mistakes(wrong)) == {
        f"query.{name}" for name in ("limit", "status", "eval_run_id", "date_to", "cursor")
    }


async def test_removing_is_204_also_where_there_is_nothing(shop: Scored) -> None:
    score = await shop.gives_session()
    for id_ in (score["id"], score["id"], str(uuid.UUID(int=1))):
        gone = await shop("DELETE", f"{SESSIONS}/{id_}")
        assert (gone.status_code, gone.content) == (204, b"")
    assert (await shop.got(SESSIONS))["total"] == 0
    assert set(mistakes(await shop("DELETE", f"{SESSIONS}/x"))) == {"path.score_id"}


async def test_scores_of_another_project_stay_and_are_not_shown(shop: Scored) -> None:
    other = await Scored.new(shop.site)
    score = await other.gives_session()
    assert (await shop("DELETE", f"{SESSIONS}/{score['id']}")).status_code == 204
    assert await shop.got(of(other.session)) == []
    assert await other.got(of(other.session)) == [score]


async def test_there_is_no_patch(site: Site) -> None:
    path = f"{SESSIONS}/{uuid.UUID(int=1)}"
    refused = await site.http.patch(path, headers=site.headers(), json={"value": "1"})
    assert refused.status_code == 405


async def test_a_person_is_the_author(shop: Scored) -> None:
    somebody, head = shop.person()
    body = {"session_id": shop.session, "name": "n", "value": "1"}
    given = await shop.site.http.post(SESSIONS, headers=head, json=body)
    assert given.json()["author_user_id"] == str(somebody.id)
