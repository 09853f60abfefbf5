"""Lists and objects that OpenTelemetry instrumentations spread over attributes.

`llm.tools.0.tool.json_schema` is an item of the family `llm.tools`. Indexes may have gaps.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

INDEX_MAX: Final = 9_999  # attributes with a greater index are ignored
PATH_PARTS_MAX: Final = 16  # of an attribute's name after the family; OpenInference has 8


def indexed_items(
    attributes: Mapping[str, object], families: Collection[str]
) -> dict[str, list[object]]:
    """The items of each family, in numeric order; a family without attributes is left out.

    `llm.tools.0.tool.json_schema` gives the item `{"tool": {"json_schema": …}}`, and
    `gen_ai.stop.0` gives its value. Reads the attributes once.
    """
    prefixes = tuple(f"{family}." for family in families)
    trees: dict[str, _Node] = {}
    for key, value in attributes.items():
        if not key.startswith(prefixes):
            continue
        prefix = next(one for one in prefixes if key.startswith(one))
        path = key[len(prefix) :].split(".", PATH_PARTS_MAX)
        if len(path) <= PATH_PARTS_MAX and _is_index(path[0]):
            _place(trees.setdefault(prefix[:-1], _Node()), path, value)
    return {family: _as_list(tree) for family, tree in trees.items()}


class _Node(dict[str, object]):
    """Members that were rebuilt from the names of attributes."""


def _is_index(part: str) -> bool:
    return part.isascii() and part.isdigit() and len(part) <= len(str(INDEX_MAX))


def _place(tree: _Node, path: Sequence[str], value: object) -> None:
    """Puts a value into nested nodes. `a.0` and `a.0.b` exclude each other: the longer one wins."""
    for part in path[:-1]:
        inner = tree.get(part)
        if not isinstance(inner, _Node):
            inner = tree[part] = _Node()
        tree = inner
    if not isinstance(tree.get(path[-1]), _Node):
        tree[path[-1]] = value


def _rebuilt(value: object) -> object:
    """A node as a list if its keys are indexes, else as an object."""
    if not isinstance(value, _Node):
        return value
    if all(map(_is_index, value)):
        return _as_list(value)
    return {key: _rebuilt(inner) for key, inner in value.items()}


def _as_list(tree: _Node) -> list[object]:
    return [_rebuilt(tree[key]) for key in sorted((key for key in tree if _is_index(key)), key=int)]
