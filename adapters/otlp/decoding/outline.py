"""Outlines: the outer levels of a request, which both wire types have in common."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from domain.tracing.otel.requests import Encoding, TooManyItems, UndecodableRequest

_NAMES: Final = {Encoding.JSON: "JSON", Encoding.PROTOBUF: "protobuf"}
_START_BYTES: Final = 64  # in which a body in JSON has its brace
_FIRST_FIELD: Final = b"\n"  # of a request in protobuf
_GZIP_MAGIC: Final = b"\x1f\x8b"

type Encoded = memoryview
"""A message or JSON value within the body, still encoded."""


def undecodable_body(body: bytes, encoding: Encoding, error: Exception) -> UndecodableRequest:
    """The failure of a body that isn't of its wire type; its start may show what to change."""
    if body.startswith(_GZIP_MAGIC):
        return UndecodableRequest("The body is compressed: send it with Content-Encoding: gzip")
    message = f"The body isn't a request in {_NAMES[encoding]}: {error}"
    has_brace = body[:_START_BYTES].lstrip().startswith(b"{")
    other = Encoding.JSON if has_brace else Encoding.PROTOBUF
    if other is not encoding and (has_brace or body.startswith(_FIRST_FIELD)):
        message += f". It seems to be {_NAMES[other]}: send it with Content-Type: {other}"
    return UndecodableRequest(message)


@dataclass(frozen=True, slots=True)
class Group:
    """Spans or records that share a resource and a scope, all still encoded.

    In protobuf a message may come in several parts, whose concatenation is the message.
    """

    items: Sequence[Encoded]
    resource: Sequence[Encoded] = ()
    scope: Sequence[Encoded] = ()
    schema_url: Sequence[Encoded] = ()


@dataclass(slots=True)
class OutlineLimit:
    """Counts the spans or records of an outline, and everything else that is walked.

    Empty groups take two bytes each, so a body could have millions of them.
    """

    items_max: int
    items: int = 0
    steps: int = field(default=0, init=False)

    def count_items(self, number: int) -> None:
        """Raises TooManyItems."""
        self.items += number
        if self.items > self.items_max:
            raise TooManyItems(f"The request has more than {self.items_max:,} spans or records")

    def count_step(self) -> None:
        """Raises TooManyItems."""
        self.steps += 1
        if self.steps > 4 * self.items_max + 1_000:
            raise TooManyItems(
                f"The request has too many groups for {self.items_max:,} spans or records"
            )
