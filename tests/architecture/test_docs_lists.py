"""Lists in the documentation are those of the code: names, fields, commands, targets, variables."""

import json
import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Final

import pytest

from domain.evaluation.agreement.calibration import Calibration, Statistic
from domain.evaluation.alerts.alert import AlertFigure
from domain.evaluation.alerts.webhook import WebhookFormat
from domain.evaluation.monitors.schedule import INTERVALS
from domain.exports.export import FileFormat, RowKind
from domain.identity.api_key import Scope
from domain.identity.audit import AuditAction
from domain.identity.browser_session import SignInMethod
from domain.identity.sign_in_attempt import SignInProblem
from entrypoints.cli import backups
from entrypoints.cli.main import main
from entrypoints.settings import SECRET, Settings, variable
from tests.architecture.test_code_rules import ports
from tests.architecture.test_docs import PACKAGES, PAGES, ROOT, relative, section
from tests.architecture.test_settings import SDK_VARIABLES
from tests.support.fixtures.servers import citus
from tests.support.problems import for_each

MAKEFILE: Final = (ROOT / "Makefile").read_text()
TARGETS: Final = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
VARIABLES: Final = {variable(field) for field in Settings.__struct_fields__}
FILE_VARIABLES: Final = {f"{variable(field)}_FILE" for field in SECRET}
COMPOSE_VARIABLES: Final = {
    name
    for path in (ROOT / "docker").glob("*.yaml")
    for name in re.findall(r"\$\{(PANDAPROBE_\w+)", path.read_text())
}


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def first_cells(text: str) -> list[str]:
    """The first cell of each row of the tables in the text, without their heads."""
    rows = re.findall(r"^\|(?! *-)([^|]*)\|", text, re.MULTILINE)
    heads = re.findall(r"^\|([^|]*)\|.*\n\| *-", text, re.MULTILINE)
    return [one for one in rows if one not in heads]


def codes(cells: Iterable[str]) -> list[str]:
    """The words that are code in the cells."""
    return [code for cell in cells for code in re.findall(r"`([^`]+)`", cell)]


def code_text(path: Path) -> str:
    """What the page shows as code: in its lines and in its blocks."""
    text = path.read_text()
    blocks = re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"`[^`\n]+`", text)])


# --- commands, targets, variables ----------------------------------------------------------


@for_each(PAGES, relative)
def test_make_targets_that_pages_show_exist(path):
    shown = re.findall(r"(?:^|`|&& )make ([a-z][a-z-]*)", code_text(path), re.MULTILINE)
    assert set(shown) <= TARGETS


COMMAND = r"[a-z]+(?:-[a-z]+)*"


def test_commands_that_pages_show_are_those_of_the_program(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown_help = capsys.readouterr().out
    commands = set(re.findall(rf"^    ({COMMAND})(?= |$)", shown_help, re.MULTILINE))
    assert len(commands) > 10
    shown = {
        one
        for path in PAGES
        for one in re.findall(rf"pandaprobe-server ({COMMAND})", code_text(path))
    }
    assert shown == commands


@for_each([path for path in PAGES if path.parent.name != "adr"], relative)
def test_variables_that_pages_name_exist(path):
    named = set(re.findall(r"\bPANDAPROBE_[A-Z0-9_]*[A-Z0-9]\b(?!_)", path.read_text()))
    of_tests = {citus.VARIABLE, citus.NODES, citus.DIRECT}
    others = FILE_VARIABLES | SDK_VARIABLES | COMPOSE_VARIABLES | of_tests
    assert named <= VARIABLES | others


def test_ports_that_pages_name_exist():
    table = page("development/adding-an-adapter.md").partition("| For | Port |")[2]
    named = re.findall(r"^\| [^|]+ \| `(\w+)` \|", table, re.MULTILINE)
    assert len(named) > 3
    assert set(named) <= ports().keys()


def test_benchmarks_that_pages_name_exist():
    module = re.compile(r"tests\.benchmarks(?:\.\w+)+")
    named = {one.replace(".", "/") for path in PAGES for one in module.findall(path.read_text())}
    assert len(named) > 3
    assert {one for one in named if not (ROOT / f"{one}.py").exists()} == set()


def test_pages_install_the_typescript_sdk_that_is_tested():
    lock = json.loads((ROOT / "tests/support/otel_js/package-lock.json").read_text())
    version = lock["packages"]["node_modules/pandaprobe"]["version"]
    text = page("quickstart.md") + (ROOT / "README.md").read_text()
    assert set(re.findall(r"npm install pandaprobe@([\d.]+)", text)) == {version}
    assert f"Version {version} sends" in page("quickstart.md")


def test_the_server_is_installed_from_no_index():
    """Its name is free on PyPI, so a stranger may put another program there."""
    sources = [path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py")]
    install = re.compile(r"install [-\w.= ]*['\"]?pandaprobe-server\b")
    texts = {path: re.sub(r"\s+", " ", path.read_text()) for path in [*PAGES, *sources]}
    assert [relative(path) for path, text in texts.items() if install.search(text)] == []


# --- tables --------------------------------------------------------------------------------


def test_scopes_of_keys():
    table = page("access/organizations.md").partition("| Scope | Allows |")[2].partition("\n\n")[0]
    assert set(codes(first_cells(table))) == set(Scope)


def test_actions_of_the_audit_log():
    table = page("access/organizations.md").partition("| Actions |")[2].partition("\n\n")[0]
    actions, resource = set(), ""
    for code in codes(first_cells(table)):
        if re.fullmatch(r"\w*\.\w+", code):  # `.renamed` continues `organization.created`
            named, _, verb = code.partition(".")
            resource = named or resource
            actions.add(f"{resource}.{verb}")
    assert actions == set(AuditAction)


def test_figures_of_alerts_formats_of_webhooks_and_cadences():
    text = page("evaluation/monitors.md")
    figures = text.partition("| `figure` |")[2].partition("\n\n")[0]
    assert codes(first_cells(figures)) == [*AlertFigure]
    formats = text.partition("| `format` |")[2].partition("\n\n")[0]
    assert set(codes(first_cells(formats))) == {*WebhookFormat} - {WebhookFormat.STANDARD}
    cadences = text.partition("| `cadence` |")[2].partition("\n\n")[0]
    assert [one for one in codes(first_cells(cadences)) if ":" not in one] == [*INTERVALS]


def test_formats_and_rows_of_exports():
    table = page("tracing/exports.md").partition("| `format` | `rows` | |")[2].partition("\n\n")[0]
    assert set(codes(first_cells(table))) == set(FileFormat)
    rows = re.findall(r"^\| `\w+` \| ([^|]+) \|", table, re.MULTILINE)
    assert set(codes(rows)) == set(RowKind)


def test_figures_of_agreement():
    table = (
        page("evaluation/agreement.md").partition("| Figure | What it is |")[2].partition("\n\n")[0]
    )
    figures = [one.name for one in fields(Calibration) if one.type == Statistic]
    assert codes(first_cells(table)) == figures


def test_files_of_a_backup():
    table = page("operation/backup.md").partition("| File | Content |")[2].partition("\n\n")[0]
    assert codes(first_cells(table)) == [backups.DUMP, backups.MANIFEST]


def test_ways_and_problems_of_signing_in():
    text = page("access/sign-in.md")
    ways = text.partition("| Way | For |")[2].partition("\n\n")[0]
    assert len(first_cells(ways)) == len(SignInMethod)
    problems = codes(first_cells(section(text, "When it doesn't work")))
    assert set(problems) == set(SignInProblem)
