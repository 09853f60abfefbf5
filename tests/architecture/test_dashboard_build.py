"""The built dashboard is that of its sources, and within its limits. Found without Node."""

import base64
import gzip
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from entrypoints.dashboard import BUILT, SOURCES

ROOT = Path(__file__).parents[2]
MANIFEST = json.loads((BUILT / "manifest.json").read_text())
BUILD_FILES = ("build.mjs", "package.json", "package-lock.json", "tsconfig.json")
FIRST_SCRIPT_MAX = 60_000  # bytes of all scripts of the first view, compressed with gzip
LATER_SCRIPT_MAX = 15_000  # of each file that is loaded when a view needs it
ALL_SCRIPTS_MAX = 188_000  # of all views: no page loads them all
STYLE_MAX = 12_000


def sources() -> Iterator[Path]:
    """What the built files are made of. Declarations of types change none of them."""
    for path in (SOURCES / "src").rglob("*"):
        if path.is_file() and not path.name.endswith(".d.ts"):
            yield path
    yield from (SOURCES / name for name in BUILD_FILES)


def sha384(content: bytes) -> str:
    return f"sha384-{base64.b64encode(hashlib.sha384(content).digest()).decode()}"


def compressed(names: list[str]) -> int:
    return sum(len(gzip.compress((BUILT / name).read_bytes(), 9)) for name in names)


def ending(suffix: str) -> list[str]:
    return [name for name in MANIFEST["files"] if name.endswith(suffix)]


def test_built_files_are_those_of_the_manifest():
    found = {
        path.relative_to(BUILT).as_posix(): {
            "bytes": path.stat().st_size,
            "hash": "sha384-"
            + base64.b64encode(hashlib.sha384(path.read_bytes()).digest()).decode(),
        }
        for path in BUILT.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    assert found == MANIFEST["files"]


def test_dashboard_was_built_from_its_sources():
    lines = sorted(
        f"{path.relative_to(SOURCES).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for path in sources()
    )
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert digest == MANIFEST["inputs"], "run make dashboard"


def test_types_of_the_api_are_current():
    command = [sys.executable, ROOT / ".ci/dashboard_types.py", "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_files_are_small():
    first = [name for name in MANIFEST["first"] if name.endswith(".js")]
    assert len(first) > 1
    assert compressed(first) <= FIRST_SCRIPT_MAX
    later = [name for name in ending(".js") if name not in first]
    assert max(compressed([name]) for name in later) <= LATER_SCRIPT_MAX
    assert compressed(ending(".js")) <= ALL_SCRIPTS_MAX
    assert compressed(ending(".css")) <= STYLE_MAX


def test_scripts_turn_no_text_into_html_or_code():
    for name in ending(".js"):
        text = (BUILT / name).read_text()
        for word in ("insertAdjacentHTML", "document.write", "eval(", "new Function", "new Worker"):
            assert word not in text, name
