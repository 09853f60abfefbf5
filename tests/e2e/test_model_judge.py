"""A real worker and a model server: from a run to its scores."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from domain.evaluation.scores.score import TraceScore
from domain.tracing.payloads.payload import object_members
from entrypoints.composition import root
from entrypoints.settings import Settings, read_settings
from tests.e2e.conftest import ROOT, own_environ
from tests.e2e.test_workers import JUDGED, a_project, put_traces, start_run
from tests.support.fakes.model_provider import COMPATIBLE, GRADE, HttpReply, provider
from tests.support.fixtures.servers.valkey_server import Valkey
from tests.support.waiting import WAIT_MAX_S

pytestmark = pytest.mark.e2e

KEY = "planted-key-2d4c19"
TRACES = 10


@dataclass(frozen=True, slots=True)
class WorkerInstallation:
    """Servers for this module, and the environment of a worker."""

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
def installation(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerInstallation]:
    folder = tmp_path_factory.mktemp("model-judge")
    valkey = Valkey(folder)
    environ = own_environ(folder, 1) | {
        "PANDAPROBE_APP_ENV": "test",
        "PANDAPROBE_LOG_LEVEL": "DEBUG",
        "PANDAPROBE_DATABASE_URL": database_url,
        "PANDAPROBE_REDIS_URL": valkey.url,
        "PANDAPROBE_OPENAI_COMPATIBLE_API_KEY": KEY,
    }
    yield WorkerInstallation(folder, environ)
    valkey.child.stop()


def metadata_value(score: TraceScore, name: str) -> str:
    return object_members(score.metadata)[name].strip('"')


def command_of(process: subprocess.Popen[bytes]) -> str:
    return Path(f"/proc/{process.pid}/cmdline").read_text()


async def test_run_is_judged_by_model_and_logs_hold_no_key_or_prompt(
    installation: WorkerInstallation,
) -> None:
    async with provider(COMPATIBLE) as server:
        at = {"PANDAPROBE_OPENAI_COMPATIBLE_BASE_URL": f"{server.url}/v1"}
        worker = installation.worker(**at)
        try:
            async with root.ports(installation.settings(**at)) as ports:
                targets = await put_traces(ports, project := a_project(), TRACES)
                run = await start_run(ports, project, targets, JUDGED, server.model)
                await run.wait_completed()
                scores = await run.scores()
                server.reply_with(HttpReply(status=401, body={"error": {"message": f"No: {KEY}"}}))
                others = await put_traces(ports, project, TRACES)  # not judged before
                refused = await start_run(ports, project, others, JUDGED, server.model)
                failed = await refused.until(lambda one: one.run.status.is_final)
            command = command_of(worker)
        finally:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(WAIT_MAX_S) == 0
    assert len(scores) == TRACES * len(JUDGED)
    assert {score.value for score in scores} == {str(GRADE / 5)}
    assert {metadata_value(score, "judge_kind") for score in scores} == {"model"}
    assert {metadata_value(score, "model") for score in scores} == {server.model}
    assert failed.tally.failed == TRACES * len(JUDGED)
    assert len(server.requests) == 1, "after a refused key no further request is sent"
    assert server.requests[0].key == KEY
    assert "a request to a model failed" in installation.log
    for secret in (KEY, targets[0] + "?", "end of evidence"):
        assert secret not in installation.log
    assert "worker" in command
    assert KEY not in command
