"""Whatever is sent to a running service, in order or not, is answered as its document says.

As tests/http/openapi/test_documented_answers.py, which is quicker and finds more of what HTTP
gets wrong; this finds what only PostgreSQL, Redis and workers can.
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

from adapters.oidc.tokens import DevelopmentIssuer
from application.use_cases import utc_now
from domain.identity.login_code import challenge_of
from entrypoints.composition.sign_in import ISSUER_FOLDER
from tests.e2e.conftest import DevServer
from tests.http.conftest import a_span, a_trace
from tests.support.builders.custom_metric_definitions import RULE
from tests.support.clients.contract_checks import operations
from tests.support.clients.documented_answers import checks_of_answers, taken
from tests.support.waiting import WAIT_MAX_S

pytestmark = pytest.mark.e2e

EXAMPLES = 2  # a mode, operation and credential: all but one are about what is stored
MANAGED = ("/me", "/organizations", "/cli/auth/codes")
TOO_LONG = "Invalid HTTP request received."  # a query beyond 64 kB isn't read, nor documented
CREDENTIALS = {"authorization", "x-api-key", "x-project-name", "x-project-id", "x-organization-id"}
VERIFIER = "v" * 43
# What is made here may be in no state for it: nothing failed, the run is over, one is under way.
MAYBE_NEVER = {
    *(f"POST /evaluations/trace-runs/{{run_id}}/{verb}" for verb in ("cancel", "retry")),
    *(f"POST /evaluations/session-runs/{{run_id}}/{verb}" for verb in ("cancel", "retry")),
    "POST /model-prices/reprice",
}


def bearer(server: DevServer, name: str) -> dict[str, str]:
    issuer = DevelopmentIssuer.load_or_create(server.folder / ISSUER_FOLDER)
    email = f"{name}@example.com"
    token = issuer.token(subject=email, email=email, name=name, expires_in_s=3_600, now=utc_now())
    return {"Authorization": f"Bearer {token}"}


class World:
    """An organization with one of everything, made as callers make it, and both credentials."""

    def __init__(self, http: httpx.Client, server: DevServer) -> None:
        self.http = http
        name = f"p{uuid.uuid4().hex[:8]}"
        self.person = bearer(server, name)
        self.ids: dict[str, str] = {}
        org = self._kept("org_id", "/organizations", {"name": name}, self.person)["id"]
        of_org = f"/organizations/{org}"
        self._kept("project_id", f"{of_org}/projects", {"name": name}, self.person)
        kept = {"name": name, "expiration": "90d"}  # or it couldn't be rotated
        key = self._kept("key_id", f"{of_org}/api-keys", kept, self.person)["raw_key"]
        self.by_key = {"X-API-Key": key, "X-Project-Name": name}
        self.by_token = self.person | {
            "X-Project-ID": self.ids["project_id"],
            "X-Organization-ID": org,
        }
        self._join(bearer(server, f"{name}x"), f"{name}x@example.com", of_org)
        invited = {"email": f"{name}y@example.com"}
        self._kept("invitation_id", f"{of_org}/invitations", invited, self.person)
        self._fill()

    def _post(self, path: str, body: Any, head: dict[str, str]) -> Any:
        answer = self.http.post(path, json=body, headers=head)
        assert answer.is_success, answer.text
        return answer.json()

    def _kept(self, word: str, path: str, body: Any, head: dict[str, str], name: str = "id") -> Any:
        made = self._post(path, body, head)
        self.ids[word] = made[name]
        return made

    def _join(self, other: dict[str, str], email: str, of_org: str) -> None:
        """A second member; and an invitation of theirs to the first."""
        invited = self._post(f"{of_org}/invitations", {"email": email}, self.person)
        self._post(f"/me/invitations/{invited['id']}/accept", None, other)
        self.ids["user_id"] = self.http.get("/me", headers=other).json()["id"]
        theirs = self._post("/organizations", {"name": "theirs"}, other)["id"]
        mine = self.http.get("/me", headers=self.person).json()["email"]
        to_me = self._post(f"/organizations/{theirs}/invitations", {"email": mine}, other)
        self.ids["to_me"] = to_me["id"]

    def _fill(self) -> None:
        head, judged = self.by_key, "/evaluations"
        # Before what it would take along.
        self._kept("erasure_id", "/erasures", {"user_id": "gone"}, head)
        self.ids |= {"span_id": str(uuid.uuid4()), "session_id": "conv-42", "metric_name": "mine"}
        span = a_span(span_id=self.ids["span_id"], model="m", token_usage={"prompt_tokens": 1})
        trace = a_trace(session_id="conv-42", user_id="u", spans=[span])
        self._kept("trace_id", "/traces", trace, head, "trace_id")
        of_trace, of_session = {"trace_id": self.ids["trace_id"]}, {"session_id": "conv-42"}
        score = {"name": "coherence", "value": "1"}
        self._kept("score_id", f"{judged}/trace-scores", of_trace | score, head)
        self._kept("session_score", f"{judged}/session-scores", of_session | score, head)
        run = {"metrics": ["coherence"], "trace_ids": [self.ids["trace_id"]]}
        self._kept("run_id", f"{judged}/trace-runs/batch", run, head)
        run = {"metrics": ["agent_reliability"], "session_ids": ["conv-42"]}
        self._kept("session_run", f"{judged}/session-runs/batch", run, head)
        monitor = {"name": "m", "target_type": "TRACE", "metrics": ["coherence"]}
        self._kept("monitor_id", f"{judged}/monitors", monitor | {"cadence": "daily"}, head)
        alert = {"metric": "coherence", "figure": "score_mean", "threshold": 0.5}
        of_monitor = f"{judged}/monitors/{self.ids['monitor_id']}/alerts"
        self._kept("alert_id", of_monitor, alert, head)
        hook = {"url": "https://hooks.example.com"}
        self._kept("webhook_id", f"{judged}/webhooks", hook, head)
        metric = {"name": "mine", "kind": "rule", "description": "d", "definition": RULE}
        self._post(f"{judged}/custom-metrics", metric, head)
        self._kept("export_id", "/traces/exports", {"format": "csv"}, head)
        price = {"match": "m", "input": "1", "output": "2"}
        self._kept("price_id", "/model-prices", price, head)
        self._kept("repricing_id", "/model-prices/reprice", {"models": ["m"]}, head)

    def heads(self, path: str) -> list[dict[str, str]]:
        """The credentials that an operation takes, each kind of them."""
        return [self.person] if path.startswith(MANAGED) else [self.by_key, self.by_token]

    def id_of(self, word: str, path: str) -> str | None:
        if word == "invitation_id" and path.startswith("/me"):
            return self.ids["to_me"]
        if path.startswith("/evaluations/session-"):
            word = {"run_id": "session_run", "score_id": "session_score"}.get(word, word)
        return self.ids.get(word)

    def meets(self, case: Any, mode: GenerationMode) -> None:
        """Makes `case` be about what is stored here."""
        path = case.operation.path
        for word in case.path_parameters:
            case.path_parameters[word] = self.id_of(word, path) or case.path_parameters[word]
        if mode is not GenerationMode.POSITIVE:
            return
        if path.endswith("/template"):
            case.query["metric"] = "coherence"
        if not isinstance(case.body, dict):
            return
        if not path.startswith(MANAGED):
            case.body = taken(case.body, path)
        known = self.ids.keys() - {"user_id"}  # which is any text in a body
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


def tried(operation: Any, mode: GenerationMode, world: World, checks: list[Any]) -> Counter[int]:
    """The statuses of the answers, each of which was as documented."""
    statuses: Counter[int] = Counter()
    heads = world.heads(operation.path)

    @settings(
        max_examples=EXAMPLES * len(heads),
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def holds(case: Any) -> None:
        turn = statuses.total()
        case.headers = {k: v for k, v in case.headers.items() if k.lower() not in CREDENTIALS}
        if turn // len(heads) != 1:
            world.meets(case, mode)
        answer = case.call(headers=heads[turn % len(heads)], timeout=WAIT_MAX_S)
        statuses[answer.status_code] += 1
        if TOO_LONG not in answer.text:
            case.validate_response(answer, checks=checks)

    holds()
    return statuses


def test_every_operation_is_answered_as_documented(
    http: httpx.Client, dev_server: DevServer
) -> None:
    """One test: what is made for reads serves all of them."""
    served = schemathesis.openapi.from_url(f"{dev_server.url}/openapi.json")
    checks, seen = checks_of_answers(), {}
    shared = World(http, dev_server)
    for found in served.get_all_operations():
        operation = found.ok()
        world = shared if operation.method == "get" else World(http, dev_server)
        modes = [GenerationMode.POSITIVE]
        if operation.query or operation.body or operation.path_parameters:
            modes.append(GenerationMode.NEGATIVE)
        for mode in modes:
            seen[operation.label, mode] = tried(operation, mode, world, checks)
    assert {label for label, _ in seen} == {
        f"{method.upper()} {path}" for method, path in operations(served.raw_schema)
    }
    refused = {
        label
        for (label, mode), statuses in seen.items()
        if mode is GenerationMode.POSITIVE and min(statuses) >= 300
    }
    assert refused <= MAYBE_NEVER
