"""What `doctor` finds: one line for each thing that it looked at."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"  # it works, and somebody should know
    FAIL = "fail"  # it doesn't work, or soon won't


@dataclass(frozen=True, slots=True)
class Finding:
    """`detail` says what was found, `advice` what to do about it."""

    level: Level
    name: str
    detail: str | None = None
    advice: str | None = None

    def __str__(self) -> str:
        said = f": {self.detail}" if self.detail else ""
        return f"{self.level:<5} {self.name}{said}{f' — {self.advice}' if self.advice else ''}"


def ok(name: str, detail: str | None = None) -> Finding:
    return Finding(Level.OK, name, detail)


def warn(name: str, detail: str, advice: str | None = None) -> Finding:
    return Finding(Level.WARN, name, detail, advice)


def fail(name: str, detail: str, advice: str | None = None) -> Finding:
    return Finding(Level.FAIL, name, detail, advice)
