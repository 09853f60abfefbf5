"""The service over HTTP, in process, on memory adapters."""

import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from litestar.types import ASGIApp

from adapters.memory.health import FixedHealthCheck
from adapters.memory.identity.identity import (
    MemoryTokens,
)
from adapters.memory.rate_limiter import MemoryRateLimiter, monotonic_us
from adapters.memory.store import MemoryStore
from adapters.postgres.database.idempotency import PostgresIdempotencyStore
from adapters.postgres.database.pool import Pool
from application.clock import utc_now
from application.ports import HealthStatus, RateLimiter
from application.use_cases import UseCases
from domain.identity.api_key import ALL_SCOPES, ApiKey, Scope, format_key, key_digest
from domain.identity.caller import Claims
from domain.identity.organization import Organization, Project
from domain.ids import ApiKeyId, OrganizationId, ProjectId
from domain.limits import Limit
from entrypoints.composition.memory import memory_ports, replace_ports
from entrypoints.http.app import add_layers, create_routes
from entrypoints.http.config import HttpConfig, HttpContext
from entrypoints.http.middleware.client_address import parse_network
from entrypoints.http.middleware.rate_limits import RateLimits, RouteClass
from entrypoints.http.middleware.volume_limits import VolumeLimits
from tests.support.builders.values import NOON, prices
from tests.support.clients.in_process_client import InProcessClient
from tests.support.clients.rate_limited_app import DAY_US, LimitedSite
from tests.support.fakes.clocks import MicrosecondClock
from tests.support.fixtures import data_plane

if TYPE_CHECKING:
    from tests.support.clients.two_tenants import TwoTenants

ORIGIN = "https://app.example.com"
VERSION = "9.9.9"  # of all sites: those of one version share their routes
CONFIG = HttpConfig(
    version=VERSION,
    environment="test",
    allowed_origins=(ORIGIN,),
    max_body_bytes=1 << 20,
    refusal_delay_s=0,
)
TOKEN = "a-token-of-ada"
type State = Mapping[str, Mapping[Any, Any]]
"""The rows of a memory store by their table and key."""
ADA = Claims(issuer="https://issuer.test", subject="ada", email="ada@example.com")


def _copied(state: State) -> State:
    """With tables of its own; of rows only sets can change in place."""
    return {
        name: {key: set(row) if isinstance(row, set) else row for key, row in rows.items()}
        for name, rows in state.items()
    }


# What layers and handlers find in the HttpContext of each request.
_OF_REQUESTS = (
    *("allowed_origins", "max_body_bytes", "otlp_max_body_bytes", "trusted_proxies"),
    *("message_timeout_s", "refusal_delay_s", "observer", "tracer"),
)
_shared_routes = cache(create_routes)  # creating them takes longer than most tests


def app_on_shared_routes(
    use_cases: UseCases, config: HttpConfig, rate_limits: RateLimits
) -> ASGIApp:
    """As `create_app`, on routes that settings of requests have no influence on."""
    defaults = {one.name: one.default for one in fields(HttpConfig)}
    routes = _shared_routes(replace(config, **{name: defaults[name] for name in _OF_REQUESTS}))
    return add_layers(routes, HttpContext(use_cases, config, rate_limits))


@dataclass
class Site:
    """An installation with one organization, and methods to create keys and send requests."""

    config: HttpConfig = CONFIG
    store: MemoryStore = field(default_factory=MemoryStore)
    parts: dict[str, HealthStatus] = field(
        default_factory=lambda: {"postgres": HealthStatus(ok=True)}
    )
    swapped: Mapping[str, Any] = field(default_factory=dict)

    owned_max: int | None = None
    tokens: dict[str, Claims] = field(default_factory=dict)
    limits: Mapping[RouteClass, Limit] = field(default_factory=dict)  # empty: nothing is limited
    limiter: RateLimiter = field(default_factory=lambda: MemoryRateLimiter(monotonic_us))
    volumes: VolumeLimits | None = None
    now: datetime | None = None  # the time that the clock shows; None: the real time

    def __post_init__(self) -> None:
        own = {
            "tokens": MemoryTokens(self.tokens),
            "owned_organizations_max": self.owned_max,
            "limiter": self.limiter,
            "health_checks": {name: FixedHealthCheck(state) for name, state in self.parts.items()},
            "clock": lambda: self.now or utc_now(),
        }
        self.ports = replace_ports(memory_ports(self.store, prices()), **own)
        self.app = app_on_shared_routes(
            UseCases(replace_ports(self.ports, **self.swapped)),
            self.config,
            RateLimits(self.limiter, self.limits, self.config.observer, self.volumes),
        )
        self.begin()

    def begin(self) -> None:
        """Resets the store to one organization, and opens a new client."""
        self.clear()
        self.organization = OrganizationId(uuid.uuid4())
        self.store.organizations[self.organization] = Organization(
            id=self.organization, name="Ours", created_at=NOON
        )
        self.http: httpx.AsyncClient = InProcessClient(self.app)

    def clear(self) -> None:
        for kept in vars(self.store).values():
            kept.clear()
        self.now = None
        self.tokens.clear()
        self.tokens[TOKEN] = ADA

    def state(self) -> State:
        """Return a copy of the store. Rows are frozen, so that changes replace them."""
        return _copied(vars(self.store))

    def restore(self, state: State) -> None:
        """Restore a result of `state`, which is much quicker than creating the data again."""
        for name, rows in _copied(state).items():
            kept = getattr(self.store, name)
            kept.clear()
            for key, row in rows.items():
                kept[key] = row

    def key(self, *scopes: Scope, **overrides: Any) -> str:
        """The secret of a new key with these scopes, or all scopes if none is given."""
        secret = format_key(uuid.uuid4().bytes * 2)
        key = ApiKey(
            id=ApiKeyId(uuid.uuid4()),
            organization_id=self.organization,
            created_by=None,
            name="test",
            prefix=secret[:10],
            digest=key_digest(secret),
            scopes=frozenset(scopes) or ALL_SCOPES,
            created_at=datetime.now(UTC),
        )
        self.store.keys[key.id] = replace(key, **overrides)
        return secret

    def headers(self, *scopes: Scope, project: str = "shop", **overrides: Any) -> dict[str, str]:
        return {"x-api-key": self.key(*scopes, **overrides), "x-project-name": project}

    def project(self, name: str = "elsewhere", organization: OrganizationId | None = None) -> str:
        """The id of a new project."""
        new = ProjectId(uuid.uuid4())
        of = organization or self.organization
        self.store.projects[new] = Project(id=new, organization_id=of, name=name, created_at=NOON)
        return str(new)

    def trace_count(self) -> int:
        return len(self.store.traces)


