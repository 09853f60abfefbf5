"""Every port in one place, and every use case over them.

HTTP, the worker and the command line are three ways into this one set. What stands behind a
port is decided in `entrypoints.composition`, or by a test.
"""

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from application.health import CheckReadiness
from application.identity.authenticate import (
    AuthenticateKey,
    AuthenticateToken,
    ResolveOrganization,
    ResolveProject,
)
from application.identity.keys import IssueKey
from application.identity.ports import ApiKeys, KeyUse, Organizations, Projects, Tokens, Users
from application.ports import Clock, NewId, Part, RandomBytes
from application.tracing.analyze import (
    ListUsers,
    SessionVolume,
    TokenUsage,
    TopModels,
    TraceVolume,
)
from application.tracing.browse import ListSessions, ListTraces, ReadSession, ReadTrace
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


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Every port, filled. Tests swap one with `dataclasses.replace`."""

    traces: Traces
    sessions: Sessions
    analytics: TraceAnalytics
    keys: ApiKeys
    uses: KeyUse
    projects: Projects
    users: Users
    organizations: Organizations
    tokens: Tokens
    parts: Mapping[str, Part]
    clock: Clock = utc_now
    new_id: NewId = uuid.uuid4
    random: RandomBytes = os.urandom


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
    authenticate_key: AuthenticateKey
    authenticate_token: AuthenticateToken
    resolve_organization: ResolveOrganization
    resolve_project: ResolveProject
    issue_key: IssueKey
    check_readiness: CheckReadiness

    @classmethod
    def over(cls, ports: Ports) -> Self:
        clock, new_id = ports.clock, ports.new_id
        return cls(
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
            authenticate_key=AuthenticateKey(ports.keys, ports.projects, ports.uses, clock, new_id),
            authenticate_token=AuthenticateToken(ports.tokens, ports.users, clock, new_id),
            resolve_organization=ResolveOrganization(ports.organizations, clock, new_id),
            resolve_project=ResolveProject(ports.projects),
            issue_key=IssueKey(ports.keys, clock, new_id, ports.random),
            check_readiness=CheckReadiness(ports.parts),
        )
