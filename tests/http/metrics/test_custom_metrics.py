"""Custom metrics over HTTP: created, revised, archived, tried, and used in runs."""

import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest

from domain.evaluation.custom_metrics.custom_metric import NAME_MAX
from domain.evaluation.metrics.metric import DefinitionKind
from entrypoints.http.controllers.metrics import examples
from tests.http.conftest import Site, a_span, field_errors
from tests.support.clients.runs import RUNS, RunningProject

METRICS = "/evaluations/custom-metrics"
NOBODY = str(uuid.UUID(int=1))
RULE = {"path": "spans[kind=TOOL].name", "op": "eq", "value": "search"}
SEARCHED: dict[str, Any] = {
    "name": "searched",
    "kind": "rule",
    "description": "Whether it searched",
    "definition": RULE,
}


@pytest.fixture
async def shop(either: Site) -> RunningProject:
    """A project with one trace without tool calls."""
    return await RunningProject.over(either)


async def made(shop: RunningProject, order: dict[str, Any] = SEARCHED, **overrides: Any) -> Any:
    answer = await shop("POST", METRICS, order | overrides)
    assert answer.status_code == 201, answer.text
    return answer.json()


def batch(shop: RunningProject, *metrics: str) -> dict[str, Any]:
    return {"metrics": list(metrics), "trace_ids": [shop.trace]}


async def asked(shop: RunningProject, path: str, body: dict[str, Any]) -> Any:
    answer = await shop("POST", path, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refused(shop: RunningProject, **overrides: Any) -> dict[str, str]:
    return field_errors(await shop("POST", METRICS, SEARCHED | overrides))


class TestMaking:
    async def test_created_metric_is_returned_and_readable(self, shop: RunningProject) -> None:
        metric = await made(shop)
        [project] = shop.site.store.projects
        assert metric == {
            "id": metric["id"],
            "project_id": str(project),
            "name": "searched",
            "kind": "rule",
            "revision": 1,
            "description": "Whether it searched",
            "threshold": 0.5,
            "definition": RULE,
            "archived_at": None,
            "created_at": metric["created_at"],
            "updated_at": metric["created_at"],
        }
        assert await shop.read(f"{METRICS}/searched") == metric
        assert await shop.read(METRICS) == [metric]
        assert await shop.read(f"{METRICS}?archived=true") == []

    async def test_documented_example_is_valid(self, shop: RunningProject) -> None:
        metric = await made(shop, examples.REQUEST)
        assert metric["definition"] == examples.CONTENT["definition"]
        assert set(metric) == set(examples.METRIC)

    async def test_examples_of_the_docs_are_accepted(self, shop: RunningProject) -> None:
        page = (Path(__file__).parents[3] / "docs/evaluation/custom-metrics.md").read_text()
        found = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
        for order in found:
            await made(shop, order)
        assert {one["kind"] for one in found} == set(DefinitionKind)

    async def test_repeated_request_creates_one_metric(self, shop: RunningProject) -> None:
        key = {"idempotency_key": "once"}
        first = await shop("POST", METRICS, SEARCHED, **key)
        again = await shop("POST", METRICS, SEARCHED, **key)
        assert (first.json(), first.status_code) == (again.json(), 201)
        taken = await shop("POST", METRICS, SEARCHED)
        assert (taken.status_code, "searched already" in taken.json()["detail"]) == (409, True)

    @pytest.mark.parametrize("name", ["", "a", "Polite", "x" * (NAME_MAX + 1), "task_completion"])
    async def test_name_must_be_a_slug_and_not_built_in(
        self, shop: RunningProject, name: str
    ) -> None:
        assert set(await refused(shop, name=name)) == {"name"}

    @pytest.mark.parametrize(
        ("said", "fields"),
        [
            ({"kind": "vibe"}, {"kind"}),
            ({"description": ""}, {"description"}),
            ({"threshold": 1.5}, {"threshold"}),
            ({"definition": []}, {"definition"}),
            ({"definition": {"path": "trace.x", "op": "is"}}, {
                "definition.path", "definition.op",
            }),
            ({"definition": RULE | {"op": "matches", "value": "(?=x)"}}, {"definition.value"}),
            ({"definition": RULE | {"value": "a\u0000"}}, {"definition"}),
            ({"kind": "judge"}, {
                "definition.criterion", "definition.anchors", "definition.path",
                "definition.op", "definition.value",
            }),
            ({"kind": "measured", "definition": {"type": "latency_slo"}}, {
                "definition.parameters.target_ms",
            }),
            ({"kind": "measured", "definition": {
                "type": "cost_budget", "parameters": {"usd": 10**400},
            }}, {"definition.parameters.usd"}),
            ({"kind": "measured", "definition": {
                "type": "text_match", "parameters": {"op": "matches", "value": "(a)\\1"},
            }}, {"definition.parameters.value"}),
        ],
    )  # fmt: skip
    async def test_errors_have_paths(
        self, shop: RunningProject, said: dict[str, Any], fields: set[str]
    ) -> None:
        assert set(await refused(shop, **said)) == fields
        assert await shop.read(METRICS) == []


class TestRevising:
    async def test_change_adds_a_revision_and_an_equal_one_does_not(
        self, shop: RunningProject
    ) -> None:
        first = await made(shop)
        content = {"description": "D", "threshold": 1, "definition": RULE | {"value": "book"}}
        for _ in range(2):
            answer = await shop("PUT", f"{METRICS}/searched", content)
            assert answer.status_code == 200
            assert answer.json()["revision"] == 2
        found = await shop.read(f"{METRICS}/searched/revisions")
        assert [one["revision"] for one in found] == [2, 1]
        assert found[1] == {name: first[name] for name in found[1]}
        assert found[0]["definition"] == content["definition"]
        assert (await shop.read(f"{METRICS}/searched"))["threshold"] == 1.0

    async def test_archived_metric_can_be_restored(self, shop: RunningProject) -> None:
        await made(shop)
        archived = (await shop("POST", f"{METRICS}/searched/archive")).json()
        assert archived["archived_at"] is not None
        assert await shop.read(METRICS) == []
        assert await shop.read(f"{METRICS}?archived=true") == [archived]
        content = {"description": "D", "definition": RULE}
        assert (await shop("PUT", f"{METRICS}/searched", content)).status_code == 409
        assert (await shop("POST", METRICS, SEARCHED)).status_code == 409
        run = await shop("POST", f"{RUNS}/batch", batch(shop, "searched"))
        assert field_errors(run) == {"metrics.0": "searched is archived"}
        restored = (await shop("POST", f"{METRICS}/searched/restore")).json()
        assert restored == archived | {"archived_at": None}

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("GET", "", None),
            ("GET", "/revisions", None),
            ("PUT", "", {"description": "D", "definition": RULE}),
            ("POST", "/archive", None),
            ("POST", "/restore", None),
            ("POST", "/dry-run", {"trace_id": NOBODY}),
        ],
    )
    async def test_unknown_metric_is_404(
        self, shop: RunningProject, method: str, path: str, body: Any
    ) -> None:
        assert (await shop(method, f"{METRICS}/searched{path}", body)).status_code == 404


