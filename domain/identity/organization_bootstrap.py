"""The initial contents of a new organization."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from uuid import UUID

from domain.identity.audit import Actor, AuditAction, AuditEntry
from domain.identity.organization import FIRST_PROJECT, Membership, Organization, Project, Role
from domain.ids import AuditEntryId, MembershipId, OrganizationId, ProjectId, UserId


@dataclass(frozen=True, slots=True)
class NewOrganization:
    """An organization, its OWNER, a first project, and the entry for the audit log."""

    organization: Organization
    owner: Membership
    project: Project
    entry: AuditEntry

    @classmethod
    def create(
        cls, name: str, owner: UserId, by: Actor, new_id: Callable[[], UUID], at: datetime
    ) -> Self:
        organization = Organization(id=OrganizationId(new_id()), name=name, created_at=at)
        return cls(
            organization,
            Membership(
                id=MembershipId(new_id()),
                organization_id=organization.id,
                user_id=owner,
                role=Role.OWNER,
                created_at=at,
            ),
            Project(
                id=ProjectId(new_id()),
                organization_id=organization.id,
                name=FIRST_PROJECT,
                created_at=at,
            ),
            AuditEntry(
                id=AuditEntryId(new_id()),
                organization_id=organization.id,
                at=at,
                actor=by,
                action=AuditAction.ORGANIZATION_CREATED,
                resource_id=str(organization.id),
                detail={"name": name},
            ),
        )
