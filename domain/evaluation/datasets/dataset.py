"""Datasets, their items and versions."""

import json
import math
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Final, Self
from uuid import UUID

from domain.errors import Conflict, Invalid
from domain.ids import ProjectId, TraceId
from domain.tracing.messages.json_value import DIGITS_MAX
from domain.tracing.payloads.payload import EMPTY_OBJECT, JsonText

NAME_MAX: Final = 100  # characters
DESCRIPTION_MAX: Final = 500  # characters
ITEM_ID_MAX: Final = 200  # characters
SPLIT_MAX: Final = 63  # characters
DATASETS_MAX: Final = 100  # of one project: a list without pages
ITEMS_MAX: Final = 20_000  # of one version: each write hashes the digests of all of them
ITEM_BYTES_MAX: Final = 256 << 10  # of input, expected and metadata of one item
VERSIONS_MAX: Final = 1_000  # of one dataset: a list without pages
REVISIONS_MAX: Final = 100_000  # stored items of all versions of one dataset
ITEMS_PER_REQUEST_MAX: Final = 10_000  # of one write, which is one transaction

_NAME: Final = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,{NAME_MAX - 1}}}")


def validate_name(name: str) -> str:
    """Raises Invalid for a malformed name."""
    if _NAME.fullmatch(name) is None:
        raise Invalid.field(
            "name",
            f"must have 1 to {NAME_MAX} characters: lower-case letters, digits, `.`, `_` and `-`, "
            "beginning with a letter or a digit",
        )
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """All items of a dataset at a time.

    `digest` is `version_digest` of them: versions with the same digest are the same test. `number`
    counts from 0, the empty version. `items` is the number of items when it was made; an erasure
    has deleted `erased` of them since.
    """

    dataset_id: UUID
    number: int
    digest: bytes
    items: int
    erased: int = 0
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset with its newest version. `revisions` counts the stored items of all versions."""

    id: UUID
    project_id: ProjectId
    name: str
    description: str
    version: Version
    revisions: int = 0
    created_at: datetime
    updated_at: datetime

    def described(self, description: str, now: datetime) -> Self:
        if description == self.description:
            return self
        return replace(self, description=description, updated_at=now)

    def with_version(self, digest: bytes, items: int, added: int, now: datetime) -> Self:
        """The dataset with one more version, for which `added` items were stored."""
        version = Version(
            dataset_id=self.id,
            number=self.version.number + 1,
            digest=digest,
            items=items,
            created_at=now,
        )
        return replace(self, version=version, revisions=self.revisions + added, updated_at=now)

    def check_room(self, *, new: int, stored: int) -> None:
        """Raises Conflict if it can't hold `new` more items, or store `stored` more revisions."""
        if self.version.items + new > ITEMS_MAX:
            raise Conflict(
                f"A dataset holds {ITEMS_MAX:,} items at most, and this one would hold "
                f"{self.version.items + new:,}: delete some, or use another dataset"
            )
        if self.version.number >= VERSIONS_MAX:
            raise Conflict(
                f"A dataset has {VERSIONS_MAX:,} versions at most: copy it into another dataset"
            )
        if self.revisions + stored > REVISIONS_MAX:
            raise Conflict(
                f"A dataset stores {REVISIONS_MAX:,} items of all versions at most: copy it into "
                "another dataset"
            )


def dataset_in_use() -> Conflict:
    """The error if a dataset with experiments is deleted."""
    return Conflict("This dataset has experiments: delete those first")


def new_dataset(
    id_: UUID, project: ProjectId, name: str, description: str, now: datetime
) -> Dataset:
    """A dataset without items. Raises Invalid for a malformed name."""
    empty = Version(dataset_id=id_, number=0, digest=version_digest(b""), items=0, created_at=now)
    return Dataset(
        id=id_,
        project_id=project,
        name=validate_name(name),
        description=description,
        version=empty,
        created_at=now,
        updated_at=now,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetItem:
    """A test case. `id` is the caller's, unique in a version.

    `from_trace` is the trace that it was copied from. Metadata and the link are notes: they are no
    part of the version.
    """

    id: str
    input: JsonText
    expected: JsonText | None = None
    metadata: JsonText = EMPTY_OBJECT
    split: str | None = None
    from_trace: TraceId | None = None

    @property
    def size(self) -> int:
        """The size in bytes."""
        return len(self.input) + len(self.expected or b"") + len(self.metadata)

    def digest(self) -> bytes:
        """32 bytes: SHA-256 of id, input, expected and split.

        Values that are equal as JSON give the same digest, whatever their whitespace and the order
        of their keys. Two numbers are equal only if all their digits are, also those that a double
        has no room for. Takes as long as parsing the payloads.
        """
        parts = [self.id, _parsed(self.input), _parsed(self.expected), self.split]
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_mark)
        return sha256(text.encode()).digest()


