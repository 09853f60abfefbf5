"""Filters of runs and monitors: those of the lists, and they select what the lists show."""

from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from entrypoints.http.controllers.exports.schemas import ExportFilters
from entrypoints.http.controllers.runs.schemas import EvalRunFilters, SessionEvalRunFilters
from entrypoints.http.controllers.sessions.sessions import SessionQuery
from entrypoints.http.controllers.traces.schemas import TraceQuery
from entrypoints.http.requests.cursors import PageQuery
from tests.http.conftest import Site, a_span, a_trace, field_errors
from tests.support.clients.runs import RUNS, SESSION_RUNS, RunningProject

MONITORS = "/evaluations/monitors"
MONITOR = {"name": "m", "cadence": "daily"}
DAY, NEXT = "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z"
SCORED = "11111111-1111-4111-8111-000000000001"
TRACES = [
    a_trace(
        trace_id=SCORED,
        name="Alpha",
        session_id="s-1",
        user_id="u",
        release="2",
        environment="prod",
    ),
    a_trace(session_id="s-1", release="2", metadata={"k": "v", "n": 7}, status="ERROR"),
    a_trace(
        session_id="s-2",
        tags=["x"],
        spans=[a_span(model="gpt-5", status="ERROR", kind="TOOL", name="find")],
    ),
    a_trace(
        started_at=DAY,
        ended_at="2026-03-02T00:00:02Z",
        metadata={"k": "w"},
        spans=[a_span(cost={"total": 0.5}, token_usage={"prompt_tokens": 7})],
    ),
    a_trace(started_at=NEXT, session_id="S-3", tags=["y", "x"], user_id="u"),
]
TRACE_FILTERS: list[dict[str, Any]] = [
    *({"session_id": "s-1"}, {"user_id": "u"}, {"environment": "prod"}, {"release": "2"}),
    *({"status": "ERROR"}, {"tags": ["x"]}, {"tags": ["x", "y"], "user_id": "u"}),
    *({"name": "ALPH"}, {"started_after": DAY}, {"started_before": NEXT}, {"model": "gpt-5"}),
    *({"min_latency_ms": 2000}, {"max_latency_ms": 2000.5}),
    *({"has_error": True}, {"has_error": False, "release": "2"}),
    *({"has_failed_span": True}, {"has_failed_span": False, "has_error": True}),
    *({"metadata": {"k": ["v", "w"]}}, {"metadata": {"n": ["7"], "k": ["v"]}}),
    *({"environments": ["prod", "dev"]}, {"statuses": ["ERROR", "RUNNING"]}, {"names": ["Alpha"]}),
    *({"tags_all": ["x", "y"]}, {"min_cost": 0.5}, {"min_tokens": 7}, {"min_span_count": 1}),
    *({"not_session_id": ["s-1", "s-2"]}, {"not_user_id": ["u"]}, {"not_environment": ["prod"]}),
    *({"not_release": ["2"]}, {"not_status": ["ERROR"]}, {"not_tags": ["x"]}),
    *({"not_name": ["ALPH"]}, {"not_model": ["gpt-5"], "tags": ["x"]}),
    *({"not_score": ["m"]}, {"not_span_kind": ["TOOL"]}, {"not_span_name": ["find", "x"]}),
    {"not_metadata": {"k": ["v"], "n": ["7"]}},
    *({"score": "m"}, {"score": "m", "score_min": 0.25, "score_max": 0.5}),
    *({"score": "m", "score_outcome": "scored"}, {"span_kind": "TOOL", "span_name": "find"}),
]
SESSION_FILTERS: list[dict[str, Any]] = [
    *({"user_id": "u"}, {"has_error": True}, {"has_error": False}, {"tags": ["x"]}),
    *({"has_failed_span": True}, {"has_failed_span": False}),
    *({"started_after": DAY}, {"started_before": NEXT}, {"query": "S-"}, {"query": "3"}),
    *({"not_user_id": ["u"]}, {"not_tags": ["y", "z"]}),
]


@pytest.fixture
async def shop(site: Site) -> RunningProject:
    project = await RunningProject.over(site)
    # The trace that every project here begins with matches filters by chance.
    await project("DELETE", f"/traces/{project.trace}")
    for trace in TRACES:
        assert (await project("POST", "/traces", trace)).status_code == 202
    score = {"trace_id": SCORED, "name": "m", "value": "0.25"}
    assert (await project("POST", "/evaluations/trace-scores", score)).status_code == 201
    return project


