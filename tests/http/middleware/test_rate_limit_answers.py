"""Responses of the rate limiter, and which requests count."""

import gzip
import json
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from domain.identity.api_key import Scope
from domain.limits import SECOND_US, Limit
from entrypoints.http.middleware.rate_limits import RouteClass
from tests.http.conftest import CONFIG, TOKEN, Site, a_trace
from tests.support.clients.rate_limited_app import DAY_US, HEADERS, LimitedSite

BEARER = {"authorization": f"Bearer {TOKEN}"}

# --- responses -----------------------------------------------------------------------------------


async def test_refusal_has_limit_and_retry_after(limited: LimitedSite) -> None:
    limited.set_limit(RouteClass.INGEST, 2)
    head = limited.site.headers()
    for remaining, reset in ((1, 60), (0, 50)):
        answer = await limited.request("POST", "/traces", head, json=a_trace())
        assert [answer.headers[name] for name in HEADERS] == ["2", str(remaining), str(reset)]
        assert "retry-after" not in answer.headers
        limited.clock.forward(10)
    refused = await limited.request("POST", "/traces", head, json=a_trace())
    assert refused.status_code == 429
    assert refused.json() == {
        "detail": "Rate limit exceeded: 2 per minute",
        "error": "Rate limit exceeded: 2 per minute",
    }
    reported = [refused.headers[name] for name in (*HEADERS, "retry-after")]
    assert reported == ["2", "0", "40", "40"]
    assert refused.headers["ratelimit-policy"] == '"ingest";q=2;w=60'
    assert limited.site.trace_count() == 2


async def test_refused_ingests_are_counted_by_project_and_hour(limited: LimitedSite) -> None:
    limited.set_limit(RouteClass.INGEST, 1)
    head, other = limited.site.headers(), limited.site.headers(project="elsewhere")
    for sent in (head, other):
        await limited.request("POST", "/traces", sent, json=a_trace())
    for path in ("/traces", "/traces/batch", "/traces"):
        refused = await limited.request("POST", path, head, json=a_trace())
        assert refused.status_code == 429
    answer = await limited.request("GET", "/ingest/rejections?reason=rate_limited", head)
    [one] = answer.json()["items"]
    assert (one["count"], one["reason"]) == (3, "rate_limited")
    assert one["message"] == "requests were refused: Rate limit exceeded: 1 per minute"
    answer = await limited.request("GET", "/ingest/rejections", other)
    assert answer.json()["items"] == []
    unknown = head | {"x-project-name": "not stored yet"}
    assert (await limited.request("POST", "/traces", unknown, json=a_trace())).status_code == 429
    assert len(limited.site.store.rejections) == 1


async def test_keys_of_one_organization_share_ten_times_the_limit(limited: LimitedSite) -> None:
    limited.set_limit(RouteClass.INGEST, 2)
    keys = [limited.site.headers() for _ in range(11)]
    sent = [
        await limited.request("POST", "/traces", key, json=a_trace()) for key in keys for _ in "ab"
    ]
    assert [answer.status_code for answer in sent] == [202] * 20 + [429] * 2
    assert sent[-1].json()["detail"] == "Rate limit exceeded: 20 per minute for the organization"
    assert sent[-1].headers["ratelimit-policy"] == '"ingest_organization";q=20;w=60'
    assert sent[-1].headers["ratelimit-limit"] == "20"
    assert limited.site.trace_count() == 20
    limited.set_limit(RouteClass.DEFAULT, 1)
    found = [await limited.request("GET", f"/me/find?id={UUID(int=1)}", key) for key in keys]
    assert [answer.status_code for answer in found] == [200] * 10 + [429]
    assert found[-1].headers["ratelimit-policy"] == '"default_organization";q=10;w=60'


@given(
    count=st.integers(1, 3),
    unit=st.sampled_from(["second", "minute"]),
    gaps_us=st.lists(st.integers(0, 70 * SECOND_US), min_size=4, max_size=8),
)
async def test_request_after_retry_after_is_admitted(
    limited_site: LimitedSite, count: int, unit: str, gaps_us: list[int]
) -> None:
    limited_site.site.begin()
    limited_site.clock.now_us += 2 * DAY_US
    limited_site.set_limit(RouteClass.DEFAULT, count, unit)
    limit, head, admitted = Limit(count, unit), limited_site.site.headers(), list[int]()
    for gap_us in gaps_us:
        answer = await limited_site.request("GET", "/traces", head)
        if answer.status_code == 429:
            wait_s = int(answer.headers["retry-after"])
            assert wait_s >= 1
            limited_site.clock.forward(wait_s)
            answer = await limited_site.request("GET", "/traces", head)
        assert answer.status_code == 200
        admitted.append(limited_site.clock.now_us)
        assert int(answer.headers["ratelimit-reset"]) <= limit.window_us // SECOND_US
        limited_site.clock.now_us += gap_us
    for earlier, later in zip(admitted, admitted[count:], strict=False):
        assert later - earlier >= limit.window_us
    await limited_site.site.http.aclose()


