"""Every operation of the OpenAPI document, with objects of another tenant.

Each responds as if they didn't exist, reveals none of them, and changes none of them.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Any, cast

import pytest

from domain.identity.audit import AuditAction
from tests.http.conftest import Site, State, a_trace
from tests.support.clients.contract_checks import operations
from tests.support.clients.two_tenants import TwoTenants
from tests.support.endpoints.registry import (
    BY_OPERATION,
    ENDPOINTS,
    READS,
    operation_of,
)
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
from tests.support.endpoints.templates import Words, filled, filled_path, named
from tests.support.hypothesis_scale import sampled

# Names whose value can be the other tenant's, while all others are the caller's own.
IDS = {
    "org_id",
    "project_id",
    "key_id",
    "invitation_id",
    "user_id",
    "code",
    "ticket",
    "token",
    "link_id",
} | {
    "browser_session_id",
    *("trace_id", "span_id", "session_id", "score_id", "run_id", "eval_run_id"),
    *("monitor_id", "alert_id", "webhook_id", "export_id", "metric_name", "erasure_id", "erased"),
    *("price_id", "repricing_id", "trace_hex", "span_hex"),
}
# In the contract, foreign invitations (403) differ from unknown ones (404): a person with the link
# learns that it is for another address.
TOLD_APART = [one for one in BY_OPERATION if one.startswith("POST /me/invitations/")]
OURS_PROJECT = {"x-project-id": "{ours.project_id}"}
THEIR_PROJECT = {"x-project-id": "{project_id}"}
OURS, THEIRS = {"x-organization-id": "{ours.org_id}"}, {"x-organization-id": "{org_id}"}


def heads(spec: EndpointSpec) -> Iterator[tuple[str, dict[str, str]]]:
    """The credentials and headers of each way to send a request, the plain ones first."""
    match spec.access:
        case Anonymous():
            yield from (("nothing", {}), ("key", THEIR_PROJECT), ("token", THEIR_PROJECT | THEIRS))
        case SignedIn() | MemberRoles():
            yield from (("token", {}), ("token", THEIRS), ("token", OURS | THEIR_PROJECT))
        case AnyHolder():
            yield from (("key", {}), ("token", {}), ("token", THEIRS), ("key", THEIR_PROJECT))
        case ProjectAdmins() | ProjectMembers():
            yield "token", OURS_PROJECT
            yield from (("token", THEIR_PROJECT), ("token", THEIR_PROJECT | OURS))
            yield from (("token", THEIR_PROJECT | THEIRS), ("token", OURS_PROJECT | THEIRS))
        case ProjectScopes():
            yield "key", {"x-project-name": "{ours.project}"}
            yield "token", OURS_PROJECT
            yield "key", {"x-project-name": "{project}"}
            yield "key", {"x-project-name": "{ours.project}"} | THEIR_PROJECT | THEIRS
            yield from (("token", THEIR_PROJECT), ("token", THEIR_PROJECT | OURS))
            yield from (("token", THEIR_PROJECT | THEIRS), ("token", OURS_PROJECT | THEIRS))


type Way = tuple[set[str], str, dict[str, str]]
"""The ids that are another tenant's, the credential, and the other headers."""


def ids_of(spec: EndpointSpec) -> list[str]:
    return sorted(spec.placeholders & IDS)


def ways(spec: EndpointSpec) -> list[Way]:
    """Each way to send the request, with ids of another tenant only.

    Only `make test-all` takes all: else the plainest one and another for each operation, by turns.
    """
    plainest, *others = heads(spec)
    tried = [plainest, *sampled(others, 1, ENDPOINTS.index(spec), usually=True)]
    return [(set(ids_of(spec)), *way) for way in tried]


def mixed_ways(spec: EndpointSpec) -> Iterator[Way]:
    """The plain ways, with some ids of another tenant and the others of the caller's own."""
    ids, known = ids_of(spec), list(heads(spec))
    some = chain.from_iterable(combinations(ids, size) for size in range(1, len(ids)))
    plain = known[:2] if len(known) > 3 else known[:1]
    return ((set(one), *way) for one in some for way in plain)


