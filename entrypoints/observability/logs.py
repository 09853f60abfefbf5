"""Log lines of every process: one JSON object a line, or a line to read."""

import json
import logging
import sys
import time
from typing import Final

from entrypoints.observability.tracebacks import traceback_of
from entrypoints.settings import Settings

# What every record has anyway: whatever else is on it was given as `extra`.
PLAIN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {
    *("message", "asctime", "taskName"),
    "color_message",  # uvicorn's, for terminals
}
QUIET: Final = ("httpx", "httpcore", "asyncio", "dramatiq")  # libraries that chat at INFO


def configure(settings: Settings) -> None:
    """Sends every log record to stderr, from the level of the settings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else ConsoleLines())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name in QUIET:
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
            line["exception"] = _fault(record)
        # In ASCII: what some readers take for the end of a line, or a terminal obeys, is escaped.
        return json.dumps(line, default=str)


class ConsoleLines(logging.Formatter):
    """The same for eyes: a record is one line, and each line of a traceback is indented."""

    def format(self, record: logging.LogRecord) -> str:
        extra = "".join(f" {name}={_value(value)}" for name, value in _extra(record).items())
        head = f"{_utc(record, '%H:%M:%S')} {record.levelname:<7} {record.name}"
        trace = _fault(record).split("\n") if record.exc_info else []
        lines = [
            f"{head}: {_shown(_message(record))}{extra}",
            *(f"    {_shown(t)}" for t in trace),
        ]
        return "\n".join(lines)


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    # Its first line tells what happened, the others quote the task with its exception.
    return text.partition("\n")[0] if record.name == "asyncio" else text


def _fault(record: logging.LogRecord) -> str:
    """What `exc_info` holds, without the messages of exceptions."""
    error = record.exc_info[1] if record.exc_info else None
    return "" if error is None else traceback_of(error)


def _shown(text: str) -> str:
    """A text with escapes for whatever would end its line, or a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def _value(value: object) -> str:
    """A value that can't pass for several."""
    text = str(value)
    return _shown(json.dumps(text, ensure_ascii=False) if set(text) & set(' ="') else text)


def _utc(record: logging.LogRecord, form: str) -> str:
    return time.strftime(form, time.gmtime(record.created))


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in record.__dict__.items() if name not in PLAIN}
