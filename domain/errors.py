"""The seven kinds of failure, distinguished by what the caller can do. Independent of HTTP.

Failure
├── Invalid          can never succeed as sent: change the request
├── Unauthenticated  credentials are missing or not accepted
├── Forbidden        authenticated, but not allowed
├── NotFound         doesn't exist, or isn't visible to the caller
├── Conflict         valid request, but the state doesn't allow it: read again and decide
├── LimitExceeded    wait `retry_after_s`, then send the same request again
└── Unavailable      temporary fault of the service: wait `retry_after_s`, then retry

A message is written for the caller: it says what to change and contains no internals. The cause is
chained, for the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SUMMARIZED_MAX: Final = 3  # semantic errors in the message of a failure
RETRY_AFTER_S: Final = 1  # long enough for a batch to commit, short enough to go unnoticed


@dataclass(frozen=True, slots=True)
class FieldError:
    """One error in a request. `field` is a dotted path; "" stands for the whole request.

    `is_semantic`: the value is well formed, but names or means what doesn't exist or can't work,
    such as an unknown metric. The message of the whole failure then says it too, for clients that
    show only that. `kept_field` is the path for what is stored, if `field` has a name that the
    sender chose.
    """

    field: str
    message: str
    is_semantic: bool = False
    kept_field: str | None = None


class Failure(Exception):  # noqa: N818 - not always an error of the service
    """Base of every failure that a caller may see. Raise one of the seven kinds."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Invalid(Failure):
    """The request can never succeed as sent. `errors` names the fields and is never empty."""

    def __init__(self, message: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.errors = tuple(errors) or (FieldError("", message),)

    @classmethod
    def fields(cls, errors: Sequence[FieldError]) -> "Invalid":
        """Builds the failure from field errors. `errors` must not be empty."""
        return cls(_summary([one for one in errors if one.is_semantic]), errors)

    @classmethod
    def field(cls, name: str, message: str) -> "Invalid":
        return cls.fields([FieldError(name, message)])

    @classmethod
    def semantic(cls, name: str, message: str) -> "Invalid":
        """As `field`, for an error that `is_semantic`."""
        return cls.fields([FieldError(name, message, is_semantic=True)])


def _summary(errors: Sequence[FieldError]) -> str:
    """The message for semantic errors; without any, the one for malformed fields."""
    if not errors:
        return "Validation error"
    shown = "; ".join(f"{one.field}: {one.message}" for one in errors[:SUMMARIZED_MAX])
    more = len(errors) - SUMMARIZED_MAX
    return f"{shown}; and {more} more" if more > 0 else shown


class Unauthenticated(Failure):
    pass


class Forbidden(Failure):
    pass


class NotFound(Failure):
    pass


class Conflict(Failure):
    pass


class _Temporary(Failure):
    def __init__(self, message: str, *, retry_after_s: int = RETRY_AFTER_S) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class LimitExceeded(_Temporary):
    pass


class Unavailable(_Temporary):
    pass
