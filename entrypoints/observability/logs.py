"""The log format of every process: one JSON object per line, or lines for people.

On a terminal these are short and have colours.
"""

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final, TextIO

from entrypoints.settings import Settings
from entrypoints.tracebacks import traceback_of

# Attributes of every record. All other attributes were given as `extra`.
STANDARD_ATTRIBUTES: Final = frozenset(logging.makeLogRecord({}).__dict__) | {
    *("message", "asctime", "taskName"),
    "color_message",  # uvicorn's, for terminals
}
# Libraries that log too much at INFO. HTTP clients log whole URLs: that of a webhook is a secret.
QUIET_LOGGERS: Final = ("httpx2", "httpcore2", "httpx", "httpcore", "asyncio", "dramatiq")
# An error that uvicorn logs, without an id. `streams.py` logs why it aborts a response.
ABORTED: Final = "ASGI callable returned without completing response."


# Names of rich's styles for levels and, by their first digit, for statuses of responses.
LEVEL_STYLES: Final = {
    "DEBUG": "dim",
    "INFO": "green",
    "WARNING": "yellow",
    "ERROR": "bold red",
    "CRITICAL": "bold reverse red",
}
STATUS_STYLES: Final = {2: "green", 3: "cyan", 4: "yellow", 5: "bold red"}
REQUEST_FIELDS: Final = ("method", "route", "status", "duration_ms")
CALLER_FIELDS: Final = ("organization_id", "project_id", "key_id", "user_id")
UUID: Final = re.compile(r"[0-9a-f]{8}(?=(-[0-9a-f]{4}){3}-[0-9a-f]{12}$)")

type Paint = Callable[[str, str], str]
"""Gives a text a style of rich, by the name of the style."""


def configure(settings: Settings) -> None:
    """Writes log records at or above the configured level to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(settings, sys.stderr))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    quiet_libraries()


def quiet_libraries() -> None:
    """Leaves out what libraries log in addition to our own lines."""
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    logging.getLogger("uvicorn.error").addFilter(_is_no_abort)


def _is_no_abort(record: logging.LogRecord) -> bool:
    return record.msg != ABORTED


def _formatter(settings: Settings, stream: TextIO) -> logging.Formatter:
    if settings.log_format != "json" and stream.isatty():
        return TerminalLines(_paint_on(stream))
    return ConsoleLines() if settings.log_format == "console" else JsonLines()


def _paint_on(terminal: TextIO) -> Paint:
    """The colours that the terminal has; none with NO_COLOR."""
    # Only here, because a service without a terminal doesn't need it.
    from rich.color import ColorSystem  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.style import Style  # noqa: PLC0415

    console = Console(file=terminal)
    if console.color_system is None or console.no_color:
        return lambda text, _: text
    return lambda text, style: Style.parse(style).render(text, color_system=ColorSystem.STANDARD)


class JsonLines(logging.Formatter):
    """`time` in UTC, `level`, `logger`, `message`, then what was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": f"{_utc(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.msecs):03d}+00:00",
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = _traceback(record)
        # ASCII, which escapes line separators and terminal control characters.
        return json.dumps(line, default=str)


class ConsoleLines(logging.Formatter):
    """One readable line per record. The lines of a traceback are indented."""

    def format(self, record: logging.LogRecord) -> str:
        extra = "".join(f" {name}={_value(value)}" for name, value in _extra(record).items())
        head = f"{_utc(record, '%H:%M:%S')} {record.levelname:<7} {record.name}"
        trace = _traceback(record).split("\n") if record.exc_info else []
        lines = [
            f"{head}: {_escape(_message(record))}{extra}",
            *(f"    {_escape(line)}" for line in trace),
        ]
        return "\n".join(lines)


class TerminalLines(logging.Formatter):
    """One short line per record: ids have 8 characters, and a request's caller is left out."""

    def __init__(self, paint: Paint) -> None:
        super().__init__()
        self._paint = paint

    def format(self, record: logging.LogRecord) -> str:
        extra = _extra(record)
        logger = record.name.removesuffix(".error").rpartition(".")[2]  # uvicorn.error
        if all(name in extra for name in REQUEST_FIELDS):
            message = self._request(extra)
            extra = {
                name: value
                for name, value in extra.items()
                if name not in {*REQUEST_FIELDS, *CALLER_FIELDS}
            }
        else:
            message = f"{self._paint(logger, 'bold')} {_escape(_message(record))}"
        rest = "".join(f" {name}={_value(_shorten(value))}" for name, value in extra.items())
        trace = _traceback(record).split("\n") if record.exc_info else []
        level = self._paint(f"{record.levelname:<7}", LEVEL_STYLES.get(record.levelname, ""))
        head = f"{self._paint(_utc(record, '%H:%M:%S'), 'dim')} {level} {message}"
        lines = [
            head + (self._paint(rest, "dim") if rest else ""),
            *(self._paint(f"    {_escape(line)}", "red") for line in trace),
        ]
        return "\n".join(lines)

    def _request(self, extra: Mapping[str, object]) -> str:
        method, route, status, duration_ms = (extra[name] for name in REQUEST_FIELDS)
        style = STATUS_STYLES.get(status // 100, "") if isinstance(status, int) else ""
        took = f"{duration_ms:.0f} ms" if isinstance(duration_ms, float) else f"{duration_ms} ms"
        return f"{self._paint(_value(status), style)} {_value(method)} {_value(route)} {took}"


def _shorten(value: object) -> object:
    """The first characters of an id."""
    found = UUID.match(str(value))
    return value if found is None else found[0]


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    # The first line says what happened. The others quote the task and its exception.
    return text.partition("\n")[0] if record.name == "asyncio" else text


def _traceback(record: logging.LogRecord) -> str:
    """The traceback in `exc_info`, without the messages of exceptions."""
    error = record.exc_info[1] if record.exc_info else None
    return "" if error is None else traceback_of(error)


def _escape(text: str) -> str:
    """Escapes line separators and terminal control characters."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _value(value: object) -> str:
    """A value, quoted if it could be read as several."""
    text = str(value)
    return _escape(json.dumps(text, ensure_ascii=False) if set(text) & set(' ="') else text)


def _utc(record: logging.LogRecord, form: str) -> str:
    return time.strftime(form, time.gmtime(record.created))


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {
        name: value for name, value in record.__dict__.items() if name not in STANDARD_ATTRIBUTES
    }
