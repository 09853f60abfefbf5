"""`organization move`: moves the data of an organization to another group of tables."""

import asyncio
import sys
from uuid import UUID

from domain.errors import Conflict, NotFound
from domain.ids import OrganizationId
from entrypoints.composition import database
from entrypoints.progress import Progress
from entrypoints.settings import Settings
from entrypoints.startup import CommandError, print_line


def move(settings: Settings, organization: str, group: int) -> int:
    """Prints what was done. Raises CommandError, Unavailable."""
    id_ = _parse(organization)
    with Progress(None, sys.stderr, label="moving", is_brief=True) as progress:

        def show(label: str, done: int, count: int) -> None:
            progress.show(done, count, label)

        try:
            is_new = asyncio.run(database.move_organization(settings, id_, group, show))
        except (Conflict, NotFound) as failure:
            raise CommandError(failure.message) from failure
    print_line(f"{'moved to' if is_new else 'is in'} group {group}: {id_}")
    return 0


def cancel(settings: Settings, organization: str) -> int:
    """As `move`."""
    id_ = _parse(organization)
    try:
        is_given_up = asyncio.run(database.cancel_move(settings, id_))
    except NotFound as failure:
        raise CommandError(failure.message) from failure
    print_line(f"{'move was cancelled' if is_given_up else 'is not being moved'}: {id_}")
    return 0


def _parse(organization: str) -> OrganizationId:
    try:
        return OrganizationId(UUID(organization))
    except ValueError as error:
        raise CommandError("the organization is given by its id, a UUID") from error
