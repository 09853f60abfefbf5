"""Two organizations with one of each object, and what one of them learns about the other."""

import hashlib
import json
import re
import uuid
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import httpx

from application.clock import utc_now
from domain.exports.ticket import TICKET_LIFETIME, DownloadTicket
from domain.identity.api_key import Scope
from domain.identity.login_code import (
    CODE_LIFETIME,
    LoginCode,
    challenge_of,
    code_digest,
    format_code,
)
from domain.identity.organization import Role
from domain.ids import (
    ApiKeyId,
    BrowserSessionId,
    InvitationId,
    OrganizationId,
    ProjectId,
    RejectionId,
    TraceId,
    UserId,
)
from domain.sharing.trace_link import TraceLink
from domain.tracing.otel.requests import (
    RecordedRejection,
    Rejection,
    RejectionReason,
    Signal,
)
from entrypoints.composition.memory import replace_ports
from tests.http.conftest import Site, State, a_span, a_trace
from tests.support.builders.sessions import a_session
from tests.support.builders.values import NOON
from tests.support.clients.asgi_client import chunk, exchange
from tests.support.clients.organization_members import (
    PersonClient,
    new_member,
    new_organization,
)
from tests.support.clients.priced_project import store_prices
from tests.support.clients.scored_project import (
    store_alert,
    store_custom_metric,
    store_dataset,
    store_erasure,
    store_experiment,
    store_export,
    store_monitor,
    store_run,
    store_score,
)
from tests.support.endpoints.registry import READS
from tests.support.endpoints.spec import (
    Anonymous,
    AnyHolder,
    EndpointSpec,
    MemberRoles,
    ProjectAdmins,
    ProjectMembers,
    ProjectScopes,
    SignedIn,
)
from tests.support.endpoints.templates import Words, filled, filled_path

CANARY, NOBODY = "canary7f3c", "canobody7f"  # of equal length, and neighbours in any order
RANDOM = (
    re.compile(r"pp_[0-9a-f]{7,64}"),
    re.compile(r"whsec_[\w+/]{43}="),
    re.compile(r"\b[0-9a-f]{64}\b"),
    re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00"),
    re.compile(r'(?<=")[0-9a-f]{32}(?:[0-9a-f]{32})?(?=")'),
    re.compile(r'(?<="code":")[\w-]{43}'),
)
STORED_IDS = (
    *(
        "link_id",
        "trace_id",
        "span_id",
        "score_id",
        "run_id",
        "monitor_id",
        "alert_id",
        "webhook_id",
    ),
    *("export_id", "experiment_id", "price_id", "repricing_id", "erasure_id"),
)
# Ids that identify a tenant's rows.
OWNING = ("org_id", "project_id", "key_id", "owner", "admin", "member")


def texts(name: str) -> dict[str, str]:
    return {
        "text": name,
        "session_id": f"{name}/session",
        "reader": f"{name}-reader",
        "erased": f"{name}-erased",
        "email": f"{name}@{name}.example",
        "metric_name": f"{name}_metric",
        "dataset_name": f"{name}-dataset",
        "tested_dataset": f"{name}-tested",
        "item_id": f"{name}/item",
        "code": format_code(hashlib.sha256(name.encode()).digest()),
        "token": format_code(hashlib.sha256(f"link of {name}".encode()).digest()),
        "ticket": format_code(hashlib.sha256(f"ticket of {name}".encode()).digest()),
        "verifier": (name * 43)[:43],
        "project": f"{name} shop",
    }


def with_hex_ids(words: Words) -> dict[str, str]:
    """The words with the ids of the trace and of a span as OpenTelemetry writes them."""
    trace, span = (uuid.UUID(words[name]).hex for name in ("trace_id", "span_id"))
    return {**words, "trace_hex": trace, "span_hex": span[:16]}


def a_full_trace(words: Words) -> dict[str, Any]:
    """A trace with a span, whose texts are all those of the tenant."""
    name, ended = words["text"], {"ended_at": "2026-03-01T09:00:01.25Z"}
    span = a_span(span_id=words["span_id"], model=name, error=name, input=name, output=[name])
    span |= ended | {"completion_start_time": "2026-03-01T09:00:00.4Z", "metadata": {name: name}}
    span |= {"token_usage": {name: name}, "cost": {"total": 7.25}}
    trace = a_trace(trace_id=words["trace_id"], name=name, input=name, output={name: name})
    trace |= ended | {"session_id": words["session_id"], "user_id": words["reader"], "tags": [name]}
    return trace | {"environment": name, "release": name, "metadata": {name: name}, "spans": [span]}


