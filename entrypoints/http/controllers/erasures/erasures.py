"""Erasing what belongs to a user or a session, and the receipts."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Self
from uuid import UUID

import msgspec
from litestar import Controller, get, post
from msgspec import Meta

from application.use_cases import UseCases
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
from domain.ids import ErasureId
from domain.page import SortOrder
from domain.tracing import erasure as erasures
from domain.tracing.erasure import DataSubject, DataSubjectKind, ErasureState, RemainingData
from entrypoints.http.authentication import data_plane
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.erasures import examples
from entrypoints.http.controllers.scores.examples import page_of
from entrypoints.http.controllers.traces.schemas import WORD_MAX
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.problems import ErrorResponse
from entrypoints.http.requests.cursors import ID, INSTANT, PagedList, PageQuery
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.wire_types import (
    PaginatedResponse,
    ShownInstant,
    instant,
    optional_instant,
)

ONE: Final = "name either user_id or session_id"

type OwnerId = Annotated[str, Meta(min_length=1, max_length=WORD_MAX)]


class EraseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Whose data is meant: one of both."""

    user_id: OwnerId | None = None
    session_id: OwnerId | None = None

    def __post_init__(self) -> None:
        for _, message in self.across({"user_id": self.user_id, "session_id": self.session_id}):
            raise ValueError(message)

    @classmethod
    def across(cls, read: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        named = [read[key] is not None for key in ("user_id", "session_id") if key in read]
        if named in ([True, True], [False, False]):  # else one of them is wrong by itself
            yield "", ONE

    def owner(self, _: HttpConfig) -> DataSubject:
        if self.user_id is not None:
            return DataSubject(DataSubjectKind.USER, self.user_id)
        assert self.session_id is not None
        return DataSubject(DataSubjectKind.SESSION, self.session_id)


class ErasurePath(msgspec.Struct, frozen=True):
    erasure_id: Annotated[UUID, Meta(description="The erasure's id", examples=[examples.ID])]


class RequesterResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A person or an API key; `name` is the email address or the key's prefix, as it was then."""

    user_id: UUID | None
    api_key_id: UUID | None
    name: str


class ErasureResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt.

    `owner_hash` is scrypt of `<kind>:<id>` with `salt`, N 4096, r 8, p 1, 32 bytes. `rows` is how
    many were removed, by table; of `eval_jobs` and `judge_calls` how many name the session no
    more. `receipt_sha256` is of all other fields as JSON with sorted keys and no spaces; the audit
    log has it too.
    """

    id: UUID
    project_id: UUID
    kind: DataSubjectKind
    salt: str
    owner_hash: str
    state: ErasureState
    requested_at: ShownInstant
    requested_by: RequesterResponse
    removed_at: ShownInstant | None
    rows: dict[str, int]
    receipt_sha256: str | None

    @classmethod
    def of(cls, erasure: erasures.Erasure) -> Self:
        actor = erasure.requested_by
        return cls(
            id=erasure.id,
            project_id=erasure.project_id,
            kind=erasure.kind,
            salt=erasure.salt.hex(),
            owner_hash=erasure.digest.hex(),
            state=erasure.state,
            requested_at=instant(erasure.requested_at),
            requested_by=RequesterResponse(
                user_id=actor.user_id, api_key_id=actor.key_id, name=actor.name
            ),
            removed_at=optional_instant(erasure.removed_at),
            rows=dict(erasure.rows),
            receipt_sha256=erasure.sha256,
        )


class ErasureCheckResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored now.

    `found` is how many rows there are that the erasure should have removed, by table;
    `traces_since` how many traces came after it.
    """

    erasure_id: UUID
    checked_at: ShownInstant
    is_erased: bool
    found: dict[str, int]
    traces_since: int


RECEIPTS: Final = PagedList("erasures", {None: INSTANT}, ID)

ErasedOwner = Annotated[DataSubject, Body(EraseRequest, EraseRequest.owner)]

ERASE: Final = endpoint(
    data_plane(Scope.INGEST, Scope.READ),
    summary="Erase a user or a session",
    description=(
        "Removes all traces that name the user or the session, with their spans, payloads, "
        "scores and cached verdicts, and all scores of the sessions that lose a trace. From "
        "then on no reader sees any of it, however much there is. Mostly it is REMOVED when "
        "this is answered; what is REMOVING goes in pieces, within minutes, and with it what "
        "comes in of the same user or session meanwhile. Late reports of the same traces are "
        "refused for seven days; new traces of the same user are stored again once it is "
        "REMOVED. The answer is a receipt, which keeps a salted hash of the id and not the id; "
        "409 where a hundred erasures of the project are REMOVING already."
    ),
    answers={409: ErrorResponse},
    example=examples.RECEIPT,
    body_example=examples.ORDER,
)

LIST: Final = endpoint(
    data_plane(Scope.READ),
    summary="List erasures",
    description="A page of the receipts of the project, the newest first.",
    example=page_of(examples.RECEIPT),
)

READ: Final = endpoint(
    data_plane(Scope.READ),
    summary="Read an erasure",
    description="The receipt as it is now: it changes no more once it is REMOVED.",
    example=examples.RECEIPT,
)

CHECK: Final = endpoint(
    data_plane(Scope.READ),
    summary="Check an erasure",
    description=(
        "Looks again for what belongs to the user or the session, whose id the receipt "
        "doesn't hold and has to be given: 422 where the receipt is about another. "
        "`is_erased` where the erasure is REMOVED and nothing is found."
    ),
    example=examples.CHECK,
    body_example=examples.ORDER,
)


class ErasureController(Controller):
    path = "/erasures"

    @post("/", status_code=202, **ERASE)
    async def erase(
        self,
        caller: Injected[Caller],
        content: Injected[ErasedOwner],
        use_cases: Injected[UseCases],
    ) -> ErasureResponse:
        receipt = await use_cases.privacy.erase_data_subject(caller, content)
        return ErasureResponse.of(receipt)

    @get("/", **LIST)
    async def list_erasures(
        self,
        caller: Injected[Caller],
        params: Injected[PageQuery],
        use_cases: Injected[UseCases],
    ) -> PaginatedResponse[ErasureResponse]:
        project = caller.project_id
        pages = RECEIPTS.asked(params, project, None, None, SortOrder.DESC)
        page = await use_cases.privacy.list_erasures(project, pages.window)
        return pages.shown(page, [ErasureResponse.of(one) for one in page.items])

    @get("/{erasure_id:str}", **READ)
    async def read_erasure(
        self,
        caller: Injected[Caller],
        path: Injected[ErasurePath],
        use_cases: Injected[UseCases],
    ) -> ErasureResponse:
        receipt = await use_cases.privacy.read_erasure(
            caller.project_id, ErasureId(path.erasure_id)
        )
        return ErasureResponse.of(receipt)

    @post("/{erasure_id:str}/check", status_code=200, **CHECK)
    async def check_erasure(
        self,
        caller: Injected[Caller],
        content: Injected[ErasedOwner],
        path: Injected[ErasurePath],
        use_cases: Injected[UseCases],
    ) -> ErasureCheckResponse:
        do = use_cases
        checked = do.clock()
        known, found = await do.privacy.check_erasure(
            caller.project_id, ErasureId(path.erasure_id), content
        )
        return _checked(known, found, instant(checked))


def _checked(
    known: erasures.Erasure, found: RemainingData, at: ShownInstant
) -> ErasureCheckResponse:
    return ErasureCheckResponse(
        erasure_id=known.id,
        checked_at=at,
        is_erased=known.state is ErasureState.REMOVED and found.is_nothing,
        found=dict(found.rows),
        traces_since=found.traces_since,
    )
