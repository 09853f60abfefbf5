"""Every operation of the OpenAPI document, with objects of another tenant.

Each responds as if they didn't exist, reveals none of them, and changes none of them.
"""

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Any

import pytest

from domain.identity.login_code import challenge_of
from tests.http.conftest import Site, a_span, a_trace
from tests.support.clients.contract_checks import operations
from tests.support.clients.two_tenants import VERIFIER, TwoTenants, Words, filled, named
from tests.support.fixtures import data_plane


@dataclass(frozen=True)
class Case:
    """Templates of the query and the body of an operation."""

    query: str = ""
    body: Any = None


MEMBER = "/organizations/{org_id}/members/{user_id}"
KEY = "/organizations/{org_id}/api-keys/{key_id}"
INVITATION = "/organizations/{org_id}/invitations/{invitation_id}"
PROJECT = "/organizations/{org_id}/projects/{project_id}"
NAMED = Case(body={"name": "{text}"})
PAGE = "limit=200&offset=0"
MARCH = "started_after=2026-03-01&started_before=2026-04-01"
AUTHOR = "0e2d4a9c-1b7e-4c58-9f3a-6d5c4b3a2f10"  # of an imported score; not looked up
LATER = "2026-03-02"  # than the stored objects, so that lists have one order
SPAN = a_span(started_at=LATER, span_id="{span_id}", parent_span_id="{span_id}", model="{text}")
TRACE = a_trace(started_at=LATER, trace_id="{trace_id}", spans=[SPAN]) | {
    "session_id": "{session_id}",
    "user_id": "{reader}",
}
SCORE = {"name": "{text}", "value": "1"}
DEFINED = {
    "description": "{text}",
    "definition": {"path": "trace.name", "op": "eq", "value": "{text}"},
}
FIGURES = {
    "summary": "",
    "trend": "metric_name={text}",
    "distribution": "metric_name={text}",
}
CASES: dict[str, Case] = {
    "GET /": Case(),
    "GET /health": Case(),
    "GET /health/ready": Case(),
    "POST /cli/auth/codes": Case(
        body={
            "org_id": "{org_id}",
            "project_id": "{project_id}",
            "code_challenge": challenge_of(VERIFIER),
            "label": "{text}",
        }
    ),
    "POST /cli/auth/exchange": Case(body={"code": "{code}", "code_verifier": VERIFIER}),
    "GET /evaluations/providers": Case(),
    "GET /evaluations/session-metrics": Case(),
    "GET /evaluations/trace-metrics": Case(),
    "GET /evaluations/trace-runs/template": Case("metric={metric_name}"),
    "POST /evaluations/trace-runs": Case(
        body={
            "metrics": ["coherence", "{metric_name}"],
            "name": "{text}",
            "filters": {"session_id": "{session_id}", "user_id": "{reader}", "name": "{text}"},
        }
    ),
    **{
        f"POST /evaluations/trace-runs/batch{end}": Case(
            body={"metrics": ["coherence", "{metric_name}"], "trace_ids": ["{trace_id}"]}
        )
        for end in ("", "/estimate")
    },
    **{
        f"POST /evaluations/session-runs{end}": Case(
            body={"metrics": ["agent_reliability"], "filters": {"user_id": "{reader}"}}
        )
        for end in ("", "/estimate")
    },
    **{
        f"POST /evaluations/session-runs/batch{end}": Case(
            body={"metrics": ["agent_reliability"], "session_ids": ["{session_id}"]}
        )
        for end in ("", "/estimate")
    },
    "POST /evaluations/trace-runs/estimate": Case(
        body={
            "metrics": ["task_completion", "{metric_name}"],
            "model": "gpt-4o",
            "filters": {"session_id": "{session_id}", "user_id": "{reader}", "name": "{text}"},
        }
    ),
    **{
        f"{method} /evaluations/{kind}-runs{path}": Case(query)
        for kind in ("trace", "session")
        for method, path, query in (
            *(("GET", "", PAGE), ("GET", "/{run_id}", ""), ("GET", "/{run_id}/scores", "")),
            *(("DELETE", "/{run_id}", "delete_scores=true"), ("POST", "/{run_id}/retry", "")),
            *(("POST", "/{run_id}/cancel", ""), ("GET", "/{run_id}/usage", "")),
        )
    },
    "POST /evaluations/monitors": Case(
        body={
            "name": "{text}",
            "target_type": "TRACE",
            "metrics": ["coherence", "{metric_name}"],
            "cadence": "daily",
            "filters": {"session_id": "{session_id}", "name": "{text}"},
        }
    ),
    "GET /evaluations/monitors": Case(f"{PAGE}&status=ACTIVE"),
    "GET /evaluations/monitors/{monitor_id}": Case(),
    "PATCH /evaluations/monitors/{monitor_id}": Case(
        body={"metrics": ["{metric_name}"], "filters": {"name": "{text}"}}
    ),
    "DELETE /evaluations/monitors/{monitor_id}": Case(),
    "GET /evaluations/monitors/{monitor_id}/runs": Case(PAGE),
    **{
        f"POST /evaluations/monitors/{{monitor_id}}/{verb}": Case()
        for verb in ("pause", "resume", "trigger")
    },
    "POST /evaluations/monitors/{monitor_id}/alerts": Case(
        body={"metric": "{metric_name}", "figure": "score_mean", "threshold": 0.5}
    ),
    "GET /evaluations/monitors/{monitor_id}/alerts": Case(),
    "DELETE /evaluations/monitors/{monitor_id}/alerts/{alert_id}": Case(),
    "GET /evaluations/monitors/{monitor_id}/alert-changes": Case(PAGE),
    "POST /evaluations/webhooks": Case(body={"url": "https://hooks.example.com/{text}"}),
    "GET /evaluations/webhooks": Case(),
    "DELETE /evaluations/webhooks/{webhook_id}": Case(),
    "POST /evaluations/webhooks/{webhook_id}/test": Case(),
    "GET /evaluations/webhooks/{webhook_id}/deliveries": Case(PAGE),
    "POST /evaluations/custom-metrics": Case(
        body={"name": "{metric_name}", "kind": "rule", **DEFINED}
    ),
    "GET /evaluations/custom-metrics": Case("archived=false"),
    **{
        f"{method} /evaluations/custom-metrics/{{metric_name}}{path}": Case(body=body)
        for method, path, body in (
            *(("GET", "", None), ("PUT", "", DEFINED), ("GET", "/revisions", None)),
            *(("POST", "/archive", None), ("POST", "/restore", None)),
            ("POST", "/dry-run", {"trace_id": "{trace_id}", "ask": True}),
        )
    },
    "POST /evaluations/trace-scores": Case(body={"trace_id": "{trace_id}", **SCORE}),
    "GET /evaluations/trace-scores": Case(
        f"{PAGE}&trace_id={{trace_id}}&eval_run_id={{eval_run_id}}&name={{text}}"
    ),
    "GET /evaluations/trace-scores/{trace_id}": Case(),
    "PATCH /evaluations/trace-scores/{score_id}": Case(body={"value": "1"}),
    "DELETE /evaluations/trace-scores/{score_id}": Case(),
    "POST /evaluations/session-scores": Case(body={"session_id": "{session_id}", **SCORE}),
    "GET /evaluations/session-scores": Case(
        f"{PAGE}&session_id={{session_id}}&eval_run_id={{eval_run_id}}&name={{text}}"
    ),
    "GET /evaluations/session-scores/{session_id}": Case(),
    "DELETE /evaluations/session-scores/{score_id}": Case(),
    **{
        f"GET /evaluations/analytics/{kind}-scores/{figure}": Case(query)
        for kind in ("trace", "session")
        for figure, query in FIGURES.items()
    },
    "GET /evaluations/analytics/agreement": Case("name={text}"),
    "GET /evaluations/analytics/annotation-queue": Case("name={text}"),
    "GET /evaluations/analytics/session-scores/history/{session_id}": Case(),
    "GET /evaluations/analytics/session-scores/comparison": Case("metric_name={text}"),
    "GET /me": Case(),
    "GET /me/invitations": Case(),
    "POST /me/invitations/{invitation_id}/accept": Case(),
    "POST /me/invitations/{invitation_id}/decline": Case(),
    "GET /organizations": Case(),
    "POST /organizations": NAMED,
    "DELETE /organizations/{org_id}": Case(),
    "GET /organizations/{org_id}": Case(),
    "PATCH /organizations/{org_id}": NAMED,
    "GET /organizations/{org_id}/api-keys": Case(),
    "POST /organizations/{org_id}/api-keys": NAMED,
    f"DELETE {KEY}": Case("permanent=true"),
    f"GET {KEY}": Case(),
    f"POST {KEY}/rotate": Case(),
    "GET /organizations/{org_id}/audit-log": Case(PAGE),
    "GET /organizations/{org_id}/invitations": Case(),
    "POST /organizations/{org_id}/invitations": Case(body={"email": "{email}"}),
    f"DELETE {INVITATION}": Case(),
    "GET /organizations/{org_id}/members": Case(),
    f"DELETE {MEMBER}": Case(),
    f"PATCH {MEMBER}": Case(body={"role": "ADMIN"}),
    "GET /organizations/{org_id}/projects": Case(),
    "POST /organizations/{org_id}/projects": Case(body={"name": "{project}"}),
    f"DELETE {PROJECT}": Case(),
    f"GET {PROJECT}": Case(),
    f"PUT {PROJECT}/retention": Case(body={"days": 9}),
    f"PATCH {PROJECT}": Case(body={"name": "{project}", "description": "{text}"}),
    "POST /erasures": Case(body={"user_id": "{reader}"}),
    "GET /erasures": Case(PAGE),
    "GET /erasures/{erasure_id}": Case(),
    "POST /erasures/{erasure_id}/check": Case(body={"session_id": "{session_id}"}),
    "POST /model-prices": Case(body={"match": "{text}", "input": "1", "output": "2"}),
    "GET /model-prices": Case(),
    "DELETE /model-prices/{price_id}": Case(),
    "GET /model-prices/unpriced": Case("days=90"),
    "POST /model-prices/reprice": Case(body={"models": ["{text}"], "dry_run": False}),
    "GET /model-prices/reprice/{repricing_id}": Case(),
    "GET /organizations/{org_id}/usage": Case("by=metric"),
    f"GET {PROJECT}/budget": Case(),
    f"PUT {PROJECT}/budget": Case(body={"monthly_usd": 5}),
    "GET /sessions": Case(f"{PAGE}&user_id={{reader}}&query={{text}}"),
    "GET /sessions/analytics": Case(MARCH),
    "DELETE /sessions/{session_id}": Case(),
    "GET /sessions/{session_id}": Case(PAGE),
    "GET /traces": Case(f"{PAGE}&session_id={{session_id}}&user_id={{reader}}&name={{text}}"),
    "POST /traces": Case(body=TRACE),
    "GET /traces/analytics": Case(f"{MARCH}&metric=models"),
    "GET /traces/export": Case("session_id={session_id}&user_id={reader}&name={text}"),
    "POST /traces/import": Case(
        body={
            "traces": [
                TRACE
                | {
                    "scores": [
                        {
                            "id": "{score_id}",
                            "project_id": "{project_id}",
                            "author_user_id": AUTHOR,
                            "name": "{text}",
                            "source": "ANNOTATION",
                            "outcome": "scored",
                            "value": "1",
                            "created_at": LATER,
                            "updated_at": LATER,
                        }
                    ]
                }
            ]
        }
    ),
    "POST /traces/exports": Case(
        body={
            "format": "csv",
            "filters": {"session_id": "{session_id}", "user_id": "{reader}", "name": "{text}"},
        }
    ),
    "GET /traces/exports": Case(),
    "GET /traces/exports/{export_id}": Case(),
    "GET /traces/exports/{export_id}/download": Case(),
    "DELETE /traces/exports/{export_id}": Case(),
    "POST /traces/batch": Case(
        body={"traces": [TRACE, a_trace(started_at=LATER, trace_id="{trace_id}")]}
    ),
    "POST /traces/batch/delete": Case(body={"trace_ids": ["{trace_id}"]}),
    "POST /traces/batch/tags": Case(body={"trace_ids": ["{trace_id}"], "add_tags": ["new"]}),
    "GET /traces/users": Case(PAGE),
    "DELETE /traces/{trace_id}": Case(),
    "GET /traces/{trace_id}": Case(),
    "GET /traces/{trace_id}/prices": Case(),
    "PATCH /traces/{trace_id}": Case(body={"session_id": "{session_id}", "user_id": "{reader}"}),
    "POST /traces/{trace_id}/spans": Case(body=[SPAN]),
    "PATCH /traces/{trace_id}/spans/{span_id}": Case(body={"name": "new"}),
}
PUBLIC = ("/health", "/cli/auth/exchange")
MANAGED = ("/me", "/organizations", "/cli/auth/codes")
DATA = ("/traces", "/sessions", "/evaluations", "/erasures", "/model-prices")
ON_DATA = [label for label in CASES if label.split()[1].startswith(DATA)]
# Names whose value can be the other tenant's, while all others are the caller's own.
IDS = {"org_id", "project_id", "key_id", "invitation_id", "user_id", "code"} | {
    *("trace_id", "span_id", "session_id", "score_id", "run_id", "eval_run_id"),
    *("monitor_id", "alert_id", "webhook_id", "export_id", "metric_name", "erasure_id"),
    *("price_id", "repricing_id"),
}
# In the contract, foreign invitations (403) differ from unknown ones (404): a person with the link
# learns that it is for another address.
TOLD_APART = [label for label in CASES if label.startswith("POST /me/invitations/")]
# Reads of the caller's own data after a write.
READS = (
    *("/traces", "/traces/{trace_id}", "/sessions", "/sessions/{session_id}", "/traces/users"),
    *("/evaluations/trace-scores", "/evaluations/session-scores"),
    *("/evaluations/trace-runs", "/evaluations/session-runs", "/evaluations/monitors"),
    *("/evaluations/monitors/{monitor_id}/alerts", "/evaluations/webhooks"),
    *("/evaluations/monitors/{monitor_id}/alert-changes",),
    *("/evaluations/webhooks/{webhook_id}/deliveries", "/erasures", "/traces/exports"),
    *("/evaluations/custom-metrics", "/evaluations/custom-metrics/{metric_name}"),
    *("/model-prices", "/model-prices/unpriced", "/model-prices/reprice/{repricing_id}"),
)
OURS_PROJECT = {"x-project-id": "{ours.project_id}"}
THEIR_PROJECT = {"x-project-id": "{project_id}"}
OURS, THEIRS = {"x-organization-id": "{ours.org_id}"}, {"x-organization-id": "{org_id}"}


