"""Login of the command line: issuing codes, and exchanging them for keys."""

import asyncio
import base64
import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from adapters.memory.identity.identity import MemoryTokens
from domain.identity.api_key import ALL_SCOPES, ApiKey
from domain.identity.audit import AuditAction
from domain.identity.caller import Claims
from domain.identity.login_code import challenge_of
from domain.limits import Limit
from entrypoints.http.middleware.rate_limits import RouteClass
from tests.http.conftest import ADA, TOKEN, Site, a_trace, field_errors
from tests.support.builders.values import NOON
from tests.support.fakes.clocks import ManualClock

BEARER = {"authorization": f"Bearer {TOKEN}"}
OF_BOB = {"authorization": "Bearer a-token-of-bob"}
BOB = Claims(issuer=ADA.issuer, subject="bob", email="bob@example.com")
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636, appendix B
SOME_ID = str(uuid.UUID(int=1))


@dataclass
class SignedInSite:
    """A site with a signed-in person, Ada, and its clock."""

    site: Site
    clock: ManualClock[datetime]
    organization: str
    project: str

    def request(self, **overrides: Any) -> dict[str, Any]:
        known = {
            "org_id": self.organization,
            "project_id": self.project,
            "code_challenge": challenge_of(VERIFIER),
            "label": "ada-laptop",
        }
        return known | overrides

    async def issue(self, **overrides: Any) -> httpx.Response:
        body = self.request(**overrides)
        return await self.site.http.post("/cli/auth/codes", headers=BEARER, json=body)

    async def code(self) -> str:
        answer = await self.issue()
        assert answer.status_code == 201, answer.text
        return str(answer.json()["code"])

    async def exchange(self, code: str, verifier: str = VERIFIER, **headers: str) -> Any:
        body = {"code": code, "code_verifier": verifier}
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.site.http.post("/cli/auth/exchange", headers=said, json=body)

    @property
    def keys(self) -> list[ApiKey]:
        return list(self.site.store.keys.values())

    def end_membership(self) -> None:
        [member] = self.site.store.memberships
        del self.site.store.memberships[member]


@pytest.fixture(scope="module")
def of_two_people() -> tuple[Site, ManualClock[datetime]]:
    clock = ManualClock(NOON)
    tokens = MemoryTokens({TOKEN: ADA, "a-token-of-bob": BOB})
    return Site(swapped={"clock": clock, "tokens": tokens}), clock


@pytest.fixture
async def login(of_two_people: tuple[Site, ManualClock[datetime]]) -> AsyncIterator[SignedInSite]:
    site, clock = of_two_people
    site.begin()
    clock.now = NOON
    async with site.http:
        # The first sign-in creates an organization with a project.
        first = {"org_id": SOME_ID, "project_id": SOME_ID, "code_challenge": "c", "label": "l"}
        refused = await site.http.post("/cli/auth/codes", headers=BEARER, json=first)
        assert refused.status_code == 403
        [project] = site.store.projects.values()
        yield SignedInSite(site, clock, str(project.organization_id), str(project.id))


