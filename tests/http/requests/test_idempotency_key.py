"""Idempotency-Key: a repeated write has one effect and one response."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from adapters.memory.store import MemoryStore
from application.evaluation.ports.scores import TraceScores
from application.ports import IDEMPOTENCY_LOCK_TTL
from domain.errors import Unavailable
from domain.evaluation.scores.score import TraceScore
from domain.ids import ScoreId
from entrypoints.composition.memory import memory_evaluation
from entrypoints.http.middleware.fair_queueing import CALLER
from entrypoints.http.requests.errors import FieldErrors
from entrypoints.http.requests.idempotency_key import IdempotencyKey, parse_idempotency_key
from tests.http.conftest import Site, field_errors
from tests.support.builders.values import NOON, prices
from tests.support.clients.scored_project import SESSIONS, TRACES, ScoredProject
from tests.support.waiting import in_time

KEY = "idempotency-key"
WEBHOOKS = "/evaluations/webhooks"


@pytest.fixture
async def shop(either: Site) -> ScoredProject:
    return await ScoredProject.new(either)


async def total(shop: ScoredProject, path: str = TRACES) -> int:
    return int((await shop.read(path))["total"])


@pytest.mark.parametrize("header", [KEY, "x-request-id"])
async def test_repeated_request_gets_the_first_response(shop: ScoredProject, header: str) -> None:
    first = await shop("POST", TRACES, shop.score(), **{header: "k-1"})
    again = await shop("POST", TRACES, shop.score(), **{header: "k-1"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert await total(shop) == 1


async def test_requests_without_a_key_are_distinct(shop: ScoredProject) -> None:
    for head in ({}, {}, {KEY: " "}, {"x-request-id": "x" * 201}, {"x-request-id": "x" * 201}):
        assert (await shop("POST", TRACES, shop.score(), **head)).status_code == 201
    assert await total(shop) == 5


async def test_idempotency_key_precedes_the_request_id(shop: ScoredProject) -> None:
    for number in range(3):
        await shop("POST", TRACES, shop.score(), **{KEY: "k", "x-request-id": f"r{number}"})
    await shop("POST", TRACES, shop.score(), **{KEY: "k2", "x-request-id": "r0"})
    assert await total(shop) == 2


async def test_concurrent_repeats_have_one_effect(shop: ScoredProject) -> None:
    answers = await asyncio.gather(
        *(shop("POST", TRACES, shop.score(), **{KEY: "k"}) for _ in range(20))
    )
    assert {one.status_code for one in answers} == {201}
    assert len({one.content for one in answers}) == 1
    assert await total(shop) == 1


def a_key(content: object = None, path: str = "/scores") -> IdempotencyKey | None:
    headers = [(KEY.encode(), b"k")]
    scope = {"headers": headers, "method": "POST", "path": path, "path_template": path}
    return parse_idempotency_key(scope, b"{}", content, FieldErrors())


def test_write_is_of_the_trace_or_session_in_its_body() -> None:
    contents = SimpleNamespace(trace_id=UUID(int=1)), SimpleNamespace(session_id="s"), None
    keys = [a_key(content) for content in contents]
    assert [one and one.target for one in keys] == [str(UUID(int=1)), "s", None]


def test_slash_at_the_end_of_a_path_makes_no_other_write() -> None:
    assert a_key(path="/scores/") == a_key(path="/scores") != a_key(path="/others")


async def test_different_body_with_the_same_key_is_409(shop: ScoredProject) -> None:
    await shop("POST", TRACES, shop.score(), **{KEY: "k"})
    other = await shop("POST", TRACES, shop.score(value="1"), **{KEY: "k"})
    assert other.status_code == 409
    assert list(other.json()) == ["detail"]
    assert await total(shop) == 1


async def test_coding_does_not_change_the_request_hash(shop: ScoredProject) -> None:
    body = json.dumps(shop.score()).encode()
    head = shop.head | {KEY: "k", "content-type": "application/json"}
    plain = await shop.site.http.post(TRACES, headers=head, content=body)
    packed = await shop.site.http.post(
        f"{TRACES}/", headers=head | {"content-encoding": "gzip"}, content=gzip.compress(body)
    )
    assert (plain.status_code, packed.status_code) == (201, 201)
    assert packed.content == plain.content


async def test_keys_are_scoped_to_project_and_operation(shop: ScoredProject) -> None:
    other = await ScoredProject.new(shop.site)
    await shop("POST", TRACES, shop.score(), **{KEY: "k"})
    assert (await other("POST", TRACES, other.score(), **{KEY: "k"})).status_code == 201
    body = {"session_id": shop.session, "name": "n", "value": "1"}
    assert (await shop("POST", SESSIONS, body, **{KEY: "k"})).status_code == 201
    assert [await total(shop), await total(other), await total(shop, SESSIONS)] == [1, 1, 1]


@pytest.mark.parametrize("header", [KEY, "x-request-id"])
async def test_keys_are_of_one_credential(shop: ScoredProject, header: str) -> None:
    _, person = shop.person()
    other_key = shop.head | {"x-api-key": shop.site.key()}
    answers = [
        await shop.site.http.post(TRACES, headers=head | {header: "k"}, json=shop.score())
        for head in (shop.head, person, other_key, shop.head, person, other_key)
    ]
    assert {one.status_code for one in answers} == {201}
    assert [one.content for one in answers[:3]] == [one.content for one in answers[3:]]
    assert await total(shop) == 3


async def test_scores_with_one_request_id_and_different_bodies_are_distinct(
    shop: ScoredProject,
) -> None:
    head = {"x-request-id": "correlation"}
    for value in ("1", "0", "1", "0"):
        answer = await shop("POST", TRACES, shop.score(value=value), **head)
        assert (answer.status_code, answer.json()["value"]) == (201, value)
    assert await total(shop) == 2


A_MONITOR = {
    "name": "m",
    "target_type": "TRACE",
    "metrics": ["tool_correctness"],
    "cadence": "daily",
}


async def test_monitor_is_repeated_by_request_id(shop: ScoredProject) -> None:
    path, head = "/evaluations/monitors", {"x-request-id": "r"}
    first, again = [await shop("POST", path, A_MONITOR, **head) for _ in range(2)]
    assert (first.status_code, again.content) == (201, first.content)
    other = await shop("POST", path, A_MONITOR | {"name": "another"}, **head)
    assert (other.status_code, other.json()["name"]) == (201, "another")


async def test_trigger_is_repeated_by_request_id(shop: ScoredProject) -> None:
    monitors = [(await shop("POST", "/evaluations/monitors", A_MONITOR)).json() for _ in range(2)]
    paths = [f"/evaluations/monitors/{one['id']}" for one in monitors]
    first, again = [await shop("POST", f"{paths[0]}/trigger", x_request_id="r") for _ in range(2)]
    assert first.status_code == 202
    assert again.content == first.content
    other = await shop("POST", f"{paths[1]}/trigger", x_request_id="r")
    assert other.json()["monitor_id"] == monitors[1]["id"]


async def test_webhooks_ignore_request_id_as_idempotency_key(shop: ScoredProject) -> None:
    body = {"url": "https://example.com/hook"}
    answers = [await shop("POST", WEBHOOKS, body, **{"x-request-id": "r"}) for _ in range(2)]
    assert [one.status_code for one in answers] == [201, 201]
    assert answers[0].json()["id"] != answers[1].json()["id"]


async def test_response_with_a_secret_is_not_stored(shop: ScoredProject) -> None:
    body = {"url": "https://example.com/hook"}
    first = await shop("POST", WEBHOOKS, body, **{KEY: "k"})
    again = await shop("POST", WEBHOOKS, body, **{KEY: "k"})
    assert (first.status_code, again.status_code) == (201, 409)
    created = first.json()
    assert created["secret"].startswith("whsec_")
    assert created["id"] in again.json()["detail"]
    assert "secret" not in again.json()
    if shop.site.store.replies:  # in memory
        [kept] = shop.site.store.replies.values()
        assert kept.response is not None
        assert created["secret"].encode() not in kept.response.body
    other = await shop.site.http.post(
        WEBHOOKS, headers=shop.head | {"x-api-key": shop.site.key(), KEY: "k"}, json=body
    )
    assert other.json()["id"] != created["id"]
    assert len(await shop.read(WEBHOOKS)) == 2


async def test_erasure_does_not_let_a_repeat_show_the_secret_again(shop: ScoredProject) -> None:
    body = {"url": "https://example.com/hook"}
    first = await shop("POST", WEBHOOKS, body, **{KEY: "k"})
    assert (await shop("POST", "/erasures", {"user_id": "grace"})).status_code == 202
    again = await shop("POST", WEBHOOKS, body, **{KEY: "k"})
    assert (first.status_code, again.status_code) == (201, 409)
    assert first.json()["id"] in again.json()["detail"]
    assert (await shop("DELETE", f"{WEBHOOKS}/{first.json()['id']}")).status_code == 204
    assert (await shop("POST", WEBHOOKS, body, **{KEY: "k"})).content == again.content
    assert await shop.read(WEBHOOKS) == []


async def test_refused_requests_are_not_stored(shop: ScoredProject) -> None:
    early = shop.score(trace_id="5b0e6f0a-8f1e-4c55-9a53-2f6f3a6f7d10")
    assert (await shop("POST", TRACES, early, **{KEY: "k"})).status_code == 404
    await shop.store_trace(trace_id=early["trace_id"])
    assert (await shop("POST", TRACES, early, **{KEY: "k"})).status_code == 201
    assert (await shop("POST", TRACES, {}, **{KEY: "k2"})).status_code == 422
    assert (await shop("POST", TRACES, shop.score(), **{KEY: "k2"})).status_code == 201
    missing = shop.score(trace_id="00000000-0000-0000-0000-000000000001")
    assert (await shop("POST", TRACES, missing, **{KEY: "k3"})).status_code == 404
    assert (await shop("POST", TRACES, shop.score(), **{KEY: "k3"})).status_code == 201


async def test_key_expires_after_a_day(shop: ScoredProject) -> None:
    shop.site.now = NOON
    first = await shop("POST", TRACES, shop.score(), **{KEY: "k"})
    shop.site.now = NOON + timedelta(hours=24) - timedelta(seconds=1)
    assert (await shop("POST", TRACES, shop.score(), **{KEY: "k"})).content == first.content
    shop.site.now = NOON + timedelta(hours=24)
    assert (await shop("POST", TRACES, shop.score(), **{KEY: "k"})).content != first.content
    assert await total(shop) == 2


@pytest.mark.parametrize("key", ["x" * 256, "a b", "é", "a\x7f"])
async def test_key_must_be_visible_ascii(shop: ScoredProject, key: str) -> None:
    head = shop.head | {"content-type": "application/json"}
    refused = await shop.site.http.post(
        TRACES, headers=[*head.items(), (KEY.encode(), key.encode())], content=b'{"name":""}'
    )
    reported = set(field_errors(refused))
    assert reported == {"header.Idempotency-Key", "name", "value", "trace_id"}


async def test_key_of_255_characters_is_accepted(shop: ScoredProject) -> None:
    key = "~!" * 127 + "x"
    first = await shop("POST", TRACES, shop.score(), **{KEY: key})
    assert (await shop("POST", TRACES, shop.score(), **{KEY: key})).content == first.content


async def test_replay_has_its_own_coding_and_request_id(shop: ScoredProject) -> None:
    body = shop.score(reason="r" * 2_000)
    first = await shop("POST", TRACES, body, **{KEY: "k", "accept-encoding": "identity"})
    again = await shop(
        "POST", TRACES, body, **{KEY: "k", "accept-encoding": "gzip", "x-request-id": "mine"}
    )
    assert "content-encoding" not in first.headers
    assert again.headers["content-encoding"] == "gzip"
    assert again.content == first.content  # as it is decompressed
    assert again.headers["x-request-id"] == "mine"


@dataclass
class Interrupted:
    """Scores whose first write is stored, but never returns."""

    inner: TraceScores
    ids: list[ScoreId] = field(default_factory=list)
    kept: asyncio.Event = field(default_factory=asyncio.Event)
    fails: bool = True

    async def add(self, score: TraceScore, *, checks_span: bool = True) -> TraceScore:
        self.ids.append(score.id)
        kept = await self.inner.add(score, checks_span=checks_span)
        if len(self.ids) == 1:
            self.kept.set()
            if self.fails:
                raise Unavailable("gone")
            await asyncio.Event().wait()  # until the process ends
        return kept

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.fixture
async def interrupted() -> AsyncIterator[tuple[ScoredProject, Interrupted]]:
    store = MemoryStore()
    evaluation = memory_evaluation(store, prices())
    scores = Interrupted(evaluation.trace_scores)
    site = Site(store=store, swapped={"evaluation": replace(evaluation, trace_scores=scores)})
    async with site.http:
        yield await ScoredProject.new(site), scores


async def test_write_with_unknown_outcome_is_not_repeated(
    interrupted: tuple[ScoredProject, Interrupted],
) -> None:
    shop, scores = interrupted
    first = await shop("POST", TRACES, shop.score(), **{KEY: "k"})
    again = await shop("POST", TRACES, shop.score(), **{KEY: "k"})
    assert (first.status_code, again.status_code) == (503, 201)
    assert set(scores.ids) == {ScoreId(UUID(again.json()["id"]))}
    assert await total(shop) == 1


async def test_write_of_a_killed_process_is_not_repeated(
    interrupted: tuple[ScoredProject, Interrupted],
) -> None:
    shop, scores = interrupted
    scores.fails = False
    shop.site.now = NOON
    killed = asyncio.create_task(shop("POST", TRACES, shop.score(), **{KEY: "k"}))
    await scores.kept.wait()
    killed.cancel()
    await asyncio.wait([killed])
    shop.site.now = NOON + IDEMPOTENCY_LOCK_TTL
    again = await shop("POST", TRACES, shop.score(), **{KEY: "k"})
    assert again.status_code == 201
    assert set(scores.ids) == {ScoreId(UUID(again.json()["id"]))}
    assert await total(shop) == 1


async def test_waiting_repeat_holds_no_slot(
    interrupted: tuple[ScoredProject, Interrupted],
) -> None:
    shop, scores = interrupted
    scores.fails = False
    shop.site.now = NOON
    sent = [asyncio.create_task(shop("POST", TRACES, shop.score(), **{KEY: "k"}))]
    await scores.kept.wait()
    for _ in range(2 * CALLER.slots):
        sent.append(asyncio.create_task(shop("POST", TRACES, shop.score(), **{KEY: "k"})))
    async with in_time():
        assert await total(shop) == 1
    shop.site.now = (
        NOON + IDEMPOTENCY_LOCK_TTL
    )  # one of the waiting requests takes over, and all get its response
    async with in_time():
        answers = await asyncio.gather(*sent[1:])
    assert {one.status_code for one in answers} == {201}
    assert len({one.content for one in answers}) == len(set(scores.ids)) == 1
    sent[0].cancel()
    await asyncio.wait(sent[:1])


async def test_key_is_documented_with_its_bounds(site: Site) -> None:
    document = (await site.http.get("/openapi.json")).json()
    reported = document["paths"][TRACES]["post"]
    [key] = [one for one in reported["parameters"] if one["in"] == "header"]
    assert (key["name"], key["required"]) == ("Idempotency-Key", False)
    assert key["schema"]["maxLength"] == 255
    assert "409" in reported["responses"]
