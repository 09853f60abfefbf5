"""What a run has come to by metric, and how many targets filters match."""

import uuid
from decimal import Decimal
from typing import Any

import pytest

from domain.evaluation.runs.run import TARGETS_MAX
from domain.evaluation.runs.selection import Eligibility, TargetCount
from domain.ids import ProjectId, RunId
from entrypoints.http.controllers.runs.schemas import CountSessionsRequest, CountTracesRequest
from tests.contracts.evaluation.judging.test_judge_ledger import an_entry
from tests.http.conftest import Site, field_errors
from tests.support.clients.runs import PAIR, RUNS, SESSION_RUNS, RunningProject
from tests.support.clients.scored_project import TRACES

NOTHING: dict[str, Any] = {
    "is_signal": False,
    "scored": 0,
    "skipped": 0,
    "failed": 0,
    "pending": 0,
    "mean": None,
    "counted": 0,
    "threshold": None,
    "passed": None,
    "codes": {},
    "judge_kind": None,
    "calls": 0,
    "unpriced_calls": 0,
    "cost_usd": 0.0,
    "cache_hits": 0,
}


@pytest.fixture
async def shop(either: Site) -> RunningProject:
    """A project with one trace without tool calls."""
    return await RunningProject.over(either)


class TestSummary:
    async def test_summary_follows_the_run_to_its_end(self, shop: RunningProject) -> None:
        run = await shop.start_run()
        at = f"{RUNS}/{run['id']}/summary"
        tools, success = PAIR
        assert await shop.read(at) == {
            "run_id": run["id"],
            "metrics": [{"metric": name} | NOTHING for name in PAIR],
        }
        await shop.plan_runs()
        waiting = NOTHING | {"pending": 1}
        assert (await shop.read(at))["metrics"] == [{"metric": one} | waiting for one in PAIR]
        await shop.run_jobs()
        found = {one["metric"]: one for one in (await shop.read(at))["metrics"]}
        skipped = {"skipped": 1, "codes": {"no_tool_calls": 1}}
        assert found[tools] == {"metric": tools} | NOTHING | skipped
        measured = {"scored": 1, "counted": 1, "mean": 1.0, "threshold": 0.5, "passed": 1}
        assert found[success] == {"metric": success} | NOTHING | measured

    async def test_scores_that_failed_are_listed_by_their_code(self, shop: RunningProject) -> None:
        ids = [str(uuid.UUID(int=n)) for n in range(3)]
        run = (await shop("POST", f"{RUNS}/batch", {"metrics": PAIR, "trace_ids": ids})).json()
        await shop.run_jobs()
        [first, _] = (await shop.read(f"{RUNS}/{run['id']}/summary"))["metrics"]
        assert first["codes"] == {"target_gone": 3}
        of_run = f"{TRACES}?eval_run_id={run['id']}&name={PAIR[0]}"
        failed = await shop.read(f"{of_run}&code=target_gone")
        assert {one["trace_id"] for one in failed["items"]} == set(ids)
        assert (await shop.read(f"{of_run}&code=auth"))["total"] == 0

    async def test_session_run_counts_its_signals_and_costs(self, shop: RunningProject) -> None:
        run = await shop.start_run(SESSION_RUNS)
        await shop.run_jobs()
        project = next(iter(shop.site.store.projects))
        ports = shop.site.swapped.get("evaluation", shop.site.ports.evaluation)
        of_run = {"project_id": ProjectId(project), "run_id": RunId(uuid.UUID(run["id"]))}
        priced = an_entry(**of_run, metric="confidence", usd=Decimal("0.25"))
        await ports.judging.ledger.append(
            [priced, an_entry(**of_run, metric="confidence", usd=None)]
        )
        for path in (SESSION_RUNS, RUNS):
            found = (await shop.read(f"{path}/{run['id']}/summary"))["metrics"]
            assert (found[0]["metric"], found[0]["is_signal"]) == ("agent_reliability", False)
            signals = {one["metric"]: one for one in found[1:]}
            assert list(signals) == sorted(signals)
            assert all(one["is_signal"] for one in signals.values())
            costs = {name: signals["confidence"][name] for name in ("calls", "unpriced_calls")}
            assert costs == {"calls": 2, "unpriced_calls": 1}
            assert signals["confidence"]["cost_usd"] == 0.25

    @pytest.mark.parametrize("path", [RUNS, SESSION_RUNS])
    async def test_summary_of_another_project_is_not_found(
        self, shop: RunningProject, path: str
    ) -> None:
        run = await shop.start_run()
        other = await RunningProject.over(shop.site)
        assert (await other("GET", f"{path}/{run['id']}/summary")).status_code == 404
        assert set(field_errors(await shop("GET", f"{path}/x/summary"))) == {"path.run_id"}


