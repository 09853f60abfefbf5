"""How a command line is described: commands that explain themselves, and times with a unit."""

import argparse
import re
import textwrap
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from entrypoints.settings import Settings

DAY_S: Final = 86_400
UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": DAY_S}
DURATION_MAX_S: Final = 366 * DAY_S
HELP_WIDTH: Final = 80
YEARS: Final = range(2000, 2100)  # of an instant: what lies outside is a slip of the keyboard

# What `dev` and its tokens take for said where the environment says nothing.
DEV: Final = {
    "PANDAPROBE_APP_ENV": "development",
    "PANDAPROBE_LOG_FORMAT": "console",
    "PANDAPROBE_AUTH_DEV_ISSUER": "on",
    "PANDAPROBE_ALERT_ALLOW_PRIVATE_TARGETS": "on",
}

type Command = Callable[[argparse.Namespace, Settings], int]
type Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse gives the type no public name


def add_command(
    commands: Subcommands,
    name: str,
    command: Command,
    *,
    summary: str,
    description: str,
    example: str,
    joins_dev: bool = False,
    defaults: Mapping[str, str] | None = None,
) -> argparse.ArgumentParser:
    """A command. `defaults` stand where the environment says nothing."""
    parser = commands.add_parser(
        name,
        help=summary,
        description="\n\n".join(
            textwrap.fill(part, HELP_WIDTH) for part in description.split("\n\n")
        ),
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=command, joins_dev=joins_dev, defaults=defaults or {})
    return parser


def duration(text: str) -> int:
    """Seconds, of a number with its unit."""
    parts = re.fullmatch(r"([1-9]\d{0,8})([smhd])", text)
    seconds = int(parts[1]) * UNIT_S[parts[2]] if parts else DURATION_MAX_S + 1
    if seconds > DURATION_MAX_S:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 30m, 12h or 90d, up to 366d")
    return seconds


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """A reader of decimal digits, for a number from `least` to `most`."""

    def read(text: str) -> int:
        number = int(text) if re.fullmatch(r"\d{1,19}", text, re.ASCII) else -1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no whole number from {least:,} to {most:,}"
            )
        return number

    return read


def instant(text: str) -> datetime:
    """An instant in ISO 8601; without an offset it is in UTC."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        read = None
    if read is None or read.year not in YEARS:
        raise argparse.ArgumentTypeError(f"{text!r} is no instant such as 2026-03-01T09:00:00Z")
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


def add_organization(parser: argparse.ArgumentParser, whose: str) -> None:
    parser.add_argument(
        "--organization", metavar="ID", help=f"{whose}; with `dev`: by default the first one"
    )
