"""Alerts and webhooks: created, listed, tested, deleted."""

import base64
import uuid
from typing import Any

import pytest

from application.evaluation.ports.alerts import WEBHOOKS_MAX
from domain.evaluation.alerts.alert import RULES_MAX
from domain.identity.api_key import Scope
from tests.http.conftest import Site, field_errors
from tests.support.builders.values import NOON
from tests.support.clients.runs import RunningProject

MONITORS, WEBHOOKS = "/evaluations/monitors", "/evaluations/webhooks"
NOBODY = str(uuid.UUID(int=1))
MONITOR = {
    "name": "nightly",
    "target_type": "TRACE",
    "metrics": ["trace_success"],
    "cadence": "every_6h",
}
RULE = {"metric": "trace_success", "figure": "score_mean", "threshold": 0.5, "samples_min": 1}
URL = "https://hooks.example.com/a?b=c"
MASKED = "https://hooks.example.com/…?b=c"
REPEAT = {"idempotency-key": "once"}


@pytest.fixture
async def shop(either: Site) -> RunningProject:
    """A project with one trace; the clock shows noon."""
    made = await RunningProject.over(either)
    either.now = NOON
    return made


async def made(shop: RunningProject, path: str, body: Any) -> Any:
    answer = await shop("POST", path, body)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture
async def alerts(shop: RunningProject) -> str:
    """The path of the alerts of a monitor."""
    return f"{MONITORS}/{(await made(shop, MONITORS, MONITOR))['id']}/alerts"


