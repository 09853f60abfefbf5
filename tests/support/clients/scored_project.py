"""A project with traces and scores, as an HTTP client; and objects stored past the API."""

import json
import uuid
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Self

import httpx
import msgspec

from application.evaluation.alerts.alerts import message
from application.evaluation.use_cases import EvaluationPorts
from application.exports.use_cases import ExportPorts
from application.privacy.use_cases import PrivacyPorts
from domain.evaluation.experiments.experiment import GitRevision
from domain.evaluation.monitors.monitor import Monitor
from domain.evaluation.runs.run import EvalRun, TargetType, WorkItem
from domain.evaluation.runs.selection import TraceSelection, batch_as_given
from domain.evaluation.scores.score import (
    ScoreOutcome,
    ScoreRevision,
    ScoreSource,
    SessionScore,
    TraceScore,
)
from domain.exports.export import Export, ExportStatus, FileFormat
from domain.identity.audit import OPERATOR, AuditAction, AuditEntry
from domain.identity.organization import Role
from domain.ids import (
    AuditEntryId,
    ErasureId,
    MonitorId,
    OrganizationId,
    ProjectId,
    RunId,
    ScoreId,
    SpanId,
    TraceId,
)
from domain.privacy.erasure import DataSubject, DataSubjectKind, Erasure
from domain.tracing.query import TraceFilter
from entrypoints.composition.memory import replace_ports
from tests.http.conftest import Site, a_trace
from tests.support.builders.custom_metric_definitions import RULE, a_metric
from tests.support.builders.datasets import a_dataset, an_item, hashed
from tests.support.builders.experiments import a_result, an_experiment
from tests.support.builders.values import NOON
from tests.support.clients.organization_members import PersonClient, new_member
from tests.support.fixtures.evaluation.alerts import a_delivery, a_rule, a_webhook, an_alert

TRACES = "/evaluations/trace-scores"
SESSIONS = "/evaluations/session-scores"
BEFORE = NOON - timedelta(seconds=1)  # so that lists have one order


