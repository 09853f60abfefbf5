"""Response structs: every class makes valid JSON of every domain value."""

import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest

import entrypoints.http.app  # noqa: F401 - imports all controllers
from domain.errors import Invalid
from domain.evaluation.alerts.webhook import Webhook
from domain.evaluation.metrics.metric import Metric
from domain.evaluation.metrics.rubrics import TASK_COMPLETION, Rubric
from domain.identity.audit import AuditEntry
from domain.tracing.payloads.payload import JsonText
from domain.tracing.span import Span
from domain.tracing.trace import Trace
from entrypoints.http.requests.wire_types import JsonObject, ResponseInstant, Usd
from entrypoints.http.response_structs import GIVEN, WHOLE, ResponseStruct, Source, domain_type_of
from tests.support.problems import for_each

AT = datetime(2026, 3, 1, 9, 0, 0, 250, tzinfo=UTC)
SAMPLES: dict[Any, Any] = {
    datetime: AT,
    UUID: UUID(int=7),
    Decimal: Decimal("0.25"),
    str: "0.5",  # also the value of a numeric score
    int: 3,
    float: 0.5,
    bool: True,
    bytes: b"{}",
    object: "anything",
    Rubric: TASK_COMPLETION,
    Invalid: Invalid.field("name", "is wrong"),
    msgspec.Raw: msgspec.Raw(b"{}"),
}
# Fields that a stored value has, though a value that was just received may lack them.
SETTLED: dict[Any, tuple[str, ...]] = {
    AuditEntry: ("sequence", "hash"),
    Metric: ("revision",),  # without one it is built in, and has one of the known names
    Span: ("kind", "status", "charge"),
    Trace: ("status",),
    Webhook: ("secret",),  # of one that was just created
}


def sample(hint: Any, *, is_full: bool) -> Any:  # noqa: PLR0911 - one return per kind of type
    """A value of the type; with `is_full` without None, else with None wherever it is allowed."""
    if isinstance(hint, typing.TypeAliasType):
        return sample(hint.__value__, is_full=is_full)
    if hasattr(hint, "__supertype__"):
        return sample(hint.__supertype__, is_full=is_full)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        if types.NoneType in arguments and not is_full:
            return None
        return sample(next(one for one in arguments if one is not types.NoneType), is_full=is_full)
    if origin is typing.Annotated:
        return sample(arguments[0], is_full=is_full)
    if origin is tuple:
        return tuple(sample(one, is_full=is_full) for one in arguments if one is not ...)
    if origin in {list, Sequence}:
        return [sample(arguments[0], is_full=is_full)]
    if origin in {frozenset, set}:
        return frozenset({sample(arguments[0], is_full=is_full)})
    if origin in {dict, Mapping}:
        key, value = arguments
        return {sample(key, is_full=is_full): sample(value, is_full=is_full)}
    if origin is Callable:
        return None  # no response calls it
    if hint in SAMPLES:
        return SAMPLES[hint]
    if dataclasses.is_dataclass(origin):
        return _dataclass(origin, arguments, is_full=is_full)
    if issubclass(hint, enum.Enum):
        return next(iter(hint))
    if issubclass(hint, ResponseStruct):
        return made(hint, is_full=is_full)
    if issubclass(hint, msgspec.Struct):
        return hint(**_fields(hint, is_full=is_full))
    assert dataclasses.is_dataclass(hint), hint
    return _dataclass(hint, is_full=is_full)


def _dataclass(cls: type[Any], arguments: Sequence[Any] = (), *, is_full: bool) -> Any:
    """An instance with all fields, valid or not: only their types matter here."""
    value = object.__new__(cls)
    for name, one in _fields(cls, arguments, is_full=is_full).items():
        object.__setattr__(value, name, one)
    return value


def _fields(cls: type[Any], arguments: Sequence[Any] = (), *, is_full: bool) -> dict[str, Any]:
    """`arguments` are those of the type parameters of a generic class."""
    given = dict(zip(cls.__type_params__, arguments, strict=bool(arguments)))
    return {
        name: sample(_bound(hint, given), is_full=is_full or name in SETTLED.get(cls, ()))
        for name, hint in typing.get_type_hints(cls).items()
    }


def _bound(hint: Any, given: Mapping[Any, Any]) -> Any:
    if hint in given:
        return given[hint]
    parameters = getattr(hint, "__parameters__", ())
    return hint[tuple(given[one] for one in parameters)] if given and parameters else hint


def made(cls: type[ResponseStruct[Any]], *, is_full: bool) -> Any:
    hints = typing.get_type_hints(cls, include_extras=True)
    given = {
        name: sample(hint, is_full=is_full)
        for name, hint in hints.items()
        if any(one is GIVEN for one in getattr(hint, "__metadata__", ()))
    }
    return cls.from_domain(sample(domain_type_of(cls), is_full=is_full), **given)


