"""Faults as logs may tell them: their types and places, and none of what was being worked on.

Messages of exceptions quote values: a payload that can't be read, a key that isn't there, a row.
"""

import traceback
from collections.abc import Iterator
from typing import Final

from domain.errors import Unavailable

CHAIN_MAX: Final = 20  # exceptions of one fault: its causes, and those of groups
CAUSED: Final = "which led to:"
MEANWHILE: Final = "while this was dealt with:"
ONE_OF: Final = "one of them:"


def name_of(error: BaseException) -> str:
    """The type; of the system's and the database's errors the code, and our own words."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else _qualified(kind)
    match error:
        case Unavailable():
            return f"{name}: {error}"
        case OSError() if error.errno is not None:
            return f"{name}: errno {error.errno}"
    code = getattr(error, "sqlstate", None)
    return f"{name}: SQLSTATE {code}" if isinstance(code, str) and code.isalnum() else name


def traceback_of(error: BaseException) -> str:
    """As Python prints it, without messages; what came first is first."""
    return "".join(_told(error, set())).rstrip("\n")


def _told(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before, between = error.__cause__, CAUSED
    if before is None and not error.__suppress_context__:
        before, between = error.__context__, MEANWHILE
    if before is not None and id(before) not in seen and len(seen) < CHAIN_MAX:
        yield from _told(before, seen)
        yield f"\n{between}\n\n"
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{name_of(error)}\n"
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            if id(one) not in seen and len(seen) < CHAIN_MAX:
                yield f"\n{ONE_OF}\n\n"
                yield from _told(one, seen)


def _qualified(kind: type[BaseException]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
