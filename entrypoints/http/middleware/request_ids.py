"""The id of a request: the client's, or a new one. Logs and the response have it."""

import re
import uuid
from typing import Any, Final, cast

from litestar import Request
from litestar.types import Scope

HttpRequest = Request[Any, Any, Any]  # a plain alias: Litestar doesn't see through `type`

HEADER: Final = b"x-request-id"
_SCOPE_KEY: Final = "pandaprobe.request_id"
_FORM: Final = re.compile(rb"[\x21-\x7e]{1,200}")


def request_id_of(scope: Any) -> str:
    """The id with which this request is answered and logged."""
    return str(scope.get(_SCOPE_KEY, ""))


def client_request_id(scope: Any) -> str | None:
    """The id that the client sent; None if it sent none, or one of another form."""
    value = _header_value(scope)
    return value.decode() if _FORM.fullmatch(value) else None


def _header_value(scope: Any) -> bytes:
    return next((value for name, value in scope["headers"] if name == HEADER), b"")


def assign_request_id(scope: Scope) -> bytes:
    """Takes the client's id if it has the right form, else makes one."""
    given = _header_value(scope)
    request_id = given if _FORM.fullmatch(given) else str(uuid.uuid4()).encode()
    cast("dict[str, Any]", scope)[_SCOPE_KEY] = request_id.decode()
    return request_id
