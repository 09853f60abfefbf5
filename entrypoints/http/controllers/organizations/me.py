"""The signed-in person: their profile and their invitations."""

from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Controller
from msgspec import Meta

from application.use_cases import UseCases
from domain.identity.api_key import ApiKey
from domain.identity.caller import Person, User
from domain.identity.found_object import (
    FIND_PROJECTS_MAX,
    FOUND_MAX,
    SOUGHT_CHARS_MAX,
    FoundObject,
    ObjectKind,
)
from domain.identity.organization import Member
from domain.ids import InvitationId
from entrypoints.http.authentication import CAN_FIND, SIGNED_IN
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.controllers.organizations.schemas import (
    CONFLICT,
    MyInvitationResponse,
    MyMembershipResponse,
)
from entrypoints.http.endpoint import get, post
from entrypoints.http.requests.wire_types import ResponseInstant
from entrypoints.http.response_structs import ResponseStruct


class UserProfileResponse(ResponseStruct[User], frozen=True, kw_only=True):
    """A person, as their identity provider describes them."""

    id: UUID
    email: str
    display_name: str
    created_at: ResponseInstant
    last_sign_in_at: ResponseInstant | None


class MyInvitationPath(msgspec.Struct, frozen=True):
    invitation_id: Annotated[
        InvitationId, Meta(description="The invitation's id", examples=[examples.INVITATION_ID])
    ]


class FindQuery(msgspec.Struct, frozen=True, kw_only=True):
    id: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=SOUGHT_CHARS_MAX,
            description="A UUID, with or without hyphens, or the id of a session",
            examples=["0b8f7c2e9d3a4f6e8b1c2d3e4f506172"],
        ),
    ]


class FoundObjectResponse(ResponseStruct[FoundObject], frozen=True):
    """An object of mine with this id."""

    kind: ObjectKind
    project_id: UUID


class MeController(Controller):
    path = "/me"

    @get(
        "/find",
        CAN_FIND,
        description=(
            "Where an id is, among all projects of yours: traces, runs, monitors, datasets, "
            "experiments and scores by their UUID, with or without hyphens, and sessions by their "
            "exact id. At most "
            f"{FOUND_MAX} objects; the first {FIND_PROJECTS_MAX:,} projects are searched. An API "
            "key searches the projects that it may be used in, and needs the scope `read`."
        ),
        example=[{"kind": "trace", "project_id": examples.PROJECT_ID}],
    )
    async def find_objects(
        self, caller: Person | ApiKey, params: FindQuery, use_cases: UseCases
    ) -> list[FoundObjectResponse]:
        """Find an object by its id."""
        found = await use_cases.identity.find_objects(caller, params.id)
        return [FoundObjectResponse.from_domain(one) for one in found]

    @get("/", SIGNED_IN, example=examples.PROFILE)
    async def read_my_profile(self, caller: Person) -> UserProfileResponse:
        """Read my profile.

        The person that the token identifies. Your first request creates an organization with a
        project, if you are not a member of any organization.
        """
        return UserProfileResponse.from_domain(caller.user)

    @get("/invitations", SIGNED_IN, example=[examples.INVITATION])
    async def list_my_invitations(
        self, caller: Person, use_cases: UseCases
    ) -> list[MyInvitationResponse]:
        """List my invitations.

        All pending invitations to your verified email address, the newest first. Expired ones are
        left out.
        """
        invitations = await use_cases.identity.list_my_invitations(caller)
        return [MyInvitationResponse.from_domain(invitation) for invitation in invitations]

    @post(
        "/invitations/{invitation_id:str}/accept",
        SIGNED_IN,
        status_code=200,
        example=examples.MEMBERSHIP,
        error_types=CONFLICT,
    )
    async def accept_invitation(
        self, caller: Person, path: MyInvitationPath, use_cases: UseCases
    ) -> MyMembershipResponse:
        """Accept an invitation.

        Makes you a member, with the role of the invitation. 403 if it is for another address, or if
        your identity provider says that yours isn't verified. 409 if it was answered or revoked,
        has expired, or you are a member already.
        """
        _, membership = await use_cases.identity.accept_invitation(caller, path.invitation_id)
        user = caller.user
        member = Member(membership=membership, display_name=user.display_name, email=user.email)
        return MyMembershipResponse.from_domain(member)

    @post(
        "/invitations/{invitation_id:str}/decline", SIGNED_IN, status_code=204, error_types=CONFLICT
    )
    async def decline_invitation(
        self, caller: Person, path: MyInvitationPath, use_cases: UseCases
    ) -> None:
        """Decline an invitation.

        403 if it is for another address, or if your identity provider says that yours isn't
        verified. 409 if it was answered or revoked, or has expired.
        """
        await use_cases.identity.decline_invitation(caller, path.invitation_id)
