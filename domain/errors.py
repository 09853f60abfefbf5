"""Seven kinds of failure, told by what the caller can do. None of them knows of HTTP.

Failure
├── Invalid          can never succeed as sent: change the request
├── Unauthenticated  say who you are
├── Forbidden        known, and not allowed
├── NotFound         no such thing, or none that is yours
├── Conflict         right request, wrong moment: read again and decide
├── LimitExceeded    wait `retry_after_s`, then send the same again
└── Unavailable      our fault and passing: wait `retry_after_s`, then send the same again

A message is for the caller: it says what to change and holds no internals. The cause is chained,
for the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

RETRY_AFTER_S: Final = 1  # long enough for a batch to commit, short enough not to be felt


@dataclass(frozen=True, slots=True)
class FieldError:
    """One mistake of a request. `field` is a dotted path; "" is the request as a whole."""

    field: str
    message: str


class Failure(Exception):  # noqa: N818 - it is not always an error of ours
    """What a caller may be told. Raise one of the seven kinds."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Invalid(Failure):
    """The request can never succeed as sent. `errors` name the fields, at least one."""

    def __init__(self, message: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.errors = tuple(errors) or (FieldError("", message),)

    @classmethod
    def fields(cls, errors: Sequence[FieldError]) -> "Invalid":
        """Mistakes found by looking at the fields; `errors` holds at least one."""
        return cls("Validation error", errors)

    @classmethod
    def field(cls, name: str, message: str) -> "Invalid":
        return cls.fields([FieldError(name, message)])


class Unauthenticated(Failure):
    pass


class Forbidden(Failure):
    pass


class NotFound(Failure):
    pass


class Conflict(Failure):
    pass


class LimitExceeded(Failure):
    def __init__(self, message: str, *, retry_after_s: int = RETRY_AFTER_S) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(Failure):
    def __init__(self, message: str, *, retry_after_s: int = RETRY_AFTER_S) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
