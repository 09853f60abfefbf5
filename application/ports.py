"""Ports that every context shares."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

type Clock = Callable[[], datetime]
"""The present instant, aware, in UTC."""

type NewId = Callable[[], UUID]
"""An id that nothing else has."""

type RandomBytes = Callable[[int], bytes]
"""So many bytes that nobody can guess."""


@dataclass(frozen=True, slots=True)
class PartState:
    """Whether a part of the service does its work; `detail` says what is wrong, or what to know."""

    ok: bool
    detail: str | None = None


class Part(Protocol):
    """Something that the service can't work without. Contract: tests/contracts/test_parts.py."""

    async def check(self) -> PartState:
        """The state right now, within two seconds. Never raises: what fails is told as not ok."""
        ...