def heads(path: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The credentials and headers of each way to send a request, the plain ones first."""
    if path in {"/", "/health/ready", *PUBLIC}:
        yield from (("nothing", {}), ("key", THEIR_PROJECT), ("token", THEIR_PROJECT | THEIRS))
    elif path.startswith(MANAGED):
        yield from (("token", {}), ("token", THEIRS), ("token", OURS | THEIR_PROJECT))
    else:
        yield "key", {"x-project-name": "{ours.project}"}
        yield "token", OURS_PROJECT
        yield "key", {"x-project-name": "{project}"}
        yield "key", {"x-project-name": "{ours.project}"} | THEIR_PROJECT | THEIRS
        yield from (("token", THEIR_PROJECT), ("token", THEIR_PROJECT | OURS))
        yield from (("token", THEIR_PROJECT | THEIRS), ("token", OURS_PROJECT | THEIRS))


type Way = tuple[set[str], str, dict[str, str]]
"""The ids that are another tenant's, the credential, and the other headers."""


def ids_of(label: str) -> list[str]:
    case = CASES[label]
    return sorted(named(label, case.query, case.body) & IDS)


def ways(label: str) -> list[Way]:
    """Each way to send the request, with ids of another tenant only."""
    return [(set(ids_of(label)), *way) for way in heads(label.split()[1])]


def mixed_ways(label: str) -> Iterator[Way]:
    """The plain ways, with some ids of another tenant and the others of the caller's own."""
    ids, known = ids_of(label), list(heads(label.split()[1]))
    some = chain.from_iterable(combinations(ids, size) for size in range(1, len(ids)))
    plain = known[:2] if len(known) > 3 else known[:1]
    return ((set(one), *way) for one in some for way in plain)


@pytest.fixture(scope="module")
async def over_memory() -> AsyncIterator[TwoTenants]:
    world = TwoTenants(Site())
    async with world.site.http:
        yield world


@dataclass(frozen=True)
class Attempt:
    """A request for an object of another tenant, in a new pair of tenants."""

    label: str
    foreign: set[str]
    credential: str
    head: dict[str, str]

    def words(self, world: TwoTenants, other: Words) -> dict[str, str]:
        mine = named(self.label, CASES[self.label].body, CASES[self.label].query) & IDS
        own = {word: world.ours[word] for word in mine - self.foreign}
        return dict(other) | own | {f"ours.{word}": value for word, value in world.ours.items()}

    async def seen(self, world: TwoTenants, whose: str) -> list[Any]:
        """The response, and the caller's own data afterwards, without random parts."""
        await world.begin()
        words = self.words(world, getattr(world, whose))
        head = {name: words[value[1:-1]] for name, value in self.head.items()}
        head |= {"key": world.key, "token": world.bearer, "nothing": {}}[self.credential] | head
        case, (method, path) = CASES[self.label], self.label.split()
        said = named(self.label, case.query, case.body, *self.head.values())
        sent = {word: value for word, value in words.items() if word in said}
        before = world.site.state()
        place = f"{quoted(path, words)}?{filled(case.query, words)}"
        answer = await world.send(method, place, head, filled(case.body, words))
        assert answer.status_code < 500
        after = world.site.state()
        world.has_written |= answer.is_success and method != "GET"
        has_changed = after != before or (world.keeps_elsewhere and method != "GET")
        if has_changed:
            assert world.rows_of_other_tenant(after) == world.rows_of_other_tenant(before)
            assert await world.other_tenant_reads() == world.first_reading
        if not answer.is_success or method == "GET":
            projects = (
                before.pop("projects"),
                after.pop("projects"),
            )  # a project name may have created one
            assert after == before
            assert projects[0].items() <= projects[1].items()
        seen = [world.normalized(answer, sent)]
        if has_changed and path.startswith(DATA) and method != "GET":
            for read in READS:
                again = await world.send("GET", quoted(read, words), head)
                seen.append(world.normalized(again, sent))
        return seen


def quoted(path: str, words: Words) -> str:
    return filled(path, {word: value.replace("/", "%2F") for word, value in words.items()})


async def assert_same_response(world: TwoTenants, label: str, way: Way) -> None:
    """Fails where ids of another tenant are answered otherwise than unknown ids."""
    attempt = Attempt(label, *way)
    theirs = await attempt.seen(world, "theirs")
    if label not in TOLD_APART:
        assert theirs == await attempt.seen(world, "nobody"), attempt


@pytest.mark.parametrize("label", CASES)
async def test_foreign_objects_respond_like_unknown_ones(
    over_memory: TwoTenants, label: str
) -> None:
    for way in ways(label):
        await assert_same_response(over_memory, label, way)


@pytest.mark.exhaustive
@pytest.mark.parametrize("label", [label for label in CASES if len(ids_of(label)) > 1])
async def test_foreign_objects_among_own_ones_respond_like_unknown_ones(
    over_memory: TwoTenants, label: str
) -> None:
    for way in mixed_ways(label):
        await assert_same_response(over_memory, label, way)


@pytest.fixture(scope="module")
async def over_postgres(pool: Any) -> AsyncIterator[TwoTenants]:
    async with data_plane.over_postgres(pool) as plane:
        names = ("traces", "sessions", "analytics", "evaluation", "exporting", "privacy", "pricing")
        world = TwoTenants(Site(swapped={name: getattr(plane, name) for name in names}))
        async with world.site.http:
            yield world


@pytest.mark.service
@pytest.mark.parametrize("label", ON_DATA)
async def test_foreign_objects_respond_like_unknown_ones_on_postgres(
    over_postgres: TwoTenants, label: str
) -> None:
    for way in ways(label)[:2]:
        await assert_same_response(over_postgres, label, way)


async def test_cursor_of_another_tenant_reveals_nothing(over_memory: TwoTenants) -> None:
    world = over_memory
    await world.begin()
    for _ in range(2):
        more = a_trace(session_id=f"{world.theirs['text']}-2", user_id=f"{world.theirs['text']}-2")
        await world.send("POST", "/traces", world.their_key, more)
    for path in ("/traces", "/sessions", "/traces/users"):
        page = await world.send("GET", f"{path}?limit=1", world.their_key)
        cursor = page.json()["next_cursor"]
        answer = await world.send("GET", f"{path}?limit=1&cursor={cursor}", world.key)
        assert answer.status_code in {200, 422}
        world.normalized(answer, {"cursor": cursor})


# Fields that exclude a field of the case.
NOT_BOTH = {
    "POST /erasures": {"session_id"},
    "POST /erasures/{erasure_id}/check": {"user_id"},
}


# Custom metrics are for traces only; the metric of analytics is an enumeration.
BUILT_IN = {
    *(f"POST /evaluations/session-runs{end}" for end in ("", "/batch")),
    *(f"POST /evaluations/session-runs{end}/estimate" for end in ("", "/batch")),
    "GET /traces/analytics",
}


async def test_every_operation_has_a_case_with_all_its_ids(site: Site) -> None:
    document = (await site.http.get("/openapi.json")).json()
    told = {f"{method.upper()} {path}": one for (method, path), one in operations(document).items()}
    assert set(told) == set(CASES)
    for label, one in told.items():
        case = CASES[label]
        assert ("requestBody" in one) is (case.body is not None), label
        sent = {*re.findall(r'"(\w+_ids?)"', repr(case.body).replace("'", '"'))}
        sent |= {*re.findall(r"(\w+_id)=", case.query)}
        fields = set(input_names(document, one))
        ids = {name for name in fields if re.search(r"_ids?$", name)}
        assert ids - NOT_BOTH.get(label, set()) <= sent, label
        if fields & {"metric", "metrics"} and label not in BUILT_IN:
            assert "metric_name" in named(case.query, case.body), label


def input_names(document: Any, one: Any) -> Iterator[str]:
    """The names of the query parameters, and of the body's fields at every depth."""
    yield from (told["name"] for told in one["parameters"] if told["in"] == "query")
    yield from _fields(document, one.get("requestBody", {}))


def _fields(document: Any, schema: Any) -> Iterator[str]:
    match schema:
        case {"$ref": ref}:
            yield from _fields(document, document["components"]["schemas"][ref.split("/")[-1]])
        case dict():
            yield from schema.get("properties", {})
            for value in schema.values():
                yield from _fields(document, value)
        case list():
            for value in schema:
                yield from _fields(document, value)
