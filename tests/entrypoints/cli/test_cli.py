"""The command line, without servers."""

import base64
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from adapters.embedded import servers
from domain.identity.api_key import Scope
from entrypoints import provisioning
from entrypoints.cli.__main__ import run
from entrypoints.cli.main import main
from entrypoints.observability import logs
from entrypoints.processes import dev_supervisor
from entrypoints.settings import Settings
from entrypoints.startup import CommandError, base_url, check_layout, check_servers, listen
from tests.support.waiting import WAIT_MAX_S

COMMANDS = [
    "dev",
    "serve",
    "worker",
    "migrate",
    "seed",
    "token",
    "organization create",
    "organization move",
    "key create",
    "doctor",
    "distribute",
    "remap",
    "gate",
]
# Runs a command as the first process of a namespace, as a container does.
ISOLATED = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")
MAY_ISOLATE = (
    shutil.which("unshare") is not None
    and subprocess.run([*ISOLATED, "true"], capture_output=True, check=False).returncode == 0
)


def claims(token: str) -> dict:
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def test_installed_command_is_that_of_python_m():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    [(name, target)] = project["scripts"].items()
    assert EntryPoint(name, target, "console_scripts").load() is run


@pytest.mark.skipif(not MAY_ISOLATE, reason="this user may not create namespaces")
def test_first_process_of_a_container_ends_by_a_signal_before_it_serves():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(WAIT_MAX_S)
        url = f"postgresql://x:y@127.0.0.1:{silent.getsockname()[1]}/x"
        process = subprocess.Popen(
            [*ISOLATED, sys.executable, "-m", "entrypoints.cli", "migrate"],
            env={**os.environ, "PANDAPROBE_DATABASE_URL": url},
            stderr=subprocess.DEVNULL,
        )
        with process, silent.accept()[0]:  # it waits for the database now
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            os.kill(int(children), signal.SIGTERM)
            assert process.wait(WAIT_MAX_S) == 128 + signal.SIGTERM


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([*command.split(), "--help"], {})
    output = capsys.readouterr().out
    assert end.value.code == 0
    assert re.search(r"^example:\n.*pandaprobe-server ", output, re.MULTILINE | re.DOTALL)
    assert max(map(len, output.splitlines())) <= 100


@pytest.mark.parametrize(
    ("group", "description"),
    [("key", "Create API keys for programs."), ("organization", "Create and move organizations.")],
)
def test_help_of_a_group_keeps_the_case_of_words(group, description, capsys):
    with pytest.raises(SystemExit):
        main([group, "--help"], {})
    assert description in capsys.readouterr().out


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"], {})
    output = capsys.readouterr().out
    assert all(f"    {command.split()[0]} " in output for command in COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["key"], ["token", "--expires", "1y"]])
def test_invalid_command_line_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments, {})
    assert end.value.code == 2
    assert "usage: pandaprobe-server" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "worker", "migrate"])
def test_missing_server_error_names_the_setting_and_dev(command, capsys):
    assert main([command], {}) == 1
    output = capsys.readouterr().err
    assert "PANDAPROBE_DATABASE_URL" in output
    assert ("PANDAPROBE_REDIS_URL" in output) == (command != "migrate")
    assert "`pandaprobe-server dev`" in output


@pytest.mark.parametrize("command", ["serve", "worker", "migrate", "dev", "token"])
def test_invalid_setting_exits_with_2(command, capsys):
    assert main([command], {"PANDAPROBE_PORT": "many", "PANDAPROBE_LOG_FORMAT": "xml"}) == 2
    output = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in output] == ["PANDAPROBE_PORT", "PANDAPROBE_LOG_FORMAT"]


@pytest.mark.parametrize("command", [("import", "-"), ("mcp",)], ids=["import", "mcp"])
def test_organization_of_a_token_is_passed_on(command, capsys):
    options = ("--url", "http://127.0.0.1:1", "--project", "p", "--organization", "a\nb")
    assert main([*command, *options], {"PANDAPROBE_API_KEY": "head.claims.signature"}) == 1
    assert "--organization is invalid" in capsys.readouterr().err


