"""A project's own metrics over HTTP: made, revised, archived, tried, and used in runs."""

import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest

from domain.evaluation.custom_metrics.custom_metric import NAME_MAX
from domain.evaluation.metrics.definition import DefinitionKind
from entrypoints.http.controllers.metrics import examples
from tests.http.conftest import Site, a_span, mistakes
from tests.support.clients.runs import RUNS, Running

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
async def shop(either: Site) -> Running:
    """With one trace, which has no tool calls."""
    return await Running.over(either)


async def made(shop: Running, order: dict[str, Any] = SEARCHED, **said: Any) -> Any:
    answer = await shop("POST", METRICS, order | said)
    assert answer.status_code == 201, answer.text
    return answer.json()


def batch(shop: Running, *metrics: str) -> dict[str, Any]:
    return {"metrics": list(metrics), "trace_ids": [shop.trace]}


async def asked(shop: Running, path: str, body: dict[str, Any]) -> Any:
    answer = await shop("POST", path, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refused(shop: Running, **said: Any) -> dict[str, str]:
    return mistakes(await shop("POST", METRICS, SEARCHED | said))


class TestMaking:
    async def test_a_metric_is_answered_whole_and_read_again(self, shop: Running) -> None:
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
        assert await shop.got(f"{METRICS}/searched") == metric
        assert await shop.got(METRICS) == [metric]
        assert await shop.got(f"{METRICS}?archived=true") == []

    async def test_the_example_is_one(self, shop: Running) -> None:
        metric = await made(shop, examples.ORDER)
        assert metric["definition"] == examples.CONTENT["definition"]
        assert set(metric) == set(examples.METRIC)

    async def test_the_examples_of_the_page_are_taken(self, shop: Running) -> None:
        page = (Path(__file__).parents[3] / "docs" / "custom-metrics.md").read_text()
        found = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
        for order in found:
            await made(shop, order)
        assert {one["kind"] for one in found} == set(DefinitionKind)

    async def test_a_request_that_is_sent_again_makes_no_second(self, shop: Running) -> None:
        key = {"idempotency_key": "once"}
        first = await shop("POST", METRICS, SEARCHED, **key)
        again = await shop("POST", METRICS, SEARCHED, **key)
        assert (first.json(), first.status_code) == (again.json(), 201)
        taken = await shop("POST", METRICS, SEARCHED)
        assert (taken.status_code, "searched already" in taken.json()["detail"]) == (409, True)

    @pytest.mark.parametrize("name", ["", "a", "Polite", "x" * (NAME_MAX + 1), "task_completion"])
    async def test_a_name_is_a_slug_and_no_built_in_metrics(self, shop: Running, name: str) -> None:
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
                "type": "text_match", "parameters": {"op": "matches", "value": "(a)\\1"},
            }}, {"definition.parameters.value"}),
        ],
    )  # fmt: skip
    async def test_mistakes_come_with_their_places(
        self, shop: Running, said: dict[str, Any], fields: set[str]
    ) -> None:
        assert set(await refused(shop, **said)) == fields
        assert await shop.got(METRICS) == []


class TestRevising:
    async def test_each_change_is_a_revision_and_the_same_again_is_none(
        self, shop: Running
    ) -> None:
        first = await made(shop)
        content = {"description": "D", "threshold": 1, "definition": RULE | {"value": "book"}}
        for _ in range(2):
            answer = await shop("PUT", f"{METRICS}/searched", content)
            assert answer.status_code == 200
            assert answer.json()["revision"] == 2
        found = await shop.got(f"{METRICS}/searched/revisions")
        assert [one["revision"] for one in found] == [2, 1]
        assert found[1] == {name: first[name] for name in found[1]}
        assert found[0]["definition"] == content["definition"]
        assert (await shop.got(f"{METRICS}/searched"))["threshold"] == 1.0

    async def test_an_archived_metric_is_kept_and_restored(self, shop: Running) -> None:
        await made(shop)
        archived = (await shop("POST", f"{METRICS}/searched/archive")).json()
        assert archived["archived_at"] is not None
        assert await shop.got(METRICS) == []
        assert await shop.got(f"{METRICS}?archived=true") == [archived]
        content = {"description": "D", "definition": RULE}
        assert (await shop("PUT", f"{METRICS}/searched", content)).status_code == 409
        assert (await shop("POST", METRICS, SEARCHED)).status_code == 409
        run = await shop("POST", f"{RUNS}/batch", batch(shop, "searched"))
        assert mistakes(run) == {"metrics.0": "searched is archived"}
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
    async def test_what_is_unknown_is_404(
        self, shop: Running, method: str, path: str, body: Any
    ) -> None:
        assert (await shop(method, f"{METRICS}/searched{path}", body)).status_code == 404