@dataclass(frozen=True, slots=True)
class _Digits:
    """A number that no Python number has: rounded, it would be equal to others."""

    text: str


def _parsed(payload: JsonText | None) -> object:
    """The value of a payload; one that is too deep to be parsed stays text."""
    if payload is None:
        return None
    text = payload.decode(errors="replace")
    try:
        return json.loads(text, parse_int=_integer, parse_float=_fraction, parse_constant=_Digits)
    except (ValueError, RecursionError):
        return text


def _integer(digits: str) -> int | _Digits:
    return int(digits) if len(digits) <= DIGITS_MAX else _Digits(digits)


def _fraction(digits: str) -> float | _Digits:
    number = float(digits)
    shown = repr(number)
    if shown == digits:
        return number
    try:
        is_exact = math.isfinite(number) and Decimal(shown) == Decimal(digits)
    except ArithmeticError:  # an exponent that is too large for a Decimal, too
        is_exact = False
    return number if is_exact else _Digits(digits)


def _mark(number: _Digits) -> list[object]:
    """A value that no JSON text is parsed to, since JSON has no NaN."""
    return [math.nan, number.text]


def validate_item(item: DatasetItem) -> DatasetItem:
    """Raises Invalid for an item that is too large."""
    if item.size > ITEM_BYTES_MAX:
        raise Invalid.field(
            "input",
            f"must not exceed {ITEM_BYTES_MAX >> 10} KiB together with expected and metadata, and "
            f"these have {item.size:,} bytes",
        )
    return item


def version_digest(sorted_digests: bytes) -> bytes:
    """32 bytes: SHA-256 over the digests of all items, ascending, one after the other."""
    return sha256(sorted_digests).digest()


@dataclass(frozen=True, slots=True)
class HashedItem:
    """An item with its digest, which takes some time to compute."""

    item: DatasetItem
    digest: bytes


@dataclass(frozen=True, slots=True)
class ItemState:
    """The parts of a stored item that decide whether a write changes it."""

    digest: bytes
    metadata: JsonText
    from_trace: TraceId | None


@dataclass(slots=True)
class WritePlan:
    """The effect of a write on each of its items.

    `created` and `revised` make a new version, `noted` changes metadata and links in place.
    `refused` are the errors by the index of the item in the request.
    """

    created: list[HashedItem] = field(default_factory=list)
    revised: list[HashedItem] = field(default_factory=list)
    noted: list[HashedItem] = field(default_factory=list)
    unchanged: int = 0
    refused: dict[int, Invalid] = field(default_factory=dict)

    @property
    def stored(self) -> list[HashedItem]:
        return [*self.created, *self.revised]


def plan_write(
    known: Mapping[str, ItemState], sent: Sequence[HashedItem], traces: Container[TraceId]
) -> WritePlan:
    """How the items of the newest version change, by the item's id.

    `traces` are those that exist among the links. An item keeps its link if none is sent: its text
    may still be that of the trace. An item whose id was sent before in the same request is refused,
    and so is one with a link to a trace that doesn't exist, unless it has this link already.
    """
    plan, seen = WritePlan(), set[str]()
    for index, one in enumerate(sent):
        before, link = known.get(one.item.id), one.item.from_trace
        kept = None if before is None else before.from_trace
        if one.item.id in seen:
            plan.refused[index] = Invalid.field("id", "is in the request twice")
            continue
        if link is not None and link != kept and link not in traces:
            plan.refused[index] = Invalid.field("from_trace", "isn't a trace of this project")
            continue
        seen.add(one.item.id)
        after = replace(one, item=replace(one.item, from_trace=link or kept))
        if before is None:
            plan.created.append(after)
        elif one.digest != before.digest:
            plan.revised.append(after)
        elif (after.item.metadata, after.item.from_trace) != (before.metadata, kept):
            plan.noted.append(after)
        else:
            plan.unchanged += 1
    return plan


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteResult:
    """The result of a write of items. `version` is the newest version after it."""

    version: Version
    created: int = 0
    changed: int = 0
    unchanged: int = 0
    refused: Mapping[int, Invalid] = field(default_factory=dict)

    @classmethod
    def from_plan(cls, plan: WritePlan, version: Version) -> Self:
        return cls(
            version=version,
            created=len(plan.created),
            changed=len(plan.revised) + len(plan.noted),
            unchanged=plan.unchanged,
            refused=plan.refused,
        )
