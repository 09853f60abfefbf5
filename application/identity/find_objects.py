"""Finding objects by their id, without knowing the project."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from application.identity.browser_sessions import reach_of
from application.identity.ports import Directory, ObjectIndex
from domain.identity.api_key import ApiKey
from domain.identity.caller import Person
from domain.identity.found_object import FIND_PROJECTS_MAX, FOUND_MAX, FoundObject
from domain.ids import OrganizationId, ProjectId

type ObjectsOf = Callable[[OrganizationId], Awaitable[ObjectIndex]]
"""Where the objects of an organization are."""


@dataclass(frozen=True, slots=True)
class FindObjects:
    """Finds what has an id, in the projects of a person or of an API key."""

    directory: Directory
    objects_of: ObjectsOf

    async def __call__(self, holder: Person | ApiKey, text: str) -> Sequence[FoundObject]:
        """At most FOUND_MAX objects, by kind and project. Raises Unavailable.

        What isn't in one of the first FIND_PROJECTS_MAX projects of the caller doesn't exist.
        """
        projects = (await reach_of(self.directory, holder)).projects
        places: dict[int, tuple[ObjectIndex, list[ProjectId]]] = {}
        for one in projects[:FIND_PROJECTS_MAX]:
            index = await self.objects_of(one.organization_id)
            places.setdefault(id(index), (index, []))[1].append(one.id)
        found = [one for index, ours in places.values() for one in await index.find(ours, text)]
        return sorted(found)[:FOUND_MAX]
