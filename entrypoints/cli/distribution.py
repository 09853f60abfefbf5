"""`distribute`: gives each worker of Citus a group of tables, and says which one is placed."""

import asyncio
import sys
from typing import Final

from domain.errors import Conflict
from entrypoints.composition import database
from entrypoints.progress import Progress
from entrypoints.settings import Settings
from entrypoints.startup import CommandError, print_line

DONE: Final = "Each worker has a group of tables of projects."


def distribute(settings: Settings, groups: int) -> int:
    """Prints what was done. There shall be `groups` at least. Raises CommandError, Unavailable."""
    with Progress(None, sys.stderr, label="placing", in_bytes=True, is_brief=True) as progress:

        def show(label: str, moved: int, total: int) -> None:
            progress.show(moved, total, label)

        try:
            steps = asyncio.run(database.distribute(settings, groups, show))
        except Conflict as conflict:
            raise CommandError(conflict.message) from conflict
    print_line("\n".join(f"done: {step.label}" for step in steps) or DONE)
    return 0


def plan(settings: Settings, groups: int, *, is_dry_run: bool) -> int:
    """Prints the steps that are left, or with `is_dry_run` their statements.

    Returns 1 if there are any, but 0 for a dry run. Raises CommandError, Unavailable.
    """
    try:
        steps = asyncio.run(database.plan_distribution(settings, groups))
    except Conflict as conflict:
        raise CommandError(conflict.message) from conflict
    if is_dry_run:
        print_line("\n".join(f"{sql};" for step in steps for sql in step.statements) or DONE)
        return 0
    print_line("\n".join(f"left: {step.label}" for step in steps) or DONE)
    return 1 if steps else 0