class TestUsing:
    async def test_custom_metric_is_listed_and_has_a_template(self, shop: RunningProject) -> None:
        await made(shop)
        await made(shop, examples.REQUEST)
        listed = await shop.read("/evaluations/trace-metrics")
        names = [one["name"] for one in listed]
        assert names == sorted(names)
        assert {"searched", "polite_answer", "task_completion"} <= set(names)
        polite = {one["name"]: one for one in listed}["polite_answer"]
        assert (polite["method"], polite["threshold"], polite["revision"]) == ("judged", 0.6, 1)
        assert polite["skipped_when"] is None
        template = await shop.read("/evaluations/trace-runs/template?metric=polite_answer")
        assert template["metric"]["default_threshold"] == 0.6
        assert "{{task}}" in template["metric"]["prompt_preview"][-1]["prompt"]
        await shop("POST", f"{METRICS}/searched/archive")
        names = [one["name"] for one in await shop.read("/evaluations/trace-metrics")]
        assert "searched" not in names
        gone = await shop("GET", "/evaluations/trace-runs/template?metric=searched")
        assert field_errors(gone) == {"query.metric": "searched is archived"}

    async def test_run_uses_custom_and_built_in_metrics(self, shop: RunningProject) -> None:
        await made(shop, threshold=1.0)
        trace = await shop.store_trace(spans=[a_span(kind="TOOL", name="search")])
        names = ["searched", "trace_success"]
        run = await shop.start_run(f"{RUNS}/batch", metrics=names, trace_ids=[trace])
        assert run["metric_names"] == ["searched", "trace_success"]
        await shop.run_jobs()
        by_name = {one["name"]: one for one in await shop.scores(run)}
        assert by_name["searched"]["value"] == "1.0"
        marks = by_name["searched"]["metadata"]
        assert (marks["judge_kind"], marks["metric_revision"], marks["success"]) == (
            *("rule", 1),
            True,
        )

    async def test_heuristic_judge_is_refused_for_a_criterion(self, shop: RunningProject) -> None:
        await made(shop, examples.REQUEST)
        trace = await shop.store_trace(output="Done")
        for path, body in (
            (RUNS, {"metrics": ["polite_answer"]}),
            (f"{RUNS}/batch", batch(shop, "polite_answer")),
            (f"{METRICS}/polite_answer/dry-run", {"trace_id": trace, "ask": True}),
        ):
            answer = await shop("POST", path, body)
            assert "needs a model" in field_errors(answer)["metrics.0"]

    async def test_session_runs_refuse_custom_metrics(self, shop: RunningProject) -> None:
        await made(shop)
        order = {"metrics": ["searched"], "session_ids": ["s"]}
        answer = await shop("POST", "/evaluations/session-runs/batch", order)
        assert set(field_errors(answer)) == {"metrics.0"}


