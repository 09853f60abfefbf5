"""The command `gate` against a running service: its exit statuses, and the files that it writes."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from entrypoints.cli.gate import STATUSES
from tests.e2e.conftest import DevServer
from tests.e2e.dashboard.dashboard_project import Project
from tests.e2e.dashboard.experiment_project import prepare_questions, run_experiment
from tests.support.clients.command_line import run_command

pytestmark = pytest.mark.e2e
QUESTIONS = 24


def test_exit_statuses_and_files(dev_server: DevServer, project: Project, tmp_path: Path) -> None:
    ids = prepare_questions(project, QUESTIONS)
    right = {one: one for one in ids}
    base, same = (run_experiment(project, name, right) for name in ("base", "same"))
    broken = run_experiment(project, "broken", right | dict.fromkeys(ids[: QUESTIONS // 2], "no"))
    partial = run_experiment(project, "partial", {one: one for one in ids[:6]})
    xml, markdown, answer = (tmp_path / f"gate.{end}" for end in ("xml", "md", "json"))

    def gate(candidate: str, max_drop: float) -> str:
        rules = tmp_path / "gate.json"
        rules.write_text(json.dumps({"rules": [{"metric": "as_expected", "max_drop": max_drop}]}))
        command: list[Any] = ["gate", base, candidate, "--rules", rules, "--junit", xml]
        command += ["--markdown", markdown, "--json", answer, "--project", project.name]
        done = run_command(dev_server.environ, *command)
        verdict: str = json.loads(answer.read_text())["verdict"]
        assert done.returncode == STATUSES[verdict], done.stderr
        assert verdict in done.stdout
        return verdict

    assert gate(same, 0.3) == "pass"
    assert junit(xml) == {"tests": "1", "failures": "0", "errors": "0", "skipped": "0"}
    assert gate(same, 0.01) == "inconclusive"
    assert junit(xml)["skipped"] == "1"
    assert gate(partial, 0.05) == "incomplete"
    assert junit(xml)["errors"] == "1"
    assert gate(broken, 0.05) == "regressed"
    assert junit(xml)["failures"] == "1"
    text = markdown.read_text()
    assert f"{QUESTIONS // 2} new failures" in text
    assert ids[0] in text


def junit(file: Path) -> dict[str, str]:
    """The counts of a JUnit file."""
    root = ET.parse(file).getroot()
    suite = root if root.tag == "testsuite" else root[0]
    return {name: suite.get(name, "0") for name in ("tests", "failures", "errors", "skipped")}
