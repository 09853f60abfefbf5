"""All ports in one place, and all use cases over them.

HTTP, the worker and the command line use the same set. `entrypoints.composition`, or a test,
decides which adapter fills a port.
"""

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from application.audit import AuditTrail
from application.clock import utc_now
from application.costs.use_cases import CostUseCases
from application.evaluation.datasets.use_cases import DatasetUseCases
from application.evaluation.experiments.use_cases import ExperimentUseCases
from application.evaluation.ports.work_queue import Workloads
from application.evaluation.use_cases import EvaluationPorts, EvaluationUseCases
from application.exports.use_cases import ExportPorts, ExportUseCases
from application.health import CheckReadiness
from application.idempotency import DeleteExpiredResponses, RunIdempotently
from application.identity.organization_edit import OrganizationEditor
from application.identity.ports import ObjectIndex
from application.identity.use_cases import IdentityPorts, IdentityUseCases
from application.jobs import Job
from application.ports import (
    Clock,
    HealthCheck,
    IdempotencyStore,
    NewId,
    RandomBytes,
    RateLimiter,
    TokenBuckets,
)
from application.pricing.use_cases import PricingPorts, PricingUseCases
from application.privacy.use_cases import PrivacyPorts, PrivacyUseCases
from application.sharing.use_cases import SharingPorts, SharingUseCases
from application.table_groups import (
    FIRST_GROUP,
    MOVES,
    MOVING_RETRY_S,
    OneGroup,
    Placement,
    TableGroups,
)
from application.tracing.use_cases import TracingPorts, TracingUseCases
from application.workers import Workers
from domain.errors import Unavailable
from domain.ids import OrganizationId, ProjectId


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Every port, filled, by context; those at the end belong to none.

    Their data of projects is in the tables of one group. `groups` opens the others'.
    """

    tracing: TracingPorts
    identity: IdentityPorts
    evaluation: EvaluationPorts
    pricing: PricingPorts
    exporting: ExportPorts
    privacy: PrivacyPorts
    sharing: SharingPorts
    limiter: RateLimiter
    token_buckets: TokenBuckets
    idempotency: IdempotencyStore
    workers: Workers
    workloads: Workloads
    health_checks: Mapping[str, HealthCheck]
    groups: "TableGroups[Ports]" = field(default_factory=OneGroup)
    clock: Clock = utc_now
    new_id: NewId = uuid.uuid4
    random: RandomBytes = os.urandom
    idempotency_ttl: timedelta = timedelta(hours=24)


class UseCases:
    """All use cases, by context. Each context also holds the ports that callers call directly.

    Those at the end belong to no context. All work on the tables of one group of organizations:
    `for_organization` gives those of an organization.
    """

    def __init__(self, ports: Ports) -> None:
        clock, new_id, random = ports.clock, ports.new_id, ports.random
        tracing, identity, evaluation = ports.tracing, ports.identity, ports.evaluation
        editor = OrganizationEditor(identity.administration, clock, new_id)
        self.audit = AuditTrail(identity.administration, clock, new_id, random)
        self.tracing = TracingUseCases(tracing, clock, new_id)
        self.identity = IdentityUseCases(identity, editor, random, self._objects_of)
        self.evaluation = EvaluationUseCases(
            evaluation, clock, new_id, random, self.tracing.record_rejections.record_logs
        )
        self.datasets = DatasetUseCases(evaluation, tracing.traces, clock)
        self.experiments = ExperimentUseCases(evaluation, self.evaluation.run_factory, clock)
        self.costs = CostUseCases(evaluation.judging, identity, editor)
        self.pricing = PricingUseCases(ports.pricing, clock)
        self.exporting = ExportUseCases(
            ports.exporting,
            traces=tracing.traces,
            evaluation=evaluation,
            identity=identity,
            audit=self.audit,
            clock=clock,
            random=random,
        )
        self.privacy = PrivacyUseCases(ports.privacy, clock, new_id, random)
        self.sharing = SharingUseCases(ports.sharing, tracing.traces, self.audit, clock, random)
        self.run_idempotently = RunIdempotently(
            ports.idempotency, ports.idempotency_ttl, clock, new_id
        )
        self.delete_expired_responses = DeleteExpiredResponses(ports.idempotency, clock)
        self.check_readiness = CheckReadiness(ports.health_checks)
        self.clock = clock
        self.objects = identity.objects
        self._groups = ports.groups
        self._opened: dict[int, UseCases] = {FIRST_GROUP: self}

    async def for_organization(
        self, organization: OrganizationId, *, writes: bool = True
    ) -> "UseCases":
        """The use cases over the tables of the organization's group.

        Raises NotFound if the organization doesn't exist; Unavailable, also while it moves to
        another group: then it takes no writes, and for some seconds no reads.
        """
        return await self._at(
            await self._groups.organization_placement(organization), writes=writes
        )

    async def for_project(self, project: ProjectId) -> "UseCases":
        """As `for_organization`. For an unknown project those of the first group."""
        placement = await self._groups.project_placement(project)
        return self._opened[FIRST_GROUP] if placement is None else await self._at(placement)

    async def _at(self, placement: Placement, *, writes: bool = True) -> "UseCases":
        if not (placement.takes_writes if writes else placement.takes_reads):
            raise Unavailable(MOVES, retry_after_s=MOVING_RETRY_S)
        return await self.for_group(placement.group)

    async def for_group(self, group: int) -> "UseCases":
        """Raises Unavailable."""
        found = self._opened.get(group)
        if found is None:
            ports = await self._groups.open(group)
            new = self if ports is None else UseCases(ports)
            found = self._opened.setdefault(group, new)
        return found

    async def run_job(self, job: Job) -> None:
        """Does what the job announces, in the group of its project.

        Raises as `EvaluationUseCases.run_job` does.
        """
        await (await self.for_project(job.project)).evaluation.run_job(job)

    async def groups(self) -> Sequence[int]:
        """All groups, the first one first. Raises Unavailable."""
        return await self._groups.all()

    async def _objects_of(self, organization: OrganizationId) -> ObjectIndex:
        return (await self.for_organization(organization, writes=False)).objects
