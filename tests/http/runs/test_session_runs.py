"""Runs over sessions. test_runs.py tests what they share with runs over traces."""

import uuid
from typing import Any

import pytest

from tests.http.conftest import Site, a_span, field_errors
from tests.support.clients.runs import RUNS, SESSION_RUNS, RunningProject
from tests.support.clients.scored_project import SESSIONS, TRACES

METRICS = ["agent_reliability", "agent_consistency"]


@pytest.fixture
async def shop(either: Site) -> RunningProject:
    """A project with two sessions; one has two traces, of which one failed."""
    made = await RunningProject.over(either)
    call = a_span(name="search", kind="TOOL", status="OK", input={"q": "a"}, output="found")
    overrides = {"input": "find a", "output": "found it", "spans": [call]}
    for status, day in (("COMPLETED", 2), ("ERROR", 3)):
        started = f"2026-03-0{day}T00:00:00Z"
        user = {"user_id": "u", "tags": ["a"]} if day == 3 else {}
        await made.store_trace(
            session_id="talk", status=status, started_at=started, **overrides, **user
        )
    return made


async def test_run_over_all_sessions(shop: RunningProject) -> None:
    run = await shop.start_run(SESSION_RUNS, metrics=METRICS, name="weekly")
    assert (run["target_type"], run["total_targets"]) == ("SESSION", 2)
    assert (run["filters"], run["metric_names"]) == ({}, METRICS)
    await shop.plan_runs()
    waiting = await shop.scores(run, SESSION_RUNS)
    assert {(one["session_id"], one["name"]) for one in waiting} == {
        (session, metric) for session in ("talk", shop.session) for metric in METRICS
    }


async def test_completed_run_has_scores_and_signals(shop: RunningProject) -> None:
    run = await shop.start_run(f"{SESSION_RUNS}/batch", metrics=METRICS, session_ids=["talk"])
    await shop.run_jobs()
    over = await shop.run(run)
    assert (over["status"], over["evaluated_count"], over["failed_count"]) == ("COMPLETED", 1, 0)
    found = await shop.scores(run, SESSION_RUNS)
    assert {one["name"] for one in found} == set(METRICS)
    assert {one["session_id"] for one in found} == {"talk"}
    assert {one["eval_run_id"] for one in found} == {run["id"]}
    assert {one["outcome"] for one in found} <= {"scored", "skipped"}
    signals = await shop.scores(run, RUNS)
    assert {one["name"] for one in signals} <= {
        *("confidence", "loop_detection", "tool_correctness", "coherence")
    }
    assert len(signals) > 2
    deleted = await shop("DELETE", f"{RUNS}/{run['id']}?delete_scores=true")
    assert deleted.status_code == 204
    assert (await shop.read(SESSIONS))["total"] == (await shop.read(TRACES))["total"] == 0


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({}, 2),
        ({"date_from": "2026-03-02"}, 1),
        ({"date_to": "2026-03-02"}, 1),
        ({"user_id": "u"}, 1),
        ({"tags": ["b", "a"]}, 1),
        ({"has_error": True}, 1),
        ({"has_error": False}, 1),
        ({"min_trace_count": 2}, 1),
        ({"has_error": False, "date_to": "2026-03-03"}, 2),
    ],
)
async def test_filters_select_sessions_by_their_traces(
    shop: RunningProject, filters: Any, count: int
) -> None:
    run = await shop.start_run(SESSION_RUNS, filters=filters)
    assert (run["total_targets"], run["filters"]) == (count, filters)


@pytest.mark.parametrize(
    "filters", [{"min_trace_count": 3}, {"user_id": "u", "min_trace_count": 2}, {"tags": ["A"]}]
)
async def test_filter_without_matches_is_422(shop: RunningProject, filters: Any) -> None:
    refused = await shop("POST", SESSION_RUNS, {"metrics": METRICS, "filters": filters})
    assert refused.status_code == 422
    assert (await shop.read(SESSION_RUNS))["total"] == 0


async def test_weights_are_returned_within_the_filters(shop: RunningProject) -> None:
    weights = {"confidence": 0.5, "nothing": 2.0}
    overrides = {"filters": {"user_id": "u", "tags": None}, "signal_weights": weights}
    run = await shop.start_run(SESSION_RUNS, **overrides)
    assert run["filters"] == {"user_id": "u", "signal_weights": weights}
    batch = await shop.start_run(
        f"{SESSION_RUNS}/batch", session_ids=["talk"], signal_weights=weights
    )
    assert batch["filters"] == {"session_ids": ["talk"]}
    assert (await shop.start_run(SESSION_RUNS, signal_weights=None))["filters"] == {}


