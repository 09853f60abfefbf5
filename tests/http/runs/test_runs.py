"""Runs over traces: started, completed, cancelled, retried, deleted."""

import uuid
from datetime import timedelta
from typing import Any

import pytest

from application.jobs import PlanRunJob
from domain.ids import ProjectId, RunId
from tests.http.conftest import Site, a_span, field_errors
from tests.support.builders.values import NOON
from tests.support.clients.runs import PAIR, RUNS, SESSION_RUNS, RunningProject
from tests.support.clients.scored_project import TRACES

NOBODY = str(uuid.UUID(int=1))
ID = uuid.UUID(int=77)
FIELDS = [
    *("id", "name", "status", "metric_names", "total_targets", "evaluated_count"),
    *("failed_count", "skipped_count", "created_at", "completed_at", "project_id"),
    *("target_type", "filters", "sampling_rate", "settled_only", "model", "votes"),
    *("max_cost_usd", "monitor_id", "error_message", "waiting_for"),
]


@pytest.fixture
async def shop(either: Site) -> RunningProject:
    """A project with one trace without tool calls."""
    return await RunningProject.over(either)


class TestStarting:
    async def test_started_run_is_returned_and_enqueued(self, shop: RunningProject) -> None:
        shop.site.now = NOON
        filters = {"date_from": "2026-03-01", "status": "COMPLETED", "tags": None}
        run = await shop.start_run(name="nightly", filters=filters, sampling_rate=0.5)
        [project] = shop.site.store.projects
        assert list(run) == FIELDS
        assert run == {
            "id": run["id"],
            "name": "nightly",
            "status": "PENDING",
            "metric_names": PAIR,
            "total_targets": 1,
            "evaluated_count": 0,
            "failed_count": 0,
            "skipped_count": 0,
            "created_at": "2026-03-01T12:00:00+00:00",
            "completed_at": None,
            "project_id": str(project),
            "target_type": "TRACE",
            "filters": {"date_from": "2026-03-01", "status": "COMPLETED"},
            "sampling_rate": 0.5,
            "settled_only": True,
            "model": "heuristic/1",
            "votes": 1,
            "max_cost_usd": None,
            "monitor_id": None,
            "error_message": None,
            "waiting_for": None,
        }
        assert await shop.run(run) == run
        assert shop.take_jobs() == [PlanRunJob(ProjectId(project), RunId(uuid.UUID(run["id"])))]

    async def test_planned_run_has_a_score_per_pair(self, shop: RunningProject) -> None:
        run = await shop.start_run()
        assert await shop.scores(run) == []
        await shop.plan_runs()
        assert (await shop.run(run))["status"] == "RUNNING"
        waiting = await shop.scores(run)
        assert {one["name"] for one in waiting} == set(PAIR)
        assert {(one["status"], one["outcome"]) for one in waiting} == {("PENDING", "pending")}
        assert {one["value"] for one in waiting} == {None}
        assert await shop.read(f"{TRACES}/{shop.trace}") == []

    async def test_completed_run_has_one_score_per_pair(self, shop: RunningProject) -> None:
        run = await shop.start_run()
        await shop.run_jobs()
        over = await shop.run(run)
        assert (over["status"], over["completed_at"] is None) == ("COMPLETED", False)
        counts = (over["evaluated_count"], over["failed_count"], over["skipped_count"])
        assert counts == (1, 0, 1)
        found = {one["name"]: one for one in await shop.scores(run)}
        assert set(found) == set(PAIR)
        assert {one["eval_run_id"] for one in found.values()} == {run["id"]}
        scored, skipped = found["trace_success"], found["tool_success_rate"]
        assert (scored["status"], scored["outcome"]) == ("SUCCESS", "scored")
        assert (scored["value"], scored["source"]) == ("1.0", "AUTOMATED")
        assert (skipped["status"], skipped["outcome"]) == ("FAILED", "skipped")
        assert (skipped["value"], skipped["reason"][:9]) == (None, "Skipped: ")
        assert await shop.scores(run, SESSION_RUNS) == []

    async def test_filters_match_like_those_of_lists(self, shop: RunningProject) -> None:
        chosen = await shop.store_trace(
            name="Checkout 100%",
            started_at="2026-03-05T00:00:00Z",
            status="ERROR",
            session_id="s",
            user_id="u",
            tags=["a", "b"],
        )
        for filters in (
            *({"date_from": "2026-03-05"}, {"date_from": 1772668800}, {"status": "ERROR"}),
            *({"session_id": "s"}, {"user_id": "u"}, {"tags": ["x", "b"]}, {"name": "T 100%"}),
            {"date_from": "2026-03-05T01:00:00+01:00", "date_to": "2026-03-05 00:00:01"},
        ):
            run = await shop.start_run(filters=filters)
            assert (run["total_targets"], run["filters"]) == (1, filters)
            await shop.run_jobs()
            assert {one["trace_id"] for one in await shop.scores(run)} == {chosen}
        assert (await shop.start_run(filters={"date_to": "2026-03-05"}))["total_targets"] == 1
        assert (await shop.start_run())["total_targets"] == 2

    async def test_open_trace_is_a_target_if_asked_or_named(self, shop: RunningProject) -> None:
        started = {"traceId": ID.hex, "spanId": "1112131415161718", "startTimeUnixNano": "1"}
        session = {"key": "session.id", "value": {"stringValue": "open"}}
        user = {"key": "user.id", "value": {"stringValue": "otel"}}
        spans = [started | {"name": "run", "attributes": [session, user]}]
        sent = await shop(
            "POST", "/v1/traces", {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
        )
        assert (sent.status_code, sent.json()) == (200, {})
        estimates = f"{RUNS}/estimate"
        for asked, traces in (({}, 1), ({"settled_only": False}, 2)):
            run = await shop.start_run(**asked)
            assert run["total_targets"] == traces
            assert run["settled_only"] is asked.get("settled_only", True)
            assert await shop.run(run) == run
            order = {"metrics": PAIR, **asked}
            assert (await shop("POST", estimates, order)).json()["targets"] == traces
        sessions = {"metrics": ["agent_reliability"], "filters": {"user_id": "otel"}}
        assert (await shop("POST", SESSION_RUNS, sessions)).status_code == 422
        started = await shop("POST", SESSION_RUNS, sessions | {"settled_only": False})
        assert (started.json()["total_targets"], started.json()["settled_only"]) == (1, False)
        by_id = {"metrics": PAIR, "trace_ids": [str(ID)]}
        started = await shop("POST", f"{RUNS}/batch", by_id)
        assert (started.json()["total_targets"], started.json()["settled_only"]) == (1, False)

    @pytest.mark.parametrize(
        "filters",
        [{"date_from": "2026-03-06"}, {"session_id": ""}, {"tags": ["A"]}, {"name": "_"}],
    )
    async def test_filter_without_matches_is_422(self, shop: RunningProject, filters: Any) -> None:
        refused = await shop("POST", RUNS, {"metrics": PAIR, "filters": filters})
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["field"] == ""
        assert (await shop.read(RUNS))["total"] == 0
        assert shop.take_jobs() == []

    async def test_sample_is_stable(self, shop: RunningProject) -> None:
        for _ in range(9):
            await shop.store_trace()
        taken = []
        for rate, count in ((0.35, 3), (0.35, 3), (0.001, 1), (0.9999, 9), ("0.5", 5), (1, 10)):
            run = await shop.start_run(sampling_rate=rate)
            assert (run["total_targets"], run["sampling_rate"]) == (count, float(rate))
            await shop.plan_runs()
            taken.append({one["trace_id"] for one in await shop.scores(run)})
        assert taken[0] == taken[1] >= taken[2]
        assert taken[0] <= taken[4] <= taken[3] <= taken[5]

    async def test_empty_sample_completes_at_once(self, shop: RunningProject) -> None:
        run = await shop.start_run(sampling_rate=0)
        assert (run["total_targets"], run["status"]) == (0, "COMPLETED")
        assert run["completed_at"] == run["created_at"]
        assert shop.take_jobs() == []

    async def test_duplicate_metrics_count_once(self, shop: RunningProject) -> None:
        run = await shop.start_run(metrics=["trace_success", "coherence", "trace_success"])
        assert run["metric_names"] == ["trace_success", "coherence"]

    @pytest.mark.parametrize(
        ("overrides", "fields"),
        [
            ({"metrics": []}, {"metrics"}),
            ({"metrics": None}, {"metrics"}),
            ({"metrics": ["coherence"] * 1_001}, {"metrics"}),
            (
                {"metrics": ["coherence", "x", "loop_detection", 5]},
                {"metrics.1", "metrics.2", "metrics.3"},
            ),
            ({"metrics": ["agent_reliability"], "name": "x" * 256}, {"metrics.0", "name"}),
            (
                {"metrics": ["nothing", "coherence", "x", "loop_detection", "agent_reliability"]},
                {"metrics.0", "metrics.2", "metrics.3", "metrics.4"},
            ),
            ({"sampling_rate": 1.5, "model": ""}, {"sampling_rate", "model"}),
            ({"sampling_rate": -1, "model": "x" * 256}, {"sampling_rate", "model"}),
            ({"filters": None}, {"filters"}),
            (
                {"filters": {"date_from": "soon", "date_to": True}},
                {"filters.date_from", "filters.date_to"},
            ),
            ({"filters": {"status": "DONE", "tags": "a"}}, {"filters.status", "filters.tags"}),
            ({"filters": {"name": "\0"}, "name": "\0"}, {"filters.name", "name"}),
            ({"filters": {"name": "a\nb"}, "name": "a\nb"}, {"name"}),
            ({"filters": {"tags": ["x" * 256]}}, {"filters.tags.0"}),
            ({"votes": 2, "max_cost_usd": -0.1}, {"votes", "max_cost_usd"}),
            ({"votes": None, "max_cost_usd": "much"}, {"votes", "max_cost_usd"}),
            ({"votes": 7, "max_cost_usd": 1e-7}, {"votes", "max_cost_usd"}),
            ({"max_cost_usd": 1_000_001}, {"max_cost_usd"}),
            ({"max_cost_usd": 1, "model": "openai/nobody-knows"}, {"max_cost_usd"}),
        ],
    )
    async def test_all_field_errors_are_reported_together(
        self, shop: RunningProject, overrides: dict[str, Any], fields: set[str]
    ) -> None:
        refused = await shop("POST", RUNS, {"metrics": PAIR} | overrides)
        assert set(field_errors(refused)) == fields

    async def test_model_is_stored_with_its_provider(self, shop: RunningProject) -> None:
        run = await shop.start_run(model="gpt-5-mini")
        assert run["model"] == "openai/gpt-5-mini"
        assert (await shop.start_run(model=None))["model"] == "heuristic/1"

    @pytest.mark.parametrize("path", [RUNS, f"{RUNS}/batch", SESSION_RUNS, f"{SESSION_RUNS}/batch"])
    async def test_votes_and_budget_are_returned(self, shop: RunningProject, path: str) -> None:
        ids = {
            f"{RUNS}/batch": {"trace_ids": [shop.trace]},
            f"{SESSION_RUNS}/batch": {"session_ids": [shop.session]},
        }.get(path, {})
        run = await shop.start_run(path, votes=5, max_cost_usd=12.5, model="gpt-4o", **ids)
        assert (run["votes"], run["max_cost_usd"]) == (5, 12.5)
        assert await shop.run(run) == run

    async def test_heuristic_judge_fits_any_budget(self, shop: RunningProject) -> None:
        run = await shop.start_run(max_cost_usd=0)
        assert (run["model"], run["max_cost_usd"]) == ("heuristic/1", 0)

    async def test_budget_for_an_unpriced_model_is_422(self, shop: RunningProject) -> None:
        refused = await shop("POST", RUNS, {"metrics": PAIR, "model": "gpt-9", "max_cost_usd": 1})
        assert "openai/gpt-9 has no price" in field_errors(refused)["max_cost_usd"]
        assert (await shop.read(RUNS))["total"] == 0


class TestBatches:
    async def test_duplicate_ids_are_one_target(self, shop: RunningProject) -> None:
        other = await shop.store_trace()
        trace_ids = [other.upper(), shop.trace, other]
        run = await shop.start_run(f"{RUNS}/batch", trace_ids=trace_ids, name=None)
        assert (run["total_targets"], run["sampling_rate"]) == (2, 1.0)
        assert run["filters"] == {"trace_ids": [other, shop.trace]}
        await shop.run_jobs()
        found = await shop.scores(run)
        assert len(found) == 4
        assert {one["trace_id"] for one in found} == {other, shop.trace}

    async def test_unknown_ids_count_as_failed(self, shop: RunningProject) -> None:
        run = await shop.start_run(f"{RUNS}/batch", trace_ids=[NOBODY, shop.trace])
        await shop.run_jobs()
        over = await shop.run(run)
        counts = (over["evaluated_count"], over["failed_count"], over["skipped_count"])
        assert (over["status"], *counts) == ("COMPLETED", 2, 2, 1)
        unknown = [one for one in await shop.scores(run) if one["trace_id"] == NOBODY]
        assert {(one["outcome"], one["value"]) for one in unknown} == {("failed", None)}
        assert all(one["reason"] for one in unknown)

    async def test_run_with_only_failures_is_failed(self, shop: RunningProject) -> None:
        run = await shop.start_run(f"{RUNS}/batch", trace_ids=[NOBODY])
        await shop.run_jobs()
        over = await shop.run(run)
        assert (over["status"], over["failed_count"]) == ("FAILED", 2)
        assert "target_gone" in over["error_message"]

    async def test_trace_of_another_project_counts_as_failed(self, shop: RunningProject) -> None:
        other = await RunningProject.over(shop.site)
        run = await shop.start_run(f"{RUNS}/batch", trace_ids=[other.trace])
        await shop.run_jobs()
        assert (await shop.run(run))["status"] == "FAILED"
        assert await other.read(f"{TRACES}/{other.trace}") == []

    @pytest.mark.parametrize(
        ("overrides", "fields"),
        [
            ({"trace_ids": []}, {"trace_ids"}),
            ({"trace_ids": None, "metrics": ["x"]}, {"trace_ids", "metrics.0"}),
            ({"trace_ids": ["x", NOBODY, 5]}, {"trace_ids.0", "trace_ids.2"}),
            ({"trace_ids": [NOBODY] * 10_001}, {"trace_ids"}),
        ],
    )
    async def test_ids_must_be_1_to_10000_uuids(
        self, shop: RunningProject, overrides: dict[str, Any], fields: set[str]
    ) -> None:
        refused = await shop("POST", f"{RUNS}/batch", {"metrics": PAIR} | overrides)
        assert set(field_errors(refused)) == fields

    async def test_ten_thousand_ids_are_accepted(self, shop: RunningProject) -> None:
        ids = [str(uuid.UUID(int=number)) for number in range(10_000)]
        run = await shop.start_run(f"{RUNS}/batch", trace_ids=ids)
        assert run["total_targets"] == 10_000
        assert (await shop.run(run))["filters"]["trace_ids"] == ids


class TestCancelling:
    @pytest.mark.parametrize("is_started", [False, True])
    async def test_running_run_is_cancelled(self, shop: RunningProject, is_started: bool) -> None:
        run = await shop.start_run()
        if is_started:
            await shop.plan_runs()
        for path in (RUNS, SESSION_RUNS):  # either state, and a second time
            answer = await shop("POST", f"{path}/{run['id']}/cancel")
            assert answer.status_code == 202
            over = answer.json()
            assert (over["status"], over["completed_at"] is None) == ("CANCELLED", False)
            assert over == await shop.run(run)
        found = await shop.scores(run)
        assert {one["outcome"] for one in found} == ({"skipped"} if is_started else set())
        await shop.run_jobs()
        assert await shop.scores(run) == found

    async def test_ended_run_cannot_be_cancelled(self, shop: RunningProject) -> None:
        completed = await shop.start_run()
        failed = await shop.start_run(f"{RUNS}/batch", trace_ids=[NOBODY])
        await shop.run_jobs()
        for run in (completed, failed):
            before = await shop.run(run)
            answer = await shop("POST", f"{RUNS}/{run['id']}/cancel")
            assert answer.status_code == 409
            assert await shop.run(run) == before

    async def test_unknown_run_cannot_be_cancelled(self, shop: RunningProject) -> None:
        assert (await shop("POST", f"{RUNS}/{NOBODY}/cancel")).status_code == 404
        assert set(field_errors(await shop("POST", f"{RUNS}/x/cancel"))) == {"path.run_id"}


class TestRetrying:
    async def test_retry_evaluates_exactly_the_failed_scores(self, shop: RunningProject) -> None:
        ids = [shop.trace, NOBODY]
        bounds = {"votes": 3, "max_cost_usd": 0.000001}
        overrides = {"trace_ids": ids, "name": "first", "model": "gpt-4o"} | bounds
        run = await shop.start_run(f"{RUNS}/batch", **overrides)
        await shop.run_jobs()
        before = await shop.run(run)
        await shop.store_trace(trace_id=NOBODY)
        answer = await shop("POST", f"{SESSION_RUNS}/{run['id']}/retry")
        assert answer.status_code == 202
        again = answer.json()
        assert again["id"] != run["id"]
        assert again["name"] == "Retry: first"
        assert (again["target_type"], again["model"]) == ("TRACE", "openai/gpt-4o")
        assert {name: again[name] for name in bounds} == bounds
        assert again["filters"] == {"retry_of": run["id"], "trace_ids": [NOBODY]}
        assert (again["metric_names"], again["total_targets"]) == (sorted(PAIR), 1)
        await shop.run_jobs()
        assert (await shop.run(again))["status"] == "COMPLETED"
        found = await shop.scores(again)
        assert {(one["trace_id"], one["name"]) for one in found} == {
            (NOBODY, name) for name in PAIR
        }
        assert await shop.run(run) == before

    async def test_name_of_a_retry_is_truncated(self, shop: RunningProject) -> None:
        run = await shop.start_run(f"{RUNS}/batch", trace_ids=[NOBODY], name="x" * 255)
        unnamed = await shop.start_run(f"{RUNS}/batch", trace_ids=[NOBODY])
        await shop.run_jobs()
        again = (await shop("POST", f"{RUNS}/{run['id']}/retry")).json()
        assert again["name"] == "Retry: " + "x" * 248
        again = (await shop("POST", f"{RUNS}/{unnamed['id']}/retry")).json()
        assert again["name"] == f"Retry: {unnamed['id']}"

    async def test_retry_without_failures_is_422(self, shop: RunningProject) -> None:
        run = await shop.start_run()
        for _ in range(2):  # pending, then completed with a skipped pair
            refused = await shop("POST", f"{RUNS}/{run['id']}/retry")
            assert refused.status_code == 422
            assert refused.json()["errors"]
            await shop.run_jobs()
        assert (await shop("POST", f"{RUNS}/{NOBODY}/retry")).status_code == 404
        assert (await shop.read(RUNS))["total"] == 1


class TestRemoving:
    @pytest.mark.parametrize("path", [RUNS, SESSION_RUNS])
    async def test_scores_stay_without_a_run(self, shop: RunningProject, path: str) -> None:
        run = await shop.start_run()
        await shop.run_jobs()
        deleted = await shop("DELETE", f"{path}/{run['id']}")
        assert (deleted.status_code, deleted.content) == (204, b"")
        assert (await shop("GET", f"{RUNS}/{run['id']}")).status_code == 404
        assert (await shop("DELETE", f"{path}/{run['id']}")).status_code == 404
        assert await shop.scores(run) == []
        remaining = await shop.read(f"{TRACES}/{shop.trace}")
        assert [one["eval_run_id"] for one in remaining] == [None, None]

    @pytest.mark.parametrize("is_started", [False, True])
    async def test_scores_are_deleted_on_request(
        self, shop: RunningProject, is_started: bool
    ) -> None:
        run = await shop.start_run()
        if is_started:
            await shop.plan_runs()
        deleted = await shop("DELETE", f"{RUNS}/{run['id']}?delete_scores=true")
        assert deleted.status_code == 204
        logged = [one for one in shop.site.store.audit_log.values() if one.resource_id == run["id"]]
        assert {one.detail["with_scores"] for one in logged} <= {"True"}  # PostgreSQL has its own
        await shop.run_jobs()
        assert (await shop.read(TRACES))["total"] == 0
        assert (await shop.read(RUNS))["total"] == 0

    async def test_score_corrected_by_person_is_not_deleted_with_run(
        self, shop: RunningProject
    ) -> None:
        run = await shop.start_run()
        await shop.run_jobs()
        score = (await shop.scores(run))[0]
        _, head = shop.person()
        path = f"{TRACES}/{score['id']}"
        noted = await shop.site.http.patch(path, headers=head, json={"reason": "wrong"})
        assert noted.status_code == 200
        with_scores = f"{RUNS}/{run['id']}?delete_scores=true"
        refused = await shop("DELETE", with_scores)
        assert refused.status_code == 403
        assert "delete_scores" in refused.json()["detail"]
        assert len(await shop.scores(run)) == 2
        assert (await shop.site.http.delete(with_scores, headers=head)).status_code == 204
        assert (await shop.read(TRACES))["total"] == 0

    async def test_running_run_is_cancelled_before_deletion(self, shop: RunningProject) -> None:
        run = await shop.start_run()
        await shop.plan_runs()
        assert (await shop("DELETE", f"{RUNS}/{run['id']}")).status_code == 204
        await shop.run_jobs()
        remaining = await shop.read(f"{TRACES}/{shop.trace}")
        assert {one["outcome"] for one in remaining} == {"skipped"}

    async def test_unknown_run_cannot_be_deleted(self, shop: RunningProject) -> None:
        assert (await shop("DELETE", f"{RUNS}/{NOBODY}")).status_code == 404
        wrong = await shop("DELETE", f"{RUNS}/x?delete_scores=perhaps")
        assert set(field_errors(wrong)) == {"path.run_id", "query.delete_scores"}


class TestReading:
    async def test_run_is_readable_at_either_path(self, shop: RunningProject) -> None:
        run = await shop.start_run()
        assert await shop.read(f"{SESSION_RUNS}/{run['id']}") == run
        assert (await shop("GET", f"{RUNS}/{NOBODY}")).status_code == 404
        assert set(field_errors(await shop("GET", f"{RUNS}/x"))) == {"path.run_id"}

    async def test_lists_have_one_type_newest_first(self, shop: RunningProject) -> None:
        made = []
        for minute in range(3):
            shop.site.now = NOON + timedelta(minutes=minute)
            made.append(await shop.start_run())
        session = await shop.start_run(SESSION_RUNS)
        assert (await shop.read(SESSION_RUNS))["items"] == [session]
        assert (await shop.read(RUNS))["items"] == made[::-1]
        first = await shop.read(f"{RUNS}?limit=2")
        assert (first["total"], len(first["items"])) == (3, 2)
        rest = await shop.read(f"{RUNS}?limit=2&cursor={first['next_cursor']}")
        assert (rest["items"], rest["next_cursor"]) == (made[:1], None)
        assert (await shop.read(f"{RUNS}?offset=2"))["items"] == made[:1]
        for other in (f"{SESSION_RUNS}?", f"{RUNS}?status=PENDING&"):
            refused = await shop("GET", f"{other}cursor={first['next_cursor']}")
            assert set(field_errors(refused)) == {"query.cursor"}

    async def test_list_is_filtered_by_status(self, shop: RunningProject) -> None:
        completed = await shop.start_run()
        await shop.run_jobs()
        waiting = await shop.start_run()
        for status, expected in (
            ("COMPLETED", [completed]),
            ("PENDING", [waiting]),
            ("RUNNING", []),
        ):
            found = (await shop.read(f"{RUNS}?status={status}"))["items"]
            assert [one["id"] for one in found] == [one["id"] for one in expected]
        wrong = await shop("GET", f"{RUNS}?status=done&limit=0&cursor=x")
        assert set(field_errors(wrong)) == {"query.status", "query.limit", "query.cursor"}

    async def test_scores_are_paged_if_a_limit_is_given(self, shop: RunningProject) -> None:
        run = await shop.start_run()
        await shop.run_jobs()
        every = await shop.scores(run)
        assert len(every) > 1
        pages: list[Any] = []
        query, cursors = "limit=1", []
        for _ in every:
            answer = await shop("GET", f"{RUNS}/{run['id']}/scores?{query}")
            assert len(answer.json()) == 1
            pages += answer.json()
            cursors.append(answer.headers.get("x-next-cursor"))
            query = f"limit=1&cursor={cursors[-1]}"
        assert pages == every
        assert cursors[-1] is None
        rest = f"scores?cursor={cursors[0]}"
        assert await shop.read(f"{RUNS}/{run['id']}/{rest}") == every[1:]
        other = await shop.start_run()
        for wrong in (f"{other['id']}/{rest}", f"{run['id']}/scores?limit=0"):
            assert (await shop("GET", f"{RUNS}/{wrong}")).status_code == 422

    async def test_unknown_run_has_no_scores(self, shop: RunningProject) -> None:
        for path in (RUNS, SESSION_RUNS):
            assert await shop.read(f"{path}/{NOBODY}/scores") == []

    async def test_scores_are_filtered_by_run(self, shop: RunningProject) -> None:
        run = await shop.start_run()
        await shop.run_jobs()
        await shop.add_score()
        listed = (await shop.read(f"{TRACES}?eval_run_id={run['id']}"))["items"]
        assert listed == await shop.scores(run)


async def test_run_of_another_project_is_404(shop: RunningProject) -> None:
    other = await RunningProject.over(shop.site)
    run = await other.start_run(f"{RUNS}/batch", trace_ids=[NOBODY])
    await other.run_jobs()
    before = await other.run(run)
    for method, path in (
        *(("GET", ""), ("DELETE", ""), ("DELETE", "?delete_scores=true")),
        *(("POST", "/retry"), ("POST", "/cancel")),
    ):
        answer = await shop(method, f"{RUNS}/{run['id']}{path}")
        assert answer.status_code == 404, (method, path)
    assert await shop.scores(run) == []
    assert (await shop.read(RUNS))["total"] == 0
    assert await other.run(run) == before
    assert len(await other.scores(run)) == 2


@pytest.mark.parametrize("header", ["idempotency-key", "x-request-id"])
@pytest.mark.parametrize("path", ["", "/batch", "/retry"])
async def test_repeated_request_starts_one_run(
    shop: RunningProject, path: str, header: str
) -> None:
    key = {header: "k"}
    body: dict[str, Any] = {"metrics": PAIR}
    if path == "/batch":
        body["trace_ids"] = [NOBODY]
    where = f"{RUNS}{path}"
    if path == "/retry":
        run = await shop.start_run(f"{RUNS}/batch", trace_ids=[NOBODY])
        await shop.run_jobs()
        where = f"{RUNS}/{run['id']}/retry"
    before = (await shop.read(RUNS))["total"]
    first = await shop("POST", where, body, **key)
    again = await shop("POST", where, body, **key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.content == first.content
    assert (await shop.read(RUNS))["total"] == before + 1


async def test_judged_metric_works_without_an_api_key(shop: RunningProject) -> None:
    call = a_span(name="search", kind="TOOL", status="OK", input={"q": "a"}, output="found it")
    trace = await shop.store_trace(input="find it", output="found it", spans=[call])
    run = await shop.start_run(f"{RUNS}/batch", trace_ids=[trace], metrics=["tool_correctness"])
    await shop.run_jobs()
    [score] = await shop.scores(run)
    assert score["status"] == "SUCCESS"
    assert score["metadata"]["judge_kind"] == "heuristic"
