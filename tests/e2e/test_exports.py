"""Exports of a running service, downloaded by HTTP and imported by the command."""

import gzip
import json
import uuid
from pathlib import Path

import pytest

from tests.e2e.conftest import DevServer
from tests.support.clients.command_line import Completed, run_command
from tests.support.waiting import until_while

pytestmark = pytest.mark.e2e

TRACES = 300


def import_file(dev_server: DevServer, file: Path, project: str) -> Completed:
    environ = dev_server.environ | {"PANDAPROBE_DATA_DIR": str(dev_server.folder)}
    return run_command(environ, "import", file, "--project", project)


@pytest.fixture
def filled_project(dev_server: DevServer) -> str:
    """Creates a project with some traces; returns its name."""
    project = f"exports-{uuid.uuid4()}"
    traces = [
        {
            "trace_id": str(uuid.uuid4()),
            "name": f"run {n}",
            "started_at": f"2026-03-01T09:{n // 60:02}:{n % 60:02}Z",
            "tags": ["b", "a"],
            "spans": [{"name": "step", "started_at": "2026-03-01T09:00:00Z", "input": "x" * 5_000}],
        }
        for n in range(TRACES)
    ]
    with dev_server.client(**dev_server.headers | {"X-Project-Name": project}) as http:
        assert http.post("/traces/batch", json={"traces": traces}).status_code == 202
    return project


def export(dev_server: DevServer, project: str, coding: str = "identity") -> bytes:
    with dev_server.client(**dev_server.headers | {"X-Project-Name": project}) as http:
        answer = http.get("/traces/export", headers={"accept-encoding": coding})
    assert answer.status_code == 200
    return answer.content


def test_export_can_be_imported_twice(dev_server, filled_project, tmp_path):
    text = export(dev_server, filled_project)
    assert text == export(dev_server, filled_project, "gzip")
    file, copy = tmp_path / "traces.ndjson.gz", f"copy-{uuid.uuid4()}"
    file.write_bytes(gzip.compress(text))
    first, again = import_file(dev_server, file, copy), import_file(dev_server, file, copy)
    assert (first.returncode, first.stderr.splitlines()[-1].split()[0]) == (0, f"{TRACES}/?")
    assert first.stdout == f"{TRACES} traces stored, 0 existed already\n"
    assert again.stdout == f"0 traces stored, {TRACES} existed already\n"
    ours, theirs = json.loads(text.splitlines()[-1]), export(dev_server, copy)
    other = json.loads(theirs.splitlines()[-1])
    end = b',"export":{'
    assert (
        theirs[: theirs.rindex(end)].replace(
            other["project_id"].encode(), ours["project_id"].encode()
        )
        == (text[: text.rindex(end)])
    )


def test_truncated_file_is_imported_partly_and_reported(dev_server, filled_project, tmp_path):
    text = export(dev_server, filled_project)
    file, copy = tmp_path / "half.ndjson", f"copy-{uuid.uuid4()}"
    file.write_bytes(text[: len(text) // 2])
    half = import_file(dev_server, file, copy)
    assert half.returncode == 1
    assert "truncated" in half.stderr
    file.write_bytes(text)
    rest = import_file(dev_server, file, copy)
    assert rest.returncode == 0
    assert export(dev_server, copy).count(b"\n") == TRACES


def test_export_is_written_by_worker_and_downloaded_in_ranges(dev_server, filled_project):
    with dev_server.client(**dev_server.headers | {"X-Project-Name": filled_project}) as http:
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
    assert (first.status_code, rest.status_code, done["row_count"]) == (206, 206, TRACES)
    assert [json.loads(line)["name"] for line in whole.splitlines()] == [
        f"run {n}" for n in range(TRACES)
    ]
