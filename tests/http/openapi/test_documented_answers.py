"""Whatever is sent, in order or not, is answered as the OpenAPI document says."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import schemathesis
import schemathesis.openapi
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from domain.identity.login_code import challenge_of
from domain.identity.organization import Role
from domain.ids import InvitationId, OrganizationId, ProjectId
from entrypoints.http.controllers.erasures.examples import ID as ERASURE_ID
from entrypoints.http.controllers.exports.examples import EXPORT_ID
from entrypoints.http.controllers.metrics.examples import NAME
from entrypoints.http.controllers.monitors.examples import ALERT_ID, MONITOR_ID, WEBHOOK_ID
from entrypoints.http.controllers.pricing.examples import PRICE_ID, REPRICING_ID
from entrypoints.http.controllers.runs.schemas import RUN_ID
from entrypoints.http.controllers.scores.examples import SCORE_ID
from entrypoints.http.controllers.traces import examples
from tests.http.conftest import TOKEN, Site, a_trace
from tests.support.clients.contract_checks import operations
from tests.support.clients.documented_answers import acceptable_body, response_checks
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

EXAMPLES = {"quick": 1, "usual": 1, "full": 10}  # a mode, operation and kind of credential
CREDENTIALS = {"authorization", "x-api-key", "x-project-name", "x-project-id", "x-organization-id"}
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
    return response_checks()


def test_every_operation_is_tried() -> None:
    told = operations(SERVED.raw_schema)
    assert set(OPERATIONS) == {f"{method.upper()} {path}" for method, path in told}


def is_managing(operation: Any) -> bool:
    return bool(operation.path.startswith(MANAGED))


class World:
    """What requests of one kind of credential are about: made once, put back before each."""

    def __init__(self) -> None:
        SITE.begin()
        self.head, self.ids = self._made()
        self.tokens, self.state = dict(SITE.tokens), SITE.state()

    def _made(self) -> tuple[dict[str, str], dict[str, str]]:
        """Headers, and what stands for each parameter of a path."""
        raise NotImplementedError

    def begin(self) -> None:
        SITE.clear()
        SITE.tokens.update(self.tokens)
        SITE.restore(self.state)

    def meets(self, case: Any, mode: GenerationMode) -> None:
        """Makes `case` be about what is stored."""
        self.begin()
        for name in [name for name in case.headers if name.lower() in CREDENTIALS]:
            del case.headers[name]  # in place of ours
        for name in case.path_parameters.keys() & self.ids.keys():
            case.path_parameters[name] = self.ids[name]
        self.completes(case, mode)

    def completes(self, case: Any, mode: GenerationMode) -> None:
        """Also of a body as it has to be so that it can be taken."""


class Traced(World):
    """Requests about a project that has one of everything, by a key."""

    def _made(self) -> tuple[dict[str, str], dict[str, str]]:
        project = SITE.project("shop")
        asyncio.run(self._fill(ProjectId(uuid.UUID(project))))
        return self._head(project), STORED

    def _head(self, project: str) -> dict[str, str]:
        return SITE.headers()

    @staticmethod
    async def _fill(project: ProjectId) -> None:
        ports, trace = SITE.ports.evaluation, examples.TRACE_ID
        async with SITE.http as http:
            sent = a_trace(**examples.TRACE)
            answer = await http.post("/traces", headers=SITE.headers(), json=sent)
            assert answer.status_code == 202
        await store_score(ports, project, SCORE_ID, trace=trace)
        await store_run(ports, project, RUN_ID, trace=trace)
        await store_monitor(ports, project, MONITOR_ID)
        await store_alert(ports, project, ALERT_ID, monitor=MONITOR_ID, webhook=WEBHOOK_ID)
        await store_custom_metric(ports, project, NAME)
        organization = str(SITE.organization)
        await store_erasure(SITE.ports.privacy, project, ERASURE_ID, organization=organization)
        await store_export(SITE.ports.exporting, project, EXPORT_ID)
        await store_prices(SITE.ports.pricing, project, PRICE_ID, REPRICING_ID)

    def completes(self, case: Any, mode: GenerationMode) -> None:
        path = case.operation.path
        if mode is GenerationMode.POSITIVE and path.endswith("/template"):
            case.query["metric"] = "coherence"
        if mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
            case.body = acceptable_body(case.body, path)


class TracedByToken(Traced):
    """The same, by a member with a token."""

    def _head(self, project: str) -> dict[str, str]:
        person = new_member(SITE, SITE.organization, "ada@example.com", Role.MEMBER)
        return person.bearer | {"x-project-id": project}


class Managed(World):
    """An owner's requests about an organization that has one of everything."""

    def _made(self) -> tuple[dict[str, str], dict[str, str]]:
        SITE.clear()
        ours, theirs = new_organization(SITE, "ours"), new_organization(SITE, "theirs")
        organization = OrganizationId(uuid.UUID(ours["org_id"]))
        caller = new_member(SITE, organization, "ada@example.com", Role.OWNER)
        self.to_me = InvitationId(uuid.UUID(theirs["invitation_id"]))
        known = SITE.store.invitations
        known[self.to_me] = replace(known[self.to_me], email=caller.email)
        return caller.bearer, ours | {"user_id": ours["member"]}

    def completes(self, case: Any, mode: GenerationMode) -> None:
        if case.operation.path.startswith("/me") and "invitation_id" in case.path_parameters:
            case.path_parameters["invitation_id"] = str(self.to_me)
        if isinstance(case.body, dict) and isinstance(case.body.get("name"), str):
            case.body["name"] = "store"  # or it would hardly ever be a name


class SigningIn(Traced):
    """Requests of a person and of their command line: with a project or a code that is good."""

    def _head(self, project: str) -> dict[str, str]:
        return SITE.headers() | {"authorization": f"Bearer {TOKEN}"}

    def completes(self, case: Any, mode: GenerationMode) -> None:
        if mode is GenerationMode.POSITIVE:
            case.body = LOGINS[case.operation.label](self.head, case.body)


@cache
def made(kind: type[World]) -> World:
    return kind()


def worlds_of(operation: Any) -> Iterator[World]:
    """One for each kind of credential that the operation takes."""
    if is_managing(operation):
        yield made(Managed)
    elif operation.label in LOGINS:
        yield made(SigningIn)
    else:
        yield made(Traced)
        if any("HTTPBearer" in way for way in operation.definition.raw.get("security", ())):
            yield made(TracedByToken)


def tried(operation: Any, mode: GenerationMode, checks: list[Any]) -> Iterator[Counter[int]]:
    """By each kind of credential the statuses of the answers, each of which was as documented."""
    for world in worlds_of(operation):
        yield tried_in(world, operation, mode, checks)


def tried_in(world: World, operation: Any, mode: GenerationMode, checks: list[Any]) -> Counter[int]:
    statuses: Counter[int] = Counter()
    world.begin()

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
def test_valid_requests_get_documented_responses(label: str, checks: list[Any]) -> None:
    for statuses in tried(OPERATIONS[label], GenerationMode.POSITIVE, checks):
        assert min(statuses) < 300


@pytest.mark.parametrize(
    "label",
    [label for label, one in OPERATIONS.items() if one.query or one.body or one.path_parameters],
)
def test_invalid_requests_get_documented_responses(label: str, checks: list[Any]) -> None:
    told = OPERATIONS[label].definition.raw["responses"]
    refused = {401, 403, 409} if is_managing(OPERATIONS[label]) or "409" in told else {401, 403}
    for statuses in tried(OPERATIONS[label], GenerationMode.NEGATIVE, checks):
        assert set(statuses) <= {200, 201, 202, 204, 400, 404, 422} | refused
