"""Every operation of a running service answers as the OpenAPI document says.

Like tests/http/openapi/test_documented_answers.py, which is faster and finds more faults of HTTP;
this module finds those that involve PostgreSQL, Redis and workers.
"""

import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
import schemathesis.openapi
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from domain.identity.login_code import challenge_of
from tests.e2e.conftest import DevServer, bearer_of
from tests.http.conftest import a_span, a_trace
from tests.support.builders.custom_metric_definitions import RULE
from tests.support.clients.contract_checks import operations
from tests.support.clients.documented_answers import acceptable_body, response_checks
from tests.support.endpoints.registry import BY_OPERATION
from tests.support.endpoints.spec import (
    EndpointSpec,
    MemberRoles,
    ProjectAdmins,
    ProjectMembers,
    SignedIn,
)
from tests.support.waiting import WAIT_MAX_S

pytestmark = pytest.mark.e2e

EXAMPLES = 2  # per mode, operation and credential: all but one use stored objects
TOO_LONG = 431  # a query beyond 64 kB is refused before parsing, and not documented
CREDENTIALS = {"authorization", "x-api-key", "x-project-name", "x-project-id", "x-organization-id"}
VERIFIER = "v" * 43
TEXTS = {
    "text": "text",
    "reader": "gone",
    "erased": "gone",
}  # of requests that name no stored object
# Parameters that name a stored object, or have a form of their own, by path.
QUERIES = {
    "/evaluations/trace-runs/template": {"metric": "coherence"},
    "/evaluations/monitors/cadence": {"cadence": "daily"},
    "/traces/compare": {"a": "trace_id", "b": "trace_id"},
    "/traces/{trace_id}/search": {"query": "word"},
}
# The stored objects may not allow these: nothing failed, the run is over, or one is under way.
MAY_ALWAYS_FAIL = {
    *(f"POST /evaluations/trace-runs/{{run_id}}/{verb}" for verb in ("cancel", "retry")),
    *(f"POST /evaluations/session-runs/{{run_id}}/{verb}" for verb in ("cancel", "retry")),
    "POST /model-prices/reprice",
    # There are no results to close or compare, no file to download, no change of a score to undo,
    # and no session of a browser.
    "POST /experiments/{experiment_id}/close",
    "POST /experiments/compare",
    "POST /traces/exports/{export_id}/ticket",
    "GET /downloads/{ticket}",
    "POST /evaluations/trace-scores/{score_id}/undo",
    "POST /evaluations/session-scores/{score_id}/undo",
    "POST /session",
    "POST /session/check",
    "DELETE /me/sessions/{browser_session_id}",
}


def bearer(server: DevServer, name: str) -> dict[str, str]:
    return bearer_of(server, f"{name}@example.com", name)


