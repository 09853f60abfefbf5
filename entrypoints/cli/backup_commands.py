"""The commands `backup` and `restore`."""

import argparse
from pathlib import Path

from entrypoints.cli.arguments import Subcommands, add_command
from entrypoints.settings import Settings


def _backup(arguments: argparse.Namespace, settings: Settings) -> int:
    from entrypoints.cli import backups  # noqa: PLC0415

    return backups.backup(settings, arguments.folder)


def _restore(arguments: argparse.Namespace, settings: Settings) -> int:
    from entrypoints.cli import backups  # noqa: PLC0415

    return backups.restore(settings, arguments.folder, only_verify=arguments.verify)


def add_backups(commands: Subcommands) -> None:
    """Adds `backup` and `restore`."""
    backup = add_command(
        commands,
        "backup",
        _backup,
        summary="write the database of `dev` to a folder",
        description="Writes a consistent snapshot of the database in the data folder to a new "
        "folder. A running `dev` continues to run; without one, PostgreSQL is started for the "
        "backup. The backup contains all traces and the digests of keys: keep it safe.",
        example="pandaprobe-server backup backups/monday",
    )
    restore = add_command(
        commands,
        "restore",
        _restore,
        summary="fill a new data folder from a backup, or only verify one",
        description="Restores into the data folder, which must not contain a database, compares "
        "every table with the backup's manifest, and migrates to the newest schema. `dev` then "
        "uses it; API keys stay valid.\n\nWith --verify it does all that in a temporary folder, "
        "and reports whether the backup is complete.",
        example="pandaprobe-server restore backups/monday --verify",
    )
    for command in (backup, restore):
        command.add_argument("folder", type=Path, metavar="FOLDER", help="folder of the backup")
    restore.add_argument(
        "--verify",
        action="store_true",
        help="change nothing; exit with 1 if it is incomplete",
    )
