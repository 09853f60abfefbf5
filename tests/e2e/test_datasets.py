"""Files of datasets, imported and exported by the commands."""

import csv
import gzip
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import DevServer
from tests.support.clients.command_line import Completed, run_command

pytestmark = pytest.mark.e2e

ITEMS = 1_200


def run(dev_server: DevServer, *command: object) -> Completed:
    environ = dev_server.environ | {"PANDAPROBE_DATA_DIR": str(dev_server.folder)}
    return run_command(environ, *command)


def test_files_travel_between_formats_and_projects(dev_server: DevServer, tmp_path: Path) -> None:
    ours, theirs = f"datasets-{uuid.uuid4()}", f"datasets-{uuid.uuid4()}"
    file, table = tmp_path / "items.ndjson", tmp_path / "items.csv.gz"
    items: list[dict[str, Any]] = [
        {"id": f"{n:04}", "input": {"q": f"what\nis {n}?"}, "expected": n} for n in range(ITEMS)
    ]
    file.write_text("".join(json.dumps(one) + "\n" for one in items))
    first = run(dev_server, "import-dataset", file, "--dataset", "refunds", "--project", ours)
    again = run(dev_server, "import-dataset", file, "--dataset", "refunds", "--project", ours)
    assert (first.returncode, again.returncode) == (0, 0), first.stderr
    assert first.stderr.splitlines()[-1].split()[0] == f"{ITEMS}/{ITEMS}"
    version = first.stdout.rpartition(" ")[2].strip()
    assert again.stdout.startswith(f"0 items created, 0 changed, {ITEMS:,} unchanged; ")
    written = run(dev_server, "export-dataset", "refunds", table, "--project", ours)
    assert (written.returncode, written.stderr.splitlines()[-1]) == (0, f"{ITEMS:,} items written")
    with gzip.open(table, "rt", newline="") as opened:
        assert sum(1 for _ in csv.reader(opened)) == ITEMS + 1
    copied = run(dev_server, "import-dataset", table, "--dataset", "copy", "--project", theirs)
    assert copied.stdout.rpartition(" ")[2].strip() == version
    old = run(dev_server, "export-dataset", "copy", "-", "--version", version, "--project", theirs)
    assert [json.loads(line)["id"] for line in old.stdout.splitlines()] == [
        one["id"] for one in items
    ]
    gone = run(dev_server, "export-dataset", "nothing", table, "--project", theirs)
    assert (gone.returncode, "404" in gone.stderr) == (1, True)
