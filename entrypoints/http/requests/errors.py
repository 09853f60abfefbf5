"""Errors that are found while a request is read."""

from http import HTTPStatus
from typing import Final

from domain.errors import FieldError, Invalid

FIELD_ERRORS_MAX: Final = 100  # of one response
KEY_SHOWN_CHARS: Final = 200  # of a key that the caller chose, in the path of an error


class HttpProblem(Exception):  # noqa: N818 - not a fault of ours, as the domain's failures
    """An error that only HTTP knows: syntax, size, media type, range."""

    def __init__(
        self, status: HTTPStatus, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


class ClientDisconnected(Exception):  # noqa: N818 - nothing of ours went wrong
    """The client closed the connection before its request was complete."""


class FieldErrors:
    """Collects the field errors of one request, so that one response reports all of them."""

    __slots__ = ("found",)

    def __init__(self) -> None:
        self.found: list[FieldError] = []

    def add(self, field: str, message: str) -> None:
        """Raises Invalid once there are FIELD_ERRORS_MAX of them."""
        self.found.append(FieldError(field, message))
        if len(self.found) >= FIELD_ERRORS_MAX:
            self.check()

    def check(self) -> None:
        """Raises Invalid if there are any."""
        if self.found:
            raise Invalid.fields(self.found)
