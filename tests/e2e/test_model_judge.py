"""A worker as it is, and a model at an address of its settings: from a run to scores."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.embedded.postgres import start_postgres
from domain.evaluation.scores.score import TraceScore
from domain.tracing.payload import object_members
from entrypoints.composition import root
from entrypoints.settings import Settings, read_settings
from tests.e2e.conftest import ROOT, own_environ
from tests.e2e.test_workers import JUDGED, a_project, started, stored_traces
from tests.support.fakes.model_provider import COMPATIBLE, GRADE, Fails, provider
from tests.support.fixtures.valkey_server import Valkey
from tests.support.waiting import WAIT_MAX_S

pytestmark = pytest.mark.e2e

KEY = "planted-key-2d4c19"
TRACES = 10


@dataclass(frozen=True, slots=True)
class Place:
    """Servers of its own, and the environment of a worker."""

    folder: Path
    environ: dict[str, str]

    def settings(self, **more: str) -> Settings:
        return read_settings(self.environ | more)

    def worker(self, **more: str) -> subprocess.Popen[bytes]:
        with (self.folder / "worker.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "entrypoints.cli", "worker"],
                cwd=ROOT,
                env=self.environ | more,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return (self.folder / "worker.log").read_text()


@pytest.fixture(scope="module")
def place(enterable_folder: Path) -> Iterator[Place]:
    folder = enterable_folder / "model-judge"
    folder.mkdir(mode=0o755)
    postgres, database_url = start_postgres(folder)
    valkey = Valkey(folder)
    environ = own_environ(folder, 1) | {
        "PANDAPROBE_APP_ENV": "test",
        "PANDAPROBE_LOG_LEVEL": "DEBUG",
        "PANDAPROBE_DATABASE_URL": database_url,
        "PANDAPROBE_REDIS_URL": valkey.url,
        "PANDAPROBE_OPENAI_COMPATIBLE_API_KEY": KEY,
    }
    made = Place(folder, environ)
    try:
        asyncio.run(root.migrate(made.settings()))
        yield made
    finally:
        valkey.child.stop()
        postgres.stop()


def told(score: TraceScore, name: str) -> str:
    return object_members(score.metadata)[name].strip('"')


def command_of(process: subprocess.Popen[bytes]) -> str:
    return Path(f"/proc/{process.pid}/cmdline").read_text()


async def test_a_run_is_judged_by_a_model_and_no_log_holds_key_or_prompt(place: Place) -> None:
    async with provider(COMPATIBLE) as there:
        at = {"PANDAPROBE_OPENAI_COMPATIBLE_BASE_URL": f"{there.url}/v1"}
        worker = place.worker(**at)
        try:
            async with root.ports(place.settings(**at)) as ports:
                targets = await stored_traces(ports, project := a_project(), TRACES)
                watched = await started(ports, project, targets, JUDGED, there.model)
                await watched.completed()
                scores = await watched.scores()
                there.says(Fails(status=401, body={"error": {"message": f"No: {KEY}"}}))
                others = await stored_traces(ports, project, TRACES)  # not judged before
                refused = await started(ports, project, others, JUDGED, there.model)
                failed = await refused.until(lambda one: one.run.status.is_final)
            command = command_of(worker)
        finally:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(WAIT_MAX_S) == 0
    assert len(scores) == TRACES * len(JUDGED)
    assert {score.value for score in scores} == {str(GRADE / 5)}
    assert {told(score, "judge_kind") for score in scores} == {"model"}
    assert {told(score, "model") for score in scores} == {there.model}
    assert failed.tally.failed == TRACES * len(JUDGED)
    assert len(there.got) == 1, "who refuses the key is asked once"
    assert there.got[0].key == KEY
    assert "a request to a model failed" in place.log
    for secret in (KEY, targets[0] + "?", "end of evidence"):
        assert secret not in place.log
    assert "worker" in command
    assert KEY not in command
