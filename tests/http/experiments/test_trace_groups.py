"""Comparing groups of traces over HTTP: the form of answers, and filters that are refused."""

import asyncio

from domain.evaluation.experiments.trace_groups import GROUP_METRICS_MAX
from tests.http.conftest import Site, a_span, a_trace, field_errors

COMPARE = "/analytics/compare"


async def test_two_releases_are_compared(site: Site, head: dict[str, str]) -> None:
    async def send(release: str, value: str, **said: object) -> None:
        body = a_trace(release=release, **said)
        stored = (await site.http.post("/traces", headers=head, json=body)).json()
        score = {
            "trace_id": stored["trace_id"], "name": "answer", "value": value,
            "data_type": "NUMERIC", "source": "PROGRAMMATIC",
        }  # fmt: skip
        answer = await site.http.post("/evaluations/trace-scores", headers=head, json=score)
        assert answer.status_code == 201

    step = a_span(cost={"total": 0.5}, token_usage={"prompt_tokens": 7})
    await asyncio.gather(
        *(send("1", "1.0", ended_at="2026-03-01T09:00:01Z", spans=[step]) for _ in range(30)),
        *(send("2", "1.0", status="ERROR", spans=[step]) for _ in range(25)),
        *(send("2", "0.0") for _ in range(5)),
    )
    body = {"a": {"release": "1"}, "b": {"release": "2"}, "metrics": ["answer"]}
    found = (await site.http.post(COMPARE, headers=head, json=body)).json()
    a, b = found["a"], found["b"]
    assert (a["traces"], b["traces"], found["shared"]) == (30, 30, 0)
    assert (a["latency_ms"]["p99"], b["latency_ms"]) == (1_000.0, None)
    assert (b["failed"], b["total_tokens"], b["total_cost"]) == (25, 175, 12.5)
    assert found["failures"]["is_beyond_chance"] is True
    [metric] = found["metrics"]
    assert (metric["name"], metric["is_of_run"]) == ("answer", False)
    assert metric["b"] == {"scored": 30, "skipped": 0, "failed": 0, "missing": 0}
    [means] = metric["means"]
    assert (means["a"]["mean"], means["b"]["count"]) == (1.0, 30)
    assert [one["value"] for one in means["b"]["lowest"]] == [0.0] * 5
    difference = means["difference"]
    assert difference["low"] < difference["value"] < difference["high"]
    whole = {"a": {}, "b": {"release": "2"}}
    found = (await site.http.post(COMPARE, headers=head, json=whole)).json()
    assert (found["shared"], found["failures"]["no_interval"]) == (30, "shared_traces")


async def test_invalid_filters_are_named(site: Site, head: dict[str, str]) -> None:
    for body, field in (
        ({"a": {}}, "b"),
        ({"a": {}, "b": {"relase": "1"}}, "b.relase"),
        ({"a": {"started_after": "soon"}, "b": {}}, "a.started_after"),
        ({"a": {}, "b": {}, "metrics": [""]}, "metrics.0"),
        ({"a": {}, "b": {}, "metrics": ["m"] * (GROUP_METRICS_MAX + 1)}, "metrics"),
    ):
        answer = await site.http.post(COMPARE, headers=head, json=body)
        assert list(field_errors(answer)) == [field]