class TestAlerts:
    async def test_created_alert_is_returned_and_listed(
        self, shop: RunningProject, alerts: str
    ) -> None:
        alert = await made(shop, alerts, RULE)
        [project] = shop.site.store.projects
        assert alert == {
            "id": alert["id"],
            "project_id": str(project),
            "monitor_id": alerts.split("/")[3],
            "metric": "trace_success",
            "figure": "score_mean",
            "threshold": 0.5,
            "clear_at": 0.5,
            "samples_min": 1,
            "breaches": 1,
            "recoveries": 1,
            "state": "OK",
            "since": "2026-03-01T12:00:00+00:00",
            "value": None,
            "created_at": "2026-03-01T12:00:00+00:00",
        }
        assert await shop.read(alerts) == [alert]

    async def test_missing_data_alert_needs_no_threshold(
        self, shop: RunningProject, alerts: str
    ) -> None:
        alert = await made(shop, alerts, {"metric": "trace_success", "figure": "no_data"})
        assert (alert["threshold"], alert["clear_at"], alert["samples_min"]) == (0.0, 0.0, 5)

    @pytest.mark.parametrize(
        ("overrides", "fields"),
        [
            ({"metric": "coherence"}, {"metric"}),
            ({"metric": "", "figure": "median"}, {"metric", "figure"}),
            ({"threshold": None}, {"threshold"}),
            ({"threshold": 1.5, "clear_at": -1}, {"threshold", "clear_at"}),
            ({"clear_at": 0.4}, {"clear_at"}),
            ({"figure": "drop", "clear_at": 0.6}, {"clear_at"}),
            (
                {"samples_min": 0, "breaches": 101, "recoveries": 0},
                {"samples_min", "breaches", "recoveries"},
            ),
        ],
        ids=["other", "words", "none", "beyond", "low", "high", "counts"],
    )
    async def test_invalid_rules_are_refused(
        self, shop: RunningProject, alerts: str, overrides: Any, fields: set[str]
    ) -> None:
        answer = await shop("POST", alerts, RULE | overrides)
        assert answer.status_code == 422
        assert {one.removeprefix("body.") for one in field_errors(answer)} == fields
        assert await shop.read(alerts) == []

    async def test_repeated_request_creates_one(self, shop: RunningProject, alerts: str) -> None:
        first = await shop("POST", alerts, RULE, **REPEAT)
        again = await shop("POST", alerts, RULE, **REPEAT)
        assert (again.status_code, again.content) == (201, first.content)
        assert len(await shop.read(alerts)) == 1

    async def test_limit_per_owner_is_enforced(self, shop: RunningProject, alerts: str) -> None:
        for _ in range(RULES_MAX):
            await made(shop, alerts, RULE)
        full = await shop("POST", alerts, RULE)
        assert (full.status_code, "delete one" in full.text) == (409, True)

    async def test_deleted_one_is_gone(self, shop: RunningProject, alerts: str) -> None:
        alert = await made(shop, alerts, RULE)
        path = f"{alerts}/{alert['id']}"
        assert (await shop("DELETE", path)).status_code == 204
        assert (await shop("DELETE", path)).status_code == 404
        assert await shop.read(alerts) == []

    async def test_changed_alert_keeps_state_and_restarts_its_count(
        self, shop: RunningProject, alerts: str
    ) -> None:
        alert = await made(shop, alerts, RULE)
        path = f"{alerts}/{alert['id']}"
        answer = await shop("PATCH", path, {"threshold": 0.4, "breaches": 3})
        changed = alert | {"threshold": 0.4, "clear_at": 0.4, "breaches": 3}
        assert (answer.status_code, answer.json()) == (200, changed)
        assert await shop.read(alerts) == [changed]
        assert (await shop("PATCH", path, {})).json() == changed
        refused = await shop("PATCH", path, {"clear_at": 0.1, "samples_min": 0})
        assert refused.status_code == 422
        for body in ({"metric": "coherence"}, {"figure": "drop"}, {"threshold": None}):
            assert (await shop("PATCH", path, body)).status_code == 422, body
        apart = await shop("PATCH", path, {"clear_at": 0.9})
        assert apart.json()["clear_at"] == 0.9
        assert (await shop("PATCH", path, {"clear_at": None})).json()["clear_at"] == 0.4

    async def test_alerts_of_project_are_listed_by_state(
        self, shop: RunningProject, alerts: str
    ) -> None:
        alert = await made(shop, alerts, RULE | {"figure": "no_data", "samples_min": 5})
        other = await made(shop, alerts, RULE)
        every = await shop.read("/evaluations/alerts?limit=1")
        assert every["total"] == 2
        following = await shop.read(f"/evaluations/alerts?limit=1&cursor={every['next_cursor']}")
        assert {one["id"] for one in every["items"] + following["items"]} == {
            alert["id"],
            other["id"],
        }
        assert (await shop.read("/evaluations/alerts?state=ALERTING"))["items"] == []
        await shop("POST", alerts.replace("alerts", "trigger"))
        await shop.run_jobs()
        await shop.do.alerting.evaluate_runs()
        [alerting] = (await shop.read("/evaluations/alerts?state=ALERTING"))["items"]
        assert (alerting["id"], alerting["value"]) == (alert["id"], 1.0)
        [change] = (await shop.read("/evaluations/alert-changes?state=ALERTING"))["items"]
        of_monitor = await shop.read(alerts.replace("alerts", "alert-changes"))
        assert of_monitor["items"] == [change]
        assert (await shop.read("/evaluations/alert-changes?state=OK"))["total"] == 0
        stale = await shop("GET", f"/evaluations/alerts?state=OK&cursor={every['next_cursor']}")
        assert stale.status_code == 422
        assert (await shop("GET", "/evaluations/alerts?state=BAD")).status_code == 422

    async def test_preview_says_what_an_alert_then_says(
        self, shop: RunningProject, alerts: str
    ) -> None:
        rule = RULE | {"figure": "no_data", "samples_min": 5}
        assert (await shop("POST", f"{alerts}/preview", rule)).json() == []
        run = (await shop("POST", alerts.replace("alerts", "trigger"))).json()
        await shop.run_jobs()
        before = await shop.read(alerts)
        answer = await shop("POST", f"{alerts}/preview", rule)
        assert answer.status_code == 200, answer.text
        [seen] = answer.json()
        assert (seen["run_id"], seen["value"]) == (run["id"], 1.0)
        assert (seen["before"], seen["state"]) == ("OK", "ALERTING")
        assert (seen["scored"] + seen["failed"] + seen["skipped"]) == 1
        assert (seen["mean"] is None) == (seen["scored"] == 0)
        few = await shop("POST", f"{alerts}/preview", RULE | {"samples_min": 9})
        assert [(one["value"], one["state"]) for one in few.json()] == [(None, "NO_DATA")]
        assert await shop.read(alerts) == before == []

    @pytest.mark.parametrize("overrides", [{"metric": "coherence"}, {"threshold": None}, {"a": 1}])
    async def test_preview_of_an_invalid_rule_is_refused(
        self, shop: RunningProject, alerts: str, overrides: Any
    ) -> None:
        answer = await shop("POST", f"{alerts}/preview", RULE | overrides)
        assert answer.status_code == 422

    async def test_unknown_monitor_is_404(self, shop: RunningProject) -> None:
        for method, path, body in (
            ("POST", "alerts", RULE),
            ("GET", "alerts", None),
            ("GET", "alert-changes", None),
            ("POST", "alerts/preview", RULE),
            ("PATCH", f"alerts/{NOBODY}", {"breaches": 2}),
            ("DELETE", f"alerts/{NOBODY}", None),
        ):
            answer = await shop(method, f"{MONITORS}/{NOBODY}/{path}", body)
            assert answer.status_code == 404, method

    async def test_state_change_is_listed_and_sent(self, shop: RunningProject, alerts: str) -> None:
        hook = await made(shop, WEBHOOKS, {"url": URL})
        await made(shop, alerts, RULE | {"figure": "no_data", "samples_min": 5})
        started = await shop("POST", alerts.replace("alerts", "trigger"))
        await shop.run_jobs()
        await shop.do.alerting.evaluate_runs()
        page = await shop.read(alerts.replace("alerts", "alert-changes"))
        [change] = page["items"]
        assert (page["total"], page["next_cursor"]) == (1, None)
        assert (change["before"], change["state"], change["value"]) == ("OK", "ALERTING", 1.0)
        assert change["run_id"] == started.json()["id"]
        assert (change["scored"], change["failed"], change["skipped"]) == (1, 0, 0)
        [alert] = await shop.read(alerts)
        assert (alert["state"], alert["value"]) == ("ALERTING", 1.0)
        log = f"{WEBHOOKS}/{hook['id']}/deliveries"
        [waiting] = (await shop.read(log))["items"]
        assert waiting["message"]["data"]["change_id"] == waiting["change_id"] == change["id"]
        assert (waiting["status"], waiting["attempts"]) == ("PENDING", 0)


