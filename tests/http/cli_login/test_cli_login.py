"""Signing a command line in: codes, and what they are exchanged for."""

import asyncio
import base64
import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from adapters.memory.identity.identity import MemoryTokens
from domain.identity.api_key import ALL_SCOPES, ApiKey
from domain.identity.audit import AuditAction
from domain.identity.login_code import challenge_of
from domain.identity.user import Claims
from domain.limits import Limit
from entrypoints.http.middleware.rate_limits import RouteClass
from tests.http.conftest import ADA, TOKEN, Site, a_trace, mistakes
from tests.support.builders.values import NOON

BEARER = {"authorization": f"Bearer {TOKEN}"}
OF_BOB = {"authorization": "Bearer a-token-of-bob"}
BOB = Claims(issuer=ADA.issuer, subject="bob", email="bob@example.com")
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636, appendix B
SOME_ID = str(uuid.UUID(int=1))


@dataclass
class Clock:
    now: datetime = field(default_factory=lambda: NOON)

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Desk:
    """A site on which Ada is signed in, and the clock of it."""

    site: Site
    clock: Clock
    organization: str
    project: str

    def request(self, **said: Any) -> dict[str, Any]:
        known = {
            "org_id": self.organization,
            "project_id": self.project,
            "code_challenge": challenge_of(VERIFIER),
            "label": "ada-laptop",
        }
        return known | said

    async def issued(self, **said: Any) -> httpx.Response:
        body = self.request(**said)
        return await self.site.http.post("/cli/auth/codes", headers=BEARER, json=body)

    async def code(self) -> str:
        answer = await self.issued()
        assert answer.status_code == 201, answer.text
        return str(answer.json()["code"])

    async def exchanged(self, code: str, verifier: str = VERIFIER, **headers: str) -> Any:
        body = {"code": code, "code_verifier": verifier}
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.site.http.post("/cli/auth/exchange", headers=said, json=body)

    @property
    def keys(self) -> list[ApiKey]:
        return list(self.site.store.keys.values())

    def forget_membership(self) -> None:
        [member] = self.site.store.memberships
        del self.site.store.memberships[member]


@pytest.fixture(scope="module")
def of_two_people() -> tuple[Site, Clock]:
    clock = Clock()
    tokens = MemoryTokens({TOKEN: ADA, "a-token-of-bob": BOB})
    return Site(swapped={"clock": clock, "tokens": tokens}), clock


@pytest.fixture
async def desk(of_two_people: tuple[Site, Clock]) -> AsyncIterator[Desk]:
    site, clock = of_two_people
    site.begin()
    clock.now = NOON
    async with site.http:
        # Who signs in for the first time gets an organization with a project.
        first = {"org_id": SOME_ID, "project_id": SOME_ID, "code_challenge": "c", "label": "l"}
        refused = await site.http.post("/cli/auth/codes", headers=BEARER, json=first)
        assert refused.status_code == 403
        [project] = site.store.projects.values()
        yield Desk(site, clock, str(project.organization_id), str(project.id))


