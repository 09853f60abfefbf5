"""Every adapter of a port is tested by the suite of the port.

An adapter is any class whose methods take and return what those of the port do. A suite tests it if
the suite names it, or if the fixtures and helpers that the suite uses do. A suite over a fixture
that fills every port, such as `world`, therefore counts for all adapters that it fills in.
"""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.support.problems import for_each

pytestmark = pytest.mark.slow  # reads all code and all tests

ROOT: Final = Path(__file__).parents[2]
LAYERS: Final = ("application", "adapters", "entrypoints")
FOLLOWED: Final = ("tests/", "entrypoints/composition/")  # where suites get their adapters from
UNTYPED: Final = {"", "object"}
CONTEXTS: Final = ("AbstractAsyncContextManager", "AsyncIterator", "AsyncGenerator")

type Function = ast.FunctionDef | ast.AsyncFunctionDef
type Signature = tuple[tuple[str, ...], str]
"""The annotations of the parameters after `self`, and that of the result."""
type Place = tuple[Path, str]
"""A module, and the name of a definition at its top level."""


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def classes() -> dict[str, list[ast.ClassDef]]:
    """The classes of the code by their name."""
    found: dict[str, list[ast.ClassDef]] = {}
    for layer in LAYERS:
        for path in sorted((ROOT / layer).rglob("*.py")):
            for node in tree(path).body:
                if isinstance(node, ast.ClassDef):
                    found.setdefault(node.name, []).append(node)
    return found


def bases(node: ast.ClassDef) -> list[str]:
    return [ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases]


@cache
def ports() -> dict[str, ast.ClassDef]:
    return {
        node.name: node
        for path in sorted((ROOT / "application").rglob("*.py"))
        for node in tree(path).body
        if isinstance(node, ast.ClassDef) and "Protocol" in bases(node)
    }


def annotation(node: ast.expr | None) -> str:
    """Its text, with `ids.TraceId` as `TraceId`."""
    return re.sub(r"\w+\.(?=\w)", "", ast.unparse(node)) if node else ""


def signature(node: Function, variables: set[str]) -> Signature:
    """What mentions a type variable of the class is untyped, as are context managers."""

    def text(given: ast.expr | None) -> str:
        found = annotation(given)
        is_free = not variables.isdisjoint(re.findall(r"\w+", found))
        return "" if is_free or found.startswith(CONTEXTS) else found

    taken = node.args
    parameters = [*taken.posonlyargs, *taken.args, *filter(None, [taken.vararg]), *taken.kwonlyargs]
    return tuple(text(one.annotation) for one in parameters[1:]), text(node.returns)


def is_property(node: Function) -> bool:
    return any(ast.unparse(one) == "property" for one in node.decorator_list)


@cache
def methods(node: ast.ClassDef) -> dict[str, Signature]:
    """The public methods by name, also those that are inherited."""
    found: dict[str, Signature] = {}
    for base in {*bases(node)} - {node.name}:
        for inherited in classes().get(base, []):
            found |= methods(inherited)
    variables = {ast.unparse(one).partition(":")[0] for one in node.type_params}
    return found | {
        one.name: signature(one, variables)
        for one in node.body
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
        and not one.name.startswith("_")
        and not is_property(one)
    }


def fits(promised: Signature, own: Signature) -> bool:
    wanted, given = promised[0], own[0]
    return len(given) >= len(wanted) and all(
        one == other or not UNTYPED.isdisjoint((one, other))
        for one, other in zip((*wanted, promised[1]), (*given[: len(wanted)], own[1]), strict=True)
    )


@cache
def adapters(port: str) -> set[str]:
    """The names of the classes that have every method of the port."""
    promised = methods(ports()[port])
    assert promised, f"{port} has no method"
    return {
        name
        for name, nodes in classes().items()
        for node in nodes
        if node is not ports().get(name)
        and promised.keys() <= (own := methods(node)).keys()
        and all(fits(promised[one], own[one]) for one in promised)
    }


# --- what a suite reaches ------------------------------------------------------------------


