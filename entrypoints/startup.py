"""What every process of the product sees to before its work."""

import errno
import socket
from pathlib import Path

import application
import domain
import entrypoints
from entrypoints.settings import Settings, variable


class CommandError(Exception):
    """The command can't do its work; the message is for who typed it, and says what to do."""


def check_layout() -> None:
    """Raises CommandError where another package of the environment has one of our general names."""
    places = {
        Path(package.__file__ or "").resolve().parents[1]
        for package in (domain, application, entrypoints)
    }
    if len(places) > 1:
        raise CommandError(
            "the packages `domain`, `application` and `entrypoints` come from different places ("
            f"{', '.join(sorted(map(str, places)))}): install pandaprobe-server into an "
            "environment of its own"
        )


def check_servers(settings: Settings, *needed: str) -> None:
    """Raises CommandError where a server isn't named: one of `needed`, or else any of the two."""
    missing = [
        variable(field)
        for field in needed or ("database_url", "redis_url")
        if not getattr(settings, field)
    ]
    if missing:
        raise CommandError(
            f"{' and '.join(missing)} must be set. To try PandaProbe without servers of your own, "
            "run `pandaprobe-server dev` (or `make dev`): it brings a PostgreSQL and a Valkey"
        )


def listen(settings: Settings, field: str = "port") -> socket.socket:
    """A socket bound to the address of the settings. Raises CommandError, naming what is in use.

    `field` is the setting that the port is from.
    """
    host, port = settings.host, settings.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CommandError(f"{variable('host')}: {host} is no address to listen on") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as after a restart
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise CommandError(_not_bound(host, port, variable(field), error)) from error
    return bound


def base_url(settings: Settings) -> str:
    """Where a client on this machine reaches the service."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _not_bound(host: str, port: int, name: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use: set {name} to another one"
    if error.errno == errno.EACCES:
        return f"port {port} is for root alone: set {name} to one above 1023"
    return f"{variable('host')}: {host} is no address of this machine"
