"""Public links: what their readers get, and that they get nothing else."""

import json
import logging
import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from domain.identity.api_key import Scope
from domain.identity.organization import Role
from domain.ids import OrganizationId, ProjectId, TraceId
from entrypoints.http.middleware.rate_limits import RouteClass
from tests.http.conftest import a_span, a_trace
from tests.support.builders.scores import trace_score
from tests.support.clients.rate_limited_app import LimitedSite
from tests.support.clients.scored_project import store_erasure
from tests.support.clients.two_tenants import TwoTenants

SECRETS = (
    "sek-input",
    "sek-output",
    "sek-meta",
    "sek-error",
    "sek-tag",
    "sek-session",
    "sek-param",
    "sek-cost",
)


@pytest.fixture
async def world(tenants: TwoTenants) -> TwoTenants:
    await tenants.begin()
    return tenants


def member(world: TwoTenants, role: Role = Role.MEMBER) -> dict[str, str]:
    return world.people[role].bearer | {"x-project-id": world.ours["project_id"]}


async def stored(world: TwoTenants) -> tuple[str, str]:
    """The ids of a new trace that says every secret, and of its failed span."""
    span = a_span(
        span_id=str(uuid.uuid4()),
        name="call",
        status="ERROR",
        error="sek-error",
        input={"q": "sek-input"},
        output="sek-output",
        metadata={"a": "sek-meta"},
        model_parameters={"a": "sek-param"},
        token_usage={"prompt_tokens": 3, "note": "sek-param"},
        cost={"sek-cost": 0.25, "output": 0.5},
        model="gpt-4o",
    )
    sent = a_trace(
        spans=[span],
        input="sek-input",
        output="sek-output",
        metadata={"a": "sek-meta"},
        tags=["sek-tag"],
        session_id="sek-session",
        user_id="sek-user",
        name="answer",
    )
    answer = await world.send("POST", "/traces", world.key, sent)
    assert answer.status_code == 202, answer.text
    return answer.json()["trace_id"], span["span_id"]


async def share(world: TwoTenants, trace: str, **asked: Any) -> dict[str, Any]:
    answer = await world.send("POST", f"/traces/{trace}/links", member(world), asked)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert made["url"] == f"/app/shared/{made['token']}"
    return made


async def opened(world: TwoTenants, token: str, rest: str = "") -> httpx.Response:
    return await world.send("GET", f"/shared/{token}{rest}", {})


async def everything(world: TwoTenants, token: str, span: str) -> str:
    """All that a reader can get, as text."""
    places = [
        "",
        f"/spans/{span}",
        *(f"/payload?name={name}" for name in ("input", "output", "metadata")),
        *(f"/payload?name={name}&span_id={span}" for name in ("input", "output", "metadata")),
    ]
    answers = [await opened(world, token, place) for place in places]
    assert {one.status_code for one in answers} <= {200, 404}
    assert answers[0].status_code == answers[1].status_code == 200
    return "\n".join(one.text for one in answers)


async def test_a_reader_gets_the_trace_without_an_account(world: TwoTenants) -> None:
    trace, span = await stored(world)
    made = await share(world, trace)
    answer = await opened(world, made["token"])
    shown = answer.json()
    assert (shown["trace"]["name"], shown["trace"]["user_id"]) == ("answer", None)
    assert (shown["masked"], shown["scores"], shown["total_spans"]) == (False, [], 1)
    assert (shown["columns"]["span_id"], shown["names"]) == ([span], ["call"])
    assert (answer.headers["x-robots-tag"], answer.headers["referrer-policy"]) == (
        *("noindex", "no-referrer"),
    )
    said = await everything(world, made["token"], span)
    assert [one for one in SECRETS if one not in said] == []
    assert "sek-user" not in said
    payload = await world.send(
        "GET", f"/shared/{made['token']}/payload?name=output", {"range": "bytes=1-3"}
    )
    assert (payload.status_code, payload.text) == (206, "sek")
    whole = await opened(world, made["token"], "/payload?name=output")
    for one in (payload, whole, await opened(world, made["token"], f"/spans/{span}")):
        assert one.headers["x-robots-tag"] == "noindex"
    days = timedelta(days=30)
    assert abs(
        datetime.fromisoformat(made["expires_at"])
        - datetime.fromisoformat(made["created_at"])
        - days
    ) < timedelta(1)


