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
from application.tracing.browse import ListTraces, ReadTrace
from application.tracing.edit import DeleteTrace
from application.tracing.ingest import AddSpans, IngestBatch, IngestTrace
from application.tracing.ports import Traces


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Every port, filled. Tests swap one with `dataclasses.replace`."""

    traces: Traces
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
    delete_trace: DeleteTrace
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
            delete_trace=DeleteTrace(ports.traces),
            authenticate_key=AuthenticateKey(ports.keys, ports.projects, ports.uses, clock, new_id),
            authenticate_token=AuthenticateToken(ports.tokens, ports.users, clock, new_id),
            resolve_organization=ResolveOrganization(ports.organizations, clock, new_id),
            resolve_project=ResolveProject(ports.projects),
            issue_key=IssueKey(ports.keys, clock, new_id, ports.random),
            check_readiness=CheckReadiness(ports.parts),
        )