class StoredObjects:
    """An organization with one object of each kind, created over HTTP, and both credentials."""

    def __init__(self, http: httpx.Client, server: DevServer) -> None:
        self.http = http
        name = f"p{uuid.uuid4().hex[:8]}"
        self.person = bearer(server, name)
        self.ids: dict[str, str] = {}
        org = self._create("org_id", "/organizations", {"name": name}, self.person)["id"]
        of_org = f"/organizations/{org}"
        self._create("project_id", f"{of_org}/projects", {"name": name}, self.person)
        # with an expiration, since only such keys can be rotated
        kept = {"name": name, "expiration": "90d"}
        key = self._create("key_id", f"{of_org}/api-keys", kept, self.person)["raw_key"]
        self.by_key = {"X-API-Key": key, "X-Project-Name": name}
        self.by_token = self.person | {
            "X-Project-ID": self.ids["project_id"],
            "X-Organization-ID": org,
        }
        self._join(bearer(server, f"{name}x"), f"{name}x@example.com", of_org)
        invited = {"email": f"{name}y@example.com"}
        self._create("invitation_id", f"{of_org}/invitations", invited, self.person)
        self._fill()

    def _post(self, path: str, body: Any, head: dict[str, str]) -> Any:
        answer = self.http.post(path, json=body, headers=head)
        assert answer.is_success, answer.text
        return answer.json()

    def _create(
        self, word: str, path: str, body: Any, head: dict[str, str], name: str = "id"
    ) -> Any:
        made = self._post(path, body, head)
        self.ids[word] = made[name]
        return made

    def _join(self, other: dict[str, str], email: str, of_org: str) -> None:
        """Adds a second member, who invites the first one to another organization."""
        invited = self._post(f"{of_org}/invitations", {"email": email}, self.person)
        self._post(f"/me/invitations/{invited['id']}/accept", None, other)
        self.ids["user_id"] = self.http.get("/me", headers=other).json()["id"]
        theirs = self._post("/organizations", {"name": "theirs"}, other)["id"]
        mine = self.http.get("/me", headers=self.person).json()["email"]
        to_me = self._post(f"/organizations/{theirs}/invitations", {"email": mine}, other)
        self.ids["to_me"] = to_me["id"]

    def _fill(self) -> None:
        head, judged = self.by_key, "/evaluations"
        # First, since the erasure would delete later objects too.
        self._create("erasure_id", "/erasures", {"user_id": "gone"}, head)
        self.ids |= {"span_id": str(uuid.uuid4()), "session_id": "conv-42", "metric_name": "mine"}
        span = a_span(span_id=self.ids["span_id"], model="m", token_usage={"prompt_tokens": 1})
        trace = a_trace(session_id="conv-42", user_id="u", spans=[span])
        self._create("trace_id", "/traces", trace, head, "trace_id")
        of_trace, of_session = {"trace_id": self.ids["trace_id"]}, {"session_id": "conv-42"}
        score = {"name": "coherence", "value": "1"}
        self._create("score_id", f"{judged}/trace-scores", of_trace | score, head)
        self._create("session_score", f"{judged}/session-scores", of_session | score, head)
        run = {"metrics": ["coherence"], "trace_ids": [self.ids["trace_id"]]}
        self._create("run_id", f"{judged}/trace-runs/batch", run, head)
        run = {"metrics": ["agent_reliability"], "session_ids": ["conv-42"]}
        self._create("session_run", f"{judged}/session-runs/batch", run, head)
        monitor = {"name": "m", "target_type": "TRACE", "metrics": ["coherence"]}
        self._create("monitor_id", f"{judged}/monitors", monitor | {"cadence": "daily"}, head)
        alert = {"metric": "coherence", "figure": "score_mean", "threshold": 0.5}
        of_monitor = f"{judged}/monitors/{self.ids['monitor_id']}/alerts"
        self._create("alert_id", of_monitor, alert, head)
        hook = {"url": "https://hooks.example.com"}
        self._create("webhook_id", f"{judged}/webhooks", hook, head)
        metric = {"name": "mine", "kind": "rule", "description": "d", "definition": RULE}
        self._post(f"{judged}/custom-metrics", metric, head)
        self._create("export_id", "/traces/exports", {"format": "csv"}, head)
        price = {"match": "m", "input": "1", "output": "2"}
        self._create("price_id", "/model-prices", price, self.by_token)
        self._create("repricing_id", "/model-prices/reprice", {"models": ["m"]}, head)
        self._test()
        self._share()

    def _test(self) -> None:
        """Adds a dataset, and an experiment on another one."""
        head, item = self.by_key, {"id": "case", "input": {}, "expected": 1, "split": "text"}
        self.ids |= {"dataset_name": "kept", "tested_dataset": "tested", "item_id": "case"}
        for dataset in ("kept", "tested"):
            self._post("/datasets", {"name": dataset}, head)
            self._post(f"/datasets/{dataset}/items/batch", {"items": [item]}, head)
        experiment = {"name": "e", "dataset": "tested", "metrics": ["coherence"]}
        self._create("experiment_id", "/experiments", experiment, head)

    def _share(self) -> None:
        of_org, of_trace = (
            f"/{kind}/{self.ids[word]}"
            for kind, word in (("organizations", "org_id"), ("traces", "trace_id"))
        )
        switched = self.http.put(
            f"{of_org}/sharing", json={"public_links": True}, headers=self.person
        )
        assert switched.is_success, switched.text
        link = self._create("link_id", f"{of_trace}/links", {}, self.by_token)
        self.ids["token"] = link["token"]

    def credentials_for(self, spec: EndpointSpec) -> list[dict[str, str]]:
        """Returns one header set for each kind of credential that an operation accepts."""
        if isinstance(spec.access, ProjectAdmins | ProjectMembers):
            return [self.by_token]
        is_personal = isinstance(spec.access, SignedIn | MemberRoles)
        return [self.person] if is_personal else [self.by_key, self.by_token]

    def id_of(self, word: str, path: str) -> str | None:
        if word == "invitation_id" and path.startswith("/me"):
            return self.ids["to_me"]
        if path.startswith("/evaluations/session-"):
            word = {"run_id": "session_run", "score_id": "session_score"}.get(word, word)
        return self.ids.get(word)

    def use_stored(self, case: Any, mode: GenerationMode) -> None:
        """Changes `case` so that it uses the stored objects."""
        path, spec = case.operation.path, BY_OPERATION[case.operation.label]
        for word in case.path_parameters:
            case.path_parameters[word] = self.id_of(word, path) or case.path_parameters[word]
        if mode is not GenerationMode.POSITIVE:
            return
        case.query |= {word: self.ids.get(of, of) for word, of in QUERIES.get(path, {}).items()}
        if not isinstance(case.body, dict):
            return
        if spec.is_data_plane:
            case.body = acceptable_body(case.body, spec, spec.own_words(TEXTS | self.ids))
        known = self.ids.keys() - {"user_id"}  # which may be any text in a body
        case.body |= {word: self.ids[word] for word in case.body.keys() & known}
        if isinstance(case.body.get("name"), str):
            case.body["name"] = f"n{uuid.uuid4().hex[:8]}"
        if path == "/cli/auth/codes":
            case.body["code_challenge"] = challenge_of(VERIFIER)
        if path == "/cli/auth/exchange":
            asked = {"org_id": self.ids["org_id"], "project_id": self.ids["project_id"]}
            asked |= {"label": "a", "code_challenge": challenge_of(VERIFIER)}
            code = self._post("/cli/auth/codes", asked, self.person)["code"]
            case.body |= {"code": code, "code_verifier": VERIFIER}


