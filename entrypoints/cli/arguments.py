"""Helpers for argparse: commands with descriptions, and parsers of option values."""

import argparse
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from entrypoints.settings import Settings

DAY_S: Final = 86_400
UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": DAY_S}
DURATION_MAX_S: Final = 366 * DAY_S
HELP_WIDTH: Final = 80
YEARS: Final = range(2000, 2100)  # of an instant: other years are typing errors

# Defaults of `dev` and `token` for variables that the environment doesn't set.
DEV_DEFAULTS: Final = {
    "PANDAPROBE_APP_ENV": "development",
    "PANDAPROBE_LOG_FORMAT": "console",
    "PANDAPROBE_AUTH_DEV_ISSUER": "on",
    "PANDAPROBE_ALERT_ALLOW_PRIVATE_TARGETS": "on",
    # The published SDK drops what is refused for longer than its last flush waits, 10 s.
    "PANDAPROBE_RATE_LIMIT_ENABLED": "off",
}


class Parser(argparse.ArgumentParser):
    """A parser whose exit status for wrong options can be changed."""

    error_status = 2

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(self.error_status, f"{self.prog}: error: {message}\n")


type Command = Callable[[argparse.Namespace, Settings], int]
type Subcommands = argparse._SubParsersAction[Parser]  # noqa: SLF001 - argparse gives the type no public name
type Option = tuple[tuple[str, ...], Mapping[str, Any]]


def option(*flags: str, **settings: Any) -> Option:
    """An option or argument of a command, in the words of argparse's `add_argument`."""
    return flags, settings


def command(
    commands: Subcommands,
    name: str,
    *options: Option,
    summary: str,
    description: str,
    example: str,
    uses_dev_servers: bool = False,
    defaults: Mapping[str, str] | None = None,
    error_status: int | None = None,
) -> Callable[[Command], Command]:
    """Adds the decorated function as the command `name`.

    `defaults` apply to variables that the environment doesn't set. With `uses_dev_servers`,
    missing addresses of servers are those of a running `dev`. `error_status` is the exit status of
    every error of a command for which 1 and 2 are answers.
    """
    paragraphs = description.split("\n\n")
    parser = commands.add_parser(
        name,
        help=summary,
        description="\n\n".join(textwrap.fill(part, HELP_WIDTH) for part in paragraphs),
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for flags, settings in options:
        parser.add_argument(*flags, **settings)
    if error_status is not None:
        parser.error_status = error_status

    def add(run: Command) -> Command:
        parser.set_defaults(
            command=run,
            parser=parser,
            uses_dev_servers=uses_dev_servers,
            defaults=defaults or {},
            error_status=error_status,
        )
        return run

    return add


def duration(text: str) -> int:
    """Parses a number with a unit; returns seconds."""
    parts = re.fullmatch(r"([1-9]\d{0,8})([smhd])", text)
    seconds = int(parts[1]) * UNIT_S[parts[2]] if parts else DURATION_MAX_S + 1
    if seconds > DURATION_MAX_S:
        raise argparse.ArgumentTypeError(
            f"invalid duration {text!r}, e.g. 30m, 12h or 90d, up to 366d"
        )
    return seconds


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """A parser of decimal digits, for a number from `least` to `most`."""

    def parse(text: str) -> int:
        number = int(text) if re.fullmatch(r"\d{1,19}", text, re.ASCII) else -1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a whole number from {least:,} to {most:,}"
            )
        return number

    return parse


def key_id(text: str) -> str:
    """Checks the id of a key that encrypts secrets."""
    if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not an id of a key, e.g. 2027-01")
    return text


def chain_head(text: str) -> tuple[int, bytes]:
    """Parses the number and the hash of an entry of the audit log."""
    parts = re.fullmatch(r"([1-9]\d{0,17}):([0-9a-f]{64})", text, re.ASCII)
    if parts is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not what `audit verify` prints, NUMBER:HASH")
    return int(parts[1]), bytes.fromhex(parts[2])


def instant(text: str) -> datetime:
    """Parses an instant in ISO 8601; without an offset it is in UTC."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.year not in YEARS:
        raise argparse.ArgumentTypeError(f"invalid instant {text!r}, e.g. 2026-03-01T09:00:00Z")
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