async def test_unknown_session_counts_as_failed_and_is_retried(shop: RunningProject) -> None:
    ids = ["nowhere", "a/b", "nowhere"]
    run = await shop.start_run(f"{SESSION_RUNS}/batch", session_ids=ids, signal_weights={"x": 1})
    assert run["filters"] == {"session_ids": ["nowhere", "a/b"]}
    await shop.run_jobs()
    over = await shop.run(run)
    assert (over["status"], over["failed_count"]) == ("FAILED", 2)
    again = await shop("POST", f"{RUNS}/{run['id']}/retry")  # by its own type, at either path
    assert again.json()["target_type"] == "SESSION"
    assert again.json()["filters"] == {"retry_of": run["id"], "session_ids": ["a/b", "nowhere"]}


@pytest.mark.parametrize(
    ("overrides", "fields"),
    [
        ({"metrics": ["coherence", "agent_reliability"]}, {"metrics.0"}),
        ({"filters": {"min_trace_count": 0}}, {"filters.min_trace_count"}),
        ({"filters": {"min_trace_count": 2**63}}, {"filters.min_trace_count"}),
        ({"filters": {"has_error": "yes"}, "name": 1}, {"filters.has_error", "name"}),
        ({"filters": {"date_from": ""}}, {"filters.date_from"}),
        ({"signal_weights": {"a": "x"}}, {"signal_weights.a"}),
        ({"signal_weights": {"a": -0.5, "b": 0}, "name": 1}, {"signal_weights.a", "name"}),
        ({"signal_weights": {str(number): 1 for number in range(101)}}, {"signal_weights"}),
        ({"signal_weights": [1]}, {"signal_weights"}),
    ],
)
async def test_all_field_errors_are_reported_together(
    shop: RunningProject, overrides: dict[str, Any], fields: set[str]
) -> None:
    refused = await shop("POST", SESSION_RUNS, {"metrics": METRICS} | overrides)
    assert set(field_errors(refused)) == fields


@pytest.mark.parametrize(
    ("ids", "fields"),
    [
        ([], {"session_ids"}),
        (["a", 5, "x" * 256, "\0"], {"session_ids.1", "session_ids.2", "session_ids.3"}),
        (["a"] * 10_001, {"session_ids"}),
    ],
)
async def test_ids_must_be_1_to_10000_texts(
    shop: RunningProject, ids: Any, fields: set[str]
) -> None:
    body = {"metrics": METRICS, "session_ids": ids}
    assert set(field_errors(await shop("POST", f"{SESSION_RUNS}/batch", body))) == fields


@pytest.mark.parametrize("header", ["idempotency-key", "x-request-id"])
async def test_repeated_request_starts_one_run(shop: RunningProject, header: str) -> None:
    ids = {"session_ids": ["nowhere"]}
    failed = await shop.start_run(f"{SESSION_RUNS}/batch", **ids)
    await shop.run_jobs()
    for path in ("", "/batch", f"/{failed['id']}/retry"):
        body = {"metrics": METRICS} | (ids if path == "/batch" else {})
        first, again = [
            await shop("POST", f"{SESSION_RUNS}{path}", body, **{header: "r"}) for _ in range(2)
        ]
        assert (first.status_code, again.content) == (202, first.content)
    assert (await shop.read(SESSION_RUNS))["total"] == 4


async def test_sessions_of_another_project_count_as_failed(shop: RunningProject) -> None:
    other = await RunningProject.over(shop.site)
    run = await other.start_run(f"{SESSION_RUNS}/batch", session_ids=["talk"])
    await other.run_jobs()
    assert (await other.run(run))["status"] == "FAILED"
    assert (await shop("GET", f"{SESSION_RUNS}/{run['id']}")).status_code == 404
    assert await shop.scores(run, SESSION_RUNS) == []
    assert (await shop.read(SESSION_RUNS))["total"] == 0
    unknown = await shop("POST", f"{SESSION_RUNS}/{uuid.UUID(int=1)}/cancel")
    assert unknown.status_code == 404