class TestUsing:
    async def test_it_is_listed_and_has_a_template(self, shop: Running) -> None:
        await made(shop)
        await made(shop, examples.ORDER)
        listed = await shop.got("/evaluations/trace-metrics")
        names = [one["name"] for one in listed]
        assert names == sorted(names)
        assert {"searched", "polite_answer", "task_completion"} <= set(names)
        template = await shop.got("/evaluations/trace-runs/template?metric=polite_answer")
        assert template["metric"]["default_threshold"] == 0.6
        assert "{{task}}" in template["metric"]["prompt_preview"][-1]["prompt"]
        await shop("POST", f"{METRICS}/searched/archive")
        names = [one["name"] for one in await shop.got("/evaluations/trace-metrics")]
        assert "searched" not in names
        gone = await shop("GET", "/evaluations/trace-runs/template?metric=searched")
        assert mistakes(gone) == {"query.metric": "searched is archived"}

    async def test_a_run_has_it_beside_others(self, shop: Running) -> None:
        await made(shop, threshold=1.0)
        trace = await shop.stores(spans=[a_span(kind="TOOL", name="search")])
        names = ["searched", "trace_success"]
        run = await shop.starts(f"{RUNS}/batch", metrics=names, trace_ids=[trace])
        assert run["metric_names"] == ["searched", "trace_success"]
        await shop.works()
        by_name = {one["name"]: one for one in await shop.scores(run)}
        assert by_name["searched"]["value"] == "1.0"
        marks = by_name["searched"]["metadata"]
        assert (marks["judge_kind"], marks["metric_revision"], marks["success"]) == (
            *("rule", 1),
            True,
        )

    async def test_the_keyless_judge_is_refused_for_a_criterion(self, shop: Running) -> None:
        await made(shop, examples.ORDER)
        trace = await shop.stores(output="Done")
        for path, body in (
            (RUNS, {"metrics": ["polite_answer"]}),
            (f"{RUNS}/batch", batch(shop, "polite_answer")),
            (f"{METRICS}/polite_answer/dry-run", {"trace_id": trace, "ask": True}),
        ):
            answer = await shop("POST", path, body)
            assert "needs a model" in mistakes(answer)["metrics.0"]

    async def test_sessions_have_none(self, shop: Running) -> None:
        await made(shop)
        order = {"metrics": ["searched"], "session_ids": ["s"]}
        answer = await shop("POST", "/evaluations/session-runs/batch", order)
        assert set(mistakes(answer)) == {"metrics.0"}


class TestTrying:
    async def test_what_is_computed_is_told_at_once(self, shop: Running) -> None:
        await made(shop)
        trace = await shop.stores(spans=[a_span(kind="TOOL", name="search")])
        tried = await asked(shop, f"{METRICS}/searched/dry-run", {"trace_id": trace})
        assert tried["outcome"]["outcome"] == "scored"
        assert tried["outcome"]["value"] == "1.0"
        assert tried["outcome"]["metadata"]["conditions"][0]["holds"] is True
        assert (tried["prompt"], tried["run_id"], tried["estimated_cost_usd"]) == ([], None, 0.0)
        assert await shop.got(f"/evaluations/trace-scores/{trace}") == []

    async def test_what_a_judge_would_read_is_shown(self, shop: Running) -> None:
        await made(shop, examples.ORDER)
        trace = await shop.stores(input="Where is my parcel?", output="On its way, dear Ada.")
        body = {"trace_id": trace, "model": "openai/gpt-4o"}
        tried = await asked(shop, f"{METRICS}/polite_answer/dry-run", body)
        [stage] = tried["prompt"]
        assert "| Where is my parcel?\nWhat was answered\n| On its way" in stage["prompt"]
        assert "How politely was the customer answered" in stage["prompt"]
        assert (tried["outcome"], tried["run_id"]) == (None, None)
        assert tried["model"] == "openai/gpt-4o"
        assert len(tried["evidence_hash"]) == 64

    async def test_a_judge_is_asked_by_a_run_of_one_trace(self, shop: Running) -> None:
        await made(shop, examples.ORDER)
        trace = await shop.stores(output="Done")
        body = {"trace_id": trace, "model": "openai/gpt-4o", "ask": True}
        tried = await asked(shop, f"{METRICS}/polite_answer/dry-run", body)
        run = await shop.got(f"{RUNS}/{tried['run_id']}")
        assert (run["name"], run["total_targets"]) == ("Dry run: polite_answer", 1)
        assert json.dumps(run["filters"]) == json.dumps({"trace_ids": [trace]})

    async def test_where_there_is_nothing_to_judge_nobody_is_asked(self, shop: Running) -> None:
        await made(shop, examples.ORDER)
        empty = await shop.stores(spans=[])
        body = {"trace_id": empty, "ask": True, "model": "openai/gpt-4o"}
        tried = await asked(shop, f"{METRICS}/polite_answer/dry-run", body)
        assert tried["outcome"]["outcome"] == "skipped"
        assert tried["outcome"]["metadata"]["code"] == "no_steps"
        assert (tried["prompt"], tried["run_id"]) == ([], None)

    async def test_a_trace_that_is_nowhere_is_404(self, shop: Running) -> None:
        await made(shop)
        answer = await shop("POST", f"{METRICS}/searched/dry-run", {"trace_id": NOBODY})
        assert (answer.status_code, answer.json()) == (404, {"detail": "Trace not found"})
