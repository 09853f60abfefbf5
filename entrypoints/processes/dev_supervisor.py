"""`dev`: everything on one machine, under one supervisor.

The servers, the API and a worker are its children. Where one of them ends by itself, all are
stopped and the reason is told: half a stack is no use, and a restart would hide the crash. The
kernel ends the children if the supervisor itself is killed, so the next start finds a free field;
what was accepted is on disk by then.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from adapters.embedded import servers
from adapters.embedded.process import Child, StartError
from domain.identity.organization import FIRST_PROJECT
from entrypoints.processes.child_processes import how_it_ended, lost, started, stop_all
from entrypoints.processes.stop_flag import Stop
from entrypoints.settings import PREFIX, Settings, variable
from entrypoints.startup import CommandError, base_url, listen

READY_TIMEOUT_S: Final = 30
PORT_TIMEOUT_S: Final = 2  # a killed predecessor's port may take a moment to be free
STOP_TIMEOUT_S: Final = 4  # of the API and the worker; with the servers' turn, below ten in all
WATCH_S: Final = 0.1  # between two looks at the children
TOKEN_LASTS_S: Final = 30 * 86_400
DEV_ENV: Final = "dev.env"
# Our own address is asked without the proxy that the environment may name.
DIRECTLY: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
SERVERS_ENV: Final = "servers.env"


def run(settings: Settings) -> int:
    """Runs until SIGINT, SIGTERM or SIGHUP, or until a child ends. Raises CommandError."""
    given = [variable(name) for name in ("database_url", "redis_url") if getattr(settings, name)]
    if given:
        raise CommandError(
            f"`dev` brings servers of its own, and {' and '.join(given)} is set: unset it, or run "
            "`migrate`, `serve` and `worker` on your servers"
        )
    stop = Stop()
    _on_signals(_leave)  # while servers start, which may take long after a crash
    try:
        return _supervise(settings, Path(settings.data_dir).absolute(), stop)
    except StartError as error:
        raise CommandError(str(error)) from error


def _on_signals(handler: Callable[..., object]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, handler)


def _leave(*_: object) -> NoReturn:
    raise SystemExit(0)


def running_servers(data_dir: str) -> Mapping[str, str]:
    """The settings of a `dev` that runs on `data_dir`; empty where none does."""
    folder = Path(data_dir)
    return read_env(folder / SERVERS_ENV) if servers.is_locked(folder) else {}


def _supervise(settings: Settings, data: Path, stop: Stop) -> int:
    with ExitStack() as stack:
        _say(f"Starting PostgreSQL and Valkey in {data}")
        own = stack.enter_context(servers.running(data))
        _on_signals(lambda *_: stop.set())
        _await_port(settings, stop)
        settings = msgspec.structs.replace(
            settings, data_dir=str(data), database_url=own.database_url, redis_url=own.redis_url
        )
        environ = _environ(settings)
        stack.enter_context(_published(data / SERVERS_ENV, environ))
        key = _prepared(settings, data)
        ours: list[Child] = []
        stack.callback(stop_all, ours, STOP_TIMEOUT_S)
        if not stop.is_set():
            _say("Starting the API and a worker")
            # Without their servers they have nothing left to finish.
            ours += (
                started(command, environ=environ, orphaned=signal.SIGKILL)
                for command in ("serve", "worker")
            )
        children = (*own.children, *ours)
        ended = _await_ready(settings, children, stop)
        if ended is None and not stop.is_set():
            _say(_welcome(settings, data, key))
            ended = _watch(children, stop)
        if ended is not None:
            how = how_it_ended(ended)
            _say(f"{ended.name} ended by itself ({how}){_why(ended)}. Stopping the rest.")
        else:
            _say("Stopping")
    _say("Stopped; nothing is lost.")
    return 0 if ended is None else 1


def _prepared(settings: Settings, data: Path) -> str:
    """Migrates, sees to the first organization, and writes dev.env; the API key in it."""
    # Slow to import: after the first lines have told that something happens.
    from entrypoints import provisioning  # noqa: PLC0415
    from entrypoints.composition import root, sign_in  # noqa: PLC0415

    done = asyncio.run(root.migrate(settings))
    _say(f"Migrated: {', '.join(done)}" if done else "The schema is up to date")
    file = data / DEV_ENV
    known = read_env(file).get(f"{PREFIX}API_KEY")
    key = asyncio.run(provisioning.first_key(settings, known))
    if key != known:
        _say(f"Made an API key for the organization of {sign_in.DEVELOPER}")
    token = provisioning.development_token(
        settings,
        email=sign_in.DEVELOPER,
        name=sign_in.DEVELOPER_NAME,
        expires_in_s=TOKEN_LASTS_S,
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
    """What the children, and commands that join them, are told beyond the environment."""
    return {
        variable("app_env"): settings.app_env,
        variable("log_format"): settings.log_format,
        variable("data_dir"): settings.data_dir,
        variable("auth_dev_issuer"): "on" if settings.auth_dev_issuer else "off",
        variable("alert_allow_private_targets"): (
            "on" if settings.alert_allow_private_targets else "off"
        ),
        variable("metrics_dir"): settings.metrics_dir or str(Path(settings.data_dir) / "metrics"),
        variable("database_url"): settings.database_url or "",
        variable("redis_url"): settings.redis_url or "",
    }


def _await_port(settings: Settings, stop: Stop) -> None:
    deadline = time.monotonic() + PORT_TIMEOUT_S
    while True:
        try:
            listen(settings).close()
        except CommandError:
            if time.monotonic() > deadline or stop.wait(WATCH_S):
                raise
        else:
            return


def _await_ready(settings: Settings, children: Sequence[Child], stop: Stop) -> Child | None:
    """Waits until the API can work; the child that ended instead, if one did."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    said = "no answer"
    while not stop.is_set():
        if (ended := lost(children)) is not None:
            return ended
        try:
            with DIRECTLY.open(f"{base_url(settings)}/health/ready", timeout=2):
                return None
        except urllib.error.HTTPError as error:
            said = error.read(2048).decode(errors="replace")
        except OSError as error:
            said = str(error)
        if time.monotonic() > deadline:
            raise CommandError(f"the API isn't ready after {READY_TIMEOUT_S} s: {said}")
        stop.wait(WATCH_S / 2)
    return None


