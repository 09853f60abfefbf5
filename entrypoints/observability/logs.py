"""The log format of every process: one JSON object per line, or readable lines."""

import json
import logging
import sys
import time
from typing import Final

from entrypoints.settings import Settings
from entrypoints.tracebacks import traceback_of

# Attributes of every record. All other attributes were given as `extra`.
STANDARD_ATTRIBUTES: Final = frozenset(logging.makeLogRecord({}).__dict__) | {
    *("message", "asctime", "taskName"),
    "color_message",  # uvicorn's, for terminals
}
QUIET_LOGGERS: Final = ("httpx", "httpcore", "asyncio", "dramatiq")  # too much at INFO


def configure(settings: Settings) -> None:
    """Writes log records at or above the configured level to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else ConsoleLines())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


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