@pytest.fixture(scope="session")
def memory_site() -> Site:
    return Site()


@pytest.fixture
async def site(memory_site: Site) -> AsyncIterator[Site]:
    memory_site.begin()
    async with memory_site.http:
        yield memory_site


@pytest.fixture(scope="session")
async def shared_tenants() -> AsyncIterator["TwoTenants"]:
    from tests.support.clients.two_tenants import TwoTenants  # which imports this module

    tenants = TwoTenants(Site())
    async with tenants.site.http:
        yield tenants


@pytest.fixture
async def tenants(shared_tenants: "TwoTenants") -> "TwoTenants":
    """Two organizations in memory with one of each object, as they are at first."""
    await shared_tenants.begin()
    return shared_tenants


@pytest.fixture(scope="session")
async def postgres_site(pool: Pool) -> AsyncIterator[Site]:
    """Data in PostgreSQL; keys, people and projects in memory."""
    async with data_plane.over_postgres(pool) as plane:
        kept = plane.by_context()
        yield Site(swapped=kept | {"idempotency": PostgresIdempotencyStore(pool)})


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.service)])
def storage_site(request: pytest.FixtureRequest) -> Site:
    """Not async: `getfixturevalue` works in plain fixtures only."""
    name = "memory_site" if request.param == "memory" else "postgres_site"
    site: Site = request.getfixturevalue(name)
    return site


@pytest.fixture
async def either(storage_site: Site) -> AsyncIterator[Site]:
    """The service with its data in memory, then in PostgreSQL."""
    storage_site.begin()
    async with storage_site.http:
        yield storage_site


@pytest.fixture(scope="session")
def limited_site() -> LimitedSite:
    """A site behind trusted proxies in 10.0.0.0/8."""
    clock, limits = MicrosecondClock(), dict[RouteClass, Limit]()
    config = HttpConfig(
        version=VERSION,
        environment="test",
        allowed_origins=(ORIGIN,),
        max_body_bytes=1 << 20,
        trusted_proxies=(parse_network("10.0.0.0/8"),),
        refusal_delay_s=0,
    )
    site = Site(config=config, limits=limits, limiter=MemoryRateLimiter(clock))
    return LimitedSite(site, clock, limits)


@pytest.fixture
async def limited(limited_site: LimitedSite) -> AsyncIterator[LimitedSite]:
    """A site with a limit of 100 per minute for each class, and empty buckets."""
    limited_site.site.begin()
    limited_site.clock.now_us += 2 * DAY_US  # all counted requests have left the window
    limited_site.limits.clear()
    limited_site.limits.update(dict.fromkeys(RouteClass, Limit(100, "minute")))
    async with limited_site.site.http:
        yield limited_site


@pytest.fixture
def head(site: Site) -> dict[str, str]:
    """Headers of a key with all scopes."""
    return site.headers()


def a_trace(**overrides: Any) -> dict[str, Any]:
    return {"name": "run", "started_at": "2026-03-01T09:00:00Z"} | overrides


def a_span(**overrides: Any) -> dict[str, Any]:
    return a_trace() | {"name": "step"} | overrides


def field_errors(response: httpx.Response) -> dict[str, str]:
    """The message of each field error of a 422, by field."""
    assert response.status_code == 422, response.text
    body = response.json()
    semantic = [f"{one['field']}: {one['message']}" for one in body["errors"]]
    assert body["detail"] == "Validation error" or any(one in body["detail"] for one in semantic)
    return {one["field"]: one["message"] for one in body["errors"]}
