"""The person who asks: their profile, and the invitations that wait for their answer."""

from typing import Annotated, Final, Self
from uuid import UUID

import msgspec
from litestar import Controller, get, post
from msgspec import Meta

from application.use_cases import UseCases
from domain.identity.caller import Person
from domain.identity.user import User
from domain.ids import InvitationId
from entrypoints.http.authentication import SIGNED_IN
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.controllers.organizations.schemas import (
    CONFLICT,
    MyInvitationResponse,
    MyMembershipResponse,
)
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.requests.wire_types import ShownInstant, instant, optional_instant


class UserProfileResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A person, as their identity provider tells of them."""

    id: UUID
    email: str
    display_name: str
    created_at: ShownInstant
    last_sign_in_at: ShownInstant | None

    @classmethod
    def of(cls, user: User) -> Self:
        return cls(
            id=user.id,
            email=user.email,
            display_name=user.display_name,
            created_at=instant(user.created_at),
            last_sign_in_at=optional_instant(user.last_sign_in_at),
        )


class MyInvitationPath(msgspec.Struct, frozen=True):
    invitation_id: Annotated[
        UUID, Meta(description="The invitation's id", examples=[examples.INVITATION_ID])
    ]


PROFILE: Final = endpoint(
    SIGNED_IN,
    summary="Read my profile",
    description=(
        "Who the token says you are. Your first request makes an organization of your own, "
        "with a project, where you belong to none."
    ),
    example=examples.PROFILE,
)

INVITATIONS: Final = endpoint(
    SIGNED_IN,
    summary="List my invitations",
    description=(
        "All invitations to your email address that wait for an answer and haven't expired, "
        "newest first."
    ),
    example=[examples.INVITATION],
)

ACCEPT: Final = endpoint(
    SIGNED_IN,
    summary="Accept an invitation",
    description=(
        "Makes you a member, with the role of the invitation. 403 where it is to another "
        "address, or your identity provider says that yours isn't verified; 409 where it was "
        "answered, revoked or has expired, or you are a member already."
    ),
    example=examples.MEMBERSHIP,
    answers=CONFLICT,
)

DECLINE: Final = endpoint(
    SIGNED_IN,
    summary="Decline an invitation",
    description=(
        "403 where it is to another address, or your identity provider says that yours isn't "
        "verified; 409 where it was answered, revoked or has expired."
    ),
    answers=CONFLICT,
)


class MeController(Controller):
    path = "/me"

    @get("/", **PROFILE)
    async def read_my_profile(
        self,
        caller: Injected[Person],
    ) -> UserProfileResponse:
        return UserProfileResponse.of(caller.user)

    @get("/invitations", **INVITATIONS)
    async def list_my_invitations(
        self,
        caller: Injected[Person],
        use_cases: Injected[UseCases],
    ) -> list[MyInvitationResponse]:
        found = await use_cases.identity.list_my_invitations(caller)
        return [MyInvitationResponse.of(one) for one in found]

    @post("/invitations/{invitation_id:str}/accept", status_code=200, **ACCEPT)
    async def accept_invitation(
        self,
        caller: Injected[Person],
        path: Injected[MyInvitationPath],
        use_cases: Injected[UseCases],
    ) -> MyMembershipResponse:
        _, membership = await use_cases.identity.accept_invitation(
            caller, InvitationId(path.invitation_id)
        )
        user = caller.user
        return MyMembershipResponse.showing(membership, user.display_name, user.email)

    @post("/invitations/{invitation_id:str}/decline", status_code=204, **DECLINE)
    async def decline_invitation(
        self,
        caller: Injected[Person],
        path: Injected[MyInvitationPath],
        use_cases: Injected[UseCases],
    ) -> None:
        await use_cases.identity.decline_invitation(caller, InvitationId(path.invitation_id))
