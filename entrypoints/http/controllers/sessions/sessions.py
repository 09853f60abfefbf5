"""Sessions: listing, reading and deleting them."""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
from litestar import Controller
from msgspec import UNSET, Meta, UnsetType

from application.use_cases import UseCases
from domain.errors import FieldError
from domain.evaluation.scores.score import BRIEF_SCORES_MAX, ScoreBrief
from domain.identity.caller import Caller
from domain.page import LIMIT_DEFAULT, OFFSET_MAX, PageRequest, SortOrder
from domain.tracing import session as sessions
from domain.tracing import session_turn
from domain.tracing.payloads.payload_detail import PREVIEW_BYTES_MAX
from domain.tracing.session import (
    COMPARED_IDS_MAX,
    COMPARED_TRACES_MAX,
    COUNTED_TRACES_MAX,
    TRACES_DEFAULT,
    TRACES_MAX,
    SessionFilter,
    SessionSort,
)
from domain.tracing.session_turn import TURNS_MAX
from domain.tracing.trace import TraceSummary
from entrypoints.http.authentication import CAN_INGEST_AND_READ, CAN_READ
from entrypoints.http.controllers.traces import examples, part_schemas
from entrypoints.http.controllers.traces import schemas as trace_schemas
from entrypoints.http.controllers.traces.list_details import ListDetails
from entrypoints.http.endpoint import delete, get
from entrypoints.http.requests import cursors
from entrypoints.http.requests import wire_types as wire
from entrypoints.http.response_structs import GIVEN, OPTIONAL, ResponseStruct, Source
from entrypoints.http.responses import JsonResponse, respond_with


class SessionIncluded(StrEnum):
    """What a list of sessions shows beyond their totals."""

    PREVIEW = "preview"
    SCORES = "scores"


type SessionInclude = Annotated[
    str,
    trace_schemas.some_of(
        SessionIncluded,
        "preview,scores",
        "What else each session shows, separated by commas. `preview`: `input_preview`, the last "
        "words of the user in the input of its first trace; `scores`: the newest score of each "
        f"name, {BRIEF_SCORES_MAX} at most",
    ),
]


class SessionQuery(cursors.PageQuery, frozen=True, kw_only=True):
    user_id: Annotated[str, Meta(description="Only traces of exactly this user")] | None = None
    has_error: (
        Annotated[
            bool,
            Meta(
                description=(
                    "Whether one of the session's traces has the status ERROR; failed spans don't "
                    "count"
                )
            ),
        ]
        | None
    ) = None
    has_failed_span: (
        Annotated[bool, Meta(description="Whether a span of its traces has the status ERROR")]
        | None
    ) = None
    started_after: (
        Annotated[wire.QueryInstant, Meta(description="Only traces that started then or later")]
        | None
    ) = None
    started_before: (
        Annotated[wire.QueryEnd, Meta(description="Only traces that started earlier")] | None
    ) = None
    tags: (
        Annotated[trace_schemas.Tags, Meta(description="Only traces with any of these tags")] | None
    ) = None
    query: (
        Annotated[str, Meta(description="The session's id contains this text, in any case")] | None
    ) = None
    not_user_id: (
        Annotated[trace_schemas.Excluded, Meta(description="Only traces of none of these users")]
        | None
    ) = None
    not_tags: (
        Annotated[trace_schemas.Excluded, Meta(description="Only traces with none of these tags")]
        | None
    ) = None
    include: SessionInclude | None = None
    sort_by: Annotated[SessionSort, Meta(description="The sort key; ties are sorted by id")] = (
        SessionSort.RECENT
    )
    sort_order: Annotated[SortOrder, Meta(description=cursors.SORT_ORDER_DESCRIPTION)] = (
        SortOrder.DESC
    )

    @property
    def included(self) -> frozenset[str]:
        return frozenset(self.include.split(",")) if self.include else frozenset()

    def to_domain(self) -> SessionFilter:
        fields = wire.shared_fields(self, SessionFilter)
        for name in ("tags", "not_user_id", "not_tags"):
            fields[name] = trace_schemas.sorted_unique(fields[name])
        return SessionFilter(**fields)


class SessionPath(msgspec.Struct, frozen=True):
    session_id: Annotated[
        str,
        Meta(
            description="The session's id as one path segment: a slash in it is sent as `%2F`, the "
            "id `..` as `%2E%2E`, by clients that send it as it is; browsers don't",
            examples=["conv-42"],
        ),
    ]


class SessionTracesQuery(msgspec.Struct, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=TRACES_MAX, description="How many traces to return")] = (
        TRACES_DEFAULT
    )
    offset: Annotated[int, Meta(ge=0, le=OFFSET_MAX, description="How many traces to skip")] = 0


