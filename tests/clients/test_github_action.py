"""The script of the GitHub action, as the action calls it."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clients.conftest import Pytest
from tests.support.waiting import WAIT_MAX_S

pytestmark = pytest.mark.slow  # each test starts the command

FOLDER = Path(__file__).parents[2] / "clients/github-action"
ACTION: Any = yaml.safe_load((FOLDER / "action.yml").read_text())
GATE: Any = next(one for one in ACTION["runs"]["steps"] if one.get("id") == "gate")


async def run(service: Pytest, **given: str) -> tuple[int, str, str]:
    """Calls the script with inputs by name; returns its status, outputs and step summary."""
    inputs = {name: one.get("default", "") for name, one in ACTION["inputs"].items()} | given
    values = {
        name: re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda found: inputs[found[1]], text)
        for name, text in GATE["env"].items()
    }
    files = {name: service.folder / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    for path in files.values():
        path.write_text("")
    process = await asyncio.create_subprocess_exec(
        FOLDER / "gate.sh",
        cwd=service.folder,
        env={
            **os.environ,
            **values,
            **{name: str(path) for name, path in files.items()},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            **service.environ,
            "RUNNER_TEMP": str(service.folder),
            "PANDAPROBE_DATA_DIR": str(service.folder),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    await asyncio.wait_for(process.communicate(), WAIT_MAX_S)
    assert process.returncode is not None
    outputs, summary = (path.read_text() for path in files.values())
    return process.returncode, outputs, summary


async def test_verdict_is_output_and_summary(online: Pytest) -> None:
    ids = await online.project.prepare_questions(20)
    base = await online.project.run({one: [one] for one in ids})
    other = await online.project.run({one: ["?"] for one in ids})
    (online.folder / "gate.toml").write_text('rules = [{metric = "as_expected", max_drop = 0.9}]\n')
    status, outputs, summary = await run(online, base=base, candidate=other)
    assert (status, outputs) == (1, "verdict=regressed\n")
    assert "Gate: regressed" in summary
    status, outputs, summary = await run(online, base=base, candidate=base, rules="gate.toml")
    assert (status, outputs) == (0, "verdict=pass\n")
    assert "Gate: pass" in summary
    unsure = {"base": base, "candidate": base, "junit": "gate.xml"}
    assert (await run(online, **unsure))[0] == 2
    status, outputs, _ = await run(online, **unsure, **{"fail-on": "regressed"})
    assert (status, outputs) == (0, "verdict=inconclusive\n")
    assert "<testsuite" in (online.folder / "gate.xml").read_text()
    assert (await run(online, **unsure, **{"fail-on": "regressed,inconclusive"}))[0] == 2
    assert (await run(online, **unsure, **{"fail-on": "regressed\ninconclusive\n"}))[0] == 2
    assert await run(online, **unsure, **{"fail-on": "inconclusiv"}) == (4, "", "")


async def test_packages_of_the_tested_repository_are_not_imported(online: Pytest) -> None:
    (online.folder / "domain").mkdir()
    (online.folder / "domain/__init__.py").write_text("")
    (online.folder / "token.py").write_text("raise ValueError\n")
    ids = await online.project.prepare_questions(4)
    base = await online.project.run({one: [one] for one in ids})
    status, outputs, _ = await run(online, base=base, candidate=base)
    assert (status, outputs) == (2, "verdict=inconclusive\n")


@pytest.mark.parametrize("base", ["--help", "$(touch here)", ""])
async def test_wrong_input_is_an_error(online: Pytest, base: str) -> None:
    assert await run(online, base=base, **{"fail-on": ""}) == (4, "", "")
    assert not (online.folder / "here").exists()


async def test_failing_python_gives_no_verdict(online: Pytest) -> None:
    """Its exit status is that of `regressed`."""
    python = online.folder / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    online.environ["PATH"] = f"{online.folder}:{os.environ['PATH']}"
    assert await run(online, base="x", **{"fail-on": ""}) == (4, "", "")


def test_scripts_contain_no_inputs() -> None:
    """What an expression inserts into a script could be a command."""
    assert [one["run"] for one in ACTION["runs"]["steps"] if "${{" in one["run"]] == []