class TestCodes:
    async def test_a_code_makes_no_key_yet(self, desk: Desk) -> None:
        answer = await desk.issued(code_challenge_method="S256", expires_days=90)
        assert answer.status_code == 201
        body = answer.json()
        assert list(body) == ["code", "expires_in"]
        assert body["expires_in"] == 120
        assert re.fullmatch("[A-Za-z0-9_-]{43}", body["code"])
        assert len(base64.urlsafe_b64decode(body["code"] + "=")) == 32
        assert answer.headers["cache-control"] == "no-store"
        assert desk.keys == []
        actions = [one.action for one in desk.site.store.audit_log.values()]
        assert AuditAction.LOGIN_CODE_ISSUED in actions

    async def test_method_and_days_are_optional(self, desk: Desk) -> None:
        assert (await desk.issued()).status_code == 201

    async def test_it_needs_a_token_and_no_key_will_do(self, desk: Desk) -> None:
        body = desk.request()
        for headers in ({}, desk.site.headers(), {"authorization": "Bearer no"}):
            answer = await desk.site.http.post("/cli/auth/codes", headers=headers, json=body)
            assert answer.status_code == 401
        beside = BEARER | {"x-api-key": "nonsense"}
        answer = await desk.site.http.post("/cli/auth/codes", headers=beside, json=body)
        assert answer.status_code == 201

    @pytest.mark.parametrize("field", ["org_id", "project_id", "code_challenge", "label"])
    async def test_what_is_left_out_is_named(self, desk: Desk, field: str) -> None:
        body = desk.request()
        del body[field]
        refused = await desk.site.http.post("/cli/auth/codes", headers=BEARER, json=body)
        assert mistakes(refused) == {field: "is required"}

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("org_id", "x"),
            ("project_id", None),
            ("code_challenge", ""),
            ("code_challenge", " \t\n"),
            ("code_challenge", None),
            ("code_challenge_method", "plain"),
            ("code_challenge_method", "s256"),
            ("code_challenge_method", ""),
            ("label", ""),
            ("label", "l" * 256),
            ("label", "a\0b"),
            ("expires_days", 89),
            ("expires_days", 91),
            ("expires_days", 0),
            ("expires_days", 90.5),
            ("expires_days", None),
            ("expires_days", True),
        ],
    )
    async def test_what_cannot_be_is_named(self, desk: Desk, field: str, value: Any) -> None:
        assert set(mistakes(await desk.issued(**{field: value}))) == {field}
        assert desk.site.store.login_codes == {}

    async def test_all_mistakes_come_together(self, desk: Desk) -> None:
        refused = await desk.issued(code_challenge=" ", code_challenge_method="plain", label="")
        assert set(mistakes(refused)) == {"code_challenge", "code_challenge_method", "label"}

    @pytest.mark.parametrize("label", ["l" * 255, "Adas Läptop", " "])
    async def test_labels(self, desk: Desk, label: str) -> None:
        assert (await desk.issued(label=label)).status_code == 201

    async def test_the_body_decides_on_the_organization(self, desk: Desk) -> None:
        foreign = str(desk.site.organization)
        theirs = desk.site.project()
        for organization in (foreign, SOME_ID):
            refused = await desk.issued(org_id=organization, project_id=theirs)
            assert refused.status_code == 403
        # A header that names another of the caller's is no help, and one that isn't is refused.
        body, headers = desk.request(), BEARER | {"x-organization-id": foreign}
        refused = await desk.site.http.post("/cli/auth/codes", headers=headers, json=body)
        assert refused.status_code == 403

    async def test_a_project_of_others_is_as_unknown_as_one_that_is_not_there(
        self, desk: Desk
    ) -> None:
        theirs = await desk.issued(project_id=desk.site.project())
        unknown = await desk.issued(project_id=SOME_ID)
        assert [theirs.status_code, unknown.status_code] == [404, 404]
        assert theirs.json() == unknown.json()
        assert desk.site.store.login_codes == {}

    async def test_another_person_gets_none_for_it(self, desk: Desk) -> None:
        refused = await desk.site.http.post("/cli/auth/codes", headers=OF_BOB, json=desk.request())
        assert refused.status_code == 403


