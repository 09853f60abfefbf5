"""`dev`: supervises the whole product on one machine.

The servers, the API and a worker are its children. If one of them exits by itself, all are stopped
and the reason is printed: an incomplete stack is useless, and a restart would hide the crash. If
the supervisor itself is killed, the kernel ends the children, so that nothing blocks the next
start. Accepted data is on disk by then.
"""

import asyncio
import os
import secrets
import shlex
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from adapters.aes_gcm import generate_key
from adapters.embedded import servers
from adapters.embedded.process import Child, StartError
from domain.errors import Conflict
from domain.identity.organization import FIRST_PROJECT
from entrypoints.processes import child_processes
from entrypoints.settings import PREFIX, SERVER_URLS, Settings, file_variable, variable
from entrypoints.startup import CommandError, base_url, listen, print_line

READY_TIMEOUT_S: Final = 120  # a busy machine takes a minute; an ended process is noticed at once
PORT_TIMEOUT_S: Final = 2  # the port of a killed predecessor may be free only a moment later
STOP_TIMEOUT_S: Final = 4  # of the API and the worker; with the servers below ten in all
DRAIN_TIMEOUT_S: Final = 2  # of the worker; then it releases its targets, before it is killed
WATCH_INTERVAL_S: Final = 0.1  # between two checks of the children
TOKEN_LASTS_S: Final = 30 * 86_400
DEV_ENV: Final = "dev.env"
SECRET_KEY: Final = "secret.key"  # noqa: S105 - the name of a file
# Requests to our own address don't use the environment's proxy.
DIRECT_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def run(settings: Settings) -> int:
    """Runs until SIGINT, SIGTERM or SIGHUP, or until a child ends. Raises CommandError."""
    own_servers = [variable(name) for name in sorted(SERVER_URLS) if getattr(settings, name)]
    if own_servers:
        raise CommandError(
            f"`dev` starts its own servers, but {' and '.join(own_servers)} is set: unset it, "
            "or run `migrate`, `serve` and `worker` on your servers"
        )
    stop = child_processes.StopFlag()
    _on_signals(_exit)  # while the servers start, which may take long after a crash
    try:
        return _supervise(settings, Path(settings.data_dir).absolute(), stop)
    except (StartError, OSError) as error:  # such as a full disk, or a file of another user
        raise CommandError(str(error)) from error


def _on_signals(handler: Callable[..., object]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, handler)


def _exit(*_: object) -> NoReturn:
    raise SystemExit(0)


def running_servers(data_dir: str) -> Mapping[str, str]:
    """The settings of a `dev` that runs on `data_dir`; empty if none does."""
    folder = Path(data_dir)
    return read_env(folder / servers.ADDRESSES) if servers.is_locked(folder) else {}


def _supervise(settings: Settings, data: Path, stop: child_processes.StopFlag) -> int:
    with ExitStack() as stack:
        print_line(f"Starting PostgreSQL and Valkey in {data}")
        own = stack.enter_context(servers.run_servers(data))
        _on_signals(lambda *_: stop.set())
        _await_port(settings, stop)
        settings = msgspec.structs.replace(
            settings,
            data_dir=str(data),
            database_url=own.database_url,
            migration_database_url=own.owner_url,
            redis_url=own.redis_url,
            secret_keys=settings.secret_keys or (_ensure_secret_key(data),),
        )
        environ = _environ(settings)  # without the owner's URL: nothing that serves needs it
        owner = {variable("migration_database_url"): own.owner_url}
        write_env(data / servers.ADDRESSES, environ | owner)
        stack.callback((data / servers.ADDRESSES).unlink, missing_ok=True)
        key = _prepare(settings, data)
        ours: list[Child] = []
        stack.callback(child_processes.stop_all, ours, STOP_TIMEOUT_S)
        if not stop.is_set():
            print_line("Starting the API and a worker")
            # SIGKILL: without their servers they can't finish anything.
            ours += (
                child_processes.start(*command, environ=environ, orphaned=signal.SIGKILL)
                for command in (("serve",), ("worker", "--drain", str(DRAIN_TIMEOUT_S)))
            )
        children = (*own.children, *ours)
        exited = _await_ready(settings, children, stop)
        if exited is None and not stop.is_set():
            print_line(_welcome(settings, data, key))
            exited = _watch(children, stop)
        if exited is not None:
            how = child_processes.describe_exit(exited)
            log_hint = "" if exited.log is None else f"; see {exited.log}"
            print_line(f"{exited.name} exited ({how}){log_hint}. Stopping the others.")
        else:
            print_line("Stopping")
    print_line("Stopped; nothing is lost.")
    return 0 if exited is None else 1


def _prepare(settings: Settings, data: Path) -> str:
    """Migrates, creates the first organization, and writes dev.env. Returns its API key."""
    # Slow to import, so after the first lines of output.
    from entrypoints import provisioning  # noqa: PLC0415
    from entrypoints.composition import database, sign_in  # noqa: PLC0415

    try:
        done = asyncio.run(database.migrate(settings))
    except Conflict as other:
        raise CommandError(
            f"{data}: {other.message}. To begin again, move this folder away or delete it"
        ) from other
    print_line(f"Migrated: {', '.join(done)}" if done else "The schema is up to date")
    file = data / DEV_ENV
    known = read_env(file).get(f"{PREFIX}API_KEY")
    key = asyncio.run(provisioning.ensure_developer_key(settings, known))
    if key != known:
        print_line(f"Created an API key for the organization of {sign_in.DEVELOPER}")
    token = sign_in.development_token(
        settings, email=sign_in.DEVELOPER, name=sign_in.DEVELOPER_NAME, expires_in_s=TOKEN_LASTS_S
    )
    write_env(
        file,
        {
            f"{PREFIX}ENDPOINT": base_url(settings),
            f"{PREFIX}API_KEY": key,
            f"{PREFIX}PROJECT_NAME": FIRST_PROJECT,
            f"{PREFIX}TOKEN": token,
            f"{PREFIX}AUTH_URL": base_url(settings),
        },
    )
    return key


