"""Metrics, run templates and judge providers."""

from dataclasses import replace
from typing import Any

import pytest

from adapters.memory.store import MemoryStore
from domain.evaluation.judging.models import PROVIDERS, JudgeModels, ProviderState
from entrypoints.composition.memory import memory_evaluation
from entrypoints.http.controllers.runs.schemas import EvalRunFilters
from tests.http.conftest import Site, field_errors
from tests.support.builders.values import prices

TRACE = {
    *("argument_correctness", "coherence", "confidence", "plan_adherence", "plan_quality"),
    *("step_efficiency", "task_completion", "tool_correctness"),
}

SESSION = {"agent_consistency", "agent_reliability"}


def judged_by(**swapped: Any) -> Site:
    store = MemoryStore()
    evaluation = replace(memory_evaluation(store, prices()), **swapped)
    return Site(store=store, swapped={"evaluation": evaluation})


async def got(site: Site, path: str) -> Any:
    answer = await site.http.get(f"/evaluations/{path}", headers=site.headers())
    assert answer.status_code == 200, answer.text
    return answer.json()


FIELDS = ["name", "description", "category", "method", "threshold", "revision", "skipped_when"]


@pytest.mark.parametrize(
    ("category", "needed"),
    [("trace", TRACE), ("session", {"agent_consistency", "agent_reliability"})],
)
async def test_metrics_are_sorted_by_name(site: Site, category: str, needed: set[str]) -> None:
    found = await got(site, f"{category}-metrics")
    names = [one["name"] for one in found]
    assert names == sorted(names)
    assert needed <= set(names)
    assert "loop_detection" not in names
    for one in found:
        assert list(one) == FIELDS
        assert one["category"] == category
        assert one["description"]
        assert all(why.keys() == {"code", "reason"} for why in one["skipped_when"])


async def test_template_is_a_valid_run_request(site: Site) -> None:
    found = await got(site, "trace-runs/template?metric=tool_correctness")
    metric = found.pop("metric")
    promised = {"date_from", "date_to", "status", "session_id", "user_id", "tags", "name"}
    assert promised < found["filters"].keys()
    assert found == {
        "filters": dict.fromkeys(EvalRunFilters.__struct_fields__),
        "sampling_rate": 1.0,
        "model": "heuristic/1",
    }
    assert list(metric) == [*FIELDS, "default_threshold", "prompt_preview"]
    assert (metric["method"], metric["threshold"], metric["revision"]) == ("judged", 0.5, None)
    assert (metric["name"], metric["category"]) == ("tool_correctness", "trace")
    assert metric["default_threshold"] == 0.5
    assert [one["stage"] for one in metric["prompt_preview"]] == ["evidence", "judge"]
    assert all(one["prompt"] for one in metric["prompt_preview"])


async def test_computed_metric_has_no_prompt(site: Site) -> None:
    found = await got(site, "trace-runs/template?metric=tool_success_rate")
    assert found["metric"]["prompt_preview"] == []


@pytest.mark.parametrize(
    "query",
    [
        *("", "?metric=", "?metric=nothing", "?metric=loop_detection", "?metric=agent_reliability"),
        "?metric=%00",
    ],
)
async def test_template_of_other_names_is_422(site: Site, query: str) -> None:
    path = f"/evaluations/trace-runs/template{query}"
    refused = await site.http.get(path, headers=site.headers())
    assert set(field_errors(refused)) == {"query.metric"}


async def test_template_names_the_default_model() -> None:
    site = judged_by(models=JudgeModels("gpt-5-mini"))
    async with site.http:
        found = await got(site, "trace-runs/template?metric=coherence")
    assert found["model"] == "openai/gpt-5-mini"


async def test_providers_are_listed_in_order_with_missing_settings() -> None:
    states = [ProviderState(one, one.key == "heuristic", "m") for one in PROVIDERS]
    site = judged_by(providers=states)
    async with site.http:
        found = await got(site, "providers")
    assert [one["key"] for one in found] == [one.key for one in PROVIDERS]
    assert {one["key"] for one in found if one["available"]} == {"heuristic"}
    assert all(list(one) == ["key", "name", "description", "available", "message"] for one in found)
