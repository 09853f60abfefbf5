"""Logged exceptions: place and type, without any data of requests."""

import asyncio
import contextlib
import io
import json
import logging

import asyncpg
import pytest

from domain.errors import Invalid, Unavailable
from entrypoints.observability.logs import ConsoleLines, JsonLines
from entrypoints.tracebacks import (
    CAUSED,
    DURING_HANDLING,
    EXCEPTIONS_MAX,
    GROUP_MEMBER,
    name_of,
    traceback_of,
)

SECRET = "pp_5f3c 4242-payload"  # as a caller's, in the message of whatever went wrong


def thrown(error: Exception) -> None:
    raise error


def caught(error: Exception) -> Exception:
    with contextlib.suppress(type(error)):
        thrown(error)
    return error


class Odd(Exception):
    def __str__(self) -> str:
        raise RuntimeError(SECRET)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (KeyError(SECRET), "KeyError"),
        (ValueError(SECRET, SECRET), "ValueError"),
        (json.JSONDecodeError(SECRET, SECRET, 0), "json.decoder.JSONDecodeError"),
        (UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, SECRET), "UnicodeDecodeError"),
        (FileNotFoundError(2, SECRET, SECRET), "FileNotFoundError: errno 2"),
        (ConnectionError(SECRET), "ConnectionError"),
        (Invalid(SECRET), "domain.errors.Invalid"),
        (Unavailable("The database is away"), "domain.errors.Unavailable: The database is away"),
        (Odd(SECRET), f"{__name__}.Odd"),
        (
            asyncpg.PostgresError.new({"C": "23505", "M": SECRET, "D": SECRET}),
            "asyncpg.exceptions.UniqueViolationError: SQLSTATE 23505",
        ),
    ],
    ids=lambda one: one if isinstance(one, str) else None,
)
def test_traceback_has_types_and_locations(error: Exception, name: str) -> None:
    error.add_note(SECRET)
    text = traceback_of(caught(error))
    assert name_of(error) == name
    assert text.endswith(f"\n{name}")
    assert f'File "{__file__}"' in text
    assert "in thrown" in text
    assert SECRET not in text


def test_causes_come_first_and_members_of_groups_last() -> None:
    first, second = caught(KeyError(SECRET)), caught(ValueError(SECRET))
    second.__cause__ = first
    group = caught(ExceptionGroup(SECRET, [second, TypeError(SECRET)]))
    group.__context__ = caught(OSError(5, SECRET))
    text = traceback_of(group)
    reported = [line for line in text.split("\n") if line and not line.startswith((" ", "Trace"))]
    assert reported == [
        "OSError: errno 5",
        DURING_HANDLING,
        "ExceptionGroup",
        GROUP_MEMBER,
        "KeyError",
        CAUSED,
        "ValueError",
        GROUP_MEMBER,
        "TypeError",
    ]
    assert SECRET not in text


def test_suppressed_context_is_left_out() -> None:
    error = caught(KeyError(SECRET))
    error.__context__, error.__suppress_context__ = ValueError(SECRET), True
    assert "ValueError" not in traceback_of(error)


def test_circular_and_long_chains_are_bounded() -> None:
    one, other = ValueError(), KeyError()
    one.__cause__, other.__cause__ = other, one
    assert traceback_of(one).count("KeyError") == 1
    last = Exception()
    for _ in range(5_000):
        new = Exception()
        new.__context__, last = last, new
    assert traceback_of(last).count("Traceback") == EXCEPTIONS_MAX


@pytest.mark.parametrize("form", [JsonLines, ConsoleLines])
async def test_asyncio_messages_are_left_out(form: type[logging.Formatter]) -> None:
    """For a task whose exception was never retrieved, the exception itself is logged."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(form())
    log = logging.getLogger("asyncio")
    log.addHandler(handler)

    async def fails() -> None:
        raise ValueError(SECRET)

    task = asyncio.create_task(fails())
    await asyncio.wait([task])
    del task  # which asyncio tells
    log.removeHandler(handler)
    assert "Task exception was never retrieved" in stream.getvalue()
    assert "in fails" in stream.getvalue()
    assert SECRET not in stream.getvalue()
