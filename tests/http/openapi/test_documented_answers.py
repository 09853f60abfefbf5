"""Whatever is sent, in order or not, is answered as the OpenAPI document says."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import schemathesis
import schemathesis.openapi
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from domain.errors import NotFound
from domain.identity.login_code import challenge_of
from domain.identity.organization import Role
from domain.ids import InvitationId, OrganizationId, ProjectId
from entrypoints.http.controllers.erasures.examples import ID as ERASURE_ID
from entrypoints.http.controllers.exports.examples import EXPORT_ID
from entrypoints.http.controllers.metrics.examples import NAME
from entrypoints.http.controllers.monitors.alert_examples import ALERT_ID, WEBHOOK_ID
from entrypoints.http.controllers.monitors.examples import MONITOR_ID
from entrypoints.http.controllers.pricing.examples import PRICE_ID, REPRICING_ID
from entrypoints.http.controllers.runs.schemas import RUN_ID
from entrypoints.http.controllers.scores.examples import SCORE_ID
from entrypoints.http.controllers.traces import examples
from tests.http.conftest import TOKEN, Site, a_trace
from tests.support.clients.contract_checks import operations
from tests.support.clients.documented_answers import checks_of_answers, taken
from tests.support.clients.organization_members import Somebody, furnished, joined
from tests.support.clients.priced_project import put_prices
from tests.support.clients.scored_project import (
    put_alert,
    put_custom_metric,
    put_erasure,
    put_export,
    put_monitor,
    put_run,
    put_score,
)

EXAMPLES = {"quick": 6, "full": 10}  # a mode and operation
STORED = {
    "trace_id": examples.TRACE_ID,
    "span_id": examples.SPAN_ID,
    "session_id": "conv-42",
    "score_id": SCORE_ID,
    "run_id": RUN_ID,
    "monitor_id": MONITOR_ID,
    "alert_id": ALERT_ID,
    "webhook_id": WEBHOOK_ID,
    "export_id": EXPORT_ID,
    "metric_name": NAME,
    "erasure_id": ERASURE_ID,
    "price_id": PRICE_ID,
    "repricing_id": REPRICING_ID,
}
MANAGED = ("/me", "/organizations")
SITE = Site()
SERVED = schemathesis.openapi.from_asgi("/openapi.json", SITE.app)
OPERATIONS = {one.ok().label: one.ok() for one in SERVED.get_all_operations()}


def with_a_project(head: dict[str, str], body: Any) -> Any:
    """The body of a request for a login code, for a project of the caller's."""
    issue = SERVED["/cli/auth/codes"]["POST"]
    issue.Case(body=body, media_type="application/json").call(app=SITE.app, headers=head)
    [(organization, _)] = SITE.store.memberships  # which is theirs since that request
    [project] = [
        one.id for one in SITE.store.projects.values() if one.organization_id == organization
    ]
    return body | {"org_id": str(organization), "project_id": str(project)}


def with_a_code(head: dict[str, str], body: Any) -> Any:
    """The body of an exchange of a login code, with one that is good."""
    issue = SERVED["/cli/auth/codes"]["POST"]
    asked = dict.fromkeys(("org_id", "project_id"), examples.TRACE_ID)
    asked |= {"label": "a", "code_challenge": challenge_of(body["code_verifier"])}
    case = issue.Case(body=with_a_project(head, asked), media_type="application/json")
    return body | {"code": case.call(app=SITE.app, headers=head).json()["code"]}


LOGINS = {"POST /cli/auth/codes": with_a_project, "POST /cli/auth/exchange": with_a_code}


@pytest.fixture(scope="module")
def checks() -> list[Any]:
    return checks_of_answers()


def test_every_operation_is_tried() -> None:
    told = operations(SERVED.raw_schema)
    assert set(OPERATIONS) == {f"{method.upper()} {path}" for method, path in told}


def is_managing(operation: Any) -> bool:
    return bool(operation.path.startswith(MANAGED))