def test_dev_is_refused_in_deployments(capsys):
    assert main(["dev"], {"PANDAPROBE_APP_ENV": "production"}) == 2
    assert "PANDAPROBE_AUTH_DEV_ISSUER must be off" in capsys.readouterr().err


def test_token_has_the_given_user_and_lifetime(tmp_path, capsys):
    environ = {"PANDAPROBE_DATA_DIR": str(tmp_path / "data")}
    arguments = ["token", "--email", "ada@example.com", "--name", "Ada", "--expires", "90m"]
    assert main(arguments, environ) == 0
    token = claims(capsys.readouterr().out.strip())
    assert (token["email"], token["sub"], token["name"]) == ("ada@example.com",) * 2 + ("Ada",)
    assert token["exp"] - token["iat"] == 90 * 60
    assert abs(token["iat"] - time.time()) < 60


def test_token_needs_a_usable_data_folder(tmp_path, capsys):
    (tmp_path / "data").write_text("")
    assert main(["token"], {"PANDAPROBE_DATA_DIR": str(tmp_path / "data")}) == 1
    output = capsys.readouterr()
    assert "PANDAPROBE_DATA_DIR has no usable key" in output.err
    assert not output.out


def test_folder_without_a_backup_is_refused(tmp_path, capsys):
    assert main(["restore", "--verify", str(tmp_path)], {}) == 1
    reported = f"pandaprobe-server: {tmp_path} is not a backup: it has no manifest.json or no "
    assert capsys.readouterr().err.startswith(reported)


def test_packages_from_different_folders_are_refused():
    assert check_layout() is None


def test_configured_servers_pass_the_check():
    assert check_servers(Settings(database_url="postgresql://h/d"), "database_url") is None
    with pytest.raises(CommandError, match=r"^PANDAPROBE_REDIS_URL must be set"):
        check_servers(Settings(database_url="postgresql://h/d"))


def test_missing_servers_are_explained_by_what_to_do(tmp_path, capsys):
    environ = {"PANDAPROBE_DATA_DIR": str(tmp_path)}
    assert main(["seed", "--traces", "1"], environ) == 1
    reported = capsys.readouterr().err
    for part in ("PANDAPROBE_DATABASE_URL", str(tmp_path), "make dev", "PANDAPROBE_DATA_DIR"):
        assert part in reported
    assert main(["migrate"], environ) == 1  # it doesn't use those of `dev`
    reported = capsys.readouterr().err
    assert "PANDAPROBE_DATABASE_URL must be set to your own server" in reported
    assert "make dev" in reported
    assert str(tmp_path) not in reported


def test_busy_port_error_names_the_setting():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CommandError, match=f"port {port} on 127.0.0.1 is in use: set PANDA"):
            listen(Settings(port=port))
    listen(Settings(port=port)).close()


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host.invalid"])
def test_address_that_cannot_be_bound_is_an_error(host):
    with pytest.raises(CommandError, match=f"^PANDAPROBE_HOST: {host} is not an address"):
        listen(Settings(host=host, port=18000))


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("localhost", "http://localhost:8000"),
    ],
)
def test_base_url_is_reachable_by_clients(host, url):
    assert base_url(Settings(host=host)) == url


@pytest.mark.parametrize("value", ["plain", "with space", "it's", 'a"b$c`d', "", "ä\\n"])
def test_env_file_round_trip(tmp_path, value):
    file = tmp_path / "dev.env"
    dev_supervisor.write_env(file, {"PANDAPROBE_A": value, "PANDAPROBE_B": "b"})
    assert dev_supervisor.read_env(file) == {"PANDAPROBE_A": value, "PANDAPROBE_B": "b"}
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"A='open\nB", b"= x\nno name=1"])
def test_broken_env_file_is_empty(tmp_path, content):
    (tmp_path / "dev.env").write_bytes(content)
    assert dev_supervisor.read_env(tmp_path / "dev.env") == {}
    assert dev_supervisor.read_env(tmp_path / "none.env") == {}


