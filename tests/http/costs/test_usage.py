"""Judge costs over HTTP: estimates, usage, budgets."""

import uuid
from datetime import timedelta
from typing import Any

import pytest

from domain.identity.organization import Role
from domain.ids import OrganizationId, ProjectId, RunId
from tests.contracts.evaluation.judging.test_judge_ledger import an_entry
from tests.http.conftest import Site, field_errors
from tests.support.builders.values import NOON
from tests.support.clients.organization_members import PersonClient, new_member, new_person
from tests.support.clients.runs import RUNS, SESSION_RUNS, RunningProject

JUDGED = {"metrics": ["task_completion"], "model": "gpt-4o"}
OF_SESSIONS = {"metrics": ["agent_reliability"], "model": "gpt-4o"}
NOBODY = str(uuid.UUID(int=1))
NOTHING = {
    "calls": 0,
    "failed_calls": 0,
    "unpriced_calls": 0,
    "estimated_calls": 0,
    "input_tokens": 0,
    "cache_read_tokens": 0,
    "cache_write_tokens": 0,
    "output_tokens": 0,
    "reasoning_tokens": 0,
    "cost_usd": 0.0,
}
ONE = NOTHING | {"calls": 1, "input_tokens": 100, "output_tokens": 10, "cost_usd": 0.001}


