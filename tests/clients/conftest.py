"""Runs pytest with the plugin in a process of its own, against the service in memory."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.http.conftest import Site, memory_site, site  # noqa: F401 - fixtures
from tests.http.experiments.conftest import DATASET, SPLIT, Experimenting
from tests.support.clients.forked_module import run_forked
from tests.support.clients.loopback_server import served

PACKAGE = Path(__file__).parents[2] / "clients/pytest-pandaprobe"
AGENT = """
import os, uuid, httpx, pytest

HTTP = httpx.Client()

def answer(output, **more):
    trace_id = str(uuid.uuid4())
    head = {
        "x-api-key": os.environ["PANDAPROBE_API_KEY"],
        "x-project-name": os.environ["PANDAPROBE_PROJECT_NAME"],
    }
    trace = {
        "trace_id": trace_id, "name": "run", "started_at": "2026-03-01T09:00:00Z",
        "output": output, **more,
    }
    url = os.environ["PANDAPROBE_ENDPOINT"]
    HTTP.post(f"{url}/traces", json=trace, headers=head).raise_for_status()
    return trace_id
"""
MARK = f'@pytest.mark.pandaprobe(dataset="{DATASET}", split="{SPLIT}", metrics=["as_expected"]'


@dataclass
class Told:
    """How a run has ended."""

    status: int
    output: str


@dataclass
class Pytest:
    """Runs pytest, or another module, in a folder with a file of tests."""

    folder: Path
    project: Experimenting
    environ: dict[str, str] = field(default_factory=dict)

    def write(self, tests: str) -> None:
        (self.folder / "test_agent.py").write_text(AGENT + tests)

    async def __call__(self, *options: str, module: str = "pytest") -> Told:
        plugins = "--disable-plugin-autoload -p xdist -p pytest_pandaprobe.plugin".split()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PANDAPROBE", "GITHUB_"))}
        output = self.folder.parent / f"{self.folder.name}.out"
        status = await run_forked(
            module,
            [*(["-q", "-p", "no:cacheprovider", *plugins] if module == "pytest" else []), *options],
            self.folder,
            {**kept, **self.environ, "PYTHONPATH": str(PACKAGE / "src")},
            output,
        )
        return Told(status, output.read_text())

    async def experiments(self) -> list[Any]:
        found: list[Any] = (await self.project.read("/experiments"))["items"]
        return found

    async def outputs(self, experiment: str) -> dict[str, int]:
        """The number of results of each item."""
        page = await self.project.read(f"/experiments/{experiment}/items?limit=200")
        return {one["item"]: len(one["results"]) for one in page["items"]}


@pytest.fixture
async def project(site: Site) -> Experimenting:  # noqa: F811 - the fixture
    return await Experimenting.over(site)


@pytest.fixture
async def url(project: Experimenting) -> AsyncIterator[str]:
    """The address of the service. Runs are evaluated when a client asks for an experiment."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "GET" and scope["path"].startswith("/experiments/"):
            await project.run_jobs()
        await project.site.app(scope, receive, send)

    async with served(app) as address:
        yield address


@pytest.fixture
def offline(project: Experimenting, tmp_path: Path) -> Pytest:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    return Pytest(tmp_path, project)


@pytest.fixture
def online(offline: Pytest, url: str) -> Pytest:
    head = offline.project.head
    offline.environ = {
        "PANDAPROBE_ENDPOINT": url,
        "PANDAPROBE_API_KEY": head["x-api-key"],
        "PANDAPROBE_PROJECT_NAME": head["x-project-name"],
    }
    return offline
