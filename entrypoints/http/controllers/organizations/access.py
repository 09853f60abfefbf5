"""What the credential of a request may do in a project."""

from typing import Annotated
from uuid import UUID

from litestar import Controller
from msgspec import Meta

from domain.identity.api_key import Scope
from domain.identity.caller import Caller
from entrypoints.http.authentication import IN_PROJECT
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.endpoint import get
from entrypoints.http.response_structs import ResponseStruct, Source


class AccessResponse(ResponseStruct[Caller], frozen=True, kw_only=True):
    """The project of a request, and what its sender may do there."""

    organization_id: UUID
    project_id: UUID
    scopes: Annotated[
        list[Scope],
        Source("scopes", sorted),
        Meta(description="Those of the key, sorted; a person has all"),
    ]


class AccessController(Controller):
    path = "/access"

    @get("/", IN_PROJECT, example=examples.ACCESS)
    async def read_access(self, caller: Caller) -> AccessResponse:
        """Read what a credential may do.

        For programs that offer only what their key allows. Any key may ask.
        """
        return AccessResponse.from_domain(caller)