async def test_a_masked_link_leaves_out_what_was_said(world: TwoTenants) -> None:
    trace, span = await stored(world)
    score = {"trace_id": trace, "name": "quality", "value": "0.5", "reason": "sek-input"}
    assert (await world.send("POST", "/evaluations/trace-scores", world.key, score)).is_success
    token = (await share(world, trace, mask=True, scores=True))["token"]
    said = await everything(world, token, span)
    assert [one for one in (*SECRETS, "sek-user") if one in said] == []
    shown = (await opened(world, token)).json()
    assert (shown["masked"], shown["trace"]["name"], shown["models"]) == (
        *(True, "answer", ["gpt-4o"]),
    )
    assert shown["columns"]["input_bytes"] == [len('{"q": "sek-input"}')]
    assert [(one["name"], one["value"], one["reason"]) for one in shown["scores"]] == [
        ("quality", "0.5", None)
    ]
    detail = (await opened(world, token, f"/spans/{span}")).json()
    assert (detail["status"], detail["error"], detail["input"]) == ("ERROR", None, None)
    assert detail["cost"] == {"total": 0.75}
    assert (await opened(world, token, "/payload?name=input")).status_code == 404


async def test_scores_are_shown_if_asked_for(world: TwoTenants) -> None:
    trace, _ = await stored(world)
    score = {"trace_id": trace, "name": "quality", "value": "0.5", "reason": "fine"}
    await world.send("POST", "/evaluations/trace-scores", world.key, score)
    ours = ProjectId(uuid.UUID(world.ours["project_id"]))
    failed = trace_score(ours, TraceId(uuid.UUID(trace)), value=None)
    await world.site.ports.evaluation.trace_scores.add(failed)
    without = await opened(world, (await share(world, trace))["token"])
    shown = await opened(world, (await share(world, trace, scores=True))["token"])
    assert without.json()["scores"] == []
    [one] = shown.json()["scores"]
    assert (one["name"], one["reason"], "author" in json.dumps(one)) == ("quality", "fine", False)


async def test_a_token_reads_nothing_else(world: TwoTenants) -> None:
    """Neither another trace of the project, nor its spans, nor as a credential."""
    trace, span = await stored(world)
    token = (await share(world, trace))["token"]
    other, other_span = world.ours["trace_id"], world.ours["span_id"]
    for foreign in (other_span, world.theirs["span_id"], str(uuid.uuid4())):
        for place in (f"/spans/{foreign}", f"/payload?name=input&span_id={foreign}"):
            assert (await opened(world, token, place)).status_code == 404
    # A parameter, a header or a path that names another trace changes nothing, or is refused.
    for place in (f"?trace_id={other}", f"/payload?name=input&trace_id={other}"):
        assert (await opened(world, token, place)).status_code == 422
    for head in (
        {"x-api-key": token},
        {"authorization": f"Bearer {token}"},
        {"x-api-key": token, "x-project-name": world.ours["project"]},
    ):
        for path in ("/traces", f"/traces/{trace}", f"/traces/{trace}/links", "/me", "/spans"):
            answer = await world.send(
                "GET", path, head | {"x-project-id": world.ours["project_id"]}
            )
            assert answer.status_code == 401, path
    for path in (f"/shared/{token}/scores", f"/shared/{token}/links", f"/shared/{token}/outline"):
        assert (await world.send("GET", path, {})).status_code == 404
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert (await world.send(method, f"/shared/{token}", {})).status_code == 405
    # With credentials of another tenant it shows the same.
    plain = await opened(world, token)
    foreign = await world.send("GET", f"/shared/{token}", world.their_key)
    assert (foreign.status_code, foreign.text) == (plain.status_code, plain.text)
    assert span in plain.text


async def test_dead_links_answer_alike(world: TwoTenants) -> None:
    """Guessed, expired, revoked, or forbidden: the reader can't tell which."""
    trace, span = await stored(world)
    me, store = member(world), world.site.store
    organization = OrganizationId(uuid.UUID(world.ours["org_id"]))

    async def dead(token: str) -> tuple[int, Any]:
        for place in (f"/spans/{span}", "/payload?name=input"):
            assert (await opened(world, token, place)).status_code == 404
        answer = await opened(world, token)
        return answer.status_code, answer.json()["detail"]

    guessed = await dead("A" * 43)
    assert guessed == (404, "This link is unknown, expired or revoked")
    made = await share(world, trace, expires_days=1)
    frozen, world.site.now = world.site.now, datetime.fromisoformat(made["expires_at"])
    assert await dead(made["token"]) == guessed
    world.site.now = frozen
    assert (await opened(world, made["token"])).status_code == 200
    revoked = await world.send("DELETE", f"/traces/{trace}/links/{made['id']}", me)
    assert revoked.status_code == 204
    assert await dead(made["token"]) == guessed
    assert (await world.send("GET", f"/traces/{trace}/links", me)).json() == []
    # The row alone is not enough.
    kept = await share(world, trace)
    known = store.organizations[organization]
    store.organizations[organization] = replace(known, public_links=False)
    assert await dead(kept["token"]) == guessed
    store.organizations[organization] = known
    assert (await opened(world, kept["token"])).status_code == 200
    # A link of the other tenant, whose organization forbids them.
    assert await dead(world.theirs["token"]) == guessed
    assert (await opened(world, "short")).status_code == 422


