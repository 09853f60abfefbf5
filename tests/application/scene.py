"""An organization with everybody and everything in it, and each thing that can be done to it."""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from adapters.memory.store import MemoryStore
from application.use_cases import UseCases
from domain.identity.api_key import ALL_SCOPES, ApiKey, Expiration
from domain.identity.audit import AuditAction, Origin
from domain.identity.caller import Person
from domain.identity.invitation import Invitation
from domain.identity.login_code import challenge_of
from domain.identity.organization import Project, Role
from domain.ids import OrganizationId
from tests.worlds import World, memory_ports

VERIFIER: Final = "v" * 43
TERMINAL: Final = Origin("192.0.2.9", "pandaprobe-cli/1")
EVERYBODY: Final = frozenset(Role)
OWNER_OR_ADMIN: Final = frozenset({Role.OWNER, Role.ADMIN})
OWNER: Final = frozenset({Role.OWNER})
NOBODY: Final = frozenset[Role]()


@dataclass(frozen=True, slots=True)
class Scene:
    """Of each role there is somebody who acts and somebody to be acted upon."""

    world: World
    store: MemoryStore
    organization: OrganizationId
    actors: Mapping[Role, Person]
    others: Mapping[Role, Person]
    invited: Person
    invitation: Invitation
    project: Project
    key: ApiKey
    code: str

    @classmethod
    async def new(cls) -> "Scene":
        store = MemoryStore()
        world = World(memory_ports(store))
        do = world.do
        owner = await world.person("owner")
        ours = (await do.create_organization(owner, "Ours")).id
        actors, others = {Role.OWNER: owner}, {}
        for role in Role:
            if role is not Role.OWNER:
                actors[role] = await world.member(ours, role.lower(), role)
            others[role] = await world.member(ours, f"other-{role.lower()}", role)
        invited = await world.person("invited")
        sent = await do.invite(owner, ours, invited.user.email, Role.ADMIN)
        project = await do.create_project(owner, ours, "bot", "Sells things.")
        key, _ = await do.create_key(
            others[Role.MEMBER], ours, "ci", Expiration.DAYS_90, ALL_SCOPES
        )
        code = await do.issue_login_code(
            others[Role.ADMIN], ours, project.id, challenge_of(VERIFIER), "laptop"
        )
        world.forward(seconds=1)
        return cls(world, store, ours, actors, others, invited, sent.invitation, project, key, code)

    def snapshot(self) -> dict[str, Any]:
        """All that is stored."""
        return {one.name: dict(getattr(self.store, one.name)) for one in fields(self.store)}


