"""How much of the payloads of a span a reader wants, and payloads that are shown in part."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Self

from domain.tracing.payload import EMPTY_OBJECT, JsonText
from domain.tracing.span import Span

PREVIEW_BYTES_MAX: Final = 64 << 10  # of a payload that is read in part


class PayloadName(StrEnum):
    """A payload of a trace or span that is read by itself."""

    INPUT = "input"
    OUTPUT = "output"
    METADATA = "metadata"


class PayloadDetail(StrEnum):
    """How much of the payloads is read: all, at most PREVIEW_BYTES_MAX of each, or nothing."""

    FULL = "full"
    PREVIEW = "preview"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class PayloadPreview:
    """The beginning of a payload, and the size of the whole in bytes.

    The text ends anywhere: it is not JSON.
    """

    size: int
    text: str

    @classmethod
    def from_beginning(cls, beginning: bytes, size: int) -> Self:
        """From at least PREVIEW_BYTES_MAX of UTF-8. A character that would be cut is left out."""
        return cls(size, beginning[:PREVIEW_BYTES_MAX].decode(errors="ignore"))

    @classmethod
    def from_payload(cls, payload: JsonText | None) -> Self | None:
        """None if the payload is small enough to be shown whole."""
        if payload is None or len(payload) <= PREVIEW_BYTES_MAX:
            return None
        return cls.from_beginning(payload, len(payload))


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanDetail:
    """A span with its payloads, as far as they were asked for.

    A payload that isn't shown whole is None in `span`, and metadata an empty object. A preview
    stands in place of it if previews were asked for. The sizes are always those of the whole.
    """

    span: Span
    detail: PayloadDetail
    input_bytes: int | None
    output_bytes: int | None
    input_preview: PayloadPreview | None = None
    output_preview: PayloadPreview | None = None
    metadata_preview: PayloadPreview | None = None

    @property
    def has_metadata(self) -> bool:
        """Whether the metadata is shown whole."""
        return self.detail is not PayloadDetail.NONE and self.metadata_preview is None

    @classmethod
    def from_span(cls, span: Span, detail: PayloadDetail) -> Self:
        """From a settled span with its payloads."""
        input_bytes = None if span.input is None else len(span.input)
        output_bytes = None if span.output is None else len(span.output)
        if detail is PayloadDetail.PREVIEW:
            return cls.with_previews(
                span,
                input_preview=PayloadPreview.from_payload(span.input),
                output_preview=PayloadPreview.from_payload(span.output),
                input_bytes=input_bytes,
                output_bytes=output_bytes,
            )
        if detail is PayloadDetail.NONE:
            span = replace(span, input=None, output=None, metadata=EMPTY_OBJECT)
        return cls(span=span, detail=detail, input_bytes=input_bytes, output_bytes=output_bytes)

    @classmethod
    def with_previews(
        cls,
        span: Span,
        *,
        input_preview: PayloadPreview | None,
        output_preview: PayloadPreview | None,
        input_bytes: int | None,
        output_bytes: int | None,
    ) -> Self:
        """Payloads with a preview are left out of `span`, and large metadata gets a preview."""
        metadata = PayloadPreview.from_payload(span.metadata)
        shown = replace(
            span,
            input=None if input_preview else span.input,
            output=None if output_preview else span.output,
            metadata=EMPTY_OBJECT if metadata else span.metadata,
        )
        return cls(
            span=shown,
            detail=PayloadDetail.PREVIEW,
            input_bytes=input_bytes,
            output_bytes=output_bytes,
            input_preview=input_preview,
            output_preview=output_preview,
            metadata_preview=metadata,
        )
