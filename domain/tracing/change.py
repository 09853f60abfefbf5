"""Changes to what is stored: what a PATCH leaves, clears or replaces, and what tags become."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import fields
from enum import Enum
from typing import Any, Final, Literal


class Unchanged(Enum):
    """Distinguishes a field that was left out from null, which clears it."""

    UNCHANGED = "unsaid"


UNCHANGED: Final = Unchanged.UNCHANGED

type Clearable[T] = T | Literal[Unchanged.UNCHANGED] | None


def given_fields(change: Any) -> dict[str, Any]:
    """The fields of a change that may be cleared, and that it says: with their new values."""
    return {
        one.name: value
        for one in fields(change)
        if one.default is UNCHANGED and (value := getattr(change, one.name)) is not UNCHANGED
    }


def latest(known: object, later: object, names: Iterable[str]) -> dict[str, Any]:
    """The values of `later`; those of `known` where `later` has None."""
    return {
        name: getattr(known, name) if (value := getattr(later, name)) is None else value
        for name in names
    }


def later_status[S](known: S | None, later: S | None, final: Container[S]) -> S | None:
    """The status after a merge: `later`, unless it is None or would undo one of the final ones.

    Reports may arrive late: one that says RUNNING may follow the one that says COMPLETED.
    """
    return known if later is None or (known in final and later not in final) else later


def retagged(tags: Sequence[str], add: Sequence[str], remove: Sequence[str]) -> tuple[str, ...]:
    """Tags after a removal and then an addition, so a tag in both is present in the end.

    After an addition the tags are sorted and unique; after a removal only, they keep their order.
    """
    kept = tuple(tag for tag in tags if tag not in set(remove))
    return tuple(sorted({*kept, *add})) if add else kept
