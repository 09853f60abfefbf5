"""Organizations at work: every use case over one set of ports, with people and a clock."""

import random
import uuid
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from adapters.embedders import HashEmbedder
from adapters.judges.heuristic import HeuristicJudge
from adapters.memory.administration import MemoryAdministration, MemoryRemovals
from adapters.memory.alerts import MemoryAlerts, MemoryWebhooks
from adapters.memory.archive import MemoryArchive
from adapters.memory.assignments import MemoryAssignments
from adapters.memory.courier import MemoryCourier
from adapters.memory.custom_metrics import MemoryCustomMetrics
from adapters.memory.directory import MemoryDirectory
from adapters.memory.erasures import MemoryErasures
from adapters.memory.exports import MemoryExports
from adapters.memory.identity import (
    MemoryApiKeys,
    MemoryKeyUse,
    MemoryOrganizations,
    MemoryProjects,
    MemoryTokens,
    MemoryUsers,
)
from adapters.memory.jobs import RecordedJobs
from adapters.memory.judging import MemoryBudgets, MemoryLedger, MemoryVerdicts
from adapters.memory.labels import MemoryLabels
from adapters.memory.limits import MemoryRateLimiter, monotonic_us
from adapters.memory.model_prices import MemoryModelPrices
from adapters.memory.monitors import MemoryChanged, MemoryLeadership, MemoryMonitors
from adapters.memory.replies import MemoryReplies
from adapters.memory.repricings import MemoryRepricings
from adapters.memory.retention import MemoryExpired
from adapters.memory.runs import MemoryRuns
from adapters.memory.scores import (
    MemoryScoreAnalytics,
    MemorySessionScores,
    MemoryTraceScores,
)
from adapters.memory.store import MemoryStore
from adapters.memory.targets import MemoryTargets
from adapters.memory.tracing import MemorySessions, MemoryTraceAnalytics, MemoryTraces
from adapters.memory.workers import MemoryWorkers, MemoryWorkloads
from adapters.patterns import Re2Patterns
from application.evaluation.alert_use_cases import AlertPorts
from application.evaluation.alerting import EndedRun
from application.evaluation.judging import JudgingPorts, Pricings
from application.evaluation.use_cases import EvaluationPorts
from application.exporting.use_cases import ExportPorts
from application.tracing.keeping_use_cases import KeepingPorts
from application.tracing.pricing_use_cases import PricingPorts
from application.use_cases import Ports, UseCases
from domain.evaluation.monitor import Monitor
from domain.identity.audit import AuditEntry, Origin
from domain.identity.caller import Person
from domain.identity.organization import Membership, Role
from domain.identity.user import Claims
from domain.ids import MembershipId, OrganizationId, ProjectId, ScoreId, UserId
from domain.page import LIMIT_MAX, Window
from entrypoints.exporting import ENCODERS
from tests.builders import NOON, prices


def memory_ports(store: MemoryStore) -> Ports:
    return Ports(
        traces=MemoryTraces(store, prices()),
        sessions=MemorySessions(store),
        analytics=MemoryTraceAnalytics(store),
        pricing=memory_pricing(store),
        evaluation=memory_evaluation(store),
        exporting=memory_exporting(store),
        keeping=memory_keeping(store),
        keys=MemoryApiKeys(store),
        uses=MemoryKeyUse(store),
        projects=MemoryProjects(store),
        users=MemoryUsers(store),
        organizations=MemoryOrganizations(store),
        directory=MemoryDirectory(store),
        administration=MemoryAdministration(store),
        removals=MemoryRemovals(store),
        tokens=MemoryTokens({}),
        limiter=MemoryRateLimiter(monotonic_us),
        replies=MemoryReplies(store),
        workers=MemoryWorkers(),
        workloads=MemoryWorkloads(store),
        parts={},
        random=random.randbytes,
    )


def memory_keeping(store: MemoryStore) -> KeepingPorts:
    return KeepingPorts(expired=MemoryExpired(store), erasures=MemoryErasures(store))


def memory_pricing(store: MemoryStore) -> PricingPorts:
    return PricingPorts(
        book=prices(), prices=MemoryModelPrices(store), repricings=MemoryRepricings(store)
    )