class TestCodes:
    async def test_issuing_a_code_creates_no_key(self, login: SignedInSite) -> None:
        answer = await login.issue(code_challenge_method="S256", expires_days=90)
        assert answer.status_code == 201
        body = answer.json()
        assert list(body) == ["code", "expires_in"]
        assert body["expires_in"] == 120
        assert re.fullmatch("[A-Za-z0-9_-]{43}", body["code"])
        assert len(base64.urlsafe_b64decode(body["code"] + "=")) == 32
        assert answer.headers["cache-control"] == "no-store"
        assert login.keys == []
        actions = [one.action for one in login.site.store.audit_log.values()]
        assert AuditAction.LOGIN_CODE_ISSUED in actions

    async def test_method_and_days_are_optional(self, login: SignedInSite) -> None:
        assert (await login.issue()).status_code == 201

    async def test_code_needs_a_token_and_refuses_a_key(self, login: SignedInSite) -> None:
        body = login.request()
        for headers in ({}, login.site.headers(), {"authorization": "Bearer no"}):
            answer = await login.site.http.post("/cli/auth/codes", headers=headers, json=body)
            assert answer.status_code == 401
        both = BEARER | {"x-api-key": "nonsense"}
        answer = await login.site.http.post("/cli/auth/codes", headers=both, json=body)
        assert answer.status_code == 201

    @pytest.mark.parametrize("field", ["org_id", "project_id", "code_challenge", "label"])
    async def test_missing_fields_are_named(self, login: SignedInSite, field: str) -> None:
        body = login.request()
        del body[field]
        refused = await login.site.http.post("/cli/auth/codes", headers=BEARER, json=body)
        assert field_errors(refused) == {field: "is required"}

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
            ("label", "a\nb"),
            ("label", "a\u202eb"),
            ("expires_days", 89),
            ("expires_days", 91),
            ("expires_days", 0),
            ("expires_days", 90.5),
            ("expires_days", None),
            ("expires_days", True),
        ],
    )
    async def test_invalid_fields_are_named(
        self, login: SignedInSite, field: str, value: Any
    ) -> None:
        assert set(field_errors(await login.issue(**{field: value}))) == {field}
        assert login.site.store.login_codes == {}

    async def test_all_field_errors_are_reported_together(self, login: SignedInSite) -> None:
        refused = await login.issue(code_challenge=" ", code_challenge_method="plain", label="")
        assert set(field_errors(refused)) == {"code_challenge", "code_challenge_method", "label"}

    @pytest.mark.parametrize("label", ["l" * 255, "Adas Läptop", " "])
    async def test_labels_up_to_255_characters_are_accepted(
        self, login: SignedInSite, label: str
    ) -> None:
        assert (await login.issue(label=label)).status_code == 201

    async def test_organization_of_the_body_counts_and_not_the_header(
        self, login: SignedInSite
    ) -> None:
        foreign = str(login.site.organization)
        theirs = login.site.project()
        for organization in (foreign, SOME_ID):
            refused = await login.issue(org_id=organization, project_id=theirs)
            assert refused.status_code == 403
        # A header with another organization of the caller has no effect; a foreign one is refused.
        body, headers = login.request(), BEARER | {"x-organization-id": foreign}
        refused = await login.site.http.post("/cli/auth/codes", headers=headers, json=body)
        assert refused.status_code == 403

    async def test_foreign_project_gets_the_same_404_as_an_unknown_one(
        self, login: SignedInSite
    ) -> None:
        theirs = await login.issue(project_id=login.site.project())
        unknown = await login.issue(project_id=SOME_ID)
        assert [theirs.status_code, unknown.status_code] == [404, 404]
        assert theirs.json() == unknown.json()
        assert login.site.store.login_codes == {}

    async def test_non_member_gets_403(self, login: SignedInSite) -> None:
        refused = await login.site.http.post(
            "/cli/auth/codes", headers=OF_BOB, json=login.request()
        )
        assert refused.status_code == 403


