"""The subset of JSON Schema that tool arguments are checked against. Not a general validator.

A schema with keywords outside the subset is unsupported, and calls aren't checked against it.
Ignoring a keyword would report arguments as valid that were never checked.
"""

import json
from collections.abc import Mapping
from typing import Final

LEVELS_MAX: Final = 50  # of a schema; deeper ones are unsupported
_CHECKED: Final = frozenset(
    {"type", "enum", "const", "required", "properties", "additionalProperties", "items"}
    | {"minLength", "maxLength", "minimum", "maximum"}
)
# Annotations, which assert nothing (JSON Schema 2020-12, Core 8, Validation 9).
_DESCRIBING: Final = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
    | {"$schema", "$id", "$comment"}
)
_CLASSES: Final[Mapping[str, type]] = {
    "null": type(None),
    "boolean": bool,
    "object": dict,
    "array": list,
    "string": str,
}
_TYPES: Final = frozenset({*_CLASSES, "number", "integer"})


def is_supported_schema(schema: object, levels: int = LEVELS_MAX) -> bool:
    """Whether `matches_schema` can check every keyword of a schema."""
    if isinstance(schema, bool):
        return True
    if not isinstance(schema, Mapping) or not levels or schema.keys() - _CHECKED - _DESCRIBING:
        return False
    types, properties = _types(schema), schema.get("properties", {})
    required, values = schema.get("required", []), schema.get("enum", [])
    return (
        types <= _TYPES
        and isinstance(required, list)
        and all(isinstance(name, str) for name in required)
        and isinstance(values, list)
        and all(is_number(schema.get(key, 0)) for key in ("minLength", "maxLength"))
        and all(is_number(schema.get(key, 0)) for key in ("minimum", "maximum"))
        and isinstance(properties, Mapping)
        and all(is_supported_schema(inner, levels - 1) for inner in properties.values())
        and is_supported_schema(schema.get("items", True), levels - 1)
        and is_supported_schema(schema.get("additionalProperties", True), levels - 1)
    )


def matches_schema(value: object, schema: object) -> bool:
    """Whether a value conforms to a supported schema; `SchemaMatcher` is for several values."""
    return SchemaMatcher(schema).matches(value)


class SchemaMatcher:
    """Tells whether values conform to a supported schema.

    If the schema has `properties`, unlisted fields are invalid unless `additionalProperties` allows
    them explicitly: a model that invents an argument has made an error.

    The lists of a schema are read once, and not for each item of an array: both may have many
    thousands.
    """

    def __init__(self, schema: object) -> None:
        self._schema = schema
        self._read: dict[int, _Keywords] = {}  # by id: the schema is kept

    def matches(self, value: object) -> bool:
        return self._fits(value, self._schema)

    def _fits(self, value: object, schema: object) -> bool:
        if not isinstance(schema, Mapping):
            return schema is not False
        known = self._read.get(id(schema))
        if known is None:
            known = self._read[id(schema)] = _Keywords(schema)
        return (
            (not known.types or any(_is_of(value, one) for one in known.types))
            and (not known.allowed or all(json_key(value) in values for values in known.allowed))
            and _fits_size(value, schema)
            and self._fits_members(value, schema, known)
        )

    def _fits_members(
        self, value: object, schema: Mapping[str, object], known: "_Keywords"
    ) -> bool:
        if isinstance(value, list):
            items = schema.get("items", True)
            return all(self._fits(one, items) for one in value)
        if not isinstance(value, Mapping):
            return True
        properties = schema.get("properties", {})
        others = schema.get("additionalProperties", "properties" not in schema)
        assert isinstance(properties, Mapping)
        return value.keys() >= known.required and all(
            self._fits(one, properties.get(name, others)) for name, one in value.items()
        )


class _Keywords:
    """The lists of one schema as sets: `allowed` has those of `enum` and of `const`."""

    __slots__ = ("allowed", "required", "types")

    def __init__(self, schema: Mapping[str, object]) -> None:
        self.types = _types(schema)
        required, values = schema.get("required", []), schema.get("enum", [])
        assert isinstance(required, list)
        assert isinstance(values, list)
        self.required = frozenset(required)
        self.allowed: list[frozenset[str]] = []
        if "enum" in schema:
            self.allowed.append(frozenset(map(json_key, values)))
        if "const" in schema:
            self.allowed.append(frozenset([json_key(schema["const"])]))


def json_key(value: object) -> str:
    """A text that is equal for values that are equal in JSON, as `json_equal` finds.

    Senders can choose numbers with equal hashes, but not texts. A set of thousands of values with
    one hash would compare each with all others.
    """
    if isinstance(value, Mapping):
        members = [f"{json.dumps(name)}:{json_key(one)}" for name, one in value.items()]
        return f"{{{','.join(sorted(members))}}}"
    if isinstance(value, list):
        return f"[{','.join([json_key(one) for one in value])}]"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return json.dumps(value)
    is_whole = isinstance(value, int) or value.is_integer()
    return f"{int(value):x}" if is_whole else repr(value)


def _fits_size(value: object, schema: Mapping[str, object]) -> bool:
    if isinstance(value, str):
        return _is_between(len(value), schema.get("minLength"), schema.get("maxLength"))
    if is_number(value):
        return _is_between(value, schema.get("minimum"), schema.get("maximum"))
    return True


def _types(schema: Mapping[str, object]) -> set[object]:
    types = schema.get("type", [])
    return set(map(str, types)) if isinstance(types, list) else {str(types)}


def _is_of(value: object, kind: object) -> bool:
    if kind in {"number", "integer"}:
        whole = not isinstance(value, float) or value.is_integer()
        return is_number(value) and (whole or kind == "number")
    return isinstance(value, _CLASSES[str(kind)])


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_between(value: object, least: object, most: object) -> bool:
    assert isinstance(value, int | float)
    return (not isinstance(least, int | float) or value >= least) and (
        not isinstance(most, int | float) or value <= most
    )


def json_equal(one: object, other: object) -> bool:
    """Whether two values are equal in JSON: `1` and `1.0` are, `1` and `true` are not."""
    if is_number(one) and is_number(other):
        return one == other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(json_equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(json_equal, one, other))
    return type(one) is type(other) and one == other