def _environ(settings: Settings) -> dict[str, str]:
    """The settings of the children, and of commands that use their servers."""
    return {
        variable("app_env"): settings.app_env,
        variable("log_format"): settings.log_format,
        variable("data_dir"): settings.data_dir,
        variable("auth_dev_issuer"): "on" if settings.auth_dev_issuer else "off",
        variable("alert_allow_private_targets"): (
            "on" if settings.alert_allow_private_targets else "off"
        ),
        variable("rate_limit_enabled"): "on" if settings.rate_limit_enabled else "off",
        variable("metrics_dir"): settings.metrics_dir or str(Path(settings.data_dir) / "metrics"),
        variable("database_url"): settings.database_url or "",
        variable("redis_url"): settings.redis_url or "",
        variable("secret_keys"): ",".join(settings.secret_keys),
        file_variable("secret_keys"): "",  # its content is in the line above
    }


def _ensure_secret_key(data: Path) -> str:
    """The key that encrypts secrets in the database of this folder; the first start makes it."""
    file = data / SECRET_KEY
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        key = generate_key(f"dev-{secrets.token_hex(4)}")
        _write_private(file, f"{key}\n")
        return key


def secret_key_ids(settings: Settings, data: Path) -> set[str]:
    """The ids of the keys that the next start on this folder has."""
    file = data / SECRET_KEY
    keys = settings.secret_keys or ((file.read_text(),) if file.exists() else ())
    return {key.partition(":")[0] for key in keys}


def _await_port(settings: Settings, stop: child_processes.StopFlag) -> None:
    deadline = time.monotonic() + PORT_TIMEOUT_S
    while True:
        try:
            listen(settings).close()
        except CommandError:
            if time.monotonic() > deadline or stop.wait(WATCH_INTERVAL_S):
                raise
        else:
            return


def _await_ready(
    settings: Settings, children: Sequence[Child], stop: child_processes.StopFlag
) -> Child | None:
    """Waits until the API is ready. Returns the child that exited instead, if one did."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    answer = "no answer"
    while not stop.is_set():
        if (exited := child_processes.find_exited(children)) is not None:
            return exited
        try:
            with DIRECT_OPENER.open(f"{base_url(settings)}/health/ready", timeout=2):
                return None
        except urllib.error.HTTPError as error:
            answer = error.read(2048).decode(errors="replace")
        except OSError as error:
            answer = str(error)
        if time.monotonic() > deadline:
            raise CommandError(f"the API isn't ready after {READY_TIMEOUT_S} s: {answer}")
        stop.wait(WATCH_INTERVAL_S / 2)
    return None


def _watch(children: Sequence[Child], stop: child_processes.StopFlag) -> Child | None:
    """Waits until `stop` is set. Returns the child that exited by itself, if one did."""
    while not stop.wait(WATCH_INTERVAL_S):
        if (exited := child_processes.find_exited(children)) is not None:
            return exited
    return None


def _welcome(settings: Settings, data: Path, key: str) -> str:
    url = base_url(settings)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    body = f'{{"name": "first-light", "started_at": "{now}", "input": "hello"}}'
    return f"""
PandaProbe is ready.

  Dashboard      {url}/app/
  Base URL       {url}
  API key        {key}
  API reference  {url}/docs
  Environment    set -a; . {shlex.quote(str(data / DEV_ENV))}; set +a

Send a first trace:

  curl {url}/traces -H 'X-API-Key: {key}' \\
    -H 'X-Project-Name: {FIRST_PROJECT}' -H 'Content-Type: application/json' \\
    -d '{body}'

Let an agent read the traces (docs/mcp.md); for Claude Code:

  {mcp_line(data)}

Sign the pandaprobe command line in, with a key of its own:

  {PREFIX}ENDPOINT={url} {PREFIX}AUTH_URL={url} pandaprobe auth login

Ctrl-C stops everything.
"""


def mcp_line(data: Path) -> str:
    """The command that adds the MCP server on this folder to Claude Code."""
    program = Path(sys.executable).with_name("pandaprobe-server")
    folder = shlex.quote(f"{variable('data_dir')}={data}")
    return f"claude mcp add pandaprobe --env {folder} -- {shlex.quote(str(program))} mcp"


def write_env(file: Path, values: Mapping[str, str]) -> None:
    """Writes a file that a shell can source, readable by its owner only, atomically."""
    _write_private(
        file, "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
    )


def _write_private(file: Path, content: str) -> None:
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
    except BaseException:  # as on a full disk: it has secrets, and each start would leave one
        draft.unlink(missing_ok=True)
        raise


def read_env(file: Path) -> dict[str, str]:
    """Reads what `write_env` wrote; other lines are skipped."""
    try:
        lines = file.read_text().splitlines()
    except (FileNotFoundError, PermissionError, UnicodeDecodeError):
        return {}
    values: dict[str, str] = {}
    for line in lines:
        name, separator, value = line.partition("=")
        if separator and name.isidentifier():
            try:
                values[name] = "".join(shlex.split(value))
            except ValueError:  # an open quote
                continue
    return values
