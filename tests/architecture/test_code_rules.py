"""Rules for code that a test can check. pyproject.toml has the import contracts."""

import ast
import gc
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

import pytest

from tests.support.distribution import FILE_TIMES_S
from tests.support.problems import Check, for_each

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("domain", "application", "adapters", "entrypoints")
# An import inside a function needs no reason: it is slow, or only that function needs it.
CODES_WITHOUT_REASON: Final = {"PLC0415"}

type Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module", autouse=True)
def files_are_forgotten() -> Iterator[None]:
    """The garbage collector would look at a million nodes again and again, also in later tests."""
    gc.disable()
    yield
    for kept in (text, tree, nodes, calls):
        kept.cache_clear()
    gc.enable()


@cache  # every rule reads every file
def tree(path: Path) -> ast.Module:
    return ast.parse(text(path), str(path))


@cache
def nodes(path: Path) -> list[ast.AST]:
    """Return all nodes of a module, parents before children."""
    return list(ast.walk(tree(path)))


@cache
def text(path: Path) -> str:
    return path.read_text()


def functions(path: Path) -> Iterator[Function]:
    for node in nodes(path):
        if isinstance(node, Function.__value__):
            yield node


def imported(folder: str) -> set[str]:
    """Return the top-level packages that a folder imports, including imports in functions."""
    names: set[str] = set()
    for path in modules(folder):
        for node in nodes(path):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{relative(path)}: a relative import"
                names.add((node.module or "").partition(".")[0])
    return names


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` for a name or an attribute, and an empty string for other nodes."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


@cache
def calls(path: Path) -> list[tuple[str, ast.Call]]:
    return [(dotted(node.func), node) for node in nodes(path) if isinstance(node, ast.Call)]


CODE: Final = modules(*PACKAGES, "clients")
TESTS: Final = modules("tests")


def in_each(paths: Iterable[Path]) -> Callable[[Check], Check]:
    """Make one test that checks all files and lists those that fail."""
    return for_each(paths, relative)


# --- the hexagon ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "own"), [("domain", {"domain"}), ("application", {"application", "domain"})]
)
def test_hexagon_imports_only_standard_library_and_itself(folder, own):
    assert imported(folder) - own <= sys.stdlib_module_names


def test_clients_import_no_server_code():
    """A client is installed without the server."""
    known = sys.stdlib_module_names | {"pytest", "httpx", "pytest_pandaprobe"}
    assert imported("clients") <= known


def test_server_imports_only_packages_that_make_dev_installs():
    """`make dev` installs these two lock files, and nothing for tests."""
    locks = ("requirements-extras.lock", ".ci/local.lock")
    installed = {
        name
        for lock in locks
        for name in re.findall(r"^([\w.-]+)==", text(ROOT / lock), re.MULTILINE)
    }
    distributions = packages_distributions()
    known = sys.stdlib_module_names | {*PACKAGES}
    assert {"asyncpg", "grpc"} <= imported("adapters") | imported("entrypoints")
    missing = {
        package
        for folder in PACKAGES
        for package in imported(folder) - known
        if not installed & {one.lower().replace("_", "-") for one in distributions[package]}
    }
    assert missing == set()


def test_domain_is_synchronous():
    waiting = [
        f"{relative(path)}: {node.name}"
        for path in modules("domain")
        for node in functions(path)
        if isinstance(node, ast.AsyncFunctionDef)
    ]
    assert waiting == []


@in_each(modules("domain", "application"))
def test_time_and_chance_are_arguments(path):
    called = {name for name, _ in calls(path)}
    has_defaults = relative(path) == "application/clock.py"
    assert not called & {"time.time", "time.monotonic", "uuid.uuid4", "uuid4", "random.random"}
    assert has_defaults or not {
        name for name in called if name.endswith((".now", ".utcnow", ".today"))
    }


def classes_with_call() -> dict[str, tuple[Path, ast.ClassDef]]:
    return {
        node.name: (path, node)
        for path in modules("application")
        for node in tree(path).body
        if isinstance(node, ast.ClassDef)
        and any(isinstance(one, Function.__value__) and one.name == "__call__" for one in node.body)
    }


def test_use_cases_do_not_call_each_other():
    use_cases = classes_with_call()
    assert len(use_cases) > 5
    for name, (_, node) in use_cases.items():
        fields = {
            word.id
            for field in node.body
            if isinstance(field, ast.AnnAssign)
            for word in ast.walk(field.annotation)
            if isinstance(word, ast.Name)
        }
        assert not fields & use_cases.keys(), name


def test_every_use_case_is_ready_to_call():
    made = "".join(text(path) for path in modules("application") if "use_cases" in path.stem)
    assert [name for name in classes_with_call() if f"{name}(" not in made] == []


# --- ports ---------------------------------------------------------------------------------


@cache
def ports() -> dict[str, ast.ClassDef]:
    return {
        node.name: node
        for path in modules("application")
        for node in nodes(path)
        if isinstance(node, ast.ClassDef) and any(dotted(one) == "Protocol" for one in node.bases)
    }


@cache
def ports_with_a_contract() -> set[str]:
    """Return the ports that contract suites name."""
    suites = [path for path in TESTS if path.name.startswith("test_") and path != Path(__file__)]
    return {name for path in suites for name in re.findall(r"Contract of (\w+)", text(path))}


@for_each(ports)
def test_every_port_has_a_contract(port):
    assert port in ports_with_a_contract()
    assert re.search(r"tests/contracts/[\w/]*test_\w+\.py", ast.get_docstring(ports()[port]) or "")


@pytest.mark.parametrize("port", ["Traces", "Sessions", "TraceAnalytics"])
def test_methods_of_trace_ports_take_project(port):
    methods = [node for node in ports()[port].body if isinstance(node, Function.__value__)]
    assert {dotted(one.args.args[1].annotation) for one in methods} == {"ProjectId"}


def test_pages_that_ports_name_exist():
    named = {
        name
        for path in CODE
        for name in re.findall(r"(?:tests|docs)/[\w/-]+\.(?:py|md)", text(path))
    }
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


# --- shape ---------------------------------------------------------------------------------


@in_each([path for path in CODE if path.name != "__init__.py"])
def test_modules_have_docstrings(path):
    assert "migrations" in path.parts or ast.get_docstring(tree(path))


def reason(line: str, before: str, mark: str) -> str:
    """Return the text after the codes of a `noqa` or `type: ignore`, or the comment line above."""
    _, _, rest = line.partition(mark)
    own = re.sub(r"^[:\s]*[\[\]A-Za-z0-9, -]*?(?:\]|[A-Z]+[0-9]+)\s*(?=[-#]|$)", "", rest)
    above = before.strip() if before.strip().startswith("#") else ""
    return f"{own.strip(' -#')}{above.strip('# ')}"


@in_each([p for p in CODE + TESTS if p != Path(__file__)])
def test_suppressed_checks_have_code_and_reason(path):
    lines = ["", *text(path).splitlines()]
    for number, line in enumerate(lines[1:], 1):
        for mark, code in (
            ("# noqa", r"# noqa: [A-Z]+\d+"),
            ("# type: ignore", r"ignore\[[a-z-]+"),
        ):
            if mark in line and not any(known in line for known in CODES_WITHOUT_REASON):
                assert re.search(code, line), f"line {number}: the code is missing"
                why = reason(line, lines[number - 1], mark)
                assert re.search(r"[A-Za-z]{3}", why), f"line {number}: the reason is missing"


# --- tests ---------------------------------------------------------------------------------


@in_each([p for p in TESTS if "benchmarks" not in p.parts])
def test_tests_use_the_real_thing_and_do_not_sleep(path):
    for node in nodes(path):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [alias.name for alias in node.names]
        names.append(str(getattr(node, "module", "")))
        assert not any("mock" in name for name in names), (
            "a mock accepts calls that the real object refuses"
        )
    injects_faults = relative(path).startswith("tests/faults/")
    for name, call in calls(path):
        assert name not in {"monkeypatch.setattr", "mocker.patch", "mock.patch", "patch"}
        if injects_faults:
            continue  # outages, slow networks and pauses between retries take time
        assert name != "time.sleep"
        if name == "asyncio.sleep":  # one step of the event loop, or a short polling interval
            [pause] = call.args
            assert isinstance(pause, ast.Constant), "the pause must be a constant"
            assert pause.value <= 0.05


def can_fail(node: ast.AST) -> bool:
    """Whether a node contains an assertion, `raises`, or a call that is named like a check."""
    for part in ast.walk(node):
        if isinstance(part, ast.Assert | ast.Raise):
            return True
        if isinstance(part, ast.Call):
            last = dotted(part.func).rpartition(".")[2]
            if re.match(r"(raises$|fail$|assert|expect|check|agree|holds)", last):
                return True
    return False


@in_each(TESTS)
def test_every_test_can_fail(path):
    local = {node.name: node for node in functions(path)}
    for name, node in local.items():
        if name.startswith("test_"):
            called = {dotted(one.func) for one in ast.walk(node) if isinstance(one, ast.Call)}
            inside = [node, *(local[one] for one in called & local.keys())]
            assert any(map(can_fail, inside)), f"{name} asserts nothing"


def test_every_folder_of_tests_is_a_namespace():
    assert list((ROOT / "tests").rglob("__init__.py")) == []


# --- the repository ------------------------------------------------------------------------

CACHES: Final = {"__pycache__", "node_modules", "dist", "build", ".git"}
BINARY: Final = {".png", ".ico", ".woff2", ".gz", ".whl", ".db"}


def files() -> Iterator[Path]:
    """Yield files written by hand: no caches, no binaries, no hidden folders except .ci."""
    for folder, inner, names in ROOT.walk():
        hidden = {one for one in inner if one.startswith(".") and one != ".ci"}
        inner[:] = sorted({*inner} - hidden - CACHES)
        for path in (folder / name for name in sorted({*names} - CACHES)):
            if path.suffix not in BINARY:
                yield path


def test_files_whose_times_order_the_tests_exist():
    assert [one for one in FILE_TIMES_S if not (ROOT / one).is_file()] == []


def test_files_contain_no_paths_of_one_machine():
    place = re.compile(r"(?<![\w.$}])/" + r"(?:work|tmp|home|root)/.*")
    found = [
        f"{relative(path)}: {found[:80]}"
        for path in files()
        if path.stat().st_size < 1 << 20
        for found in place.findall(path.read_text(errors="replace"))
    ]
    assert found == []
