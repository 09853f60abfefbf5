"""Experiments over HTTP: an agent answers items of a dataset, and a run scores its traces."""

import uuid
from typing import Any

import pytest

from tests.http.conftest import field_errors
from tests.http.experiments.conftest import CAPITALS, DATASET, SPLIT, Experimenting


async def test_from_answers_to_scores(project: Experimenting) -> None:
    """Two answers are right, one is wrong in one of two repetitions, and one item has none."""
    await project.prepare(repetitions=2, release="2.1", git={"sha": "9fceb02"})
    opened = await project.read(project.experiment)
    assert (opened["status"], opened["items"], opened["release"]) == ("OPEN", 4, "2.1")
    assert opened["coverage"] == {
        "total": 8, "scored": 0, "failed": 0, "skipped": 0, "pending": 0, "missing": 8,
    }  # fmt: skip
    for country in ("France", "Italy", "Japan"):
        for repetition in (1, 2):
            wrong = country == "Japan" and repetition == 2
            trace = await project.answer(country, "Kyoto" if wrong else CAPITALS[country])
            result = {"item": country, "repetition": repetition, "trace_id": trace}
            assert (await project.report(result))["stored"] == 1
            assert (await project.report(result))["unchanged"] == 1
    closed = await project.ok("POST", f"{project.experiment}/close")
    assert closed["status"] == "PENDING"
    assert await project.ok("POST", f"{project.experiment}/close") == closed
    await project.run_jobs()
    done = await project.read(project.experiment)
    assert (done["status"], done["results"], done["run_id"]) == (
        "COMPLETED", 6, closed["run_id"]
    )  # fmt: skip
    assert done["coverage"] == {
        "total": 8, "scored": 6, "failed": 0, "skipped": 0, "pending": 0, "missing": 2,
    }  # fmt: skip
    items = await project.items()
    values = {
        country: [one["scores"][0]["value"] for one in item["results"]]
        for country, item in items.items()
    }
    assert values == {
        "France": ["1.0", "1.0"], "Italy": ["1.0", "1.0"], "Japan": ["1.0", "0.0"], "Peru": [],
    }  # fmt: skip
    assert {country: item["missing"] for country, item in items.items()}["Peru"] == 2
    assert (items["Peru"]["input"], items["Peru"]["expected"]) == ("Peru", "Lima")
    # Its run is an ordinary run.
    run = await project.read(f"/evaluations/trace-runs/{closed['run_id']}")
    assert (run["total_targets"], run["filters"]) == (
        6, {"experiment_id": project.ids["experiment"]}
    )  # fmt: skip


async def test_traces_name_their_cases(project: Experimenting) -> None:
    await project.prepare()
    named = {"experiment.id": project.ids["experiment"], "experiment.item": "France"}
    trace = await project.answer("France", "Paris", metadata=named)
    italy = {"item": "Italy", "trace_id": await project.answer("Italy", "Rome")}
    await project.report(italy)
    # A result that was sent counts more than one that a trace names.
    await project.answer("Italy", "Milan", metadata=named | {"experiment.item": "Italy"})
    await project.answer("Oslo", "?", metadata=named | {"experiment.item": "no item"})
    await project.ok("POST", f"{project.experiment}/close")
    await project.run_jobs()
    items = await project.items()
    assert [one["trace_id"] for one in items["France"]["results"]] == [trace]
    assert [one["trace_id"] for one in items["Italy"]["results"]] == [italy["trace_id"]]
    assert (await project.read(project.experiment))["coverage"]["scored"] == 2


async def test_missing_and_silent_answers_never_pass(project: Experimenting) -> None:
    await project.prepare()
    silent = await project.answer("France", None)
    await project.report(
        {"item": "France", "trace_id": silent}, {"item": "Italy", "trace_id": str(uuid.uuid4())}
    )
    await project.ok("POST", f"{project.experiment}/close")
    await project.run_jobs()
    coverage = (await project.read(project.experiment))["coverage"]
    assert coverage == {
        "total": 4, "scored": 0, "failed": 1, "skipped": 1, "pending": 0, "missing": 2,
    }  # fmt: skip
    [score] = (await project.items())["France"]["results"][0]["scores"]
    assert (score["outcome"], score["value"], score["code"]) == ("skipped", None, "empty_output")


