"""Checks and sockets that every process needs at its start."""

import errno
import socket
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import application
import domain
import entrypoints
from entrypoints.settings import Settings, variable


class CommandError(Exception):
    """The command can't run. The message tells the user what to do."""


def check_layout() -> None:
    """Raises CommandError if another package in the environment has one of our general names."""
    locations = {
        Path(package.__file__ or "").resolve().parents[1]
        for package in (domain, application, entrypoints)
    }
    if len(locations) > 1:
        raise CommandError(
            "the packages `domain`, `application` and `entrypoints` come from different folders ("
            f"{', '.join(sorted(map(str, locations)))}): install the server into a "
            "separate environment"
        )


def product_version() -> str:
    try:
        return version("pandaprobe-server")
    except PackageNotFoundError:  # run from a folder that isn't installed, as in a container image
        project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
        return str(project["project"]["version"])


def print_line(line: str) -> None:
    """Prints to the standard output at once, also into a pipe."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def check_servers(settings: Settings, *needed: str, uses_dev: bool = False) -> None:
    """Raises CommandError if one of the settings `needed` is missing; by default both servers.

    With `uses_dev` the command would have taken those of a running `dev`.
    """
    missing = [
        variable(field)
        for field in needed or ("database_url", "redis_url")
        if not getattr(settings, field)
    ]
    if not missing:
        return
    names = " and ".join(missing)
    if uses_dev:
        raise CommandError(
            f"{names} must be set, or a `dev` must run on {Path(settings.data_dir).absolute()}: "
            "run this command in the folder in which `make dev` or `pandaprobe-server dev` was "
            f"started, set {variable('data_dir')} to its data folder, or set {names} to your own "
            "server"
        )
    raise CommandError(
        f"{names} must be set to your own server. To try PandaProbe without one, run `make dev` "
        "or `pandaprobe-server dev`: it starts a PostgreSQL and a Valkey, and migrates"
    )


def listen(settings: Settings, field: str = "port", *, is_shared: bool = False) -> socket.socket:
    """A socket bound to the address in the settings. Raises CommandError if it can't be bound.

    `field` is the setting of the port, for the message. Several sockets may have the same address
    if all of them are `is_shared`: the kernel spreads connections over those that listen.
    """
    host, port = settings.host, settings.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CommandError(f"{variable('host')}: {host} is not an address to listen on") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as after a restart
        if is_shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise CommandError(_bind_problem(host, port, variable(field), error)) from error
    return bound


def base_url(settings: Settings) -> str:
    """The URL of the service for clients on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    return f"http://{host_and_port(host, settings.port)}"


def is_on_loopback(url: str) -> bool:
    """Whether a URL names this machine, which a proxy of the environment doesn't reach."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def host_and_port(host: str, port: int) -> str:
    """Both as a URL has them: an IPv6 address is in brackets."""
    return f"{f'[{host}]' if ':' in host else host}:{port}"


def _bind_problem(host: str, port: int, name: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use: set {name} to another one"
    if error.errno == errno.EACCES:
        return f"port {port} is reserved for root: set {name} to one above 1023"
    return f"{variable('host')}: {host} is not an address of this machine"