@dataclass(frozen=True)
class ScoredProject:
    """A new project with one trace in one session."""

    site: Site
    head: dict[str, str]
    trace: str
    session: str

    @classmethod
    async def new(cls, site: Site) -> Self:
        found = cls(
            site,
            site.headers(project=f"p-{uuid.uuid4()}"),
            str(uuid.uuid4()),
            f"s/{uuid.uuid4()}",
        )
        await found.store_trace(trace_id=found.trace, session_id=found.session)
        return found

    async def store_trace(self, **overrides: Any) -> str:
        """The id of a new trace."""
        sent = await self("POST", "/traces", a_trace(**overrides))
        assert sent.status_code == 202, sent.text
        return str(sent.json()["trace_id"])

    async def __call__(
        self, method: str, path: str, json: Any = None, **headers: str
    ) -> httpx.Response:
        said = self.head | {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.site.http.request(method, path, headers=said, json=json)

    async def read(self, path: str) -> Any:
        answer = await self("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def score(self, **overrides: Any) -> dict[str, Any]:
        return {"trace_id": self.trace, "name": "quality", "value": "0.5"} | overrides

    async def add_score(self, **overrides: Any) -> Any:
        """The response to adding a score of the trace."""
        given = await self("POST", TRACES, self.score(**overrides))
        assert given.status_code == 201, given.text
        return given.json()

    async def add_session_score(self, **overrides: Any) -> Any:
        """The response to adding a score of the session."""
        body = {"session_id": self.session, "name": "quality", "value": "0.5"} | overrides
        given = await self("POST", SESSIONS, body)
        assert given.status_code == 201, given.text
        return given.json()

    async def add_judged_score(self, **overrides: Any) -> str:
        """The id of a score of a run, without a run: stored past the API, which refuses it."""
        given = {"trace_id": self.trace, "name": "quality", "value": "0.5"} | overrides
        new, now = ScoreId(uuid.uuid4()), self.site.now or NOON
        ports = replace_ports(self.site.ports, **self.site.swapped)
        await ports.evaluation.trace_scores.add(
            TraceScore(
                id=new,
                project_id=self.project_id,
                trace_id=TraceId(uuid.UUID(given["trace_id"])),
                name=given["name"],
                outcome=ScoreOutcome.SCORED,
                value=given["value"],
                source=ScoreSource.AUTOMATED,
                reason=given.get("reason"),
                metadata=msgspec.json.encode(given.get("metadata", {})),
                created_at=now,
                updated_at=now,
            )
        )
        return str(new)

    @property
    def project_id(self) -> ProjectId:
        [found] = [
            one.id
            for one in self.site.store.projects.values()
            if one.name == self.head["x-project-name"]
        ]
        return found

    def person(
        self, email: str = "ada@example.com", role: Role = Role.MEMBER
    ) -> tuple[PersonClient, dict[str, str]]:
        """A new member of the organization, and their headers for this project."""
        new_person = new_member(self.site, self.site.organization, email, role)
        return new_person, new_person.bearer | {"x-project-id": str(self.project_id)}


async def store_score(
    ports: EvaluationPorts,
    project: ProjectId,
    score: str,
    *,
    trace: str,
    span: str | None = None,
    session: str | None = None,
    text: str = "n",
) -> None:
    """Stores a score of a trace, one of its span, and one with the same id for a session."""
    known: dict[str, Any] = {
        "id": ScoreId(uuid.UUID(score)),
        "project_id": project,
        "name": text,
        "outcome": ScoreOutcome.SCORED,
        "value": "0.5",
        "source": ScoreSource.ANNOTATION,
        "reason": text,
        "created_at": NOON,
        "updated_at": NOON,
    }
    of = TraceId(uuid.UUID(trace))
    changed = ScoreRevision(
        changed_at=NOON,
        user_id=None,
        key_id=None,
        value="0.25",
        source=ScoreSource.ANNOTATION,
        author_id=None,
        reason=text,
        metadata=b"{}",
    )
    once = TraceScore(**known, trace_id=of, environment=text, history=(changed,))
    await ports.trace_scores.add(once)
    if span is not None:
        new = {"id": ScoreId(uuid.uuid5(known["id"], span))}
        of_span = TraceScore(**known | new, trace_id=of, span_id=SpanId(uuid.UUID(span)))
        await ports.trace_scores.add(of_span)
    if session is not None:
        of_session = SessionScore(**known, session_id=session, history=(changed,))
        await ports.session_scores.add(of_session)


async def store_monitor(
    ports: EvaluationPorts, project: ProjectId, monitor: str, *, text: str = "n"
) -> None:
    """Stores a monitor over all traces."""
    await ports.monitors.create(
        Monitor(
            id=MonitorId(uuid.UUID(monitor)),
            project_id=project,
            name=text,
            target_type=TargetType.TRACE,
            metrics=("coherence",),
            selection=TraceSelection(),
            model=f"openai/{text}",
            cadence="daily",
            next_run_at=NOON + timedelta(days=1),
            created_at=BEFORE,
            updated_at=BEFORE,
        )
    )


async def store_alert(
    ports: EvaluationPorts,
    project: ProjectId,
    alert: str,
    *,
    monitor: str,
    webhook: str | None = None,
    text: str = "n",
) -> None:
    """Stores an alert of a monitor, and a webhook with a delivery."""
    made = await ports.monitors.get(project, MonitorId(uuid.UUID(monitor)))
    stored = an_alert(made, id=uuid.UUID(alert), rule=a_rule(metric="coherence"))
    await ports.alerting.alerts.create(stored)
    reported = a_webhook(
        project, id=uuid.UUID(webhook or alert), url=f"https://hooks.example/{text}"
    )
    await ports.alerting.webhooks.create(reported)
    body = message("alert.changed", NOON, {"text": text}, text)
    await ports.alerting.webhooks.enqueue(a_delivery(reported, body=body))


async def store_export(
    ports: ExportPorts, project: ProjectId, export: str, text: str = "n"
) -> None:
    """Stores a completed export whose file contains `text`."""
    made = Export(
        id=uuid.UUID(export),
        project_id=project,
        format=FileFormat.CSV,
        matching=TraceFilter(name=text),
        status=ExportStatus.RUNNING,
        size=len(text),
        created_at=NOON,
        due_at=NOON + timedelta(days=36_500),
        expires_at=NOON + timedelta(days=36_500),
    )
    await ports.exports.create(made)
    await ports.exports.save(made.completed("f" * 64, NOON), text.encode())


async def store_custom_metric(
    ports: EvaluationPorts, project: ProjectId, name: str, *, text: str = "n"
) -> None:
    """Stores a custom rule metric, unless the project has one with the name."""
    if name not in await ports.custom_metrics.by_names(project, [name]):
        body = RULE | {"value": text}
        await ports.custom_metrics.create(a_metric(project, name=name, body=body, description=text))


async def store_run(
    ports: EvaluationPorts, project: ProjectId, run: str, *, trace: str, text: str = "n"
) -> None:
    """Stores a PENDING run with a failed score of a trace."""
    made = EvalRun(
        id=RunId(uuid.UUID(run)),
        project_id=project,
        target_type=TargetType.TRACE,
        name=text,
        metrics=("coherence",),
        targets=1,
        filters=batch_as_given(TargetType.TRACE, [trace]),
        model=f"openai/{text}",
        created_at=NOON,
    )
    await ports.runs.create(made, [WorkItem(trace, made.metrics)])
    await ports.trace_scores.add(
        TraceScore(
            id=made.score_id(trace, "coherence"),
            project_id=project,
            trace_id=TraceId(uuid.UUID(trace)),
            name="coherence",
            outcome=ScoreOutcome.FAILED,
            source=ScoreSource.AUTOMATED,
            run_id=made.id,
            reason=text,
            metadata=b'{"code":"internal"}',
            created_at=BEFORE,
            updated_at=BEFORE,
        )
    )


@cache  # it is slow by intention
def _digest(owner: DataSubject) -> bytes:
    return owner.digest(b"salt")


async def store_erasure(
    ports: PrivacyPorts, project: ProjectId, erasure: str, *, organization: str, user: str = "gone"
) -> None:
    """Stores an erasure of `user` that an operator requested."""
    owner, new = DataSubject(DataSubjectKind.USER, user), ErasureId(uuid.UUID(erasure))
    asked = Erasure(
        id=new,
        organization_id=OrganizationId(uuid.UUID(organization)),
        project_id=project,
        kind=owner.kind,
        salt=b"salt",
        digest=_digest(owner),
        requested_at=NOON,
        requested_by=OPERATOR,
    )
    entry = AuditEntry(
        id=AuditEntryId(uuid.uuid4()),
        organization_id=asked.organization_id,
        at=NOON,
        actor=OPERATOR,
        action=AuditAction.ERASURE_REQUESTED,
        resource_id=erasure,
    )
    await ports.erasures.begin(asked, owner, entry)


async def store_dataset(
    ports: EvaluationPorts, project: ProjectId, name: str, *, item: str, trace: str, text: str
) -> None:
    """A dataset with an item, whose texts are all `text`, in two versions."""
    dataset = a_dataset(project, name, description=text)
    await ports.datasets.create(dataset)
    link = TraceId(uuid.UUID(trace))
    values = {"expected": text, "split": text, "from_trace": link}
    metadata = json.dumps({text: text}).encode()
    for asked in ("first", text):
        sent = an_item(item, asked, metadata=metadata, **values)
        await ports.datasets.put_items(project, name, hashed(sent), NOON)


async def store_experiment(
    ports: EvaluationPorts,
    project: ProjectId,
    experiment: str,
    *,
    dataset: str,
    item: str,
    trace: str,
    text: str,
) -> None:
    """An open experiment whose texts are all `text`, with the trace as its result."""
    version = await ports.datasets.find_version(project, dataset)
    git = GitRevision(sha=text, branch=text, pull_request=text)
    made = an_experiment(
        project_id=project, id=uuid.UUID(experiment), name=text, dataset=dataset, version=version,
        split=text, items=1, release=text, git=git, metrics=("coherence",),
    )  # fmt: skip
    await ports.experiments.create(made)
    result = a_result(item, trace=TraceId(uuid.UUID(trace)))
    await ports.experiments.put_results(project, made.id, [result])
