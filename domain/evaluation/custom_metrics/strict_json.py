"""Strict reading of JSON definitions: collects every error with its path."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from domain.errors import FieldError, Invalid

ERRORS_MAX: Final = 100  # of one response
UNKNOWN_NAME_MAX: Final = 100  # characters of an unknown name that are shown


@dataclass(slots=True)
class ErrorCollector:
    items: list[FieldError] = field(default_factory=list)

    def add(self, at: str, message: str) -> None:
        self.items.append(FieldError(at, message))

    def check(self) -> None:
        """Raises Invalid if there are errors."""
        if self.items:
            raise Invalid.fields(self.items[:ERRORS_MAX])


class ObjectReader:
    """Reads the members of an object one by one; `end` rejects those that weren't read.

    `at` is its dotted path. An unusable value is recorded in `errors`, and a harmless default is
    returned, so that reading continues. A null member counts as absent.
    """

    def __init__(self, value: object, at: str, errors: ErrorCollector) -> None:
        self._at = at
        self.errors = errors
        self._asked: set[str] = set()
        self._members: Mapping[str, object] = {}
        if isinstance(value, Mapping):
            self._members = {name: one for name, one in value.items() if one is not None}
        else:
            errors.add(at, "must be an object")

    def has(self, name: str) -> bool:
        return name in self._members

    def at(self, name: str) -> str:
        return f"{self._at}.{name}" if self._at else name

    def refuse(self, name: str, message: str) -> None:
        self.errors.add(self.at(name), message)

    def value(self, name: str) -> object:
        """The raw value; None if absent."""
        self._asked.add(name)
        return self._members.get(name)

    def text(self, name: str, most: int, *, default: str | None = None) -> str:
        """A text of 1 to `most` characters; required without a default."""
        found = self.value(name)
        if found is None:
            return self._absent(name) if default is None else default
        if not isinstance(found, str):
            self.refuse(name, "must be text")
        elif not 1 <= len(found) <= most:
            self.refuse(name, f"must have 1 to {most} characters")
        else:
            return found
        return default or ""

    def texts(
        self, name: str, most: int, characters: int, *, is_required: bool = False
    ) -> tuple[str, ...]:
        """At most `most` texts, each of 1 to `characters` characters; empty if absent."""
        found = self.value(name)
        if found is None:
            if is_required:
                self._absent(name)
            return ()
        if not isinstance(found, list) or len(found) > most or (is_required and not found):
            least = 1 if is_required else 0
            self.refuse(name, f"must be an array of {least} to {most} texts")
            return ()
        for place, one in enumerate(found):
            if not isinstance(one, str) or not 1 <= len(one) <= characters:
                self.refuse(f"{name}.{place}", f"must be text of 1 to {characters} characters")
        return tuple(one for one in found if isinstance(one, str))

    def number(self, name: str, low: float, high: float, *, default: float | None = None) -> float:
        """A finite number in [low, high]; required without a default."""
        found = self.value(name)
        if found is None:
            if default is None:
                self._absent(name)
            return low if default is None else default
        if isinstance(found, bool) or not isinstance(found, int | float):
            self.refuse(name, "must be a number")
        elif not low <= found <= high:  # an integer may be beyond any float
            self.refuse(name, f"must be from {low:g} to {high:g}")
        else:
            return found
        return low

    def flag(self, name: str, *, default: bool) -> bool:
        found = self.value(name)
        if found is None or isinstance(found, bool):
            return default if found is None else found
        self.refuse(name, "must be true or false")
        return default

    def choice[E: StrEnum](self, name: str, among: type[E], *, default: E | None = None) -> E:
        """A value of an enumeration; required without a default."""
        found = self.value(name)
        known = {one.value: one for one in among}
        if found is None and default is not None:
            return default
        if isinstance(found, str) and found in known:
            return known[found]
        if found is None:
            self._absent(name)
        else:
            self.refuse(name, f"must be one of: {', '.join(known)}")
        return next(iter(among))

    def items(self, name: str, most: int) -> Iterator[tuple[str, object]]:
        """Each item of an array of 1 to `most` items, with its path."""
        found = self.value(name)
        if not isinstance(found, list) or not 1 <= len(found) <= most:
            self.refuse(name, f"must be an array of 1 to {most}")
            return
        for place, one in enumerate(found):
            yield self.at(f"{name}.{place}"), one

    def end(self) -> None:
        """Rejects unread names: a misspelt name would otherwise be ignored silently."""
        for name in self._members:
            if name not in self._asked:
                known = ", ".join(sorted(self._asked))
                self.refuse(name[:UNKNOWN_NAME_MAX], f"is not a known key; there are: {known}")

    def _absent(self, name: str) -> str:
        self.refuse(name, "is required")
        return ""