def _watch(children: Sequence[Child], stop: Stop) -> Child | None:
    """Waits until it is time to stop; the child that ended by itself, if one did."""
    while not stop.wait(WATCH_S):
        if (ended := lost(children)) is not None:
            return ended
    return None


def _why(child: Child) -> str:
    return "" if child.log is None else f"; see {child.log}"


def _welcome(settings: Settings, data: Path, key: str) -> str:
    url = base_url(settings)
    body = f'{{"name": "first-light", "started_at": "{_now()}", "input": "hello"}}'
    return f"""
PandaProbe is ready.

  Base URL       {url}
  API key        {key}
  API reference  {url}/docs
  Environment    set -a; . {shlex.quote(str(data / DEV_ENV))}; set +a

Send a first trace:

  curl {url}/traces -H 'X-API-Key: {key}' \\
    -H 'X-Project-Name: {FIRST_PROJECT}' -H 'Content-Type: application/json' \\
    -d '{body}'

Sign the pandaprobe command line in, with a key of its own:

  {PREFIX}ENDPOINT={url} {PREFIX}AUTH_URL={url} pandaprobe auth login

Ctrl-C stops everything.
"""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextmanager
def _published(file: Path, values: Mapping[str, str]) -> Iterator[None]:
    write_env(file, values)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def write_env(file: Path, values: Mapping[str, str]) -> None:
    """A file that a shell can source, for its owner only; in place whole or not at all."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.writelines(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
    draft.replace(file)


def read_env(file: Path) -> dict[str, str]:
    """What `write_env` wrote; lines of another form are passed over."""
    try:
        lines = file.read_text().splitlines()
    except (FileNotFoundError, PermissionError, UnicodeDecodeError):
        return {}
    found: dict[str, str] = {}
    for line in lines:
        name, separator, value = line.partition("=")
        if separator and name.isidentifier():
            try:
                found[name] = "".join(shlex.split(value))
            except ValueError:  # an open quote
                continue
    return found
