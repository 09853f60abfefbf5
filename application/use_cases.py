"""All ports in one place, and all use cases over them.

HTTP, the worker and the command line use the same set. `entrypoints.composition`, or a test,
decides which adapter fills a port.
"""

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from application.costs.use_cases import CostUseCases
from application.evaluation.ports.workload import Workloads
from application.evaluation.use_cases import EvaluationPorts, EvaluationUseCases
from application.exporting.use_cases import ExportPorts, ExportUseCases
from application.health import CheckReadiness
from application.idempotency import DeleteExpiredResponses, RunIdempotently
from application.identity.organization_edit import OrganizationEditor
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
from application.identity.use_cases import IdentityUseCases
from application.ports import (
    Clock,
    HealthCheck,
    IdempotencyStore,
    NewId,
    RandomBytes,
    RateLimiter,
)
from application.pricing.use_cases import PricingPorts, PricingUseCases
from application.privacy.use_cases import PrivacyPorts, PrivacyUseCases
from application.tracing.ports import Sessions, TraceAnalytics, Traces
from application.tracing.use_cases import TracingUseCases
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
    exports: ExportPorts
    privacy: PrivacyPorts
    keys: ApiKeys
    key_usage: KeyUsage
    projects: Projects
    users: Users
    organizations: Organizations
    directory: Directory
    administration: Administration
    removed_projects: RemovedProjects
    tokens: Tokens
    limiter: RateLimiter
    idempotency: IdempotencyStore
    workers: Workers
    workloads: Workloads
    health_checks: Mapping[str, HealthCheck]
    clock: Clock = utc_now
    new_id: NewId = uuid.uuid4
    random: RandomBytes = os.urandom
    owned_organizations_max: int | None = None  # of one user
    idempotency_ttl: timedelta = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCases:
    """All use cases, by context; those at the end belong to none."""

    tracing: TracingUseCases
    identity: IdentityUseCases
    evaluation: EvaluationUseCases
    costs: CostUseCases
    pricing: PricingUseCases
    exports: ExportUseCases
    privacy: PrivacyUseCases
    run_idempotently: RunIdempotently
    delete_expired_responses: DeleteExpiredResponses
    check_readiness: CheckReadiness
    clock: Clock  # the clock of all use cases

    @classmethod
    def over(cls, ports: Ports) -> Self:
        clock, new_id, random = ports.clock, ports.new_id, ports.random
        directory, evaluation = ports.directory, ports.evaluation
        editor = OrganizationEditor(ports.administration, clock, new_id)
        return cls(
            tracing=TracingUseCases.over(ports.traces, ports.sessions, ports.analytics),
            identity=IdentityUseCases.over(
                keys=ports.keys,
                key_usage=ports.key_usage,
                tokens=ports.tokens,
                users=ports.users,
                projects=ports.projects,
                organizations=ports.organizations,
                directory=directory,
                editor=editor,
                removed_projects=ports.removed_projects,
                owned_max=ports.owned_organizations_max,
                random=random,
            ),
            evaluation=EvaluationUseCases.over(evaluation, clock, new_id, random),
            costs=CostUseCases.over(evaluation.judging, ports.projects, directory, editor),
            pricing=PricingUseCases.over(ports.pricing, clock),
            exports=ExportUseCases.over(ports.exports, ports.traces, evaluation, clock),
            privacy=PrivacyUseCases.over(ports.privacy, directory, clock, new_id, random),
            run_idempotently=RunIdempotently(
                ports.idempotency, ports.idempotency_ttl, clock, new_id
            ),
            delete_expired_responses=DeleteExpiredResponses(ports.idempotency, clock),
            check_readiness=CheckReadiness(ports.health_checks),
            clock=clock,
        )