class TestEstimates:
    @pytest.fixture
    async def shop(self, either: Site) -> RunningProject:
        made = await RunningProject.over(either)
        await made.store_trace(trace_id=TRACE, session_id="talk", input="find a", output="found a")
        return made

    async def estimated(self, shop: RunningProject, path: str, body: dict[str, Any]) -> Any:
        answer = await shop("POST", f"{path}/estimate", body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def test_every_way_to_start_a_run_has_an_estimate(self, shop: RunningProject) -> None:
        trace = {"trace_ids": [TRACE]}
        session = {"session_ids": ["talk"]}
        for path, body in (
            (RUNS, JUDGED | {"filters": {"session_id": "talk"}}),
            (f"{RUNS}/batch", JUDGED | trace),
            (SESSION_RUNS, OF_SESSIONS | {"filters": {"user_id": "nobody"}}),
            (f"{SESSION_RUNS}/batch", OF_SESSIONS | session),
        ):
            if path == SESSION_RUNS:
                assert (await shop("POST", f"{path}/estimate", body)).status_code == 422
                continue
            found = await self.estimated(shop, path, body)
            assert found == {
                "model": "openai/gpt-4o",
                "targets": 1,
                "looked_at": 1,
                "questions": {"low": 1, "high": 1},
                "input_tokens": dict.fromkeys(("low", "high"), found["input_tokens"]["low"]),
                "output_tokens": {"low": 60, "high": 1500},
                "cost_usd": found["cost_usd"],
                "remembered_share": 0.0,
                "assumptions": found["assumptions"],
            }
            assert 0 < found["cost_usd"]["low"] < found["cost_usd"]["high"] < 0.05
        assert (await shop.read(RUNS))["total"] == (await shop.read(SESSION_RUNS))["total"] == 0
        assert shop.take_jobs() == []

    async def test_heuristic_costs_nothing_and_unpriced_model_is_null(
        self, shop: RunningProject
    ) -> None:
        free = await self.estimated(shop, RUNS, {"metrics": ["trace_success"]})
        assert (free["targets"], free["looked_at"]) == (2, 0)
        assert free["cost_usd"] == {"low": 0.0, "high": 0.0}
        unknown = await self.estimated(shop, RUNS, JUDGED | {"model": "openai/nobody-knows"})
        assert unknown["cost_usd"] is None
        assert unknown["questions"]["high"] > 0

    async def test_estimate_includes_votes(self, shop: RunningProject) -> None:
        found = await self.estimated(
            shop, f"{RUNS}/batch", JUDGED | {"trace_ids": [TRACE], "votes": 5}
        )
        assert found["questions"] == {"low": 1, "high": 5}

    @pytest.mark.parametrize("path", [RUNS, f"{RUNS}/batch", SESSION_RUNS, f"{SESSION_RUNS}/batch"])
    async def test_invalid_runs_are_refused(self, shop: RunningProject, path: str) -> None:
        ids: dict[str, Any] = {
            f"{RUNS}/batch": {"trace_ids": [TRACE]},
            f"{SESSION_RUNS}/batch": {"session_ids": ["talk"]},
        }.get(path, {})
        refused = await shop("POST", f"{path}/estimate", ids | {"metrics": ["x"], "votes": 2})
        assert set(field_errors(refused)) == {"metrics.0", "votes"}

    async def test_estimate_ignores_other_projects(self, shop: RunningProject) -> None:
        other = await RunningProject.over(shop.site)
        body = JUDGED | {"trace_ids": [TRACE]}
        found = await self.estimated(other, f"{RUNS}/batch", body)
        assert (found["targets"], found["questions"]) == (1, {"low": 0, "high": 0})


TRACE = str(uuid.UUID(int=7))


@pytest.mark.parametrize("path", [RUNS, SESSION_RUNS])
async def test_usage_of_a_run(either: Site, path: str) -> None:
    shop = await RunningProject.over(either)
    run = await shop.start_run()
    assert await shop.read(f"{path}/{run['id']}/usage") == NOTHING
    [project] = either.store.projects
    entry = an_entry(project_id=project, run_id=RunId(uuid.UUID(run["id"])))
    ports = either.swapped.get("evaluation", either.ports.evaluation)
    await ports.judging.ledger.append([entry])
    assert await shop.read(f"{path}/{run['id']}/usage") == ONE
    other = await RunningProject.over(either)
    assert (await other("GET", f"{path}/{run['id']}/usage")).status_code == 404
    assert (await shop("GET", f"{path}/{NOBODY}/usage")).status_code == 404
    assert set(field_errors(await shop("GET", f"{path}/x/usage"))) == {"path.run_id"}


# --- organizations ---


@pytest.fixture
def ada(site: Site) -> PersonClient:
    site.now = NOON
    return new_person(site, "ada@example.com")


@pytest.fixture
async def ours(ada: PersonClient) -> str:
    """The path of an organization that Ada owns."""
    return f"/organizations/{(await ada.call('POST', '/organizations', {'name': 'Acme'}))['id']}"


@pytest.fixture
async def bot(ada: PersonClient, ours: str) -> str:
    """The id of a project of that organization."""
    return str((await ada.call("POST", f"{ours}/projects", {"name": "bot"}))["id"])


async def entered(site: Site, project: str, **overrides: Any) -> None:
    entry = an_entry(project_id=ProjectId(uuid.UUID(project)), **overrides)
    await site.ports.evaluation.judging.ledger.append([entry])


class TestUsage:
    async def test_usage_has_a_total_and_groups(
        self, site: Site, ada: PersonClient, ours: str, bot: str
    ) -> None:
        await entered(site, bot)
        await entered(site, bot, created_at=NOON - timedelta(days=2))
        usage = await ada.read(f"{ours}/usage")
        assert usage == {
            "date_from": "2026-03-01T00:00:00+00:00",
            "date_to": None,
            "by": "project",
            "total": ONE,
            "parts": [{"key": bot} | ONE],
        }
        for by, key in (
            *(("model", "openai/tiny"), ("metric", "task_completion"), ("day", "2026-03-01")),
        ):
            [part] = (await ada.read(f"{ours}/usage?by={by}"))["parts"]
            assert part["key"] == key
        longer = await ada.read(f"{ours}/usage?date_from=2026-02-01&date_to=2026-03-02&by=day")
        assert [one["key"] for one in longer["parts"]] == ["2026-02-27", "2026-03-01"]
        assert longer["total"]["calls"] == 2
        assert (await ada.read(f"{ours}/usage?date_to=2026-03-01"))["total"]["calls"] == 1

    async def test_invalid_parameters_are_named(self, ada: PersonClient, ours: str) -> None:
        wrong = await ada("GET", f"{ours}/usage?date_from=soon&date_to=x&by=user")
        assert set(field_errors(wrong)) == {"query.date_from", "query.date_to", "query.by"}
        long = await ada("GET", f"{ours}/usage?date_from=2025-01-01")
        assert set(field_errors(long)) == {"query.date_from"}
        first = await ada("GET", f"{ours}/usage?date_to=0001-01-01")
        assert first.status_code == 200


class TestBudgets:
    async def test_budget_is_set_read_and_removed(
        self, site: Site, ada: PersonClient, ours: str, bot: str
    ) -> None:
        path = f"{ours}/projects/{bot}/budget"
        nothing = {
            "project_id": bot,
            "month": "2026-03",
            "monthly_usd": None,
            "spent_usd": 0.0,
            "unpriced_calls": 0,
        }
        assert await ada.read(path) == nothing
        await entered(site, bot)
        await entered(site, bot, usd=None)
        spent = {"spent_usd": 0.001, "unpriced_calls": 1}
        for second, usd in enumerate((25, 0.1, 0, None)):
            site.now = NOON + timedelta(seconds=second)
            made = await ada.call("PUT", path, {"monthly_usd": usd})
            assert made == nothing | spent | {"monthly_usd": usd}
            assert await ada.read(path) == made
        entry = (await ada.read(f"{ours}/audit-log"))["items"][0]
        assert (entry["action"], entry["resource"]["id"]) == ("project.budget_changed", bot)
        assert entry["detail"] == {"from": "0 USD a month", "to": "none"}

    @pytest.mark.parametrize("usd", [-1, 1_000_001, 1e-7, "much", True, [], 1e400])
    async def test_invalid_budgets_are_refused(
        self, ada: PersonClient, ours: str, bot: str, usd: Any
    ) -> None:
        path = f"{ours}/projects/{bot}/budget"
        if usd == 1e400:
            usd = "1e400"
        assert set(field_errors(await ada("PUT", path, {"monthly_usd": usd}))) == {"monthly_usd"}
        assert set(field_errors(await ada("PUT", path, {}))) == {"monthly_usd"}
        assert (await ada.read(path))["monthly_usd"] is None

    async def test_members_may_read_but_not_set_it(
        self, site: Site, ada: PersonClient, ours: str, bot: str
    ) -> None:
        bob = new_member(site, OrganizationId(uuid.UUID(ours[-36:])), "bob@x.example", Role.MEMBER)
        path = f"{ours}/projects/{bot}/budget"
        await ada.call("PUT", path, {"monthly_usd": 5})
        refused = await bob("PUT", path, {"monthly_usd": None})
        assert refused.status_code == 403
        assert "change budgets" in refused.json()["detail"]
        assert (await bob.read(path))["monthly_usd"] == 5
        for method in ("GET", "PUT"):
            nowhere = f"{ours}/projects/{NOBODY}/budget"
            body = {"monthly_usd": 1} if method == "PUT" else None
            assert (await ada(method, nowhere, body)).status_code == 404


class TestLimits:
    async def test_limits_are_stored_and_inherited(
        self, site: Site, ada: PersonClient, ours: str, bot: str
    ) -> None:
        path = f"{ours}/limits"
        nothing = await ada.read(path)
        assert nothing == {
            "org_id": ours.rpartition("/")[2],
            "month": "2026-03",
            "monthly_usd": None,
            "spent_usd": 0.0,
            "unpriced_calls": 0,
            "project_monthly_usd": None,
            "project_retention_days": None,
            "key_days": None,
        }
        await entered(site, bot)
        nothing |= {"spent_usd": 0.001}
        assert await ada.read(path) == nothing
        limits = {"monthly_usd": 100, "project_monthly_usd": 2.5}
        limits |= {"project_retention_days": 30, "key_days": 7}
        stored = await site.http.put(path, headers=ada.bearer, json=limits)
        assert stored.status_code == 200, stored.text
        assert stored.json() == nothing | limits == await ada.read(path)
        made = await site.http.post(f"{ours}/projects", headers=ada.bearer, json={"name": "new"})
        assert made.json()["retention_days"] == 30
        budget = await ada.read(f"{ours}/projects/{made.json()['id']}/budget")
        assert budget["monthly_usd"] == 2.5

    async def test_invalid_limits_are_named(self, site: Site, ada: PersonClient, ours: str) -> None:
        wrong = {"monthly_usd": -1, "project_monthly_usd": 0.1234567}
        wrong |= {"project_retention_days": 0, "key_days": 3_651}
        refused = await site.http.put(f"{ours}/limits", headers=ada.bearer, json=wrong)
        assert set(field_errors(refused)) == wrong.keys()
        refused = await site.http.put(f"{ours}/limits", headers=ada.bearer, json={})
        assert set(field_errors(refused)) == wrong.keys()
