"""Finding objects by their id, without knowing the project."""

from collections.abc import Sequence
from dataclasses import dataclass

from application.identity.browser_sessions import reach_of
from application.identity.ports import Directory, ObjectIndex
from domain.identity.api_key import ApiKey
from domain.identity.caller import Person
from domain.identity.found_object import FIND_PROJECTS_MAX, FoundObject


@dataclass(frozen=True, slots=True)
class FindObjects:
    """Finds what has an id, in the projects of a person or of an API key."""

    directory: Directory
    objects: ObjectIndex

    async def __call__(self, holder: Person | ApiKey, text: str) -> Sequence[FoundObject]:
        """At most FOUND_MAX objects, by kind and project. Raises Unavailable.

        What isn't in one of the first FIND_PROJECTS_MAX projects of the caller doesn't exist.
        """
        projects = (await reach_of(self.directory, holder)).projects
        return await self.objects.find([one.id for one in projects[:FIND_PROJECTS_MAX]], text)