async def test_window_boundary_allows_no_burst(limited: LimitedSite) -> None:
    limited.set_limit(RouteClass.DEFAULT, 5)
    head = limited.site.headers()
    limited.clock.now_us = -(-limited.clock.now_us // (60 * SECOND_US)) * 60 * SECOND_US - 1
    for _ in range(5):
        assert (await limited.request("GET", "/traces", head)).status_code == 200
    limited.clock.forward(0.000002)
    assert (await limited.request("GET", "/traces", head)).status_code == 429


# --- counted requests ----------------------------------------------------------------------------

JSON = {"content-type": "application/json"}


async def test_requests_refused_before_the_limiter_do_not_count(limited: LimitedSite) -> None:
    site = limited.site
    head, lacking = site.headers(), site.headers(Scope.READ)
    too_long = {"content-length": str(CONFIG.max_body_bytes + 1)}
    await limited.request("GET", "/me", BEARER)
    refused = [
        (404, await limited.request("GET", "/nowhere", head)),
        (405, await limited.request("PUT", "/traces", head)),
        (405, await limited.request("HEAD", "/traces", head)),
        (413, await limited.request("POST", "/traces", head, too_long, content=b"{}")),
        (415, await limited.request("POST", "/traces", head, {"content-type": "text/plain"})),
        (415, await limited.request("POST", "/traces", head, {"content-encoding": "br"})),
        (415, await limited.request("POST", "/traces", {"content-type": "text/plain"})),
        (403, await limited.request("POST", "/traces", lacking, json=a_trace())),
        (422, await limited.request("GET", "/traces", head, {"x-project-name": "a\0b"})),
        (422, await limited.request("GET", "/traces", {"x-api-key": head["x-api-key"]})),
        (422, await limited.request("GET", "/traces", BEARER)),
        (422, await limited.request("GET", "/traces", BEARER, {"x-project-id": "no"})),
        (404, await limited.request("GET", "/traces", BEARER, {"x-project-id": "0" * 32})),
        (422, await limited.request("GET", "/me", BEARER, {"x-organization-id": "no"})),
        (403, await limited.request("GET", "/me", BEARER, {"x-organization-id": "0" * 32})),
        (403, await limited.request("GET", f"/organizations/{'0' * 32}", BEARER)),
    ]
    for status, answer in refused:
        assert answer.status_code == status, answer.text
        assert not set(HEADERS) & set(answer.headers)
    for path, *heads in (("/traces", head), ("/traces", lacking), ("/", {})):
        assert await limited.remaining(*heads, path=path) == 99
    assert await limited.remaining(BEARER, path="/me") == 98
    stored = await limited.request("POST", "/traces", head, json=a_trace())
    assert stored.headers["ratelimit-remaining"] == "99"


MISTAKES: list[tuple[int, dict[str, str], bytes]] = [
    (400, JSON, b"{"),
    (400, JSON | {"content-encoding": "gzip"}, b"no gzip"),
    (413, JSON | {"content-encoding": "gzip"}, gzip.compress(b" " * (2 << 20))),
    (422, JSON, b""),
    (422, JSON, b"[]"),
    (422, JSON, json.dumps(a_trace(name="")).encode()),
]


async def test_invalid_requests_count(limited: LimitedSite) -> None:
    head = limited.site.headers()
    for counted, (status, more, content) in enumerate(MISTAKES, 1):
        answer = await limited.request("POST", "/traces", head, more, content=content)
        assert answer.status_code == status
        assert answer.headers["ratelimit-remaining"] == str(100 - counted)
    for counted, path in enumerate(("/traces/no-id", "/traces?limit=0", f"/traces/{'0' * 32}"), 1):
        answer = await limited.request("GET", path, head)
        assert answer.status_code in {404, 422}
        assert answer.headers["ratelimit-remaining"] == str(100 - counted)


async def test_limited_request_reads_no_body(limited: LimitedSite) -> None:
    limited.set_limit(RouteClass.INGEST, 1)
    head = limited.site.headers()
    assert (await limited.request("POST", "/traces", head, json=a_trace())).status_code == 202
    for _, more, content in MISTAKES:
        answer = await limited.request("POST", "/traces", head, more, content=content)
        assert answer.status_code == 429
    too_long = {"content-length": str(CONFIG.max_body_bytes + 1)}
    assert (await limited.request("POST", "/traces", head, too_long)).status_code == 413


async def test_refused_requests_do_not_count(limited: LimitedSite) -> None:
    limited.set_limit(RouteClass.DEFAULT, 2)
    head = limited.site.headers()
    for _ in range(2):
        assert (await limited.request("GET", "/traces", head)).status_code == 200
    for _ in range(5):
        limited.clock.forward(5)
        assert (await limited.request("GET", "/traces", head)).status_code == 429
    limited.clock.forward(35)
    assert await limited.remaining(head) == 1


async def test_rate_limit_headers_are_exposed_to_other_origins() -> None:
    site = Site(limits={RouteClass.DEFAULT: Limit(1, "minute")})
    head = {"origin": CONFIG.allowed_origins[0]}
    async with site.http:
        for status in (200, 429):
            answer = await site.http.get("/", headers=head)
            assert answer.status_code == status
            exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
            assert {*HEADERS, "retry-after"} <= set(exposed)
            assert answer.headers["access-control-allow-origin"] == head["origin"]
