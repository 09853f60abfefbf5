"""Tracebacks for logs: the types and locations of exceptions, without their messages.

Messages of exceptions quote values, e.g. an invalid payload, a missing key, or a row.
"""

import traceback
from collections.abc import Iterator
from typing import Final

from domain.errors import Failure, Unavailable

EXCEPTIONS_MAX: Final = 20  # per traceback: causes and members of groups
CAUSED: Final = "which caused:"
DURING_HANDLING: Final = "while handling it:"
GROUP_MEMBER: Final = "member of the group:"


def name_of(error: BaseException) -> str:
    """The type, with the code of an OS or database error, or the message of our own error."""
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    name = f"{module}{kind.__qualname__}"
    match error:
        case Unavailable():
            return f"{name}: {error}"
        case OSError() if error.errno is not None:
            return f"{name}: errno {error.errno}"
    code = getattr(error, "sqlstate", None)
    return f"{name}: SQLSTATE {code}" if isinstance(code, str) and code.isalnum() else name


def with_cause(failure: Failure) -> str:
    """The message of a failure and the name of its cause, in a line for an operator."""
    cause = failure.__cause__
    return failure.message if cause is None else f"{failure.message} ({name_of(cause)})"


def traceback_of(error: BaseException) -> str:
    """The traceback as Python prints it, without messages; the first cause comes first."""
    return "".join(_lines(error, set())).rstrip("\n")


def _lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before, between = error.__cause__, CAUSED
    if before is None and not error.__suppress_context__:
        before, between = error.__context__, DURING_HANDLING
    if before is not None and id(before) not in seen and len(seen) < EXCEPTIONS_MAX:
        yield from _lines(before, seen)
        yield f"\n{between}\n\n"
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{name_of(error)}\n"
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            if id(member) not in seen and len(seen) < EXCEPTIONS_MAX:
                yield f"\n{GROUP_MEMBER}\n\n"
                yield from _lines(member, seen)