class TestCounts:
    async def count(self, shop: RunningProject, path: str, body: dict[str, Any]) -> Any:
        counted = await shop("POST", f"{path}/count", body)
        assert counted.status_code == 200, counted.text
        return counted.json()

    async def test_count_is_the_number_of_targets_of_a_run(self, shop: RunningProject) -> None:
        for n in range(4):
            await shop.store_trace(session_id=f"s{n % 3}", user_id="u" if n else "v")
        for path, body, expected in (
            (RUNS, {}, (5, 5)),
            (RUNS, {"sampling_rate": 0.5}, (5, 2)),
            (RUNS, {"sampling_rate": 0}, (5, 0)),
            (RUNS, {"sampling_rate": 0.01, "filters": {"user_id": "u"}}, (3, 1)),
            (RUNS, {"filters": {"user_id": "nobody"}}, (0, 0)),
            (SESSION_RUNS, {"includes_setup": False, "settled_only": False}, (4, 4)),
            (SESSION_RUNS, {"filters": {"min_trace_count": 2}}, (1, 1)),
        ):
            found = await self.count(shop, path, body)
            assert (found["matches"], found["targets"]) == expected, body
            assert found["total_is_at_least"] is False
            run = {"metrics": ["agent_reliability" if path == SESSION_RUNS else PAIR[0]]} | body
            run.pop("includes_setup", None)
            started = await shop("POST", path, run)
            if expected[0]:
                assert started.json()["total_targets"] == expected[1]
            else:
                assert started.status_code == 422

    async def test_count_ends_where_a_run_would_be_refused(self) -> None:
        assert TargetCount.from_matches(TARGETS_MAX, 0.5) == TargetCount(
            TARGETS_MAX, TARGETS_MAX // 2
        )
        assert TargetCount.from_matches(TARGETS_MAX + 1, 1.0) == TargetCount(
            TARGETS_MAX, TARGETS_MAX, is_at_least=True
        )
        many = 10 * TARGETS_MAX + 9
        assert TargetCount.from_matches(many, 0.1) == TargetCount(many, TARGETS_MAX)
        assert TargetCount.from_matches(many + 1, 0.1) == TargetCount(
            many, TARGETS_MAX, is_at_least=True
        )

    @pytest.mark.parametrize("path", [RUNS, SESSION_RUNS])
    async def test_invalid_filters_are_refused(self, shop: RunningProject, path: str) -> None:
        body = {"filters": {"date_from": "soon", "nmae": 1}, "sampling_rate": 2, "metrics": []}
        refused = await shop("POST", f"{path}/count", body)
        assert set(field_errors(refused)) == {
            "filters.date_from", "filters.nmae", "sampling_rate", "metrics",
        }  # fmt: skip


@pytest.mark.parametrize("request_type", [CountTracesRequest, CountSessionsRequest])
def test_count_may_leave_out_what_a_monitor_leaves_out(request_type: Any) -> None:
    for setup in (True, False):
        asked = request_type(settled_only=False, includes_setup=setup)
        assert asked.eligibility == Eligibility(settled_only=False, includes_setup=setup)