class TestExchange:
    async def test_the_key_is_told_in_full(self, desk: Desk) -> None:
        answer = await desk.exchanged(await desk.code())
        assert answer.status_code == 200
        body = answer.json()
        [key] = desk.keys
        assert re.fullmatch("pp_[0-9a-f]{64}", body.pop("api_key"))
        assert body == {
            "project_name": "onboarding",
            "org_id": desk.organization,
            "key_id": str(key.id),
            "key_prefix": key.prefix,
            "expires_at": (NOON + timedelta(days=90)).isoformat(),
        }
        assert answer.headers["cache-control"] == "no-store"
        assert (key.scopes, str(key.organization_id)) == (ALL_SCOPES, desk.organization)
        assert key.name == "PandaProbe CLI ada-laptop 2026-03-01"
        [user] = desk.site.store.users
        assert key.created_by == user
        actions = [one.action for one in desk.site.store.audit_log.values()]
        assert AuditAction.API_KEY_CREATED in actions

    async def test_the_name_of_a_key_is_cut(self, desk: Desk) -> None:
        code = (await desk.issued(label="ü" * 255)).json()["code"]
        await desk.exchanged(code)
        [key] = desk.keys
        assert len(key.name) == 255

    async def test_the_date_in_a_name_is_of_utc(self, desk: Desk) -> None:
        desk.clock.now = datetime(2026, 3, 1, 23, 59, 59, 999_999, tzinfo=UTC)
        code = await desk.code()
        desk.clock.now += timedelta(microseconds=1)
        await desk.exchanged(code)
        assert desk.keys[0].name.endswith(" 2026-03-02")

    async def test_the_key_opens_the_project_it_was_made_for(self, desk: Desk) -> None:
        body = (await desk.exchanged(await desk.code())).json()
        head = {"x-api-key": body["api_key"], "x-project-name": body["project_name"]}
        posted = await desk.site.http.post("/traces", headers=head, json=a_trace())
        assert posted.status_code == 202
        shown = await desk.site.http.get(f"/traces/{posted.json()['trace_id']}", headers=head)
        assert shown.json()["project_id"] == desk.project
        desk.clock.now += timedelta(days=90)
        late = await desk.site.http.get("/traces", headers=head)
        assert late.status_code == 401

    async def test_headers_of_credentials_are_not_looked_at(self, desk: Desk) -> None:
        as_sent = await desk.exchanged(await desk.code(), x_api_key="", x_project_name="")
        assert as_sent.status_code == 200
        nonsense = {"x_api_key": "bad", "x_project_name": "-", "x_organization_id": "x"}
        other = await desk.exchanged(await desk.code(), **nonsense, authorization="Bearer no")
        assert other.status_code == 200

    async def test_a_code_is_good_once(self, desk: Desk) -> None:
        code = await desk.code()
        answers = [await desk.exchanged(code) for _ in range(3)]
        assert [one.status_code for one in answers] == [200, 401, 401]
        assert len(desk.keys) == 1

    async def test_of_those_who_race_one_gets_a_key(self, desk: Desk) -> None:
        code = await desk.code()
        answers = await asyncio.gather(*(desk.exchanged(code) for _ in range(10)))
        assert sorted(one.status_code for one in answers) == [200] + [401] * 9
        assert len(desk.keys) == 1

    async def test_a_wrong_verifier_leaves_the_code_as_it_is(self, desk: Desk) -> None:
        code = await desk.code()
        wrong = [
            await desk.exchanged(code, one) for one in ("x", VERIFIER + "=", challenge_of(VERIFIER))
        ]
        assert [one.status_code for one in wrong] == [401] * 3
        assert desk.keys == []
        assert (await desk.exchanged(code)).status_code == 200

    @pytest.mark.parametrize(("seconds", "status"), [(119.999, 200), (120, 401), (86_400, 401)])
    async def test_a_code_expires(self, desk: Desk, seconds: float, status: int) -> None:
        code = await desk.code()
        desk.clock.now += timedelta(seconds=seconds)
        assert (await desk.exchanged(code)).status_code == status

    async def test_all_that_is_401_is_told_alike(self, desk: Desk) -> None:
        code = await desk.code()
        wrong = await desk.exchanged(code, "wrong")
        unknown = await desk.exchanged("A" * 43)
        await desk.exchanged(code)
        used = await desk.exchanged(code)
        late = await desk.code()
        desk.clock.now += timedelta(minutes=3)
        expired = await desk.exchanged(late)
        answers = [wrong, unknown, used, expired]
        assert [one.status_code for one in answers] == [401] * 4
        assert len({one.text for one in answers}) == 1

    async def test_who_is_no_member_any_more_gets_no_key(self, desk: Desk) -> None:
        code = await desk.code()
        desk.forget_membership()
        assert (await desk.exchanged(code)).status_code == 403
        assert desk.keys == []

    async def test_a_project_that_is_gone_opens_nothing(self, desk: Desk) -> None:
        code = await desk.code()
        desk.site.store.projects.clear()
        assert (await desk.exchanged(code)).status_code == 403
        assert desk.keys == []

    async def test_a_new_name_of_the_project_is_told(self, desk: Desk) -> None:
        code = await desk.code()
        [(key, project)] = desk.site.store.projects.items()
        desk.site.store.projects[key] = replace(project, name="renamed")
        assert (await desk.exchanged(code)).json()["project_name"] == "renamed"

    @pytest.mark.parametrize("field", ["code", "code_verifier"])
    @pytest.mark.parametrize("value", ["", None, 1, "a\0"])
    async def test_fields(self, desk: Desk, field: str, value: Any) -> None:
        body = {"code": "c", "code_verifier": "v"} | {field: value}
        refused = await desk.site.http.post("/cli/auth/exchange", json=body)
        assert set(mistakes(refused)) == {field}
        del body[field]
        refused = await desk.site.http.post("/cli/auth/exchange", json=body)
        assert mistakes(refused) == {field: "is required"}

    async def test_a_text_that_is_no_code(self, desk: Desk) -> None:
        assert (await desk.exchanged("é" * 10_000, "ü")).status_code == 401

    async def test_who_tries_codes_is_slowed_down_by_address(self) -> None:
        limits = {RouteClass.CLI_EXCHANGE: Limit(2, "minute")}
        site = Site(limits=limits)
        body = {"code": "c", "code_verifier": "v"}
        async with site.http as http:
            head = site.headers()  # no key makes another bucket
            answers = [await http.post("/cli/auth/exchange", json=body) for _ in range(2)]
            answers.append(await http.post("/cli/auth/exchange", json=body, headers=head))
            assert (await http.get("/cli-login")).status_code == 200
        assert [one.status_code for one in answers] == [401, 401, 429]
        assert answers[-1].headers["retry-after"]