@dataclass(frozen=True)
class Attempt:
    """A request for an object of another tenant, in a new pair of tenants."""

    spec: EndpointSpec
    foreign: set[str]
    credential: str
    head: dict[str, str]

    def words(self, world: TwoTenants, other: Words) -> dict[str, str]:
        own = {word: world.ours[word] for word in ids_of(self.spec) if word not in self.foreign}
        return world.words(other) | own

    async def seen(self, world: TwoTenants, whose: str) -> list[Any]:
        """The response, and the caller's own data afterwards, without random parts."""
        await world.begin()
        spec, words = self.spec, self.words(world, getattr(world, whose))
        head = {"key": world.key, "token": world.bearer, "nothing": {}}[self.credential]
        head = head | filled(self.head, words)
        said = spec.placeholders | named(*self.head.values())
        sent = {word: value for word, value in words.items() if word in said}
        before = world.site.state()
        answer = await world.request(spec, head, words)
        assert answer.status_code < 500
        after = world.site.state()
        world.has_written |= answer.is_success and spec.method != "GET"
        has_changed = after != before or (world.keeps_elsewhere and spec.method != "GET")
        if has_changed:
            assert world.rows_of_other_tenant(after) == world.rows_of_other_tenant(before)
            # A request with unknown ids names nothing of the other tenant.
            if whose == "theirs" or world.keeps_elsewhere:
                assert await world.other_tenant_reads() == world.first_reading
        if not answer.is_success or spec.method == "GET":
            made = new_rows(before, after, "projects")  # a project name may have created one
            entries = new_rows(before, after, "audit_log")
            if spec.audit is not None and answer.is_success:  # our own log has our own read
                entries = [one for one in entries if one.action != spec.audit.action]
            before, after = dict(before), dict(after)
            for state in (before, after):  # the hashes of the entries above
                state.pop("audit_heads")
            assert after == before
            assert [(one.action, one.resource_id) for one in entries] == [
                (AuditAction.PROJECT_CREATED, str(one.id)) for one in made
            ]
        seen = [world.normalized(answer, sent)]
        if has_changed and spec.is_data_plane and spec.method != "GET":
            for read in READS:  # without a query, which would name foreign values
                again = await world.send("GET", filled_path(read, words), head)
                seen.append(world.normalized(again, sent))
        return seen


def new_rows(before: State, after: State, table: str) -> list[Any]:
    """Removes the table from both, and returns the rows that were added. No row has changed."""
    rows = cast("dict[str, Any]", before).pop(table)
    more = cast("dict[str, Any]", after).pop(table)
    assert rows.items() <= more.items()
    return [row for key, row in more.items() if key not in rows]


async def assert_same_response(world: TwoTenants, spec: EndpointSpec, way: Way) -> None:
    """Fails where ids of another tenant are answered otherwise than unknown ids."""
    attempt = Attempt(spec, *way)
    theirs = await attempt.seen(world, "theirs")
    if spec.operation not in TOLD_APART:
        assert theirs == await attempt.seen(world, "nobody"), attempt


@pytest.mark.parametrize("spec", ENDPOINTS, ids=operation_of)
async def test_foreign_objects_respond_like_unknown_ones(
    tenants: TwoTenants, spec: EndpointSpec
) -> None:
    for way in ways(spec):
        await assert_same_response(tenants, spec, way)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "spec", [one for one in ENDPOINTS if len(ids_of(one)) > 1], ids=operation_of
)
async def test_foreign_objects_among_own_ones_respond_like_unknown_ones(
    tenants: TwoTenants, spec: EndpointSpec
) -> None:
    for way in mixed_ways(spec):
        await assert_same_response(tenants, spec, way)


async def test_cursor_of_another_tenant_reveals_nothing(tenants: TwoTenants) -> None:
    world = tenants
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


# Custom metrics are for traces only; the metric of analytics is an enumeration.
BUILT_IN = {
    *(f"POST /evaluations/session-runs{end}" for end in ("", "/batch")),
    *(f"POST /evaluations/session-runs{end}/estimate" for end in ("", "/batch")),
    "GET /traces/analytics",
}


async def test_every_request_names_all_ids(site: Site) -> None:
    document = (await site.http.get("/openapi.json")).json()
    for spec in ENDPOINTS:
        served = operations(document)[spec.method.lower(), spec.path]
        assert ("requestBody" in served) is (spec.body is not None), spec.operation
        sent = {*re.findall(r'"(\w+_ids?)"', json.dumps(spec.body))}
        sent |= {*re.findall(r"(\w+_id)=", spec.query)}
        fields = set(input_names(document, served))
        # An id that is excluded leads nowhere: `not_user_id` and the like take rows away.
        ids = {name for name in fields if re.search(r"^(?!not_).*_ids?$", name)}
        assert ids - set(spec.excluded) <= sent, spec.operation
        if fields & {"metric", "metrics"} and spec.operation not in BUILT_IN:
            assert "metric_name" in named(spec.query, spec.body), spec.operation


def input_names(document: Any, one: Any) -> Iterator[str]:
    """The names of the query parameters, and of the body's fields at every depth."""
    yield from (reported["name"] for reported in one["parameters"] if reported["in"] == "query")
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
