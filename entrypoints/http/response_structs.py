"""Response structs: wire schemas that are made from domain values, field by field.

    class AlertResponse(ResponseStruct[Alert], frozen=True, kw_only=True):
        id: UUID                                                  # alert.id
        metric: Annotated[str, Source("rule.metric")]             # alert.rule.metric
        since: Annotated[ResponseInstant, Source("watch.since")]  # format_instant(...)
        monitor_name: Annotated[str, GIVEN]                       # an argument of from_domain

`from_domain` is compiled from generated source when the class is created, since lists call it for
every item: it takes as long as code written by hand, and a loop over the fields takes longer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import NoneType, UnionType, get_original_bases
from typing import (
    Annotated,
    Any,
    Final,
    Self,
    TypeAliasType,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from domain.tracing.usage import as_float
from entrypoints.http.requests.wire_types import ResponseInstant, Usd, format_instant, raw_json

WHOLE: Final = ""
"""The path of a field that is computed from the whole domain value."""

GIVEN: Final = object()
"""The annotation of a field that the domain value lacks: `from_domain` takes it as an argument."""

OPTIONAL: Final = object()
"""The annotation of a field that `from_domain` leaves at its default."""


@dataclass(frozen=True, slots=True)
class Source:
    """The source of the value of a field, if it isn't the attribute of the same name.

    `path` is an attribute of the domain value, dotted for an attribute of an attribute. `convert`
    makes the wire value of it, in place of the conversion that the wire type implies. It is not
    called with the None of a field that may be null. `is_set` says that the attribute may be None
    by its type, but never is in a value that becomes a response.
    """

    path: str
    convert: Callable[[Any], object] | None = None
    is_set: bool = False


class ResponseStruct[D](msgspec.Struct, frozen=True, kw_only=True):
    """A response that is made from a `D`.

    Instants become text, amounts in USD become numbers, sequences become lists, mappings become
    dicts, nested response structs are made from their own values. Everything else stays as it is.
    """

    def __init_subclass__(cls) -> None:
        """Raises TypeError for a field that a `D` has no value for."""
        super().__init_subclass__()
        domain_type = domain_type_of(cls)
        if not isinstance(domain_type, TypeVar):
            from_domain = staticmethod(_compile(cls, domain_type))
            setattr(cls, "from_domain", from_domain)  # noqa: B010 - mypy refuses an assignment

    @classmethod
    def from_domain(cls, value: D, **given: Any) -> Self:
        """The response for `value`; `given` are the fields that are annotated with GIVEN."""
        raise NotImplementedError  # each class gets a compiled one


def by_position[S: msgspec.Struct](shape: type[S]) -> Callable[..., S]:
    """Makes what is encoded as a `shape`, from the values of its fields in their order.

    Many are made four times as fast as from values by name.
    """
    made = msgspec.defstruct(shape.__name__, shape.__struct_fields__, frozen=True)
    return cast("Callable[..., S]", made)


def domain_type_of(cls: type[Any]) -> Any:
    """The argument of the nearest `ResponseStruct[...]` among the bases."""
    for one in cls.__mro__:
        for base in get_original_bases(one):
            origin = get_origin(base)
            if origin is not None and issubclass(origin, ResponseStruct):
                return get_args(base)[0]
    raise TypeError(f"{cls.__name__} doesn't say what it is made from: ResponseStruct[...]")


def _compile(cls: type[Any], domain_type: Any) -> Callable[..., Any]:
    names: dict[str, Any] = {"_struct": cls}
    given = []
    arguments = []
    for field, hint in get_type_hints(cls, include_extras=True).items():
        metadata = getattr(hint, "__metadata__", ())
        if any(one is OPTIONAL for one in metadata):
            continue
        if any(one is GIVEN for one in metadata):
            given.append(field)
            arguments.append(f"{field}={field}")
            continue
        source = next((one for one in metadata if isinstance(one, Source)), Source(field))
        try:
            _check(source, hint, domain_type)
        except TypeError as error:
            raise TypeError(f"{cls.__name__}.{field}: {error}") from error
        convert = None
        if source.convert is not None:
            convert = f"_convert_{field}"
            names[convert] = source.convert
        value = f"_value.{source.path}" if source.path else "_value"
        arguments.append(f"{field}={_conversion(hint, value, convert, names)}")
    parameters = ", ".join(["_value", *(["*"] if given else []), *given])
    source_text = f"lambda {parameters}: _struct({', '.join(arguments)})"
    compiled: Callable[..., Any] = eval(source_text, names)  # noqa: S307 - from our own schemas
    return compiled


def _conversion(  # noqa: PLR0911 - one return per kind of type
    wire: Any, value: str, convert: str | None, names: dict[str, Any]
) -> str:
    """Source that makes a `wire` of `value`, which is source too."""
    if get_origin(wire) is Annotated:
        return _conversion(wire.__origin__, value, convert, names)
    if NoneType in (options := get_args(wire)):
        [only] = [option for option in options if option is not NoneType]
        inner = _conversion(only, "_found", convert, names)
        return value if inner == "_found" else f"None if (_found := {value}) is None else {inner}"
    if convert is not None:
        return f"{convert}({value})"
    if wire in _CONVERSIONS:
        names[f"_to_{wire.__name__}"] = _CONVERSIONS[wire]
        return f"_to_{wire.__name__}({value})"
    if isinstance(wire, TypeAliasType):
        return _conversion(wire.__value__, value, None, names)
    if get_origin(wire) is list:
        inner = _conversion(options[0], "_item", None, names)
        return f"list({value})" if inner == "_item" else f"[{inner} for _item in {value}]"
    if get_origin(wire) is dict:
        return f"dict({value})"
    if isinstance(wire, type) and issubclass(wire, msgspec.Struct):
        names[f"_to_{wire.__name__}"] = cast("Any", wire).from_domain
        return f"_to_{wire.__name__}({value})"
    return value


_CONVERSIONS: Final[dict[Any, Callable[[Any], object]]] = {
    ResponseInstant: format_instant,
    Usd: as_float,
    msgspec.Raw: raw_json,
}


def _check(source: Source, wire: Any, domain_type: Any) -> None:
    """Raises TypeError if the attribute doesn't exist, or may be None where the field may not.

    Attributes whose types are unknown are not checked.
    """
    found = domain_type
    for name in source.path.split(".") if source.path else ():
        if NoneType in _options(found) and not source.is_set:
            raise TypeError(f"{name} is an attribute of a value that may be None")
        options = [option for option in _options(found) if option is not NoneType]
        owner = getattr(options[0], "__supertype__", options[0])
        if not isinstance(owner, type) or len(options) > 1:
            return
        found = _attribute_type(owner, name)
    may_be_null = NoneType in _options(wire) or _unwrapped(wire) is msgspec.Raw
    is_checked = not source.is_set and source.convert is None
    if is_checked and NoneType in _options(found) and not may_be_null:
        raise TypeError(f"{source.path} may be None")


@lru_cache(maxsize=8)  # the fields of one response mostly come from one or two classes
def _hints_of(owner: Any) -> dict[str, Any]:
    return get_type_hints(owner)


def _attribute_type(owner: Any, name: str) -> Any:
    """Raises TypeError if instances of `owner` have no such field or property."""
    hints = _hints_of(owner)
    if name in hints:
        return hints[name]
    match getattr(owner, name, None):
        case property(fget=getter) | cached_property(func=getter):
            return get_type_hints(getter)["return"]
    raise TypeError(f"{owner.__name__} has no attribute {name}")


def _unwrapped(hint: Any) -> Any:
    """The type behind aliases and annotations."""
    while True:
        if isinstance(hint, TypeAliasType):
            hint = hint.__value__
        elif get_origin(hint) is Annotated:
            hint = hint.__origin__
        else:
            return hint


def _options(hint: Any) -> tuple[Any, ...]:
    """The types of a union; the type itself if it is none."""
    bare = _unwrapped(hint)
    return get_args(bare) if get_origin(bare) in {Union, UnionType} else (bare,)
