"""The use cases of identity, and the ports that they need: a part of `application.use_cases`."""

from dataclasses import dataclass, field

from application.identity import (
    audit_chain,
    authenticate,
    browser_sessions,
    find_objects,
    invitations,
    keys,
    login,
    members,
    organizations,
    projects,
    provider_sign_in,
)
from application.identity.organization_edit import OrganizationEditor
from application.identity.ports import (
    Administration,
    ApiKeys,
    BrowserSessions,
    Directory,
    KeyUsage,
    ObjectIndex,
    Organizations,
    ProjectActivities,
    Projects,
    RefusalLog,
    Refusals,
    RemovedProjects,
    SignInAttempts,
    SignInProvider,
    Tokens,
    Users,
)
from application.ports import RandomBytes
from domain.identity.browser_session import SessionLifetime
from domain.identity.caller import SignInRules


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityPorts:
    """Every port of identity, and the limits: None stands for none."""

    keys: ApiKeys
    key_usage: KeyUsage
    tokens: Tokens
    users: Users
    projects: Projects
    organizations: Organizations
    directory: Directory
    objects: ObjectIndex
    activities: ProjectActivities
    administration: Administration
    removed_projects: RemovedProjects
    refusals: Refusals
    refusal_log: RefusalLog
    browser_sessions: BrowserSessions
    sign_in_attempts: SignInAttempts
    sign_in_provider: SignInProvider | None = None
    session_lifetime: SessionLifetime = field(default_factory=SessionLifetime)
    owned_organizations_max: int | None = None  # of one user
    projects_max: int | None = None  # of one organization
    active_keys_max: int | None = None  # of one organization
    sign_in_rules: SignInRules = field(default_factory=SignInRules)


class IdentityUseCases:
    """Authentication, organizations, members, invitations, projects, and keys."""

    def __init__(
        self,
        ports: IdentityPorts,
        editor: OrganizationEditor,
        random: RandomBytes,
        objects_of: find_objects.ObjectsOf,
    ) -> None:
        clock, new_id, administration = editor.clock, editor.new_id, ports.administration
        stored, directory = ports.organizations, ports.directory
        key_factory = keys.ApiKeyFactory(clock, new_id, random, ports.active_keys_max)
        self.directory = directory
        self.projects = ports.projects
        self.authenticate_key = authenticate.AuthenticateKey(
            ports.keys, ports.projects, ports.key_usage, clock, new_id
        )
        self.create_missing_project = authenticate.CreateMissingProject(
            ports.projects, ports.projects_max
        )
        admission = authenticate.PersonAdmission(
            ports.users, directory, ports.sign_in_rules, clock, new_id
        )
        self.authenticate_token = authenticate.AuthenticateToken(ports.tokens, admission)
        self.begin_sign_in = provider_sign_in.BeginSignIn(
            ports.sign_in_provider, ports.sign_in_attempts, clock, random
        )
        self.finish_sign_in = provider_sign_in.FinishSignIn(
            ports.sign_in_provider, ports.sign_in_attempts, admission, clock
        )
        self.resolve_membership = authenticate.ResolveMembership(stored, clock, new_id)
        self.resolve_project = authenticate.ResolveProject(ports.projects)
        self.create_organization = organizations.CreateOrganization(
            stored, ports.owned_organizations_max, clock, new_id
        )
        self.provision_organization = organizations.ProvisionOrganization(
            ports.users, stored, administration, clock, new_id
        )
        self.read_organization = organizations.ReadOrganization(directory)
        self.rename_organization = organizations.RenameOrganization(editor)
        self.change_sharing = organizations.ChangeSharing(editor)
        self.delete_organization = organizations.DeleteOrganization(editor)
        self.find_objects = find_objects.FindObjects(directory, objects_of)
        self.refusal_log = ports.refusal_log
        self.list_refusals = audit_chain.ListRefusals(ports.refusals)
        self.list_audit_log = organizations.ListAuditLog(directory)
        self.export_audit_log = audit_chain.ExportAuditLog(directory)
        self.verify_audit_log = audit_chain.VerifyAuditLog(directory)
        self.change_role = members.ChangeRole(editor)
        self.remove_member = members.RemoveMember(editor)
        self.invite = invitations.Invite(editor)
        self.list_invitations = invitations.ListInvitations(directory, clock)
        self.revoke_invitation = invitations.RevokeInvitation(editor)
        self.list_my_invitations = invitations.ListMyInvitations(directory, clock)
        self.accept_invitation = invitations.AcceptInvitation(directory, editor)
        self.decline_invitation = invitations.DeclineInvitation(directory, editor)
        self.create_project = projects.CreateProject(editor, ports.projects_max)
        self.change_project = projects.ChangeProject(editor)
        self.change_retention = projects.ChangeRetention(editor)
        self.delete_project = projects.DeleteProject(editor)
        self.issue_key = keys.IssueKey(administration, key_factory)
        self.create_key = keys.CreateKey(editor, key_factory)
        self.rotate_key = keys.RotateKey(editor, key_factory)
        self.revoke_key = keys.RevokeKey(editor)
        self.delete_key = keys.DeleteKey(editor)
        self.issue_login_code = login.IssueLoginCode(stored, editor, random)
        self.exchange_login_code = login.ExchangeLoginCode(directory, administration, key_factory)
        self._connect_sessions(ports, editor, random)
        self.list_projects = projects.ListProjects(directory, ports.activities, clock)
        self.purge_removed_projects = projects.PurgeRemovedProjects(ports.removed_projects, clock)

    def _connect_sessions(
        self, ports: IdentityPorts, editor: OrganizationEditor, random: RandomBytes
    ) -> None:
        sessions, lifetime, clock = ports.browser_sessions, ports.session_lifetime, editor.clock
        audit = browser_sessions.SessionAudit(ports.organizations, clock, editor.new_id)
        self.session_lifetime = lifetime
        self.check_key = browser_sessions.CheckKey(ports.keys, ports.key_usage, clock)
        self.start_browser_session = browser_sessions.StartBrowserSession(
            sessions, audit, lifetime, random
        )
        self.authenticate_session = browser_sessions.AuthenticateSession(
            sessions, ports.keys, ports.sign_in_rules, lifetime, clock
        )
        self.resolve_project_of_key = browser_sessions.ResolveProjectOfKey(
            ports.projects, ports.key_usage, clock
        )
        self.read_session_reach = browser_sessions.ReadSessionReach(ports.directory)
        self.list_my_sessions = browser_sessions.ListMySessions(sessions, lifetime, clock)
        self.end_browser_session = browser_sessions.EndBrowserSession(sessions, audit)
        self.end_my_session = browser_sessions.EndMySession(sessions, audit)