def module(name: str) -> Path | None:
    """The file of a module that is followed."""
    path = ROOT / f"{name.replace('.', '/')}.py"
    place = path.relative_to(ROOT).as_posix()
    return path if place.startswith(FOLLOWED) and path.exists() else None


@cache
def scope(path: Path) -> tuple[dict[str, ast.stmt], dict[str, Place | Path]]:
    """The definitions of a module, and what its imported names stand for in followed modules."""
    own: dict[str, ast.stmt] = {}
    imported: dict[str, Place | Path] = {}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = alias.asname or alias.name
                if (inner := module(f"{node.module}.{alias.name}")) is not None:
                    imported[name] = inner
                elif (outer := module(node.module)) is not None:
                    imported[name] = outer, alias.name
    for statement in tree(path).body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                own[statement.name] = statement
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                own[name] = statement
            case _:
                pass
    return own, imported


@cache
def conftests(path: Path) -> tuple[Path, ...]:
    """Those that the fixtures of a test come from, the nearest first."""
    folders = [one for one in path.parents if one.is_relative_to(ROOT / "tests")]
    return tuple(one for folder in folders if (one := folder / "conftest.py").exists())


@cache
def used(path: Path, node: ast.AST) -> tuple[set[str], set[Place]]:
    """The words of a statement, and the definitions in followed modules that they may mean.

    The words are names, parameters, and texts, which may name a fixture.
    """
    own, imported = scope(path)
    words: set[str] = set()
    places: set[Place] = set()
    for part in ast.walk(node):
        match part:
            case ast.Attribute(value=ast.Name(id=outer), attr=word):
                words |= {outer, word}
                if isinstance(inner := imported.get(outer), Path):
                    places.add((inner, word))
            case ast.Name(id=word) | ast.arg(arg=word) | ast.Attribute(attr=word):
                words.add(word)
            case ast.Constant(value=str(word)) if word.isidentifier():
                words.add(word)
            case _:
                pass
    for word in words:
        if word in own:
            places.add((path, word))
        elif isinstance(found := imported.get(word), tuple):
            places.add(found)
        else:
            places |= {(one, word) for one in conftests(path) if word in scope(one)[0]}
    return words, places


def reached(suite: Path) -> set[str]:
    """Every word in the suite, and in the definitions that it uses, and so on."""
    names: set[str] = set()
    seen: set[Place] = set()
    waiting: list[tuple[Path, ast.stmt]] = [
        (suite, node)
        for node in tree(suite).body
        if not isinstance(node, ast.Import | ast.ImportFrom)
    ]
    while waiting:
        words, places = used(*waiting.pop())
        names |= words
        for path, name in places - seen:
            seen.add((path, name))
            own, imported = scope(path)
            if name in own:
                waiting.append((path, own[name]))
            elif isinstance(found := imported.get(name), tuple) and found not in seen:
                seen.add(found)
                if (inner := scope(found[0])[0].get(found[1])) is not None:
                    waiting.append((found[0], inner))
    return names


@for_each(ports)
def test_suite_of_port_tests_all_its_adapters(port: str) -> None:
    docstring = ast.get_docstring(ports()[port]) or ""
    [suite] = re.findall(r"tests/contracts/[\w/]*test_\w+\.py", docstring)
    found = adapters(port)
    assert found, f"no class has the methods of {port}"
    public = {one for one in found if not one.startswith("_")}  # which return the private ones
    missing = public - reached(ROOT / suite)
    assert not missing, f"{suite} does not test {', '.join(sorted(missing))}"


def test_adapters_are_recognized_by_their_methods() -> None:
    assert adapters("Jobs") == {"DramatiqJobs", "OwnJobs", "RecordedJobs"}
    assert adapters("TraceScores") == {"MemoryTraceScores", "PostgresTraceScores"}  # inherited
    assert "QueueHealthCheck" in adapters("HealthCheck")  # of application
    assert "NdjsonEncoder" in adapters("Encoder")  # of entrypoints