def a_ticket(project: ProjectId, words: Words) -> DownloadTicket:
    """A ticket of the owner. That of the other tenant is bound to a browser."""
    session = BrowserSessionId(uuid.UUID(words["browser_session_id"]))
    now = utc_now()
    return DownloadTicket(
        digest=code_digest(words["ticket"]),
        organization_id=OrganizationId(uuid.UUID(words["org_id"])),
        project_id=project,
        export_id=uuid.UUID(words["export_id"]),
        user_id=UserId(uuid.UUID(words["owner"])),
        session_id=session if words["text"] == CANARY else None,
        name=words["text"],
        created_at=now,
        expires_at=now + TICKET_LIFETIME,
    )


def a_rejection(project: ProjectId, words: Words) -> RecordedRejection:
    """The rejection of a span of the stored trace."""
    text, reason = words["text"], RejectionReason.INVALID_ID
    return RecordedRejection(
        project_id=project,
        id=RejectionId(uuid.uuid4()),
        rejected_at=NOON,
        signal=Signal.TRACES,
        rejection=Rejection(
            reason=reason, message=text, scope=text, service=text, trace_id=words["trace_hex"]
        ),
    )


@dataclass
class TwoTenants:
    """Values of `ours`, `theirs` and `nobody` for the same names; those of `nobody` don't exist."""

    site: Site
    ours: dict[str, str] = field(default_factory=dict)
    theirs: dict[str, str] = field(default_factory=dict)
    nobody: dict[str, str] = field(default_factory=dict)
    people: dict[Role, PersonClient] = field(default_factory=dict)  # our callers
    invited: dict[Role, str] = field(default_factory=dict)  # an invitation to each of them
    sessions: dict[Role, str] = field(default_factory=dict)  # a browser session of each of them
    bearer: dict[str, str] = field(default_factory=dict)  # of the owner among them
    key: dict[str, str] = field(default_factory=dict)
    their_key: dict[str, str] = field(default_factory=dict)
    has_written: bool = False  # since they were made
    first_state: State = field(default_factory=dict)
    first_reading: list[Any] = field(default_factory=list)

    async def begin(self) -> None:
        """Resets both tenants.

        The stores are restored from copies, which takes much less time than filling them.
        """
        if not self.first_state or not await self._restore():
            await self._furnish()
            self.first_reading, self.first_state = (
                await self.other_tenant_reads(),
                self.site.state(),
            )
        self.has_written = False

    async def _restore(self) -> bool:
        """Restores the first state. False if the tenants have to be made again."""
        self.site.restore(self.first_state)
        return not (self.keeps_elsewhere and self.has_written)

    @property
    def keeps_elsewhere(self) -> bool:
        """Whether some of what is stored isn't seen by `Site.state`."""
        return bool(self.site.swapped)

    async def _furnish(self) -> None:
        self.site.begin()
        self.site.now = utc_now()
        self.ours, self.theirs = await self._tenant("ours"), await self._tenant(CANARY)
        ids = {word: str(uuid.uuid4()) for word in self.theirs}
        self.nobody = with_hex_ids(ids | texts(NOBODY))
        organization = OrganizationId(uuid.UUID(self.ours["org_id"]))
        self.people = {
            role: new_member(self.site, organization, f"me-{role.lower()}@ours.example", role)
            for role in Role
        }
        self.invited = {role: self._invitation_to(one) for role, one in self.people.items()}
        self.sessions = {role: self._session_of(one.id) for role, one in self.people.items()}
        self.bearer = self.people[Role.OWNER].bearer
        self.key, self.their_key = self._key(self.ours), self._key(self.theirs)
        # The first request of a credential stores rows, which the tests must not count.
        for person in self.people.values():
            await self.send("GET", "/me", person.bearer)
        await self.send("GET", "/traces", self.key)

    def _invitation_to(self, person: PersonClient) -> str:
        """The id of a new invitation to an organization of neither tenant."""
        new = new_organization(self.site, "inviting")["invitation_id"]
        known, id_ = self.site.store.invitations, InvitationId(uuid.UUID(new))
        known[id_] = replace(known[id_], email=person.email)
        return new

    async def _tenant(self, name: str) -> dict[str, str]:
        """The values of a new tenant, after storing one object of each kind."""
        words = new_organization(self.site, name) | texts(name)
        words = with_hex_ids(words | {word: str(uuid.uuid4()) for word in STORED_IDS})
        words["eval_run_id"], words["user_id"] = words["run_id"], words["member"]
        store, project = self.site.store, ProjectId(uuid.UUID(words["project_id"]))
        key = ApiKeyId(uuid.UUID(words["key_id"]))
        store.projects[project] = replace(
            store.projects[project], name=words["project"], description=name
        )
        store.keys[key] = replace(store.keys[key], name=name)
        self._store_login_code(project, words)
        self._store_trace_link(project, words)
        words["secret"] = self._key(words)["x-api-key"]
        owner = UserId(uuid.UUID(words["owner"]))
        words["browser_session_id"] = self._session_of(owner)
        stored = await self.send("POST", "/traces", self._key(words), a_full_trace(words))
        assert stored.status_code == 202
        await self._store_objects(project, words)
        return words

    def _session_of(self, user: UserId) -> str:
        """The id of a new browser session of the user."""
        session = a_session(
            user_id=user,
            verified_email=self.site.store.users[user].email,
            created_at=utc_now(),
            last_used_at=utc_now(),
        )
        self.site.store.browser_sessions[session.id] = session
        return str(session.id)

    def _store_login_code(self, project: ProjectId, words: Words) -> None:
        now, digest = utc_now(), code_digest(words["code"])
        self.site.store.login_codes[digest] = LoginCode(
            digest=digest,
            user_id=UserId(uuid.UUID(words["owner"])),
            organization_id=OrganizationId(uuid.UUID(words["org_id"])),
            project_id=project,
            challenge=challenge_of(words["verifier"]),
            label=words["text"],
            created_at=now,
            expires_at=now + CODE_LIFETIME,
        )

    def _store_trace_link(self, project: ProjectId, words: Words) -> None:
        """Only our organization allows public links: that of the other tenant doesn't work."""
        store, organization = self.site.store, OrganizationId(uuid.UUID(words["org_id"]))
        known = store.organizations[organization]
        store.organizations[organization] = replace(known, public_links=words["text"] != CANARY)
        link = TraceLink(
            id=uuid.UUID(words["link_id"]),
            digest=code_digest(words["token"]),
            organization_id=organization,
            project_id=project,
            trace_id=TraceId(uuid.UUID(words["trace_id"])),
            is_masked=False,
            has_scores=True,
            created_by=UserId(uuid.UUID(words["owner"])),
            creator=words["text"],
            created_at=utc_now(),
            expires_at=utc_now() + timedelta(days=1),
        )
        store.trace_links[link.id] = link

    async def _store_objects(self, project: ProjectId, words: Words) -> None:
        """One of each object that requests don't create at once."""
        ports, text = replace_ports(self.site.ports, **self.site.swapped), words["text"]
        judging, trace, session = ports.evaluation, words["trace_id"], words["session_id"]
        monitor, erased = words["monitor_id"], {"user": words["erased"]}
        alert = {"monitor": monitor, "webhook": words["webhook_id"]}
        score, prices = words["score_id"], (words["price_id"], words["repricing_id"])
        scored = {"trace": trace, "span": words["span_id"], "session": session}
        await store_score(judging, project, score, **scored, text=text)
        await store_run(judging, project, words["run_id"], trace=trace, text=text)
        await store_monitor(judging, project, monitor, text=text)
        await store_alert(judging, project, words["alert_id"], **alert, text=text)
        await store_custom_metric(judging, project, words["metric_name"], text=text)
        for dataset in (words["dataset_name"], words["tested_dataset"]):
            await store_dataset(
                judging, project, dataset, item=words["item_id"], trace=trace, text=text
            )
        experiment = {"dataset": words["tested_dataset"], "item": words["item_id"], "trace": trace}
        await store_experiment(judging, project, words["experiment_id"], **experiment, text=text)
        erasure, organization = words["erasure_id"], words["org_id"]
        await store_erasure(ports.privacy, project, erasure, organization=organization, **erased)
        await store_export(ports.exporting, project, words["export_id"], text=text)
        await ports.exporting.tickets.add(a_ticket(project, words))
        await store_prices(ports.pricing, project, *prices, text=text)
        await ports.tracing.rejections.add([a_rejection(project, words)])

    def _key(self, words: Words, *scopes: Scope) -> dict[str, str]:
        organization = OrganizationId(uuid.UUID(words["org_id"]))
        return self.site.headers(*scopes, project=words["project"], organization_id=organization)

    def new_key(self, *scopes: Scope) -> dict[str, str]:
        """The headers of a new key of our project."""
        return self._key(self.ours, *scopes)

    def their_key_with(self, *scopes: Scope) -> dict[str, str]:
        """The headers of a new key of the other tenant's project."""
        return self._key(self.theirs, *scopes)

    async def send(self, method: str, path: str, head: Words, body: Any = None) -> httpx.Response:
        if body is None:
            return await self.site.http.request(method, path, headers=dict(head))
        sent = {"content-type": "application/json", **head}
        return await self.site.http.request(method, path, headers=sent, content=json.dumps(body))

    def words(self, whose: Words, role: Role = Role.OWNER) -> dict[str, str]:
        """The values of all placeholders in a request of our caller with this role."""
        callers = {"me": str(self.people[role].id), "invitation_to_me": self.invited[role]}
        callers["my_session"] = self.sessions[role]
        return {**whose, **callers} | {f"ours.{word}": value for word, value in self.ours.items()}

    def own_words(self, spec: EndpointSpec, role: Role = Role.OWNER) -> dict[str, str]:
        """The values with which a request of our caller succeeds."""
        return spec.own_words(self.words(self.ours, role))

    def credentials(self, spec: EndpointSpec) -> list[dict[str, str]]:
        """The headers of each kind of credential that a spec accepts; {} if it needs none."""
        match spec.access:
            case Anonymous():
                return [{}]
            case ProjectScopes():
                token = self.people[Role.MEMBER].bearer
                return [self.key, token | {"x-project-id": self.ours["project_id"]}]
            case ProjectAdmins() | ProjectMembers():
                return [self.bearer | {"x-project-id": self.ours["project_id"]}]
            case SignedIn() | MemberRoles():
                return [self.bearer]
            case AnyHolder():
                return [self.key, self.bearer]

    async def request(self, spec: EndpointSpec, head: Words, words: Words) -> httpx.Response:
        """The response to the request of a spec."""
        place = f"{filled_path(spec.path, words)}?{filled(spec.query, words)}"
        return await self.send(spec.method, place, head, filled(spec.body, words))

    async def other_tenant_reads(self) -> list[Any]:
        """The other tenant's reads of its own data: thousands in a run, so without a client."""
        paths = [filled_path(path, self.theirs) for path in READS]
        read = [
            await exchange(self.site.app, "GET", path, self.their_key, [chunk(b"", more=False)])
            for path in paths
        ]
        return [
            (start["status"], b"".join(part["body"] for part in parts))
            for (start, *parts), _ in read
        ]

    def rows_of_other_tenant(self, state: State) -> list[tuple[str, str, str]]:
        owning = [self.theirs[word] for word in OWNING]
        found = [
            (name, repr(key), repr(row))
            for name, rows in state.items()
            for key, row in rows.items()
        ]
        return [one for one in found if any(id_ in one[1] or id_ in one[2] for id_ in owning)]

    def normalized(self, answer: httpx.Response, sent: Words) -> tuple[int, dict[str, str], str]:
        """A response with names in place of sent values, and without random parts.

        Fails if it contains a value of the other tenant that wasn't sent.
        """
        said = dict(answer.headers)
        for name in ("x-request-id", "content-length", "etag"):  # the ETag is a hash of the text
            said.pop(name, None)
        if "set-cookie" in said:
            said["set-cookie"] = re.sub(r"=[\w-]{43};", "={random};", said["set-cookie"])
        text = answer.text
        if "trace_hex" in sent:
            sent = {**sent, "trace_id": str(uuid.UUID(sent["trace_hex"]))}
        for word, value in sorted({**self.ours, **sent}.items(), key=lambda pair: -len(pair[1])):
            text = text.replace(value, f"{{{word.removeprefix('ours.')}}}")
        assert CANARY not in text
        reported = [word for word, value in self.theirs.items() if value in text]
        assert reported == [], f"{reported} in {text}"
        for pattern in RANDOM:
            text = pattern.sub("{random}", text)
        return answer.status_code, said, text
