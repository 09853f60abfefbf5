"""URLs of PostgreSQL that name several hosts. Imports nothing that is slow to load."""

from collections.abc import Sequence
from urllib.parse import urlsplit


def single_host_urls(url: str) -> Sequence[str]:
    """A URL for each host of a URL."""
    parts = urlsplit(url)
    account, at, hosts = parts.netloc.rpartition("@")
    return [parts._replace(netloc=f"{account}{at}{host}").geturl() for host in hosts.split(",")]


def on_host(url: str, host: str, port: int) -> str:
    """The URL with this host in place of its own."""
    parts = urlsplit(url)
    account, at, _ = parts.netloc.rpartition("@")
    name = f"[{host}]" if ":" in host else host
    return parts._replace(netloc=f"{account}{at}{name}:{port}").geturl()
