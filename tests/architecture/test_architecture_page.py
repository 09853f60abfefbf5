"""ARCHITECTURE.md names every chapter of the code. pyproject.toml has the rules of imports."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
MAP: Final = (ROOT / "ARCHITECTURE.md").read_text()
PACKAGES: Final = ("domain", "application", "adapters", "entrypoints")


def chapters() -> Iterator[str]:
    """Every package below the four layers."""
    for layer in PACKAGES:
        for init in sorted((ROOT / layer).rglob("*/__init__.py")):
            folder = init.parent
            if folder != ROOT / layer and folder.name != "migrations":
                yield folder.relative_to(ROOT).as_posix()


def test_every_chapter_has_a_heading():
    headings = re.findall(r"^### .+$", MAP, re.MULTILINE)
    named = {path for heading in headings for path in re.findall(r"`([\w/]+)`", heading)}
    assert named == set(chapters())


def test_every_kind_of_test_is_named():
    kinds = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()} - {"__pycache__"}
    assert {kind for kind in kinds if f"`tests/{kind}`" not in MAP} == set()


def test_modules_that_the_map_names_exist():
    mentioned = set(re.findall(r"`((?:[\w]+/)*\w+\.py)`", MAP))
    modules = {path for layer in PACKAGES for path in (ROOT / layer).rglob("*.py")}
    names = {path.name for path in modules} | {
        path.relative_to(ROOT).as_posix() for path in modules
    }
    assert mentioned <= names


def test_names_in_modules_that_the_map_gives_exist():
    named = re.findall(r"`([\w/]+\.py)` \(`(\w+)`\)", MAP)
    assert named
    for path, name in named:
        definition = rf"^(?:class|(?:async )?def) {name}\b"
        assert re.search(definition, (ROOT / path).read_text(), re.MULTILINE), (path, name)