class Traced:
    """Requests of a key, or of a person with a token; a trace is stored."""

    def __init__(self, *, by_key: bool = True) -> None:
        SITE.begin()
        project = SITE.project("shop")
        self.head = SITE.headers()
        if not by_key:
            person = joined(SITE, SITE.organization, "ada@example.com", Role.MEMBER)
            self.head = person.bearer | {"x-project-id": project}

    def meets(self, case: Any, mode: GenerationMode) -> None:
        """Makes `case` be about what is stored."""
        if mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
            case.body = taken(case.body, case.operation.path)
        case.headers.pop("X-Organization-ID", None)  # as it would be one of nobody
        SITE.store.erased.clear()  # or what an erasure took couldn't be stored again
        for name in case.path_parameters.keys() & STORED.keys():
            case.path_parameters[name] = STORED[name]
        stored = case.operation.schema["/traces"]["POST"].Case(
            body=a_trace(**examples.TRACE), media_type="application/json"
        )
        assert stored.call(app=SITE.app, headers=self.head).status_code == 202
        for of in SITE.store.projects:
            with suppress(NotFound):  # of a project that it isn't about
                asyncio.run(self._scored(of))

    @staticmethod
    async def _scored(project: ProjectId) -> None:
        ports, trace = SITE.ports.evaluation, examples.TRACE_ID
        await put_score(ports, project, SCORE_ID, trace=trace)
        await put_run(ports, project, RUN_ID, trace=trace)
        await put_monitor(ports, project, MONITOR_ID)
        await put_alert(ports, project, ALERT_ID, monitor=MONITOR_ID, webhook=WEBHOOK_ID)
        await put_custom_metric(ports, project, NAME)
        organization = str(SITE.organization)
        await put_erasure(SITE.ports.privacy, project, ERASURE_ID, organization=organization)
        await put_export(SITE.ports.exports, project, EXPORT_ID)  # an erasure takes others away
        await put_prices(SITE.ports.pricing, project, PRICE_ID, REPRICING_ID)


class Managed:
    """An owner's requests; their organization is furnished anew each time it is met."""

    def __init__(self) -> None:
        SITE.begin()
        self.caller = self._caller()

    @property
    def head(self) -> dict[str, str]:
        return self.caller.bearer

    def _caller(self) -> Somebody:
        SITE.clear()
        self.ours, theirs = furnished(SITE, "ours"), furnished(SITE, "theirs")
        organization = OrganizationId(uuid.UUID(self.ours["org_id"]))
        caller = joined(SITE, organization, "ada@example.com", Role.OWNER)
        self.to_me = InvitationId(uuid.UUID(theirs["invitation_id"]))
        known = SITE.store.invitations
        known[self.to_me] = replace(known[self.to_me], email=caller.email)
        return caller

    def meets(self, case: Any, _mode: GenerationMode) -> None:
        """As above; a name that is taken from nowhere is hardly ever one."""
        self.caller = self._caller()
        case.headers.pop("X-Organization-ID", None)  # or nothing else would be looked at
        stored = self.ours | {"user_id": self.ours["member"]}
        if case.operation.path.startswith("/me"):
            stored["invitation_id"] = str(self.to_me)
        for name in case.path_parameters.keys() & stored.keys():
            case.path_parameters[name] = stored[name]
        if isinstance(case.body, dict) and isinstance(case.body.get("name"), str):
            case.body["name"] = "store"


class SigningIn(Traced):
    """Requests of a person and of their command line: with a project or a code that is good."""

    def __init__(self) -> None:
        super().__init__()
        self.head |= {"authorization": f"Bearer {TOKEN}"}

    def meets(self, case: Any, mode: GenerationMode) -> None:
        if mode is GenerationMode.POSITIVE:
            case.body = LOGINS[case.operation.label](self.head, case.body)


def worlds_of(operation: Any) -> Iterator[Traced | Managed]:
    """One for each kind of credential that the operation takes."""
    if is_managing(operation):
        yield Managed()
    elif operation.label in LOGINS:
        yield SigningIn()
    else:
        yield Traced()
        if any("HTTPBearer" in way for way in operation.definition.raw.get("security", ())):
            yield Traced(by_key=False)


def tried(operation: Any, mode: GenerationMode, checks: list[Any]) -> Iterator[Counter[int]]:
    """By each kind of credential the statuses of the answers, each of which was as documented."""
    for world in worlds_of(operation):
        yield tried_in(world, operation, mode, checks)


def tried_in(
    world: Traced | Managed, operation: Any, mode: GenerationMode, checks: list[Any]
) -> Counter[int]:
    statuses: Counter[int] = Counter()

    @settings(
        max_examples=EXAMPLES[settings.get_current_profile_name()],
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def holds(case: Any) -> None:
        if statuses.total() % 2 == 0:  # every other one meets something that is stored
            world.meets(case, mode)
        answer = case.call(app=SITE.app, headers=world.head)
        statuses[answer.status_code] += 1
        case.validate_response(answer, checks=checks)

    holds()
    return statuses


@pytest.mark.parametrize("label", OPERATIONS)
def test_what_is_in_order(label: str, checks: list[Any]) -> None:
    for statuses in tried(OPERATIONS[label], GenerationMode.POSITIVE, checks):
        assert min(statuses) < 300


@pytest.mark.parametrize(
    "label",
    [label for label, one in OPERATIONS.items() if one.query or one.body or one.path_parameters],
)
def test_what_is_not_in_order(label: str, checks: list[Any]) -> None:
    told = OPERATIONS[label].definition.raw["responses"]
    refused = {401, 403, 409} if is_managing(OPERATIONS[label]) or "409" in told else {401, 403}
    for statuses in tried(OPERATIONS[label], GenerationMode.NEGATIVE, checks):
        assert set(statuses) <= {200, 201, 202, 204, 400, 404, 422} | refused
