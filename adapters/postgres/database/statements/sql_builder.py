"""Builds statements from SQL fragments and numbers their parameters."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sql:
    """A fragment of SQL. Each `{}` stands for one of `values`, in order."""

    text: str
    values: tuple[object, ...] = ()


@dataclass(slots=True)
class Parameters:
    """The values of one statement, $1 first."""

    values: list[object] = field(default_factory=list)

    def put(self, value: object) -> str:
        """Adds a value and returns its placeholder."""
        self.values.append(value)
        return f"${len(self.values)}"

    def sql(self, piece: Sql) -> str:
        return piece.text.format(*(self.put(value) for value in piece.values))

    def all_of(self, pieces: Iterable[Sql]) -> list[str]:
        return [self.sql(piece) for piece in pieces]


def like(part: str) -> str:
    """A LIKE pattern for texts that contain `part`; escapes the special characters of LIKE."""
    for character in "\\%_":
        part = part.replace(character, f"\\{character}")
    return f"%{part}%"
