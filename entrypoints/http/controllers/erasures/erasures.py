"""Erasures of the data of a user or a session, and their receipts."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Controller
from msgspec import Meta

from application.use_cases import UseCases
from domain.errors import FieldError
from domain.identity.audit import Actor
from domain.identity.caller import Caller
from domain.ids import ErasureId
from domain.page import SortOrder
from domain.privacy.erasure import DataSubject, DataSubjectKind, Erasure, ErasureState
from entrypoints.http.authentication import CAN_INGEST_AND_READ, CAN_READ
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.erasures import examples
from entrypoints.http.controllers.traces.examples import page_of
from entrypoints.http.controllers.traces.schemas import LABEL_CHARS_MAX
from entrypoints.http.endpoint import get, post
from entrypoints.http.error_responses import ErrorResponse
from entrypoints.http.requests.cursors import ID, INSTANT, PagedList, PageQuery
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.wire_types import PaginatedResponse, ResponseInstant, format_instant
from entrypoints.http.response_structs import ResponseStruct, Source

ONE_SUBJECT: Final = "give either user_id or session_id"

# The empty text is an id too: traces may have it.
type OwnerId = Annotated[str, Meta(max_length=LABEL_CHARS_MAX)]


class EraseRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The user or the session whose data is erased: exactly one of them."""

    user_id: OwnerId | None = None
    session_id: OwnerId | None = None

    @classmethod
    def field_errors(cls, fields: Mapping[str, Any]) -> Iterator[FieldError]:
        given = [fields[key] is not None for key in ("user_id", "session_id") if key in fields]
        if given in ([True, True], [False, False]):  # else one of them has an error of its own
            yield FieldError("", ONE_SUBJECT)

    def to_domain(self, _: HttpConfig) -> DataSubject:
        if self.user_id is not None:
            return DataSubject(DataSubjectKind.USER, self.user_id)
        assert self.session_id is not None
        return DataSubject(DataSubjectKind.SESSION, self.session_id)


class ErasurePath(msgspec.Struct, frozen=True):
    erasure_id: Annotated[ErasureId, Meta(description="The erasure's id", examples=[examples.ID])]


class RequesterResponse(ResponseStruct[Actor], frozen=True, kw_only=True):
    """A person or an API key. `name` is the email address or the key's prefix at that time."""

    user_id: UUID | None
    api_key_id: Annotated[UUID | None, Source("key_id")]
    name: str


class ErasureResponse(ResponseStruct[Erasure], frozen=True, kw_only=True):
    """A receipt.

    `owner_hash` is scrypt of `<kind>:<id>` with `salt`, N 4096, r 8, p 1, 32 bytes. `rows` is the
    number of deleted rows by table; for `eval_jobs` and `judge_calls` it is the number of rows
    from which the session's id was removed. `receipt_sha256` is the hash of all other fields as
    JSON with sorted keys and no spaces; the audit log has it too.
    """

    id: UUID
    project_id: UUID
    kind: DataSubjectKind
    salt: Annotated[str, Source("salt", bytes.hex)]
    owner_hash: Annotated[str, Source("digest", bytes.hex)]
    state: ErasureState
    requested_at: ResponseInstant
    requested_by: RequesterResponse
    removed_at: ResponseInstant | None
    rows: dict[str, int]
    receipt_sha256: Annotated[str | None, Source("sha256")]


class ErasureCheckResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The data of the user or session that is stored now.

    `found` is the number of rows by table that the erasure should have removed; `traces_since` is
    the number of traces that were stored after it.
    """

    erasure_id: UUID
    checked_at: ResponseInstant
    is_erased: bool
    found: dict[str, int]
    traces_since: int


ERASURES: Final = PagedList("erasures", {None: INSTANT}, ID)

ErasedOwner = Annotated[DataSubject, Body(EraseRequest, EraseRequest.to_domain)]


class ErasureController(Controller):
    path = "/erasures"

    @post(
        "/",
        CAN_INGEST_AND_READ,
        status_code=202,
        error_types={409: ErrorResponse},
        example=examples.RECEIPT,
        body_example=examples.REQUEST,
    )
    async def erase(
        self, caller: Caller, content: ErasedOwner, use_cases: UseCases
    ) -> ErasureResponse:
        """Erase a user or a session.

        Erases all traces of the user or the session, with their spans, payloads, scores and cached
        verdicts, and all scores of the sessions that lose a trace. Once the response is sent, no
        endpoint returns any of them. The state is mostly REMOVED already; a large erasure is
        REMOVING and is deleted in batches within minutes, together with traces of the same user or
        session that arrive meanwhile. Late reports of the erased traces are refused for seven days;
        new traces of the same user are stored again once the erasure is REMOVED. The response is a
        receipt with a salted hash of the id instead of the id. 409 if a hundred erasures of the
        project are REMOVING.
        """
        receipt = await use_cases.privacy.erase_data_subject(caller, content)
        return ErasureResponse.from_domain(receipt)

    @get("/", CAN_READ, example=page_of(examples.RECEIPT))
    async def list_erasures(
        self, caller: Caller, params: PageQuery, use_cases: UseCases
    ) -> PaginatedResponse[ErasureResponse]:
        """List erasures.

        A page of the project's receipts, the newest first.
        """
        project = caller.project_id
        requested = ERASURES.parse_page(params, project, None, None, SortOrder.DESC)
        page = await use_cases.privacy.erasures.page(project, requested.page)
        return requested.respond(page, ErasureResponse.from_domain)

    @get("/{erasure_id:str}", CAN_READ, example=examples.RECEIPT)
    async def read_erasure(
        self, caller: Caller, path: ErasurePath, use_cases: UseCases
    ) -> ErasureResponse:
        """Read an erasure.

        The receipt. Once it is REMOVED, it doesn't change any more.
        """
        receipt = await use_cases.privacy.erasures.get(caller.project_id, path.erasure_id)
        return ErasureResponse.from_domain(receipt)

    @post(
        "/{erasure_id:str}/check",
        CAN_READ,
        status_code=200,
        example=examples.CHECK,
        body_example=examples.REQUEST,
    )
    async def check_erasure(
        self, caller: Caller, content: ErasedOwner, path: ErasurePath, use_cases: UseCases
    ) -> ErasureCheckResponse:
        """Check an erasure.

        Searches for data of the user or the session again. The receipt doesn't contain the id, so
        the request has to: 422 if the receipt is for another one. `is_erased` is true if the
        erasure is REMOVED and nothing is found.
        """
        checked_at = use_cases.clock()
        erasure, found = await use_cases.privacy.check_erasure(
            caller.project_id, path.erasure_id, content
        )
        return ErasureCheckResponse(
            erasure_id=erasure.id,
            checked_at=format_instant(checked_at),
            is_erased=erasure.state is ErasureState.REMOVED and found.is_nothing,
            found=dict(found.rows),
            traces_since=found.traces_since,
        )
