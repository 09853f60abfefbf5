"""A part whose state is said, not found out."""

from dataclasses import dataclass

from application.ports import PartState


@dataclass(frozen=True, slots=True)
class FixedPart:
    """Always in one state: a part that isn't there yet, or one that a test wants broken."""

    state: PartState

    async def check(self) -> PartState:
        return self.state