async def test_without_results_nothing_is_closed(project: Experimenting) -> None:
    await project.prepare()
    answer = await project("POST", f"{project.experiment}/close")
    assert (answer.status_code, "no results" in answer.text) == (422, True)
    assert (await project.read(project.experiment))["status"] == "OPEN"


async def test_closed_experiment_takes_no_results(project: Experimenting) -> None:
    await project.prepare()
    result = {"item": "France", "trace_id": await project.answer("France", "Paris")}
    await project.report(result)
    closed = await project.ok("POST", f"{project.experiment}/close")
    answer = await project("POST", f"{project.experiment}/results/batch", {"results": [result]})
    assert answer.status_code == 409
    await project.run_jobs()
    await project.ok("DELETE", f"/evaluations/trace-runs/{closed['run_id']}")
    assert (await project.read(project.experiment))["status"] == "CLOSED"
    again = await project.ok("POST", f"{project.experiment}/close")
    assert again["run_id"] == closed["run_id"]
    await project.run_jobs()
    assert (await project.read(project.experiment))["status"] == "COMPLETED"
    scores = await project.read(f"/evaluations/trace-runs/{closed['run_id']}/scores")
    assert [one["value"] for one in scores] == ["1.0"]


async def test_deleted_experiment_leaves_traces_runs_and_dataset(project: Experimenting) -> None:
    await project.prepare()
    trace = await project.answer("France", "Paris")
    await project.report({"item": "France", "trace_id": trace})
    closed = await project.ok("POST", f"{project.experiment}/close")
    await project.run_jobs()
    assert (await project("DELETE", f"/datasets/{DATASET}")).status_code == 409
    await project.ok("DELETE", project.experiment)
    assert (await project("GET", project.experiment)).status_code == 404
    assert (await project.read(f"/evaluations/trace-runs/{closed['run_id']}"))["status"]
    assert (await project.read(f"/traces/{trace}"))["output"] == "Paris"
    await project.ok("DELETE", f"/datasets/{DATASET}")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"dataset": "none"}, "dataset"),
        ({"version": "0" * 64}, "version"),
        ({"split": "none"}, "split"),
        ({"repetitions": 0}, "repetitions"),
        ({"repetitions": 11}, "repetitions"),
        ({"metrics": []}, "metrics"),
        ({"metrics": ["nonsense"]}, "metrics.0"),
        ({"votes": 2}, "votes"),
        ({"git": {"commit": "x"}}, "git.commit"),
    ],
)
async def test_wrong_experiments_are_refused(
    project: Experimenting, change: dict[str, Any], field: str
) -> None:
    await project.prepare()
    asked = {"dataset": DATASET, "metrics": ["as_expected"], **change}
    answer = await project("POST", "/experiments", asked)
    assert (answer.status_code, list(field_errors(answer))) == (422, [field]), answer.text


async def test_experiment_over_a_dataset_without_items_is_refused(project: Experimenting) -> None:
    await project.prepare()
    await project.ok("POST", "/datasets", {"name": "empty"})
    asked = {"dataset": "empty", "metrics": ["as_expected"]}
    answer = await project("POST", "/experiments", asked)
    assert (answer.status_code, list(field_errors(answer))) == (422, ["dataset"]), answer.text
    asked |= {"split": "test"}
    answer = await project("POST", "/experiments", asked)
    assert (answer.status_code, list(field_errors(answer))) == (422, ["split"]), answer.text


async def test_old_version_of_a_dataset_can_be_tested(project: Experimenting) -> None:
    await project.prepare()
    version = (await project.read(f"/datasets/{DATASET}"))["version"]
    changed = {"items": [{"id": "Chile", "input": "Chile", "split": SPLIT}]}
    await project.ok("POST", f"/datasets/{DATASET}/items/batch", changed)
    asked = {"dataset": DATASET, "split": SPLIT, "metrics": ["as_expected"]}
    newest = await project.ok("POST", "/experiments", asked)
    oldest = await project.ok("POST", "/experiments", asked | {"version": version})
    assert (newest["items"], oldest["items"], oldest["version"]) == (5, 4, version)
    page = await project.read(f"/experiments?dataset={DATASET}&limit=2")
    assert [one["id"] for one in page["items"]] == [oldest["id"], newest["id"]]
    assert page["total"] == 3
