"""Why Redis can't be used, in words for an operator and without any secret."""

import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Final

from redis import exceptions

# The first that fits: special errors before the general ones that include them.
CAUSES: Final[Mapping[type[BaseException], str]] = {
    exceptions.AuthenticationError: "it refuses the user or the password",
    exceptions.AuthorizationError: "its user may not do this",
    exceptions.NoPermissionError: "its user may not do this",
    exceptions.BusyLoadingError: "it is still loading its data",
    exceptions.ReadOnlyError: "it is a replica and refuses writes",
    exceptions.OutOfMemoryError: "it is out of memory and refuses writes",
    exceptions.ResponseError: "it answers: {said}",
    ssl.SSLCertVerificationError: "its TLS certificate isn't trusted: {said}",
    ssl.SSLError: "the TLS handshake failed: does its port speak TLS?",
    FileNotFoundError: "a file of its URL doesn't exist",
    socket.gaierror: "the name of the host can't be resolved",
    ConnectionRefusedError: (
        "nothing accepts connections there: is it running, and is the port correct?"
    ),
    exceptions.TimeoutError: (
        "it doesn't answer in time: is a firewall in between, or does only one side speak TLS?"
    ),
    TimeoutError: "it doesn't answer in time",
    exceptions.ConnectionError: "it closed the connection: is this the port of Redis?",
}


def redis_failure(error: BaseException) -> str:
    """The cause of a failed question to Redis, as a part of a sentence."""
    causes = list(_causes(error))
    for kind, text in CAUSES.items():
        for cause in causes:
            if isinstance(cause, kind):
                return text.format(said=_server_message(cause))
    return type(causes[-1]).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those that led to it. Dramatiq wraps the error of the client."""
    while error is not None:
        yield error
        wrapped = error.args[0] if error.args else None
        error = (
            wrapped if isinstance(wrapped, BaseException) else error.__cause__ or error.__context__
        )


def _server_message(error: BaseException) -> str:
    """The server's words, without the arguments of a command that it doesn't know."""
    return str(error).partition(", with args")[0].partition("\n")[0]