@pytest.fixture(scope="module")
def http(dev_server: DevServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=dev_server.url, timeout=WAIT_MAX_S) as http:
        yield http


def run_operation(
    operation: Any, mode: GenerationMode, stored: StoredObjects, checks: list[Any]
) -> Counter[int]:
    """Returns the statuses of the answers, after checking each answer against the document."""
    statuses: Counter[int] = Counter()
    credentials_for = stored.credentials_for(BY_OPERATION[operation.label])

    @settings(
        max_examples=EXAMPLES * len(credentials_for),
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def holds(case: Any) -> None:
        turn = statuses.total()
        case.headers = {k: v for k, v in case.headers.items() if k.lower() not in CREDENTIALS}
        if turn // len(credentials_for) != 1:
            stored.use_stored(case, mode)
        answer = case.call(headers=credentials_for[turn % len(credentials_for)], timeout=WAIT_MAX_S)
        statuses[answer.status_code] += 1
        if answer.status_code != TOO_LONG:
            case.validate_response(answer, checks=checks)

    holds()
    return statuses


@pytest.mark.exhaustive
def test_every_operation_is_answered_as_documented(
    http: httpx.Client, dev_server: DevServer
) -> None:
    """One test, since reads share one set of stored objects."""
    served = schemathesis.openapi.from_url(f"{dev_server.url}/openapi.json")
    checks, seen = response_checks(), {}
    shared = StoredObjects(http, dev_server)
    for found in served.get_all_operations():
        operation = found.ok()
        stored = shared if operation.method == "get" else StoredObjects(http, dev_server)
        modes = [GenerationMode.POSITIVE]
        if operation.query or operation.body or operation.path_parameters:
            modes.append(GenerationMode.NEGATIVE)
        for mode in modes:
            seen[operation.label, mode] = run_operation(operation, mode, stored, checks)
    assert {label for label, _ in seen} == {
        f"{method.upper()} {path}" for method, path in operations(served.raw_schema)
    }
    refused = {
        label
        for (label, mode), statuses in seen.items()
        if mode is GenerationMode.POSITIVE and min(statuses) >= 300
    }
    assert sorted(refused - MAY_ALWAYS_FAIL) == []