async def test_switching_off_revokes_for_ever(world: TwoTenants) -> None:
    trace, _ = await stored(world)
    token = (await share(world, trace))["token"]
    sharing, owner = f"/organizations/{world.ours['org_id']}/sharing", world.bearer
    assert (await world.send("GET", sharing, owner)).json() == {"public_links": True}
    for allowed in (False, True):
        answer = await world.send("PUT", sharing, owner, {"public_links": allowed})
        assert answer.json() == {"public_links": allowed}
        assert (await opened(world, token)).status_code == 404
        if not allowed:
            refused = await world.send("POST", f"/traces/{trace}/links", member(world), {})
            assert refused.status_code == 403
            assert "allows no public links" in refused.json()["detail"]
    assert (await opened(world, (await share(world, trace))["token"])).status_code == 200


async def test_a_link_ends_with_what_it_shows(world: TwoTenants) -> None:
    trace, _ = await stored(world)
    token = (await share(world, trace))["token"]
    assert (await world.send("DELETE", f"/traces/{trace}", world.key)).status_code == 204
    assert (await opened(world, token)).status_code == 404
    assert (
        await world.send("POST", "/traces", world.key, a_trace(trace_id=trace))
    ).status_code == 202
    assert (await opened(world, token)).status_code == 404
    trace, _ = await stored(world)
    token = (await share(world, trace))["token"]
    erased = await world.send(
        "POST", "/erasures", member(world, Role.OWNER), {"user_id": "sek-user"}
    )
    assert erased.status_code == 202, erased.text
    assert (await opened(world, token)).status_code == 404
    trace, _ = await stored(world)
    token = (await share(world, trace))["token"]
    place = f"/organizations/{world.ours['org_id']}/projects/{world.ours['project_id']}"
    assert (await world.send("DELETE", place, world.bearer)).status_code == 204
    assert (await opened(world, token)).status_code == 404


async def test_links_are_hidden_with_their_trace(world: TwoTenants) -> None:
    trace, _ = await stored(world)
    made = await share(world, trace)
    links = f"/traces/{trace}/links"
    listed = await world.send("GET", links, member(world))
    assert [one["id"] for one in listed.json()] == [made["id"]]
    await store_erasure(
        world.site.ports.privacy,
        ProjectId(uuid.UUID(world.ours["project_id"])),
        str(uuid.uuid4()),
        organization=world.ours["org_id"],
        user="sek-user",
    )
    assert (await world.send("GET", links, member(world))).json() == []
    revoked = await world.send("DELETE", f"{links}/{made['id']}", member(world))
    assert revoked.status_code == 404
    assert (await opened(world, made["token"])).status_code == 404


async def test_members_may_share_and_keys_may_not(world: TwoTenants) -> None:
    links = f"/traces/{world.ours['trace_id']}/links"
    by_key = await world.send("POST", links, world.new_key(*Scope), {})
    assert by_key.status_code == 403
    assert "No API key may share" in by_key.json()["detail"]
    for role in Role:
        assert (await world.send("POST", links, member(world, role), {})).status_code == 201
    unknown = f"/traces/{uuid.uuid4()}/links"
    assert (await world.send("POST", unknown, member(world), {})).status_code == 404
    for wrong in ({"expires_days": 0}, {"expires_days": 366}, {"mask": 1}, {"unknown": True}):
        assert (await world.send("POST", links, member(world), wrong)).status_code == 422
    sharing = f"/organizations/{world.ours['org_id']}/sharing"
    answer = await world.send(
        "PUT", sharing, world.people[Role.MEMBER].bearer, {"public_links": True}
    )
    assert answer.status_code == 403


async def test_the_token_is_stored_and_logged_nowhere(
    world: TwoTenants, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    trace, span = await stored(world)
    made = await share(world, trace)
    await everything(world, made["token"], span)
    store = world.site.store
    assert made["token"] not in caplog.text
    assert made["token"] not in repr([*store.trace_links.values(), *store.audit_log.values()])
    assert made["token"] not in repr(store.replies)
    listed = await world.send("GET", f"/traces/{trace}/links", member(world))
    assert made["token"] not in listed.text
    [one] = listed.json()
    assert (one["id"], one["created_by"]) == (made["id"], world.people[Role.MEMBER].email)
    entry = list(store.audit_log.values())[-1]
    assert (entry.action, entry.resource_id, entry.detail["trace_id"]) == (
        *("trace_link.created", made["id"], trace),
    )


async def test_readers_are_limited_by_address(limited: LimitedSite) -> None:
    """As all requests without credentials, from this address alone."""
    limited.set_limit(RouteClass.DEFAULT, 2)
    path = f"/shared/{'A' * 43}"
    answers = [(await limited.request("GET", path)).status_code for _ in range(3)]
    assert answers == [404, 404, 429]
    assert (await limited.request("GET", path, at="192.0.2.2")).status_code == 404
