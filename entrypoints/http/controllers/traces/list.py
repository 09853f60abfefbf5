"""Lists of traces, and of the users they ran for."""

from typing import Annotated, Final, Self

import msgspec
from litestar import Controller, get
from msgspec import Meta

from application.use_cases import UseCases
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
from domain.page import LIMIT_DEFAULT, SortOrder
from domain.tracing import analytics
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.trace import TraceStatus
from entrypoints.http.authentication import data_plane
from entrypoints.http.controllers.traces.schemas import PAGE, Tags, TraceListItem
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.requests.cursors import (
    DIRECTION,
    ID,
    INSTANT,
    TEXT,
    WHOLE,
    Cursor,
    PagedList,
    PageLimit,
    PageOffset,
    PageQuery,
    or_none,
    word_of,
)
from entrypoints.http.requests.wire_types import (
    PaginatedResponse,
    QueryEnd,
    QueryInstant,
    ShownInstant,
    instant,
)

METADATA_MAX: Final = 20  # keys in one query: each is a condition of its own
METADATA_VALUES_MAX: Final = 100  # for one key

type Conditions = Annotated[
    dict[str, Annotated[list[str], Meta(max_length=METADATA_VALUES_MAX)]],
    Meta(
        max_length=METADATA_MAX,
        extra_json_schema={
            "patternProperties": {r"^metadata\.": {"type": "string"}},
            "additionalProperties": False,
        },
        description=(
            "`metadata.<key>=<value>`: the top-level key of the metadata, which is all after the "
            "first dot, is this string, or a number, boolean or null of this JSON text. Of a key "
            f"given more than once any value may be it. At most {METADATA_MAX} keys"
        ),
    ),
]


class TraceConditions(msgspec.Struct, frozen=True, kw_only=True):
    """Which traces, in which order."""

    session_id: Annotated[str, Meta(description="Exactly this session")] | None = None
    user_id: Annotated[str, Meta(description="Exactly this user")] | None = None
    environment: Annotated[str, Meta(description="Exactly this environment")] | None = None
    release: Annotated[str, Meta(description="Exactly this release")] | None = None
    status: Annotated[TraceStatus, Meta(description="Exactly this status")] | None = None
    tags: Annotated[Tags, Meta(description="Has any of these tags")] | None = None
    name: Annotated[str, Meta(description="Part of the name, without regard to case")] | None = None
    started_after: Annotated[QueryInstant, Meta(description="Started then or later")] | None = None
    started_before: Annotated[QueryEnd, Meta(description="Started earlier")] | None = None
    model: Annotated[str, Meta(description="Has a span with exactly this model")] | None = None
    min_latency_ms: (
        Annotated[float, Meta(description="Took that long or longer; not while it runs")] | None
    ) = None
    max_latency_ms: (
        Annotated[float, Meta(description="Took that long or less; not while it runs")] | None
    ) = None
    has_error: (
        Annotated[bool, Meta(description="Whether the trace or one of its spans failed")] | None
    ) = None
    metadata: Conditions = msgspec.field(default_factory=dict)
    sort_by: Annotated[TraceSort, Meta(description="What to sort by; the id breaks ties")] = (
        TraceSort.STARTED_AT
    )
    sort_order: Annotated[SortOrder, Meta(description=DIRECTION)] = SortOrder.DESC

    def to_domain(self) -> TraceFilter:
        return TraceFilter(
            session_id=self.session_id,
            user_id=self.user_id,
            environment=self.environment,
            release=self.release,
            status=self.status,
            tags=any_of(self.tags),
            name=self.name,
            started_after=self.started_after,
            started_before=self.started_before,
            model=self.model,
            min_latency_ms=self.min_latency_ms,
            max_latency_ms=self.max_latency_ms,
            has_error=self.has_error,
            metadata=tuple((key, any_of(self.metadata[key])) for key in sorted(self.metadata)),
        )


class TraceQuery(TraceConditions, frozen=True, kw_only=True):
    """A page of them, as `PageQuery` says."""

    limit: PageLimit = LIMIT_DEFAULT
    offset: PageOffset = 0
    cursor: Cursor | None = None


def any_of(words: list[str] | None) -> tuple[str, ...]:
    """Each once, sorted: however a client orders them, the query is the same."""
    return tuple(sorted(set(words))) if words else ()


class UserSummary(msgspec.Struct, frozen=True):
    """What one user's traces come to."""

    user_id: str
    trace_count: int
    first_seen: ShownInstant
    last_seen: ShownInstant
    error_count: int

    @classmethod
    def of(cls, user: analytics.UserSummary) -> Self:
        return cls(
            user_id=user.id,
            trace_count=user.trace_count,
            first_seen=instant(user.first_seen),
            last_seen=instant(user.last_seen),
            error_count=user.error_count,
        )


class UserQuery(PageQuery, frozen=True, kw_only=True):
    pass


TRACES: Final = PagedList(
    "traces",
    {
        TraceSort.STARTED_AT: INSTANT,
        TraceSort.ENDED_AT: or_none(INSTANT),
        TraceSort.NAME: TEXT,
        TraceSort.LATENCY: or_none(WHOLE),
        TraceSort.STATUS: word_of(TraceStatus),
    },
    ID,
)
USERS: Final = PagedList("users", {None: INSTANT}, TEXT)

LIST: Final = endpoint(
    data_plane(Scope.READ),
    summary="List traces",
    description=(
        "A page of the project's traces, without their payloads. All filters that are given "
        "have to hold. What has no `ended_at` or latency comes last in either order."
    ),
    example=PAGE,
)

LIST_USERS: Final = endpoint(
    data_plane(Scope.READ),
    summary="List users",
    description="A page of the users that traces name, the last seen first.",
    example={
        "items": [
            {
                "user_id": "u-7",
                "trace_count": 1,
                "first_seen": "2026-03-01T09:00:00+00:00",
                "last_seen": "2026-03-01T09:00:00+00:00",
                "error_count": 0,
            }
        ],
        "total": 1,
        "limit": 50,
        "offset": 0,
        "next_cursor": None,
    },
)


class TraceListController(Controller):
    path = "/traces"

    @get("/", **LIST)
    async def list_traces(
        self,
        caller: Injected[Caller],
        params: Injected[TraceQuery],
        use_cases: Injected[UseCases],
    ) -> PaginatedResponse[TraceListItem]:
        query, project = params, caller.project_id
        matching = query.to_domain()
        pages = TRACES.asked(query, project, matching, query.sort_by, query.sort_order)
        page = await use_cases.tracing.list_traces(
            project, matching, query.sort_by, query.sort_order, pages.window
        )
        return pages.shown(page, [TraceListItem.of(one) for one in page.items])

    @get("/users", **LIST_USERS)
    async def list_users(
        self,
        caller: Injected[Caller],
        params: Injected[UserQuery],
        use_cases: Injected[UseCases],
    ) -> PaginatedResponse[UserSummary]:
        project = caller.project_id
        pages = USERS.asked(params, project, None, None, SortOrder.DESC)
        page = await use_cases.tracing.list_users(project, pages.window)
        return pages.shown(page, [UserSummary.of(one) for one in page.items])
