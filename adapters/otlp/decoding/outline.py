"""Outlines: the outer levels of a request, which both wire types have in common."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from domain.tracing.otel.requests import TooManyItems

type Encoded = memoryview
"""A message or JSON value within the body, still encoded."""


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
