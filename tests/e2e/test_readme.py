"""The README, done as it says: what a reader pastes works, in the order in which it stands."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import WAIT_MAX_S

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

pytestmark = pytest.mark.e2e


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def pasted(blocks: list[str]) -> list[str]:
    """The shell blocks of a reader whose service runs: all but the one with `make`."""
    return [block for block in blocks if not block.startswith("make ")]


def environ() -> dict[str, str]:
    """Without anything of ours: it has to come from dev.env."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PANDAPROBE_")}


def run(command: list[str], env: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=WAIT_MAX_S, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_shell_commands_work_one_after_the_other(dev_server):
    commands = pasted(blocks("sh"))
    assert len(commands) == 3
    seed = [sys.executable, "-m", "entrypoints.cli", "seed", "--traces", "200"]
    run(seed, environ() | {"PANDAPROBE_DATA_DIR": str(dev_server.folder)})
    script = "set -e\n" + "\n".join(commands).replace(".local/", f"{dev_server.folder}/")
    said = run(["sh", "-c", script], environ())
    assert '"task_id":' in said
    assert '"status":"COMPLETED"' in said
    summary = json.loads(said[said.rindex("\n[") :])
    assert [one["metric_name"] for one in summary] == ["task_completion", "tool_success_rate"]
    assert all(one["success_count"] > 100 and 0 < one["avg_score"] < 1 for one in summary)


def test_the_call_that_it_reads_back_with_works(dev_server):
    [path] = re.findall(r'`api "(.+?)"`', README)
    first, trace, *_ = pasted(blocks("sh"))
    script = "\n".join(["set -e", first, trace, f'api "{path}"'])
    said = run(["sh", "-c", script.replace(".local/", f"{dev_server.folder}/")], environ())
    assert '"total":1,' in said
    assert '"total_tokens":1100,"total_cost":0.0035}' in said


def test_the_program_works_in_that_environment(dev_server):
    [program] = blocks("python")
    run([sys.executable, "-c", program], environ() | dev_server.environ)
    with dev_server.client() as http:
        [listed] = http.get("/traces", params={"session_id": "conv-43"}).json()["items"]
        found = http.get(f"/traces/{listed['trace_id']}").json()
    assert (found["name"], found["tags"], found["status"]) == ("support", ["readme"], "COMPLETED")
    assert found["output"] == {"messages": [{"role": "assistant", "content": "It is on its way."}]}
    assert [(span["name"], span["kind"]) for span in found["spans"]] == [("look_up", "TOOL")]


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
def test_the_pages_that_it_names_are_served(dev_server, path):
    with dev_server.client(Accept="*/*") as http:
        assert http.get(path).status_code == 200


def test_the_commands_that_it_names_are_there(dev_server):
    named = sorted(set(re.findall(r"`pandaprobe-server (\w+)", README)))
    assert len(named) > 2
    told = run([sys.executable, "-m", "entrypoints.cli", "--help"], environ())
    assert [name for name in named if not re.search(rf"^ +{name} ", told, re.MULTILINE)] == []
