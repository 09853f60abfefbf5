"""Statements that are put together: pieces of SQL, and values numbered as they are used."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL, in which each `{}` stands for the value in its place."""

    text: str
    values: tuple[object, ...] = ()


@dataclass(slots=True)
class Parameters:
    """The values of one statement, $1 first."""

    values: list[object] = field(default_factory=list)

    def put(self, value: object) -> str:
        """How the statement refers to `value`."""
        self.values.append(value)
        return f"${len(self.values)}"

    def sql(self, piece: Sql) -> str:
        return piece.text.format(*(self.put(value) for value in piece.values))

    def all_of(self, pieces: Iterable[Sql]) -> list[str]:
        return [self.sql(piece) for piece in pieces]


def like(part: str) -> str:
    """The pattern of texts that hold `part`, whatever its characters mean to LIKE."""
    for character in "\\%_":
        part = part.replace(character, f"\\{character}")
    return f"%{part}%"
