"""Every port in one place, and every use case over them.

HTTP, the worker and the command line are three ways into this one set. What stands behind a
port is decided in `entrypoints.composition`, or by a test.
"""

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from application.costs.organization_usage import ReadBudget, ReadUsage, SetBudget
from application.evaluation.ports.workload import Workloads
from application.evaluation.use_cases import EvaluationPorts, EvaluationUseCases
from application.exporting.use_cases import ExportPorts, ExportUseCases
from application.health import CheckReadiness
from application.idempotency import DeleteExpiredResponses, RunIdempotently
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
    Administration,
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
from application.ports import Clock, HealthCheck, IdempotencyStore, NewId, RandomBytes, RateLimiter
from application.pricing.use_cases import PricingPorts, PricingUseCases
from application.privacy.use_cases import PrivacyPorts, PrivacyUseCases
from application.tracing.analyze import (
    ListUsers,
    SessionVolume,
    TokenUsage,
    TopModels,
    TraceVolume,
)
from application.tracing.edit import (
    ChangeSpan,
    ChangeTrace,
    DeleteSession,
    DeleteTrace,
    DeleteTraces,
    TagTraces,
)
from application.tracing.ingest import AddSpans, IngestBatch, IngestTrace
from application.tracing.ports import Sessions, TraceAnalytics, Traces
from application.tracing.read import ListSessions, ListTraces, ReadSession, ReadTrace
from application.workers import Workers


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Every port, filled. Tests swap one with `dataclasses.replace`."""

    traces: Traces
    sessions: Sessions
    analytics: TraceAnalytics
    pricing: PricingPorts
    evaluation: EvaluationPorts
    exporting: ExportPorts
    keeping: PrivacyPorts
    keys: ApiKeys
    uses: KeyUsage
    projects: Projects
    users: Users
    organizations: Organizations
    directory: Directory
    administration: Administration
    removed_projects: RemovedProjects
    tokens: Tokens
    limiter: RateLimiter
    replies: IdempotencyStore
    workers: Workers
    workloads: Workloads
    parts: Mapping[str, HealthCheck]
    clock: Clock = utc_now
    new_id: NewId = uuid.uuid4
    random: RandomBytes = os.urandom
    owned_organizations_max: int | None = None  # of one person
    idempotency_ttl: timedelta = timedelta(hours=24)

    @property
    def key_factory(self) -> ApiKeyFactory:
        return ApiKeyFactory(self.clock, self.new_id, self.random)


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCases:
    """Every use case, ready to call."""

    ingest_trace: IngestTrace
    ingest_batch: IngestBatch
    add_spans: AddSpans
    read_trace: ReadTrace
    list_traces: ListTraces
    change_trace: ChangeTrace
    change_span: ChangeSpan
    tag_traces: TagTraces
    delete_trace: DeleteTrace
    delete_traces: DeleteTraces
    list_sessions: ListSessions
    read_session: ReadSession
    delete_session: DeleteSession
    trace_volume: TraceVolume
    token_usage: TokenUsage
    top_models: TopModels
    session_volume: SessionVolume
    list_users: ListUsers
    pricing: PricingUseCases
    evaluation: EvaluationUseCases
    exporting: ExportUseCases
    keeping: PrivacyUseCases
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
    read_usage: ReadUsage
    read_budget: ReadBudget
    set_budget: SetBudget
    create_key: CreateKey
    list_keys: ListKeys
    read_key: ReadKey
    rotate_key: RotateKey
    revoke_key: RevokeKey
    delete_key: DeleteKey
    issue_login_code: IssueLoginCode
    exchange_login_code: ExchangeLoginCode
    run_idempotently: RunIdempotently
    purge_removed_projects: PurgeRemovedProjects
    delete_expired_responses: DeleteExpiredResponses
    check_readiness: CheckReadiness
    clock: Clock  # by which all of them go

    @classmethod
    def over(cls, ports: Ports) -> Self:
        clock, new_id, directory = ports.clock, ports.new_id, ports.directory
        editor, key_factory = (
            OrganizationEditor(ports.administration, clock, new_id),
            ports.key_factory,
        )
        judging, most = ports.evaluation.judging, ports.owned_organizations_max
        return cls(
            clock=clock,
            ingest_trace=IngestTrace(ports.traces),
            ingest_batch=IngestBatch(ports.traces),
            add_spans=AddSpans(ports.traces),
            read_trace=ReadTrace(ports.traces),
            list_traces=ListTraces(ports.traces),
            change_trace=ChangeTrace(ports.traces),
            change_span=ChangeSpan(ports.traces),
            tag_traces=TagTraces(ports.traces),
            delete_trace=DeleteTrace(ports.traces),
            delete_traces=DeleteTraces(ports.traces),
            list_sessions=ListSessions(ports.sessions),
            read_session=ReadSession(ports.sessions),
            delete_session=DeleteSession(ports.sessions),
            trace_volume=TraceVolume(ports.analytics),
            token_usage=TokenUsage(ports.analytics),
            top_models=TopModels(ports.analytics),
            session_volume=SessionVolume(ports.analytics),
            list_users=ListUsers(ports.analytics),
            pricing=PricingUseCases.over(ports.pricing, clock),
            evaluation=EvaluationUseCases.over(ports.evaluation, clock, new_id, ports.random),
            exporting=ExportUseCases.over(ports.exporting, ports.traces, ports.evaluation, clock),
            keeping=PrivacyUseCases.over(ports.keeping, directory, clock, new_id, ports.random),
            authenticate_key=AuthenticateKey(ports.keys, ports.projects, ports.uses, clock, new_id),
            authenticate_token=AuthenticateToken(ports.tokens, ports.users, clock, new_id),
            resolve_membership=ResolveMembership(ports.organizations, clock, new_id),
            resolve_project=ResolveProject(ports.projects),
            issue_key=IssueKey(ports.administration, key_factory),
            create_organization=CreateOrganization(ports.organizations, most, clock, new_id),
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
            read_project=ReadProject(ports.projects),
            change_project=ChangeProject(editor),
            change_retention=ChangeRetention(editor),
            delete_project=DeleteProject(editor),
            read_usage=ReadUsage(directory, judging.ledger, clock),
            read_budget=ReadBudget(ports.projects, judging.budgets, judging.ledger, clock),
            set_budget=SetBudget(editor, judging.ledger),
            create_key=CreateKey(editor, key_factory),
            list_keys=ListKeys(directory),
            read_key=ReadKey(directory),
            rotate_key=RotateKey(editor, key_factory),
            revoke_key=RevokeKey(editor),
            delete_key=DeleteKey(editor),
            issue_login_code=IssueLoginCode(ports.organizations, editor, ports.random),
            exchange_login_code=ExchangeLoginCode(directory, ports.administration, key_factory),
            run_idempotently=RunIdempotently(ports.replies, ports.idempotency_ttl, clock, new_id),
            purge_removed_projects=PurgeRemovedProjects(ports.removed_projects, clock),
            delete_expired_responses=DeleteExpiredResponses(ports.replies, clock),
            check_readiness=CheckReadiness(ports.parts),
        )