def test_servers_of_a_killed_dev_are_not_used(tmp_path):
    dev_supervisor.write_env(
        tmp_path / "servers.env", {"PANDAPROBE_DATABASE_URL": "postgresql://h/d"}
    )
    (tmp_path / "lock").write_text("1\n")
    assert dev_supervisor.running_servers(str(tmp_path)) == {}


def test_addresses_that_a_killed_dev_left_are_not_used_while_another_process_has_the_folder(
    tmp_path,
):
    addresses = {"PANDAPROBE_DATABASE_URL": "postgresql://h/d"}
    dev_supervisor.write_env(tmp_path / "servers.env", addresses)
    with servers.lock_folder(tmp_path):  # as `backup` and a start that isn't ready do
        assert dev_supervisor.running_servers(str(tmp_path)) == {}
        dev_supervisor.write_env(tmp_path / "servers.env", addresses)
        assert dev_supervisor.running_servers(str(tmp_path)) == addresses


def test_draft_of_a_file_that_cannot_be_written_is_removed(tmp_path):
    (tmp_path / "dev.env").mkdir()
    with pytest.raises(IsADirectoryError):
        dev_supervisor.write_env(tmp_path / "dev.env", {"PANDAPROBE_API_KEY": "secret"})
    assert [file.name for file in tmp_path.iterdir()] == ["dev.env"]


async def test_unknown_scope_is_refused_before_connecting():
    options = {"organization": None, "name": "ci", "lasts_s": None}
    with pytest.raises(CommandError, match="--scopes: 'admin'"):
        await provisioning.create_key(Settings(), scopes=("read", "admin"), **options)
    assert "admin" not in set(Scope)


def record(**extra) -> logging.LogRecord:
    entry = logging.makeLogRecord({"name": "pandaprobe", "levelname": "INFO", "msg": "%s ü"})
    entry.args = ("text",)
    entry.created, entry.msecs = 1_700_000_000.25, 250.0
    vars(entry).update(extra)
    return entry


def test_json_log_line_has_utc_time_and_extra_fields():
    line = json.loads(logs.JsonLines().format(record(request_id="r1", color_message="x")))
    assert line == {
        "time": "2023-11-14T22:13:20.250+00:00",
        "level": "INFO",
        "logger": "pandaprobe",
        "message": "text ü",
        "request_id": "r1",
    }


def test_console_log_line_has_the_same_fields():
    line = logs.ConsoleLines().format(record(request_id="r1"))
    assert line == "22:13:20 INFO    pandaprobe: text ü request_id=r1"


@pytest.mark.parametrize(
    "form", [logs.JsonLines, logs.ConsoleLines, lambda: logs.TerminalLines(lambda text, _: text)]
)
def test_exception_is_logged_with_traceback_but_without_message(form):
    try:
        int("broken")
    except ValueError as error:
        line = form().format(record(exc_info=(type(error), error, error.__traceback__)))
    assert "ValueError" in line
    assert "Traceback" in line
    assert "invalid literal" not in line  # it can contain data of a client


@pytest.mark.parametrize("parameter", ["family=any", "socket_timeout=soon", "ssl_cert_reqs=none"])
def test_parameter_that_redis_has_not_is_named_at_the_start(parameter, capsys):
    url = f"redis://:hidden@cache.example.com:6379/0?protocol=3&{parameter}"
    assert main(["doctor"], {"PANDAPROBE_REDIS_URL": url}) == 1
    output = capsys.readouterr().out
    name = parameter.partition("=")[0]
    assert f"PANDAPROBE_REDIS_URL: its parameter {name} can't be used" in output
    assert ("hidden" in output, "protocol" in output) == (False, False)
    encrypted = {"PANDAPROBE_REDIS_URL": url.replace("redis:", "rediss:")}
    assert main(["migrate"], encrypted) == (1 if name.startswith("ssl") else 2)