def as_query(filters: dict[str, Any]) -> str:
    flat: dict[str, Any] = {}
    for name, value in filters.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": texts for key, texts in value.items()}
        else:
            flat[name] = value
    return urlencode(flat, doseq=True)


@pytest.mark.parametrize(
    ("runs", "listed", "filters"),
    [(RUNS, "/traces", one) for one in TRACE_FILTERS]
    + [(SESSION_RUNS, "/sessions", one) for one in SESSION_FILTERS],
)
async def test_run_evaluates_what_the_list_shows(
    shop: RunningProject, runs: str, listed: str, filters: dict[str, Any]
) -> None:
    shown = await shop.read(f"{listed}?{as_query(filters)}")
    everything = (await shop.read(listed))["total"]
    assert 0 < shown["total"] <= everything
    run = await shop.start_run(runs, filters=filters)
    assert (run["total_targets"], run["filters"]) == (shown["total"], filters)
    metrics = run["metric_names"]
    estimate = await shop("POST", f"{runs}/estimate", {"metrics": metrics, "filters": filters})
    assert estimate.json()["targets"] == shown["total"]
    of = "TRACE" if runs == RUNS else "SESSION"
    body = MONITOR | {"target_type": of, "metrics": metrics, "filters": filters}
    monitor = (await shop("POST", MONITORS, body)).json()
    assert monitor["filters"] == filters
    triggered = await shop("POST", f"{MONITORS}/{monitor['id']}/trigger")
    assert triggered.json()["total_targets"] == shown["total"]


async def test_conditions_on_scores_have_to_go_together(shop: RunningProject) -> None:
    wrong = {"score_min": 0.5}, {"score": "m", "score_outcome": "failed", "score_max": 0.5}
    for filters in wrong:
        [bound] = filters.keys() & {"score_min", "score_max"}
        sent = await shop("POST", RUNS, {"metrics": ["coherence"], "filters": filters})
        assert [*field_errors(sent)] == [f"filters.{bound}"]
        sent = await shop("POST", "/traces/exports", {"format": "csv", "filters": filters})
        assert [*field_errors(sent)] == [f"filters.{bound}"]


def test_filters_are_those_of_the_lists() -> None:
    """One that runs ignored would evaluate, and charge, everything."""
    of_page = {*PageQuery.__struct_fields__, "sort_by", "sort_order", "include"}
    own = {"date_from", "date_to"}
    of_list = names(TraceQuery) - of_page - {"query"}  # words: exports and runs refuse them
    assert names(EvalRunFilters) - own == names(ExportFilters) == of_list
    assert names(SessionEvalRunFilters) - own - {"min_trace_count"} == names(SessionQuery) - of_page


def names(wire: type[msgspec.Struct]) -> set[str]:
    return set(wire.__struct_fields__)


@pytest.mark.parametrize(
    ("filters", "field"),
    [
        ({"metadata": {"a\0": ["v"]}}, "metadata"),
        ({"metadata": {"a": ["\0"]}}, "metadata.a.0"),
        ({"metadata": {"a": "v"}}, "metadata.a"),
        ({"metadata": {str(n): [] for n in range(21)}}, "metadata"),
        ({"min_latency_ms": "x"}, "min_latency_ms"),
        ({"min_latency_ms": "1e999"}, "min_latency_ms"),
        ({"started_after": "soon"}, "started_after"),
        ({"release": "\0"}, "release"),
        ({"not_release": "1"}, "not_release"),
        ({"min_cost": -1}, "min_cost"),
        ({"min_tokens": 0.5}, "min_tokens"),
        ({"environments": "prod"}, "environments"),
        ({"statuses": ["GONE"]}, "statuses.0"),
        ({"not_tags": ["x"] * 101}, "not_tags"),
        ({"not_status": ["GONE"]}, "not_status.0"),
        ({"not_span_kind": ["GONE"]}, "not_span_kind.0"),
        ({"not_metadata": {"a\0": ["v"]}}, "not_metadata"),
        ({"relase": "1"}, "relase"),
    ],
)
async def test_invalid_filters_are_refused(
    shop: RunningProject, filters: dict[str, Any], field: str
) -> None:
    run = {"metrics": ["trace_success"], "filters": filters}
    for path, body in (
        (RUNS, run),
        (f"{RUNS}/estimate", run),
        (MONITORS, run | MONITOR | {"target_type": "TRACE"}),
        ("/traces/exports", {"format": "csv", "filters": filters}),
    ):
        assert set(field_errors(await shop("POST", path, body))) == {f"filters.{field}"}
