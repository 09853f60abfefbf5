"""Two organizations with one of each object, and what one of them learns about the other."""

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from application.use_cases import utc_now
from domain.identity.login_code import (
    CODE_LIFETIME,
    LoginCode,
    challenge_of,
    code_digest,
    format_code,
)
from domain.identity.organization import Role
from domain.ids import ApiKeyId, OrganizationId, ProjectId, UserId
from tests.http.conftest import Site, State, a_span, a_trace
from tests.support.clients.organization_members import new_member, new_organization
from tests.support.clients.priced_project import store_prices
from tests.support.clients.scored_project import (
    store_alert,
    store_custom_metric,
    store_erasure,
    store_export,
    store_monitor,
    store_run,
    store_score,
)

type Words = Mapping[str, str]
"""The values that a request may name, by their names in a template."""

CANARY, NOBODY = "canary7f3c", "nobody7f3c"  # of equal length
VERIFIER = "v" * 43
RANDOM = (
    re.compile(r"pp_[0-9a-f]{7,64}"),
    re.compile(r"whsec_[\w+/]{43}="),
    re.compile(r"\b[0-9a-f]{64}\b"),
    re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00"),
    re.compile(r'(?<=")[0-9a-f]{32}(?:[0-9a-f]{32})?(?=")'),
    re.compile(r'(?<="code":")[\w-]{43}'),
)
# Ids that identify a tenant's rows.
OWNING = ("org_id", "project_id", "key_id", "owner", "admin", "member")


def texts(name: str) -> dict[str, str]:
    return {
        "text": name,
        "session_id": f"{name}/session",
        "reader": f"{name}-reader",
        "email": f"{name}@{name}.example",
        "metric_name": f"{name}_metric",
        "code": format_code(hashlib.sha256(name.encode()).digest()),
    }


def filled(template: Any, words: Words) -> Any:
    """A JSON template with its names replaced by values."""
    match template:
        case str():
            return re.sub(r"{(\w+)}", lambda found: words[found[1]], template)
        case dict():
            return {key: filled(value, words) for key, value in template.items()}
        case list():
            return [filled(value, words) for value in template]
    return template


def named(*templates: Any) -> set[str]:
    """The names in templates."""
    return set(re.findall(r"{(\w+)}", json.dumps(templates)))