class SessionSummary(ResponseStruct[sessions.SessionSummary], frozen=True, kw_only=True):
    """Totals over the traces of one session."""

    session_id: Annotated[str, Source("id")]
    trace_count: int
    first_trace_at: wire.ResponseInstant
    last_trace_at: wire.ResponseInstant | None
    total_latency_ms: Annotated[float | None, Source("latency_ms")]
    has_error: bool
    has_failed_span: bool
    user_id: str | None
    tags: list[str]
    total_span_count: Annotated[int, Source("totals.spans")]
    total_tokens: Annotated[int, Source("totals.tokens")]
    total_cost: Annotated[wire.Usd, Source("totals.cost")]
    unpriced_span_count: Annotated[int, Source("totals.unpriced"), trace_schemas.UNPRICED]


class SessionListItem(SessionSummary, frozen=True, kw_only=True):
    input_preview: Annotated[str | UnsetType | None, OPTIONAL, trace_schemas.INCLUDED] = UNSET
    scores: Annotated[
        list[trace_schemas.ListedScore] | UnsetType, OPTIONAL, trace_schemas.INCLUDED
    ] = UNSET


class SessionPage(wire.PaginatedResponse[SessionListItem], frozen=True, kw_only=True):
    """A page of sessions: maybe fewer than `limit`, or none, although `next_cursor` is set."""

    read_until: Annotated[wire.ResponseInstant | UnsetType, cursors.READ_UNTIL] = UNSET


class SessionDetail(SessionSummary, frozen=True, kw_only=True):
    """The totals of a whole session, and a page of its traces, sorted by start."""

    traces: Annotated[list[trace_schemas.TraceResponse], GIVEN]


class SessionTurnsQuery(msgspec.Struct, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=TURNS_MAX, description="How many turns to return")] = (
        LIMIT_DEFAULT
    )
    offset: cursors.PageOffset = 0
    cursor: cursors.Cursor | None = None
    sort_order: Annotated[SortOrder, Meta(description=cursors.SORT_ORDER_DESCRIPTION)] = (
        SortOrder.ASC
    )

    @classmethod
    def field_errors(cls, fields: Mapping[str, Any]) -> Iterator[FieldError]:
        return cursors.page_errors(fields)


class SessionTurnResponse(ResponseStruct[session_turn.SessionTurn], frozen=True, kw_only=True):
    """A trace of a session, without its spans. A large payload is null and has a preview.

    `trace` has the number of failed spans and the newest score of each name.
    """

    trace: Annotated[trace_schemas.TraceListItem, GIVEN]
    input: msgspec.Raw
    output: msgspec.Raw
    input_preview: part_schemas.PayloadPreview | None
    output_preview: part_schemas.PayloadPreview | None
    llm_calls: Annotated[int, Meta(description="Spans of the kind LLM")]
    tool_calls: Annotated[int, Meta(description="Spans of the kind TOOL")]


TURN_DETAILS: Final = frozenset({trace_schemas.Included.ERRORS, trace_schemas.Included.SCORES})
TURNS: Final = cursors.PagedList("turns", {None: cursors.INSTANT}, cursors.ID)
TURN: Final = trace_schemas.example(
    SessionTurnResponse.from_domain(
        session_turn.SessionTurn.from_trace(trace_schemas.EXAMPLE_TRACE),
        trace=msgspec.structs.replace(
            trace_schemas.TraceListItem.from_domain(
                TraceSummary.from_trace(trace_schemas.EXAMPLE_TRACE)
            ),
            error_count=0,
            scores=[],
        ),
    )
)


class SessionDeleteResponse(msgspec.Struct, frozen=True):
    """How many traces of the session were deleted."""

    deleted: int


SESSIONS: Final = cursors.PagedList(
    "sessions",
    {
        SessionSort.RECENT: cursors.INSTANT,
        SessionSort.TRACE_COUNT: cursors.INTEGER,
        SessionSort.LATENCY: cursors.nullable(cursors.SUM),
        SessionSort.COST: cursors.AMOUNT,
    },
    cursors.TEXT,
)