type Act = Callable[[UseCases, Scene, Person], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Write:
    """Something that can be done, and by whom; `resource` is what the log says it was done to."""

    roles: frozenset[Role]
    act: Act
    action: AuditAction | None = None
    resource: Callable[[Scene, Any], object] = lambda scene, _: scene.organization


def _removal_of(role: Role) -> Act:
    return lambda do, s, who: do.remove_member(who, s.organization, s.others[role].user.id)


def _promotion(of: Role, to: Role) -> Act:
    return lambda do, s, who: do.change_role(who, s.organization, s.others[of].user.id, to)


def _invitation_as(role: Role) -> Act:
    return lambda do, s, who: do.invite(who, s.organization, f"{uuid.uuid4().hex}@b.c", role)


def _other(role: Role) -> Callable[[Scene, Any], object]:
    return lambda scene, _: scene.others[role].user.id


WRITES: Final[Mapping[str, Write]] = {
    "rename": Write(
        OWNER_OR_ADMIN,
        lambda do, s, who: do.rename_organization(who, s.organization, "Theirs"),
        AuditAction.ORGANIZATION_RENAMED,
    ),
    "delete the organization": Write(
        OWNER,
        lambda do, s, who: do.delete_organization(who, s.organization),
        AuditAction.ORGANIZATION_DELETED,
    ),
    "create a project": Write(
        OWNER_OR_ADMIN,
        lambda do, s, who: do.create_project(who, s.organization, "new", ""),
        AuditAction.PROJECT_CREATED,
        lambda _, made: made.id,
    ),
    "change a project": Write(
        OWNER_OR_ADMIN,
        lambda do, s, who: do.change_project(who, s.organization, s.project.id, "new", None),
        AuditAction.PROJECT_CHANGED,
        lambda s, _: s.project.id,
    ),
    "say how long a project keeps traces": Write(
        OWNER_OR_ADMIN,
        lambda do, s, who: do.change_retention(who, s.organization, s.project.id, 30),
        AuditAction.PROJECT_RETENTION_CHANGED,
        lambda s, _: s.project.id,
    ),
    "delete a project": Write(
        OWNER,
        lambda do, s, who: do.delete_project(who, s.organization, s.project.id),
        AuditAction.PROJECT_DELETED,
        lambda s, _: s.project.id,
    ),
    "create a key": Write(
        EVERYBODY,
        lambda do, s, who: do.create_key(who, s.organization, "new", Expiration.NEVER, ALL_SCOPES),
        AuditAction.API_KEY_CREATED,
        lambda _, made: made[0].id,
    ),
    "rotate a key": Write(
        OWNER_OR_ADMIN,
        lambda do, s, who: do.rotate_key(who, s.organization, s.key.id),
        AuditAction.API_KEY_ROTATED,
        lambda s, _: s.key.id,
    ),
    "revoke a key": Write(
        OWNER_OR_ADMIN,
        lambda do, s, who: do.revoke_key(who, s.organization, s.key.id),
        AuditAction.API_KEY_REVOKED,
        lambda s, _: s.key.id,
    ),
    "delete a key": Write(
        OWNER_OR_ADMIN,
        lambda do, s, who: do.delete_key(who, s.organization, s.key.id),
        AuditAction.API_KEY_DELETED,
        lambda s, _: s.key.id,
    ),
    "revoke an invitation": Write(
        OWNER_OR_ADMIN,
        lambda do, s, who: do.revoke_invitation(who, s.organization, s.invitation.id),
        AuditAction.INVITATION_REVOKED,
        lambda s, _: s.invitation.id,
    ),
    **{
        f"invite as {role}": Write(
            roles,
            _invitation_as(role),
            AuditAction.INVITATION_CREATED,
            lambda _, sent: sent.invitation.id,
        )
        for role, roles in (
            (Role.MEMBER, OWNER_OR_ADMIN),
            (Role.ADMIN, OWNER),
            (Role.OWNER, NOBODY),
        )
    },
    **{
        f"make {of} {to}": Write(
            OWNER, _promotion(of, to), AuditAction.MEMBER_ROLE_CHANGED, _other(of)
        )
        for of in Role
        for to in Role
        if of is not to
    },
    **{
        f"change one's own role to {role}": Write(
            NOBODY,
            lambda do, s, who, role=role: do.change_role(who, s.organization, who.user.id, role),
        )
        for role in Role
    },
    **{
        f"remove another {role}": Write(
            roles, _removal_of(role), AuditAction.MEMBER_REMOVED, _other(role)
        )
        for role, roles in (
            (Role.MEMBER, OWNER_OR_ADMIN),
            (Role.ADMIN, OWNER),
            (Role.OWNER, OWNER),
        )
    },
    "leave": Write(
        EVERYBODY,
        lambda do, s, who: do.remove_member(who, s.organization, who.user.id),
        AuditAction.MEMBER_LEFT,
        lambda s, _: None,  # whoever leaves
    ),
    "issue a login code": Write(
        EVERYBODY,
        lambda do, s, who: do.issue_login_code(who, s.organization, s.project.id, "c", "laptop"),
        AuditAction.LOGIN_CODE_ISSUED,
        lambda s, _: s.project.id,
    ),
}
"""Every write that takes a membership: the table of the contract, §2.5, said in deeds."""

ANSWERS: Final[Mapping[str, Write]] = {
    "accept": Write(
        NOBODY,
        lambda do, s, who: do.accept_invitation(who, s.invitation.id),
        AuditAction.INVITATION_ACCEPTED,
        lambda s, _: s.invitation.id,
    ),
    "decline": Write(
        NOBODY,
        lambda do, s, who: do.decline_invitation(who, s.invitation.id),
        AuditAction.INVITATION_DECLINED,
        lambda s, _: s.invitation.id,
    ),
}
"""What somebody who is invited does."""


def exchange(do: UseCases, scene: Scene) -> Awaitable[Any]:
    return do.exchange_login_code(scene.code, VERIFIER, TERMINAL)