class TestExchange:
    async def test_exchange_returns_all_fields_of_the_key(self, login: SignedInSite) -> None:
        answer = await login.exchange(await login.code())
        assert answer.status_code == 200
        body = answer.json()
        [key] = login.keys
        assert re.fullmatch("pp_[0-9a-f]{64}", body.pop("api_key"))
        assert body == {
            "project_name": "onboarding",
            "org_id": login.organization,
            "key_id": str(key.id),
            "key_prefix": key.prefix,
            "expires_at": (NOON + timedelta(days=90)).isoformat(),
        }
        assert answer.headers["cache-control"] == "no-store"
        assert (key.scopes, str(key.organization_id)) == (ALL_SCOPES, login.organization)
        assert key.name == "PandaProbe CLI ada-laptop 2026-03-01"
        [user] = login.site.store.users
        assert key.created_by == user
        actions = [one.action for one in login.site.store.audit_log.values()]
        assert AuditAction.API_KEY_CREATED in actions

    async def test_key_name_is_truncated(self, login: SignedInSite) -> None:
        code = (await login.issue(label="ü" * 255)).json()["code"]
        await login.exchange(code)
        [key] = login.keys
        assert len(key.name) == 255

    async def test_date_in_the_key_name_is_in_utc(self, login: SignedInSite) -> None:
        login.clock.now = datetime(2026, 3, 1, 23, 59, 59, 999_999, tzinfo=UTC)
        code = await login.code()
        login.clock.now += timedelta(microseconds=1)
        await login.exchange(code)
        assert login.keys[0].name.endswith(" 2026-03-02")

    async def test_key_opens_the_project_of_the_code(self, login: SignedInSite) -> None:
        body = (await login.exchange(await login.code())).json()
        head = {"x-api-key": body["api_key"], "x-project-name": body["project_name"]}
        posted = await login.site.http.post("/traces", headers=head, json=a_trace())
        assert posted.status_code == 202
        shown = await login.site.http.get(f"/traces/{posted.json()['trace_id']}", headers=head)
        assert shown.json()["project_id"] == login.project
        login.clock.now += timedelta(days=90)
        late = await login.site.http.get("/traces", headers=head)
        assert late.status_code == 401

    async def test_credential_headers_are_ignored(self, login: SignedInSite) -> None:
        as_sent = await login.exchange(await login.code(), x_api_key="", x_project_name="")
        assert as_sent.status_code == 200
        nonsense = {"x_api_key": "bad", "x_project_name": "-", "x_organization_id": "x"}
        other = await login.exchange(await login.code(), **nonsense, authorization="Bearer no")
        assert other.status_code == 200

    async def test_code_can_be_exchanged_once(self, login: SignedInSite) -> None:
        code = await login.code()
        answers = [await login.exchange(code) for _ in range(3)]
        assert [one.status_code for one in answers] == [200, 401, 401]
        assert len(login.keys) == 1

    async def test_concurrent_exchanges_create_one_key(self, login: SignedInSite) -> None:
        code = await login.code()
        answers = await asyncio.gather(*(login.exchange(code) for _ in range(10)))
        assert sorted(one.status_code for one in answers) == [200] + [401] * 9
        assert len(login.keys) == 1

    async def test_wrong_verifier_does_not_use_up_the_code(self, login: SignedInSite) -> None:
        code = await login.code()
        wrong = [
            await login.exchange(code, one) for one in ("x", VERIFIER + "=", challenge_of(VERIFIER))
        ]
        assert [one.status_code for one in wrong] == [401] * 3
        assert login.keys == []
        assert (await login.exchange(code)).status_code == 200

    @pytest.mark.parametrize(("seconds", "status"), [(119.999, 200), (120, 401), (86_400, 401)])
    async def test_code_expires(self, login: SignedInSite, seconds: float, status: int) -> None:
        code = await login.code()
        login.clock.now += timedelta(seconds=seconds)
        assert (await login.exchange(code)).status_code == status

    async def test_every_401_has_the_same_body(self, login: SignedInSite) -> None:
        code = await login.code()
        wrong = await login.exchange(code, "wrong")
        unknown = await login.exchange("A" * 43)
        await login.exchange(code)
        used = await login.exchange(code)
        late = await login.code()
        login.clock.now += timedelta(minutes=3)
        expired = await login.exchange(late)
        answers = [wrong, unknown, used, expired]
        assert [one.status_code for one in answers] == [401] * 4
        assert len({one.text for one in answers}) == 1

    async def test_former_member_gets_403(self, login: SignedInSite) -> None:
        code = await login.code()
        login.end_membership()
        assert (await login.exchange(code)).status_code == 403
        assert login.keys == []

    async def test_code_of_a_deleted_project_is_refused(self, login: SignedInSite) -> None:
        code = await login.code()
        login.site.store.projects.clear()
        assert (await login.exchange(code)).status_code == 403
        assert login.keys == []

    async def test_renamed_project_is_returned_by_its_new_name(self, login: SignedInSite) -> None:
        code = await login.code()
        [(key, project)] = login.site.store.projects.items()
        login.site.store.projects[key] = replace(project, name="renamed")
        assert (await login.exchange(code)).json()["project_name"] == "renamed"

    @pytest.mark.parametrize("field", ["code", "code_verifier"])
    @pytest.mark.parametrize("value", ["", None, 1, "a\0"])
    async def test_exchange_fields_are_validated(
        self, login: SignedInSite, field: str, value: Any
    ) -> None:
        body = {"code": "c", "code_verifier": "v"} | {field: value}
        refused = await login.site.http.post("/cli/auth/exchange", json=body)
        assert set(field_errors(refused)) == {field}
        del body[field]
        refused = await login.site.http.post("/cli/auth/exchange", json=body)
        assert field_errors(refused) == {field: "is required"}

    async def test_malformed_code_is_401(self, login: SignedInSite) -> None:
        assert (await login.exchange("é" * 10_000, "ü")).status_code == 401

    async def test_exchanges_are_rate_limited_by_address(self) -> None:
        limits = {RouteClass.CLI_EXCHANGE: Limit(2, "minute")}
        site = Site(limits=limits)
        body = {"code": "c", "code_verifier": "v"}
        async with site.http as http:
            head = site.headers()  # a key doesn't change the bucket
            answers = [await http.post("/cli/auth/exchange", json=body) for _ in range(2)]
            answers.append(await http.post("/cli/auth/exchange", json=body, headers=head))
            assert (await http.get("/cli-login")).status_code == 200
        assert [one.status_code for one in answers] == [401, 401, 429]
        assert answers[-1].headers["retry-after"]
