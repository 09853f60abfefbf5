"""Each request counts in a bucket of its route class and its principal."""

from uuid import UUID

from domain.identity.organization import Role
from domain.ids import OrganizationId
from entrypoints.http.middleware.rate_limits import RouteClass
from tests.http.conftest import TOKEN, Site, a_trace
from tests.support.clients.organization_members import new_member, new_organization
from tests.support.clients.rate_limited_app import HEADERS, LimitedSite
from tests.support.endpoints.registry import ENDPOINTS

BEARER = {"authorization": f"Bearer {TOKEN}"}
PAGES = ("/docs", "/openapi.json", "/cli-login")


# --- classes -------------------------------------------------------------------------------------


async def test_every_operation_counts_in_its_class(limited: LimitedSite) -> None:
    class_by_count = {}
    for count, route_class in enumerate(RouteClass, 1000):
        limited.set_limit(route_class, count)
        class_by_count[count] = route_class
    site = limited.site
    ours = new_organization(site, "ours")
    person = new_member(site, OrganizationId(UUID(ours["org_id"])), "a@x.example", Role.OWNER)
    document = (await limited.request("GET", "/openapi.json")).json()
    for spec in ENDPOINTS:
        # The limiter counts the request before its other checks.
        path = spec.path.replace("{org_id}", ours["org_id"]).replace("{", "").replace("}", "")
        heads = person.bearer, {"x-project-id": ours["project_id"]}
        answer = await limited.request(spec.method, path, *heads)
        count = answer.headers.get("ratelimit-limit")
        found = count and class_by_count[int(count)]
        assert found == (None if spec.limited_by_volume else spec.route_class), (
            spec.operation,
            answer.text,
        )
        responses = document["paths"][spec.path][spec.method.lower()]["responses"]
        assert ("429" in responses) is (spec.route_class is not None)
        if spec.operation == "DELETE /organizations/{org_id}":
            site.begin()
            ours = new_organization(site, "ours")
            person = new_member(
                site, OrganizationId(UUID(ours["org_id"])), "a@x.example", Role.OWNER
            )


async def test_pages_count_by_address(limited: LimitedSite) -> None:
    for count, path in enumerate(PAGES, 1):
        assert await limited.remaining(path=path) == 100 - count
    assert await limited.remaining(path="/docs", at="192.0.2.2") == 99
    assert await limited.remaining(path="/") == 96


async def test_health_is_never_limited(limited: LimitedSite) -> None:
    limited.set_limit(RouteClass.DEFAULT, 1)
    assert await limited.remaining(path="/") == 0
    for _ in range(3):
        for path in ("/health", "/health/ready"):
            answer = await limited.request("GET", path, {"x-api-key": "wrong"})
            assert answer.status_code == 200
            assert not set(HEADERS) & set(answer.headers)


async def test_headers_are_absent_without_limits(site: Site) -> None:
    answer = await site.http.get("/traces", headers=site.headers())
    refused = await site.http.get("/traces")
    assert [answer.status_code, refused.status_code] == [200, 401]
    assert not set(HEADERS) & {*answer.headers, *refused.headers}


# --- principals ----------------------------------------------------------------------------------


async def test_key_has_one_bucket_over_projects_and_addresses(limited: LimitedSite) -> None:
    one, other = limited.site.headers(), limited.site.headers()
    assert await limited.remaining(one) == 99
    assert await limited.remaining(one, {"x-project-name": "another"}, at="192.0.2.2") == 98
    assert await limited.remaining(other) == 99


async def test_person_has_one_bucket_over_tokens_projects_and_planes(limited: LimitedSite) -> None:
    site = limited.site
    site.tokens["another"] = site.tokens[TOKEN]
    assert await limited.remaining(BEARER, path="/me") == 99
    [(organization, _)] = site.store.memberships
    projects = [{"x-project-id": site.project(name, organization)} for name in ("a", "b")]
    assert await limited.remaining(BEARER, projects[0]) == 98
    assert await limited.remaining({"authorization": "bearer another"}, projects[1]) == 97
    assert (
        await limited.remaining(BEARER, path=f"/organizations/{organization}", at="10.9.9.9") == 96
    )
    assert await limited.remaining(limited.site.headers()) == 99


async def test_ids_queries_and_methods_share_a_bucket(limited: LimitedSite) -> None:
    head, counted = limited.site.headers(), 0
    paths = ["/traces/00000000-0000-4000-8000-{:012}", "/sessions/{}", "/traces?offset={}"]
    for number in range(3):
        for path in paths:
            for method in ("GET", "DELETE") if "?" not in path else ("GET",):
                answer = await limited.request(method, path.format(number), head)
                counted += 1
                assert int(answer.headers["ratelimit-remaining"]) == 100 - counted
    assert await limited.remaining(head, path="/traces/") == 99 - counted


async def test_classes_have_separate_buckets(limited: LimitedSite) -> None:
    head = limited.site.headers()
    limited.set_limit(RouteClass.INGEST, 1)
    limited.set_limit(RouteClass.DEFAULT, 1)
    for expected in (202, 429):
        assert (
            await limited.request("POST", "/traces", head, json=a_trace())
        ).status_code == expected
    batch = await limited.request("POST", "/traces/batch", head, json={"traces": [a_trace()]})
    assert batch.status_code == 429
    for expected in (200, 429):
        assert (await limited.request("GET", "/traces", head)).status_code == expected


