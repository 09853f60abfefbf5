"""Why a connection to PostgreSQL fails, in words for an operator."""

import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from adapters.postgres.database.connections.host_urls import single_host_urls
from domain.errors import Unavailable

CONNECTION_ERRORS: Final = (
    *(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError),
    *(OSError, TimeoutError),
)
# The first that fits: special errors before the general ones that include them. What the server
# said comes after ": ", and is for operators.
CAUSES: Final[Mapping[type[BaseException], str]] = {
    asyncpg.InvalidPasswordError: "it refuses {user} or the password",
    asyncpg.InvalidAuthorizationSpecificationError: "it doesn't admit {user}: {said}",
    asyncpg.InvalidCatalogNameError: "it has no database {database}: create it, or name another",
    asyncpg.InsufficientPrivilegeError: "{user} may not connect: {said}",
    asyncpg.TooManyConnectionsError: (
        "it has too many connections: raise max_connections, or lower the pool size"
    ),
    asyncpg.CannotConnectNowError: "it is starting, stopping or recovering: try again",
    asyncpg.UndefinedObjectError: "it refuses a parameter of the URL: {said}",
    asyncpg.CantChangeRuntimeParamError: "it refuses a parameter of the URL: {said}",
    asyncpg.ClientConfigurationError: (
        "a parameter of the URL is invalid: {said} (see docs/operation/tls.md)"
    ),
    asyncpg.PostgresError: "it answers with an error: {said}",
    ssl.SSLCertVerificationError: (
        "its TLS certificate isn't trusted: {said}. See docs/operation/tls.md"
    ),
    ssl.SSLError: "the TLS handshake failed: {said}. See docs/operation/tls.md",
    ConnectionRefusedError: (
        "nothing accepts connections there: is it running, and is the port correct?"
    ),
    socket.gaierror: "the name of the host can't be resolved",
    TimeoutError: "it doesn't answer in time: is a firewall in between?",
    ConnectionError: (
        "it closed the connection: {said}. If sslmode asks for TLS, see docs/operation/tls.md"
    ),
}


class ConnectionFailed(Unavailable):
    """No connection can be made. The message names the host and the cause, and no secret."""


def connection_failed(url: str, error: BaseException) -> ConnectionFailed:
    return ConnectionFailed(f"PostgreSQL at {_hosts(url)}: {_describe(url, error)}")


def public_cause(error: BaseException) -> str:
    """The cause for any reader: it names no host, user or database, and quotes nothing."""
    text, _ = _cause(error)
    return text.partition(": {said}")[0].format(user="the user", database="of this name")


def logged_cause(error: BaseException) -> str:
    """The cause with the words of the server, for the log."""
    text, cause = _cause(error)
    return text.format(user="the user", database="of this name", said=_server_message(cause))


def _hosts(url: str) -> str:
    parts = [urlsplit(one) for one in single_host_urls(url)]
    in_query = parse_qs(parts[0].query).get("host", [""])[-1]
    if in_query and not parts[0].hostname:
        return in_query
    return ", ".join(f"{one.hostname or 'localhost'}:{one.port or 5432}" for one in parts)


def _describe(url: str, error: BaseException) -> str:
    parts = urlsplit(url)
    user, database = unquote(parts.username or "") or "the user", unquote(parts.path.strip("/"))
    text, cause = _cause(error)
    return text.format(user=user, database=database, said=_server_message(cause))


def _cause(error: BaseException) -> tuple[str, BaseException]:
    """The text of CAUSES for an error, and the error that it is about."""
    for cause in _causes(error):
        for kind, text in CAUSES.items():
            if isinstance(cause, kind):
                return text, cause
    return "it can't be reached", error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The members of groups first: with several addresses of a host each has its own error."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _causes(one)
    yield error


def _server_message(error: BaseException) -> str:
    """The server's words, of which it writes no secret into those of a refused connection."""
    return str(error.args[0] if error.args else error).partition("\n")[0]
