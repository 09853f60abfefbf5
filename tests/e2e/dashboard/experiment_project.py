"""Experiments of a project on a dev server: its worker scores them."""

import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from tests.e2e.dashboard.dashboard_project import START, Project
from tests.support.waiting import until_while

DATASET: Final = "capitals"
EXACT: Final = {
    "name": "as_expected",
    "kind": "measured",
    "description": "The expected answer",
    "definition": {
        "type": "text_match",
        "parameters": {"op": "equals", "expected_from": "item"},
    },
}


def prepare_questions(project: Project, count: int) -> list[str]:
    """A dataset whose items expect their own id, and the metric that compares; the ids."""
    ids = [f"question {n:02}" for n in range(count)]
    project.send("/datasets", {"name": DATASET, "description": "Capitals of the world"})
    items = [{"id": one, "input": {"q": one}, "expected": one, "split": "test"} for one in ids]
    project.send(f"/datasets/{DATASET}/items/batch", {"items": items})
    project.send("/evaluations/custom-metrics", EXACT)
    return ids


def answered_experiment(project: Project, name: str, answers: Mapping[str, str]) -> str:
    """An open experiment with these answers; its id."""
    asked = {"name": name, "dataset": DATASET, "split": "test", "metrics": ["as_expected"]}
    experiment: str = project.send("/experiments", asked)["id"]
    traces: list[dict[str, Any]] = [
        {
            "trace_id": str(uuid.uuid4()), "name": name, "input": item, "output": output,
            "status": "COMPLETED", "started_at": START.isoformat(),
            "ended_at": (START + timedelta(seconds=1)).isoformat(),
        }
        for item, output in answers.items()
    ]  # fmt: skip
    project.send("/traces/batch", {"traces": traces})
    results = [
        {"item": item, "trace_id": trace["trace_id"]}
        for item, trace in zip(answers, traces, strict=True)
    ]
    project.send(f"/experiments/{experiment}/results/batch", {"results": results})
    return experiment


def run_experiment(project: Project, name: str, answers: Mapping[str, str]) -> str:
    """An experiment with these answers, once they are scored; its id."""
    experiment = answered_experiment(project, name, answers)
    path = f"/experiments/{experiment}"
    project.send(f"{path}/close", None)

    def status() -> str:
        headers = project.server.headers | {"X-Project-Name": project.name}
        with project.server.client(**headers) as http:
            found: str = http.get(path).json()["status"]
        return found

    assert until_while(project.server.process, status, {"COMPLETED", "FAILED"}.__contains__) == (
        "COMPLETED"
    )
    return experiment
