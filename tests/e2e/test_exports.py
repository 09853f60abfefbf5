"""An export of a running service, taken by curl's ways and put back by the command."""

import gzip
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.e2e.conftest import DevServer
from tests.support.waiting import WAIT_MAX_S, until_while

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
MANY = 300


def put_back(dev_server: DevServer, file: Path, project: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "entrypoints.cli", "import", str(file), "--project", project],
        cwd=ROOT,
        env={**os.environ, **dev_server.environ, "PANDAPROBE_DATA_DIR": str(dev_server.folder)},
        capture_output=True,
        text=True,
        timeout=WAIT_MAX_S,
        check=False,
    )


@pytest.fixture
def filled(dev_server: DevServer) -> str:
    """A project with some traces, by its name."""
    project = f"exports-{uuid.uuid4()}"
    traces = [
        {
            "trace_id": str(uuid.uuid4()),
            "name": f"run {n}",
            "started_at": f"2026-03-01T09:{n // 60:02}:{n % 60:02}Z",
            "tags": ["b", "a"],
            "spans": [{"name": "step", "started_at": "2026-03-01T09:00:00Z", "input": "x" * 5_000}],
        }
        for n in range(MANY)
    ]
    with dev_server.client(**dev_server.headers | {"X-Project-Name": project}) as http:
        assert http.post("/traces/batch", json={"traces": traces}).status_code == 202
    return project


def exported(dev_server: DevServer, project: str, coding: str = "identity") -> bytes:
    with dev_server.client(**dev_server.headers | {"X-Project-Name": project}) as http:
        answer = http.get("/traces/export", headers={"accept-encoding": coding})
    assert answer.status_code == 200
    return answer.content


def test_an_export_is_put_into_another_project_and_again(dev_server, filled, tmp_path):
    text = exported(dev_server, filled)
    assert text == exported(dev_server, filled, "gzip")
    file, copy = tmp_path / "traces.ndjson.gz", f"copy-{uuid.uuid4()}"
    file.write_bytes(gzip.compress(text))
    first, again = put_back(dev_server, file, copy), put_back(dev_server, file, copy)
    assert (first.returncode, first.stderr.splitlines()[-1].split()[0]) == (0, f"{MANY}/?")
    assert first.stdout == f"{MANY} traces stored, 0 were there already\n"
    assert again.stdout == f"0 traces stored, {MANY} were there already\n"
    ours, theirs = json.loads(text.splitlines()[-1]), exported(dev_server, copy)
    other = json.loads(theirs.splitlines()[-1])
    end = b',"export":{'
    assert (
        theirs[: theirs.rindex(end)].replace(
            other["project_id"].encode(), ours["project_id"].encode()
        )
        == (text[: text.rindex(end)])
    )


def test_half_a_file_is_put_back_and_told(dev_server, filled, tmp_path):
    text = exported(dev_server, filled)
    file, copy = tmp_path / "half.ndjson", f"copy-{uuid.uuid4()}"
    file.write_bytes(text[: len(text) // 2])
    half = put_back(dev_server, file, copy)
    assert half.returncode == 1
    assert "not whole" in half.stderr
    file.write_bytes(text)
    rest = put_back(dev_server, file, copy)
    assert rest.returncode == 0
    assert exported(dev_server, copy).count(b"\n") == MANY


def test_a_worker_writes_a_file_that_is_downloaded_in_parts(dev_server, filled):
    with dev_server.client(**dev_server.headers | {"X-Project-Name": filled}) as http:
        ordered = http.post("/traces/exports", json={"format": "ndjson"}).json()
        path = f"/traces/exports/{ordered['id']}"
        done = until_while(
            dev_server.process,
            lambda: http.get(path).json(),
            lambda one: one["status"] == "COMPLETED",
        )
        half = done["size"] // 2
        first = http.get(f"{path}/download", headers={"range": f"bytes=0-{half}"})
        rest = http.get(f"{path}/download", headers={"range": f"bytes={half + 1}-"})
        whole = first.content + rest.content
    assert (first.status_code, rest.status_code, done["row_count"]) == (206, 206, MANY)
    assert [json.loads(line)["name"] for line in whole.splitlines()] == [
        f"run {n}" for n in range(MANY)
    ]
