"""Finding objects by their id, without knowing the project."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from application.identity.browser_sessions import session_reach
from application.identity.ports import Directory, ObjectIndex
from domain.errors import NotFound, Unavailable
from domain.identity.api_key import ApiKey
from domain.identity.caller import Person
from domain.identity.found_object import FIND_PROJECTS_MAX, FOUND_MAX, FoundObject
from domain.ids import OrganizationId, ProjectId

type ObjectsOf = Callable[[OrganizationId], Awaitable[ObjectIndex]]
"""The places of the objects of an organization."""


@dataclass(frozen=True, slots=True)
class FindObjects:
    """Finds what has an id, in the projects of a person or of an API key."""

    directory: Directory
    objects_of: ObjectsOf

    async def __call__(self, holder: Person | ApiKey, text: str) -> Sequence[FoundObject]:
        """At most FOUND_MAX objects, by kind and project.

        Only the first FIND_PROJECTS_MAX projects of the caller are searched. An
        organization that can't be read now, as in the last moments of its move, hides no object of
        another one. Raises Unavailable if nothing is found elsewhere: it may be there.
        """
        projects = (await session_reach(self.directory, holder)).projects[:FIND_PROJECTS_MAX]
        places: dict[int, tuple[ObjectIndex, list[ProjectId]]] = {}
        found, failures = list[FoundObject](), list[Unavailable]()
        for organization in dict.fromkeys(one.organization_id for one in projects):
            try:
                index = await self.objects_of(organization)
            except NotFound:  # it was deleted meanwhile
                continue
            except Unavailable as failure:
                failures.append(failure)
                continue
            ours = places.setdefault(id(index), (index, []))[1]
            ours += [one.id for one in projects if one.organization_id == organization]
        for index, ours in places.values():
            try:
                found += await index.find(ours, text)
            except Unavailable as failure:
                failures.append(failure)
        if failures and not found:
            raise failures[0]
        return sorted(found)[:FOUND_MAX]