class TestTrying:
    async def test_dry_run_of_a_rule_returns_the_outcome(self, shop: RunningProject) -> None:
        await made(shop)
        trace = await shop.store_trace(spans=[a_span(kind="TOOL", name="search")])
        tried = await asked(shop, f"{METRICS}/searched/dry-run", {"trace_id": trace})
        assert tried["outcome"]["outcome"] == "scored"
        assert tried["outcome"]["value"] == "1.0"
        assert tried["outcome"]["metadata"]["conditions"][0]["holds"] is True
        assert (tried["prompt"], tried["run_id"], tried["estimated_cost_usd"]) == ([], None, 0.0)
        assert await shop.read(f"/evaluations/trace-scores/{trace}") == []

    async def test_dry_run_of_a_judge_metric_returns_the_prompt(self, shop: RunningProject) -> None:
        await made(shop, examples.REQUEST)
        trace = await shop.store_trace(input="Where is my parcel?", output="On its way, dear Ada.")
        body = {"trace_id": trace, "model": "openai/gpt-4o"}
        tried = await asked(shop, f"{METRICS}/polite_answer/dry-run", body)
        [stage] = tried["prompt"]
        assert "| Where is my parcel?\nWhat was answered\n| On its way" in stage["prompt"]
        assert "How politely was the customer answered" in stage["prompt"]
        assert (tried["outcome"], tried["run_id"]) == (None, None)
        assert tried["model"] == "openai/gpt-4o"
        assert len(tried["evidence_hash"]) == 64

    async def test_dry_run_with_ask_starts_a_run_of_one_trace(self, shop: RunningProject) -> None:
        await made(shop, examples.REQUEST)
        trace = await shop.store_trace(output="Done")
        body = {"trace_id": trace, "model": "openai/gpt-4o", "ask": True}
        tried = await asked(shop, f"{METRICS}/polite_answer/dry-run", body)
        run = await shop.read(f"{RUNS}/{tried['run_id']}")
        assert (run["name"], run["total_targets"]) == ("Dry run: polite_answer", 1)
        assert json.dumps(run["filters"]) == json.dumps({"trace_ids": [trace]})

    async def test_dry_run_without_evidence_calls_no_judge(self, shop: RunningProject) -> None:
        await made(shop, examples.REQUEST)
        empty = await shop.store_trace(spans=[])
        body = {"trace_id": empty, "ask": True, "model": "openai/gpt-4o"}
        tried = await asked(shop, f"{METRICS}/polite_answer/dry-run", body)
        assert tried["outcome"]["outcome"] == "skipped"
        assert tried["outcome"]["metadata"]["code"] == "no_steps"
        assert (tried["prompt"], tried["run_id"]) == ([], None)

    async def test_draft_is_tried_before_it_is_stored(self, shop: RunningProject) -> None:
        trace = await shop.store_trace(input="Where?", output="On its way, dear Ada.")
        rule = {"path": "answer", "op": "contains", "value": "Ada"}
        draft = {"kind": "rule", "definition": rule, "trace_id": trace}
        tried = await asked(shop, f"{METRICS}/dry-run", draft)
        assert (tried["name"], tried["revision"], tried["run_id"]) == ("draft", 0, None)
        assert (tried["outcome"]["value"], tried["outcome"]["outcome"]) == ("1.0", "scored")
        judged = {"kind": "judge", "definition": examples.REQUEST["definition"]}
        tried = await asked(shop, f"{METRICS}/dry-run", draft | judged | {"model": "openai/gpt-4o"})
        assert (tried["outcome"], tried["model"]) == (None, "openai/gpt-4o")
        assert "How politely was the customer answered" in tried["prompt"][0]["prompt"]
        assert await shop.read(METRICS) == []
        for body, problem in (
            (draft | {"definition": rule | {"op": "is"}}, {"definition.op"}),
            (draft | {"ask": True}, {"ask"}),
        ):
            assert set(field_errors(await shop("POST", f"{METRICS}/dry-run", body))) == problem
        unknown = await shop("POST", f"{METRICS}/dry-run", draft | {"trace_id": NOBODY})
        assert (unknown.status_code, unknown.json()) == (404, {"detail": "Trace not found"})

    async def test_dry_run_of_an_unknown_trace_is_404(self, shop: RunningProject) -> None:
        await made(shop)
        answer = await shop("POST", f"{METRICS}/searched/dry-run", {"trace_id": NOBODY})
        assert (answer.status_code, answer.json()) == (404, {"detail": "Trace not found"})
