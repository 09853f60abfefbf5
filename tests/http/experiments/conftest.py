"""A project in which experiments run over HTTP."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.http.conftest import Site, a_span, a_trace
from tests.support.clients.runs import RunningProject

DATASET, SPLIT = "capitals", "test"
CAPITALS = {"France": "Paris", "Italy": "Rome", "Japan": "Tokyo", "Peru": "Lima"}
EXACT = {
    "name": "as_expected",
    "kind": "measured",
    "description": "The expected answer",
    "definition": {
        "type": "text_match",
        "parameters": {"op": "equals", "expected_from": "item"},
    },
}


@dataclass(frozen=True)
class Experimenting(RunningProject):
    """A project with a dataset, a metric that compares with it, and an experiment."""

    ids: dict[str, str] = field(default_factory=dict)

    @property
    def experiment(self) -> str:
        return f"/experiments/{self.ids['experiment']}"

    async def ok(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self(method, path, body)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    async def prepare(self, **options: Any) -> None:
        items = [
            {"id": country, "input": country, "expected": capital, "split": SPLIT}
            for country, capital in CAPITALS.items()
        ]
        items.append({"id": "other", "input": "x", "split": "train"})
        await self.ok("POST", "/datasets", {"name": DATASET})
        await self.ok("POST", f"/datasets/{DATASET}/items/batch", {"items": items})
        await self.ok("POST", "/evaluations/custom-metrics", EXACT)
        asked = {"dataset": DATASET, "split": SPLIT, "metrics": ["as_expected"], **options}
        self.ids["experiment"] = (await self.ok("POST", "/experiments", asked))["id"]

    async def answer(self, country: str, output: str | None, **more: Any) -> str:
        """Stores the trace of an answer; returns its id."""
        trace = a_trace(trace_id=str(uuid.uuid4()), input=country, output=output, **more)
        assert (await self("POST", "/traces", trace)).status_code == 202
        trace_id: str = trace["trace_id"]
        return trace_id

    async def prepare_questions(self, count: int) -> Sequence[str]:
        """A dataset of items whose expected answer is their id; returns the ids."""
        ids = [f"q{at:03}" for at in range(count)]
        items = [{"id": one, "input": one, "expected": one, "split": SPLIT} for one in ids]
        await self.ok("POST", "/datasets", {"name": DATASET})
        await self.ok("POST", f"/datasets/{DATASET}/items/batch", {"items": items})
        await self.ok("POST", "/evaluations/custom-metrics", EXACT)
        return ids

    async def compare(self, base: str, candidate: str | None = None, **more: Any) -> Any:
        sides = {"base": base} | ({} if candidate is None else {"candidate": candidate})
        return await self.ok("POST", "/experiments/compare", sides | more)

    async def run(
        self,
        answers: Mapping[str, Sequence[str | None]],
        *,
        cost: float | None = None,
        spans: Sequence[Any] = (),
        metrics: Sequence[str] = ("as_expected",),
        question: str | None = None,
    ) -> str:
        """An experiment with the outputs of each item by repetition; returns its id.

        The input of each trace is the item, unless there is a `question`.
        """
        repetitions = max(map(len, answers.values()))
        more = {"repetitions": repetitions}
        asked = {"dataset": DATASET, "split": SPLIT, "metrics": [*metrics], **more}
        self.ids["experiment"] = (await self.ok("POST", "/experiments", asked))["id"]
        paid = {"spans": [*spans] if cost is None else [a_span(cost={"total": cost})]}
        await self.report(
            *[
                {
                    "item": item,
                    "repetition": repetition,
                    "trace_id": await self.answer(question or item, output, **paid),
                }
                for item, outputs in answers.items()
                for repetition, output in enumerate(outputs, start=1)
            ]
        )
        await self.ok("POST", f"{self.experiment}/close")
        await self.run_jobs()
        return self.ids["experiment"]

    async def report(self, *results: Mapping[str, Any]) -> Any:
        return await self.ok("POST", f"{self.experiment}/results/batch", {"results": results})

    async def items(self) -> dict[str, Any]:
        page = await self.read(f"{self.experiment}/items")
        return {one["item"]: one for one in page["items"]}


@pytest.fixture
async def project(site: Site) -> Experimenting:
    return await Experimenting.over(site)
