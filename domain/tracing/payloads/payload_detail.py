"""How much of payloads a reader wants, and payloads that are shown in part."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, Protocol, Self

from domain.tracing.payloads.payload import JsonText

PREVIEW_BYTES_MAX: Final = 64 << 10  # of a payload that is read in part
READ_SPANS_MAX: Final = 50  # of one trace, named by their ids in one request


class PayloadName(StrEnum):
    """A payload of a trace or span that is read by itself."""

    INPUT = "input"
    OUTPUT = "output"
    METADATA = "metadata"


class PayloadDetail(StrEnum):
    """How much of the payloads is read: all, the beginning of large ones, or nothing."""

    FULL = "full"
    PREVIEW = "preview"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class PayloadExtent:
    """As PayloadDetail. In previews, payloads of more than `preview_bytes` are cut there."""

    detail: PayloadDetail = PayloadDetail.FULL
    preview_bytes: int = PREVIEW_BYTES_MAX


WHOLE_PAYLOADS: Final = PayloadExtent()


@dataclass(frozen=True, slots=True)
class PayloadPreview:
    """The beginning of a payload, and the size of the whole in bytes.

    The text ends anywhere: it is not JSON.
    """

    size: int
    text: str

    @classmethod
    def from_beginning(
        cls, beginning: bytes, size: int, bytes_max: int = PREVIEW_BYTES_MAX
    ) -> Self:
        """From at least `bytes_max` of UTF-8. A character that would be cut is left out."""
        return cls(size, beginning[:bytes_max].decode(errors="ignore"))

    @classmethod
    def from_payload(
        cls, payload: JsonText | None, bytes_max: int = PREVIEW_BYTES_MAX
    ) -> Self | None:
        """None if the payload is small enough to be shown whole."""
        if payload is None or len(payload) <= bytes_max:
            return None
        return cls.from_beginning(payload, len(payload), bytes_max)


class PayloadOwner(Protocol):
    """A settled trace or span."""

    @property
    def input(self) -> JsonText | None: ...

    @property
    def output(self) -> JsonText | None: ...

    @property
    def metadata(self) -> JsonText: ...


class ShownPayloads(NamedTuple):
    """The payloads of a trace or span as far as they were asked for.

    A payload that isn't shown whole is None. If previews were asked for, it has one. The sizes are
    those of the whole, and None if there is no payload.
    """

    input: JsonText | None
    output: JsonText | None
    metadata: JsonText | None
    input_bytes: int | None
    output_bytes: int | None
    input_preview: PayloadPreview | None = None
    output_preview: PayloadPreview | None = None
    metadata_preview: PayloadPreview | None = None

    @classmethod
    def from_owner(cls, owner: PayloadOwner, extent: PayloadExtent) -> Self:
        sizes = (_size(owner.input), _size(owner.output))
        match extent.detail:
            case PayloadDetail.FULL:
                return cls(owner.input, owner.output, owner.metadata, *sizes)
            case PayloadDetail.NONE:
                return cls(None, None, None, *sizes)
            case PayloadDetail.PREVIEW:
                payloads = (owner.input, owner.output, owner.metadata)
                previews = [
                    PayloadPreview.from_payload(one, extent.preview_bytes) for one in payloads
                ]
                input_, output, metadata = (
                    None if preview else one
                    for one, preview in zip(payloads, previews, strict=True)
                )
                return cls(input_, output, metadata, *sizes, *previews)


def _size(payload: JsonText | None) -> int | None:
    return None if payload is None else len(payload)