class SessionController(Controller):
    path = "/sessions"

    @get(
        "/",
        CAN_READ,
        description=(
            "A page of the project's sessions. `query`, `has_error` and `has_failed_span` filter "
            "sessions; the other filters select traces, and the totals of a session cover the "
            "selected traces only. `recent` sorts by the last start or end of a trace. If filters "
            "by user or tag select many traces, `total` of this order counts the sessions of the "
            f"newest {COUNTED_TRACES_MAX:,} traces, with `total_is_at_least`; and at most "
            f"{COMPARED_TRACES_MAX:,} traces are compared with the filters, for some seconds: a "
            "page may end before it is full, and `next_cursor` goes on at `read_until`. So it may "
            f"with `query` alone, where at most {COMPARED_IDS_MAX:,} ids are compared if the "
            "project has many sessions. `include` adds fields."
        ),
        example=examples.page_of(examples.SESSION),
    )
    async def list_sessions(
        self, caller: Caller, params: SessionQuery, use_cases: UseCases
    ) -> SessionPage:
        """List sessions."""
        project, matching = caller.project_id, params.to_domain()
        sort, order = params.sort_by, params.sort_order
        requested = SESSIONS.parse_page(params, project, matching, sort, order)
        page = await use_cases.tracing.sessions.summaries(
            project, matching, sort, order, requested.page
        )
        ids, included = [one.id for one in page.items], params.included
        inputs: Mapping[str, str | None] = {}
        scores: Mapping[str, Sequence[ScoreBrief]] = {}
        if ids and SessionIncluded.PREVIEW in included:
            inputs = await use_cases.tracing.sessions.first_inputs(project, ids)
        if ids and SessionIncluded.SCORES in included:
            scores = await use_cases.evaluation.session_scores.latest_of_sessions(project, ids)

        def item(session: sessions.SessionSummary) -> SessionListItem:
            one = SessionListItem.from_domain(session)
            if SessionIncluded.PREVIEW in included:
                msgspec.structs.force_setattr(one, "input_preview", inputs.get(session.id))
            if SessionIncluded.SCORES in included:
                shown = scores.get(session.id, ())
                listed = [trace_schemas.ListedScore.from_domain(score) for score in shown]
                msgspec.structs.force_setattr(one, "scores", listed)
            return one

        shown, reached = requested.respond(page, item), cursors.read_until(page, params.limit)
        return SessionPage(**msgspec.structs.asdict(shown), read_until=reached)

    @get(
        "/{session_id:str}",
        CAN_READ,
        example=examples.SESSION | {"traces": [trace_schemas.TRACE_RESPONSE]},
    )
    async def read_session(
        self, caller: Caller, path: SessionPath, params: SessionTracesQuery, use_cases: UseCases
    ) -> SessionDetail | JsonResponse[SessionDetail]:
        """Read a session.

        The totals of a whole session, and a page of its traces with their spans.
        """
        project = caller.project_id
        session = await use_cases.tracing.sessions.get(
            project, path.session_id, PageRequest(params.limit, params.offset)
        )

        is_long = trace_schemas.traces_are_large(session.traces)

        def response() -> SessionDetail:
            shown: list[Any] = []
            for trace in session.traces:
                one = trace_schemas.TraceResponse.from_trace(project, trace)
                # Each trace by itself: nothing interrupts the encoder.
                shown.append(msgspec.Raw(msgspec.json.encode(one)) if is_long else one)
            return SessionDetail.from_domain(session.summary, traces=shown)

        return await respond_with(response, is_long=is_long)

    @get(
        "/{session_id:str}/turns",
        CAN_READ,
        description=(
            "A page of the traces of a session by start, as turns of a conversation: their "
            "payloads without their spans. A payload of more than "
            f"{PREVIEW_BYTES_MAX:,} bytes is null, with its beginning in the field `…_preview`."
        ),
        example=examples.page_of(TURN),
    )
    async def list_turns(
        self, caller: Caller, path: SessionPath, params: SessionTurnsQuery, use_cases: UseCases
    ) -> wire.PaginatedResponse[SessionTurnResponse]:
        """List the turns of a session."""
        project, order = caller.project_id, params.sort_order
        requested = TURNS.parse_page(params, project, path.session_id, None, order)
        page = await use_cases.tracing.sessions.turns(
            project, path.session_id, order, requested.page
        )
        traces = [one.summary for one in page.items]
        details = await ListDetails.load(use_cases, project, traces, TURN_DETAILS)
        return requested.respond(
            page, lambda one: SessionTurnResponse.from_domain(one, trace=details.item(one.summary))
        )

    @delete("/{session_id:str}", CAN_INGEST_AND_READ, status_code=200, example={"deleted": 1})
    async def delete_session(
        self, caller: Caller, path: SessionPath, use_cases: UseCases
    ) -> SessionDeleteResponse:
        """Delete a session.

        Deletes all traces of a session with their spans and scores.
        """
        audit = await use_cases.audit.session_entry(caller, path.session_id)
        deleted = await use_cases.tracing.delete_session(
            caller.project_id, path.session_id, audit=audit
        )
        return SessionDeleteResponse(deleted)