@dataclass
class TwoTenants:
    """Values of `ours`, `theirs` and `nobody` for the same names; those of `nobody` don't exist."""

    site: Site
    ours: dict[str, str] = field(default_factory=dict)
    theirs: dict[str, str] = field(default_factory=dict)
    nobody: dict[str, str] = field(default_factory=dict)
    bearer: dict[str, str] = field(default_factory=dict)
    key: dict[str, str] = field(default_factory=dict)
    their_key: dict[str, str] = field(default_factory=dict)
    has_written: bool = False  # since they were made
    first_state: State = field(default_factory=dict)
    first_reading: list[Any] = field(default_factory=list)

    async def begin(self) -> None:
        """Both tenants as they are at first.

        What is in memory is put back, since to make it takes a hundred times as long; what is
        kept elsewhere is made again after a write.
        """
        if not self.first_state or (self.keeps_elsewhere and self.has_written):
            self.has_written = False
            await self._furnish()
            self.first_reading, self.first_state = (
                await self.other_tenant_reads(),
                self.site.state(),
            )
        else:
            self.site.restore(self.first_state)

    @property
    def keeps_elsewhere(self) -> bool:
        """Whether some of what is stored isn't seen by `Site.state`."""
        return bool(self.site.swapped)

    async def _furnish(self) -> None:
        self.site.begin()
        self.site.now = utc_now()
        self.ours, self.theirs = await self._tenant("ours"), await self._tenant(CANARY)
        ids = {word: str(uuid.uuid4()) for word in self.theirs}
        self.nobody = ids | texts(NOBODY)
        organization = OrganizationId(uuid.UUID(self.ours["org_id"]))
        self.bearer = new_member(self.site, organization, "me@ours.example", Role.OWNER).bearer
        self.key, self.their_key = self._key(self.ours), self._key(self.theirs)
        # The first request of a credential stores rows, which the tests must not count.
        await self.send("GET", "/me", self.bearer)
        await self.send("GET", "/traces", self.key)

    async def _tenant(self, name: str) -> dict[str, str]:
        store, words = self.site.store, new_organization(self.site, name) | texts(name)
        project, key = (
            ProjectId(uuid.UUID(words["project_id"])),
            ApiKeyId(uuid.UUID(words["key_id"])),
        )
        store.projects[project] = replace(
            store.projects[project], name=f"{name} shop", description=name
        )
        store.keys[key] = replace(store.keys[key], name=name)
        ids = ("trace_id", "span_id", "score_id", "run_id", "monitor_id", "alert_id", "webhook_id")
        words |= {
            word: str(uuid.uuid4()) for word in (*ids, "export_id", "price_id", "repricing_id")
        }
        words["eval_run_id"] = words["run_id"]
        words["user_id"] = words["member"]
        words["project"] = f"{name} shop"
        now = utc_now()
        digest = code_digest(words["code"])
        store.login_codes[digest] = LoginCode(
            digest=digest,
            user_id=UserId(uuid.UUID(words["owner"])),
            organization_id=OrganizationId(uuid.UUID(words["org_id"])),
            project_id=project,
            challenge=challenge_of(name),
            label=name,
            created_at=now,
            expires_at=now + CODE_LIFETIME,
        )
        span = a_span(span_id=words["span_id"], model=name, error=name, input=name, output=[name])
        span |= {"metadata": {name: name}, "token_usage": {name: name}, "cost": {"total": 7.25}}
        trace = a_trace(trace_id=words["trace_id"], name=name, input=name, output={name: name})
        trace |= {"session_id": words["session_id"], "user_id": words["reader"], "tags": [name]}
        trace |= {"environment": name, "release": name, "metadata": {name: name}, "spans": [span]}
        stored = await self.send("POST", "/traces", self._key(words), trace)
        assert stored.status_code == 202
        ports = replace(self.site.ports, **self.site.swapped)
        await store_score(
            ports.evaluation,
            project,
            words["score_id"],
            trace=words["trace_id"],
            session=words["session_id"],
            text=name,
        )
        run, trace = words["run_id"], words["trace_id"]
        await store_run(ports.evaluation, project, run, trace=trace, text=name)
        monitor = words["monitor_id"]
        await store_monitor(ports.evaluation, project, monitor, text=name)
        alert, webhook = words["alert_id"], words["webhook_id"]
        await store_alert(
            ports.evaluation, project, alert, monitor=monitor, webhook=webhook, text=name
        )
        await store_custom_metric(ports.evaluation, project, words["metric_name"], text=name)
        words["erasure_id"] = str(uuid.uuid4())
        await store_erasure(
            ports.privacy, project, words["erasure_id"], organization=words["org_id"]
        )
        await store_export(ports.exporting, project, words["export_id"], text=name)
        price, repricing = words["price_id"], words["repricing_id"]
        await store_prices(ports.pricing, project, price, repricing, text=name)
        return words

    def _key(self, words: Words) -> dict[str, str]:
        organization = OrganizationId(uuid.UUID(words["org_id"]))
        return self.site.headers(project=words["project"], organization_id=organization)

    async def send(self, method: str, path: str, head: Words, body: Any = None) -> httpx.Response:
        content = None if body is None else json.dumps(body)
        return await self.site.http.request(method, path, headers=dict(head), content=content)

    async def other_tenant_reads(self) -> list[Any]:
        """The other tenant's reads of its own data."""
        paths = (
            *(f"/traces/{self.theirs['trace_id']}", "/traces", "/sessions", "/traces/users"),
            *("/evaluations/trace-scores", "/evaluations/session-scores"),
            *("/evaluations/trace-runs", "/evaluations/session-runs", "/evaluations/monitors"),
            f"/evaluations/monitors/{self.theirs['monitor_id']}/alerts",
            f"/evaluations/monitors/{self.theirs['monitor_id']}/alert-changes",
            f"/evaluations/webhooks/{self.theirs['webhook_id']}/deliveries",
            *("/evaluations/webhooks", "/evaluations/custom-metrics", "/evaluations/trace-metrics"),
            f"/evaluations/custom-metrics/{self.theirs['metric_name']}/revisions",
            *("/traces/exports", "/erasures", f"/erasures/{self.theirs['erasure_id']}"),
            *("/model-prices", "/model-prices/unpriced"),
            f"/model-prices/reprice/{self.theirs['repricing_id']}",
        )
        return [(await self.send("GET", path, self.their_key)).json() for path in paths]

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
        for name in ("x-request-id", "content-length"):
            said.pop(name, None)
        text = answer.text
        for word, value in sorted({**self.ours, **sent}.items(), key=lambda pair: -len(pair[1])):
            text = text.replace(value, f"{{{word.removeprefix('ours.')}}}")
        assert CANARY not in text
        told = [word for word, value in self.theirs.items() if value in text]
        assert told == [], f"{told} in {text}"
        for pattern in RANDOM:
            text = pattern.sub("{random}", text)
        return answer.status_code, said, text
