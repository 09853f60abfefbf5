"""The use cases of identity: a part of `application.use_cases`."""

from dataclasses import dataclass
from typing import Self

from application.identity.authenticate import (
    AuthenticateKey,
    AuthenticateToken,
    ResolveMembership,
    ResolveProject,
)
from application.identity.invitations import (
    AcceptInvitation,
    DeclineInvitation,
    Invite,
    ListInvitations,
    ListMyInvitations,
    RevokeInvitation,
)
from application.identity.keys import (
    ApiKeyFactory,
    CreateKey,
    DeleteKey,
    IssueKey,
    ListKeys,
    ReadKey,
    RevokeKey,
    RotateKey,
)
from application.identity.login import ExchangeLoginCode, IssueLoginCode
from application.identity.members import ChangeRole, ListMembers, RemoveMember
from application.identity.organization_edit import OrganizationEditor
from application.identity.organizations import (
    CreateOrganization,
    DeleteOrganization,
    ListAuditLog,
    ListOrganizations,
    ReadOrganization,
    RenameOrganization,
)
from application.identity.ports import (
    ApiKeys,
    Directory,
    KeyUsage,
    Organizations,
    Projects,
    RemovedProjects,
    Tokens,
    Users,
)
from application.identity.projects import (
    ChangeProject,
    ChangeRetention,
    CreateProject,
    DeleteProject,
    ListProjects,
    ReadProject,
)
from application.identity.purge import PurgeRemovedProjects
from application.ports import RandomBytes


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityUseCases:
    """The use cases of identity: authentication, organizations, projects, members, keys."""

    authenticate_key: AuthenticateKey
    authenticate_token: AuthenticateToken
    resolve_membership: ResolveMembership
    resolve_project: ResolveProject
    issue_key: IssueKey
    create_organization: CreateOrganization
    list_organizations: ListOrganizations
    read_organization: ReadOrganization
    rename_organization: RenameOrganization
    delete_organization: DeleteOrganization
    list_audit_log: ListAuditLog
    list_members: ListMembers
    change_role: ChangeRole
    remove_member: RemoveMember
    invite: Invite
    list_invitations: ListInvitations
    revoke_invitation: RevokeInvitation
    list_my_invitations: ListMyInvitations
    accept_invitation: AcceptInvitation
    decline_invitation: DeclineInvitation
    create_project: CreateProject
    list_projects: ListProjects
    read_project: ReadProject
    change_project: ChangeProject
    change_retention: ChangeRetention
    delete_project: DeleteProject
    create_key: CreateKey
    list_keys: ListKeys
    read_key: ReadKey
    rotate_key: RotateKey
    revoke_key: RevokeKey
    delete_key: DeleteKey
    issue_login_code: IssueLoginCode
    exchange_login_code: ExchangeLoginCode
    purge_removed_projects: PurgeRemovedProjects

    @classmethod
    def over(
        cls,
        *,
        keys: ApiKeys,
        key_usage: KeyUsage,
        tokens: Tokens,
        users: Users,
        projects: Projects,
        organizations: Organizations,
        directory: Directory,
        editor: OrganizationEditor,
        removed_projects: RemovedProjects,
        owned_max: int | None,
        random: RandomBytes,
    ) -> Self:
        clock, new_id, administration = editor.clock, editor.new_id, editor.administration
        key_factory = ApiKeyFactory(clock, new_id, random)
        return cls(
            authenticate_key=AuthenticateKey(keys, projects, key_usage, clock, new_id),
            authenticate_token=AuthenticateToken(tokens, users, clock, new_id),
            resolve_membership=ResolveMembership(organizations, clock, new_id),
            resolve_project=ResolveProject(projects),
            issue_key=IssueKey(administration, key_factory),
            create_organization=CreateOrganization(organizations, owned_max, clock, new_id),
            list_organizations=ListOrganizations(directory),
            read_organization=ReadOrganization(directory),
            rename_organization=RenameOrganization(editor),
            delete_organization=DeleteOrganization(editor),
            list_audit_log=ListAuditLog(directory),
            list_members=ListMembers(directory),
            change_role=ChangeRole(editor),
            remove_member=RemoveMember(editor),
            invite=Invite(editor),
            list_invitations=ListInvitations(directory, clock),
            revoke_invitation=RevokeInvitation(editor),
            list_my_invitations=ListMyInvitations(directory, clock),
            accept_invitation=AcceptInvitation(directory, editor),
            decline_invitation=DeclineInvitation(directory, editor),
            create_project=CreateProject(editor),
            list_projects=ListProjects(directory),
            read_project=ReadProject(projects),
            change_project=ChangeProject(editor),
            change_retention=ChangeRetention(editor),
            delete_project=DeleteProject(editor),
            create_key=CreateKey(editor, key_factory),
            list_keys=ListKeys(directory),
            read_key=ReadKey(directory),
            rotate_key=RotateKey(editor, key_factory),
            revoke_key=RevokeKey(editor),
            delete_key=DeleteKey(editor),
            issue_login_code=IssueLoginCode(organizations, editor, random),
            exchange_login_code=ExchangeLoginCode(directory, administration, key_factory),
            purge_removed_projects=PurgeRemovedProjects(removed_projects, clock),
        )