def memory_evaluation(store: MemoryStore) -> EvaluationPorts:
    return EvaluationPorts(
        trace_scores=MemoryTraceScores(store),
        session_scores=MemorySessionScores(store),
        score_analytics=MemoryScoreAnalytics(store),
        labels=MemoryLabels(store),
        runs=MemoryRuns(store),
        assignments=MemoryAssignments(store),
        targets=MemoryTargets(store),
        monitors=MemoryMonitors(store),
        changed=MemoryChanged(store),
        leadership=MemoryLeadership(),
        alerting=AlertPorts(
            alerts=MemoryAlerts(store),
            webhooks=MemoryWebhooks(store),
            courier=MemoryCourier(),
            on_fault=unassessed,
        ),
        custom_metrics=MemoryCustomMetrics(store),
        patterns=Re2Patterns(),
        jobs=RecordedJobs(),
        judge=HeuristicJudge(),
        judging=memory_judging(store),
        embedder=HashEmbedder(),
        on_fault=unexpected,
        on_monitor_fault=unfired,
    )


def memory_exporting(store: MemoryStore) -> ExportPorts:
    return ExportPorts(
        archive=MemoryArchive(store), exports=MemoryExports(store), encoders=ENCODERS
    )


def memory_judging(store: MemoryStore) -> JudgingPorts:
    return JudgingPorts(
        verdicts=MemoryVerdicts(store),
        ledger=MemoryLedger(store),
        budgets=MemoryBudgets(store),
        prices=Pricings(MemoryModelPrices(store), prices()),
    )


def unexpected(score: ScoreId, fault: Exception) -> None:
    raise AssertionError(f"measuring {score} broke") from fault


def unfired(monitor: Monitor, fault: Exception) -> None:
    raise AssertionError(f"{monitor.name} didn't fire") from fault


def unassessed(ended: EndedRun, fault: Exception) -> None:
    raise AssertionError(f"{ended.run} was not looked at") from fault


@dataclass(slots=True)
class World:
    """Its clock stands still until it is moved, its ids ascend, its people have browsers."""

    ports: Ports
    now: datetime = NOON
    last_id: int = field(default_factory=lambda: uuid.uuid4().int >> 32 << 32)

    def forward(self, **period: float) -> None:
        self.now += timedelta(**period)

    def with_ports(self, **swapped: object) -> UseCases:
        """The use cases where some ports are others than this world's."""
        own = {"clock": lambda: self.now, "new_id": self.new_id}
        return UseCases.over(replace(self.ports, **own | swapped))

    def new_id(self) -> uuid.UUID:
        """Unlike any other world's; of what is made at one instant the later has the greater."""
        self.last_id += 1
        return uuid.UUID(int=self.last_id)

    @property
    def do(self) -> UseCases:
        return self.with_ports()

    async def person(self, name: str, **said: object) -> Person:
        """Somebody new who signed in, with the address `<name>@example.com`."""
        claims = Claims(
            issuer="test",
            subject=uuid.uuid4().hex,
            email=f"{name}@example.com",
            display_name=name.title(),
        )
        user = await self.ports.users.signed_in(claims, new=UserId(uuid.uuid4()), at=self.now)
        return replace(Person(user, origin=Origin("192.0.2.1", f"{name}'s browser")), **said)

    async def join(self, organization: OrganizationId, person: Person, role: Role) -> None:
        """Makes somebody a member, past all rules."""
        membership = Membership(
            id=MembershipId(uuid.uuid4()),
            organization_id=organization,
            user_id=person.user.id,
            role=role,
            created_at=self.now,
        )
        async with self.ports.administration.opened(organization) as opened:
            await opened.put_membership(membership)

    async def member(
        self, organization: OrganizationId, name: str, role: Role = Role.MEMBER
    ) -> Person:
        person = await self.person(name)
        await self.join(organization, person, role)
        return person

    async def roles(self, organization: OrganizationId) -> dict[UserId, Role]:
        members = await self.ports.directory.members(organization)
        return {one.membership.user_id: one.membership.role for one in members}

    async def membership(self, organization: OrganizationId, person: Person) -> Membership:
        return await self.do.resolve_membership(person, organization)

    async def project(self, organization: OrganizationId) -> ProjectId:
        """The newest project."""
        return (await self.ports.directory.projects(organization))[0].id

    async def log(self, organization: OrganizationId) -> list[AuditEntry]:
        """All that the audit log tells, newest first; at most LIMIT_MAX entries."""
        page = await self.ports.directory.audit_log(organization, Window(limit=LIMIT_MAX))
        assert page.end is None
        return list(page.items)
