"""Runs the README: the pasted commands work in the order of the page."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.clients.command_line import run_command
from tests.support.waiting import WAIT_MAX_S

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()

# The generated traces are the same each time: the figures of the summary depend on them.
UNTIL = ("--until", "2026-06-01T12:00:00+00:00")

pytestmark = pytest.mark.e2e


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def without_make(blocks: list[str]) -> list[str]:
    """Returns the shell blocks for a running service: all except the one with `make`."""
    return [block for block in blocks if not block.startswith("make ")]


def environ() -> dict[str, str]:
    """Returns this environment without PANDAPROBE_ variables, which must come from dev.env."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PANDAPROBE_")}


def run(command: list[str], env: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=WAIT_MAX_S, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_shell_commands_work_in_order(dev_server):
    commands = without_make(blocks("sh"))
    assert len(commands) == 4
    of_folder = environ() | {"PANDAPROBE_DATA_DIR": str(dev_server.folder)}
    seeded = run_command(of_folder, "seed", "--traces", "60", *UNTIL)
    assert seeded.returncode == 0, seeded.stderr
    script = "set -e\n" + "\n".join(commands).replace(".local/", f"{dev_server.folder}/")
    output = run(["sh", "-c", script], environ())
    assert '"task_id":' in output
    assert '"status":"COMPLETED"' in output
    summary = json.loads(output[output.rindex("\n[") :])
    assert [one["metric_name"] for one in summary] == ["task_completion", "tool_success_rate"]
    assert all(one["success_count"] > 30 and 0 < one["avg_score"] < 1 for one in summary)


def test_read_back_call_works(dev_server):
    [path] = re.findall(r'`api "(.+?)"`', README)
    first, trace, *_ = without_make(blocks("sh"))
    # Other tests of this server send examples of the documentation, with the same id and session.
    own = "PANDAPROBE_PROJECT_NAME=read-back"
    script = "\n".join(["set -e", first, own, trace, f'api "{path}"'])
    output = run(["sh", "-c", script.replace(".local/", f"{dev_server.folder}/")], environ())
    assert '"total":1,' in output
    assert '"total_tokens":1100,"total_cost":0.0035,"unpriced_span_count":0}' in output


def test_opentelemetry_program_works(dev_server):
    first, _, connect, *_ = without_make(blocks("sh"))
    [program, _] = blocks("python")
    script = f'set -e\n{first}\n{connect}\nexec "$@"'.replace(".local/", f"{dev_server.folder}/")
    run(["sh", "-c", script, "sh", sys.executable, "-c", program], environ())
    with dev_server.client() as http:
        [listed] = http.get("/traces", params={"name": "chat gpt-4o"}).json()["items"]
    assert (listed["status"], listed["total_tokens"]) == ("COMPLETED", 1100)
    assert listed["total_cost"] == 0.0035


def test_program_works_with_dev_env(dev_server):
    [_, program] = blocks("python")
    run([sys.executable, "-c", program], environ() | dev_server.environ)
    with dev_server.client() as http:
        [listed] = http.get("/traces", params={"session_id": "conv-43"}).json()["items"]
        found = http.get(f"/traces/{listed['trace_id']}").json()
    assert (found["name"], found["tags"], found["status"]) == ("support", ["readme"], "COMPLETED")
    assert found["output"] == {"messages": [{"role": "assistant", "content": "It is on its way."}]}
    assert [(span["name"], span["kind"]) for span in found["spans"]] == [("look_up", "TOOL")]


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
def test_named_pages_are_served(dev_server, path):
    with dev_server.client(Accept="*/*") as http:
        assert http.get(path).status_code == 200


def test_named_commands_exist(dev_server):
    named = sorted(set(re.findall(r"`pandaprobe-server (\w+)", README)))
    assert len(named) > 2
    help_text = run([sys.executable, "-m", "entrypoints.cli", "--help"], environ())
    assert [name for name in named if not re.search(rf"^ +{name} ", help_text, re.MULTILINE)] == []
