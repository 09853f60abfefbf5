"""The worked example of docs/evaluation/experiments.md.

An agent, 30 items, and a change that breaks three.

It needs no key of a model provider. The agent says what an order costs to deliver.
"""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from entrypoints.cli import gate
from entrypoints.cli.server_client import Response
from tests.http.experiments.conftest import DATASET, EXACT, SPLIT, Experimenting

COUNTRIES = {"DE": 5, "FR": 7, "IT": 8, "JP": 21, "PE": 24}
WEIGHTS = (1, 2, 5, 10, 20)
HEAVY_KG = 20
BROKEN = {"20 kg to IT", "20 kg to JP", "20 kg to PE"}  # what the change gets wrong
RULES = {"rules": [{"metric": "as_expected", "max_drop": 0.05}]}


def fee(weight: int, country: str, express: bool = False) -> str:
    surcharge = 15 if weight >= HEAVY_KG and country not in {"DE", "FR"} else 0
    return f"{COUNTRIES[country] * (2 if express else 1) + weight + surcharge} EUR"


def orders() -> dict[str, tuple[int, str, bool]]:
    plain = {f"{kg} kg to {to}": (kg, to, False) for kg in WEIGHTS for to in COUNTRIES}
    return plain | {f"express to {to}": (1, to, True) for to in COUNTRIES}


def agent(question: str) -> str:
    return fee(*orders()[question])


def changed_agent(question: str) -> str:
    """It forgot the surcharge of heavy parcels."""
    weight, country, express = orders()[question]
    return f"{COUNTRIES[country] * (2 if express else 1) + weight} EUR"


class InProcess:
    """The API that a gate asks, without a network."""

    def __init__(self, project: Experimenting) -> None:
        self.project = project

    async def get(self, path: str) -> Response:
        return self._response(await self.project("GET", path))

    async def post(self, body: bytes) -> Response:
        answer = await self.project("POST", "/experiments/compare", json.loads(body))
        return self._response(answer)

    @staticmethod
    def _response(answer: httpx.Response) -> Response:
        return Response(answer.status_code, answer.content)


async def judge(
    project: Experimenting, folder: Path, base: str, candidate: str | None, **rules: Any
) -> tuple[int, str]:
    """The exit status of the gate, and its Markdown."""
    body = {"base": base, "candidate": candidate, "aa": candidate is None, **rules}
    response = await gate.Gate(InProcess(project), lambda _: None).compare(body, 0)
    file = folder / "gate.md"
    return gate.report(response, gate.Reports(markdown=file)), file.read_text()


async def test_three_broken_items_are_found_by_name(
    project: Experimenting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = list(orders())
    assert len(questions) == 30
    items = [{"id": one, "input": one, "expected": agent(one), "split": SPLIT} for one in questions]
    await project.ok("POST", "/datasets", {"name": DATASET})
    await project.ok("POST", f"/datasets/{DATASET}/items/batch", {"items": items})
    await project.ok("POST", "/evaluations/custom-metrics", EXACT)
    base = await project.run({one: [agent(one)] * 2 for one in questions})
    # A baseline against itself never regresses. 30 items that all pass prove no drop below 0.05.
    status, _ = await judge(project, tmp_path, base, None, **RULES)
    assert status == gate.STATUSES["inconclusive"]
    wide = {"rules": [{"metric": "as_expected", "max_drop": 0.15}]}
    assert (await judge(project, tmp_path, base, None, **wide))[0] == gate.STATUSES["pass"]
    candidate = await project.run({one: [changed_agent(one)] * 2 for one in questions})
    capsys.readouterr()
    status, markdown = await judge(project, tmp_path, base, candidate, **RULES)
    text = capsys.readouterr().out
    found = {
        line.split(": ")[1].split(" (")[0] for line in text.splitlines() if "failure: " in line
    }
    assert found == BROKEN
    assert "### 3 new failures" in markdown
    # Three of thirty may be chance; more items would tell, or a rule on what must not break.
    assert status == gate.STATUSES["inconclusive"]
    assert "would decide it" in text
    strict = {"rules": [{"metric": "as_expected", "min": 0.99}]}
    assert (await judge(project, tmp_path, base, candidate, **strict))[0] != gate.STATUSES["pass"]
