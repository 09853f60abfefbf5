"""Objects that are found by their id alone, among the projects of a caller."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from domain.ids import ProjectId

FOUND_MAX: Final = 100  # objects of one id: copies of a trace in many projects
FIND_PROJECTS_MAX: Final = 5_000  # of one caller; those of the newest memberships first
SOUGHT_CHARS_MAX: Final = 255  # the longest id, which is that of a session
_UUID: Final = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)


class ObjectKind(StrEnum):
    """The kind of object that an id names. All but sessions have UUIDs."""

    TRACE = "trace"
    SESSION = "session"
    TRACE_RUN = "trace_run"
    SESSION_RUN = "session_run"
    MONITOR = "monitor"
    DATASET = "dataset"
    EXPERIMENT = "experiment"
    TRACE_SCORE = "trace_score"
    SESSION_SCORE = "session_score"


@dataclass(frozen=True, slots=True, order=True)
class FoundObject:
    """An object of this kind is in this project."""

    kind: ObjectKind
    project_id: ProjectId


def uuid_or_none(text: str) -> UUID | None:
    """The UUID that a text is, with or without hyphens; None if it is another text."""
    return UUID(text) if _UUID.fullmatch(text) else None
