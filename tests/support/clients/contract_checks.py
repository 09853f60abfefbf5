"""Compares two OpenAPI documents: a contract, and the document that is served."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

CONTRACT: Final = Path(__file__).parents[4] / "shared" / "contract" / "openapi.json"
NULL = {"type": "null"}
BOUNDS = ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems")


def operations(document: Any) -> dict[tuple[str, str], Any]:
    return {
        (method, path): reported
        for path, methods in document["paths"].items()
        for method, reported in methods.items()
    }


def violations(promised: Any, served: Any) -> Iterator[str]:
    """Each violation of the contract, by path, method, parameter, field and rule."""
    kept = operations(served)
    for (method, path), reported in operations(promised).items():
        name = f"{method.upper()} {path}"
        if (method, path) not in kept:
            yield name
            continue
        ours = kept[method, path]
        yield from _parameters(name, reported, ours, Comparison(promised, served, is_sent=True))
        if "requestBody" in reported:
            pair = reported["requestBody"], ours.get("requestBody", {})
            if pair[0].get("required", False) is not pair[1].get("required", False):
                yield f"{name} body: required"
            sent = Comparison(promised, served, is_sent=True)
            yield from sent.differences(*map(_schema, pair), f"{name} body")
        for status, answer in reported["responses"].items():
            if status not in ours["responses"]:
                yield f"{name} {status}"
                continue
            shown = Comparison(promised, served, is_sent=False)
            pair = answer, ours["responses"][status]
            yield from shown.differences(*map(_schema, pair), f"{name} {status}")


def _schema(holder: Mapping[str, Any]) -> Any:
    return holder.get("content", {}).get("application/json", {}).get("schema", {})


def _parameters(name: str, documented: Any, ours: Any, comparison: "Comparison") -> Iterator[str]:
    wanted = {(one["in"], one["name"]): one for one in documented.get("parameters", ())}
    found = {(one["in"], one["name"]): one for one in ours["parameters"]}
    for key, want in wanted.items():
        place = f"{name} {key[0]}.{key[1]}"
        if key not in found:
            yield place
            continue
        have = found[key]
        if want["required"] is not have["required"]:
            yield f"{place}: required"
        if want["schema"].get("default") != have["schema"].get("default"):
            yield f"{place}: default"
        yield from comparison.differences(want["schema"], have["schema"], place)
    for key, have in found.items():
        if key not in wanted and have["required"]:
            yield f"{name} {key[0]}.{key[1]}: required"


@dataclass(frozen=True)
class Comparison:
    """Compares schemas: requests may not be stricter, and responses have no other types."""

    promised: Any
    served: Any
    is_sent: bool

    def differences(self, want: Any, have: Any, place: str) -> Iterator[str]:
        wanted, want_null = _variants(self.promised, want)
        found, have_null = _variants(self.served, have)
        if self.is_sent and want_null and not (have_null or found == [{}]):
            yield f"{place}: null"
        if not self.is_sent and have_null and not want_null and wanted != [{}]:
            yield f"{place}: null"
        if {} in wanted or (self.is_sent and found == [{}]):
            if self.is_sent and found != [{}]:
                yield f"{place}: any JSON"
            return
        if len(wanted) != len(found):
            yield f"{place}: {len(wanted)} types"
            if self.is_sent or len(found) < len(wanted):
                return
        for one, other in zip(wanted, found, strict=False):  # others are for narrower rights
            yield from self._of_one(one, other, place)

    def _of_one(self, want: Any, have: Any, place: str) -> Iterator[str]:
        if want.get("type") != have.get("type"):
            yield f"{place}: {want.get('type')}"
            return
        if set(want.get("enum", ())) != set(have.get("enum", ())):
            yield f"{place}: enum"
        if self.is_sent:
            reported = (*BOUNDS, "format")
            yield from (f"{place}: {one}" for one in reported if want.get(one) != have.get(one))
        if want.get("type") == "array":
            yield from self.differences(want["items"], have.get("items", {}), f"{place}.[]")
        if isinstance(values := want.get("additionalProperties"), dict):
            ours = have.get("additionalProperties", {})
            yield from self.differences(values, ours, f"{place}.*")
        yield from self._fields(want, have, place)

    def _fields(self, want: Any, have: Any, place: str) -> Iterator[str]:
        wanted, found = want.get("properties", {}), have.get("properties", {})
        required, ours = set(want.get("required", ())), set(have.get("required", ()))
        for name, schema in wanted.items():
            if name not in found:
                yield f"{place}.{name}"
                continue
            if (name in required) is not (name in ours) and (self.is_sent or name in required):
                yield f"{place}.{name}: required"
            yield from self.differences(schema, found[name], f"{place}.{name}")
        if self.is_sent:
            yield from (f"{place}.{name}: required" for name in sorted(ours - wanted.keys()))


def _variants(document: Any, schema: Any) -> tuple[list[Any], bool]:
    """The types of a value, references followed; and whether it may be null."""
    if (ref := schema.get("$ref")) is not None:
        name = ref.rpartition("/")[2]
        return _variants(document, document["components"]["schemas"][name])
    if isinstance(kinds := schema.get("type"), list):
        rest = [{**schema, "type": kind} for kind in kinds if kind != "null"]
        return rest, "null" in kinds
    if "anyOf" not in schema:
        words = ("type", "enum", "properties", "items", "additionalProperties", "required")
        known = {name: schema[name] for name in (*words, *BOUNDS, "format") if name in schema}
        if "enum" in known:
            known.setdefault("type", "string")
        return [known], False
    found, is_optional = [], False
    for one in schema["anyOf"]:
        if one == NULL:
            is_optional = True
            continue
        inner, null = _variants(document, one)
        found += inner
        is_optional = is_optional or null
    return found, is_optional
