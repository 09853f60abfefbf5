"""The systemd units agree with the settings and commands, and systemd accepts them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from entrypoints.cli import main as main_module
from entrypoints.server.asgi import DRAIN_TIMEOUT_S
from entrypoints.settings import SECRET, Settings, file_variable, variable
from entrypoints.worker.supervisor import STOP_TIMEOUT_S

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker/systemd"
UNITS = {
    path.name: path.read_text() for path in sorted(FOLDER.glob("pandaprobe*.*")) if path.is_file()
}
OURS = ("pandaprobe-api@.service", "pandaprobe-migrate.service", "pandaprobe-worker.service")
CONFINE = (FOLDER / "pandaprobe-.service.d/10-confine.conf").read_text()
OPERATIONS = (ROOT / "docs/operation/operations.md").read_text()
PYTHON = "/opt/pandaprobe/venv/bin/python"
VERIFY_MAX_S = 60
EXPOSURE_MAX = "20"  # tenths; systemd calls more than that worse than OK


def values(unit: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNITS[unit], re.MULTILINE)


def environment(unit: str) -> dict[str, str]:
    pairs = [pair for line in values(unit, "Environment") for pair in line.split()]
    return dict(pair.split("=", 1) for pair in pairs)


@pytest.mark.parametrize("unit", OURS)
def test_variables_are_settings(unit):
    known = {variable(one) for one in Settings.__struct_fields__}
    known |= {file_variable(one) for one in SECRET}
    named = {name for name in environment(unit) if name.startswith("PANDAPROBE_")}
    assert named
    assert named <= known
    assert not named & {variable(one) for one in SECRET}


@pytest.mark.parametrize("unit", OURS)
def test_every_secret_is_a_credential_that_operations_page_creates(unit):
    loaded = dict(one.split(":") for one in values(unit, "LoadCredential"))
    read = {
        name.removeprefix("PANDAPROBE_").removesuffix("_FILE"): path
        for name, path in environment(unit).items()
        if name.endswith("_FILE")
    }
    assert read == {name: f"%d/{name}" for name in loaded}
    assert {*loaded.values()} == {f"/etc/pandaprobe/secrets/{name}" for name in loaded}
    for name in loaded:
        assert re.search(rf"\bsecret {name}\b", OPERATIONS), name


def test_only_migrate_knows_the_owner_of_the_tables():
    assert [name for name, text in UNITS.items() if "MIGRATION_DATABASE_URL" in text] == [
        "pandaprobe-migrate.service"
    ]


@pytest.mark.parametrize("unit", OURS)
def test_commands_are_those_of_the_command_line(unit):
    [command] = values(unit, "ExecStart")
    program, *arguments = command.split()
    assert program == PYTHON
    assert arguments[:2] == ["-m", "entrypoints.cli"]
    parsed = main_module._parser.parse_args(arguments[2:])
    assert parsed.command.__name__ == f"_{re.findall('api|migrate|worker', unit)[0]}".replace(
        "api", "serve"
    )
    assert values(unit, "WorkingDirectory") == ["/opt/pandaprobe"]
    assert values(unit, "User") == values(unit, "Group") == ["pandaprobe"]


def test_services_get_as_long_to_stop_as_they_take():
    [api] = values("pandaprobe-api@.service", "TimeoutStopSec")
    [worker] = values("pandaprobe-worker.service", "TimeoutStopSec")
    assert int(api) >= max(10, DRAIN_TIMEOUT_S)  # docs/operation/operations.md: within 10 s
    assert int(worker) >= STOP_TIMEOUT_S + 5


def test_confinement_leaves_users_to_the_units():
    """It comes after the unit, so it would replace the user of the backup."""
    assert not re.search(r"^(User|Group|ExecStart|Environment\w*)=", CONFINE, re.MULTILINE)


def test_operations_page_names_every_unit_and_folder():
    for name in UNITS:
        assert name.replace("@.", "@8000.").removesuffix(".service") in OPERATIONS, name
    assert PYTHON.removesuffix("/bin/python") in OPERATIONS


@pytest.fixture
def checked(tmp_path: Path) -> Path:
    """The units, with programs that exist on this machine."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze isn't installed")
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    for path in tmp_path.glob("*.service"):
        path.write_text(path.read_text().replace(PYTHON, sys.executable))
    api = tmp_path / "pandaprobe-api@.service"
    (tmp_path / "pandaprobe-api@8000.service").write_text(api.read_text())
    return tmp_path


def analyze(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *command],
        capture_output=True,
        text=True,
        timeout=VERIFY_MAX_S,
        check=False,
    )


def test_systemd_accepts_every_unit(checked):
    units = [
        str(path)
        for path in sorted(checked.iterdir())
        if path.suffix in {".service", ".timer", ".target"} and "@." not in path.name
    ]
    assert len(units) == len(UNITS) - 1  # all but the list of users
    done = analyze("verify", "--man=no", "--recursive-errors=no", *units)
    ours = [line for line in done.stderr.splitlines() if "pandaprobe" in line]
    assert (ours, done.returncode) == ([], 0)


def test_services_are_confined(checked):
    services = [str(one) for one in checked.glob("pandaprobe-*.service") if "@." not in one.name]
    assert len(services) == 4
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX}", *services)
    assert done.returncode == 0, done.stdout
