"""The person who asks: their profile, and the invitations that wait for their answer."""

from typing import Annotated, Final, Self
from uuid import UUID

import msgspec
from litestar import Controller, Response, get, post
from msgspec import Meta

from domain.identity.user import User
from domain.ids import InvitationId
from entrypoints.http.authentication import SIGNED_IN
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.controllers.organizations.schemas import (
    CONFLICT,
    MyInvitationResponse,
    MyMembershipResponse,
)
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.operation import Documented, answer, edge_of, operation
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


PROFILE: Final = operation(
    SIGNED_IN,
    Documented(
        summary="Read my profile",
        description=(
            "Who the token says you are. Your first request makes an organization of your own, "
            "with a project, where you belong to none."
        ),
        answer=UserProfileResponse,
        example=examples.PROFILE,
    ),
)

INVITATIONS: Final = operation(
    SIGNED_IN,
    Documented(
        summary="List my invitations",
        description=(
            "All invitations to your email address that wait for an answer and haven't expired, "
            "newest first."
        ),
        answer=list[MyInvitationResponse],
        example=[examples.INVITATION],
    ),
)

ACCEPT: Final = operation(
    SIGNED_IN,
    Documented(
        summary="Accept an invitation",
        description=(
            "Makes you a member, with the role of the invitation. 403 where it is to another "
            "address, or your identity provider says that yours isn't verified; 409 where it was "
            "answered, revoked or has expired, or you are a member already."
        ),
        answer=MyMembershipResponse,
        example=examples.MEMBERSHIP,
        answers=CONFLICT,
    ),
).with_path(MyInvitationPath)

DECLINE: Final = operation(
    SIGNED_IN,
    Documented(
        summary="Decline an invitation",
        description=(
            "403 where it is to another address, or your identity provider says that yours isn't "
            "verified; 409 where it was answered, revoked or has expired."
        ),
        answer=None,
        answers=CONFLICT,
    ),
).with_path(MyInvitationPath)


class MeController(Controller):
    path = "/me"

    @get("/", opt=PROFILE.opt)
    async def read_my_profile(self, request: HttpRequest) -> Response[bytes]:
        given = await PROFILE.read(request)
        return await answer(request, UserProfileResponse.of(given.caller.user))

    @get("/invitations", opt=INVITATIONS.opt)
    async def list_my_invitations(self, request: HttpRequest) -> Response[bytes]:
        given = await INVITATIONS.read(request)
        found = await edge_of(request).use_cases.list_my_invitations(given.caller)
        return await answer(request, [MyInvitationResponse.of(one) for one in found])

    @post("/invitations/{invitation_id:str}/accept", status_code=200, opt=ACCEPT.opt)
    async def accept_invitation(self, request: HttpRequest) -> Response[bytes]:
        given = await ACCEPT.read(request)
        _, membership = await edge_of(request).use_cases.accept_invitation(
            given.caller, InvitationId(given.path.invitation_id)
        )
        user = given.caller.user
        return await answer(
            request, MyMembershipResponse.showing(membership, user.display_name, user.email)
        )

    @post("/invitations/{invitation_id:str}/decline", status_code=204, opt=DECLINE.opt)
    async def decline_invitation(self, request: HttpRequest) -> None:
        given = await DECLINE.read(request)
        await edge_of(request).use_cases.decline_invitation(
            given.caller, InvitationId(given.path.invitation_id)
        )