async def test_exchange_counts_by_address_even_with_a_token(limited: LimitedSite) -> None:
    limited.set_limit(RouteClass.CLI_EXCHANGE, 2)
    body = {"code": "x" * 43, "code_verifier": "v" * 43}
    heads = (limited.site.headers(), BEARER, {})
    statuses = [
        (await limited.request("POST", "/cli/auth/exchange", head, json=body)).status_code
        for head in heads
    ]
    assert statuses == [401, 401, 429]
    other = await limited.request("POST", "/cli/auth/exchange", at="192.0.2.2", json=body)
    assert other.status_code == 401
    assert (
        await limited.remaining(path="/") == 99
    )  # a wrong code does not count as a failed authentication


# --- failed authentication ------------------------------------------------------------------------

GUESSES: list[dict[str, str]] = [
    {},
    {"x-api-key": "pp_" + "0" * 64, "x-project-name": "shop"},
    {"authorization": "Bearer wrong", "x-project-id": "0" * 32},
    {"authorization": "Basic abc"},
]


async def test_failed_credentials_count_by_address(limited: LimitedSite) -> None:
    limited.set_limit(RouteClass.DEFAULT, len(GUESSES))
    headers, ways = (
        limited.site.headers(),
        [("POST", "/traces"), ("GET", "/traces"), ("GET", "/me")],
    )
    for number, guess in enumerate(GUESSES):
        answer = await limited.request(*ways[number % 3], guess)
        assert answer.status_code == 401
        assert answer.headers["ratelimit-limit"] == str(len(GUESSES))
        assert answer.headers["ratelimit-remaining"] == str(len(GUESSES) - 1 - number)
    for way in ways:
        for guess in GUESSES:
            answer = await limited.request(*way, guess)
            assert answer.status_code == 429
            assert "www-authenticate" not in answer.headers
    assert (await limited.request("GET", "/docs")).status_code == 429  # the same bucket
    # Failures of others at the same address do not limit authenticated callers.
    assert (await limited.request("GET", "/traces", headers)).status_code == 200
    assert (await limited.request("POST", "/traces", headers, json=a_trace())).status_code == 202
    assert (await limited.request("GET", "/me", BEARER)).status_code == 200
    assert (await limited.request("GET", "/me", at="192.0.2.2")).status_code == 401


async def test_authenticated_requests_do_not_count_by_address(limited: LimitedSite) -> None:
    head = limited.site.headers()
    for _ in range(3):
        await limited.request("GET", "/traces", head)
        await limited.request("GET", "/me", BEARER)
    assert await limited.remaining(path="/") == 99


async def test_random_token_next_to_a_bad_key_counts_by_address(limited: LimitedSite) -> None:
    limited.set_limit(RouteClass.INGEST, 3)
    head = limited.site.headers()
    statuses = [
        (
            await limited.request(
                "POST",
                "/traces",
                head,
                {"authorization": f"Bearer {number}", "x-request-id": str(number)},
                {"x-forwarded-for": f"198.51.100.{number}", "x-project-id": str(number)},
                json=a_trace(),
            )
        ).status_code
        for number in range(5)
    ]
    assert statuses == [202, 202, 202, 429, 429]


# --- addresses ------------------------------------------------------------------------------------


async def test_forwarded_address_counts_only_from_a_trusted_proxy(limited: LimitedSite) -> None:
    claim = {"x-forwarded-for": "203.0.113.9"}
    assert await limited.remaining(claim, path="/", at="10.0.0.1") == 99
    assert await limited.remaining(claim, path="/", at="10.0.0.2") == 98
    assert await limited.remaining(path="/", at="203.0.113.9") == 97
    assert await limited.remaining(claim, path="/", at="203.0.113.1") == 99
    assert await limited.remaining({"x-forwarded-for": "1.1.1.1"}, path="/", at="203.0.113.1") == 98
    spoofed = {"x-forwarded-for": "1.1.1.1, 203.0.113.9"}
    assert await limited.remaining(spoofed, path="/", at="10.0.0.1") == 96


async def test_other_proxy_headers_are_ignored(limited: LimitedSite) -> None:
    for count in range(3):
        headers = {
            "x-real-ip": f"203.0.113.{count}",
            "forwarded": f"for=203.0.113.{count}",
            "cf-connecting-ip": f"203.0.113.{count}",
            "x-client-ip": f"203.0.113.{count}",
        }
        assert await limited.remaining(headers, path="/", at="10.0.0.1") == 99 - count


async def test_ipv6_network_shares_a_bucket(limited: LimitedSite) -> None:
    assert await limited.remaining(path="/", at="2001:db8:1:1::1") == 99
    assert await limited.remaining(path="/", at="2001:db8:1:1:ffff::9") == 98
    assert await limited.remaining(path="/", at="2001:db8:1:2::1") == 99
    proxied = {"x-forwarded-for": "[2001:db8:1:1::77]:443"}
    assert await limited.remaining(proxied, path="/", at="10.0.0.1") == 97
    assert await limited.remaining(path="/", at="::ffff:192.0.2.50") == 99
    assert await limited.remaining(path="/", at="192.0.2.50") == 98
