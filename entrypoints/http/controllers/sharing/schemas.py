"""Wire schemas of public links, and of the traces that they show."""

from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import Meta

from domain.evaluation.scores.score import DataType, ScoreSource, TraceScore
from domain.ids import SpanId
from domain.sharing.trace_link import LINK_DAYS_DEFAULT, LINK_DAYS_MAX, TraceLink
from domain.tracing.payloads.payload_detail import PREVIEW_BYTES_MAX, PayloadName
from entrypoints.http.controllers.exports.schemas import LINK_SECRET
from entrypoints.http.controllers.traces import examples, part_schemas, schemas
from entrypoints.http.requests.wire_types import ResponseInstant
from entrypoints.http.response_structs import GIVEN, ResponseStruct, Source

TOKEN_EXAMPLE: Final = "6Zf0pB3mX1bq0Q2n9cVJt8yLw4RkUe7aHs5dGi2oTzM"  # noqa: S105 - an example
LINK_ID_EXAMPLE: Final = "5d0c2b1a-7f6e-4d3c-9b8a-1f2e3d4c5b6a"


class SharingResponse(msgspec.Struct, frozen=True):
    """Whether members may make public links to traces."""

    public_links: bool


class ChangeSharingRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    public_links: bool


class CreateLinkRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    mask: Annotated[
        bool,
        Meta(
            description=(
                "Whether to leave out inputs, outputs, metadata, model parameters, usage objects, "
                "error messages, tags, the session, and reasons of scores. Names, models, times, "
                "statuses, token counts, costs and sizes stay"
            )
        ),
    ] = False
    scores: Annotated[bool, Meta(description="Whether to show the scores of the trace")] = False
    expires_days: Annotated[int, Meta(ge=1, le=LINK_DAYS_MAX)] = LINK_DAYS_DEFAULT


class LinkResponse(ResponseStruct[TraceLink], frozen=True, kw_only=True):
    """A public link, without its secret part. `created_by` is the email address at that time."""

    id: UUID
    mask: Annotated[bool, Source("is_masked")]
    scores: Annotated[bool, Source("has_scores")]
    created_by: Annotated[str, Source("creator")]
    created_at: ResponseInstant
    expires_at: ResponseInstant


class CreatedLinkResponse(LinkResponse, frozen=True, kw_only=True):
    """`url` is the page that shows the trace, relative to the address of this service.

    `token` is the secret part of it, which no other response contains.
    """

    token: Annotated[str, GIVEN]
    url: Annotated[str, GIVEN]


class LinkPath(schemas.TracePath, frozen=True):
    link_id: Annotated[UUID, Meta(description="The link's id", examples=[LINK_ID_EXAMPLE])]


class TokenPath(msgspec.Struct, frozen=True):
    token: Annotated[
        str,
        Meta(
            pattern=LINK_SECRET,
            description="The secret part of the link",
            examples=[TOKEN_EXAMPLE],
        ),
    ]


class SharedSpanPath(TokenPath, frozen=True):
    span_id: Annotated[SpanId, Meta(description="The span's id", examples=[examples.SPAN_ID])]


class SharedSpanQuery(msgspec.Struct, frozen=True, kw_only=True):
    preview_bytes: part_schemas.PreviewBytes = PREVIEW_BYTES_MAX


class SharedPayloadQuery(msgspec.Struct, frozen=True, kw_only=True):
    name: Annotated[PayloadName, Meta(description="Which payload", examples=["input"])]
    span_id: Annotated[
        SpanId | None, Meta(description="Of this span; without it of the trace itself")
    ] = None


class SharedScore(ResponseStruct[TraceScore], frozen=True, kw_only=True):
    """The newest score of a name. A masked link has no reasons."""

    name: str
    data_type: DataType
    value: str | None
    source: ScoreSource
    reason: str | None
    created_at: ResponseInstant


class SharedTraceResponse(part_schemas.OutlineResponse, frozen=True, kw_only=True):
    """The outline of a trace that a public link shows, with what the link says.

    `user_id` is always null. Without the permission of the link, `scores` is empty.
    """

    masked: Annotated[bool, GIVEN]
    expires_at: Annotated[ResponseInstant, GIVEN]
    scores: Annotated[list[SharedScore], GIVEN]


LINK: Final[dict[str, Any]] = {
    "id": LINK_ID_EXAMPLE,
    "mask": True,
    "scores": False,
    "created_by": "grace@example.com",
    "created_at": "2026-03-01T09:00:00.000000+00:00",
    "expires_at": "2026-03-31T09:00:00.000000+00:00",
}
CREATED_LINK: Final = LINK | {"token": TOKEN_EXAMPLE, "url": f"/app/shared/{TOKEN_EXAMPLE}"}
SHARED_TRACE: Final = {**part_schemas.OUTLINE, "masked": False, "scores": []} | {
    "expires_at": LINK["expires_at"]
}
