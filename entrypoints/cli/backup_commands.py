"""The commands `backup` and `restore`."""

import argparse
from pathlib import Path

from entrypoints.cli.arguments import Subcommands, add_command
from entrypoints.settings import Settings


def _backup(given: argparse.Namespace, settings: Settings) -> int:
    from entrypoints.cli import backups  # noqa: PLC0415

    return backups.backup(settings, given.folder)


def _restore(given: argparse.Namespace, settings: Settings) -> int:
    from entrypoints.cli import backups  # noqa: PLC0415

    return backups.restore(settings, given.folder, only_verify=given.verify)


def add_backups(commands: Subcommands) -> None:
    """`backup` and `restore`."""
    backup = add_command(
        commands,
        "backup",
        _backup,
        summary="write what `dev` keeps to a folder",
        description="Writes the database of the data folder to a new folder: all of it, as it is "
        "at one moment. A `dev` that runs goes on meanwhile; else PostgreSQL is started for it. "
        "The backup holds everything that was traced and the digests of keys: keep it safe.",
        example="pandaprobe-server backup backups/monday",
    )
    restore = add_command(
        commands,
        "restore",
        _restore,
        summary="fill a new data folder from a backup, or only verify one",
        description="Fills the data folder, which must not hold a database, compares every table "
        "with what the backup says of it, and brings it to the newest schema. `dev` goes on with "
        "it; API keys work as they did.\n\nWith --verify it does all that in a temporary folder, "
        "and says whether the backup is whole.",
        example="pandaprobe-server restore backups/monday --verify",
    )
    for command in (backup, restore):
        command.add_argument("folder", type=Path, metavar="FOLDER", help="of the backup")
    restore.add_argument(
        "--verify", action="store_true", help="touch nothing; exit with 1 if it isn't whole"
    )
