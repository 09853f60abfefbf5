"""Mistakes that are well formed: `detail` says them, since the published CLI shows only that."""

from typing import Any

import pytest

from tests.http.conftest import Site, a_trace, field_errors

RUNS, MONITORS = "/evaluations/trace-runs", "/evaluations/monitors"
RUN = {"metrics": ["coherence"]}
MONITOR = {"name": "m", "target_type": "TRACE", "cadence": "daily"} | RUN


@pytest.mark.parametrize(
    ("path", "body", "field", "said"),
    [
        (RUNS, {"metrics": ["coherence", "nope!"]}, "metrics.1", "unknown trace metric 'nope!'"),
        (RUNS, {"metrics": ["not_there"]}, "metrics.0", "unknown trace metric 'not_there'"),
        (RUNS, RUN | {"filters": {"relase": "1"}}, "filters.relase", "did you mean release?"),
        (RUNS, RUN | {"model": "bogus/x"}, "model", "must be <provider>/<model>"),
        (f"{RUNS}/estimate", RUN | {"model": "bogus/x"}, "model", "beginning with one of"),
        (MONITORS, MONITOR | {"model": "bogus/x"}, "model", "must be <provider>/<model>"),
        (RUNS, RUN | {"max_cost": 1}, "max_cost", "did you mean max_cost_usd?"),
        (MONITORS, MONITOR | {"metrics": ["nope!"]}, "metrics.0", "unknown trace metric"),
        (MONITORS, MONITOR | {"filters": {"model_": "x"}}, "filters.model_", "model?"),
        (MONITORS, MONITOR | {"cadence": "cron:0 0 30 2 *"}, "cadence", "a date that never comes"),
        (MONITORS, MONITOR | {"cadence": "@daily"}, "cadence", "must be one of"),
        (MONITORS, MONITOR | {"signal_weights": {"a": 1}}, "signal_weights", "sessions only"),
    ],
)
async def test_detail_says_the_mistake(
    site: Site, path: str, body: dict[str, Any], field: str, said: str
) -> None:
    answer = await site.http.post(path, headers=site.headers(), json=body)
    found = answer.json()
    [error] = found["errors"]
    assert (answer.status_code, error["field"]) == (422, field)
    assert said in error["message"]
    assert found["detail"] == f"{field}: {error['message']}"


async def test_unknown_parameter_and_metric_of_a_query_say_themselves(site: Site) -> None:
    for path, said in (
        ("/traces?sesion_id=x", "query.sesion_id: is not a known parameter"),
        (f"{RUNS}/template?metric=nope", "unknown trace metric 'nope'"),
    ):
        answer = await site.http.get(path, headers=site.headers())
        assert answer.status_code == 422
        assert said in answer.json()["detail"]


async def test_unknown_metric_is_reported_with_an_unknown_parameter(site: Site) -> None:
    body = RUN | {"metrics": ["coherence", "nope!"]}
    answer = await site.http.post(f"{RUNS}?nope=1", headers=site.headers(), json=body)
    assert set(field_errors(answer)) == {"metrics.1", "query.nope"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/traces", a_trace(name="")),
        (RUNS, {"metrics": []}),
        (RUNS, RUN | {"filters": {"date_from": "soon"}}),
        (RUNS, RUN | {"sampling_rate": 2}),
        (MONITORS, MONITOR | {"cadence": "x" * 51}),
        ("/evaluations/trace-scores", {"trace_id": "x", "name": "n", "value": "2"}),
    ],
)
async def test_malformed_fields_keep_the_general_text(
    site: Site, path: str, body: dict[str, Any]
) -> None:
    answer = await site.http.post(path, headers=site.headers(), json=body)
    assert (answer.status_code, answer.json()["detail"]) == (422, "Validation error")


async def test_detail_is_short_and_leaves_out_malformed_fields(site: Site) -> None:
    body = {f"unknown_{n}": n for n in range(5)} | {"metrics": [], "sampling_rate": 2}
    found = (await site.http.post(RUNS, headers=site.headers(), json=body)).json()
    assert len(found["errors"]) == 7
    assert found["detail"] == (
        "unknown_0: is not a known key; unknown_1: is not a known key; "
        "unknown_2: is not a known key; and 2 more"
    )
