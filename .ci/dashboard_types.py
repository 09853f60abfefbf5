"""Writes the dashboard's types of the API, which are made of docs/openapi.json.

    python .ci/dashboard_types.py [--check]

Each schema becomes a type of the same name. `Reads` has the parameters and the answer of each GET
by its path, so that TypeScript refuses a wrong parameter or field of a request.
"""

# ruff: noqa: INP001, T201 - a command of `make`, not part of a package

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
TYPES: Final = ROOT / "entrypoints/dashboard/src/api/types.d.ts"
SCALARS: Final = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}
Schema = Mapping[str, Any]


def type_of(schema: Schema) -> str:
    """The TypeScript type of a schema. What the schema leaves open is `unknown`."""
    if "$ref" in schema:
        return identifier(schema["$ref"].rsplit("/", 1)[1])
    if "const" in schema or "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return " | ".join(dict.fromkeys(map(type_of, options)))
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return " | ".join(_type_of_kind(kind, schema) for kind in kinds) or "unknown"


def _type_of_kind(kind: str, schema: Schema) -> str:
    if kind == "array":
        return f"Array<{type_of(schema.get('items', {}))}>"
    if kind != "object":
        return SCALARS[kind]
    if "properties" in schema:
        return "{ " + " ".join(_members(schema)) + " }"
    values = schema.get("additionalProperties", {})
    return f"Record<string, {type_of(values if isinstance(values, Mapping) else {})}>"


def _members(schema: Schema) -> list[str]:
    required = schema.get("required", [])
    return [
        f"{json.dumps(name)}{'' if name in required else '?'}: {type_of(value)};"
        for name, value in schema["properties"].items()
    ]


def identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _parameters(operation: Schema, place: str) -> str:
    members = [
        f"{json.dumps(one['name'])}{'' if one.get('required') else '?'}: "
        f"{type_of(one.get('schema', {}))};"
        for one in operation.get("parameters", [])
        if one.get("in") == place
    ]
    return "{ " + " ".join(members) + " }"


def _read(path: str, operation: Schema) -> str:
    [answer] = [body for status, body in operation["responses"].items() if status.startswith("2")]
    contents = list(answer.get("content", {}).values())
    answered = type_of(contents[0].get("schema", {})) if contents else "null"
    in_path, query = _parameters(operation, "path"), _parameters(operation, "query")
    return f"  {json.dumps(path)}: {{ path: {in_path}; query: {query}; answer: {answered} }};"


def text(document: Mapping[str, Any]) -> str:
    schemas = (
        f"export type {identifier(name)} = {type_of(schema)};"
        for name, schema in document["components"]["schemas"].items()
    )
    reads = (
        _read(path, operations["get"])
        for path, operations in document["paths"].items()
        if "get" in operations
    )
    return "\n".join(
        [
            "// Made of docs/openapi.json by .ci/dashboard_types.py. Don't edit.",
            *schemas,
            "export interface Reads {",
            *reads,
            "}",
            "",
        ]
    )


def main(arguments: list[str]) -> int:
    made = text(json.loads((ROOT / "docs/openapi.json").read_text()))
    if "--check" not in arguments:
        TYPES.write_text(made)
    elif not TYPES.exists() or TYPES.read_text() != made:
        print(f"{TYPES.relative_to(ROOT)} is out of date: run python .ci/dashboard_types.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
