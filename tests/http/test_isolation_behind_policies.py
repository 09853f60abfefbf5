"""Isolation over HTTP with row-level security, and without the conditions of the application.

Every operation, with objects of another tenant, served by the role that owns nothing. Statements
lose their conditions on the project, on the organization, or both: the policies alone keep the
tenants apart, so that nothing else may be seen or changed than with the conditions.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from itertools import islice
from typing import Any

import pytest

from tests.http.test_isolation import TOLD_APART, Attempt, Way, mixed_ways, ways
from tests.support.clients.stored_tenants import StoredTenants, new_database
from tests.support.clients.two_tenants import CANARY
from tests.support.endpoints.registry import BY_OPERATION, ENDPOINTS, READS, REQUESTS, operation_of
from tests.support.endpoints.spec import NO_ROLE, EndpointSpec
from tests.support.endpoints.templates import filled, filled_path, named
from tests.support.fakes.forgetful_pool import (
    EVERY_CONDITION,
    ON_ORGANIZATION,
    ON_PROJECT,
    Rule,
)
from tests.support.hypothesis_scale import sampled

pytestmark = pytest.mark.service

MIXED_WAYS_MAX = 20  # of one operation: with eight ids there are 508, and in memory all are tried
# After one change. Over memory, `test_isolation.py` has each read after each change.
READS_TRIED = 12
SUCCEEDING = [one for one in REQUESTS if one.access != NO_ROLE]

KINDS: dict[str, Sequence[Rule]] = {
    "with conditions": (),
    "without those on projects": ON_PROJECT,
    "without those on organizations": ON_ORGANIZATION,
    "without any": EVERY_CONDITION,
}


@pytest.fixture(scope="module")
async def stored(postgres_url: str, pool: Any) -> AsyncIterator[StoredTenants]:
    async with (
        new_database(postgres_url) as (owner, serving),
        StoredTenants.serving(owner, serving) as world,
    ):
        yield world


async def seen(world: StoredTenants, attempt: Attempt, whose: str) -> list[Any]:
    """The response, and the caller's own data after a change, without random parts.

    Fails if a row of the other tenant has changed, or if a response has a value of it.
    """
    await world.begin()
    spec, words = attempt.spec, attempt.words(world, getattr(world, whose))
    head = {"key": world.key, "token": world.bearer, "nothing": {}}[attempt.credential]
    head = head | filled(attempt.head, words)
    said = spec.placeholders | named(*attempt.head.values())
    sent = {word: value for word, value in words.items() if word in said}
    assert CANARY in world.first_rows
    answer = await world.request(spec, head, words)
    assert answer.status_code < 500, answer.text
    has_changed = answer.is_success and spec.method != "GET"
    world.has_written |= has_changed
    responses = [answer]
    if has_changed and spec.is_data_plane:
        reads = sampled(READS, READS_TRIED, ENDPOINTS.index(spec), usually=True)
        responses += [await world.send("GET", filled_path(one, words), head) for one in reads]
    assert await world.rows_of_theirs() == world.first_rows
    return [world.normalized(one, sent) for one in responses]


async def assert_same_response(world: StoredTenants, spec: EndpointSpec, way: Way) -> None:
    attempt = Attempt(spec, *way)
    theirs = await seen(world, attempt, "theirs")
    if spec.operation not in TOLD_APART:
        assert theirs == await seen(world, attempt, "nobody"), attempt


@pytest.mark.parametrize("spec", ENDPOINTS, ids=operation_of)
async def test_foreign_objects_respond_like_unknown_ones(
    stored: StoredTenants, spec: EndpointSpec
) -> None:
    """In the plainest way. The exhaustive tests have each way and each set of conditions."""
    with stored.pool.forgetting(EVERY_CONDITION):
        await assert_same_response(stored, spec, ways(spec)[0])


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spec", ENDPOINTS, ids=operation_of)
async def test_foreign_objects_respond_like_unknown_ones_in_every_way(
    stored: StoredTenants, spec: EndpointSpec, kind: str
) -> None:
    with stored.pool.forgetting(KINDS[kind]):
        for way in [*ways(spec), *islice(mixed_ways(spec), MIXED_WAYS_MAX)]:
            await assert_same_response(stored, spec, way)


@pytest.mark.exhaustive  # it verifies that the first test here tries what it says
async def test_own_requests_need_none_of_these_conditions(stored: StoredTenants) -> None:
    """So each request ran to its end, and all of its statements had lost their conditions."""
    stored.pool.changed.clear()
    for spec in SUCCEEDING:
        await stored.begin()
        with stored.pool.forgetting(EVERY_CONDITION):
            head = stored.credentials(spec)[0]
            answer = await stored.request(spec, head, stored.own_words(spec))
            stored.has_written |= spec.method != "GET"
            assert answer.status_code == spec.status, (spec.operation, answer.text)
            assert await stored.rows_of_theirs() == stored.first_rows
    kinds = Counter(sql.split()[0] for sql in stored.pool.changed)
    assert kinds.total() > 150, kinds
    assert kinds.keys() == {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}


LEAKING: Sequence[tuple[Sequence[Rule], str]] = [
    *((ON_PROJECT, one) for one in ("/evaluations/monitors", "/evaluations/webhooks")),
    (ON_PROJECT, "/traces/exports"),
    *((ON_ORGANIZATION, f"/organizations/{{org_id}}/{one}") for one in ("members", "api-keys")),
]


async def test_without_policies_the_same_requests_leak(postgres_url: str, pool: Any) -> None:
    """Shows that the tests above can fail: the role that serves here passes every policy."""
    async with (
        new_database(postgres_url) as (owner, _),
        StoredTenants.serving(owner, owner) as world,
    ):
        for rules, path in LEAKING:
            spec = BY_OPERATION[f"GET {path}"]
            await world.begin()
            with world.pool.forgetting(rules):
                head, words = world.credentials(spec)[0], world.own_words(spec)
                answer = await world.request(spec, head, words)
            assert CANARY in answer.text, path
