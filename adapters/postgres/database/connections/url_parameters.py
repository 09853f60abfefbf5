"""Parameters of a PostgreSQL URL, as libpq knows them. Imports nothing that is slow to load.

asyncpg sends those that it doesn't know to the server, which refuses the connection. Hosted
providers add such parameters to the URLs that they show.
"""

import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

CONNECT_TIMEOUT_MAX_S: Final = 60
# What a client may leave out: it concerns sockets, names, or features that are off.
IGNORED_PARAMETERS: Final = frozenset(
    {
        *("fallback_application_name", "client_encoding", "sslcompression", "sslsni"),
        *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
        *("tcp_user_timeout", "gssdelegation", "connect_timeout"),
        *("min_protocol_version", "max_protocol_version"),
    }
)
# The values that ask for nothing that this client lacks. Other values are refused.
OPTIONAL_VALUES: Final = {
    "channel_binding": ("disable", "prefer"),
    "gssencmode": ("disable", "prefer"),
    "sslcertmode": ("disable", "allow"),
    "load_balance_hosts": ("disable",),
}
UNSUPPORTED_PARAMETERS: Final = {
    "channel_binding": "the driver has none: remove it, and set sslmode=verify-full, which also "
    "protects against another server in between",
    "gssencmode": "the driver has no GSSAPI encryption: remove it, and use TLS",
    "sslcertmode": "remove it: a certificate is sent if sslcert names one",
    "load_balance_hosts": "remove it: the hosts are tried until one accepts writes",
    "hostaddr": "put the address in the place of the host",
    "require_auth": "remove it, and set sslmode=verify-full",
    "requirepeer": "remove it",
    "replication": "remove it",
    "requiressl": "use sslmode=require",
    "sslcrldir": "use sslcrl",
    "scram_client_key": "use the password",
    "scram_server_key": "use the password",
}
FILE_PARAMETERS: Final = frozenset({"sslrootcert", "sslcert", "sslkey", "sslcrl"})
_SYSTEM: Final = "system"  # libpq's word for the certificate authorities of the machine


def parameter_problems(url: str) -> Iterator[str]:
    """The faults of the parameters of a URL, without any value that may be secret."""
    for name, value in _parameters(url):
        if name in OPTIONAL_VALUES and value in OPTIONAL_VALUES[name]:
            continue
        if name in UNSUPPORTED_PARAMETERS:
            yield f"its parameter {name} isn't supported: {UNSUPPORTED_PARAMETERS[name]}"
        elif name == "connect_timeout" and not value.isdecimal():
            yield "its parameter connect_timeout must be a whole number of seconds"
        elif (name, value) == ("sslrootcert", _SYSTEM) and system_root_file() is None:
            yield "sslrootcert=system: this machine has no file of certificate authorities"
        elif name in FILE_PARAMETERS and value not in {"", _SYSTEM}:
            yield from _file_problem(name, value)


def _file_problem(name: str, path: str) -> Iterator[str]:
    """The driver's error names neither the parameter nor the file."""
    try:
        Path(path).open("rb").close()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        yield f"the file of its parameter {name} can't be read: {reason}"


def driver_url(url: str) -> str:
    """The URL with the parameters that asyncpg understands, and server settings."""
    kept = [
        (name, _root_file(value) if name == "sslrootcert" else value)
        for name, value in _parameters(url)
        if name not in IGNORED_PARAMETERS and name not in OPTIONAL_VALUES
    ]
    if kept == _parameters(url):
        return url
    return urlsplit(url)._replace(query=urlencode(kept)).geturl()


def connect_timeout(url: str, default_s: float) -> float:
    """The parameter `connect_timeout`; 0 or none: the default."""
    for name, value in reversed(_parameters(url)):
        if name == "connect_timeout" and value.isdecimal() and int(value):
            return float(min(int(value), CONNECT_TIMEOUT_MAX_S))
    return default_s


def _root_file(value: str) -> str:
    return (system_root_file() or value) if value == _SYSTEM else value


def system_root_file() -> str | None:
    """The file with the certificate authorities of this machine, if there is one."""
    paths = ssl.get_default_verify_paths()
    candidates = (paths.cafile, paths.openssl_cafile, "/etc/ssl/certs/ca-certificates.crt")
    return next((one for one in candidates if one and Path(one).is_file()), None)


def _parameters(url: str) -> Sequence[tuple[str, str]]:
    return parse_qsl(urlsplit(url).query, keep_blank_values=True)