def classes(base: type[Any] = ResponseStruct) -> Iterator[type[ResponseStruct[Any]]]:
    for cls in base.__subclasses__():
        if cls.__module__.startswith("entrypoints.") and not cls.__type_params__:
            yield cls
        yield from classes(cls)


@for_each(classes, lambda cls: cls.__name__)
def test_every_value_becomes_valid_json(cls: type[ResponseStruct[Any]]) -> None:
    for is_full in (True, False):
        response = made(cls, is_full=is_full)
        assert msgspec.json.decode(msgspec.json.encode(response), type=cls) == response


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    id: UUID = SAMPLES[UUID]
    at: datetime = AT
    ended_at: datetime | None = None
    usd: Decimal = Decimal("0.1")
    body: JsonText = b'{"a": 1}'
    part: Part = Part(name="inner")
    maybe: Part | None = None
    parts: tuple[Part, ...] = (Part(), Part(name="b"))
    tags: tuple[str, ...] = ("x", "y")
    rows: Mapping[str, int] = dataclasses.field(default_factory=lambda: {"a": 1})

    @property
    def size(self) -> int:
        return len(self.parts)

    @property
    def owner(self) -> str | None:
        return None

    def method(self) -> int:
        return 1


class PartResponse(ResponseStruct[Part], frozen=True, kw_only=True):
    name: str | None


class WholeResponse(ResponseStruct[Whole], frozen=True, kw_only=True):
    whole_id: Annotated[UUID, Source("id")]
    at: ResponseInstant
    ended_at: ResponseInstant | None
    usd: Usd
    body: JsonObject
    inner: Annotated[str | None, Source("part.name")]
    part: PartResponse
    maybe: PartResponse | None
    parts: list[PartResponse]
    tags: list[str]
    rows: dict[str, int]
    size: int
    shouted: Annotated[list[str], Source("tags", lambda tags: [tag.upper() for tag in tags])]
    parts_with_name: Annotated[int, Source(WHOLE, lambda it: sum(bool(p.name) for p in it.parts))]
    secret: Annotated[str, GIVEN]


def test_fields_are_converted_as_their_types_say() -> None:
    assert WholeResponse.from_domain(Whole(), secret="s") == WholeResponse(
        whole_id=UUID(int=7),
        at="2026-03-01T09:00:00.000250+00:00",
        ended_at=None,
        usd=0.1,
        body=msgspec.Raw(b'{"a": 1}'),
        inner="inner",
        part=PartResponse(name="inner"),
        maybe=None,
        parts=[PartResponse(name=None), PartResponse(name="b")],
        tags=["x", "y"],
        rows={"a": 1},
        size=2,
        shouted=["X", "Y"],
        parts_with_name=1,
        secret="s",
    )
    full = WholeResponse.from_domain(Whole(ended_at=AT, maybe=Part()), secret="s")
    assert (full.ended_at, full.maybe) == (full.at, PartResponse(name=None))


def test_given_fields_are_required() -> None:
    with pytest.raises(TypeError, match="secret"):
        WholeResponse.from_domain(Whole())
    with pytest.raises(TypeError, match="size"):
        WholeResponse.from_domain(Whole(), secret="s", size=3)


class Extended(PartResponse, frozen=True, kw_only=True):
    more: Annotated[int, GIVEN]


def test_subclasses_have_the_fields_of_their_base() -> None:
    assert Extended.from_domain(Part(name="a"), more=1) == Extended(name="a", more=1)


@pytest.mark.parametrize(
    ("field", "hint", "message"),
    [
        ("missing", int, "missing: Whole has no attribute missing"),
        ("method", int, "method: Whole has no attribute method"),
        ("x", Annotated[str, Source("part.id")], "x: Part has no attribute id"),
        ("x", Annotated[str | None, Source("maybe.name")], "name is an attribute of a value that"),
        ("x", Annotated[str, Source("maybe.id", is_set=True)], "x: Part has no attribute id"),
        ("ended_at", ResponseInstant, "ended_at may be None"),
        ("owner", str, "owner may be None"),
    ],
)
def test_impossible_fields_are_refused_when_the_class_is_made(
    field: str, hint: Any, message: str
) -> None:
    def add(namespace: dict[str, Any]) -> None:
        namespace["__annotations__"] = {field: hint}

    with pytest.raises(TypeError, match=message):
        types.new_class("Wrong", (ResponseStruct[Whole],), exec_body=add)


def test_class_has_to_name_its_domain_type() -> None:
    with pytest.raises(TypeError, match="Wrong doesn't say what it is made from"):
        types.new_class("Wrong", (ResponseStruct,))