class TestWebhooks:
    async def test_secret_is_returned_once(self, shop: RunningProject) -> None:
        hook = await made(shop, WEBHOOKS, {"url": URL})
        secret = hook.pop("secret")
        assert secret.startswith("whsec_")
        assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
        assert list(hook) == ["id", "project_id", "url", "format", "created_at"]
        assert await shop.read(WEBHOOKS) == [hook]

    async def test_url_is_masked_without_the_scope_that_creates_it(
        self, shop: RunningProject
    ) -> None:
        hook = await made(shop, WEBHOOKS, {"url": URL})
        reader = shop.head | {"x-api-key": shop.site.key(Scope.READ)}
        answer = await shop.site.http.get(WEBHOOKS, headers=reader)
        [shown] = answer.json()
        assert shown == {name: hook[name] for name in shown} | {"url": MASKED}

    async def test_format_is_kept_and_standard_by_default(self, shop: RunningProject) -> None:
        sent = ({"url": URL}, *({"url": URL, "format": one} for one in ("slack", "teams")))
        hooks = [await made(shop, WEBHOOKS, body) for body in sent]
        assert [hook["format"] for hook in hooks] == ["standard", "slack", "teams"]
        listed = {hook["id"]: hook["format"] for hook in await shop.read(WEBHOOKS)}
        assert listed == {hook["id"]: hook["format"] for hook in hooks}
        refused = await shop("POST", WEBHOOKS, {"url": URL, "format": "mail"})
        assert refused.status_code == 422

    async def test_limit_per_owner_is_enforced(self, shop: RunningProject) -> None:
        hooks = [await made(shop, WEBHOOKS, {"url": URL}) for _ in range(WEBHOOKS_MAX)]
        full = await shop("POST", WEBHOOKS, {"url": URL})
        assert (full.status_code, "delete one" in full.text) == (409, True)
        assert (await shop("DELETE", f"{WEBHOOKS}/{hooks[0]['id']}")).status_code == 204
        await made(shop, WEBHOOKS, {"url": URL})

    async def test_repeated_request_never_returns_the_secret(self, shop: RunningProject) -> None:
        first = await shop("POST", WEBHOOKS, {"url": URL}, **REPEAT)
        again = await shop("POST", WEBHOOKS, {"url": URL}, **REPEAT)
        assert (first.status_code, again.status_code) == (201, 409)
        assert first.json()["id"] in again.json()["detail"]
        assert len(await shop.read(WEBHOOKS)) == 1

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "http://hooks.example.com",
            "https://10.0.0.1/",
            "https://localhost/",
            "https://[::ffff:169.254.169.254]/",
            "https://u:p@hooks.example.com",
            "https://[hooks.example.com",
            "file:///etc/passwd",
            "https://hooks.example.com/" + "x" * 2_048,
            None,
            7,
        ],
        ids=[
            "empty",
            "http",
            "ip",
            "localhost",
            "mapped",
            "user",
            "bracket",
            "file",
            "long",
            "null",
            "number",
        ],
    )
    async def test_forbidden_urls_are_refused(self, shop: RunningProject, url: Any) -> None:
        answer = await shop("POST", WEBHOOKS, {"url": url})
        assert answer.status_code == 422
        assert {one.removeprefix("body.") for one in field_errors(answer)} == {"url"}
        assert await shop.read(WEBHOOKS) == []

    async def test_test_message_is_delivered(self, shop: RunningProject) -> None:
        hook = await made(shop, WEBHOOKS, {"url": URL})
        path = f"{WEBHOOKS}/{hook['id']}"
        first = await shop("POST", f"{path}/test", **REPEAT)
        again = await shop("POST", f"{path}/test", **REPEAT)
        assert (first.status_code, again.content) == (202, first.content)
        assert first.json()["message"]["type"] == "webhook.test"
        page = await shop.read(f"{path}/deliveries")
        assert page["items"] == [first.json()]

    async def test_deleted_one_is_gone(self, shop: RunningProject) -> None:
        hook = await made(shop, WEBHOOKS, {"url": URL})
        webhook = f"{WEBHOOKS}/{hook['id']}"
        assert (await shop("DELETE", webhook)).status_code == 204
        for method, path in (
            ("DELETE", webhook),
            ("POST", f"{webhook}/test"),
            ("GET", f"{webhook}/deliveries"),
        ):
            assert (await shop(method, path)).status_code == 404
        assert await shop.read(WEBHOOKS) == []
